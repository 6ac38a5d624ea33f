// Alerts: what people on call are told of, who looks after it, and what to do.

import { ask, chip, every, h, pick, show, when } from "./dom.js";
import { get, post } from "./api.js";
import { say } from "./shell.js";

// Of these it is counted how many there are: where they are twice as many, people are told again whoever looks after it.
const COUNTED = ["dead_jobs", "results_dead", "work_overdue"];
const PAGE_NAMES = { now: "Now", log: "the log", work: "Work", dead: "Dead jobs", providers: "Providers", holds: "Holds", campaigns: "Campaigns" };

export function alertsPage(root, _params, shell) {
  let gone = false;
  draw();
  const end = every(5000, () => draw(true));
  return () => { gone = true; end(); };

  async function draw(byItself) {
    let told;
    try {
      told = await get("alerts", {}, byItself);
    } catch (problem) {
      show(root, h("h1", null, "Alerts"), h("p", { class: "error", role: "alert" }, problem.message));
      return;
    }
    if (gone) return;
    // What is urgent and nobody looks after comes first.
    const rank = (one) => (one.level === "bad" ? 0 : 2) + (one.acknowledged_at ? 1 : 0);
    const stand = told.alerts.filter((one) => !one.ended_at).sort((a, b) => rank(a) - rank(b));
    const over = told.alerts.filter((one) => one.ended_at);
    show(root, h("div", { class: "titled" }, h("h1", null, "Alerts")),
      stand.length === 0 ? h("p", { class: "sheet empty" }, "Nothing is wrong. What people on call are told of stands here.") : stand.map((one) => standing(one, told.at)),
      over.length > 0 && h("section", { class: "sheet" }, h("h2", null, "Over, within a day"), over.map((one) => h("p", null, when(one.since), " – ", when(one.ended_at), ` ${one.what}`))));
  }

  function standing(one, now) {
    const quiet = one.snoozed_until && one.snoozed_until > now;
    return h("section", { class: "sheet", "data-key": one.key },
      h("div", { class: "titled" }, h("h2", null, one.what), chip(one.level === "bad" ? "urgent" : "worth a look", one.level === "bad" ? "bad" : "warn"), quiet && chip("snoozed"), h("span", { class: "grow" }),
        shell.may("holds:write") && !shell.me.sites?.length && h("div", { class: "row" },
          one.acknowledged_by !== shell.me.name && h("button", { class: one.acknowledged_by ? "small" : "small main", on: { click: () => mine(one) } }, one.acknowledged_by ? "Take it over …" : "I look after it …"),
          h("button", { class: "small", on: { click: () => snooze(one) } }, "Snooze …"))),
      h("p", null, "First: ", one.first, ". ", h("a", { href: `#/${one.link}` }, `Open ${PAGE_NAMES[one.page] ?? "the page"}`)),
      h("p", { class: "quiet" }, "Since ", when(one.since), one.told_at && [", told ", when(one.told_at)], one.acknowledged_by && [`, ${one.acknowledged_by} looks after it since `, when(one.acknowledged_at)],
        quiet && [`, quiet until `, when(one.snoozed_until), ` by ${one.snoozed_by}`], ". Runbook: ", runbook(one)));
  }

  // The program's own lies beside this page, however it was reached.
  function runbook(one) {
    const href = one.runbook.includes("/console/runbook.md#") ? `console/runbook.md#${one.kind}` : one.runbook;
    return /^(https?:|console)/.test(href) ? h("a", { href, rel: "noreferrer" }, one.key) : h("code", null, one.runbook);
  }

  async function mine(one) {
    const other = one.acknowledged_by;
    const done = await ask({
      title: other ? "Take it over" : "Look after it",
      text: [`${one.what} `, other && `${other} looks after it so far: tell them. `, `It is yours from then on, and people on call are not told of it again until it is over${COUNTED.includes(one.kind) ? ", or until there is twice as much" : ""}.`],
      yes: other ? "Take it over" : "I look after it",
      check: () => post(`alerts/${encodeURIComponent(one.key)}/acknowledge`, {}),
    });
    if (done) { say("It is yours."); draw(); }
  }

  async function snooze(one) {
    const done = await ask({
      title: "Snooze", text: `${one.what} Nothing is told of it meanwhile.`, fields: pick("minutes", [["30", "for half an hour"], ["60", "for an hour"], ["240", "for four hours"], ["720", "for twelve hours"], ["1440", "for a day"]], "60", "How long"), yes: "Snooze it",
      check: (form) => post(`alerts/${encodeURIComponent(one.key)}/snooze`, { minutes: Number(form.minutes) }),
    });
    if (done) { say("It is quiet for a while."); draw(); }
  }
}
