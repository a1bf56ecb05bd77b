// @ts-check
// Who is logged in, by a cookie that scripts cannot read; it is renewed while the page is visible.
import { signal } from "@preact/signals";
import { ApiError, call, get, onLoginNeeded } from "./api.js";

const RENEW_MS = 25 * 60_000;

/** @typedef {{user_id: number, username: string, email: string, role: string, sample_url?: string | null}} User */
/** @type {import("@preact/signals").Signal<User | null>} */
export const user = signal(null);
/** `start`: not known yet; `out`; `in`; `expired`: a call waits for a log-in. */
export const state = signal("start");
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
  setInterval(renew, 60_000);
  // Without a log-in so far the call would only fail.
  if (!hint()) {
    state.value = "out";
    return;
  }
  try {
    entered((await call("GET", "/me", undefined, { anonymous: true })).data);
  } catch {
    ended();
  }
}

/** Remember, or tell, that this browser has logged in. @param {boolean} [isIn] */
function hint(isIn) {
  try {
    if (isIn !== undefined) localStorage.setItem("session", isIn ? "1" : "");
    return localStorage.getItem("session") === "1";
  } catch {
    return true;
  }
}

/** @param {User} account */
function entered(account) {
  user.value = account;
  state.value = "in";
  hint(true);
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

export async function logOut() {
  await call("POST", "/auth/logout", undefined, { anonymous: true }).catch(() => {});
  if (channel) channel.postMessage("out");
  ended();
}

export function ended() {
  hint(false);
  waiting = [];
  user.value = null;
  state.value = "out";
}

async function renew() {
  if (state.value !== "in" || document.hidden || Date.now() - renewedAtMs < RENEW_MS) return;
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
