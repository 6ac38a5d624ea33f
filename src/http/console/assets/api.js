// The API of this listener, relative to where the page lies: it may live below a path.

let csrf = null;

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
  const query = new URLSearchParams(Object.entries(params ?? {}).filter(([, value]) => value !== null && value !== undefined && value !== "")).toString();
  return call("GET", `v1/${path}${query ? `?${query}` : ""}`, undefined, byItself ? { "x-by-itself": "1" } : {});
}

export function post(path, body) {
  return call("POST", `v1/${path}`, body ?? {}, {});
}

/** Sends a file as it is. */
export function upload(path, file, media) {
  return call("POST", `v1/${path}`, file, { "content-type": media });
}

export function remove(path) {
  return call("DELETE", `v1/${path}`, undefined, {});
}

export async function session() {
  const found = await call("GET", "v1/session", undefined, {});
  csrf = found.csrf ?? null;
  return found;
}

async function call(method, path, body, headers) {
  if (method !== "GET" && csrf) headers["x-csrf-token"] = csrf;
  const plain = body === undefined || headers["content-type"];
  if (!plain) headers["content-type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method, headers, body: plain ? body : JSON.stringify(body), credentials: "same-origin" });
  } catch {
    throw new Refused(0, { detail: "outreachd does not answer. It may be restarting; nothing is lost." });
  }
  const text = await response.text();
  let json = {};
  try { json = text ? JSON.parse(text) : {}; } catch { json = { detail: "the answer could not be read" }; }
  if (response.ok) return json;
  if (response.status === 401 && path !== "v1/session") window.dispatchEvent(new Event("signed-out"));
  throw new Refused(response.status, json);
}
