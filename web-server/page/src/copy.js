// @ts-check
import { useSignal } from "@preact/signals";
import { announce, html } from "./ui.js";
import { t } from "./words.js";

/** A button that copies the text of the field in its dialog (`.code`). */
export function Copy() {
  const said = useSignal("action.copy");
  const copy = async (/** @type {Event} */ event) => {
    const button = /** @type {HTMLElement} */ (event.currentTarget);
    const field = /** @type {HTMLInputElement} */ (button.closest("dialog")?.querySelector(".code"));
    said.value = (await isCopied(field)) ? "action.copied" : "action.copy_by_hand";
    announce(t(said.value));
  };
  return html`<button onClick=${copy}>${t(said.value)}</button>`;
}

/** Copy a field's text; if the browser allows no way to, leave it selected and return false.
 * @param {HTMLInputElement} field */
async function isCopied(field) {
  try {
    await navigator.clipboard.writeText(field.value);
    return true;
  } catch {
    // Browsers have `navigator.clipboard` only over https and on localhost, and users may deny it.
    field.select();
    return document.execCommand("copy");
  }
}
