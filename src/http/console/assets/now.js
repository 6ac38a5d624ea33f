// Now: is it well, and if not, why.

import { channelName, chip, count, every, h, link, show, span, table, tell, to, when, words } from "./dom.js";
import { get } from "./api.js";
import { bars, spread } from "./chart.js";

const EVERY = 5000;
// What the charts count. That an outcome is unknown is told only where `[events] statuses` has it, and may change: those that are
// unknown now have a tile of their own.
const TONE = { sent: "good", delivered: "good", read: "good", failed: "bad", suppressed: "warn", expired: "warn", cancelled: "warn" };
const FAILED = ["failed", "unknown", "job.rejected"];

export function nowPage(root) {
  let gone = false;
  const body = h("div");
  const fault = h("p", { class: "error", role: "alert" });
  const state = stateOf();
  show(root, h("h1", { class: "sr" }, "Now"), fault, body);
  draw();
  const end = every(EVERY, draw);
  return () => { gone = true; end(); };

  async function draw() {
    try {
      const now = await get("now", {}, true);
      if (gone) return;
      tell(fault, "");
      state.say(now);
      if (!state.node.isConnected) fault.after(state.node);
      show(body, page(now));
    } catch (problem) {
      tell(fault, `${problem.message} What you see is from before.`);
    }
  }
}

function page(now) {
  return [tiles(now), h("div", { class: "grid" }, charts(now)), errors(now), providersOf(now),
    h("p", { class: "quiet" }, "As of ", when(now.at), ". ", now.counts ? `Counted ${span(now.counted_seconds_ago)} ago. ` : "The first count is under way. ", "Charts lag by some seconds.")];
}

/** Whether it is well. Its heading stays the same node: it is read out when it changes, not each time that the page is drawn. */
function stateOf() {
  const title = h("h2");
  const findings = h("ul");
  const node = h("section", { "aria-label": "State" }, h("div", null, h("div", { role: "status" }, title), findings));
  return { node, say };

  function say(now) {
    node.className = `state ${now.healthy ? (now.findings.length ? "look" : "") : "bad"}`;
    tell(title, now.healthy ? (now.findings.length ? "It runs; something wants a look" : "All is well") : "Something is wrong");
    findings.hidden = now.findings.length === 0;
    // What has no page of its own leads nowhere.
    show(findings, now.findings.map((one) => h("li", { class: one.level }, one.page === "now" ? one.what : h("a", { href: `#/${one.link}` }, one.what), h("div", { class: "quiet" }, `First: ${one.first}.`))));
  }
}

function sum(rows, want) {
  return rows.filter(want).reduce((all, row) => all + row.count, 0);
}

/** How many of `rows` were sent each minute of the last two spans, of which the last is not over yet. */
function sentAMinute(now, rows) {
  const [at, step] = [new Date(now.at).getTime(), now.pulse.step_minutes * 60000];
  const from = (Math.floor(at / step) - 1) * step;
  return sum(rows, (row) => row.what === "sent" && new Date(row.at) >= from) / ((at - from) / 60000);
}

function tiles(now) {
  const rows = now.pulse.rows;
  const sent = sum(rows, (row) => row.what === "sent");
  const stopped = sum(rows, (row) => row.what === "suppressed" && row.reason === "opted_out");
  const wished = sum(rows, (row) => row.what === "reply.stop" || row.what === "preference.changed");
  const urgent = Math.max(0, ...now.oldest.filter((due) => due.priority === "urgent").map((due) => due.seconds));
  const oldest = Math.max(0, ...now.oldest.map((due) => due.seconds));
  const counts = now.counts;
  const unknown = counts && sum(counts.messages, (group) => group.status === "unknown");
  const work = counts && counts.work.reduce((all, [, n]) => all + n, 0);
  const rate = sentAMinute(now, rows);
  const tile = (name, value, page, level) => h(page ? "a" : "div", { class: `tile ${level ?? ""}`, href: page }, h("span", null, name), h("b", null, value));
  return h("section", { class: "tiles", "aria-label": "Figures" },
    tile("Sent a minute", rate >= 10 ? count(Math.round(rate)) : rate.toFixed(1), to("log", { status: "sent" })),
    tile("Oldest urgent in queue", urgent ? span(urgent) : "none", to("log"), urgent > 60 ? "bad" : ""),
    tile("Oldest in queue", oldest ? span(oldest) : "none", to("log"), oldest > 900 ? "look" : ""),
    tile("Due, not taken up yet", count(counts?.backlog), to("log")),
    tile("Outcome unknown", count(unknown), to("log", { status: "unknown" }), unknown ? "bad" : ""),
    tile("Dead jobs", count(counts?.parked), to("dead"), counts?.parked ? "look" : ""),
    tile("Work for people", count(work), to("work"), work ? "look" : ""),
    tile("Stops and wishes changed per 1,000 sent, 6 h", sent ? ((wished / sent) * 1000).toFixed(1) : "–", null),
    tile("Failed, 6 h", count(sum(rows, (row) => row.what === "failed")), to("log", { status: "failed" })),
    tile("Stopped as opted out, 6 h", count(stopped), to("log", { status: "suppressed", reason: "opted_out" })));
}

function charts(now) {
  const rows = now.pulse.rows.filter((row) => TONE[row.what]);
  const of = (channel) => rows.filter((row) => row.channel === channel);
  const channels = [...new Set(["sms", "email", ...rows.map((row) => row.channel).filter(Boolean)])].sort();
  // What ended before a channel was chosen for it belongs to none.
  const early = of("");
  return [channels.map((channel) => chart(now, channelName(channel), of(channel))), early.length > 0 && chart(now, "Before a channel was chosen", early)];
}

function chart(now, name, rows) {
  // A message is counted when it is sent; that it arrived, which is told later, is no second one.
  const spans = spread(rows.filter((row) => !["delivered", "read"].includes(row.what)), now.at, now.pulse.minutes, now.pulse.step_minutes, (row) => TONE[row.what]);
  const [sent, failed, stopped] = [sum(rows, (row) => row.what === "sent"), sum(rows, (row) => TONE[row.what] === "bad"), sum(rows, (row) => TONE[row.what] === "warn")];
  const label = `${name}, last 6 hours: ${sent} sent, ${failed} failed, ${stopped} stopped`;
  const [drawing, scale, most] = bars(spans, ["good", "warn", "bad"], label);
  return h("section", { class: "sheet" }, h("div", { class: "titled" }, h("h2", null, name), h("span", { class: "quiet" }, `at most ${count(most)} in ${now.pulse.step_minutes} min`)), drawing, scale,
    h("p", { class: "legend" }, h("span", null, h("i"), `${count(sent)} sent`), h("span", null, h("i", { class: "bad" }), `${count(failed)} failed`),
      h("span", null, h("i", { class: "warn" }), `${count(stopped)} stopped by a rule`)));
}

function errors(now) {
  const groups = new Map();
  for (const row of now.pulse.rows.filter((one) => FAILED.includes(one.what))) {
    const key = [row.what, row.reason, row.channel, row.provider].join("|");
    const group = groups.get(key) ?? { ...row, count: 0 };
    group.count += row.count;
    group.at = row.at;
    groups.set(key, group);
  }
  const rows = [...groups.values()].sort((a, b) => new Date(b.at) - new Date(a.at) || b.count - a.count).slice(0, 12);
  return h("section", { class: "sheet" }, h("h2", null, "What failed in the last 6 hours"), rows.length === 0 ? h("p", { class: "empty" }, "Nothing.") :
    table(["Last", ["What", "bare"], ["Reason", "bare"], "Channel", "Provider", ["How many", "num"]], rows.map((row) => [
      when(row.at), row.what === "job.rejected" ? link("dead", { reason: row.reason }, "refused job") : chip(row.what),
      row.what === "job.rejected" ? words(row.reason) : link("log", { status: row.what, reason: row.reason, channel: row.channel }, words(row.reason) || "–"),
      row.channel, row.provider, count(row.count)]), "What failed"));
}

/** The lanes of all workers that live, by provider. */
export function lanesOf(now) {
  const alive = now.workers.filter((worker) => new Date(now.at) - new Date(worker.seen_at) <= now.stale_seconds * 1000);
  return now.providers.map((provider) => {
    const lanes = alive.flatMap((worker) => (worker.state?.lanes ?? []).filter((lane) => lane.provider === provider.name));
    const states = [...new Set(lanes.map((lane) => lane.breaker))];
    const total = (name) => lanes.reduce((all, lane) => all + (lane[name] ?? 0), 0);
    return { ...provider, states, waiting: total("waiting"), inFlight: total("in_flight"), lanes: lanes.length, carry: lanes };
  });
}

export function breaker(states) {
  if (states.length === 0) return chip("no worker", "bad");
  return states.map((state) => chip({ closed: "healthy", open: "failing, not used", half_open: "on trial", recovering: "recovering" }[state] ?? state, state === "closed" ? "good" : state === "open" ? "bad" : "warn"));
}

/** Sent by a provider in the last five to ten minutes, each second, and how full each of its limits is, in segments. */
export function use(now, provider) {
  const rate = sentAMinute(now, now.pulse.rows.filter((row) => row.provider === provider.name)) / 60;
  const full = quotas(provider.carry).map(({ limit, used, of }) => {
    const percent = Math.round((used / of) * 100);
    return h("div", { class: "quiet" }, `${count(used)} of ${limit}, `, percent >= 90 ? chip(`${percent} %`, "warn") : `${percent} %`);
  });
  return [`${rate < 10 ? rate.toFixed(1) : Math.round(rate)}/s`, full];
}

/** Of each limit how much is used: workers add up, senders stand apart, and the fullest of them counts. */
export function quotas(lanes) {
  const bySender = new Map();
  for (const lane of lanes) {
    for (const one of lane.limits ?? []) {
      const key = `${one.limit} ${one.limit.endsWith("per sender") ? lane.sender : ""}`;
      const known = bySender.get(key);
      // A day is counted by the ledger for everybody; the others each worker counts for itself.
      const used = known ? (one.shared ? Math.max(known.used, one.used) : known.used + one.used) : one.used;
      bySender.set(key, { ...one, used });
    }
  }
  const fullest = new Map();
  for (const one of bySender.values()) {
    if (!fullest.has(one.limit) || fullest.get(one.limit).used < one.used) fullest.set(one.limit, one);
  }
  return [...fullest.values()];
}

function providersOf(now) {
  return h("section", { class: "sheet" }, h("h2", null, link("providers", {}, "Providers")),
    now.providers.length === 0 ? h("p", { class: "empty" }, "None is configured.") :
    table([["Provider", "bare"], ["Channel", "bare"], ["State", "bare"], ["Waiting", "num"], ["On its way", "num"], ["Sent a second; used of its limits", "num"]], lanesOf(now).map((provider) => [
      provider.name, provider.channel, breaker(provider.states), count(provider.waiting), count(provider.inFlight), use(now, provider)]), "Providers"));
}

