// @ts-check
// Keeps the keyboard's place: when the focused control is removed or disabled, browsers focus <body>, and the
// next Tab or the screen reader begins at the top of the page again.

/** What may take the place of a control that is gone: no text field, which opens a phone's keyboard, and
 * nothing that deletes. */
const SUCCESSORS = "a[href], button:not(:disabled, .danger), summary, input[type=checkbox]";

/** The focused element with its ancestors up to <main>, and the index of each among its siblings.
 * @type {{element: Element, index: number}[]} */
let path = [];

export function keepFocus() {
  addEventListener("focusin", ({ target }) => (path = pathOf(/** @type {Element} */ (target))));
  addEventListener("focusout", ({ target }) => queueMicrotask(() => clearIfLeft(/** @type {Element} */ (target))));
  new MutationObserver(restore).observe(document.body, {
    childList: true, subtree: true, attributes: true, attributeFilter: ["disabled"],
  });
}

/** @param {Element} target */
function pathOf(target) {
  const steps = [];
  for (let element = target; element.parentElement; element = element.parentElement) {
    steps.push({ element, index: [...element.parentElement.children].indexOf(element) });
    if (element.localName === "main") break;
  }
  return steps;
}

/** Clear the remembered control if the user left it by a click outside of it. @param {Element} target */
function clearIfLeft(target) {
  const isThere = target.isConnected && !target.matches(":disabled");
  if (isThere && document.activeElement === document.body && path[0]?.element === target) path = [];
}

function restore() {
  const [focused] = path;
  if (!focused || document.activeElement !== document.body) return;
  if (!focused.element.isConnected) (successor() || document.querySelector("main"))?.focus({ preventScroll: true });
  // A form's button is disabled only while the form is sent.
  else if (!focused.element.matches(":disabled")) /** @type {HTMLElement} */ (focused.element).focus({ preventScroll: true });
}

/** Return the control nearest to the one that was removed: behind it, else before it, else further out.
 * Null if it was not in <main>, or if a whole screen was replaced. @returns {HTMLElement | null} */
function successor() {
  const screen = path.findIndex(({ element }) => element.localName === "main") - 1;
  for (let step = path.findIndex(({ element }) => element.isConnected); step > 0 && step <= screen; step += 1) {
    const siblings = [...path[step].element.children];
    const { index } = path[step - 1];
    for (const sibling of [...siblings.slice(index), ...siblings.slice(0, index).reverse()]) {
      const found = [sibling, ...sibling.querySelectorAll(SUCCESSORS)].find(canTake);
      if (found) return /** @type {HTMLElement} */ (found);
    }
  }
  return null;
}

/** @param {Element} element */
const canTake = (element) => element.matches(SUCCESSORS) && element.checkVisibility();
