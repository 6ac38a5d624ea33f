// The list of a campaign: sent as it is, and what became of its rows.

import { count, h, hand, table } from "./dom.js";
import { upload } from "./api.js";

/** What a list has to be. */
export const ROWS = "One row a person: patient_id, and a column for each thing that differs. What cannot be taken comes back as a file with the reasons.";

/** Where one is chosen. */
export function listField(more) {
  return h("input", { name: "file", type: "file", accept: ".csv,.xlsx,.ndjson,.jsonl,text/csv,application/x-ndjson", ...more });
}

/** Sends it. Answers what became of its rows. */
export async function bring(id, file) {
  return { id, ...await upload(`campaigns/${id}/audience?refused_file=true`, file, typeOf(file.name)) };
}

/** The type of a list by its name. */
function typeOf(name) {
  if (/\.(ndjson|jsonl)$/i.test(name)) return "application/x-ndjson";
  return /\.xlsx$/i.test(name) ? "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" : "text/csv";
}

/** Shows what became of one. */
export function broughtOf(brought) {
  return h("section", { class: "sheet", id: "brought", role: "status" }, h("h2", null, "The list"),
    h("p", null, `${count(brought.read)} rows read, ${count(brought.added)} added${brought.changed ? `, ${count(brought.changed)} changed` : ""}${brought.known ? `, ${count(brought.known)} there before` : ""}, ${count(brought.refused)} refused.`),
    brought.first_rows?.rows.length > 0 && [h("h3", null, "The first rows, as they were understood"), h("p", { class: "quiet" }, "Is each column what it is called? What tells of a person is masked."),
      table([["Row", "num"], ...brought.first_rows.columns], brought.first_rows.rows.map((row) => [count(row.line), ...row.cells]), "First rows")],
    brought.refused > 0 && [h("p", null, h("button", { id: "refused", on: { click: () => hand(`${brought.id}-refused.csv`, brought.refused_file ?? "") } }, "Refused rows, as they came, with the reasons (CSV)")),
      table([["Row", "num"], "Column", "What is wrong", "What to do"], brought.refusals.slice(0, 20).flatMap((row) => row.errors.map((error) => [count(row.line), error.field, error.rule, error.cure])), "Refused rows")]);
}
