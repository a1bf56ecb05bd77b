// @ts-check
// The tasks of one batch, its progress, and all of its clips as one file.
import { useEffect } from "preact/hooks";
import { usePolled } from "../poll.js";
import { linkTo } from "../router.js";
import { Bar, Failure, html } from "../ui.js";
import { date, language, lasting, t } from "../words.js";
import { List } from "./task_list.js";

const EVERY_MS = 5000;
const LAST = 5;

/** @param {any} batch */
const nameOf = (batch) => batch.name || t("batch.of", { at: date(batch.created_at) });

/** @param {{id: string}} props */
export function Batch({ id }) {
  const path = `/batches/${encodeURIComponent(id)}`;
  const poller = usePolled(path, (found) => (found.progress < 100 ? EVERY_MS : 0));
  const { value: batch, error } = poller.state.value;
  const name = batch && nameOf(batch);
  useEffect(() => {
    if (name) document.title = `${name} · idrl`;
  }, [name, language.value]);
  if (!batch) {
    if (error) return html`<h1>${t("batch.title")}</h1><${Failure} error=${error} /><p><a class="button" href="#/tasks">${t("nav.tasks")}</a></p>`;
    return html`<p aria-busy="true">${t("loading")}</p>`;
  }
  const words = [t("batch.done", { done: batch.counts.done, total: batch.total })];
  if (batch.counts.failed) words.push(t("batch.failed", { n: batch.counts.failed }));
  if (batch.eta_s != null) words.push(t("task.left", { time: lasting(batch.eta_s) }));
  return html`<div>
    <p class="crumb"><a href="#/tasks">${t("nav.tasks")}</a></p>
    <div class="title-row"><h1 class="long">${name}</h1>
      ${batch.counts.done > 0 && html`<a class="button primary" href=${`${path}/clips.zip`} download>${t("task.zip")}</a>`}
    </div>
    <div class="progress">
      ${batch.progress < 100 && html`<${Bar} value=${batch.progress} label=${t("task.progress", { name })} />`}
      <p>${words.join(" · ")}</p>
    </div>
    <${List} path=${`/tasks?batch_id=${encodeURIComponent(id)}&max=30`} isFiltered onChange=${() => poller.refresh()} />
  </div>`;
}

/** Links to the newest batches; renders nothing if there are none. */
export function LatestBatches() {
  const batches = usePolled(`/batches?max=${LAST}`, () => 0).state.value;
  if (!batches.value?.length) return null;
  return html`<p class="facts batches">${t("batch.latest")}
    ${batches.value.map((/** @type {any} */ batch) => html` <a key=${batch.batch_id} href=${linkTo("batch", batch.batch_id)}>${nameOf(batch)}</a>`)}</p>`;
}
