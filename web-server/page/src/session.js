// @ts-check
// Who is logged in. The token is in an HttpOnly cookie; it is renewed while the page is visible.
import { signal } from "@preact/signals";
import { ApiError, call, get, isOfProxy, isPassing, onLoginNeeded } from "./api.js";
import { pause } from "./time.js";

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
/** How often this page has been logged in: a late 401 to a call of an earlier session ends no later one. */
let entries = 0;
/** How often this page has begun to ask who is logged in: only the last time's answer counts. */
let starts = 0;
let isRenewing = false;
/** Email and password of a sign-up whose answer was lost: there may be an account by now. */
let unanswered = "";
/** In place of storage that the browser denies: at its start the page may have a session, of whatever age. */
let storedAtMs = 1;

export async function start() {
  onLoginNeeded(loginAfter, () => entries);
  if (channel) channel.onmessage = ({ data }) => (data === "out" ? forget() : enteredElsewhere(data.in));
  setInterval(() => renew(), 60_000);
  // If this browser has never logged in, GET /me would only give 401.
  if (!sessionBeganAtMs()) {
    state.value = "out";
    return;
  }
  await enter();
}

/** Ask until it is known who is logged in. */
async function enter() {
  starts += 1;
  state.value = "start";
  const start = starts;
  for (let failures = 0; isStarting(start); failures += 1) await recognize(start, failures);
}

/** Return whether this start, by its number, is still the one whose answer is waited for: another tab may have
 * logged out, or in as another account. @param {number} start */
const isStarting = (start) => state.value === "start" && start === starts;

/** Follow a log-in in another tab: it has replaced the cookie of this one. @param {number} userId */
function enteredElsewhere(userId) {
  if (user.value?.user_id === userId) {
    if (state.value === "expired") entered(user.value);
  } else {
    forget();
    enter();
  }
}

/** Resolve once there is a session other than the one whose call got 401. @param {number} session
 * @returns {Promise<void>} */
function loginAfter(session) {
  if (state.value === "out") return new Promise(() => {});
  if (state.value === "in" && session !== entries) return Promise.resolve();
  state.value = "expired";
  return new Promise((resolve) => waiting.push(resolve));
}

/** Ask GET /me who is logged in. A transient error does not end the session; the caller tries again.
 * @param {number} start see isStarting() @param {number} failures so far */
async function recognize(start, failures) {
  try {
    const { data } = await call("GET", "/me", undefined, { anonymous: true });
    if (isStarting(start)) entered(data);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (!isStarting(start)) return;
    if (!isPassing(error) && error.status !== 429 && !isOfProxy(error)) {
      storeSession(0);
      return forget();
    }
    startError.value = error;
    await pause(Math.max(error.retryAfterS * 1000, Math.min(MAX_PAUSE_MS, 500 * 2 ** failures)));
  }
}

/** Store when the session began or was renewed: its cookie is the same in all tabs and after a reload.
 * @param {number} beganAtMs 0: there is none */
function storeSession(beganAtMs) {
  storedAtMs = beganAtMs;
  try {
    localStorage.setItem("session", beganAtMs ? String(beganAtMs) : "");
  } catch {
    // Without storage, each start of the page calls GET /me, and renews the session.
  }
}

/** Return when this browser's session began or was renewed, 0 if it has none. */
function sessionBeganAtMs() {
  try {
    return Number(localStorage.getItem("session"));
  } catch {
    return storedAtMs;
  }
}

/** @param {User} account */
function entered(account) {
  // Another account in the dialog gets neither the first one's screens nor its calls.
  if (user.value && user.value.user_id !== account.user_id) forgetEverywhere();
  user.value = account;
  state.value = "in";
  entries += 1;
  const repeats = waiting;
  waiting = [];
  repeats.forEach((repeat) => repeat());
}

/** @param {string} email @param {string} password */
export async function logIn(email, password) {
  const nowMs = Date.now();
  await call("POST", "/auth/login", { email, password, session: true }, { anonymous: true });
  entered(await accountOfCookie());
  storeSession(nowMs);
  channel?.postMessage({ in: user.value?.user_id });
}

/** Return the account of the session that has just begun. Raise ApiError, also where the browser keeps no cookie.
 * @returns {Promise<User>} */
async function accountOfCookie() {
  try {
    return (await call("GET", "/me", undefined, { anonymous: true })).data;
  } catch (error) {
    if (error instanceof ApiError && error.code === "token_missing") throw new ApiError(401, { code: "cookies_blocked" });
    throw error;
  }
}

/** @param {Record<string, string>} account */
export async function signUp(account) {
  const { email, password } = account;
  const owner = JSON.stringify([email, password]);
  if (owner === unanswered && (await isLoggedIn(email, password))) return;
  unanswered = owner;
  try {
    await call("POST", "/auth/signup", account, { anonymous: true });
  } catch (error) {
    if (error instanceof ApiError && !isPassing(error)) unanswered = "";
    throw error;
  }
  await logIn(email, password);
  unanswered = "";
}

/** Log in if there is such an account. @param {string} email @param {string} password */
async function isLoggedIn(email, password) {
  try {
    await logIn(email, password);
    return true;
  } catch (error) {
    if (error instanceof ApiError && error.code === "bad_credentials") return false;
    throw error;
  }
}

/** End all sessions of the account. If the call fails, stay logged in and show that (`isStillIn`). */
export async function logOut() {
  const session = entries;
  isStillIn.value = false;
  const isOut = await isLoggedOut();
  if (session !== entries || state.value === "out") return; // a second click's answer
  if (isOut) leave();
  else isStillIn.value = true;
}

/** Request to log out. Return whether there is no session any more. */
async function isLoggedOut() {
  try {
    await call("POST", "/auth/logout", undefined, { anonymous: true });
    return true;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return error.status === 401;
  }
}

/** Switch to the log-in screen, here and in the browser's other tabs, after the session has ended. */
export function leave() {
  storeSession(0);
  forgetEverywhere();
}

/** Forget the account here and in the browser's other tabs. */
function forgetEverywhere() {
  if (channel) channel.postMessage("out");
  forget();
}

/** Switch to the log-in screen; what is kept for the account is cleared with that. */
function forget() {
  isStillIn.value = false;
  waiting = [];
  user.value = null;
  state.value = "out";
}

/** Renew the session when RENEW_MS of its hour are over. @param {{isNeeded?: boolean}} [options] `isNeeded`:
 * also in a hidden tab, because an upload is running */
export async function renew({ isNeeded = false } = {}) {
  const isAtWork = isNeeded || !document.hidden;
  const ageMs = Date.now() - sessionBeganAtMs();
  const isFresh = ageMs >= 0 && ageMs < RENEW_MS; // negative: the clock was set back
  if (state.value !== "in" || !isAtWork || isRenewing || isFresh) return;
  const session = entries;
  isRenewing = true;
  try {
    await call("POST", "/auth/refresh", undefined, { anonymous: true });
    if (isIn(session)) storeSession(Date.now());
  } catch (error) {
    if (error instanceof ApiError && error.status === 401 && isIn(session)) state.value = "expired";
  }
  isRenewing = false;
}

/** Return whether this session, by its number, is the present one. @param {number} session */
const isIn = (session) => state.value === "in" && session === entries;

export async function reload() {
  user.value = await get("/me");
}
