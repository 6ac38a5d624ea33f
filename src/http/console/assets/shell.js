// What stands on every page: mode, holds, the stop button, and the way to the other pages.

import { ask, chip, clock, every, h, link, pick, show, table, tell, when, words, zone } from "./dom.js";
import { get, post, remove } from "./api.js";

const MODES = {
  capture: ["Capture", ": nothing leaves", "Messages are kept to be looked at; no patient is written to."],
  allow_list: ["Allow list", " only", "Only the addresses on the list are written to."],
  live: ["Live", "", "Patients are written to."],
};
const SCOPES = { all: "everything", channel: "one channel", provider: "one provider", site: "one site", source: "one source", template: "one template", purpose: "one purpose", campaign: "one campaign: it is paused" };
/** Why a campaign's hold is there. */
const HELD_BY = { operator: "somebody paused it", error_rate: "too many could not be sent", opt_out_rate: "too many said stop", complaint_rate: "too many complained", approval_void: "its approval is void" };

const said = h("div", { class: "said", role: "status", "aria-live": "polite" });
let quiet = null;

/** Says something in a few words, to eyes and to screen readers. */
export function say(text) {
  show(said, text);
  clearTimeout(quiet);
  quiet = setTimeout(() => show(said), 6000);
}

export class Shell {
  constructor(me, pages, leave) {
    this.me = me;
    this.may = (scope) => me.scopes.includes(scope);
    this.holds = [];
    this.known = {};
    this.held = h("a", { class: "mode held", href: "#/holds", hidden: true });
    // Since when nothing is heard of the holds; null: they are as they stand here.
    this.lost = null;
    this.away = h("span", { class: "mode held", id: "away", role: "status" });
    const [mode, more, meaning] = MODES[me.mode] ?? [me.mode, "", ""];
    this.clock = h("span", { class: "clock quiet" });
    this.nav = h("nav", { class: "pages", "aria-label": "Pages" },
      pages.filter((page) => page.name && (!page.needs || this.may(page.needs)) && !(page.whole && me.sites?.length)).map((page) => h("a", { href: `#/${page.path}` }, page.name)),
      h("span", { class: "leave" }, h("span", { class: "quiet who" }, me.local ? "this machine" : `${me.name}, ${me.role}`),
        me.local ? null : h("button", { class: "small", on: { click: leave } }, "Sign out")));
    this.main = h("main", { id: "main", tabindex: -1 });
    const skip = h("a", { class: "skip", href: "#/", on: { click: (event) => { event.preventDefault(); this.main.focus(); } } }, "Skip to the page");
    this.node = [
      h("header", { class: "head" }, skip,
        h("div", { class: "bar" },
          h("a", { class: "brand", href: "#/now" }, h("img", { src: "console/icon.svg", alt: "outreachd" }), h("span", null, me.organisation)),
          h("span", { class: `mode ${me.mode}`, title: meaning }, mode, h("span", { class: "wide" }, more)), this.held, this.away, h("span", { class: "grow" }), this.clock,
          this.scopes().length > 0 && h("button", { class: "stop", id: "stop", on: { click: () => this.stop() } }, "Stop …")),
        this.nav),
      me.local && h("p", { class: "note" }, "Nobody has an account yet, so whoever sits at this machine may do everything. ",
        "Make the first account with ", h("code", null, "outreachd users add NAME --role admin"), "; from then on everybody signs in."),
      this.main, said];
  }

  at(path) {
    for (const a of this.nav.querySelectorAll("a")) {
      if (a.getAttribute("href") === `#/${path}`) {
        a.setAttribute("aria-current", "page");
        // On a telephone the row of pages is wider than the screen.
        this.nav.scrollLeft = a.offsetLeft - this.nav.offsetLeft - (this.nav.clientWidth - a.offsetWidth) / 2;
      } else a.removeAttribute("aria-current");
    }
    this.tick();
  }

  /** What time it is, by the clock that all times are shown by. */
  tick() {
    const { short, whole } = zone();
    this.clock.title = `All times are shown in ${whole}`;
    show(this.clock, `${clock(Date.now())} ${short}`);
  }

  /** Holds in force, on every page. Where they are not to be had that stands there, and the answer is why. */
  async refresh() {
    this.tick();
    const told = await get("holds", { known: true }, true).catch((problem) => problem);
    const problem = told instanceof Error ? told : null;
    this.lost = problem && (this.lost ?? Date.now());
    tell(this.away, problem ? `not connected since ${clock(this.lost)}` : "");
    this.away.title = problem?.message ?? "";
    if (problem) return problem;
    const { holds, known } = told;
    this.holds = holds;
    this.known = known;
    const inForce = holds.filter((hold) => hold.state === "in_force");
    const all = inForce.some((hold) => hold.scope === "all");
    this.held.hidden = holds.length === 0;
    show(this.held, all ? "STOPPED" : `${holds.length} ${holds.length === 1 ? "hold" : "holds"}`);
    return null;
  }

  /** What somebody may stop: who plans campaigns, or agrees to them, stops those and their sites. */
  scopes() {
    const plans = this.may("campaigns:write") || this.may("campaigns:approve");
    // A campaign writes to patients of every site.
    if (this.me.sites?.length) return this.may("holds:write") || plans ? ["site"] : [];
    if (this.may("holds:write")) return Object.keys(SCOPES);
    return plans ? ["campaign", "site"] : [];
  }

  /** The stop button: everything, unless something narrower is chosen. */
  async stop(scope, value) {
    const scopes = this.scopes();
    const own = scope ?? scopes[0];
    const names = h("datalist", { id: "holdable" });
    const campaigns = async () => (await get("campaigns", { open: true, limit: 1000 })).campaigns.map((one) => one.id);
    const offer = async (one) => show(names, (one === "campaign" ? await campaigns().catch(() => []) : this.known[one] ?? []).map((name) => h("option", { value: name })));
    const which = scope ? null : h("label", null, "Which one", names, h("input", { name: "value", autocomplete: "off", list: "holdable", value: own === "site" ? this.me.sites?.[0] ?? "" : "" }));
    const what = scope ? null : pick("scope", Object.entries(SCOPES).filter(([name]) => scopes.includes(name)), own, "What");
    const ofHold = [
      h("label", null, "Why, for colleagues; no names of patients", h("input", { name: "reason", required: true, minlength: 4, maxlength: 200, autocomplete: "off" })),
      pick("hours", [["", "until somebody ends it"], ["1", "for one hour"], ["4", "for four hours"], ["12", "for twelve hours"]], "", "How long"),
      pick("on_release", [["send", "go out, as far as they are still allowed"], ["review", "wait for somebody's word"], ["expire", "are dropped"]], "review", "At the end, held messages"),
    ];
    const ofCampaign = h("p", null, "It stays paused until somebody who plans campaigns resumes it.");
    const choose = (one) => {
      which.hidden = one === "all";
      which.lastChild.required = !which.hidden;
      offer(one);
      // A campaign is paused: it takes no reason and no end, and keeps what it has not begun.
      ofCampaign.hidden = one !== "campaign";
      for (const field of ofHold) field.hidden = field.lastChild.disabled = one === "campaign";
    };
    if (what) {
      what.addEventListener("change", (event) => choose(event.target.value));
      choose(own);
    }
    const done = await ask({
      title: scope ? `Take ${value} out of service` : "Stop sending",
      text: "Within two seconds nothing more of this is begun. What is on its way already is not called back; what is held is kept, and nothing of it is lost.",
      fields: [what, which, what && ofCampaign, ofHold], yes: "Stop", danger: true,
      check: (form) => {
        if (form.scope === "campaign") return post(`campaigns/${encodeURIComponent(form.value)}/pause`, {});
        const body = { scope: scope ?? form.scope, reason: form.reason, on_release: form.on_release };
        if (body.scope !== "all") body.value = value ?? form.value;
        if (form.hours) body.minutes = form.hours * 60;
        return post("holds", body);
      },
    });
    if (done) {
      say("Stopped. It stands under Holds.");
      await this.refresh();
      window.dispatchEvent(new Event("changed"));
    }
  }

  async release(hold) {
    const done = await ask({
      title: "End this hold",
      text: `${nameOf(hold)}: ${hold.held} ${hold.held === 1 ? "message is" : "messages are"} held. Placed by ${hold.placed_by}: ${hold.reason}`,
      fields: pick("then", [["send", "Let them go out, as far as they are still allowed"], ["drop", "Drop them: they end as expired"]], hold.on_release === "expire" ? "drop" : "send", "What becomes of them"),
      yes: "End the hold",
      check: (form) => remove(`holds/${hold.id}?then=${form.then}`),
    });
    if (done) {
      say("The hold has ended.");
      await this.refresh();
      window.dispatchEvent(new Event("changed"));
    }
  }
}

/** What a reveal asks for, and what it writes. */
export async function reveal(path, what) {
  return ask({
    title: `Show ${what}`,
    text: "Who looked and why is written to the audit log.",
    fields: [
      pick("usual", [["", "another reason …"], "patient called back", "answering the patient", "checking a failed message", "repairing a job"], "", "Reason"),
      h("label", null, "In your words", h("input", { name: "reason", maxlength: 200, autocomplete: "off" })),
    ],
    yes: "Show",
    check: (form) => post(path, { reason: [form.usual, form.reason].filter(Boolean).join(": ") }),
  });
}

/** Page: holds. */
export function holdsPage(root, _params, shell) {
  async function draw() {
    const problem = await shell.refresh();
    if (problem) {
      show(root, h("h1", null, "Holds"), h("p", { class: "error", role: "alert" }, problem.message));
      return;
    }
    show(root, h("div", { class: "titled" }, h("h1", null, "Holds")),
      h("section", { class: "sheet" }, shell.holds.length === 0 ? h("p", { class: "empty" }, "Nothing is held: messages go out as their plans say.") :
        table([["What", "bare"], ["Why", "bare"], "By", "Since", "Until", ["Messages held", "num"], ""], shell.holds.map((hold) => [
          h("b", null, nameOf(hold)), hold.scope === "campaign" ? HELD_BY[hold.reason] ?? words(hold.reason) : hold.reason, hold.placed_by, when(hold.placed_at),
          hold.state === "review" ? chip("waits for your word", "warn") : hold.until ? when(hold.until) : "somebody ends it",
          String(hold.held), hold.scope === "campaign" ? link(`campaigns/${hold.value}`, {}, "See the campaign") : (shell.may("holds:write") || (hold.scope === "site" && hold.placed_by === shell.me.name)) && h("button", { class: "small", on: { click: () => shell.release(hold) } }, "End …")]), "Holds")),
      h("p", null, link("log", { status: "held" }, "Messages that are held")));
  }
  window.addEventListener("changed", draw);
  draw();
  // Somebody else may end a hold, or place one.
  const end = every(5000, draw);
  return () => { end(); window.removeEventListener("changed", draw); };
}

function nameOf(hold) {
  return hold.scope === "all" ? "everything" : `${words(hold.scope)} ${hold.value}`;
}
