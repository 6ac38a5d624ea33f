// From the address to a page. What stands behind the # never leaves the browser, so no log of a proxy holds a patient's id.

import { h, show, span } from "./dom.js";
import { post, remove, session } from "./api.js";
import { Shell, holdsPage } from "./shell.js";
import { nowPage } from "./now.js";
import { logPage } from "./log.js";
import { messagePage } from "./message.js";
import { workPage } from "./work.js";
import { deadPage } from "./dead.js";
import { providersPage } from "./providers.js";
import { patientsPage } from "./patients.js";
import { templatesPage } from "./templates.js";
import { auditPage } from "./audit.js";
import { alertsPage } from "./alerts.js";
import { campaignsPage } from "./campaigns.js";

const PAGES = [
  { path: "now", name: "Now", run: nowPage },
  { path: "alerts", name: "Alerts", run: alertsPage },
  { path: "log", name: "Log", run: logPage },
  { path: "work", name: "Work", run: workPage },
  { path: "campaigns", name: "Campaigns", run: campaignsPage, whole: true },
  { path: "dead", name: "Dead jobs", run: deadPage },
  { path: "providers", name: "Providers", run: providersPage },
  { path: "patients", name: "Patients", run: patientsPage },
  { path: "templates", name: "Templates", run: templatesPage, needs: "templates:read" },
  { path: "holds", name: "Holds", run: holdsPage },
  { path: "audit", name: "Audit", run: auditPage, needs: "admin" },
  { path: "message", run: messagePage },
];

let shell = null;
let leave = null;
// Of all windows of this browser: one that lies in the background must not sign out whoever works in another.
const TOUCHED = "outreachd-touched";
let idle = null;

function touch() {
  localStorage.setItem(TOUCHED, String(Date.now()));
}

function route() {
  if (!shell || !location.hash.startsWith("#/")) {
    if (shell) location.replace("#/now");
    return;
  }
  const [path, query] = location.hash.slice(2).split("?");
  const [name, ...rest] = path.split("/");
  const page = PAGES.find((one) => one.path === name) ?? PAGES[0];
  leave?.();
  leave = null;
  shell.at(page.path);
  const root = h("div");
  show(shell.main, root);
  const params = Object.fromEntries(new URLSearchParams(query ?? ""));
  document.title = `${page.name ?? "Message"} · outreachd`;
  leave = page.run(root, { ...params, id: rest.map(decodeURIComponent).join("/") || params.id }, shell) ?? null;
  // A page that asks for something has put the keyboard there.
  if (!firstTime && !root.contains(document.activeElement)) shell.main.focus();
  firstTime = false;
}
let firstTime = true;

/** `why`: what whoever was signed out finds at the door. */
async function begin(why) {
  clearInterval(idle);
  leave?.();
  leave = null;
  shell = null;
  let me;
  try {
    me = await session();
  } catch (problem) {
    show(document.body, h("main", { class: "door" }, h("h1", null, "outreachd cannot be reached"), h("p", null, problem.message),
      h("button", { class: "main", on: { click: () => begin() } }, "Try again")));
    return;
  }
  const failed = failure();
  if (!me.signed_in) return door(me, why ?? failed);
  // Whoever meant to come in as somebody else must see that they have not.
  if (failed) await told(me, failed);
  const kept = sessionStorage.getItem("back");
  sessionStorage.removeItem("back");
  if (kept && !location.hash.startsWith("#/")) history.replaceState(null, "", kept);
  touch();
  shell = new Shell(me, PAGES, () => out());
  show(document.body, ...shell.node);
  firstTime = true;
  route();
  let asking = false;
  const refresh = async () => {
    // One at a time: where nothing answers, the next would only wait beside it.
    if (document.hidden || asking) return;
    asking = true;
    try {
      await shell?.refresh();
    } finally {
      asking = false;
    }
  };
  refresh();
  idle = setInterval(() => {
    refresh();
    // Who does nothing is signed out here as well, so that nothing stays on the screen.
    if (!me.local && Date.now() - Number(localStorage.getItem(TOUCHED)) > me.idle_seconds * 1000) out(`You were signed out, because nothing was done for ${span(me.idle_seconds)}.`);
  }, 5000);
}

/** Why somebody was not let in, before the page of whoever is signed in here. */
function told(me, failed) {
  return new Promise((seen) => {
    const on = h("button", { class: "main", on: { click: seen } }, me.local ? "Go on without an account" : `Go on as ${me.name}`);
    show(document.body, h("main", { class: "door" }, h("h1", null, "You were not signed in"), h("p", { class: "error", role: "alert" }, failed), on));
    on.focus();
  });
}

/** What is shown goes at once, whether or not the other side hears of it; then on to where the identity provider signs out too. */
async function out(why) {
  clearInterval(idle);
  leave?.();
  leave = null;
  shell = null;
  show(document.body);
  const told = await remove("session").catch(() => ({}));
  if (told?.continue) location.assign(told.continue);
  else begin(why);
}

// Why nobody was let in, as the way back from the identity provider tells it.
const FAILED = {
  lost: "The way back took too long, or began in another window. Sign in once more, here.",
  denied: "The identity provider did not let you in, or you left its page.",
  away: "The identity provider does not answer. Try again in a moment; if it lasts, tell whoever runs it.",
  provider: "The identity provider and this system do not fit together. An administrator finds out why with: outreachd check",
  token: "What the identity provider says of you could not be believed. Try again; if it lasts, an administrator finds the reason in the log.",
  role: "You are known, but none of your groups opens this console. Ask for one, then sign in again.",
  unknown: "You are known to the identity provider, but have no account here. An administrator makes one: outreachd users add NAME --oidc --subject SUB (the audit log has it)",
  name: "The identity provider gives you no name that an account can have, or one that this system uses itself. An administrator sees to it: name_claim in [console.oidc]",
  taken: "There is an account of your name that is not yours by the identity provider. If it is yours, an administrator says so: outreachd users link NAME --subject SUB (the audit log has both)",
  disabled: "Your account is closed. An administrator can open it again: outreachd users enable NAME",
  often: "Too many sign-ins from your network. Wait a minute.",
  ledger: "The database does not answer. Try again in a moment; nothing is lost.",
};

/** What the address says of a sign-in that failed; it says so once. */
function failure() {
  const word = new URLSearchParams(location.hash.split("?")[1]).get("failed");
  if (!location.hash.startsWith("#/signin")) return null;
  history.replaceState(null, "", location.pathname);
  return FAILED[word] ?? "You could not be signed in. Try again.";
}

function door(me, why) {
  const error = h("p", { class: "error", role: "alert" }, why);
  const field = (name, label, more) => h("label", null, label, h("input", { name, required: true, ...more }));
  const form = me.password && h("form", { on: { submit: enter } },
    field("name", "Name", { autocomplete: "username", autocapitalize: "none", autofocus: !me.oidc }),
    field("password", "Password", { type: "password", autocomplete: "current-password" }),
    field("code", "Code from your authenticator", { inputmode: "numeric", autocomplete: "one-time-code", maxlength: 7 }),
    h("button", { class: me.oidc ? null : "main" }, "Sign in"));
  const keep = () => { if (location.hash.startsWith("#/")) sessionStorage.setItem("back", location.hash); };
  const provider = me.oidc && h("a", { class: "button main", href: "v1/session/oidc", on: { click: keep } }, `Sign in with ${me.oidc}`);
  async function enter(event) {
    event.preventDefault();
    const button = form.querySelector("button");
    button.disabled = true;
    try {
      await post("session", Object.fromEntries(new FormData(form)));
      await begin();
    } catch (problem) {
      show(error, problem.message);
      form.elements.code.value = "";
      button.disabled = false;
    }
  }
  document.title = "Sign in · outreachd";
  show(document.body, h("main", { class: "door" },
    h("p", { class: "brand" }, h("img", { src: "console/icon.svg", alt: "" }), "outreachd"), h("h1", { class: "sr" }, "Sign in"), error, provider, form,
    form && h("p", { class: "quiet" }, "No account, or the code does not work? An administrator makes new ones: ", h("code", null, "outreachd users reset NAME"))));
  (provider || form.elements.name).focus();
}

for (const kind of ["pointerdown", "keydown"]) addEventListener(kind, touch, { passive: true });
addEventListener("hashchange", route);
addEventListener("signed-out", () => { if (shell) begin("You were signed out."); });
begin();
