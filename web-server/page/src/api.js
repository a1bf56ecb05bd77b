// @ts-check
// Calls of the public API. The token is in a cookie that scripts cannot read.
import { learnClock } from "./time.js";

/** @typedef {{field: string, code: string, message: string}} FieldError */

/** Codes of answers without one, as of a proxy in front of the system, by their status.
 * @type {Record<number, string>} */
const CODES = {
  0: "offline", 404: "not_found", 408: "request_timeout", 413: "body_too_large", 414: "uri_too_long",
  429: "too_many_requests", 431: "header_too_large", 502: "web_unavailable", 503: "web_unavailable", 504: "web_timeout",
};

export class ApiError extends Error {
  /**
   * @param {number} status 0 where no answer came
   * @param {{code?: string, detail?: string, errors?: FieldError[], request_id?: string}} problem
   * @param {number} retryAfterS
   */
  constructor(status, problem, retryAfterS = 0) {
    super(problem.detail || problem.code || "no answer");
    this.status = status;
    this.code = problem.code || CODES[status] || "internal_error";
    this.isProblem = !!problem.code;
    this.errors = problem.errors || [];
    this.requestId = problem.request_id || "";
    this.retryAfterS = retryAfterS;
  }
}

/** How long a call waits for its response. nginx answers sooner (504) if the service behind it hangs, so
 * this only ends calls over a dead network. */
const CALL_MAX_MS = 60_000;
/** The same for a form with files, which only POST /brands takes: nginx waits 90 s for its response. */
const FORM_MAX_MS = 100_000;

/** @type {{prompt: null | ((session: number) => Promise<void>), session: () => number}} */
const login = { prompt: null, session: () => 0 };

/** Set the function that asks the user to log in; it is called when a call gets 401, with the number that
 * `session` gave when the call was sent.
 * @param {(session: number) => Promise<void>} prompt @param {() => number} session */
export function onLoginNeeded(prompt, session) {
  Object.assign(login, { prompt, session });
}

/**
 * Make one call and return its answer; raise ApiError. After a 401, wait for a log-in and repeat the call.
 * @param {string} method
 * @param {string} path
 * @param {any} [body]
 * @param {{headers?: Record<string, string>, anonymous?: boolean, onSent?: (bytes: number) => void, signal?: AbortSignal}} [options]
 *   `onSent`: called while a file is sent, with how many bytes of it have been; `signal`: ends that
 * @returns {Promise<{status: number, data: any, headers: Headers}>}
 */
export async function call(method, path, body, options = {}) {
  const session = login.session();
  const answer = await send(method, path, body, options);
  if (answer.ok || answer.status === 304) {
    return { status: answer.status, data: await contentOf(answer, method), headers: answer.headers };
  }
  const error = await failure(answer);
  // bad_credentials: a wrong password in a form; the session has not ended.
  if (answer.status !== 401 || error.code === "bad_credentials" || options.anonymous || !login.prompt) throw error;
  await login.prompt(session);
  return call(method, path, body, options);
}

/** Return the JSON of a response, or null. Raise ApiError with status 0 if it is incomplete, or is not
 * JSON: a captive portal answers 200 with its own log-in page. @param {Response} answer @param {string} method */
async function contentOf(answer, method) {
  if (answer.status === 304 || method === "HEAD") return null;
  if (!(answer.headers.get("Content-Type") || "").includes("json")) {
    if (answer.status === 200) throw new ApiError(0, {});
    return null;
  }
  try {
    return await answer.json();
  } catch {
    throw new ApiError(0, {});
  }
}

/** Return whether the error is transient: the same call may succeed a little later. @param {ApiError} error */
export const isPassing = (error) => error.status === 0 || error.status >= 500;

/** Return whether a proxy has answered in place of the system, as while that is deployed again: this says nothing
 * about what was requested. @param {ApiError} error */
export const isOfProxy = (error) => error.status > 0 && !error.isProblem;

/** @param {string} path */
export const get = async (path) => (await call("GET", path)).data;

/**
 * @param {string} method @param {string} path @param {any} body
 * @param {{headers?: Record<string, string>, onSent?: (bytes: number) => void, signal?: AbortSignal}} options
 */
async function send(method, path, body, { headers: given, onSent, signal }) {
  /** @type {Record<string, string>} */
  const headers = { Accept: "application/json", ...given };
  const isFile = body instanceof Blob || body instanceof FormData;
  if (body !== undefined && !isFile) headers["Content-Type"] = "application/json";
  try {
    const answer = isFile ? await sendFile(method, path, body, headers, onSent, signal) : await fetch(path, {
      method, headers, body: JSON.stringify(body), credentials: "same-origin", cache: "no-store", signal: abortedAfter(CALL_MAX_MS),
    });
    learnClock(answer.headers.get("Date"));
    return answer;
  } catch {
    throw new ApiError(0, {});
  }
}

/** Send a file, however long that takes while it gets on. Not by `fetch`, which does not tell whether it does.
 * @param {string} method @param {string} path @param {Blob | FormData} body @param {Record<string, string>} headers
 * @param {(bytes: number) => void} [onSent] @param {AbortSignal} [signal] @returns {Promise<Response>} */
function sendFile(method, path, body, headers, onSent, signal) {
  const request = new XMLHttpRequest();
  const end = () => request.abort();
  let timer = 0;
  const waitOn = () => {
    clearTimeout(timer);
    timer = setTimeout(end, body instanceof FormData ? FORM_MAX_MS : CALL_MAX_MS);
  };
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject();
    signal?.addEventListener("abort", end);
    request.onload = resolve;
    request.onerror = request.onabort = reject;
    request.upload.onprogress = ({ loaded }) => {
      waitOn();
      onSent?.(loaded);
    };
    request.open(method, path);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.send(body);
    waitOn();
  }).then(() => answerOf(request)).finally(() => {
    clearTimeout(timer);
    signal?.removeEventListener("abort", end);
  });
}

/** Return what a request got, as `fetch` would. @param {XMLHttpRequest} request */
function answerOf(request) {
  const headers = new Headers();
  for (const line of request.getAllResponseHeaders().split("\r\n").filter(Boolean)) {
    headers.append(line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1));
  }
  return new Response(request.responseText || null, { status: request.status, headers });
}

/** Return a signal that aborts a call after `ms`: over a dead network `fetch` gets no response and no error.
 * @param {number} ms */
function abortedAfter(ms) {
  const controller = new AbortController();
  setTimeout(() => controller.abort(), ms);
  return controller.signal;
}

/** @param {Response} answer */
async function failure(answer) {
  const retryAfterS = Number(answer.headers.get("Retry-After")) || 0;
  return new ApiError(answer.status, await problemOf(answer), retryAfterS);
}

/** Return the problem document of a response; {} for any other, such as HTML or another API's JSON.
 * @param {Response} answer */
async function problemOf(answer) {
  try {
    const found = await answer.json();
    return typeof found.code === "string" && Array.isArray(found.errors ?? []) ? found : {};
  } catch {
    return {};
  }
}

/** Return the path of the next page that a Link header names, or null. @param {Headers} headers */
export function nextPage(headers) {
  const found = /<([^>]+)>; rel="next"/.exec(headers.get("Link") || "");
  return found ? found[1] : null;
}
