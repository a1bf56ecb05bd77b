// @ts-check
// Dialogs and buttons that ask for confirmation before an action that cannot be undone.
import { useSignal } from "@preact/signals";
import { useId } from "preact/hooks";
import { Dialog, html } from "./ui.js";
import { t } from "./words.js";

/** A modal dialog that confirms an action; the one that changes nothing has the focus. @param {{title: string, means: string, action: string, keep: string,
 * onSure: () => void, onClose: () => void}} props */
export function ConfirmDialog({ title, means, action, keep, onSure, onClose }) {
  const id = useId();
  return html`<${Dialog} title=${title} describedBy=${id} onClose=${onClose}>
    <p id=${id}>${means}</p>
    <div class="actions">
      <button class="danger primary" onClick=${onSure}>${action}</button>
      <button class="quiet" autofocus onClick=${onClose}>${keep}</button>
    </div>
  <//>`;
}

/** A button whose action is confirmed first.
 * @param {{kind: string, name: string, label: string, onSure: () => Promise<any>}} props `kind`: prefix of
 *   the keys in en.json (`kind_one`, `kind_means`); `name`: name of what the action is about */
export function ConfirmButton({ kind, name, label, onSure }) {
  const isConfirming = useSignal(false);
  const act = () => {
    isConfirming.value = false;
    onSure();
  };
  return html`<button class="quiet danger" onClick=${() => (isConfirming.value = true)} aria-label=${t(`${kind}_one`, { name })}>${label}</button>
    ${isConfirming.value && html`<${ConfirmDialog} title=${`${t(`${kind}_one`, { name })}?`} means=${t(`${kind}_means`)} action=${label}
      keep=${t("action.keep")} onSure=${act} onClose=${() => (isConfirming.value = false)} />`}`;
}
