// @ts-check
import { signal } from "@preact/signals";

/** The place in the page: `["task", id]` of `#/task/id`. */
export const place = signal(parse());

function parse() {
  return location.hash.replace(/^#\/?/, "").split("/").filter(Boolean).map(decoded);
}

/** A URL that was cut off may end within a percent-encoded character. @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

addEventListener("hashchange", () => {
  place.value = parse();
  document.querySelector("main")?.focus();
  scrollTo(0, 0); // a browser keeps how far the screen before was scrolled
});

/** @param {string[]} parts */
export const linkTo = (...parts) => `#/${parts.map(encodeURIComponent).join("/")}`;
/** @param {string[]} parts */
export const goTo = (...parts) => {
  location.hash = linkTo(...parts);
};
