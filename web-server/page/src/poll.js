// @ts-check
// Documents that change: asked for again with their ETag, less often where nobody looks.
import { signal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { ApiError, call } from "./api.js";

const HIDDEN_MS = 30_000;
const MAX_MS = 30_000;
const ended = 0;

/** The time of the last answer, and whether the last call had none. */
export const connection = signal({ lastMs: Date.now(), isLost: false });

/**
 * @template T
 * @typedef {{value: T | null, error: ApiError | null, headers: Headers | null}} Polled
 */

export class Poller {
  /**
   * @param {string} path
   * @param {(data: any) => number} intervalMs how long to wait after this answer; 0 stops
   */
  constructor(path, intervalMs) {
    this.path = path;
    this.intervalMs = intervalMs;
    /** @type {import("@preact/signals").Signal<Polled<any>>} */
    this.state = signal({ value: null, error: null, headers: null });
    this.tag = "";
    this.failures = 0;
    this.isStopped = false;
    this.timer = 0;
    this.onVisible = () => document.hidden || this.refresh();
  }

  start() {
    this.isStopped = false;
    document.addEventListener("visibilitychange", this.onVisible);
    this.refresh();
  }

  stop() {
    this.isStopped = true;
    clearTimeout(this.timer);
    document.removeEventListener("visibilitychange", this.onVisible);
  }

  /** Ask now, then again after the interval. */
  async refresh() {
    clearTimeout(this.timer);
    const waitMs = await this.ask();
    if (this.isStopped || waitMs === ended) return;
    this.timer = setTimeout(() => this.refresh(), document.hidden ? Math.max(waitMs, HIDDEN_MS) : waitMs);
  }

  async ask() {
    /** @type {Record<string, string>} */
    const headers = this.tag ? { "If-None-Match": this.tag } : {};
    try {
      const answer = await call("GET", this.path, undefined, { headers });
      this.failures = 0;
      connection.value = { lastMs: Date.now(), isLost: false };
      if (answer.status !== 304) {
        this.tag = answer.headers.get("ETag") || "";
        this.state.value = { value: answer.data, error: null, headers: answer.headers };
      } else if (this.state.value.error) {
        this.state.value = { ...this.state.value, error: null };
      }
      return this.intervalMs(this.state.value.value);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      return this.afterFailure(error);
    }
  }

  /** @param {ApiError} error */
  afterFailure(error) {
    if (error.status === 0 || error.status >= 502) {
      connection.value = { ...connection.value, isLost: true };
    }
    this.state.value = { ...this.state.value, error };
    if (error.status === 404 || error.status === 403) return ended;
    this.failures += 1;
    return Math.max(error.retryAfterS * 1000, Math.min(MAX_MS, 1000 * 2 ** this.failures));
  }
}

/** Poll a path while the component is shown. @param {string} path @param {(data: any) => number} intervalMs */
export function usePolled(path, intervalMs) {
  const poller = useMemo(() => new Poller(path, intervalMs), [path]);
  useEffect(() => {
    poller.start();
    return () => poller.stop();
  }, [poller]);
  return poller;
}
