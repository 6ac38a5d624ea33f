// Campaigns: all of them; one of them; a new one.

import { chip, count, every, h, link, show, table, when, words } from "./dom.js";
import { get } from "./api.js";
import { WHY, campaignPage } from "./campaign.js";
import { planPage } from "./plan.js";

export function campaignsPage(root, params, shell) {
  if (params.id === "new") return planPage(root, shell);
  if (params.id) return campaignPage(root, params.id, shell);
  let gone = false;
  draw();
  const end = every(10000, () => draw(true));
  return () => { gone = true; end(); };

  async function draw(byItself) {
    let found;
    try {
      found = await get("campaigns", { open: params.open, limit: 200 }, byItself);
    } catch (problem) {
      show(root, h("h1", null, "Campaigns"), h("p", { class: "error", role: "alert" }, problem.message));
      return;
    }
    if (gone) return;
    show(root,
      h("div", { class: "titled" }, h("h1", null, "Campaigns"), h("span", { class: "grow" }),
        params.open ? h("a", { class: "button", href: "#/campaigns" }, "Show all") : h("a", { class: "button", href: "#/campaigns?open=true" }, "Only those under way"),
        shell.may("campaigns:write") && h("a", { class: "button main", id: "new", href: "#/campaigns/new" }, "New campaign …")),
      h("section", { class: "sheet" }, found.campaigns.length === 0 ? h("p", { class: "empty" }, params.open ? "None is under way." : "There are none yet. A campaign is one message to many people: it is planned, looked at, agreed to, then sent.") :
        table([["Campaign", "bare"], ["State", "bare"], "Template", ["People", "num"], ["Messages made", "num"], "Made by", "Made"], found.campaigns.map((one) => [
          [link(`campaigns/${one.plan.id}`, {}, one.plan.title), one.plan.title !== one.plan.id && h("div", { class: "quiet" }, one.plan.id)],
          [chip(one.state), one.reason && h("div", { class: "quiet" }, WHY[one.reason]?.split(":")[0] ?? words(one.reason))], one.plan.template, count(one.size), count(one.expanded), one.created_by, when(one.created_at, true)]), "Campaigns")));
  }
}
