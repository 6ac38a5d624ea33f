// Providers: how they are, and taking them out of service.

import { chip, count, every, h, link, show, span, table } from "./dom.js";
import { get } from "./api.js";
import { breaker, lanesOf, use } from "./now.js";

const EVERY = 5000;

export function providersPage(root, _params, shell) {
  let gone = false;
  draw();
  window.addEventListener("changed", draw);
  const end = every(EVERY, draw);
  return () => { gone = true; end(); window.removeEventListener("changed", draw); };

  async function draw() {
    try {
      const now = await get("now", {}, true);
      if (gone) return;
      show(root, h("div", { class: "titled" }, h("h1", null, "Providers")), page(now));
    } catch (problem) {
      show(root, h("h1", null, "Providers"), h("p", { class: "error", role: "alert" }, problem.message));
    }
  }

  function page(now) {
    const may = shell.may("holds:write") && !shell.me.sites?.length;
    const held = (name) => shell.holds.find((hold) => hold.state === "in_force" && hold.scope === "provider" && hold.value === name);
    return [
      h("section", { class: "sheet" }, now.providers.length === 0 ? h("p", { class: "empty" }, "None is configured.") :
        table([["Provider", "bare"], ["Channel", "bare"], ["State", "bare"], ["Waiting", "num"], ["On its way", "num"], "Limits", ["Sent a second; used of its limits", "num"], ["Share, by weight", "num"], ""], lanesOf(now).map((provider) => {
          const hold = held(provider.name);
          return [h("b", null, provider.name), provider.channel, hold ? chip("out of service", "bad") : breaker(provider.states), count(provider.waiting), count(provider.inFlight), provider.limits.join(", ") || "none", use(now, provider), String(provider.weight),
            may && (hold ? h("button", { class: "small", on: { click: () => shell.release(hold) } }, "Put back …") : h("button", { class: "small", on: { click: () => shell.stop("provider", provider.name) } }, "Take out …"))];
        }), "Providers")),
      h("p", { class: "quiet" }, "Failing, not used: it failed too often, and the channel's others carry its share until trials show that it is back. ", link("log", { status: "failed" }, "What failed")),
      h("section", { class: "sheet" }, h("h2", null, "Workers"), now.workers.length === 0 ? h("p", { class: "empty" }, "None was seen within a day.") :
        table([["Worker", "bare"], "Seen", "Up for"], now.workers.map((worker) => {
          const age = (new Date(now.at) - new Date(worker.seen_at)) / 1000;
          return [worker.name, [`${span(age)} ago `, age > now.stale_seconds && chip("gone", "bad")], span((new Date(worker.seen_at) - new Date(worker.started_at)) / 1000)];
        }), "Workers"))];
  }
}
