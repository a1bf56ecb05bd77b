// @ts-check
// Calls of the public API. The token is in a cookie that scripts cannot read.

/** @typedef {{field: string, code: string, message: string}} FieldError */

export class ApiError extends Error {
  /**
   * @param {number} status 0 where no answer came
   * @param {{code?: string, detail?: string, errors?: FieldError[], request_id?: string}} problem
   * @param {number} retryAfterS
   */
  constructor(status, problem, retryAfterS = 0) {
    super(problem.detail || problem.code || "no answer");
    this.status = status;
    this.code = problem.code || (status ? "internal_error" : "offline");
    this.errors = problem.errors || [];
    this.requestId = problem.request_id || "";
    this.retryAfterS = retryAfterS;
  }
}

/** @type {{ask: null | (() => Promise<void>)}} */
const login = { ask: null };

/** Set what is to be done where a call needs a log-in. @param {() => Promise<void>} ask */
export function onLoginNeeded(ask) {
  login.ask = ask;
}

/**
 * Make one call and return its answer; raise ApiError. A 401 waits for a log-in, then repeats.
 * @param {string} method
 * @param {string} path
 * @param {any} [body]
 * @param {{headers?: Record<string, string>, anonymous?: boolean}} [options]
 * @returns {Promise<{status: number, data: any, headers: Headers}>}
 */
export async function call(method, path, body, options = {}) {
  const answer = await send(method, path, body, options.headers || {});
  if (answer.status === 401 && !options.anonymous && login.ask) {
    await login.ask();
    return call(method, path, body, options);
  }
  if (answer.ok || answer.status === 304) {
    const isJson = (answer.headers.get("Content-Type") || "").includes("json");
    return {
      status: answer.status,
      data: isJson ? await answer.json() : null,
      headers: answer.headers,
    };
  }
  throw await failure(answer);
}

/** @param {string} path */
export const get = async (path) => (await call("GET", path)).data;
/** @param {string} path @param {any} [body] */
export const post = async (path, body) => (await call("POST", path, body)).data;

/**
 * @param {string} method @param {string} path @param {any} body
 * @param {Record<string, string>} given
 */
async function send(method, path, body, given) {
  /** @type {Record<string, string>} */
  const headers = { Accept: "application/json", ...given };
  const isFile = body instanceof Blob || body instanceof FormData;
  if (body !== undefined && !isFile) headers["Content-Type"] = "application/json";
  const sent = body === undefined || isFile ? body : JSON.stringify(body);
  try {
    return await fetch(path, { method, headers, body: sent, credentials: "same-origin", cache: "no-store" });
  } catch {
    throw new ApiError(0, {});
  }
}

/** @param {Response} answer */
async function failure(answer) {
  const retryAfterS = Number(answer.headers.get("Retry-After")) || 0;
  try {
    return new ApiError(answer.status, await answer.json(), retryAfterS);
  } catch {
    return new ApiError(answer.status, {}, retryAfterS);
  }
}

/** Return the path of the next page that a Link header names, or null. @param {Headers} headers */
export function nextPage(headers) {
  const found = /<([^>]+)>; rel="next"/.exec(headers.get("Link") || "");
  return found ? found[1] : null;
}
