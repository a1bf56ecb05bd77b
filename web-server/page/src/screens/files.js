// @ts-check
// Uploads of local files, chosen or dropped: sent one after the other, a task for each.
import { computed, effect, signal, useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { ApiError, call, isOfProxy } from "../api.js";
import { reporter } from "../missed.js";
import { usePolled } from "../poll.js";
import { goTo, isOn } from "../router.js";
import { state } from "../session.js";
import { uptimeMs } from "../time.js";
import { announce, Bar, Failure, html, useAttempt } from "../ui.js";
import { discard, discardOld, forget, isContinuable, isOfOne, repeated, undo, upload } from "../uploads.js";
import { adviceOf, lasting, sizeOf, t } from "../words.js";

/** HTTP statuses of POST /tasks after which this upload can never become a task. */
const GONE = [404, 409, 410];

/**
 * `begun`: time (uptimeMs) and offset when this page began to send (for the rate); `choices`: the options for this
 * file, kept when the form was cleared after the file was added, also for Retry.
 * @typedef {{file: File, sentBytes: number, isWaiting: boolean, begun: {ms: number, bytes: number} | null,
 *   choices: any, isAlone: boolean, taskId: string, error: string, canceling: AbortController}} Row
 */

// Outside of the component: uploads continue while another screen is open.
const rows = signal(/** @type {Row[]} */ ([]));
/** Files whose task is being made or, if they were canceled meanwhile, deleted. */
const unsettled = signal(/** @type {File[]} */ ([]));
export const isSending = computed(() => unsettled.value.length > 0 || rows.value.some((row) => !row.taskId && !row.error));

const askBeforeLeaving = (/** @type {Event} */ event) => event.preventDefault();
effect(() => {
  if (isSending.value) addEventListener("beforeunload", askBeforeLeaving);
  else removeEventListener("beforeunload", askBeforeLeaving);
});
effect(() => {
  if (state.value !== "out") return;
  rows.peek().forEach((row) => row.canceling.abort());
  rows.value = [];
  unsettled.value = []; // their calls wait for a log-in, for ever
});

/** Store the form's options in rows that are no task yet, before the form is cleared.
 * @param {any} choices */
export function keepChoices(choices) {
  rows.value = rows.value.map((row) => (row.taskId || row.choices ? row : { ...row, choices }));
}

/** @param {File} file @param {Partial<Row>} values */
function change(file, values) {
  rows.value = rows.value.map((row) => (row.file === file ? { ...row, ...values } : row));
}

/** @param {File} file */
const rowOf = (file) => rows.value.find((row) => row.file === file);

/** Make the task of an uploaded file; delete it if the file is canceled meanwhile. Until then, the browser asks
 * before it closes the tab.
 * @param {File} file @param {string} id of its upload @param {() => Promise<{data: any}>} make see undo()
 * @param {{onPause: () => void, signal: AbortSignal}} options */
async function settled(file, id, make, options) {
  unsettled.value = [...unsettled.value, file];
  try {
    return await repeated(make, options);
  } finally {
    const undone = options.signal.aborted ? undo(file, id, make) : Promise.resolve();
    // Not awaited: other files may wait for this one.
    undone.finally(() => (unsettled.value = unsettled.value.filter((each) => each !== file)));
  }
}

/** @param {Row} row @param {(isAlone: boolean) => any} itemOf */
async function send(row, itemOf) {
  const { file, isAlone } = row;
  const { signal } = row.canceling;
  if (signal.aborted) return;
  const report = reporter(file.name, "#/new");
  const onProgress = (/** @type {number} */ sentBytes, isWaiting = false) => {
    const begun = rowOf(file)?.begun || (isWaiting ? null : { ms: uptimeMs(), bytes: sentBytes });
    change(file, { sentBytes, isWaiting, begun });
  };
  try {
    if (!row.choices) itemOf(isAlone); // mistyped options are refused before the file is sent
    const id = await upload(file, onProgress, signal);
    if (signal.aborted) return;
    const choices = rowOf(file)?.choices || itemOf(isAlone);
    const headers = { "Idempotency-Key": `upload-${id}` };
    const make = () => call("POST", "/tasks", { upload_id: id, ...choices }, { headers });
    const made = await settled(file, id, make, { onPause: () => onProgress(file.size, true), signal });
    if (signal.aborted) return;
    forget(file);
    change(file, { taskId: made.data.task_id });
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (GONE.includes(error.status) && !isOfProxy(error)) forget(file);
    const [reason = error] = error.errors;
    const choices = error.errors.length ? null : rowOf(file)?.choices; // refused ones are replaced by the form's
    change(file, { error: adviceOf(reason.code, reason.message), choices });
    if (!isOn("new")) report(error);
  }
}

/** @param {{itemOf: (isAlone: boolean) => any, isOtherwiseEmpty: () => boolean, onSent: () => void, onLinks: (text: string) => void}} props */
export function Files({ itemOf, isOtherwiseEmpty, onSent, onLinks }) {
  const isOver = useSignal(false);
  const chooser = useRef(/** @type {any} */ (null));
  useEffect(() => () => {
    rows.value = rows.value.filter((row) => !row.taskId); // on leaving the screen, rows that became tasks are removed
  }, []);
  const add = async (/** @type {FileList | null} */ files) => {
    const added = [...(files || [])].map((file) => ({
      file, sentBytes: 0, isWaiting: false, begun: null, choices: null, isAlone: files?.length === 1, taskId: "", error: "", canceling: new AbortController(),
    }));
    rows.value = [...rows.value, ...added];
    for (const row of added) await send(row, itemOf);
    const made = rows.value.filter((row) => row.taskId);
    if (!made.length) return;
    announce(t("new.accepted"));
    // After a single file open its task, to wait for the clips; otherwise stay on this screen.
    if (rows.value.length > 1 || !isOn("new") || !isOtherwiseEmpty()) return;
    onSent();
    goTo("task", made[0].taskId);
    rows.value = [];
  };
  const onDrop = (/** @type {DragEvent} */ event) => {
    event.preventDefault();
    isOver.value = false;
    const dropped = event.dataTransfer;
    if (dropped?.files.length) add(dropped.files);
    else onLinks(dropped?.getData("text/uri-list") || dropped?.getData("text/plain") || "");
  };
  return html`<section class=${`drop ${isOver.value ? "over" : ""}`} aria-label=${t("files.title")}
      onDragOver=${(/** @type {Event} */ event) => { event.preventDefault(); event.stopPropagation(); isOver.value = true; }}
      onDragLeave=${() => (isOver.value = false)} onDrop=${onDrop}>
    <p>${t("files.lead")} <button type="button" onClick=${() => chooser.current.click()}>${t("files.choose")}</button></p>
    <p class="hint">${t("files.now")}</p>
    <input ref=${chooser} class="hidden" type="file" accept="video/*,.mkv,.ts,.mts" multiple tabindex="-1" aria-hidden="true"
      onChange=${(/** @type {any} */ event) => { add(event.target.files); event.target.value = ""; }} />
    <ul class="plain">${rows.value.map((row) => html`<${FileRow} key=${row.file} row=${row}
      onRetry=${() => { change(row.file, { error: "" }); send(row, itemOf); }} />`)}</ul>
    <${Unfinished} />
  </section>`;
}

/** Uploads that a reload or a closed tab has interrupted: their files have to be chosen again. */
function Unfinished() {
  const poller = usePolled("/uploads", () => 0);
  const files = rows.value.map((row) => row.file);
  const uploads = (poller.state.value.value || [])
    .filter((/** @type {any} */ each) => isContinuable(each.upload_id) && !isOfOne(each.upload_id, files));
  return html`<ul class="plain">${uploads.map((/** @type {any} */ each) => html`<${UnfinishedRow} key=${each.upload_id} upload=${each}
    onDiscarded=${() => poller.refresh()} />`)}</ul>`;
}

/** @param {{upload: any, onDiscarded: () => Promise<void>}} props */
function UnfinishedRow({ upload: { name, link, offset_bytes, length_bytes }, onDiscarded }) {
  const { error, attempt } = useAttempt();
  const remove = () => attempt(async () => {
    await discardOld(link);
    await onDiscarded();
  });
  return html`<li>
    <span class="row-text"><span class="ellipsis">${name}</span>
      <span class="facts">${t("files.unfinished", { sent: sizeOf(offset_bytes), all: sizeOf(length_bytes) })}</span>
      <${Failure} error=${error.value} /></span>
    <button class="quiet" onClick=${remove} aria-label=${t("files.cancel_one", { name })}>${t("files.cancel")}</button>
  </li>`;
}

/** @param {Row} row */
function cancel(row) {
  row.canceling.abort();
  if (row.error) discard(row.file);
  else forget(row.file); // a running upload() discards itself, and the same file again is another upload
  rows.value = rows.value.filter((each) => each.file !== row.file);
}

/** @param {{row: Row, onRetry: () => void}} props */
function FileRow({ row, onRetry }) {
  const { file, sentBytes, taskId, error } = row;
  return html`<li>
    <span class="row-text"><span class="ellipsis">${file.name}</span>
      ${error ? html`<span class="failure" role="alert">${error}</span>` : html`<span class="facts">${factsOf(row).join(" · ")}</span>
      <${Bar} value=${(100 * sentBytes) / (file.size || 1)} label=${t("task.progress", { name: file.name })} />`}</span>
    ${error && html`<button class="quiet" onClick=${onRetry} aria-label=${t("files.retry", { name: file.name })}>${t("action.retry")}</button>`}
    ${taskId ? html`<a href=${`#/task/${taskId}`} aria-label=${t("files.open_one", { name: file.name })}>${t("files.open")}</a>`
      : html`<button class="quiet" onClick=${() => cancel(row)} aria-label=${t("files.cancel_one", { name: file.name })}>${t("files.cancel")}</button>`}
  </li>`;
}

/** @param {Row} row */
function factsOf({ file, sentBytes, begun, isWaiting, taskId }) {
  const facts = [`${sizeOf(sentBytes)} / ${sizeOf(file.size)}`];
  if (taskId) return facts;
  if (isWaiting) return [...facts, t("files.waits")];
  const sinceBytes = begun ? sentBytes - begun.bytes : 0;
  if (!begun || sinceBytes <= 0 || sentBytes === file.size) return facts;
  const leftS = ((file.size - sentBytes) * (uptimeMs() - begun.ms)) / 1000 / sinceBytes;
  return [...facts, t("task.left", { time: lasting(leftS) })];
}
