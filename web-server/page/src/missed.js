// @ts-check
// Errors of what was done on a screen that is not shown any more.
import { effect, signal } from "@preact/signals";
import { user } from "./session.js";

/** @typedef {{error: import("./api.js").ApiError, name: string, href: string}} Missed */

/** The last one, with the name and the URL of its screen. */
export const missed = signal(/** @type {Missed | null} */ (null));
effect(() => {
  if (!user.value) missed.value = null;
});

/** Return a function that shows an error outside of the screen that is shown now, which was left meanwhile; to its
 * user only.
 * @param {string} [name] of what is done @param {string} [href] URL of its screen */
export function reporter(name = document.title.replace(/ · idrl$/, ""), href = location.hash) {
  const owner = user.value?.user_id;
  return (/** @type {import("./api.js").ApiError} */ error) => {
    if (owner && owner === user.value?.user_id) missed.value = { error, name, href };
  };
}
