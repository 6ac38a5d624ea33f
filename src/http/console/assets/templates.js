// Templates: what they say, in every language and channel, and what is wrong with them.

import { ask, channelName, chip, facts, h, link, pick, show, spoken, table, when, words } from "./dom.js";
import { get, post } from "./api.js";
import { say } from "./shell.js";

const TELLS = { minimal: "nothing private", limited: "visit, place, practitioner", sensitive: "diagnoses, results, medicine" };

const SAMPLES = [["typical", "typical"], ["longest", "the longest words"], ["least", "only what is needed"], ["change", "a change"], ["proxy", "read by a parent"], ["digest", "several in one"]];
/** How the texts of a language stand: as a chip, and before who said it. */
const STANDS = {
  signed_off: ["signed off", "good", "by"], in_file: ["approved in its file", "good"], changed: ["changed since signed off", "warn", "by"],
  taken_back: ["taken back", "warn", "by"], open: ["not signed off", "warn"],
};

function stands(text) {
  const [word, kind, before] = STANDS[text.standing];
  return [chip(word, kind), before && [` ${before} ${text.by}, `, when(text.at, true), h("span", { class: "quiet" }, ` ${text.note}`)]];
}

export function templatesPage(root, { id }, shell) {
  let gone = false;
  (id ? one() : all()).catch((problem) => show(root, h("h1", null, "Templates"), h("p", { class: "error", role: "alert" }, problem.message)));
  return () => { gone = true; };

  async function all() {
    const { templates } = await get("templates");
    if (gone) return;
    show(root, h("div", { class: "titled" }, h("h1", null, "Templates")), h("section", { class: "sheet" },
      templates.length === 0 ? h("p", { class: "empty" }, "There are none. They stand as files in the folder of templates.") :
      table([["Template", "bare"], ["What it is", "bare"], "Purposes", "Priority", "May tell", "Channels", "Approved", "Not approved"], templates.map((one) => [
        link(`templates/${one.name}`, {}, one.name), one.title, one.purposes.join(", "), one.priority, TELLS[one.phi] ?? one.phi, one.channels.join(", "),
        one.texts.filter((text) => text.approved).map((text) => text.locale).join(", ") || "none", one.texts.filter((text) => !text.approved).map((text) => [chip(text.locale, "warn"), " "])]), "Templates")));
  }

  async function one() {
    const { templates } = await get("templates");
    let template = templates.find((known) => known.name === id);
    if (gone) return;
    if (!template) { show(root, h("h1", null, "Templates"), h("p", null, "There is no such template.")); return; }
    const signs = shell.may("templates:approve") && !shell.me.sites?.length;
    // What is signed off is what was shown: its hash comes with the previews.
    let read = null;
    // An answer to an earlier choice may come after that to the last one.
    let asked = 0;
    const texts = h("div");
    const own = h("div", { id: "standing" });
    const languages = h("div");
    const faults = h("section", { class: "sheet" }, h("h2", null, "Findings"), h("p", { class: "empty" }, "Reading every text …"));
    const form = h("form", { class: "fields", on: { change: preview } },
      pick("locale", template.locales, template.locales[0], "Language"), pick("channel", [["", "every channel"], ...template.channels], "", "Channel"), pick("sample", SAMPLES, "typical", "Sample"));
    show(root, h("div", { class: "titled" }, link("templates", {}, "Templates"), h("h1", null, template.name)),
      h("div", { class: "two" },
        h("div", null, h("div", { class: "sheet" }, form, own), texts),
        h("div", null, h("section", { class: "sheet" }, h("p", null, template.description ?? template.title), facts([["Purposes", template.purposes.join(", ")], ["Priority", template.priority], ["May tell", TELLS[template.phi] ?? template.phi]]),
          h("h3", null, "Languages"), languages,
          h("p", { class: "quiet" }, "What nobody answers for is sent in tests only. An approver reads the texts of a language and signs them off beside them, until one of them changes; or the template's file names the language in ", h("code", null, "approved"), "."),
          h("h3", null, "Variables"), table([["Name", "bare"], ["Type", "bare"], ["Needed", "bare"]], Object.entries(template.variables).map(([name, variable]) => [h("code", null, name), variable.type, variable.required ? "needed" : ""]), "Variables")), faults)));
    preview();
    standing();
    get(`templates/${id}/lint`).then(({ findings }) => {
      const shown = (list) => list.map((found) => h("p", null, chip(found.severity, { error: "bad", warning: "warn" }[found.severity] ?? ""), " ", h("code", null, `${found.file}${found.line ? `:${found.line}` : ""}`), ` ${found.message}; ${found.cure}`));
      const [wrong, notes] = [findings.filter((found) => found.severity !== "info"), findings.filter((found) => found.severity === "info")];
      show(faults, h("h2", null, "Findings"), wrong.length === 0 ? h("p", { class: "empty" }, "Nothing is wrong: it reads as it should.") : shown(wrong),
        notes.length > 0 && h("details", null, h("summary", null, notes.length === 1 ? "1 note" : `${notes.length} notes`), shown(notes)));
    }).catch((problem) => show(faults, problem.message));

    function standing() {
      const text = template.texts.find((one) => one.locale === form.elements.locale.value);
      show(languages, table([["Language", "bare"], ["Standing", "bare"]], template.texts.map((one) => [one.locale, stands(one)]), "Languages"));
      show(own, h("p", null, `${text.locale}: `, stands(text)), signs && h("div", { class: "row" },
        text.standing === "signed_off" ? h("button", { id: "take-back", on: { click: () => takeBack(text) } }, "Take back …") : h("button", { id: "sign-off", class: "main", on: { click: () => signOff(text) } }, "Sign off …")));
    }

    async function signOff({ locale }) {
      if (!read) {
        form.elements.channel.value = "";
        form.elements.sample.value = "typical";
        await preview();
        say("Read the texts of every channel first: here they are.");
        return;
      }
      const hash = read;
      await act("sign-off", {
        title: `Sign off ${id} in ${locale}`, text: "You have read these texts and answer for them: they may be sent to patients. Your name and exactly these texts go on record; when one of them changes, it has to be signed off again.",
        yes: "Sign off",
      }, { locale, hash }, "Signed off.");
    }

    async function takeBack({ locale }) {
      await act("take-back", {
        title: `Take back the sign-off of ${id} in ${locale}`, text: "Within a few seconds no worker makes messages of these texts any more, unless the template's file approves the language. Its readers get the default language, or nothing over the channel, as the template says.",
        yes: "Take it back", danger: true,
      }, { locale }, "Taken back.");
    }

    async function act(what, asked, body, after) {
      const done = await ask({
        ...asked, fields: h("label", null, "Note, for colleagues; no names of patients", h("input", { name: "note", required: true, maxlength: 200, autocomplete: "off" })),
        check: (values) => post(`templates/${id}/${what}`, { ...body, note: values.note }),
      });
      if (!done || gone) return;
      template = done;
      say(after);
      standing();
    }

    async function preview() {
      const values = Object.fromEntries([...new FormData(form)].filter(([, value]) => value));
      const mine = ++asked;
      read = null;
      standing();
      try {
        const shown = await post(`templates/${id}/preview`, values);
        if (gone || mine !== asked) return;
        read = values.channel ? null : shown.previews[0]?.hash;
        show(texts, shown.previews.length === 0 && h("p", { class: "sheet empty" }, "Of this sample there is nothing here."), shown.previews.map((preview) => h("section", { class: "sheet", lang: preview.locale }, h("h2", null, `${channelName(preview.channel)}${preview.short ? ", short text" : ""}`),
          preview.errors ? h("p", { class: "error" }, `${words(preview.reason)}: ${preview.errors.map((error) => error.rule).join("; ")}`) :
            [preview.segments > 0 && h("p", { class: "quiet" }, `${preview.segments} SMS ${preview.segments === 1 ? "segment" : "segments"}`),
              Object.entries(preview.texts).filter(([part]) => part !== "html").map(([part, text]) => [Object.keys(preview.texts).length > 1 && h("h3", null, part), h("div", { class: "text" }, preview.channel === "voice" ? spoken(text) : text)])])));
      } catch (problem) {
        if (mine === asked) show(texts, h("p", { class: "error", role: "alert" }, problem.message));
      }
    }
  }
}
