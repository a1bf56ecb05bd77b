// @ts-check
// Files from this machine: chosen or dropped, sent one after the other, a task for each.
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { ApiError, call } from "../api.js";
import { goTo } from "../router.js";
import { announce, Bar, html } from "../ui.js";
import { forget, repeated, upload } from "../uploads.js";
import { sentenceOf, sizeOf, t } from "../words.js";

/** Statuses that say that this upload makes no task any more. */
const GONE = [404, 409, 410];

/** @typedef {{file: File, sentBytes: number, taskId: string, error: string, state: {isCanceled: boolean}}} Row */

/** @param {{itemOf: () => any, onSent: () => void}} props */
export function Files({ itemOf, onSent }) {
  const rows = useSignal(/** @type {Row[]} */ ([]));
  const isOver = useSignal(false);
  const chooser = useRef(/** @type {any} */ (null));
  const isSending = rows.value.some((row) => !row.taskId && !row.error && !row.state.isCanceled);
  useEffect(() => {
    if (!isSending) return undefined;
    const ask = (/** @type {Event} */ event) => event.preventDefault();
    addEventListener("beforeunload", ask);
    return () => removeEventListener("beforeunload", ask);
  }, [isSending]);

  const change = (/** @type {File} */ file, /** @type {Partial<Row>} */ values) => {
    rows.value = rows.value.map((row) => (row.file === file ? { ...row, ...values } : row));
  };
  const send = async (/** @type {Row} */ row) => {
    try {
      const id = await upload(row.file, (sentBytes) => change(row.file, { sentBytes }), row.state);
      if (row.state.isCanceled) return;
      const asked = itemOf();
      const headers = { "Idempotency-Key": `upload-${id}` };
      const { data } = await repeated(() => call("POST", "/tasks", { upload_id: id, ...asked }, { headers }));
      forget(row.file);
      change(row.file, { taskId: data.task_id });
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (GONE.includes(error.status)) forget(row.file);
      change(row.file, { error: sentenceOf(error.code, error.message) });
    }
  };
  const add = async (/** @type {FileList | null} */ files) => {
    const added = [...(files || [])].map((file) => ({ file, sentBytes: 0, taskId: "", error: "", state: { isCanceled: false } }));
    rows.value = [...rows.value, ...added];
    for (const row of added) await send(row);
    const made = rows.value.filter((row) => row.taskId);
    if (!made.length) return;
    announce(t("new.accepted"));
    if (rows.value.length > 1) return;
    onSent();
    goTo("task", made[0].taskId);
  };
  const onDrop = (/** @type {DragEvent} */ event) => {
    event.preventDefault();
    isOver.value = false;
    add(event.dataTransfer?.files || null);
  };
  return html`<section class=${`drop ${isOver.value ? "over" : ""}`} aria-label=${t("files.title")}
      onDragOver=${(/** @type {Event} */ event) => { event.preventDefault(); isOver.value = true; }}
      onDragLeave=${() => (isOver.value = false)} onDrop=${onDrop}>
    <p>${t("files.lead")} <button type="button" onClick=${() => chooser.current.click()}>${t("files.choose")}</button></p>
    <p class="hint">${t("files.now")}</p>
    <input ref=${chooser} class="hidden" type="file" accept="video/*,.mkv,.ts,.mts" multiple tabindex="-1" aria-hidden="true"
      onChange=${(/** @type {any} */ event) => { add(event.target.files); event.target.value = ""; }} />
    <ul class="plain">${rows.value.map((row) => html`<${FileRow} key=${row.file.name + row.file.lastModified} row=${row}
      onRetry=${() => { change(row.file, { error: "" }); send(row); }} onCancel=${() => { row.state.isCanceled = true; rows.value = rows.value.filter((each) => each !== row); }} />`)}</ul>
  </section>`;
}

/** @param {{row: Row, onRetry: () => void, onCancel: () => void}} props */
function FileRow({ row, onRetry, onCancel }) {
  const { file, sentBytes, taskId, error } = row;
  return html`<li>
    <span class="row-text"><span class="ellipsis">${file.name}</span>
      ${error ? html`<span class="failure">${error}</span>` : html`<span class="facts">${sizeOf(sentBytes)} / ${sizeOf(file.size)}</span>
      <${Bar} value=${(100 * sentBytes) / file.size} label=${t("task.progress", { name: file.name })} />`}</span>
    ${error && html`<button class="quiet" onClick=${onRetry} aria-label=${t("files.retry", { name: file.name })}>${t("action.retry")}</button>`}
    ${taskId ? html`<a href=${`#/task/${taskId}`}>${t("files.open")}</a>` : html`<button class="quiet" onClick=${onCancel}>${t("files.cancel")}</button>`}
  </li>`;
}
