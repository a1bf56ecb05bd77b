// @ts-check
// Who is logged in. The token is in an HttpOnly cookie; it is renewed while the page is visible.
import { signal } from "@preact/signals";
import { ApiError, call, get, isPassing, onLoginNeeded } from "./api.js";

const RENEW_MS = 25 * 60_000;
const MAX_PAUSE_MS = 10_000;

/** @typedef {{user_id: number, username: string, email: string, role: string, sample_url?: string | null}} User */
/** @type {import("@preact/signals").Signal<User | null>} */
export const user = signal(null);
/** `start`: not known yet; `out`: logged out; `in`: logged in; `expired`: calls wait for a new log-in. */
export const state = signal("start");
/** The error of the last GET /me while `state` is `start`. */
export const startError = signal(/** @type {ApiError | null} */ (null));
/** Whether the request to log out has failed. */
export const isStillIn = signal(false);
const channel = "BroadcastChannel" in window ? new BroadcastChannel("idrl") : null;
/** @type {(() => void)[]} */
let waiting = [];
let renewedAtMs = 0;

export async function start() {
  onLoginNeeded(() => {
    if (state.value === "out") return new Promise(() => {});
    state.value = "expired";
    return new Promise((resolve) => waiting.push(resolve));
  });
  if (channel) channel.onmessage = (event) => event.data === "out" && ended();
  setInterval(() => renew(), 60_000);
  // If this browser has never logged in, GET /me would only give 401.
  if (!hasLoggedIn()) {
    state.value = "out";
    return;
  }
  for (let failures = 0; state.value === "start"; failures += 1) await recognize(failures);
}

/** Ask GET /me who is logged in. A transient error does not end the session; the caller tries again.
 * @param {number} failures so far */
async function recognize(failures) {
  try {
    entered((await call("GET", "/me", undefined, { anonymous: true })).data);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (!isPassing(error) && error.status !== 429) return ended();
    startError.value = error;
    await pause(Math.max(error.retryAfterS * 1000, Math.min(MAX_PAUSE_MS, 500 * 2 ** failures)));
  }
}

/** Wait `ms`, or less if the browser comes online again. @param {number} ms */
function pause(ms) {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
    addEventListener("online", resolve, { once: true });
  });
}

/** @param {boolean} isIn */
function storeLoggedIn(isIn) {
  try {
    localStorage.setItem("session", isIn ? "1" : "");
  } catch {
    // Without storage, hasLoggedIn() is true and each start of the page calls GET /me.
  }
}

/** Return whether this browser may have a session. */
function hasLoggedIn() {
  try {
    return localStorage.getItem("session") === "1";
  } catch {
    return true;
  }
}

/** @param {User} account */
function entered(account) {
  user.value = account;
  state.value = "in";
  storeLoggedIn(true);
  renewedAtMs = Date.now();
  const repeats = waiting;
  waiting = [];
  repeats.forEach((repeat) => repeat());
}

/** @param {string} email @param {string} password */
export async function logIn(email, password) {
  await call("POST", "/auth/login", { email, password, session: true }, { anonymous: true });
  entered((await call("GET", "/me", undefined, { anonymous: true })).data);
}

/** @param {Record<string, string>} account */
export async function signUp(account) {
  await call("POST", "/auth/signup", account, { anonymous: true });
  await logIn(account.email, account.password);
}

/** End all sessions of the account. If the call fails, stay logged in and show that (`isStillIn`). */
export async function logOut() {
  isStillIn.value = false;
  try {
    await call("POST", "/auth/logout", undefined, { anonymous: true });
    leave();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.status === 401) leave();
    else isStillIn.value = true;
  }
}

/** Switch to the log-in screen, here and in the browser's other tabs, after the session has ended. */
export function leave() {
  if (channel) channel.postMessage("out");
  ended();
}

export function ended() {
  storeLoggedIn(false);
  isStillIn.value = false;
  waiting = [];
  user.value = null;
  state.value = "out";
}

/** Renew the session when RENEW_MS of its hour are over. @param {{isNeeded?: boolean}} [options] `isNeeded`:
 * also in a hidden tab, because an upload is running */
export async function renew({ isNeeded = false } = {}) {
  const isAtWork = isNeeded || !document.hidden;
  if (state.value !== "in" || !isAtWork || Date.now() - renewedAtMs < RENEW_MS) return;
  renewedAtMs = Date.now();
  try {
    await call("POST", "/auth/refresh", undefined, { anonymous: true });
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) state.value = "expired";
  }
}

export async function reload() {
  user.value = await get("/me");
}
