// The API of this listener, relative to where the page lies: it may live below a path.

let csrf = null;

// So many milliseconds an answer is waited for: a connection that hangs says nothing by itself. The listener gives up after 30 s, or
// whatever [http] request_timeout says, ten minutes at most: mostly it is raised for files.
const PATIENCE = { GET: 30000, POST: 120000, DELETE: 120000 };
const FILE_PATIENCE = 600000;

/** Why something was not done. */
export class Refused extends Error {
  constructor(status, problem) {
    const errors = (problem.errors ?? []).map((one) => `${one.field ? `${one.field}: ` : ""}${one.rule}; ${one.cure}`);
    super(errors.length ? errors.join(" ") : problem.detail ?? problem.title ?? `the answer was ${status}`);
    this.status = status;
    this.problem = problem;
  }
}

/** Asks. `byItself`: nobody has touched the page, so this does not keep the session open. */
export function get(path, params, byItself) {
  return call("GET", within(path, params), undefined, byItself ? { "x-by-itself": "1" } : {});
}

/** A table for other programs. */
export function file(path, params) {
  return send("GET", within(path, params), undefined, {}, FILE_PATIENCE, (response) => response.blob());
}

export function post(path, body) {
  return call("POST", `v1/${path}`, body ?? {}, {});
}

/** Sends a file as it is. */
export function upload(path, file, media) {
  return call("POST", `v1/${path}`, file, { "content-type": media }, FILE_PATIENCE);
}

export function remove(path) {
  return call("DELETE", `v1/${path}`, undefined, {});
}

export async function session() {
  const found = await call("GET", "v1/session", undefined, {});
  csrf = found.csrf ?? null;
  return found;
}

function within(path, params) {
  const query = new URLSearchParams(Object.entries(params ?? {}).filter(([, value]) => value !== null && value !== undefined && value !== "")).toString();
  return `v1/${path}${query ? `?${query}` : ""}`;
}

async function call(method, path, body, headers, patience) {
  const text = await send(method, path, body, headers, patience);
  const answer = parsed(text);
  // Something stands between that answers in our place: a page of a proxy, or of a sign-in.
  if (!answer) throw new Refused(0, { detail: "what answered is not outreachd. Reload the page." });
  return answer;
}

async function send(method, path, body, headers, patience = PATIENCE[method], read = (response) => response.text()) {
  if (method !== "GET" && csrf) headers["x-csrf-token"] = csrf;
  const plain = body === undefined || headers["content-type"];
  if (!plain) headers["content-type"] = "application/json";
  const signal = AbortSignal.timeout(patience);
  let response;
  let answer;
  try {
    response = await fetch(path, { method, headers, body: plain ? body : JSON.stringify(body), credentials: "same-origin", signal });
    answer = await (response.ok ? read(response) : response.text());
  } catch {
    throw new Refused(0, { detail: signal.aborted ? late(method, patience) : "outreachd does not answer. It may be restarting; nothing is lost." });
  }
  if (response.ok) return answer;
  if (response.status === 401 && path !== "v1/session") window.dispatchEvent(new Event("signed-out"));
  throw new Refused(response.status, parsed(answer) ?? { detail: "the answer could not be read" });
}

function late(method, patience) {
  return `outreachd has not answered for ${patience / 1000} seconds. ${method === "GET" ? "It is busy, or the way to it is cut." : "What was asked for may be done all the same: look before you ask again."}`;
}

function parsed(text) {
  try { return text ? JSON.parse(text) : {}; } catch { return null; }
}
