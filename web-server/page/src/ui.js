// @ts-check
// Small components that all screens use.
import { signal, useSignal } from "@preact/signals";
import htm from "htm";
import { h } from "preact";
import { useEffect, useId, useLayoutEffect, useRef } from "preact/hooks";
import { ApiError } from "./api.js";
import { missed, reporter } from "./missed.js";
import { connection } from "./poll.js";
import { uptimeMs } from "./time.js";
import { adviceOf, ago, clock, t } from "./words.js";

export const html = htm.bind(h);

const QUIET_MS = 5000;
const announced = signal({ sentence: "", atMs: -QUIET_MS, dialog: "" });
let later = 0;
/** Ids of the open dialogs, the uppermost last. @type {string[]} */
const dialogs = [];

/** Announce a sentence to screen readers, at most one in QUIET_MS: of sentences that come sooner only the
 * last one is announced, later. @param {string} sentence */
export function announce(sentence) {
  clearTimeout(later);
  const earlyMs = announced.value.atMs + QUIET_MS - uptimeMs();
  if (earlyMs > 0) later = setTimeout(announce, earlyMs, sentence);
  else announced.value = { sentence, atMs: uptimeMs(), dialog: dialogs.at(-1) || "" };
}

/** The live region of the page or, in `dialog`, of one: while a dialog is open, browsers hide the rest of the
 * page from screen readers. Each sentence is a new element (`key`), so the same one twice is read out twice.
 * @param {{dialog?: string}} props */
export function LiveRegion({ dialog = "" }) {
  const { sentence, atMs, dialog: of } = announced.value;
  return html`<div class="hidden" role="status" aria-live="polite"><span key=${atMs}>${of === dialog && sentence}</span></div>`;
}

/** Says that the system does not answer, while it does not. */
export function LostConnection() {
  const { isLost, isReached, lastMs } = connection.value;
  if (!isLost) return null;
  return html`<p class="banner"><span role="alert">${t(isReached ? "offline.system" : "offline")}</span> ${t("offline.since", { ago: ago(new Date(lastMs).toISOString()) })}</p>`;
}

/** Something that is shown on all screens until it is closed. @param {{onClose: () => void, children: any}} props */
export function Notice({ onClose, children }) {
  return html`<div class="banner notice"><p class="long" role="alert">${children}</p>
    <button class="quiet" onClick=${onClose} aria-label=${t("action.close")}>✕</button></div>`;
}

/** The error of an action whose screen was left before it failed. */
export function MissedFailure() {
  if (!missed.value) return null;
  const { error, name, href } = missed.value;
  const [reason = error] = error.errors;
  return html`<${Notice} onClose=${() => (missed.value = null)}><a href=${href}>${name}</a>: ${adviceOf(reason.code, reason.message)}<//>`;
}

/** An error as a sentence, which alone is announced: each try of a poll gives another request id.
 * @param {{error: import("./api.js").ApiError | null}} props */
export function Failure({ error }) {
  if (!error) return null;
  const id = error.requestId && html`<br /><small>${t("error.id")} <code>${error.requestId}</code></small>`;
  const wait = error.status === 429 && error.retryAfterS > 0 && html` <${Countdown} key=${error} untilMs=${uptimeMs() + error.retryAfterS * 1000} />`;
  return html`<p class="failure"><span role="alert">${adviceOf(error.code, error.message)}</span>${wait}${id}</p>`;
}

/** A countdown in seconds, hidden from screen readers, which would read out each second.
 * @param {{untilMs: number}} props `untilMs`: as uptimeMs() counts */
function Countdown({ untilMs }) {
  const until = useRef(untilMs);
  const leftS = useSignal(Infinity);
  useEffect(() => {
    const count = () => (leftS.value = Math.max(0, Math.ceil((until.current - uptimeMs()) / 1000)));
    count();
    const timer = setInterval(count, 1000);
    return () => clearInterval(timer);
  }, []);
  return html`<span aria-hidden="true">${leftS.value > 0 && leftS.value < Infinity && t("error.wait", { time: clock(leftS.value) })}</span>`;
}

/** @param {any} props `describedBy`: id of a further description among the children */
export function Field({ label, hint, error, children, id, describedBy = "" }) {
  const field = useRef(/** @type {HTMLElement | null} */ (null));
  useLayoutEffect(() => {
    const input = field.current?.querySelector(`[id="${id}"]`);
    setAttribute(input, "aria-describedby", [hint && `${id}-hint`, error && `${id}-error`, describedBy].filter(Boolean).join(" "));
    setAttribute(input, "aria-invalid", error ? "true" : "");
  }, [id, !!hint, !!error, describedBy]);
  return html`<div class="field" ref=${field}>
    <label for=${id}>${label}</label>
    ${children}
    ${hint && html`<p class="hint" id=${`${id}-hint`}>${hint}</p>`}
    ${error && html`<p class="failure" id=${`${id}-error`} role="alert">${error}</p>`}
  </div>`;
}

/** @param {Element | null | undefined} element @param {string} name @param {string} value */
function setAttribute(element, name, value) {
  if (value) element?.setAttribute(name, value);
  else element?.removeAttribute(name);
}

/** Return `attempt`, which runs an action, and its error. While one runs, another (a double click) does nothing.
 * `inTurn` runs an action after those that run: one that was confirmed, so no double click. An error that comes
 * when the screen was left is shown all the same, unless the action only reads.
 * @param {{isRead?: boolean}} [options] */
export function useAttempt({ isRead = false } = {}) {
  const error = useSignal(/** @type {ApiError | null} */ (null));
  const isBusy = useSignal(false);
  const last = useRef(/** @type {Promise<void>} */ (Promise.resolve()));
  const isLeft = useRef(false);
  useEffect(() => () => {
    isLeft.current = true;
  }, []);
  const run = async (/** @type {() => Promise<any>} */ act) => {
    isBusy.value = true;
    const report = reporter();
    try {
      await act();
    } catch (failure) {
      if (!(failure instanceof ApiError)) throw failure;
      error.value = failure;
      if (isLeft.current && !isRead) report(failure);
    } finally {
      isBusy.value = false;
    }
  };
  const inTurn = (/** @type {() => Promise<any>} */ act) => {
    if (!isBusy.value) error.value = null;
    last.current = isBusy.value ? last.current.catch(() => {}).then(() => run(act)) : run(act);
    return last.current;
  };
  const attempt = async (/** @type {() => Promise<any>} */ act) => {
    if (!isBusy.value) await inTurn(act);
  };
  return { error, isBusy, attempt, inTurn };
}

/** Radio buttons, shown as buttons with text and an optional picture. @param {any} props */
export function Choice({ legend, name, value, options, onChange, kind = "" }) {
  return html`<fieldset class=${`choice ${kind}`}>
    <legend>${legend}</legend>
    <div class="options">
      ${options.map(
        (/** @type {any[]} */ [key, label, picture]) => html`<label key=${key}>
          <input type="radio" name=${name} value=${key} checked=${value === key} onChange=${() => onChange(key)} />
          <span>${picture}${label}</span>
        </label>`,
      )}
    </div>
  </fieldset>`;
}

/** @param {{value: number, label: string}} props */
export function Bar({ value, label }) {
  return html`<progress max="100" value=${value} aria-label=${label}></progress>`;
}

/** A modal dialog. Escape closes it if there is an `onClose`. @param {any} props */
export function Dialog({ title, describedBy = null, onClose, children, wide = false, onKeyDown }) {
  const element = useRef(/** @type {any} */ (null));
  const id = useId(); // not a constant: the log-in dialog may open over another dialog
  // Opened before the first paint, so that it gets keys that are pressed as soon as it is visible.
  useLayoutEffect(() => {
    const dialog = element.current;
    dialog.showModal();
    dialogs.push(id);
    return () => {
      dialogs.splice(dialogs.indexOf(id), 1);
      dialog.close();
    };
  }, []);
  const onCancel = (/** @type {Event} */ event) => {
    event.preventDefault();
    if (onClose) onClose();
  };
  // Browsers let no page prevent a second Escape: they close the dialog without a `cancel` event.
  const onClosed = () => {
    if (!element.current) return; // closed because it was removed
    if (onClose) onClose();
    else element.current.showModal();
  };
  return html`<dialog ref=${element} class=${wide ? "wide" : ""} aria-labelledby=${id} aria-describedby=${describedBy} onCancel=${onCancel} onClose=${onClosed} onKeyDown=${onKeyDown}>
    <header>
      <h2 id=${id}>${title}</h2>
      ${onClose && html`<button class="quiet" onClick=${onClose} aria-label=${t("action.close")}>✕</button>`}
    </header>
    <${LostConnection} />
    ${children}
    <${LiveRegion} dialog=${id} />
  </dialog>`;
}

const ICONS = { queued: "◷", downloading: "↓", planned: "▤", processing: "▶", canceling: "…", done: "✓", failed: "!", canceled: "–" };

/** @param {{status: string}} props */
export function Status({ status }) {
  const icon = /** @type {any} */ (ICONS)[status] || "•";
  return html`<span class=${`status ${status}`}><span aria-hidden="true">${icon}</span> ${t(`status.${status}`)}</span>`;
}

export const LIVE = ["queued", "downloading", "planned", "processing", "canceling"];
