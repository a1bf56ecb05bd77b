// @ts-check
import { useSignal } from "@preact/signals";
import { ConfirmDialog } from "./confirm.js";
import { isSending } from "./screens/files.js";
import { logOut } from "./session.js";
import { html } from "./ui.js";
import { t } from "./words.js";

/** A button that ends the session, after a question while files are being sent: they are canceled with it.
 * @param {{label: string, kind?: string}} props */
export function LogOut({ label, kind = "" }) {
  const isConfirming = useSignal(false);
  const act = () => {
    isConfirming.value = false;
    logOut();
  };
  return html`<button class=${kind} onClick=${() => (isSending.value ? (isConfirming.value = true) : logOut())}>${label}</button>
    ${isConfirming.value && html`<${ConfirmDialog} title=${t("logout.ask")} means=${t("logout.means")} action=${label}
      keep=${t("logout.keep")} onSure=${act} onClose=${() => (isConfirming.value = false)} />`}`;
}
