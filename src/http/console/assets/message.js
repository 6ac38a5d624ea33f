// One message: what was asked, what was decided and why, what was tried, what became of it.

import { ask, channelName, chip, every, facts, h, link, show, spoken, table, when, words } from "./dom.js";
import { get, post } from "./api.js";
import { reveal, say } from "./shell.js";
import { asks } from "./work.js";

const EVERY = 5000;

/** Gates, as it reads when they were passed and when they were not. */
const GATES = {
  due: ["its time has come", "its time has not come"], known: ["patient is known", "patient is not known"], active: ["with us", "not with us any more"],
  deceased: ["alive", "has died"], do_not_contact: ["may be contacted", "must not be contacted"], cancelled: ["not taken back", "taken back"], expired: ["in time", "too late"],
  hold: ["no hold", "a hold"], proxy: ["reads it themselves, or a proxy may", "no proxy may"], opt_out: ["has not said stop", "has said stop"], consent: ["agreed, where needed", "has not agreed"],
  confidential: ["goes where it may", "must stay confidential"], valid_contact: ["an address that works", "no address that works"], content: ["channel may see the text", "no channel may see the text"],
  cap: ["not too often", "too often"], quiet_hours: ["a decent hour", "quiet hours"], route: ["a way is left", "no way is left"],
};

/** What a reason means, and what helps. */
export const MEANS = {
  unknown_patient: "The patient is not in the directory. The source must send them before the job.",
  inactive: "The patient is not with us any more.",
  deceased: "The patient has died. Nothing is sent.",
  do_not_contact: "The record says not to contact this patient.",
  paused: "The patient asked for a pause.",
  opted_out: "The patient said stop. Only they, or staff with evidence, can lift that.",
  no_consent: "This purpose needs an agreement that is not on record.",
  no_contact: "There is no address over which this message may go. Ask the patient for one; the record is corrected at the source.",
  no_proxy: "The patient does not read themselves, and nobody is named who may.",
  confidential_contact: "It may only go to one contact, which cannot be used.",
  shared_contact: "Others share the address, and the text is too private for it.",
  invalid_address: "The address does not exist. Correct it in the record, then try again.",
  landline: "The number cannot take texts. Add a mobile number, or let it go by voice.",
  wrong_number: "Somebody else answers at this number.",
  unreachable: "The device could not be reached, on any try. Call the patient, or try again later.",
  no_answer: "Nobody picked up.",
  carrier_blocked: "The carrier refused it, mostly as unwanted. Ask the provider before trying again.",
  provider_rejected: "The provider refused it. The code in the attempt says why.",
  provider_unavailable: "The provider did not answer, on any try. Look at Providers; try again once it is well.",
  provider_misconfigured: "Our account or settings at the provider are wrong. Mend them, then try again.",
  outcome_unknown: "The provider may or may not have taken it. Look it up there; trying again may tell the patient twice.",
  quiet_hours: "It waits for a decent hour by the patient's clock.",
  frequency_cap: "The patient was written to often enough; it waits for the next window.",
  operator_hold: "Somebody has put a hold in place. See Holds.",
  surge_hold: "Far more than usual was asked for. See Holds: let it go, or drop it.",
  expired: "Its time had passed before it could be sent.",
  plan_exhausted: "Every way to the patient was tried.",
  template_error: "The text could not be made. Mend the template, then try again.",
  bad_data: "The job's data do not fit the template. The source must send it anew.",
  malformed: "It, or a record that it rests on, cannot be read in the ledger. The log of the workers says why; once that is mended it goes on by itself.",
  no_translation: "The template has no text in a language that may be used.",
  over_budget: "The budget of the day is used up.",
  paced: "The provider's limit for the day is used up, and no other carries it. It goes on after midnight UTC.",
  safety_mode: "The safety mode kept it from leaving: nobody has it. [safety] mode says who is written to.",
  superseded: "A newer job took its place.",
  cancelled: "Its source, or staff, took it back.",
  country_not_allowed: "We do not send to that country.",
  sensitive_content: "The text is too private for the channels that are left.",
  too_late: "It was on its way already.",
  merged: "The text of another message to the same reader told this one too.",
  no_longer_needed: "Nothing more is wanted of whom it was for, such as a visit that they have booked, so it was taken back.",
  campaign_paused: "Its campaign stands still. It goes on once somebody resumes the campaign.",
  awaiting_approval: "Another person has to agree first: to many emergencies under Holds, to a campaign on its page. A worker with other templates than were agreed to sends nothing of it.",
  reassigned: "The number has a new owner. Correct it in the record.",
  contact_unverified: "The text is too private for an address that nobody has verified. Verify it with the patient; the record says so at the source.",
  mailbox_full: "Their mailbox has no room. Call the patient, or try again later.",
  complaint: "They told their mail provider that it was not wanted. Ask them before anything more is sent there.",
  too_long: "The text is longer than the channel carries. Shorten the template, or what the job put into it, then try again.",
  unknown_template: "The worker has no such template. Put it there and have the worker read its templates again (SIGHUP); it goes on by itself.",
};

export function messagePage(root, { id }, shell) {
  let gone = false;
  // An answer to an earlier question may come after that to the last one.
  let asked = 0;
  // What is shown, as it was told, and since when it is so; null: nothing is.
  let shown = null;
  let since = null;
  let ended = false;
  const body = h("div");
  const asOf = h("p", { class: "quiet" });
  // What was revealed stays, whatever is drawn anew around it.
  const revealed = h("div");
  const changed = () => draw();
  show(root, body, asOf);
  draw();
  window.addEventListener("changed", changed);
  const end = every(EVERY, () => ended || draw(true));
  return () => { gone = true; end(); window.removeEventListener("changed", changed); };

  async function draw(byItself) {
    const mine = ++asked;
    const told = await Promise.all([get(`messages/${id}/explain`, {}, byItself), get("work-items", { message_id: id }, byItself)]).catch((problem) => problem);
    if (gone || mine !== asked) return;
    if (told instanceof Error) return away(told);
    const [explained, { work_items: items }] = told;
    ended = explained.next.action === "nothing";
    since = new Date().toISOString();
    show(asOf, "As of ", when(since), ended && ": it has ended, and is not looked up again by itself", ".");
    // What is the same is left alone, with whatever somebody has marked in it.
    if (JSON.stringify(told) === shown) return;
    shown = JSON.stringify(told);
    page(explained, items);
  }

  function away(problem) {
    ended = problem.status === 404;
    if (shown && !ended) {
      show(asOf, h("span", { class: "error" }, `${problem.message} What you see is from `), when(since), ".");
      return;
    }
    shown = null;
    show(asOf);
    show(body, h("h1", null, "Message"), h("p", { class: "error", role: "alert" }, ended ? "There is no such message, or it is none of your sites'." : problem.message));
  }

  function page(told, items) {
    const message = told.message;
    const failed = ["failed", "suppressed", "expired", "unknown", "held", "cancelled"].includes(message.status);
    show(body,
      h("div", { class: "titled" }, h("h1", null, words(message.template)), chip(message.status), message.reason && h("b", null, words(message.reason)), message.test && chip("test"),
        h("span", { class: "grow" }), h("div", { class: "row" }, actions(message, told.next))),
      failed && message.reason && h("p", { class: "sheet", id: "why" }, MEANS[message.reason] ?? `Reason: ${words(message.reason)}.`),
      told.came_back && h("p", { class: "sheet", id: "back" }, "It was told as delivered and has come back since. Its status stays, for a status never falls."),
      h("div", { class: "two" },
        h("div", null,
          h("section", { class: "sheet" }, h("h2", null, "What happened"), timeline(told)),
          h("section", { class: "sheet" }, h("h2", null, "What was decided"), decision(told)),
          told.attempts.length > 0 && h("section", { class: "sheet" }, h("h2", null, "Attempts"), attempts(told.attempts))),
        h("div", null,
          h("section", { class: "sheet" }, facts([
            ["Patient", link(`patients/${encodeURIComponent(message.patient_id)}`, {}, message.patient_id)], ["Job", message.job_id], ["Source", message.source], ["Site", message.site],
            ["About", message.about && link("log", { about: message.about, source: message.source }, message.about)], ["Purpose", message.purpose], ["Priority", message.priority],
            ["Accepted", when(message.accepted_at, true)], ["Expires", when(message.expires_at, true)],
            ["Next", nextOf(told.next)],
            ["Second try of", message.retry_of && link(`message/${message.retry_of}`, {}, "the first message")],
            ["Copy of", message.copy_of && link(`message/${message.copy_of}`, {}, "the patient's message")], ["Copies for proxies", others(told.copies)],
            ["Told with", message.merged_into && link(`message/${message.merged_into}`, {}, "the message whose text tells it too")], ["Tells as well", others(told.carries)],
            ["Message id", h("code", null, message.id)]])),
          h("section", { class: "sheet" }, h("h2", null, "Content"), shell.may("patients:read") ?
            [h("p", { class: "quiet" }, "Name, address and text are not shown unless somebody needs them."), h("button", { id: "reveal", on: { click: open } }, "Show content …"), revealed] :
            h("p", { class: "quiet" }, "Your role does not show names, addresses and texts.")),
          items.length > 0 && h("section", { class: "sheet" }, h("h2", null, "Work about it"), items.map((item) =>
            h("p", null, link("work", { kind: item.kind }, asks(item.kind)), " ", chip(item.state), item.claimed_by && ` by ${item.claimed_by}`))))));
  }

  function actions(message, next) {
    if (!shell.may("messages:write")) return null;
    const again = ["failed", "suppressed", "cancelled", "expired", "unknown"].includes(message.status);
    const open = ["accepted", "scheduled", "held", "sending"].includes(message.status);
    return [
      again && h("button", { class: "main", id: "retry", on: { click: () => retry(message) } }, "Try again …"),
      (message.status === "sending" || next.action === "next_step") && h("button", { id: "next", on: { click: () => nextRoute(message) } }, "Next way …"),
      open && h("button", { id: "cancel", on: { click: () => cancel(message) } }, "Cancel …")];
  }

  async function retry(message) {
    const unknown = message.status === "unknown";
    const done = await ask({
      title: "Try this message again",
      text: ["It becomes a new message, and passes consent, caps and hours anew. ", unknown && h("b", null, "It may have arrived: the patient may get it twice.")],
      yes: "Try again", danger: unknown,
      check: () => post(`messages/${message.id}/retry`, { accept_duplicate: unknown }),
    });
    if (done) {
      say(done.result === "duplicate" ? "It was tried again before; this is that message." : "It is on its way as a new message.");
      location.hash = `#/message/${done.message_id}`;
    }
  }

  async function nextRoute(message) {
    const done = await ask({
      title: "Take the next way", text: message.status === "sending" ? "The way that fails is not waited for any longer. The message is decided upon anew, without it; where no other is left, it ends as failed." : "The answer to what was sent is not waited for any longer. The plan's next way is decided upon now, with consent, caps and hours as ever.", yes: "Take the next way",
      check: () => post(`messages/${message.id}/next-route`, {}),
    });
    if (done) { say("It is decided upon anew."); draw(); }
  }

  async function cancel(message) {
    const done = await ask({
      title: "Cancel this message", text: "It is not sent, and its source is told.", yes: "Cancel it", danger: true,
      check: () => post(`messages/${message.id}/cancel`, {}),
    });
    if (done) { say("It was taken back."); draw(); }
  }

  async function open() {
    const told = await reveal(`messages/${id}/reveal`, "the content of this message");
    if (!told) return;
    const name = told.patient.name ? [told.patient.name.given, told.patient.name.family].filter(Boolean).join(" ") : "no name on record";
    const content = told.content;
    show(revealed, h("div", { class: "secret", id: "secret" },
      facts([["Patient", name], ...told.attempts.map((one) => [`Sent to (${one.channel})`, one.address])]),
      content.problem ? h("p", null, `No text: ${content.problem}`) : [
        h("p", { class: "quiet" }, `As the templates say it now, ${channelName(content.channel)}, ${content.locale}.`, content.templates_changed ? " They have changed since it was sent." : ""),
        Object.entries(content.texts).map(([part, text]) => [h("h3", null, part), h("div", { class: "text" }, content.channel === "voice" ? spoken(text) : text)])],
      h("button", { class: "small", on: { click: () => show(revealed) } }, "Hide")));
  }
}

/** Other messages, with what became of each; null: there are none. */
function others(list) {
  return list?.length ? list.map((one) => h("div", null, link(`message/${one.id}`, {}, h("code", null, one.id)), " ", chip(one.status), one.reason && ` ${words(one.reason)}`)) : null;
}

function nextOf(next) {
  const text = { plan: "it is decided upon", decide_again: "it is decided upon again", send: "the next try", in_hand: "a worker has it in hand", await_receipt: "the provider may say more", await_person: "a person decides",
    next_step: "it got through; the next way of its plan is taken too", carried: "what becomes of the message that tells it too", nothing: "nothing; it has ended" }[next.action] ?? words(next.action);
  return [text, next.channel && `, over ${channelName(next.channel)}`, next.at && [" ", when(next.at)], next.unless && `, unless it is ${words(next.unless)} before`];
}

function timeline(told) {
  const steps = [{ at: told.message.accepted_at, tone: "", text: "Accepted", more: `from ${told.message.source}` }];
  if (told.decision) steps.push({ at: told.decision.at, tone: told.decision.reason ? "warn" : "", text: told.decision.reason ? `Decided: ${words(told.decision.reason)}` : "Decided: it may go", more: `rules, version ${told.decision.rules}` });
  for (const one of told.attempts) {
    steps.push({ at: one.begun_at, tone: "wait", text: `Try ${one.number} by ${channelName(one.channel)}${one.step > 0 ? `, way ${one.step + 1}` : ""}`, more: `${one.provider} to ${one.address}${one.pointer ? ", a pointer to the portal" : ""}` });
    if (one.settled_at) steps.push({ at: one.settled_at, tone: { sent: "good", delivered: "good", read: "good" }[one.status] ?? "bad", text: `Its result: ${words(one.status)}`, more: [one.failure && words(one.failure), one.code].filter(Boolean).join(", ") });
  }
  for (const event of told.events) {
    const [kind, what] = event.routing_key.split(".");
    const tone = { sent: "good", delivered: "good", read: "good", failed: "bad", unknown: "bad", suppressed: "warn", expired: "warn", cancelled: "warn" }[what] ?? "";
    steps.push({ at: event.created_at, tone, text: kind === "message" ? `Its source is told: ${words(what)}` : `${kind === "work" ? "Work for people" : words(kind)}: ${words(what)}`, more: event.published ? "" : "not yet on its way" });
  }
  steps.sort((a, b) => new Date(a.at) - new Date(b.at));
  return h("ol", { class: "time" }, steps.map((one) => h("li", { class: one.tone }, h("span", { class: "quiet" }, when(one.at)), h("span", { class: "dot" }), h("div", null, h("p", null, one.text), one.more && h("p", { class: "quiet" }, one.more)))));
}

/** A gate as what is so: what was passed, or what stopped the message. */
function gateOf({ gate, passed }) {
  const [yes, no] = GATES[gate] ?? [words(gate), words(gate)];
  return passed ? chip(`✓ ${yes}`) : [chip(`✕ ${no}`, "bad"), h("span", { class: "sr" }, " stopped it")];
}

/** Whose hold it waits for, why it is there, and where it is ended. */
function holdOf(hold) {
  return h("p", null, chip("held", "warn"), ` ${hold.scope === "all" ? "Everything" : `${words(hold.scope)} ${hold.value}`} is held by ${hold.placed_by} since `, when(hold.placed_at, true), `: ${hold.reason}. `,
    hold.state === "review" ? "It has ended, and somebody's word is waited for. " : hold.until ? ["It ends ", when(hold.until, true), ". "] : "",
    hold.scope === "campaign" ? link(`campaigns/${hold.value}`, {}, "See the campaign") : link("holds", {}, "End it under Holds"));
}

function decision(told) {
  if (!told.decision) return h("p", { class: "empty" }, "Nothing yet.");
  const ways = told.decision.ways ?? [];
  return [told.hold && holdOf(told.hold), h("ul", { class: "gates", "aria-label": "What was asked, in this order" }, told.gates.map((gate) => h("li", null, gateOf(gate)))),
    ways.length > 0 && table([["Contact", "bare"], ["May it be used", "bare"], "What was weighed", "Opens"], ways.map((way) => [
      `${way.channel} ${way.address}`, way.gate ? `no: ${words(way.reason ?? way.gate)}` : "yes", way.because ?? (way.hours ? `clock of ${way.hours.zones.join(", ")}` : ""), way.until ? when(way.until) : ""]), "Contacts that were weighed")];
}

function attempts(list) {
  return table([["Begun", "bare"], ["Way", "bare"], ["Result", "bare"], "Why", "Provider's reference"], list.map((one) => [
    when(one.begun_at), `${one.channel} ${one.address}, ${one.provider}${one.pointer ? ", a pointer to the portal" : ""}`, chip(one.status), [one.failure && words(one.failure), one.code && ` (${one.code})`], one.provider_ref && h("code", null, one.provider_ref)]), "Attempts");
}
