// @ts-check
import { signal } from "@preact/signals";
import { onPlace } from "./scroll.js";

/** The screen that the URL's hash names: `#/task/id` gives `["task", id]`. */
export const place = signal(parse());

function parse() {
  return location.hash.replace(/^#\/?/, "").split("/").filter(Boolean).map(decoded);
}

/** Decode, or return the text as it is: a truncated URL may end within a percent-encoded character.
 * @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

addEventListener("popstate", ({ state }) => {
  onPlace(state, () => {
    place.value = parse();
    document.querySelector("main")?.focus({ preventScroll: true });
  });
});

/** @param {string[]} parts */
export const linkTo = (...parts) => `#/${parts.map(encodeURIComponent).join("/")}`;
/** @param {string[]} parts */
export const goTo = (...parts) => {
  location.hash = linkTo(...parts);
};
