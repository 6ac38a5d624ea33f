// A new campaign, in steps: what is said, to whom, when and how fast. It becomes a draft; the dry run, the approval and the
// start stand on its own page.

import { channelName, h, link, pick, show, spoken, table, words } from "./dom.js";
import { get, post } from "./api.js";
import { HOURS_ALONE } from "./campaign.js";
import { ROWS, bring, listField } from "./list.js";

export function planPage(root, shell) {
  let gone = false;
  let templates = [];
  let made = null;
  const error = h("p", { class: "error", role: "alert" });
  const data = h("div", { class: "fields wider" });
  const texts = h("div");
  const whom = h("div");
  get("templates").then((told) => { templates = told.templates; if (!gone) draw(); })
    .catch((problem) => show(root, h("h1", null, "New campaign"), h("p", { class: "error", role: "alert" }, problem.message)));
  return () => { gone = true; };

  function draw() {
    const text = (name, label, more) => h("label", null, label, h("input", { name, autocomplete: "off", spellcheck: "false", ...more }));
    const form = h("form", { id: "plan", on: { submit } },
      step(1, "What is said", h("div", { class: "fields wider" },
        text("id", "Name, of a–z, 0–9, - and _", { required: true, pattern: "[a-z0-9_\\-]{1,64}", maxlength: 64 }), text("title", "Title, for colleagues", { maxlength: 120 }),
        text("source", "Source, if there are several"), text("site", "Site that signs"),
        pick("template", templates.map((one) => [one.name, one.title || one.name]), "", "Template")),
      h("h3", null, "What the text asks for, where it is the same for everybody; leave out what stands in the list"), data,
      h("p", { class: "tools" }, h("button", { type: "button", id: "texts", on: { click: preview } }, "Show every language and channel")), texts),
      step(2, "To whom", h("div", { class: "half" }, pick("from", [["file", "people of a list (CSV, Excel or NDJSON)"], ["query", "people of the directory"]], "file", "The audience")), whom),
      step(3, "When, and how fast", h("div", { class: "fields wider" },
        h("label", null, "Not before, by each recipient's clock", h("input", { name: "start", type: "datetime-local" })),
        h("label", null, "Not after, by each recipient's clock", h("input", { name: "end", type: "datetime-local" })),
        text("count", "At most so many messages", { type: "number", min: 1, max: 1000000 }), pick("per", [["hour", "an hour"], ["minute", "a minute"]], "hour", "in"),
        text("hours", "While the phones are answered", { placeholder: "mon-fri 09:00-17:00, sat-sun closed" }),
        text("canary", "So many go first, then a person looks", { type: "number", min: 0, max: 100000, placeholder: "as configured" }))),
      error,
      h("div", { class: "row" }, h("button", { class: "main" }, "Make the draft"), h("a", { class: "button", href: "#/campaigns" }, "Back"),
        h("span", { class: "quiet" }, "Nothing is sent yet: the dry run comes next.")));
    show(root, h("div", { class: "titled" }, h("h1", null, "New campaign")), form);
    form.elements.template.addEventListener("change", ask);
    form.elements.from.addEventListener("change", audience);
    ask();
    audience();
    form.elements.id.focus();

    function ask() {
      const variables = Object.entries(template()?.variables ?? {});
      show(texts);
      show(data, variables.length === 0 ? h("p", { class: "quiet" }, "This template asks for nothing.") : variables.map(([name, one]) =>
        h("label", { class: "told" }, h("span", null, words(name), one.required ? "" : " (optional)", one.description && h("small", null, one.description)), h("input", { name: `data.${name}`, autocomplete: "off", placeholder: hint(one.type) }))));
    }

    function audience() {
      show(whom, form.elements.from.value === "file" ? [
        h("label", { class: "gap half" }, "The list", listField()),
        h("p", { class: "quiet gap" }, ROWS)] :
        h("div", { class: "fields wider gap" }, text("min_age", "Least age, in years", { type: "number", min: 0, max: 130 }), text("max_age", "Greatest age, in years", { type: "number", min: 0, max: 130 }),
          text("languages", "Languages, such as es, zh"), text("postcodes", "Postcodes begin with"), text("tags", "Tags, one of"), text("at", "Site of the patient"),
          text("received", "Had something from campaign"), text("not_received", "Had nothing from campaign")));
    }

    function template() {
      return templates.find((one) => one.name === form.elements.template.value);
    }

    async function preview() {
      const name = template()?.name;
      try {
        const told = await post(`templates/${name}/preview`, {});
        if (gone || name !== template()?.name) return;
        show(texts, h("p", { class: "quiet" }, "With the template's own examples. What the list makes of it is shown by the dry run."),
          table([["Channel", "bare"], ["Language", "bare"], ["Text", "bare block"]], told.previews.filter((one) => !one.short).map((one) => [channelName(one.channel), one.locale,
            one.errors ? h("span", { class: "error" }, words(one.reason)) :
              h("div", { lang: one.locale }, Object.entries(one.texts).filter(([part]) => part !== "html").map(([, text]) => h("div", { class: "text" }, one.channel === "voice" ? spoken(text) : text)))]), "Texts"));
      } catch (problem) {
        if (name === template()?.name) show(texts, h("p", { class: "error", role: "alert" }, problem.message));
      }
    }

    async function submit(event) {
      event.preventDefault();
      const button = form.querySelector("button.main");
      button.disabled = true;
      show(error);
      try {
        const values = Object.fromEntries(new FormData(form));
        const file = form.elements.from.value === "file" ? form.elements.file.files[0] : null;
        if (form.elements.from.value === "file" && !file) throw new Error("Choose the list of people, or take them from the directory.");
        // Where the list alone was refused, the draft stands, and the list is sent again.
        if (!made) await post("campaigns", planOf(values, template()));
        made ??= values.id;
        if (file) shell.brought = await bring(made, file);
        location.hash = `#/campaigns/${made}`;
      } catch (problem) {
        show(error, made ? ["The draft stands as it is; its list was not taken: ", problem.message, " Mend the list and send it again, or ", link(`campaigns/${made}`, {}, "look at the draft"), "."] : problem.message);
        // What would be changed here now would reach nobody.
        for (const field of form.querySelectorAll("input, select")) field.disabled = Boolean(made) && field.name !== "file";
        button.disabled = false;
        error.scrollIntoView({ block: "center" });
      }
    }
  }
}

function step(number, title, ...parts) {
  return h("fieldset", { class: "sheet" }, h("legend", null, h("h2", null, `${number}. ${title}`)), parts);
}

function hint(type) {
  return { datetime: "2026-12-01T15:30:00-06:00", date: "2026-12-01", boolean: "true or false", phone: "+13125550142", url: "a link", list: "one, other", integer: "a number", number: "a number", text: "" }[type] ?? type;
}

/** The plan as the API takes it. */
function planOf(values, template) {
  const plan = { id: values.id, template: values.template, data: {} };
  for (const name of ["title", "source", "site"]) if (values[name].trim()) plan[name] = values[name].trim();
  for (const [name, one] of Object.entries(template?.variables ?? {})) {
    const text = (values[`data.${name}`] ?? "").trim();
    if (text) plan.data[name] = typed(text, one.type);
  }
  if (values.from === "query") plan.audience = queryOf(values);
  if (values.start) plan.start = { local: values.start };
  if (values.end) plan.end = { local: values.end };
  if (!values.count && values.hours.trim()) throw new Error(HOURS_ALONE);
  if (values.count) plan.pace = { [`per_${values.per}`]: Number(values.count), ...(values.hours.trim() && { hours: values.hours.trim() }) };
  if (values.canary !== "") plan.canary = Number(values.canary);
  return plan;
}

function queryOf(values) {
  const query = {};
  for (const name of ["min_age", "max_age"]) if (values[name] !== "") query[name] = Number(values[name]);
  for (const name of ["languages", "postcodes", "tags"]) {
    const items = several(values[name]);
    if (items.length) query[name] = items;
  }
  if (values.at.trim()) query.site = values.at.trim();
  for (const name of ["received", "not_received"]) if (values[name].trim()) query[name] = values[name].trim();
  return query;
}

function several(text) {
  return text.split(",").map((item) => item.trim()).filter(Boolean);
}

function typed(text, type) {
  if (type === "boolean" && ["true", "false"].includes(text)) return text === "true";
  if ((type === "integer" || type === "number") && Number.isFinite(Number(text))) return Number(text);
  return type === "list" ? several(text) : text;
}
