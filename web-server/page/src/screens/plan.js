// @ts-check
// The plan of a task with manual start: where its clips begin and end, as text that can be edited.
import { useSignal } from "@preact/signals";
import { ApiError, call } from "../api.js";
import { announce, Failure, Field, html } from "../ui.js";
import { clock, decimalSign, t } from "../words.js";
import { byField, segmentsOf } from "./edit_form.js";

/** Return whether times were typed that are not planned. @param {any} task @param {string | null} text */
export const isUnplanned = ({ parts }, text) => text !== null && text.trim() !== linesOf(parts);

/** @param {{task: any, text: import("@preact/signals").Signal<string | null>, refresh: () => void}} props */
export function Plan({ task, text, refresh }) {
  const error = useSignal(/** @type {ApiError | null} */ (null));
  const isBusy = useSignal(false);
  const save = async (/** @type {Event} */ event) => {
    event.preventDefault();
    error.value = null;
    isBusy.value = true;
    try {
      await call("PATCH", task.link, { edit: { segments: segmentsOf(text.value ?? linesOf(task.parts)) } });
      text.value = null;
      announce(t("plan.changed"));
    } catch (failure) {
      if (!(failure instanceof ApiError)) throw failure;
      error.value = failure;
    }
    isBusy.value = false;
    refresh();
  };
  const wrong = error.value && byField(error.value).segments;
  return html`<details class="options-box">
    <summary>${t("plan.change")}</summary>
    <form onSubmit=${save}>
      <${Field} id="plan" label=${t("plan.times")} hint=${t("new.segments_hint")} error=${wrong}>
        <textarea id="plan" rows=${Math.min(12, task.parts.length + 1)}
          value=${text.value ?? linesOf(task.parts)}
          onInput=${(/** @type {any} */ input) => (text.value = input.target.value)}></textarea>
      <//>
      ${!wrong && html`<${Failure} error=${error.value} />`}
      <button disabled=${isBusy.value}>${t("plan.again")}</button>
    </form>
  </details>`;
}

/** Return a line for each part, as `segmentsOf` reads it. @param {any[]} parts */
function linesOf(parts) {
  return parts.map((part) => `${exact(part.start_s)} - ${exact(part.end_s)} ${part.name || ""}`.trim()).join("\n");
}

/** Format a time to the millisecond; a tenth of a second would be several frames off.
 * @param {number} seconds */
function exact(seconds) {
  const ms = Math.round(seconds * 1000);
  const rest = String(ms % 1000).padStart(3, "0").replace(/0+$/, "");
  return clock(Math.floor(ms / 1000)) + (rest && `${decimalSign()}${rest}`);
}
