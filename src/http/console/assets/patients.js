// Patients: by their ids, masked; contacts, wishes, consents, messages.

import { chip, facts, h, link, show, table, when, words } from "./dom.js";
import { get } from "./api.js";
import { reveal } from "./shell.js";

export function patientsPage(root, { id }, shell) {
  const found = h("div");
  const form = h("form", { class: "row", role: "search", on: { submit } },
    h("label", { class: "grow" }, "Patient id, as the source names it", h("input", { name: "id", value: id ?? "", required: true, autocomplete: "off", spellcheck: "false" })), h("button", { class: "main" }, "Show"));
  function submit(event) {
    event.preventDefault();
    location.hash = `#/patients/${encodeURIComponent(form.elements.id.value.trim())}`;
  }
  show(root, h("div", { class: "titled" }, h("h1", null, "Patients")), h("div", { class: "sheet" }, form), found);
  if (id) draw();
  else {
    show(found, h("p", { class: "quiet" }, "Patients are found by the id that their source gives them; names and numbers are not searched. The log and the work list lead here too."));
    form.elements.id.focus();
  }

  async function draw() {
    const [patient, messages] = await Promise.all([
      get(`patients/${encodeURIComponent(id)}`, { masked: "true" }).catch((problem) => problem),
      get("messages", { patient_id: id, limit: 50 }).catch((problem) => problem)]);
    const box = h("div");
    show(found,
      patient instanceof Error ? h("p", { class: "sheet" }, patient.status === 404 ? "The directory has no such patient, or it is none of your sites'." : patient.message) : record(patient, box),
      h("section", { class: "sheet" }, h("h2", null, "Messages"), messages instanceof Error ? h("p", { class: "error", role: "alert" }, messages.message) : messages.messages.length === 0 ? h("p", { class: "empty" }, "None.") :
        table([["Accepted", "bare"], ["Status", "bare"], ["Why", "bare"], ["Channel", "bare"], "Template", "About"], messages.messages.map((message) => [
          link(`message/${message.id}`, {}, when(message.accepted_at, true)), chip(message.status), words(message.reason), message.channel, message.template, message.about]), "Messages"),
        messages.next && h("p", null, link("log", { patient_id: id }, "All of them, in the log"))));
  }

  function record(patient, box) {
    // A STOP by text binds the address, and with it everybody behind it: it stands beside the record.
    const consents = [...(patient.consents ?? []), ...(patient.said_at_addresses ?? []).map((one) => ({ ...one, binds: true }))];
    const stop = [patient.deceased && "deceased", !patient.active && "not active", patient.do_not_contact && "do not contact", patient.pause_until && !isPast(patient.pause_until) && ["paused until ", when(patient.pause_until, true)]].filter(Boolean);
    return [h("div", { class: "grid" },
      h("section", { class: "sheet" }, h("div", { class: "titled" }, h("h2", null, patient.id), stop.map((one) => h("span", { class: "chip bad" }, one))),
        facts([["Language", patient.language], ["Time zone", patient.timezone], ["Site", patient.site], ["Prefers", (patient.preferred_channels ?? []).join(", ")],
          ["For each purpose", Object.entries(patient.preferences ?? {}).map(([purpose, channels]) => `${purpose}: ${channels.length ? channels.join(", ") : "nothing"}`).join("; ")],
          ["Changed", when(patient.updated_at, true)]]),
        shell.may("patients:read") && h("p", { class: "tools" }, h("button", { on: { click: () => open(box) } }, "Show the whole record …")), box),
      h("section", { class: "sheet" }, h("h2", null, "Contacts"), (patient.contacts ?? []).length === 0 ? h("p", { class: "empty" }, "None.") :
        table([["Channel", "bare"], ["Address", "bare"], ["State", "bare"], ["", "bare"]], patient.contacts.map((one) => [one.channel, one.address, chip(one.status), [one.only && chip("only here", "warn"), one.private && chip("private", "wait")]]), "Contacts"))),
    h("section", { class: "sheet" }, h("h2", null, "Consents, as they were said"), consents.length === 0 ? h("p", { class: "empty" }, "None is on record.") :
      table([["When", "bare"], ["What", "bare"], "Purpose", "Channel", "Address", "Said by"], consents.sort((a, b) => new Date(b.at) - new Date(a.at)).map((one) => [
        when(one.at, true), saidOf(one), one.purpose ?? "every purpose", one.channel ?? "every channel", one.address, [words(one.source), one.binds && [" ", chip("binds the address", "wait")]]]), "Consents")),
    (patient.changes ?? []).length > 0 && h("section", { class: "sheet" }, h("h2", null, "What was changed, and by whom"),
      table([["When", "bare"], "What", ["By", "bare"]], [...patient.changes].reverse().map((one) => [when(one.at, true), one.what, words(one.by)]), "Changes"))];
  }

  async function open(box) {
    const whole = await reveal(`patients/${encodeURIComponent(id)}/reveal`, "this patient's record");
    if (whole) show(box, h("div", { class: "secret" }, h("div", { class: "text mono" }, JSON.stringify(whole, null, 2)), h("button", { class: "small", on: { click: () => show(box) } }, "Hide")));
  }
}

function isPast(iso) {
  return new Date(iso) <= Date.now();
}

/** What was said, and how long it holds: an agreement may have an end. */
function saidOf(one) {
  if (!one.granted) return chip("refused", "bad");
  if (!one.expires_at) return chip("agreed", "good");
  return isPast(one.expires_at) ? [chip("ran out", "warn"), " ", when(one.expires_at, true)] : [chip("agreed", "good"), " until ", when(one.expires_at, true)];
}
