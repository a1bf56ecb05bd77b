// @ts-check
// The account's tasks, with a filter by status and a search.
import { effect, signal } from "@preact/signals";
import { PAGE } from "../pages.js";
import { forgetQueries, place, query, showOnly } from "../router.js";
import { user } from "../session.js";
import { html, LIVE } from "../ui.js";
import { t } from "../words.js";
import { LatestBatches } from "./batch.js";
import { List } from "./task_list.js";

const FILTERS = [["all", ""], ["live", LIVE.filter((status) => status !== "planned").join(",")], ["planned", "planned"], ["done", "done"], ["failed", "failed"], ["canceled", "canceled"]];

/** Characters of a search that the API takes; links may have more, and their beginning finds them too. */
const MAX_SEARCH = 200;

/** Return the filter and the search that the URL names. */
function shown() {
  const values = new URLSearchParams(query.value);
  const name = values.get("filter") || "";
  return { filter: FILTERS.some(([each]) => each === name) ? name : "all", q: (values.get("q") || "").trim() };
}

// Outside of the component: what is typed is kept while the reader opens a task.
const text = signal("");
let searched = "";
let owner = 0;
effect(() => {
  if (place.value[0] !== "tasks" || shown().q === searched) return;
  text.value = searched = shown().q;
});
effect(() => {
  const id = user.value?.user_id || 0;
  if (owner && id !== owner) {
    forgetQueries();
    text.value = searched = "";
  }
  owner = id;
});

/** @param {{filter?: string, q?: string}} change */
const show = (change) => {
  const { filter, q } = { ...shown(), ...change };
  showOnly({ filter: filter === "all" ? "" : filter, q });
};

export function Tasks() {
  const { filter, q } = shown();
  const search = new URLSearchParams({ max: String(PAGE) });
  const statuses = FILTERS.find(([name]) => name === filter)?.[1];
  if (statuses) search.set("status", statuses);
  if (q) search.set("q", [...q].slice(0, MAX_SEARCH).join(""));
  return html`<div>
    <div class="title-row">
      <h1>${t("nav.tasks")}</h1>
      <a class="button primary" href="#/new">${t("nav.new")}</a>
    </div>
    <div class="filters">
      <div role="group" aria-label=${t("tasks.filter")}>
        ${FILTERS.map(([name]) => html`<button key=${name} class="chip" aria-pressed=${name === filter} onClick=${() => show({ filter: name })}>${t(`filter.${name}`)}</button>`)}
      </div>
      <form role="search" onSubmit=${(/** @type {Event} */ event) => { event.preventDefault(); show({ q: text.value.trim() }); }}>
        <label class="hidden" for="search">${t("tasks.search")}</label>
        <input id="search" type="search" placeholder=${t("tasks.search")} value=${text.value}
          onInput=${(/** @type {any} */ event) => { text.value = event.target.value; if (!text.value) show({ q: "" }); }} />
      </form>
    </div>
    <${LatestBatches} />
    <${List} key=${String(search)} path=${`/tasks?${search}`} isFiltered=${filter !== "all" || !!q} />
  </div>`;
}
