// Work: what people have to look after, by site.

import { ask, chip, every, h, link, pick, show, table, tell, when, words } from "./dom.js";
import { get, post } from "./api.js";
import { reveal, say } from "./shell.js";

const KINDS = ["plan_exhausted", "outcome_unknown", "came_back", "unacknowledged", "surge_hold", "hold_review", "reply", "safety", "maybe_cancel_visit"];
const ASKS = {
  plan_exhausted: ["Nobody was reached", "Call, or have the address corrected"],
  outcome_unknown: ["Unknown whether it arrived", "Look it up at the provider"],
  came_back: ["A mail came back that was called delivered", "Call, or have the address corrected"],
  unacknowledged: ["Urgent, and not acknowledged", "Call"],
  surge_hold: ["A surge, or many emergencies, wait for a word", "Let them go, or drop them: under Holds"],
  hold_review: ["A hold waits for a word", "Say what becomes of its messages: under Holds"],
  reply: ["A patient wrote", "Read it and answer"],
  safety: ["A patient wrote words of danger", "Read it now"],
  maybe_cancel_visit: ["A visit may be off", "Tell the desk"],
};
/** What a kind of work is, in words. */
export function asks(kind) {
  return ASKS[kind]?.[0] ?? words(kind);
}

const PAGE = 200;

const OUTCOMES = [["", "choose one …"], ["reached", "the patient was reached in another way"], ["resent", "a new message was sent"], ["not_needed", "there is no need any more"], ["unreachable", "nobody could be reached"], ["resolved", "it has settled itself"]];

export function workPage(root, params, shell) {
  let gone = false;
  let pages = 1;
  const list = h("div");
  const still = h("p", { class: "quiet", role: "status" });
  // Nothing moves before it is asked for: whoever chooses with the keyboard passes every choice.
  const form = h("form", { class: "fields", on: { submit } },
    pick("state", [["", "not closed"], "open", "claimed", "closed"], params.state, "State"),
    pick("kind", [["", "any"], ...KINDS.map((kind) => [kind, asks(kind)])], params.kind, "What"),
    h("label", null, "Site", h("input", { name: "site", value: params.site ?? "", autocomplete: "off" })),
    h("div", { class: "row" }, h("button", { class: "main" }, "Show")));
  show(root, h("div", { class: "titled" }, h("h1", null, "Work for people")), h("div", { class: "sheet" }, form), still, list);
  draw();
  const end = every(15000, () => isRead() || draw(true));
  return () => { gone = true; end(); };

  function submit(event) {
    event.preventDefault();
    const values = Object.fromEntries([...new FormData(form)].filter(([, value]) => value));
    location.hash = `#/work?${new URLSearchParams(values)}`;
  }

  /** Whether somebody reads what a patient wrote: the list stands still meanwhile, and says so. */
  function isRead() {
    const open = Boolean(list.querySelector(".secret"));
    tell(still, open ? "Not refreshed while a text is open." : "");
    return open;
  }

  async function draw(byItself) {
    const { state, kind, site } = params;
    try {
      // The most urgent come first: sites stand in the order of their most urgent work.
      const all = [];
      let cursor;
      for (let n = 0; n < pages && (n === 0 || cursor); n += 1) {
        const page = await get("work-items", { state, kind, site, limit: PAGE, cursor }, byItself);
        all.push(...page.work_items);
        cursor = page.next;
      }
      // A text may have been opened meanwhile.
      if (gone || (byItself && isRead())) return;
      const sites = [...new Set(all.map((item) => item.site ?? ""))];
      show(list, all.length === 0 ? h("p", { class: "sheet empty" }, params.state || params.kind || params.site ? "Nothing fits what is chosen above." : "Nothing is to do here. What patients write, and whom no message reached, appears here.") :
        sites.map((one) => h("section", { class: "sheet" }, h("h2", null, one || "Of no site"), items(all.filter((item) => (item.site ?? "") === one)))),
        cursor && h("p", { class: "sheet" }, `These are the ${all.length} most urgent. `, h("button", { class: "small", on: { click: () => { pages += 1; draw(); } } }, "Show more")));
    } catch (problem) {
      show(list, h("p", { class: "error", role: "alert" }, problem.message));
    }
    isRead();
  }

  function items(rows) {
    return table([["Due", "w-due"], ["What", "bare block"], ["About", "w-about"], ["State", "w-state"], ["", "w-read"], ["", "w-do"]], rows.map((item) => {
      const box = h("div");
      const late = item.state === "open" && new Date(item.due_at) < Date.now();
      return [[when(item.due_at), late && [" ", chip("late", "bad")]],
        [h("b", null, asks(item.kind)), h("div", { class: "quiet" }, ASKS[item.kind]?.[1]), box],
        [item.message_id && link(`message/${item.message_id}`, {}, "message"), item.patient_id && [" ", link(`patients/${encodeURIComponent(item.patient_id)}`, {}, item.patient_id)], item.hold_id && link("holds", {}, "hold")],
        [chip(item.state), item.claimed_by && item.state === "claimed" ? ` ${item.claimed_by}` : "", item.outcome ? ` ${words(item.outcome)}` : ""],
        item.reply_id && shell.may("work:write") && h("button", { class: "small", on: { click: () => read(item, box) } }, "Read …"),
        buttons(item)];
    }), "Work items");
  }

  function buttons(item) {
    if (!shell.may("work:write") || item.state === "closed") return null;
    return h("div", { class: "row" },
      item.state === "open" ? h("button", { class: "small main", on: { click: () => move(item, "claim", "It is yours.") } }, "Claim") :
        h("button", { class: "small", on: { click: () => giveBack(item) } }, item.claimed_by === shell.me.name ? "Give back" : "Give back …"),
      h("button", { class: "small", on: { click: () => close(item) } }, "Close …"));
  }

  async function move(item, what, text) {
    try {
      await post(`work-items/${item.id}/${what}`, {});
      say(text);
    } catch (problem) {
      say(problem.message);
    }
    draw();
  }

  async function giveBack(item) {
    if (item.claimed_by === shell.me.name) return move(item, "release", "It is open again.");
    const done = await ask({
      title: `Give back what ${item.claimed_by} has claimed`, text: `${asks(item.kind)}. ${item.claimed_by} may be at it: ask them first. It is open for everybody again.`, yes: "Give it back", danger: true,
      check: () => post(`work-items/${item.id}/release`, {}),
    });
    if (done) { say("It is open again."); draw(); }
  }

  async function close(item) {
    const done = await ask({
      title: `Close: ${asks(item.kind)}`, fields: pick("outcome", OUTCOMES, "", "What became of it", { required: true }), yes: "Close it",
      check: (form) => post(`work-items/${item.id}/close`, { outcome: form.outcome }),
    });
    if (done) { say("Closed."); draw(); }
  }

  async function read(item, box) {
    const shown = await reveal(`work-items/${item.id}/reveal`, "what the patient wrote, and from where");
    if (!shown) return;
    show(box, h("div", { class: "secret" }, h("p", null, when(shown.reply.received_at, true), shown.reply.from && [", from ", h("b", null, shown.reply.from)], `, read as ${words(shown.reply.intent)}${shown.reply.answer ? ` (${words(shown.reply.answer)})` : ""}:`), h("div", { class: "text" }, shown.reply.text ?? "erased"),
      h("button", { class: "small", on: { click: () => { show(box); isRead(); } } }, "Hide")));
    isRead();
  }
}
