// Audit: who did what.

import { h, link, show, table, when } from "./dom.js";
import { get } from "./api.js";

export function auditPage(root, { who, before }) {
  let gone = false;
  const form = h("form", { class: "row", on: { submit } }, h("label", { class: "grow" }, "By whom", h("input", { name: "who", value: who ?? "", autocomplete: "off" })), h("button", { class: "main" }, "Show"));
  function submit(event) {
    event.preventDefault();
    location.hash = `#/audit?${new URLSearchParams({ who: form.elements.who.value.trim() })}`;
  }
  const list = h("div");
  show(root, h("div", { class: "titled" }, h("h1", null, "Audit log")), h("div", { class: "sheet" }, form), list,
    h("p", { class: "quiet" }, "Each entry is chained to the one before it: ", h("code", null, "outreachd audit verify"), " finds one that was altered."));
  get("audit", { who, before, limit: 100 }).then(({ audit }) => {
    if (gone) return;
    show(list, h("section", { class: "sheet" }, audit.length === 0 ? h("p", { class: "empty" }, "Nothing.") :
      table([["No", "num"], ["When", "bare"], ["Who", "bare"], ["What", "bare nowrap"], "About", "Detail"], audit.map((row) => [String(row.ord), when(row.at, true), row.who, row.act.replaceAll(".", " "),
        row.act.startsWith("message.") && row.subject ? link(`message/${row.subject}`, {}, row.subject) : row.subject, row.detail]), "Audit log")),
    audit.length === 100 && link("audit", { who, before: audit.at(-1).ord }, "Older"));
  }).catch((problem) => show(list, h("p", { class: "error", role: "alert" }, problem.message)));
  return () => { gone = true; };
}
