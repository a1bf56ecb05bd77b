// @ts-check
// The second click of a double click means what the first one was on. Where that is covered or gone, as by a dialog
// that opens or closes, it would hit what is under the pointer by then: the answer to a question, or a row.

const CONTROLS = "a, button, input, select, summary, textarea, video";
/** How far the pointer may move within a double click. */
const NEAR_PX = 8;
let first = { element: /** @type {Element | null} */ (null), x: 0, y: 0 };

export function ignoreStrayClicks() {
  addEventListener("click", onClick, { capture: true });
}

/** @param {MouseEvent} click */
function onClick(click) {
  const target = /** @type {Element} */ (click.target);
  // A click on a label's text is followed by one on its input.
  const element = target.closest("label") || target.closest(CONTROLS) || target;
  const { detail, clientX: x, clientY: y } = click;
  if (detail === 1) first = { element, x, y };
  if (detail < 2 || element === first.element || !isNear(x, y)) return;
  click.preventDefault();
  click.stopImmediatePropagation();
}

/** Return whether the first click was here: disabled controls get none. @param {number} x @param {number} y */
const isNear = (x, y) => Math.hypot(x - first.x, y - first.y) < NEAR_PX;
