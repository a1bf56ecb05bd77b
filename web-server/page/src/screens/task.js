// @ts-check
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { call, nextPage } from "../api.js";
import { ConfirmDialog } from "../confirm.js";
import { Copy } from "../copy.js";
import { forgetAnswers, usePolled } from "../poll.js";
import { goTo } from "../router.js";
import { announce, Bar, Dialog, Failure, html, LIVE, Status, useAttempt } from "../ui.js";
import { adviceOf, ago, clock, date, language, lasting, moment, number, percent, sentenceOf, sizeOf, t } from "../words.js";
import { Cards, Strip } from "./parts.js";
import { isUnplanned, Plan } from "./plan.js";
import { hostOf } from "./task_list.js";

const LIVE_MS = 1000;
/** A planned task changes only when a user starts, changes or deletes it. */
const PLANNED_MS = 5000;
const LOST_CODES = ["task_not_found"];

/** @param {{id: string}} props */
export function Task({ id }) {
  const path = `/tasks/${encodeURIComponent(id)}`;
  const poller = usePolled(path, intervalMs);
  const { value: task, error } = poller.state.value;
  useEffect(() => {
    if (task) document.title = `${task.name} · idrl`;
  }, [task?.name, language.value]);
  const typedPlan = useSignal(/** @type {string | null} */ (null));
  const status = useRef("");
  useEffect(() => {
    if (task && status.current) announce(`${task.name}: ${t(`status.${task.status}`)}`);
    status.current = task?.status || "";
  }, [task?.status]);
  if (!task) {
    if (error) return html`<h1>${t("error.task")}</h1><${Failure} error=${error} /><p><a class="button" href="#/tasks">${t("nav.tasks")}</a></p>`;
    return html`<p aria-busy="true">${t("loading")}</p>`;
  }
  return html`<article>
    <p class="crumb"><a href="#/tasks">${t("nav.tasks")}</a></p>
    <div class="title-row"><h1 class="long">${task.name}</h1><${Status} status=${task.status} /></div>
    <p class="facts">${factsOf(task).join(" · ")}</p>
    ${LIVE.includes(task.status) && html`<${Progress} task=${task} />`}
    ${task.error && html`<${TaskError} task=${task} />`}
    ${error && LOST_CODES.includes(error.code) && html`<${Failure} error=${error} />`}
    <${Actions} task=${task} typedPlan=${typedPlan} refresh=${() => poller.refresh()} />
    ${task.status === "planned" && html`<${Plan} task=${task} text=${typedPlan} refresh=${() => poller.refresh()} />`}
    ${task.parts.length > 0 && html`<${Strip} parts=${task.parts} /><${Cards} task=${task} />`}
    <${Events} path=${path} />
  </article>`;
}

/** @param {any} task */
function intervalMs({ status }) {
  if (status === "planned") return PLANNED_MS;
  return LIVE.includes(status) ? LIVE_MS : 0;
}

/** @param {any} task */
function factsOf(task) {
  const source = task.source;
  return [
    hostOf(task.url),
    source && clock(source.duration_s),
    source && `${source.width}×${source.height}`,
    source && t("task.fps", { n: number(source.frame_rate, 2) }),
    source && sizeOf(source.size_bytes),
    source && [source.video_codec, source.audio_codec].filter(Boolean).join(" + "),
    t("task.sent", { ago: ago(task.created_at) }),
    task.expires_at && t("task.expires", { ago: ago(task.expires_at) }),
  ].filter(Boolean);
}

/** @param {{task: any}} props */
function Progress({ task }) {
  const words = [t(`doing.${task.status}`)];
  if (task.parts_total) words.push(t("tasks.parts", { done: task.parts_done, total: task.parts_total }));
  else words.push(percent(task.progress));
  if (task.eta_s != null) words.push(t("task.left", { time: lasting(task.eta_s) }));
  return html`<div class="progress">
    <${Bar} value=${task.progress} label=${t("task.progress", { name: task.name })} />
    <p>${words.join(" · ")}</p>
    ${task.waiting_for && html`<p class="waiting">${t("task.waits", { why: sentenceOf(task.waiting_for) })}
      ${task.waiting_until && t("task.next", { at: date(task.waiting_until) })}</p>`}
  </div>`;
}

/** @param {{task: any}} props */
function TaskError({ task }) {
  return html`<div class="failure box" role="alert">
    <p>${adviceOf(task.error.code, task.error.message)}</p>
    ${task.parts_done > 0 && html`<p>${t("task.some_done", { n: task.parts_done })}</p>`}
    ${hostOf(task.url) && html`<p class="long">${t("error.link")} <code>${task.url}</code></p>`}
    <small>${t("error.code")} <code>${task.error.code}</code> · ${t("error.task")}: <code>${task.task_id}</code></small>
  </div>`;
}

/** @param {{task: any, typedPlan: import("@preact/signals").Signal<string | null>, refresh: () => void}} props */
function Actions({ task, typedPlan, refresh }) {
  const isStarting = useSignal(false);
  const isConfirming = useSignal(false);
  const link = useSignal(/** @type {any} */ (null));
  const { error, attempt, inTurn } = useAttempt();
  const isLive = LIVE.includes(task.status);
  const kind = isLive ? "abort" : "delete"; // also of a dialog that was open when the task ended
  const isGone = useRef(false);
  const isShown = useRef(true);
  useEffect(() => () => {
    isShown.current = false;
  }, []);
  const change = async (/** @type {() => Promise<any>} */ act, run = attempt) => {
    await run(act);
    if (!isGone.current) refresh(); // not after a deletion: it would give 404
  };
  const share = () => change(async () => (link.value = (await call("POST", `${task.link}/links`, {})).data));
  const start = () => {
    isStarting.value = false;
    return change(() => call("POST", `${task.link}/start`));
  };
  const remove = () => {
    isConfirming.value = false;
    return change(async () => {
      const { data } = await call("DELETE", task.link);
      // By its answer: the task may have ended, or may have been retried, since it was polled.
      isGone.current = data.status === "deleted";
      announce(t(isGone.current ? "task.deleted" : "task.aborted"));
      forgetAnswers("/tasks");
      if (isGone.current && isShown.current) goTo("tasks");
    }, inTurn);
  };
  return html`
    <div class="actions">
      ${task.parts_done > 0 && html`<a class="button primary" href=${`${task.link}/clips.zip`} download>${t("task.zip")}</a>
        <a class="button" href=${`${task.link}/manifest.json`} download=${`${task.name}.json`}>${t("task.manifest")}</a>
        <button onClick=${share}>${t("task.share")}</button>`}
      ${task.status === "planned" && html`<button class="primary" onClick=${() => (isUnplanned(task, typedPlan.value) ? (isStarting.value = true) : start())}>${t("action.start")}</button>`}
      ${task.status === "failed" && html`<button onClick=${() => change(() => call("POST", `${task.link}/retry`))}>${t("action.retry")}</button>`}
      <button class="danger" onClick=${() => (isConfirming.value = true)}>${t(`action.${kind}`)}</button>
    </div>
    <${Failure} error=${error.value} />
    ${isConfirming.value && html`<${ConfirmDialog} title=${t(`task.ask_${kind}`)} means=${t(`task.${kind}_means`)}
      action=${t(`action.${kind}`)} keep=${t(`action.keep_${kind}`)} onSure=${remove} onClose=${() => (isConfirming.value = false)} />`}
    ${isStarting.value && html`<${ConfirmDialog} title=${t("plan.ask")} means=${t("plan.ask_means")} action=${t("action.start")}
      keep=${t("plan.keep")} onSure=${start} onClose=${() => (isStarting.value = false)} />`}
    ${link.value && html`<${Dialog} title=${t("task.share")} onClose=${() => (link.value = null)}>
      <p>${t("task.link_means", { at: date(link.value.expires_at) })}</p>
      <${Copy} text=${new URL(link.value.url, location.href).href} label=${t("task.share")}>
        ${"share" in navigator && html`<button onClick=${() => offer(task.name, new URL(link.value.url, location.href).href)}>${t("task.share_by")}</button>`}
      <//>
    <//>`}
  `;
}

/** Open the phone's share sheet (Web Share API). @param {string} title @param {string} url */
const offer = (title, url) => navigator.share({ title, url }).catch(() => {}); // closed: rejects

/** Return the entries of all pages of a list. @param {string | null} path of the first page */
async function allOf(path) {
  const entries = [];
  while (path) {
    const { data, headers } = await call("GET", path);
    entries.push(...data);
    path = nextPage(headers);
  }
  return entries;
}

/** @param {{path: string}} props */
function Events({ path }) {
  const events = useSignal(/** @type {any[] | null} */ (null));
  const { error, attempt } = useAttempt({ isRead: true });
  const load = (/** @type {any} */ event) => {
    if (event.target.open) attempt(async () => (events.value = await allOf(`${path}/events?max=1000`)));
  };
  return html`<details class="events" onToggle=${load}>
    <summary>${t("task.events")}</summary>
    <${Failure} error=${error.value} />
    <ol>
      ${(events.value || []).map((each) => html`<li key=${each.id}>
        <time datetime=${each.at}>${moment(each.at)}</time> ${t(`event.${each.kind}`)}
        ${each.part != null && ` · ${t("part.number", { n: each.part + 1 })}`}${each.attempt > 1 && ` · ${t("event.attempt", { n: each.attempt })}`}
        ${each.code && html` · <span class="failure">${sentenceOf(each.code)}</span>`}
      </li>`)}
    </ol>
  </details>`;
}
