// One campaign: who would get what, who agrees, how it goes, what came of it.

import { CLOCK, ask, channelName, chip, count, every, facts, h, link, pick, show, span, spoken, table, to, when, words, zone } from "./dom.js";
import { get, post } from "./api.js";
import { ROWS, bring, broughtOf, listField } from "./list.js";
import { reveal, say } from "./shell.js";

const EVERY = 3000;
// How fast it goes is told of the last five minutes, and of one at least: it goes out in bursts.
const RATE_OF_MS = 5 * 60000;
const RATE_FROM_MS = 60000;
const STANDS = {
  draft: "Nothing is sent. Look at the dry run, then start it.",
  awaiting_approval: "Somebody else has to look at the dry run and agree.",
  approved: "Agreed to, for a while ([campaigns] approval_valid) and for exactly this. It can be started.",
  running: "It is being sent, or waits for its hour.",
  canary_hold: "The first few have gone out. Look at what came of them; then say that it may go on.",
  paused: "Nothing more of it is begun.",
  done: "Everybody was written to, or its end has come.",
  cancelled: "It was ended.",
};
export const WHY = {
  operator: "somebody paused it", error_rate: "too many could not be sent", opt_out_rate: "too many said stop", complaint_rate: "too many complained",
  approval_void: "what had been approved is no longer what would be sent: have it approved again, then resume it",
};
/** Why hours are refused that stand without a number. */
export const HOURS_ALONE = "Hours go with a pace: say how many at most, or leave the hours out.";
const FOLLOWS = { correct: "a correction of", retry_failed: "to those not reached by", retry_unanswered: "to those who did not answer" };
const OVER = ["done", "cancelled"];
const BEFORE = ["draft", "awaiting_approval", "approved"];

export function campaignPage(root, id, shell) {
  let gone = false;
  // The campaign as it is shown.
  let last = null;
  // How many messages were made by when, while it runs.
  const made = [];
  let seen = null;
  let unread = false;
  const head = h("div");
  const watch = h("div");
  const forecast = h("div");
  const report = h("div");
  const list = h("div");
  show(root, head, list, watch, forecast, report);
  // It was sent a moment ago, with the plan.
  if (shell.brought?.id === id) show(list, broughtOf(shell.brought));
  shell.brought = null;
  draw();
  const end = every(EVERY, () => draw(true));
  return () => { gone = true; end(); };

  async function draw(byItself) {
    try {
      const [row, told] = await Promise.all([get(`campaigns/${id}`, {}, byItself), get(`campaigns/${id}/report`, { soon: true }, byItself)]);
      if (gone) return;
      if (!byItself || row.state !== last?.state || row.reason !== last?.reason || row.size !== last?.size) header(row);
      show(watch, progress(row, told.report, told.counted_seconds_ago));
      show(report, BEFORE.includes(row.state) ? null : came(row, told.report));
      last = row;
    } catch (problem) {
      last = null;
      show(head, h("h1", null, "Campaign"), h("p", { class: "error", role: "alert" }, problem.status === 404 ? "There is no such campaign." : problem.message));
    }
  }

  function header(row) {
    show(head,
      h("div", { class: "titled" }, h("h1", null, row.plan.title), chip(row.state), h("span", { class: "grow" }), h("div", { class: "row" }, actions(row))),
      h("p", { class: "sheet", id: "stands" }, STANDS[row.state], row.reason && ` ${sentence(WHY[row.reason] ?? words(row.reason))}.`),
      steps(row));
  }

  function steps(row) {
    if (!BEFORE.includes(row.state)) return null;
    const agreed = row.state === "approved";
    const list = [["Audience", row.size > 0, row.size > 0 ? `${count(row.size)} people` : "nobody is on the list yet"], ["Dry run", seen !== null, "who gets what, when, and what it costs"],
      ["Approval", agreed || !row.needs_approval, row.needs_approval ? (row.approval ? `by ${row.approval.by}` : "by somebody else") : "not needed for so few"], ["Start", false, ""]];
    return h("ol", { class: "steps", "aria-label": "Steps" }, list.map(([name, done, text]) => h("li", { class: done ? "done" : "" }, h("b", null, name), done && h("span", { class: "sr" }, " (done)"), h("span", { class: "quiet" }, ` ${text}`))));
  }

  function actions(row) {
    const may = shell.may("campaigns:write");
    const agrees = shell.may("campaigns:approve") || (may && !row.needs_approval);
    const stops = may || agrees || shell.may("holds:write");
    const button = (name, text, run, kind) => h("button", { id: name, class: kind, on: { click: run } }, text);
    const own = row.needs_approval && row.created_by === shell.me.name;
    const before = BEFORE.includes(row.state);
    // A faster pace makes an approval void in whatever pause.
    const waits = ["draft", "awaiting_approval", "paused"].includes(row.state) && row.needs_approval;
    return [
      may && takesList(row) && button("add-list", row.size === 0 ? "Add the list …" : "Add to the list …", () => addList(row)),
      (before || waits) && (may || agrees) && button("dry-run", "Dry run", dryRun),
      agrees && !own && (row.state === "canary_hold" || waits) && button("approve", row.state === "canary_hold" ? "It is well: go on …" : "Approve …", () => approve(row), "main"),
      may && before && (row.state === "approved" || !row.needs_approval || row.state === "draft") && button("start", row.needs_approval && row.state === "draft" ? "Ask for approval" : "Start …", () => start(row), "main"),
      may && row.state === "paused" && button("resume", "Resume …", () => move("resume", "Go on", "It goes on exactly where it was stopped, by its pace.", "It goes on.")),
      may && row.state === "paused" && row.expanded > 0 && button("correct", "Correct …", () => follow(row, "correct"), "main"),
      ["running", "canary_hold"].includes(row.state) && stops && button("pause", "Pause …", () => move("pause", "Pause", "Nothing more of it is begun, on any worker, within two seconds. What is on the wire is not called back.", "Paused.", true), "stop"),
      may && !OVER.includes(row.state) && button("pace", "Pace …", () => pace(row)),
      may && OVER.includes(row.state) && row.expanded > 0 && [button("retry-failed", "Write again to those not reached …", () => follow(row, "retry-failed")), button("retry-unanswered", "Write again to those who did not answer …", () => follow(row, "retry-unanswered")),
        button("correct", "Correct …", () => follow(row, "correct"))],
      may && row.state === "done" && row.expanded > 0 && button("cancel", "Stop what follows …", () => move("cancel", "Stop what follows", "Everybody was written to. Later steps of its messages, and other ways for those that do not arrive, are dropped. It cannot be started again.", "Nothing follows.", true)),
      may && !OVER.includes(row.state) && button("cancel", "End it …", () => move("cancel", "End it", "What has not begun is taken back. It cannot be started again.", "It was ended.", true))];
  }

  async function move(what, yes, text, after, danger) {
    const done = await ask({ title: `${yes}: ${last.plan.title}`, text, yes, danger, check: () => post(`campaigns/${id}/${what}`, {}) });
    if (done) { say(after); draw(); }
  }

  async function addList(row) {
    const more = "A campaign has one list. Add its refused rows, mended, with their refused_line as it is; or send the same list again: it adds nobody twice, and replaces what a row said before.";
    const done = await ask({
      title: row.size === 0 ? "The list of people" : "More of the list", text: row.size === 0 ? ROWS : more,
      fields: h("label", null, "The file", listField({ required: true })), yes: "Add it", check: (form) => bring(id, form.file),
    });
    if (!done) return;
    // What was foreseen is foreseen anew: it was of other people.
    seen = null;
    unread = false;
    show(forecast);
    show(list, broughtOf(done));
    say(`${count(done.added)} added, ${count(done.refused)} refused.`);
    draw();
  }

  async function start(row) {
    const done = await ask({
      title: row.needs_approval && row.state === "draft" ? "Ask for approval" : `Start: ${count(row.size)} people`,
      text: row.needs_approval && row.state === "draft" ? "It is shown as ready. Somebody else looks at the dry run and agrees; then you start it." : `They are written to from now on${row.plan.start ? ", not before the hour of the plan" : ""}${row.plan.canary && row.plan.canary < row.size ? `; the first ${count(row.plan.canary)} go alone` : ""}.`,
      yes: row.needs_approval && row.state === "draft" ? "Ask" : "Start",
      check: () => post(`campaigns/${id}/start`, {}),
    });
    if (done) { say(done.state === "running" ? "It has been started." : "It waits for approval."); draw(); }
  }

  async function approve(row) {
    if (row.state !== "canary_hold" && (!seen || unread)) {
      say("Look at the dry run and its texts first.");
      if (!seen) await dryRun();
      forecast.querySelector("#samples")?.focus();
      return;
    }
    const done = await ask({
      title: row.state === "canary_hold" ? "The first ones are well" : "Approve this campaign",
      text: "Type the number of recipients, as you have read it. Your name and this number go on record; it holds for exactly this list, plan and these texts.",
      fields: h("label", null, "Number of recipients", h("input", { name: "recipients", required: true, inputmode: "numeric", pattern: "[0-9]{1,10}", autocomplete: "off" })),
      yes: "Agree", check: (form) => post(`campaigns/${id}/approve`, { recipients: Number(form.recipients), ...(seen && { hash: seen.hash }) }),
    });
    if (done) { say("Agreed."); draw(); }
  }

  async function pace(row) {
    const now = row.plan.pace;
    const done = await ask({
      title: "How fast", text: row.needs_approval ? "Slower needs nobody's word. Faster is another plan than the one that was approved: it waits for approval." : null,
      fields: [h("label", null, "At most so many (nothing: as fast as the providers take it)", h("input", { name: "count", type: "number", min: 1, max: 1000000, value: now?.count ?? "" })), pick("per", [["hour", "an hour"], ["minute", "a minute"]], now?.per ?? "hour", "in"),
        h("label", null, "While the phones are answered", h("input", { name: "hours", value: now?.hours ?? "", autocomplete: "off", placeholder: "mon-fri 09:00-17:00, sat-sun closed" }))],
      yes: "Set the pace",
      check: (form) => {
        if (!form.count && form.hours.trim()) throw new Error(HOURS_ALONE);
        return post(`campaigns/${id}/pace`, form.count ? { [`per_${form.per}`]: Number(form.count), ...(form.hours.trim() && { hours: form.hours.trim() }) } : {});
      },
    });
    if (done) { say("The pace is set."); draw(); }
  }

  async function follow(row, kind) {
    const text = {
      correct: "A new campaign to exactly those who have received this one, with the texts as they are now. It passes the limit of messages a day, so somebody else approves it.",
      "retry-failed": "A new campaign to exactly those whom this one could not reach.",
      "retry-unanswered": "A new campaign to exactly those who have it and did not answer.",
    }[kind];
    const name = `${id.slice(0, 50)}-${{ correct: "correction", "retry-failed": "again", "retry-unanswered": "reminder" }[kind]}`;
    const plan = row.plan;
    const done = await ask({
      title: { correct: "Correct it", "retry-failed": "Write again", "retry-unanswered": "Remind them" }[kind], text,
      fields: [h("label", null, "Name of the new campaign", h("input", { name: "id", value: name, required: true, pattern: "[a-z0-9_\\-]{1,64}", autocomplete: "off" })),
        h("label", null, "Template", h("input", { name: "template", value: plan.template, required: true, autocomplete: "off" })),
        Object.entries(plan.data).filter(([, value]) => typeof value === "string").map(([field, value]) => h("label", null, field, h("input", { name: `data.${field}`, value, autocomplete: "off" })))],
      yes: "Make the draft",
      check: (form) => {
        const data = { ...plan.data };
        for (const [field, value] of Object.entries(form)) if (field.startsWith("data.")) data[field.slice(5)] = value;
        return post(`campaigns/${id}/${kind}`, { id: form.id, source: plan.source, template: form.template, data, canary: kind === "correct" ? 0 : plan.canary,
          ...(plan.site && { site: plan.site }), ...(plan.purpose && { purpose: plan.purpose }), ...(plan.channels && { channels: plan.channels }),
          ...(plan.pace && { pace: { [`per_${plan.pace.per}`]: plan.pace.count, ...(plan.pace.hours && { hours: plan.pace.hours }) } }) });
      },
    });
    if (done) { say("The draft is made."); location.hash = `#/campaigns/${done.plan.id}`; }
  }

  async function dryRun() {
    show(forecast, h("section", { class: "sheet" }, h("h2", null, "Dry run"), h("p", { class: "empty" }, "Everybody is looked at …")));
    try {
      const told = await post(`campaigns/${id}/dry-run`, {});
      if (gone) return;
      seen = told;
      if (last) header(last);
      show(forecast, foreseen(told));
    } catch (problem) {
      show(forecast, h("p", { class: "error", role: "alert" }, problem.message));
    }
  }

  function foreseen(told) {
    const box = h("div", null, told.samples.length === 0 ? null : [
      h("p", { class: "quiet" }, "The longest text of each channel and language, with an invented name. They say what stands in the list."),
      h("button", { id: "samples", on: { click: open } }, "Show the texts …")]);
    unread = told.samples.length > 0;
    if (told.samples.some((sample) => sample.text)) texts(told.samples);
    async function open() {
      const shown = await reveal(`campaigns/${id}/reveal`, "the texts of this dry run");
      if (shown) texts(shown.samples);
    }
    function texts(samples) {
      unread = false;
      show(box, h("div", { class: "secret", id: "texts" }, samples.map((sample) => [h("h3", null, `${channelName(sample.channel)}, ${sample.language}${sample.pointer ? ", a pointer to the portal" : ""}${sample.segments ? `, ${sample.segments} ${sample.segments === 1 ? "segment" : "segments"}` : ""}`), h("div", { class: "text", lang: sample.language }, sample.channel === "voice" ? spoken(sample.text ?? "") : sample.text)])));
    }
    return h("section", { class: "sheet", id: "forecast" }, h("h2", null, "Dry run"),
      h("p", null, h("b", null, `${count(told.would_get)} of ${count(told.recipients)} people would get a message`), `: ${count(told.segments)} SMS segments, ${told.cost} ${told.currency}.`, told.by_proxy > 0 && ` ${count(told.by_proxy)} of them are read by a proxy in the patient's place.`),
      facts([["First", told.first_send_at && when(told.first_send_at, true)], ["Last", told.last_send_at && when(told.last_send_at, true)]]),
      h("div", { class: "grid" }, groups("By channel", told.by_channel), groups("By language", told.by_language), groups("Left out, and why", told.excluded), groups(BY_HOUR(), hours(told.by_hour))), box);
  }

  function progress(row, told, age) {
    const sums = {};
    const lines = told?.lines ?? [];
    for (const line of lines) sums[line.status] = (sums[line.status] ?? 0) + line.count;
    const reasons = {};
    for (const line of lines) if (line.reason) reasons[`${line.status}|${line.reason}`] = (reasons[`${line.status}|${line.reason}`] ?? 0) + line.count;
    const handled = row.expanded + row.refused;
    const rate = anHour(row);
    const pace = row.plan.pace ? `${count(row.plan.pace.count)} ${row.plan.pace.per === "hour" ? "an hour" : "a minute"}${row.plan.pace.hours ? `, ${row.plan.pace.hours}` : ""}` : "as fast as the providers take it";
    return h("section", { class: "sheet" }, h("h2", null, "How it stands"),
      h("progress", { max: Math.max(1, row.size), value: String(Math.min(handled, row.size)), "aria-label": "People whose messages are made" }),
      h("p", null, `Messages are made for ${count(handled)} of ${count(row.size)} people`, row.no_longer_needed > 0 && `, ${count(row.no_longer_needed)} left out`, row.refused > 0 && `, ${count(row.refused)} could have no message`, "."),
      !told && h("p", { class: "empty" }, "What came of them is being counted …"),
      Object.keys(sums).length > 0 && h("p", { class: "row", id: "sums" }, Object.entries(sums).map(([status, number]) => h("a", { href: to("log", { campaign_id: id, status }), class: "plainly" }, chip(status), ` ${count(number)} `)), age > 5 && h("span", { class: "quiet" }, `counted ${span(age)} ago`)),
      facts([["Template", link(`templates/${row.plan.template}`, {}, row.plan.template)], ["Source", row.plan.source], ["Site", row.plan.site],
        ["Starts", row.plan.start && (typeof row.plan.start === "object" && row.plan.start.local ? `${row.plan.start.local}, where each recipient lives` : startOf(row.plan.start))],
        ["Pace", pace], ["Now", rate !== null && row.plan.pace ? `about ${count(Math.round(rate))} an hour` : null], ["Ends about", row.expected_end && when(row.expected_end, true)],
        ["First go alone", row.plan.canary && row.plan.canary < row.size ? count(row.plan.canary) : null], ["Made by", row.created_by], ["Approved", row.approval ? [`${row.approval.by}, `, when(row.approval.at, true)] : row.needs_approval ? "not yet" : "not needed"],
        ["Follows", row.plan.follows && [`${FOLLOWS[row.plan.follows[0]] ?? words(row.plan.follows[0])} `, link(`campaigns/${row.plan.follows[1]}`, {}, row.plan.follows[1])]]]),
      Object.keys(reasons).length > 0 && table(["Status", "Why", ["How many", "num"]], Object.entries(reasons).sort((a, b) => b[1] - a[1]).map(([key, number]) => {
        const [status, reason] = key.split("|");
        return [chip(status), link("log", { campaign_id: id, status, reason }, words(reason)), count(number)];
      }), "Reasons"));
  }

  /** Messages that are made an hour; null: it does not run, or has not been looked at for long enough. */
  function anHour(row) {
    if (row.state !== "running") made.length = 0;
    else made.push({ at: Date.now(), number: row.expanded });
    while (made.length > 0 && Date.now() - made[0].at > RATE_OF_MS) made.shift();
    const passed = made.length > 0 ? Date.now() - made[0].at : 0;
    return passed < RATE_FROM_MS ? null : Math.max(0, row.expanded - made[0].number) / (passed / 3600000);
  }

  function came(row, told) {
    if (!told) return null;
    const by = (name, lines = told.lines) => {
      const sums = {};
      for (const line of lines) if (line[name]) sums[line[name]] = (sums[line[name]] ?? 0) + line.count;
      return sums;
    };
    return h("section", { class: "sheet", id: "report" }, h("div", { class: "titled" }, h("h2", null, "What came of it"), h("span", { class: "grow" }),
      told.lines.length > 0 && h("a", { class: "button small", href: `v1/campaigns/${id}/export`, download: `campaign-${id}.csv` }, "Export CSV"),
      told.refused.length > 0 && h("a", { class: "button small", href: `v1/campaigns/${id}/export?refused=true`, download: `campaign-${id}-refused.csv` }, "Those without a message (CSV)")),
    h("div", { class: "grid" }, groups("By channel", by("channel")), groups("By language", by("locale")), groups(BY_HOUR(), hours(by("hour"))), groups("Could have no message", Object.fromEntries(told.refused)), groups("What they answered", by("intent", told.replies))),
    told.lines.length === 0 && h("p", { class: "empty" }, "Nothing yet: no message of it was made."));
  }
}

/** Whether a list says who is meant, and may still say more. */
function takesList(row) {
  return row.state === "draft" && !row.plan.audience && !row.plan.follows;
}

const HOURS = 48;
const BY_HOUR = () => `By hour (${zone().short})`;

function groups(title, sums) {
  const entries = Object.entries(sums).sort((a, b) => (title === BY_HOUR() ? 0 : b[1] - a[1]));
  return entries.length > 0 && h("div", null, h("h3", null, title), h("dl", { class: "facts" }, entries.map(([name, number]) => [h("dt", null, title === "By channel" ? channelName(name) : words(name)), h("dd", { class: "num" }, count(number))])));
}

/** The latest hours; those before them as one sum. */
function hours(sums) {
  const all = Object.entries(sums).sort(([a], [b]) => (a < b ? -1 : 1));
  const shown = all.slice(-HOURS).map(([hour, number]) => [new Date(hour).toLocaleString([], { month: "short", day: "numeric", ...CLOCK }), number]);
  const earlier = all.slice(0, -HOURS);
  const before = earlier.length > 0 ? [[`${count(earlier.length)} hours before these`, earlier.reduce((sum, [, number]) => sum + number, 0)]] : [];
  return Object.fromEntries([...before, ...shown]);
}

function startOf(start) {
  const text = typeof start === "string" ? start : Object.values(start)[0];
  return Number.isNaN(Date.parse(text)) ? String(text) : when(text, true);
}

function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
