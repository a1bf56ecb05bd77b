// @ts-check
// A list of tasks with their progress, and the actions on the ones that are chosen.
import { useSignal } from "@preact/signals";
import { useCallback, useEffect, useRef } from "preact/hooks";
import { ApiError, call } from "../api.js";
import { ConfirmDialog } from "../confirm.js";
import { usePages } from "../pages.js";
import { forgetAnswers, isLost } from "../poll.js";
import { linkTo } from "../router.js";
import { announce, Bar, Failure, html, LIVE, Status, useAttempt } from "../ui.js";
import { repeated } from "../uploads.js";
import { ago, clock, lasting, t } from "../words.js";

/** How often a list row requests the first clip's poster, which is missing while only later clips are done. */
const MAX_POSTER_CALLS = 5;
/** The tasks whose clips one ZIP may hold. */
const MAX_ZIPPED = 100;

/** @param {{path: string, isFiltered: boolean, onChange?: () => void}} props `onChange`: after an action */
export function List({ path, isFiltered, onChange }) {
  const { value, error, tasks, showMore, showing, refresh } = usePages(path);
  const chosen = useSignal(/** @type {Set<string>} */ (new Set()));
  useAnnouncedNews(value);
  const isConfirming = useSignal(false);
  const { error: refusal, isBusy, attempt } = useAttempt();

  const picked = tasks.filter((task) => chosen.value.has(task.task_id));
  const withClips = picked.filter((task) => task.parts_done > 0).map((task) => task.task_id);
  useEffect(() => {
    if (!picked.length) isConfirming.value = false; // all were deleted elsewhere: there is nothing to ask
  }, [picked.length]);
  /** Run an action on the chosen tasks, one after the other. Refused ones stay chosen; without an answer, it ends. */
  const forAll = (/** @type {(task: any) => Promise<any>} */ act) => attempt(async () => {
    isConfirming.value = false;
    let refused = null;
    try {
      for (const task of picked) {
        const failure = await refusalOf(() => repeated(() => act(task), { passing: [429] }));
        if (failure) refused ??= failure;
        else toggle(task.task_id);
      }
    } finally {
      forgetAnswers("/tasks"); // of the other filters, too
      refresh();
      onChange?.();
    }
    if (refused) throw refused;
  });
  const toggle = useCallback((/** @type {string} */ id) => {
    const ids = new Set(chosen.value);
    if (!ids.delete(id)) ids.add(id);
    chosen.value = ids;
  }, []);

  const isSearching = !!value && !tasks.length && !!showMore && !showing.error.value;
  useEffect(() => {
    if (isSearching) showMore?.();
  }, [isSearching]);

  if (isSearching || (!value && !error)) return html`<ul class="rows" aria-busy="true">${[1, 2, 3, 4, 5].map((n) => html`<li key=${n} class="skeleton"></li>`)}</ul>`;
  if (!value) return html`<${Failure} error=${error} />`;
  if (!tasks.length && !showMore) return html`<${Empty} isFiltered=${isFiltered} />`;
  return html`
    ${picked.length > 0 && html`<div class="bulk" role="region" aria-label=${t("tasks.chosen", { n: picked.length })}>
      <span>${t("tasks.chosen", { n: picked.length })}</span>
      ${picked.some((task) => task.status === "failed") && html`<button disabled=${isBusy.value} onClick=${() => forAll(retry)}>${t("action.retry")}</button>`}
      ${withClips.length > 0 && withClips.length <= MAX_ZIPPED && html`<a class="button" href=${`/tasks/clips.zip?task_id=${withClips.join(",")}`} download>${t("action.download")}</a>`}
      <button class="danger" disabled=${isBusy.value} onClick=${() => (isConfirming.value = true)}>${t("action.delete")}</button>
      ${picked.length < tasks.length && html`<button class="quiet" onClick=${() => (chosen.value = new Set(tasks.map((task) => task.task_id)))}>${t("action.all", { n: tasks.length })}</button>`}
      <button class="quiet" onClick=${() => (chosen.value = new Set())}>${t("action.none")}</button>
    </div>`}
    <${Failure} error=${refusal.value} />
    ${isConfirming.value && html`<${ConfirmDialog} title=${t("tasks.ask_delete", { n: picked.length })} means=${t("tasks.delete_means")}
      action=${t("action.delete")} keep=${t("action.keep")} onSure=${() => forAll(remove)} onClose=${() => (isConfirming.value = false)} />`}
    <ul class="rows">
      ${tasks.map((task) => html`<${Row} key=${task.task_id} task=${task} isChosen=${chosen.value.has(task.task_id)} onToggle=${toggle} />`)}
    </ul>
    <${Failure} error=${showing.error.value} />
    ${showMore && html`<p class="center"><button disabled=${showing.isBusy.value} onClick=${showMore}>${t("tasks.more")}</button></p>`}
  `;
}

/** Announce to screen readers new rows at the top of the list. @param {any[] | null} tasks newest first */
function useAnnouncedNews(tasks) {
  const first = useRef("");
  useEffect(() => {
    if (!tasks) return;
    const news = first.current ? tasks.findIndex((task) => task.task_id === first.current) : 0;
    if (news > 0) announce(t("tasks.new", { n: news }));
    first.current = tasks.length ? tasks[0].task_id : "";
  }, [tasks]);
}

/** Return the error if the server refuses a call for what it acts on; rethrow any other, which the next call would get too.
 * @param {() => Promise<any>} act */
async function refusalOf(act) {
  try {
    await act();
    return null;
  } catch (error) {
    if (!(error instanceof ApiError) || ![404, 409, 422].includes(error.status)) throw error;
    return error;
  }
}

/** @param {any} task */
const remove = async (task) => {
  try {
    await call("DELETE", task.link);
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 404) throw error;
  }
};
/** @param {any} task */
const retry = async (task) => task.status === "failed" && call("POST", `${task.link}/retry`);

/** @param {{isFiltered: boolean}} props */
function Empty({ isFiltered }) {
  return html`<div class="empty">
    <p>${t(isFiltered ? "tasks.none_found" : "tasks.none")}</p>
    ${!isFiltered && html`<a class="button primary" href="#/new">${t("nav.new")}</a>`}
  </div>`;
}

/** @param {any} props */
function Row({ task, isChosen, onToggle }) {
  const isLive = LIVE.includes(task.status);
  const poster = task.parts_done > 0 && `${task.link}/parts/0/poster.jpg`;
  const facts = [
    hostOf(task.url),
    task.source && clock(task.source.duration_s),
    task.parts_total && t("tasks.parts", { done: task.parts_done, total: task.parts_total }),
    task.eta_s != null && t("task.left", { time: lasting(task.eta_s) }),
    ago(task.created_at),
    task.expires_at && t("task.expires", { ago: ago(task.expires_at) }),
  ].filter(Boolean);
  return html`<li class="row">
    <label class="pick"><input type="checkbox" checked=${isChosen} onChange=${() => onToggle(task.task_id)} aria-label=${t("tasks.choose", { name: task.name })} /></label>
    <a class="row-link" data-row href=${linkTo("task", task.task_id)}>
      <${Poster} src=${poster} version=${isLive ? Math.min(task.parts_done, MAX_POSTER_CALLS) : -1} />
      <span class="row-text">
        <strong class="ellipsis">${task.name}</strong>
        <span class="facts">${facts.join(" · ")}</span>
        ${isLive && html`<${Bar} value=${task.progress} label=${t("task.progress", { name: task.name })} />`}
      </span>
      <${Status} status=${task.status} />
    </a>
  </li>`;
}

/** A poster, or a placeholder if there is none (yet). A new `version` requests it again, and so does a
 * network that is back.
 * @param {{src: string | false, alt?: string, version?: number}} props */
export function Poster({ src, alt = "", version }) {
  const isBroken = useSignal(false);
  useEffect(() => {
    if (!isLost.value) isBroken.value = false;
  }, [version, isLost.value]);
  return html`<span class="poster">
    ${src && !isBroken.value && html`<img src=${src} alt=${alt} loading="lazy" onError=${() => (isBroken.value = true)} />`}
  </span>`;
}

/** @param {string} url */
export function hostOf(url) {
  try {
    return new URL(url).host;
  } catch {
    return "";
  }
}
