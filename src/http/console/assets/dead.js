// Dead jobs: what could not be accepted, why, and another try once that is put right.

import { ask, count, h, show, table, when, words } from "./dom.js";
import { get, post } from "./api.js";
import { reveal, say } from "./shell.js";

export function deadPage(root, params, shell) {
  const { reason, source } = params;
  const chosen = new Set();
  let gone = false;
  draw();
  return () => { gone = true; };

  async function draw() {
    chosen.clear();
    let page;
    try {
      page = await get("dead", { reason, source, limit: 500 });
    } catch (problem) {
      show(root, h("h1", null, "Dead jobs"), h("p", { class: "error", role: "alert" }, problem.message));
      return;
    }
    if (gone) return;
    const groups = new Map();
    for (const row of page.dead) {
      const first = row.errors[0] ?? {};
      const key = [row.reason, row.field, first.rule].join("|");
      const group = groups.get(key) ?? { ...first, reason: row.reason, rows: [] };
      group.rows.push(row);
      groups.set(key, group);
    }
    const may = shell.may("messages:write");
    show(root,
      h("div", { class: "titled" }, h("h1", null, "Dead jobs"), h("span", { class: "quiet" }, `${count(page.dead.length)}${page.next ? " and more" : ""}`), h("span", { class: "grow" }),
        (reason || source) && h("a", { class: "button", href: "#/dead" }, "Show all"),
        may && page.dead.length > 0 && h("button", { class: "main", id: "replay", on: { click: () => replay() } }, "Replay …")),
      h("p", { class: "quiet" }, "Put right what is wrong (a template, a source, the sender), then replay: what is still wrong stays here."),
      groups.size === 0 && h("p", { class: "sheet empty" }, reason || source ? "None fits." : "There are none: every job that came could be accepted."),
      [...groups.values()].sort((a, b) => b.rows.length - a.rows.length).map((group) => { const box = h("div"); return h("section", { class: "sheet" },
        h("h2", null, `${words(group.reason)}: ${count(group.rows.length)}`), h("p", null, group.field && [h("code", null, group.field), " "], `${group.rule}; ${group.cure}`),
        h("details", { open: groups.size < 4 }, h("summary", null, group.rows.length > 100 ? "The first 100" : "Which ones"),
          table([["Choose", "bare"], ["Parked", "bare"], "Source", ["Job", "bare"], "Came by", ["Size, bytes", "num"], ""], group.rows.slice(0, 100).map((row) => line(row, may, box)), "Bodies")), box); }));
  }

  function line(row, may, box) {
    const tick = h("input", { type: "checkbox", "aria-label": `Choose ${row.job_id ?? row.id}`, on: { change: () => (tick.checked ? chosen.add(row.id) : chosen.delete(row.id)) } });
    return [may ? h("label", { class: "tick" }, tick) : "", when(row.parked_at), row.source ?? "not to be read", row.job_id ?? "not to be read", row.origin, count(row.bytes),
      shell.may("patients:read") && h("button", { class: "small", on: { click: () => open(row, box) } }, "Body …")];
  }

  async function open(row, box) {
    const shown = await reveal(`dead/${row.id}/reveal`, "this body, which may name a patient");
    if (!shown) return;
    const text = h("textarea", { class: "mono", rows: 14, spellcheck: "false", "aria-label": `The body of ${row.job_id ?? "a job whose id cannot be read"}`, readonly: !shell.may("messages:write") }, pretty(shown.body));
    show(box, h("div", { class: "secret gap" }, h("h3", null, row.job_id ?? "A job whose id cannot be read"), text, h("div", { class: "row" },
      shell.may("messages:write") && (shell.may("patients:write") || !row.origin.endsWith("patients")) && h("button", { class: "small main", on: { click: () => repair(row, text.value) } }, "Send this in its place …"),
      h("button", { class: "small", on: { click: () => show(box) } }, "Hide"))));
    text.focus();
  }

  async function repair(row, body) {
    const done = await ask({
      title: "Send this in its place", text: "It is judged as the first one was, and belongs to the same source. The first one is then done with. Why you changed it is written to the audit log.",
      fields: h("label", null, "Why", h("input", { name: "reason", required: true, minlength: 4, maxlength: 200, autocomplete: "off" })), yes: "Send it",
      check: (form) => post(`dead/${row.id}/repair`, { body, reason: form.reason }),
    });
    if (done) { say(done.result === "duplicate" ? "That job was accepted before." : "It is accepted."); draw(); }
  }

  async function replay() {
    const body = chosen.size ? { ids: [...chosen] } : { ...(reason && { reason }), ...(source && { source }) };
    let dry;
    try {
      dry = await post("dead/replay", { ...body, dry_run: true });
    } catch (problem) {
      say(problem.message);
      return;
    }
    const done = await ask({
      title: `Replay ${count(dry.dead.length)} ${dry.dead.length === 1 ? "body" : "bodies"}`,
      text: `${chosen.size ? "The chosen ones" : reason || source ? "All that are shown, 500 at most," : "All of them, 500 at most,"} are judged again. What is accepted now is sent, as far as it is still allowed and not expired; what is not stays here.`,
      yes: "Replay", check: () => post("dead/replay", body),
    });
    if (done) { say(`${count(done.replayed)} accepted, ${count(done.refused)} still refused.`); draw(); }
  }
}

function pretty(text) {
  try { return JSON.stringify(JSON.parse(text), null, 2); } catch { return text; }
}
