// @ts-check
// Scroll position and focused row of each history entry: Back returns to the place in a list that was left.
// Browsers restore positions before the list has been loaded, when the page is still short.

const KEPT = "places";
/** How long a screen is waited for that is not yet as long as it was. */
const WAIT_MS = 10_000;

/** @typedef {{y: number, row: string | null}} Left */
/** @type {Record<string, Left>} */
const left = read();
let visit = history.state?.visit || begin();
let stop = () => {};

history.scrollRestoration = "manual";
addEventListener("pagehide", () => {
  note();
  try {
    sessionStorage.setItem(KEPT, JSON.stringify(left));
  } catch {
    // Without storage the positions are forgotten by a reload.
  }
});
if (left[visit]) restore(left[visit]);

/** @returns {Record<string, Left>} */
function read() {
  try {
    return JSON.parse(sessionStorage.getItem(KEPT) || "{}");
  } catch {
    return {};
  }
}

/** Name this history entry. Its name is unique in the tab, also after a reload. */
function begin() {
  const name = `${Date.now()}-${Math.random()}`;
  history.replaceState({ visit: name }, "");
  return name;
}

function note() {
  left[visit] = { y: scrollY, row: document.activeElement?.closest("[data-row]")?.getAttribute("href") || null };
}

/** Show another place: at its top, or where it was left if this is an entry of the history.
 * @param {{visit?: string} | null} state of the entry @param {() => void} show */
export function onPlace(state, show) {
  note();
  visit = state?.visit || begin();
  show();
  if (left[visit]) restore(left[visit]);
  else scrollTo(0, 0);
}

/** Begin another history entry of the screen that is shown, which stays where it is scrolled to.
 * @param {string} url */
export function pushEntry(url) {
  note();
  history.pushState(null, "", url);
  visit = begin();
}

/** Scroll and focus as soon as the page is long enough, unless the user does something before.
 * @param {Left} place */
function restore({ y, row }) {
  stop();
  const page = document.documentElement;
  const seen = new ResizeObserver(() => {
    if (page.scrollHeight - innerHeight < y || document.querySelector("main [aria-busy=true]")) return;
    const link = row && document.querySelector(`[data-row][href="${CSS.escape(row)}"]`);
    if (link) /** @type {HTMLElement} */ (link).focus({ preventScroll: true });
    scrollTo(0, y);
    stop();
  });
  const events = ["wheel", "touchmove", "keydown", "pointerdown"];
  const timer = setTimeout(() => stop(), WAIT_MS);
  stop = () => {
    clearTimeout(timer);
    seen.disconnect();
    events.forEach((name) => removeEventListener(name, stop));
    stop = () => {};
  };
  events.forEach((name) => addEventListener(name, stop, { passive: true }));
  seen.observe(document.body);
}
