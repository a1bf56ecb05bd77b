// @ts-check
// Keyboard shortcuts; they can be switched off on the screen "account".
import { signal } from "@preact/signals";
import { goTo, place } from "./router.js";

export const isHelpOpen = signal(false);
export const areKeysOn = signal(read());
// Sent by the browser to its other tabs.
addEventListener("storage", ({ key }) => {
  if (key === "keys") areKeysOn.value = read();
});

function read() {
  try {
    return localStorage.getItem("keys") !== "off";
  } catch {
    return true;
  }
}

/** @param {boolean} on */
export function switchKeys(on) {
  areKeysOn.value = on;
  try {
    localStorage.setItem("keys", on ? "on" : "off");
  } catch {
    // Without storage the choice holds until the page is closed.
  }
}

/** @returns {() => void} */
export function listen() {
  addEventListener("keydown", onKey);
  addEventListener("popstate", closeHelp);
  return () => {
    removeEventListener("keydown", onKey);
    removeEventListener("popstate", closeHelp);
  };
}

/** Close the list of keys, as the other dialogs close with their screen. */
function closeHelp() {
  isHelpOpen.value = false;
}

/** @param {KeyboardEvent} event */
function onKey(event) {
  const target = /** @type {HTMLElement} */ (event.target);
  const isTyping = target.closest("input:not([type=checkbox]), textarea, select, dialog, video");
  if (isTyping || !areKeysOn.value || event.ctrlKey || event.metaKey || event.altKey) return;
  const action = ACTIONS[event.key];
  if (action && action() !== false) event.preventDefault();
}

/** @type {Record<string, () => any>} */
const ACTIONS = {
  n: () => goTo("new"),
  t: () => goTo("tasks"),
  "/": () => {
    if (place.value[0] !== "tasks") goTo("tasks");
    setTimeout(() => document.getElementById("search")?.focus());
  },
  "?": () => {
    isHelpOpen.value = true;
  },
  j: () => step(1),
  k: () => step(-1),
};

/** Move the focus by this many rows or cards of the screen; false if there are none. @param {number} by */
function step(by) {
  // Clips that are not made yet have disabled buttons, which take no focus.
  const items = /** @type {HTMLElement[]} */ ([...document.querySelectorAll("[data-row]:not(:disabled)")]);
  if (!items.length) return false;
  const at = items.findIndex((item) => item.closest("li")?.contains(document.activeElement));
  items[Math.min(items.length - 1, Math.max(0, at + by))].focus();
}
