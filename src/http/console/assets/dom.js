// Nodes are built, text stays text: nothing that comes from outside is ever read as markup.

/** An element. `props`: `class`, `on` (events), anything else is an attribute; null and false are left out. */
export function h(tag, props, ...children) {
  return filled(document.createElement(tag), props, children);
}

/** An element of a drawing. */
export function s(tag, props, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), props, children);
}

function filled(node, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, run] of Object.entries(value)) node.addEventListener(event, run);
    else if (name === "value") node.value = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Puts `children` in the place of whatever `node` held. Who was in there with the keyboard is in the same place afterwards. */
export function show(node, ...children) {
  const inside = node !== document.activeElement && node.contains(document.activeElement);
  const place = inside ? placeOf(document.activeElement, node) : null;
  node.replaceChildren(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  if (place) goTo(place, node);
  return node;
}

/** Lets `node` say `text`. What it says already is left alone, for it may be read out. */
export function tell(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** What `node` is among the like of it within `root`: enough to find it when all is drawn anew. */
function placeOf(node, root) {
  const place = { tag: node.tagName, mark: mark(node), row: rowOf(node) };
  return { ...place, at: Math.max(0, alike(root, place).indexOf(node)) };
}

/** Puts the keyboard there. Where it is gone: to what else can be done in its row, never to another row's; else to the beginning of the page. */
function goTo(place, root) {
  const rest = place.row ? [...root.querySelectorAll("a, button, input")].filter((one) => rowOf(one) === place.row) : [];
  const found = alike(root, place)[place.at] ?? rest.at(-1) ?? root.closest("main") ?? document.getElementById("main");
  found?.focus({ preventScroll: true });
}

function alike(root, { tag, mark: sign, row }) {
  return [...root.querySelectorAll(tag.toLowerCase())].filter((one) => mark(one) === sign && rowOf(one) === row);
}

/** What the row is about in which a node stands. */
function rowOf(node) {
  const row = node.closest("tr, [data-key]");
  return row ? row.dataset.key ?? row.querySelector("a")?.getAttribute("href") ?? row.textContent : "";
}

function mark(node) {
  return [node.id, node.getAttribute("name"), node.getAttribute("href"), node.tagName === "TEXTAREA" ? "" : node.textContent.trim().slice(0, 60)].join("|");
}

const GOOD = ["sent", "delivered", "read", "closed", "resolved", "ok", "running", "done", "approved"];
const BAD = ["failed", "unknown", "bad", "wrong", "undelivered", "open_breaker"];
const WARN = ["suppressed", "expired", "cancelled", "half_open", "recovering", "reassigned", "paused", "canary_hold", "awaiting_approval"];
const WAIT = ["draft", "accepted", "scheduled", "held", "sending", "claimed"];

/** The tone of a status. */
export function tone(word) {
  return GOOD.includes(word) ? "good" : BAD.includes(word) ? "bad" : WARN.includes(word) ? "warn" : WAIT.includes(word) ? "wait" : "";
}

export function chip(word, kind) {
  return h("span", { class: `chip ${kind ?? tone(word)}` }, String(word ?? "").replaceAll("_", " "));
}

/** Words as people read them. */
export function words(text) {
  return String(text ?? "").replaceAll("_", " ");
}

/** A clock from 00 to 23: by `hour12: false` alone, half past midnight is 24:30 in some countries. */
export const CLOCK = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };

/** The time of day, in the zone of whoever reads. */
export function clock(at) {
  return new Date(at).toLocaleTimeString([], CLOCK);
}

/** A time, short, in the zone of whoever reads; the whole of it on demand. */
export function when(iso, withDate) {
  if (!iso) return h("span", { class: "quiet" }, "–");
  const at = new Date(iso);
  const today = at.toDateString() === new Date().toDateString();
  const time = at.toLocaleTimeString([], { ...CLOCK, second: "2-digit" });
  const day = at.toLocaleDateString([], { month: "short", day: "numeric", year: at.getFullYear() === new Date().getFullYear() ? undefined : "numeric" });
  const whole = at.toLocaleString([], { dateStyle: "medium", timeStyle: "long", hourCycle: "h23" });
  return h("time", { datetime: iso, title: whole, class: "nowrap" }, today && !withDate ? time : `${day}, ${time}`);
}

/** The zone of all times that are shown: as a clock names it, and whole. */
export function zone(at = new Date()) {
  const short = new Intl.DateTimeFormat("en-US", { timeZoneName: "short" }).formatToParts(at).find((part) => part.type === "timeZoneName")?.value ?? "";
  return { short, whole: Intl.DateTimeFormat().resolvedOptions().timeZone };
}

/** What is spoken, without the signs that tell a voice how: a break becomes a dash. */
export function spoken(text) {
  return text.replace(/<break[^>]*>/g, "– ").replace(/<[^>]+>/g, "");
}

const CHANNELS = { sms: "SMS", email: "Email", voice: "Voice calls", portal: "Portal" };

/** A channel as a heading. */
export function channelName(channel) {
  return CHANNELS[channel] ?? channel;
}

/** A length of time. */
export function span(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const n = Math.max(0, seconds);
  if (n < 1) return "< 1 s";
  if (n < 120) return `${Math.round(n)} s`;
  if (n < 7200) return `${Math.round(n / 60)} min`;
  if (n < 172800) return `${Math.round(n / 3600)} h`;
  return `${Math.round(n / 86400)} d`;
}

export function count(n) {
  return n === null || n === undefined ? "–" : n.toLocaleString("en-US");
}

/** A table whose rows become cards on a telephone. `columns`: [name, class]. */
export function table(columns, rows, caption) {
  const names = columns.map((column) => (Array.isArray(column) ? column : [column, ""]));
  return h("div", { class: "scroll" }, h("table", { class: "cards" },
    caption && h("caption", { class: "sr" }, caption),
    h("thead", null, h("tr", null, names.map(([name, kind]) => h("th", { scope: "col", class: kind }, name || h("span", { class: "sr" }, "To do"))))),
    h("tbody", null, rows.map((cells) => h("tr", null, cells.map((cell, n) => td(cell, names[n] ?? ["", ""])))))));
}

export function td(cell, [name, kind]) {
  const empty = cell === null || cell === undefined || cell === "";
  return h("td", { class: kind, "data-name": !empty && name && !kind?.includes("bare") ? name.toLowerCase() : null }, empty ? null : cell);
}

export function facts(pairs) {
  return h("dl", { class: "facts" }, pairs.filter(([, value]) => value !== null && value !== undefined && value !== "")
    .map(([name, value]) => [h("dt", null, name), h("dd", null, value)]));
}

/** A link within the console. */
export function link(page, params, ...children) {
  return h("a", { href: to(page, params) }, ...children);
}

export function to(page, params) {
  const query = new URLSearchParams(Object.entries(params ?? {}).filter(([, value]) => value)).toString();
  return `#/${page}${query ? `?${query}` : ""}`;
}

export function pick(name, options, value, label, more) {
  return h("label", null, label, h("select", { name, ...more }, options.map((option) => {
    const [word, text] = Array.isArray(option) ? option : [option, words(option)];
    return h("option", { value: word, selected: word === (value ?? "") }, text);
  })));
}

/** Hands `text` over as a file. */
export function hand(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
  const way = h("a", { href: url, download: name });
  way.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

/**
 * Runs `run` again and again, each time so many milliseconds after it has ended: not where nobody sees it, nor beneath a dialog.
 * Answers how that is ended.
 */
export function every(ms, run) {
  let timer = setTimeout(again, ms);
  async function again() {
    try {
      if (!document.hidden && !document.querySelector("dialog")) await run();
    } finally {
      if (timer !== null) timer = setTimeout(again, ms);
    }
  }
  return () => {
    clearTimeout(timer);
    timer = null;
  };
}

let busy = null;

/** Asks for a confirmation, a reason or more. Resolves to the form's values, or to null. */
export function ask({ title, text, fields, yes, danger, check }) {
  busy?.close();
  const before = document.activeElement;
  const place = before && before !== document.body ? placeOf(before, document.body) : null;
  return new Promise((resolve) => {
    const error = h("p", { class: "error", role: "alert" });
    const form = h("form", { method: "dialog", on: { submit } },
      h("h2", null, title), text && h("div", null, text), fields, error,
      h("div", { class: "row" },
        h("button", { type: "button", on: { click: () => dialog.close() } }, "Back"),
        h("button", { class: danger ? "stop" : "main", type: "submit" }, yes)));
    const dialog = h("dialog", { "aria-label": title, on: { close } }, form);
    let answer = null;
    async function submit(event) {
      event.preventDefault();
      const values = Object.fromEntries(new FormData(form));
      const buttons = form.querySelectorAll("button");
      buttons.forEach((button) => { button.disabled = true; });
      try {
        answer = check ? await check(values) : values;
        dialog.close();
      } catch (problem) {
        show(error, problem.message);
      }
      buttons.forEach((button) => { button.disabled = false; });
    }
    function close() {
      busy = null;
      dialog.remove();
      // The page may have been drawn anew meanwhile, and what opened this with it.
      if (place && !before.isConnected) goTo(place, document.body);
      resolve(answer);
    }
    document.body.append(dialog);
    busy = dialog;
    dialog.showModal();
    (form.querySelector("input, select, textarea") ?? form.querySelector("button.main, button.stop")).focus();
  });
}
