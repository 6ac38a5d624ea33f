// Templates: what they say, in every language and channel, and what is wrong with them.

import { chip, facts, h, link, pick, show, table, words } from "./dom.js";
import { get, post } from "./api.js";

export function templatesPage(root, { id }) {
  let gone = false;
  (id ? one() : all()).catch((problem) => show(root, h("h1", null, "Templates"), h("p", { class: "error", role: "alert" }, problem.message)));
  return () => { gone = true; };

  async function all() {
    const { templates } = await get("templates");
    if (gone) return;
    show(root, h("div", { class: "titled" }, h("h1", null, "Templates")), h("section", { class: "sheet" },
      table(["Template", "What it is", "Purposes", "Priority", "Reveals", "Channels", "Languages"], templates.map((one) => [
        link(`templates/${one.name}`, {}, one.name), one.title, one.purposes.join(", "), one.priority, one.phi, one.channels.join(", "), one.locales.join(", ")]), "Templates")));
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
        h("div", null, h("section", { class: "sheet" }, h("p", null, template.description ?? template.title), facts([["Purposes", template.purposes.join(", ")], ["Priority", template.priority], ["Reveals", template.phi],
          ["Approved", Array.isArray(template.approved) ? template.approved.join(", ") || "no language" : JSON.stringify(template.approved)]]),
          h("h3", null, "Variables"), table(["Name", "Type", ""], Object.entries(template.variables).map(([name, variable]) => [h("code", null, name), variable.type, variable.required ? "needed" : ""]), "Variables")), faults)));
    preview();
    get(`templates/${id}/lint`).then(({ findings }) => show(faults, h("h2", null, "Findings"), findings.length === 0 ? h("p", { class: "empty" }, "None: it reads as it should.") :
      findings.map((found) => h("p", null, chip(found.severity, { error: "bad", warning: "warn" }[found.severity] ?? ""), " ", h("code", null, `${found.file}${found.line ? `:${found.line}` : ""}`), ` ${found.message}; ${found.cure}`)))).catch((problem) => show(faults, problem.message));

    async function preview() {
      const values = Object.fromEntries([...new FormData(form)].filter(([, value]) => value));
      try {
        const shown = await post(`templates/${id}/preview`, values);
        if (!gone) show(texts, shown.previews.map((preview) => h("section", { class: "sheet", lang: preview.locale }, h("h2", null, `${preview.channel}${preview.short ? ", short" : ""}`),
          preview.errors ? h("p", { class: "error" }, `${words(preview.reason)}: ${preview.errors.map((error) => error.rule).join("; ")}`) :
            [preview.segments > 0 && h("p", { class: "quiet" }, `${preview.segments} ${preview.segments === 1 ? "segment" : "segments"}`),
              Object.entries(preview.texts).filter(([part]) => part !== "html").map(([part, text]) => [Object.keys(preview.texts).length > 1 && h("h3", null, part), h("div", { class: "text" }, text)])])));
      } catch (problem) {
        show(texts, h("p", { class: "error", role: "alert" }, problem.message));
      }
    }
  }
}
