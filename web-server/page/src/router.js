// @ts-check
import { computed, signal } from "@preact/signals";
import { onPlace, pushEntry } from "./scroll.js";

const hash = signal(location.hash);

/** The screen that the URL's hash names: `#/task/id` gives `["task", id]`. */
export const place = computed(() => hash.value.replace(/^#\/?|\?.*/g, "").split("/").filter(Boolean).map(decoded));
/** What of it is shown: `#/tasks?filter=failed` gives `filter=failed`. */
export const query = computed(() => hash.value.replace(/^[^?]*/, ""));
/** The query with which each screen was last seen: a link without one leads to it. @type {Map<string, string>} */
const queries = new Map();

/** Decode, or return the text as it is: a truncated URL may end within a percent-encoded character.
 * @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function read() {
  hash.value = location.hash;
  queries.set(place.peek().join("/"), query.peek());
}
read();

addEventListener("popstate", ({ state }) => {
  if (!state?.visit && !location.hash.includes("?")) complete();
  onPlace(state, () => {
    read();
    document.querySelector("main")?.focus({ preventScroll: true });
  });
});

/** Add the query with which the screen was last seen to the URL of a new history entry. */
function complete() {
  const seen = queries.get(location.hash.replace(/^#\/?/, ""));
  if (seen) history.replaceState(null, "", location.hash + seen);
}

/** Show another part of the same screen; Back leads to the one before. @param {Record<string, string>} values of
 * the query, empty ones without effect */
export function showOnly(values) {
  const given = Object.entries(values).filter(([, value]) => value);
  const search = given.length ? `?${new URLSearchParams(given)}` : "";
  if (search === query.peek()) return;
  pushEntry(linkTo(...place.peek()) + search);
  read();
}

/** Forget what was searched for, for the next user of the browser. */
export function forgetQueries() {
  queries.clear();
  if (!query.peek()) return;
  history.replaceState(history.state, "", linkTo(...place.peek()));
  read();
}

/** Return whether this section is shown. @param {string} section */
export const isOn = (section) => (place.value[0] || "new") === section;

/** @param {string[]} parts */
export const linkTo = (...parts) => `#/${parts.map(encodeURIComponent).join("/")}`;
/** @param {string[]} parts */
export const goTo = (...parts) => {
  location.hash = linkTo(...parts);
};
