// @ts-check
// The account's tasks, with a filter by status and a search.
import { effect, signal } from "@preact/signals";
import { PAGE } from "../pages.js";
import { state } from "../session.js";
import { html, LIVE } from "../ui.js";
import { t } from "../words.js";
import { LatestBatches } from "./batch.js";
import { List } from "./task_list.js";

const FILTERS = [["all", ""], ["live", LIVE.filter((status) => status !== "planned").join(",")], ["planned", "planned"], ["done", "done"], ["failed", "failed"], ["canceled", "canceled"]];

/** Characters of a search that the API takes; links may have more, and their beginning finds them too. */
const MAX_SEARCH = 200;

// Outside of the component: filter and search text are kept while the reader opens a task.
const filter = signal("all");
const text = signal("");
const searched = signal("");
effect(() => {
  if (state.value !== "out") return;
  filter.value = "all";
  text.value = searched.value = "";
});

export function Tasks() {
  const query = new URLSearchParams({ max: String(PAGE) });
  const statuses = FILTERS.find(([name]) => name === filter.value)?.[1];
  if (statuses) query.set("status", statuses);
  if (searched.value) query.set("q", searched.value);
  return html`<div>
    <div class="title-row">
      <h1>${t("nav.tasks")}</h1>
      <a class="button primary" href="#/new">${t("nav.new")}</a>
    </div>
    <div class="filters">
      <div role="group" aria-label=${t("tasks.filter")}>
        ${FILTERS.map(([name]) => html`<button key=${name} class="chip" aria-pressed=${name === filter.value} onClick=${() => (filter.value = name)}>${t(`filter.${name}`)}</button>`)}
      </div>
      <form role="search" onSubmit=${(/** @type {Event} */ event) => { event.preventDefault(); searched.value = [...text.value.trim()].slice(0, MAX_SEARCH).join(""); }}>
        <label class="hidden" for="search">${t("tasks.search")}</label>
        <input id="search" type="search" placeholder=${t("tasks.search")} value=${text.value}
          onInput=${(/** @type {any} */ event) => { text.value = event.target.value; if (!text.value) searched.value = ""; }} />
      </form>
    </div>
    <${LatestBatches} />
    <${List} key=${String(query)} path=${`/tasks?${query}`} isFiltered=${filter.value !== "all" || !!searched.value} />
  </div>`;
}
