// Log: what is told of messages, as it is told, and what is on record.

import { ask, chip, clock, count, every, h, hand, link, pick, show, td, tell, to, when, words, zone } from "./dom.js";
import { file, get, post } from "./api.js";
import { say } from "./shell.js";

const STATUSES = ["", "accepted", "scheduled", "held", "sending", "unknown", "sent", "failed", "delivered", "read", "suppressed", "expired", "cancelled"];
// Rows that are asked for at once; and at most, where all that is shown is read again.
const PAGE = 100;
const MOST = 1000;
// So many rows are kept while lines come in, and so many new ones are shown at once: more than that nobody reads.
const KEPT = 200;
const AT_ONCE = 20;
const FLUSH = 250;
// What was lost or refused is tried again, and what was passed over read again, after so long; a list by status is read so often.
const AGAIN = 5000;
const REREAD = 5000;
// It is looked back by itself until so many were found.
const SEVERAL = 20;
const COLUMNS = [["Time", "bare"], ["Status", "bare"], ["Why", "bare wide"], ["Channel", "bare"], ["Template", "bare"], ["Job", ""], ["Patient", ""], ["Site", ""]];
const FIELDS = ["status", "reason", "channel", "provider", "template", "campaign_id", "source", "site", "patient_id", "job_id", "about", "since", "until"];

export function logPage(root, params, shell) {
  const filter = Object.fromEntries(FIELDS.map((name) => [name, params[name]]).filter(([, value]) => value));
  let paused = params.paused === "1" || Boolean(filter.until);
  let stream = null;
  let gone = false;
  // Where "Older" goes on: null: that was all; empty: from the newest on, for some rows were cut away below.
  let next = null;
  let kept = KEPT;
  // By message: its row, its line, and when it was put there.
  const rows = new Map();
  const waiting = new Map();
  let told = 0;
  let flushing = null;
  let rereading = null;
  // Whether the list is being read further back; since when nothing comes.
  let walking = false;
  let lost = null;
  let end = null;

  const body = h("tbody");
  // For eyes only: four times a second is no speed to be read out.
  const rate = h("span", { class: "quiet rate", "aria-hidden": "true" });
  const fault = h("p", { class: "error", role: "alert" });
  const away = h("p", { class: "error", id: "behind", role: "alert" });
  const passed = h("p", { class: "quiet", id: "passed", role: "status" });
  const pauseButton = h("button", { class: "small", on: { click: () => setPaused(!paused) } });
  const search = h("input", { type: "search", "aria-label": "Search in what is shown", placeholder: "Search in what is shown", on: { input: sift } });
  const looking = h("p", { class: "quiet", role: "status" });
  const more = h("button", { hidden: true, on: { click: older } }, "Older");
  const form = filterForm(filter, apply);
  const used = Object.keys(filter).length;

  show(root,
    h("div", { class: "titled" }, h("h1", null, "Log"), rate, h("span", { class: "grow" }), pauseButton,
      h("button", { class: "small", on: { click: share } }, "Copy link"),
      h("button", { class: "small", id: "export", on: { click: exported } }, "Export CSV")),
    h("details", { class: "sheet", open: used > 0 || innerWidth > 720 }, h("summary", null, used ? `Filter: ${Object.entries(filter).map(([name, value]) => `${words(name)} ${words(value)}`).join(", ")}` : "Filter"), form),
    fault, away, passed,
    h("div", { class: "row tools" }, h("div", { class: "grow" }, search), bulk(filter, shell)),
    h("section", { class: "sheet log", "aria-label": "Messages" }, h("div", { class: "scroll" }, h("table", { class: "cards" },
      h("thead", null, h("tr", null, COLUMNS.map(([name]) => h("th", { scope: "col" }, name)))), body)), looking, more));
  label();
  first();
  return () => { gone = true; end?.(); stream?.close(); clearTimeout(flushing); clearTimeout(rereading); };

  async function first() {
    try {
      const page = await get("messages", { ...filter, limit: PAGE });
      if (gone) return;
      show(fault);
      for (const message of page.messages.reverse()) put(fromRow(message));
      if (!end) follow();
      await further(page, SEVERAL);
      if (!gone) nothing();
    } catch (problem) {
      if (gone) return;
      show(fault, problem.message);
      // What was mistyped stays so.
      if (problem.status < 400 || problem.status >= 500) setTimeout(() => { if (!gone) first(); }, AGAIN);
    }
  }

  /** Shows what comes. Not before the list was answered: what is mistyped would be refused here too, in other words. */
  function follow() {
    // Most moves are told to nobody, and none says which status was left: a list by status is read again and again.
    end = filter.status ? every(REREAD, again) : () => {};
    if (!filter.until) listen();
  }

  /** Reads what is shown again, from the newest on. */
  async function again() {
    if (gone || paused) return;
    const begun = performance.now();
    try {
      const page = await get("messages", { ...filter, limit: Math.max(PAGE, Math.min(MOST, rows.size)) }, true);
      if (gone || paused) return;
      catchUp(page, begun);
      if (!stream || stream.readyState === EventSource.OPEN) reached();
    } catch (problem) {
      if (gone) return;
      cutOff(problem.message);
      againSoon();
    }
  }

  function againSoon() {
    clearTimeout(rereading);
    rereading = setTimeout(() => { tell(passed, ""); again(); }, AGAIN);
  }

  /**
   * Brings the rows up to what `page` says, asked for at `begun`: what has moved comes on top, as if it had been told;
   * what is new stands above the next older one; what does not fit any more goes.
   */
  function catchUp(page, begun) {
    const lines = page.messages.map(fromRow).reverse();
    const found = new Set(lines.map((line) => line.id));
    let below = null;
    body.querySelector(".none")?.remove();
    for (const line of lines) {
      const known = rows.get(line.id);
      if (!known) body.insertBefore(keep(line), below);
      // What was told since then is newer.
      else if (known.at < begun) {
        const same = known.line.status === line.status && known.line.reason === line.reason;
        if (!same) put(line);
        else if (known.line.at !== line.at) put({ ...line, provider: known.line.provider }, { stays: true });
      }
      below = rows.get(line.id).node;
    }
    // So far back the page speaks of everything.
    const reach = page.next ? page.looked_back_to ? Date.parse(page.looked_back_to) : givenAt(lines[0].id) : 0;
    for (const [id, { node, at }] of rows) {
      if (!found.has(id) && at < begun && givenAt(id) > reach && !node.contains(document.activeElement)) {
        rows.delete(id);
        node.remove();
      }
    }
    if (page.next === null) next = null;
    trim();
    nothing();
    if (search.value) sift();
  }

  async function older() {
    const last = body.lastElementChild;
    const enough = rows.size + SEVERAL;
    kept = Infinity;
    try {
      await further(null, enough);
    } catch (problem) {
      show(fault, problem.message);
    }
    // Room for what comes, so that it does not push out what was asked for.
    kept = rows.size + KEPT;
    last?.nextElementSibling?.querySelector("a")?.focus();
    sift();
  }

  /** The next page of what is on record. */
  async function onwards() {
    const page = await get("messages", { ...filter, limit: PAGE, cursor: next });
    for (const message of page.messages) {
      const line = fromRow(message);
      if (!rows.has(line.id)) body.append(keep(line));
    }
    return page;
  }

  // What is rare lies far back: a page that was given up before it was full is followed by the next one by itself, and so is one
  // of which most is shown already.
  async function further(page, enough) {
    walking = true;
    offer();
    try {
      page ??= await onwards();
      next = page.next;
      while (!gone && next && rows.size < enough) {
        if (page.looked_back_to) show(looking, "Looking further back: ", when(page.looked_back_to, true), " …");
        page = await onwards();
        next = page.next;
      }
    } finally {
      walking = false;
      show(looking);
      offer();
    }
  }

  function offer() {
    more.hidden = walking || next === null;
  }

  function listen() {
    const query = new URLSearchParams(Object.entries(filter).filter(([name]) => !["since", "until"].includes(name))).toString();
    stream = new EventSource(`v1/stream${query ? `?${query}` : ""}`);
    stream.onopen = () => {
      reached();
      // What happened before it was open, now and after each time that it was lost, is on record.
      again();
    };
    stream.addEventListener("lines", (event) => {
      for (const line of JSON.parse(event.data)) {
        told += 1;
        if (!paused && line.message_id && line.status) waiting.set(line.message_id, line);
      }
      flushing ??= setTimeout(flush, FLUSH);
    });
    stream.addEventListener("skipped", passOver);
    // A browser tries again by itself where the connection was lost, and not where it was refused.
    stream.onerror = () => {
      if (gone) return;
      if (stream.readyState !== EventSource.CLOSED) { cutOff("Not connected."); return; }
      cutOff("What comes is not shown at the moment; it is tried again. Another window with this page may be one too many.");
      setTimeout(() => { if (!gone) listen(); }, AGAIN);
    };
  }

  function cutOff(why) {
    if (lost !== null) return;
    lost = Date.now();
    tell(away, `${why} What you see is from ${clock(lost)}.`);
  }

  function reached() {
    lost = null;
    tell(away, "");
  }

  /** Some lines are not shown. Once it is calmer, the list is read again, and whole. */
  function passOver() {
    if (paused) return;
    tell(passed, "It comes faster than it can be shown, so some lines are passed over. The list is read again once it is calmer.");
    againSoon();
  }

  // However fast they come, so many nodes at once and no more: the page must answer.
  function flush() {
    flushing = null;
    show(rate, paused ? "" : told > 4 ? `${count(Math.round((told * 1000) / FLUSH))} a second` : "");
    told = 0;
    if (waiting.size > AT_ONCE) passOver();
    const newest = [...waiting.values()].slice(-AT_ONCE);
    waiting.clear();
    requestAnimationFrame(() => {
      for (const line of newest) put(fromEvent(line), { fresh: newest.length < 5 });
      trim();
      if (search.value) sift();
    });
    if (newest.length) flushing = setTimeout(flush, FLUSH);
    else show(rate);
  }

  /** Puts a line on top; in the place of its row where it `stays`, or where the keyboard is in it. */
  function put(line, { fresh, stays } = {}) {
    body.querySelector(".none")?.remove();
    const old = rows.get(line.id)?.node;
    const cell = old ? [...old.cells].findIndex((one) => one.contains(document.activeElement)) : -1;
    const node = keep(line);
    if (fresh) node.classList.add("fresh");
    if (old && (stays || cell >= 0)) old.replaceWith(node);
    else {
      old?.remove();
      body.prepend(node);
    }
    if (cell >= 0) node.cells[cell].querySelector("a")?.focus({ preventScroll: true });
  }

  /** The row of a line, from now on. */
  function keep(line) {
    const node = row(line);
    rows.set(line.id, { node, line, at: performance.now() });
    return node;
  }

  /** Cuts away what is too much, from below; never the row that has the keyboard. */
  function trim() {
    let node = body.lastElementChild;
    while (body.children.length > kept && node) {
      const above = node.previousElementSibling;
      if (!node.contains(document.activeElement)) {
        rows.delete(node.dataset.id);
        node.remove();
        next = "";
      }
      node = above;
    }
    offer();
  }

  function nothing() {
    if (rows.size === 0 && next === null) show(body, h("tr", { class: "none" }, h("td", { colspan: COLUMNS.length, class: "empty" }, filter.until ? "Nothing on record fits." : "Nothing on record fits. What comes appears here.")));
  }

  function sift() {
    const text = search.value.trim().toLowerCase();
    for (const node of body.children) node.hidden = Boolean(text) && !node.textContent.toLowerCase().includes(text);
  }

  function setPaused(on) {
    paused = on;
    label();
    if (on) waiting.clear();
    else again();
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

  /** A refusal is shown here: as a download, its text would lie in the file, or nowhere. */
  async function exported({ currentTarget: button }) {
    if (button.ariaBusy) return;
    button.ariaBusy = "true";
    show(fault);
    say("The table is being made.");
    try {
      hand("messages.csv", await file("messages/export", filter));
    } catch (problem) {
      show(fault, problem.message);
    }
    button.ariaBusy = null;
  }

  function apply(values) {
    location.hash = to("log", values);
  }
}

/** When a message's id was given to it: it begins with that (RFC 9562, 5.7). */
function givenAt(id) {
  return parseInt(id.replaceAll("-", "").slice(0, 12), 16);
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
  // By the clock of that day, which summer time may have moved.
  const local = (iso) => (iso ? new Date(new Date(iso).getTime() - new Date(iso).getTimezoneOffset() * 60000).toISOString().slice(0, 16) : "");
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
