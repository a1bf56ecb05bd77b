// @ts-check
// Polls resources of the API with If-None-Match, less often in a hidden tab.
import { computed, effect, signal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { ApiError, call, isOfProxy } from "./api.js";
import { state } from "./session.js";
import { nowMs, uptimeMs } from "./time.js";

const HIDDEN_MS = 30_000;
const MAX_MS = 30_000;
const ended = 0;
/** Least time between two scheduled polls of a tab, whatever it shows. */
const APART_MS = 1000;
let polledAtMs = -APART_MS;

/** The time of the last answer, whether the last poll of any path had none, and whether it had a response all the
 * same, as of a proxy in front of a system that does not answer. */
export const connection = signal({ lastMs: nowMs(), isLost: false, isReached: false });
export const isLost = computed(() => connection.value.isLost);
/** The status of each response that was no answer, 0 where there was none. @type {Map<Poller, number>} */
const unanswered = new Map();

/** @typedef {Map<string, {value: any, headers: Headers}>} Answers */
/** The last answers by path, the newest last: a screen that is shown again begins with them. Each session has
 * a map of its own: an answer that comes after the log-out goes to the one of the session before.
 * @type {Answers} */
let answers = new Map();
const MAX_ANSWERS = 20;
effect(() => {
  if (state.value === "out") answers = new Map();
});

/** Forget the answers of paths that begin so: they are known to have changed. @param {string} beginning */
export function forgetAnswers(beginning) {
  for (const path of answers.keys()) if (path.startsWith(beginning)) answers.delete(path);
}

/** @param {Answers} ofSession @param {string} path @param {any} value @param {Headers} headers */
function keepAnswer(ofSession, path, value, headers) {
  ofSession.delete(path);
  ofSession.set(path, { value, headers });
  if (ofSession.size > MAX_ANSWERS) ofSession.delete(ofSession.keys().next().value || "");
}

/**
 * @template T
 * @typedef {{value: T | null, error: ApiError | null, headers: Headers | null}} Polled
 */

export class Poller {
  /**
   * @param {string} path
   * @param {(data: any) => number} intervalMs how long to wait after this answer; 0 stops
   * @param {boolean} isForEyes whether polling pauses while the tab is hidden
   */
  constructor(path, intervalMs, isForEyes) {
    this.path = path;
    this.intervalMs = intervalMs;
    this.isForEyes = isForEyes;
    this.kept = answers;
    /** @type {import("@preact/signals").Signal<Polled<any>>} */
    this.state = signal({ value: null, headers: null, ...answers.get(path), error: null });
    this.tag = this.state.value.headers?.get("ETag") || "";
    this.failures = 0;
    this.isStopped = false;
    this.timer = 0;
    /** Set by refresh(): one more call has to begin after the current one. */
    this.isAgain = false;
    this.polling = /** @type {Promise<number> | null} */ (null);
    /** The path whose answer is in `state`: after moveTo() it differs from `path` until the next answer. */
    this.answered = answers.has(path) ? path : "";
    this.onVisible = () => document.hidden || this.refresh();
  }

  /** @param {boolean} [isKnown] whether `state` has a value already: then the first call waits for the interval */
  start(isKnown = false) {
    this.isStopped = false;
    document.addEventListener("visibilitychange", this.onVisible);
    addEventListener("online", this.onVisible);
    if (isKnown) this.pollIn(this.intervalMs(this.state.value.value));
    else this.refresh();
  }

  /** Poll another path from now on; its answer replaces the value. @param {string} path */
  moveTo(path) {
    if (path === this.path) return;
    this.path = path;
    this.tag = "";
    this.refresh();
  }

  /** Set path and value from an answer that was fetched elsewhere.
   * @param {string} path @param {any} value @param {Headers} headers */
  take(path, value, headers) {
    this.path = this.answered = path;
    this.tag = "";
    this.state.value = { value, error: null, headers };
  }

  stop() {
    this.isStopped = true;
    clearTimeout(this.timer);
    document.removeEventListener("visibilitychange", this.onVisible);
    removeEventListener("online", this.onVisible);
    this.note(true);
  }

  /** Poll now, then again after the interval. */
  async refresh() {
    clearTimeout(this.timer);
    this.isAgain = true;
    this.polling ??= this.pollUntilCurrent().finally(() => (this.polling = null));
    const waitMs = await this.polling;
    if (this.isStopped || waitMs === ended) return;
    this.pollIn(document.hidden ? Math.max(waitMs, HIDDEN_MS) : waitMs);
  }

  /** Poll until no newer answer is wanted, one call at a time: against a hanging server, parallel calls would
 * use up the browser's connections. */
  async pollUntilCurrent() {
    let waitMs = ended;
    while (this.isAgain) {
      this.isAgain = false;
      waitMs = await this.poll();
    }
    return waitMs;
  }

  /** Poll after `waitMs`, or later so that the tab's polls stay APART_MS apart. @param {number} waitMs */
  pollIn(waitMs) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      const earlyMs = polledAtMs + APART_MS - uptimeMs();
      if (this.isForEyes && document.hidden) return;
      if (earlyMs > 0) this.pollIn(earlyMs);
      else this.refresh();
    }, waitMs);
  }

  async poll() {
    polledAtMs = uptimeMs();
    /** @type {Record<string, string>} */
    const headers = this.tag ? { "If-None-Match": this.tag } : {};
    const { path } = this;
    try {
      const answer = await call("GET", path, undefined, { headers });
      this.failures = 0;
      connection.value = { ...connection.value, lastMs: nowMs() };
      this.note(true);
      if (path !== this.path) return this.intervalMs(this.state.value.value);
      this.answered = path;
      if (answer.status !== 304) {
        this.tag = answer.headers.get("ETag") || "";
        const value = keepSame(this.state.value.value, answer.data);
        this.state.value = { value, error: null, headers: answer.headers };
        keepAnswer(this.kept, path, value, answer.headers);
      } else if (this.state.value.error) {
        this.state.value = { ...this.state.value, error: null };
      }
      return this.intervalMs(this.state.value.value);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      return this.afterFailure(error);
    }
  }

  /** Record whether this path's last poll was answered: one service may answer while another does not.
   * @param {boolean} isAnswered @param {number} [status] */
  note(isAnswered, status = 0) {
    if (isAnswered || this.isStopped) unanswered.delete(this);
    else unanswered.set(this, status);
    const isReached = [...unanswered.values()].some((each) => each > 0);
    connection.value = { ...connection.value, isLost: unanswered.size > 0, isReached };
  }

  /** @param {ApiError} error */
  afterFailure(error) {
    if (error.status === 0 || error.status >= 502 || isOfProxy(error)) {
      this.note(false, error.status);
    }
    this.state.value = { ...this.state.value, error };
    if ((error.status === 404 || error.status === 403) && !isOfProxy(error)) return ended;
    this.failures += 1;
    return Math.max(error.retryAfterS * 1000, Math.min(MAX_MS, 1000 * 2 ** this.failures));
  }
}

/**
 * Return the new value, with the old value's objects wherever both are deeply equal: a component whose
 * props are the same object is not rendered again.
 * @param {any} old @param {any} value @returns {any}
 */
export function keepSame(old, value) {
  if (!old || !value || typeof old !== "object" || typeof value !== "object") return value;
  if (Array.isArray(old) !== Array.isArray(value)) return value;
  const keys = Object.keys(value);
  let isSame = Object.keys(old).length === keys.length;
  for (const key of keys) {
    value[key] = keepSame(old[key], value[key]);
    isSame = isSame && value[key] === old[key];
  }
  return isSame ? old : value;
}

/**
 * Poll a path while the component is shown.
 * @param {string} path @param {(data: any) => number} intervalMs @param {boolean} [isForEyes]
 */
export function usePolled(path, intervalMs, isForEyes = false) {
  const poller = useMemo(() => new Poller(path, intervalMs, isForEyes), [path]);
  useEffect(() => {
    poller.start();
    return () => poller.stop();
  }, [poller]);
  return poller;
}
