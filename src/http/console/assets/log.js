// Log: what is told of messages, as it is told, and what is on record.

import { ask, chip, count, h, link, pick, show, td, to, when, words, zone } from "./dom.js";
import { get, post } from "./api.js";
import { say } from "./shell.js";

const STATUSES = ["", "accepted", "scheduled", "held", "sending", "unknown", "sent", "failed", "delivered", "read", "suppressed", "expired", "cancelled"];
// So many rows are kept while lines come in, and so many new ones are shown at once: more than that nobody reads.
const KEPT = 200;
const AT_ONCE = 20;
const FLUSH = 250;
const AGAIN = 5000;
// It is looked back by itself until so many were found.
const SEVERAL = 20;
const COLUMNS = [["Time", "bare"], ["Status", "bare"], ["Why", "bare wide"], ["Channel", "bare"], ["Template", "bare"], ["Job", ""], ["Patient", ""], ["Site", ""]];
const FIELDS = ["status", "reason", "channel", "provider", "template", "campaign_id", "source", "site", "patient_id", "job_id", "about", "since", "until"];

export function logPage(root, params, shell) {
  const filter = Object.fromEntries(FIELDS.map((name) => [name, params[name]]).filter(([, value]) => value));
  let paused = params.paused === "1" || Boolean(filter.until);
  let stream = null;
  let gone = false;
  let next = null;
  const rows = new Map();
  const waiting = new Map();
  let told = 0;
  let flushing = null;

  const body = h("tbody");
  // For eyes only: four times a second is no speed to be read out.
  const rate = h("span", { class: "quiet rate", "aria-hidden": "true" });
  const fault = h("p", { class: "error", role: "alert" });
  const pauseButton = h("button", { class: "small", on: { click: () => setPaused(!paused) } });
  const search = h("input", { type: "search", "aria-label": "Search in what is shown", placeholder: "Search in what is shown", on: { input: sift } });
  const looking = h("p", { class: "quiet", role: "status" });
  const more = h("button", { hidden: true, on: { click: older } }, "Older");
  const form = filterForm(filter, apply);
  const used = Object.keys(filter).length;

  show(root,
    h("div", { class: "titled" }, h("h1", null, "Log"), rate, h("span", { class: "grow" }), pauseButton,
      h("button", { class: "small", on: { click: share } }, "Copy link"),
      h("a", { class: "button small", href: exportUrl(filter), download: "messages.csv" }, "Export CSV")),
    h("details", { class: "sheet", open: used > 0 || innerWidth > 720 }, h("summary", null, used ? `Filter: ${Object.entries(filter).map(([name, value]) => `${words(name)} ${words(value)}`).join(", ")}` : "Filter"), form),
    fault,
    h("div", { class: "row tools" }, h("div", { class: "grow" }, search), bulk(filter, shell)),
    h("section", { class: "sheet log", "aria-label": "Messages" }, h("div", { class: "scroll" }, h("table", { class: "cards" },
      h("thead", null, h("tr", null, COLUMNS.map(([name]) => h("th", { scope: "col" }, name)))), body)), looking, more));
  label();
  first();

  async function first() {
    try {
      if (!filter.until) listen();
      const page = await get("messages", { ...filter, limit: 100 });
      if (gone) return;
      for (const message of page.messages.reverse()) put(fromRow(message), false);
      await further(page);
      if (!gone && rows.size === 0) show(body, h("tr", { class: "none" }, h("td", { colspan: COLUMNS.length, class: "empty" }, filter.until ? "Nothing on record fits." : "Nothing on record fits. What comes appears here.")));
    } catch (problem) {
      show(fault, problem.message);
    }
  }

  async function older() {
    more.hidden = true;
    const before = rows.size;
    try {
      await further(await onwards());
    } catch (problem) {
      show(fault, problem.message);
      more.hidden = !next;
    }
    body.children[before]?.querySelector("a")?.focus();
    sift();
  }

  /** The next page of what is on record. */
  async function onwards() {
    const page = await get("messages", { ...filter, limit: 100, cursor: next });
    for (const message of page.messages) {
      const line = fromRow(message);
      if (!rows.has(line.id)) { const node = row(line); rows.set(line.id, node); body.append(node); }
    }
    return page;
  }

  // What is rare lies far back: a page that was given up before it was full is followed by the next one by itself.
  async function further(page) {
    const enough = rows.size + SEVERAL;
    next = page.next;
    while (!gone && next && page.looked_back_to && rows.size < enough) {
      show(looking, "Looking further back: ", when(page.looked_back_to, true), " …");
      page = await onwards();
      next = page.next;
    }
    show(looking);
    more.hidden = !next;
  }

  function listen() {
    const query = new URLSearchParams(Object.entries(filter).filter(([name]) => !["since", "until"].includes(name))).toString();
    stream = new EventSource(`v1/stream${query ? `?${query}` : ""}`);
    stream.onopen = () => show(fault);
    stream.addEventListener("lines", (event) => {
      for (const line of JSON.parse(event.data)) {
        told += 1;
        if (!paused && line.message_id && line.status) waiting.set(line.message_id, line);
      }
      flushing ??= setTimeout(flush, FLUSH);
    });
    stream.addEventListener("skipped", () => say("It comes faster than it can be shown; some were passed over. The list on record is whole: load the page again."));
    // A browser tries again by itself where the connection was lost, and not where it was refused.
    stream.onerror = () => {
      if (gone || stream.readyState !== EventSource.CLOSED) return;
      show(fault, "What comes is not shown at the moment; it is tried again. Another window with this page may be one too many.");
      setTimeout(() => { if (!gone) listen(); }, AGAIN);
    };
  }

  // However fast they come, so many nodes at once and no more: the page must answer.
  function flush() {
    flushing = null;
    show(rate, paused ? "" : told > 4 ? `${count(Math.round((told * 1000) / FLUSH))} a second` : "");
    told = 0;
    const newest = [...waiting.values()].slice(-AT_ONCE);
    waiting.clear();
    requestAnimationFrame(() => { for (const line of newest) put(fromEvent(line), true, newest.length < 5); if (search.value) sift(); });
    if (newest.length) flushing = setTimeout(flush, FLUSH);
    else show(rate);
  }

  function put(line, live, fresh) {
    body.querySelector(".none")?.remove();
    rows.get(line.id)?.remove();
    const node = row(line);
    if (fresh) node.classList.add("fresh");
    rows.delete(line.id);
    rows.set(line.id, node);
    body.prepend(node);
    while (body.children.length > KEPT && live) {
      rows.delete(body.lastChild.dataset.id);
      body.lastChild.remove();
    }
  }

  function sift() {
    const text = search.value.trim().toLowerCase();
    for (const node of body.children) node.hidden = Boolean(text) && !node.textContent.toLowerCase().includes(text);
  }

  function setPaused(on) {
    paused = on;
    if (on) waiting.clear();
    label();
  }

  function label() {
    show(pauseButton, paused ? "Go on" : "Pause");
  }

  async function share() {
    try {
      await navigator.clipboard.writeText(location.href);
      say("The link is copied: it shows the same filter to whoever may see it.");
    } catch {
      say("Copy the address of this page: it holds the filter.");
    }
  }

  function apply(values) {
    location.hash = to("log", values);
  }

  return () => { gone = true; stream?.close(); clearTimeout(flushing); };
}

function fromRow(message) {
  return { id: message.id, at: message.changed_at, status: message.status, reason: message.reason, channel: message.channel, provider: "", template: message.template,
    source: message.source, job: message.job_id, patient: message.patient_id, site: message.site, test: message.test };
}

function fromEvent(event) {
  return { id: event.message_id, at: event.at, status: event.status, reason: event.reason, channel: event.channel, provider: event.provider, template: event.template,
    source: event.source, job: event.job_id, patient: event.patient_id, site: event.site, test: event.test };
}

function row(line) {
  const cells = [link(`message/${line.id}`, {}, when(line.at)), [chip(line.status), line.test ? chip("test") : null], words(line.reason), line.channel && [line.channel, line.provider && h("span", { class: "quiet" }, ` ${line.provider}`)], line.template,
    h("span", { title: line.source }, line.job), line.patient && link(`patients/${encodeURIComponent(line.patient)}`, {}, line.patient), line.site];
  return h("tr", { "data-id": line.id }, cells.map((cell, n) => td(cell, COLUMNS[n])));
}

function filterForm(filter, apply) {
  const text = (name, label, more) => h("label", null, label, h("input", { name, value: filter[name] ?? "", autocomplete: "off", spellcheck: "false", ...more }));
  const local = (iso) => (iso ? new Date(new Date(iso).getTime() - new Date().getTimezoneOffset() * 60000).toISOString().slice(0, 16) : "");
  return h("form", { class: "fields", on: { submit } },
    pick("status", STATUSES.map((one) => [one, one ? words(one) : "any"]), filter.status, "Status"), text("reason", "Reason"),
    pick("channel", [["", "any"], "sms", "email", "voice", "portal"], filter.channel, "Channel"),
    text("provider", "Provider"), text("template", "Template"), text("campaign_id", "Campaign"), text("source", "Source"), text("site", "Site"), text("patient_id", "Patient id"), text("job_id", "Job id"), text("about", "About"),
    h("label", null, `Accepted from (${zone().short})`, h("input", { name: "since", type: "datetime-local", value: local(filter.since) })),
    h("label", null, `Accepted before (${zone().short})`, h("input", { name: "until", type: "datetime-local", value: local(filter.until) })),
    h("div", { class: "row" }, h("button", { class: "main" }, "Show"), h("a", { class: "button", href: "#/log" }, "Clear")));
  function submit(event) {
    event.preventDefault();
    const values = Object.fromEntries(new FormData(event.target));
    values.reason = values.reason.trim().replaceAll(" ", "_");
    for (const name of ["since", "until"]) if (values[name]) values[name] = new Date(values[name]).toISOString();
    apply(values);
  }
}

function exportUrl(filter) {
  const query = new URLSearchParams(filter).toString();
  return `v1/messages/export${query ? `?${query}` : ""}`;
}

function bulk(filter, shell) {
  if (!filter.status || !shell.may("messages:write")) return null;
  const actions = { failed: "retry", suppressed: "retry", cancelled: "retry", unknown: "retry", accepted: "cancel", scheduled: "cancel", held: "cancel", sending: "cancel" };
  const action = actions[filter.status];
  if (!action) return null;
  return h("button", { id: "bulk", on: { click: run } }, action === "retry" ? "Try these again …" : "Cancel these …");

  async function run() {
    const wanted = { ...filter };
    const body = { action, filter: wanted, accept_duplicate: filter.status === "unknown" };
    let dry;
    try {
      dry = await post("messages/actions", { ...body, dry_run: true });
    } catch (problem) {
      say(problem.message);
      return;
    }
    if (dry.matching === 0) { say("There is none that this can be done to."); return; }
    const number = `${dry.at_least ? "at least " : ""}${count(dry.matching)} ${dry.matching === 1 ? "message" : "messages"}`;
    const result = await ask({
      title: action === "retry" ? `Try ${number} again` : `Cancel ${number}`,
      text: [action === "retry" ? "Each becomes a new message, and passes consent, caps and hours anew. " : "They are not sent, and their sources are told. ",
        filter.status === "unknown" ? "They may have arrived: patients may get them twice." : null, "500 at once; what is left is told."],
      yes: action === "retry" ? "Try again" : "Cancel them", danger: action === "cancel" || filter.status === "unknown",
      check: () => post("messages/actions", body),
    });
    if (result) {
      say(`${count(result.done)} done, ${count(result.refused)} not (already tried again, expired, or changed meanwhile)${result.more ? "; more are left" : ""}.`);
    }
  }
}
