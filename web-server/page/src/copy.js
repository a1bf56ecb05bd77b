// @ts-check
import { useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import { announce, html } from "./ui.js";
import { t } from "./words.js";

/** A text, such as a link, and a button that copies it; `children` are further buttons.
 * @param {{text: string, label: string, children?: any}} props */
export function Copy({ text, label, children }) {
  const said = useSignal("action.copy");
  const field = useRef(/** @type {any} */ (null));
  const copy = async () => {
    said.value = (await isCopied(field.current)) ? "action.copied" : "action.copy_by_hand";
    announce(t(said.value));
  };
  return html`<p><input ref=${field} class="code" readonly value=${text} aria-label=${label}
      onFocus=${(/** @type {any} */ event) => event.target.select()} /></p>
    <div class="actions"><button onClick=${copy}>${t(said.value)}</button>${children}</div>`;
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
