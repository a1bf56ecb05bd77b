// @ts-check
// Times that stay right where the browser's clock is wrong or is changed.

/** Differences below this are the network's delay, and the whole seconds of the Date header. */
const LEAST_ERROR_MS = 30_000;
let aheadMs = 0;

/** Learn the server's clock from a response. @param {string | null} date its Date header */
export function learnClock(date) {
  const differenceMs = Date.parse(date || "") - Date.now();
  aheadMs = Math.abs(differenceMs) > LEAST_ERROR_MS ? differenceMs : 0;
}

/** Return the present time by the server's clock. */
export const nowMs = () => Date.now() + aheadMs;

/** Return milliseconds since the page was loaded, which no change of the clock moves. */
export const uptimeMs = () => performance.now();

/** Wait `ms`, or less if the browser comes online again or `signal` is aborted.
 * @param {number} ms @param {AbortSignal} [signal] @returns {Promise<void>} */
export function pause(ms, signal) {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      removeEventListener("online", end);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    addEventListener("online", end);
    signal?.addEventListener("abort", end);
  });
}
