// Templates: what they say, in every language and channel, and what is wrong with them.

import { channelName, chip, facts, h, link, pick, show, spoken, table, words } from "./dom.js";
import { get, post } from "./api.js";

const TELLS = { minimal: "nothing private", limited: "visit, place, practitioner", sensitive: "diagnoses, results, medicine" };

export function templatesPage(root, { id }) {
  let gone = false;
  (id ? one() : all()).catch((problem) => show(root, h("h1", null, "Templates"), h("p", { class: "error", role: "alert" }, problem.message)));
  return () => { gone = true; };

  async function all() {
    const { templates } = await get("templates");
    if (gone) return;
    show(root, h("div", { class: "titled" }, h("h1", null, "Templates")), h("section", { class: "sheet" },
      templates.length === 0 ? h("p", { class: "empty" }, "There are none. They stand as files in the folder of templates.") :
      table([["Template", "bare"], ["What it is", "bare"], "Purposes", "Priority", "May tell", "Channels", "Signed off", "Not signed off"], templates.map((one) => [
        link(`templates/${one.name}`, {}, one.name), one.title, one.purposes.join(", "), one.priority, TELLS[one.phi] ?? one.phi, one.channels.join(", "),
        one.locales.filter((locale) => one.approved.includes(locale)).join(", ") || "none", one.locales.filter((locale) => !one.approved.includes(locale)).map((locale) => [chip(locale, "warn"), " "])]), "Templates")));
  }

  async function one() {
    const { templates } = await get("templates");
    const template = templates.find((known) => known.name === id);
    if (gone) return;
    if (!template) { show(root, h("h1", null, "Templates"), h("p", null, "There is no such template.")); return; }
    const texts = h("div");
    const faults = h("section", { class: "sheet" }, h("h2", null, "Findings"), h("p", { class: "empty" }, "Reading every text …"));
    const form = h("form", { class: "fields", on: { change: preview } },
      pick("locale", template.locales, template.locales[0], "Language"), pick("channel", [["", "every channel"], ...template.channels], "", "Channel"), pick("sample", ["typical", "minimal", "longest"], "typical", "Sample"));
    show(root, h("div", { class: "titled" }, link("templates", {}, "Templates"), h("h1", null, template.name)),
      h("div", { class: "two" },
        h("div", null, h("div", { class: "sheet" }, form), texts),
        h("div", null, h("section", { class: "sheet" }, h("p", null, template.description ?? template.title), facts([["Purposes", template.purposes.join(", ")], ["Priority", template.priority], ["May tell", TELLS[template.phi] ?? template.phi],
          ["Signed off", template.locales.map((locale) => [template.approved.includes(locale) ? chip(`${locale} ✓`, "good") : chip(`${locale}: not yet`, "warn"), " "])]]),
          template.locales.some((locale) => !template.approved.includes(locale)) && h("p", { class: "quiet" }, "What nobody has signed off is sent in tests only. Who answers for the texts adds the language to ", h("code", null, "approved"), " in the template's file: it travels with the texts, so that whoever reviews a change of a text sees its sign-off beside it, and the history of the file says who and when."),
          h("h3", null, "Variables"), table([["Name", "bare"], ["Type", "bare"], ["Needed", "bare"]], Object.entries(template.variables).map(([name, variable]) => [h("code", null, name), variable.type, variable.required ? "needed" : ""]), "Variables")), faults)));
    preview();
    get(`templates/${id}/lint`).then(({ findings }) => {
      const shown = (list) => list.map((found) => h("p", null, chip(found.severity, { error: "bad", warning: "warn" }[found.severity] ?? ""), " ", h("code", null, `${found.file}${found.line ? `:${found.line}` : ""}`), ` ${found.message}; ${found.cure}`));
      const [wrong, notes] = [findings.filter((found) => found.severity !== "info"), findings.filter((found) => found.severity === "info")];
      show(faults, h("h2", null, "Findings"), wrong.length === 0 ? h("p", { class: "empty" }, "Nothing is wrong: it reads as it should.") : shown(wrong),
        notes.length > 0 && h("details", null, h("summary", null, notes.length === 1 ? "1 note" : `${notes.length} notes`), shown(notes)));
    }).catch((problem) => show(faults, problem.message));

    async function preview() {
      const values = Object.fromEntries([...new FormData(form)].filter(([, value]) => value));
      try {
        const shown = await post(`templates/${id}/preview`, values);
        if (!gone) show(texts, shown.previews.map((preview) => h("section", { class: "sheet", lang: preview.locale }, h("h2", null, `${channelName(preview.channel)}${preview.short ? ", short text" : ""}`),
          preview.errors ? h("p", { class: "error" }, `${words(preview.reason)}: ${preview.errors.map((error) => error.rule).join("; ")}`) :
            [preview.segments > 0 && h("p", { class: "quiet" }, `${preview.segments} SMS ${preview.segments === 1 ? "segment" : "segments"}`),
              Object.entries(preview.texts).filter(([part]) => part !== "html").map(([part, text]) => [Object.keys(preview.texts).length > 1 && h("h3", null, part), h("div", { class: "text" }, preview.channel === "voice" ? spoken(text) : text)])])));
      } catch (problem) {
        show(texts, h("p", { class: "error", role: "alert" }, problem.message));
      }
    }
  }
}
