// @ts-check
// A paginated list of tasks: the first page, and the further pages that "show more" has added. All are polled.
import { effect, useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { call, nextPage } from "./api.js";
import { Poller, usePolled } from "./poll.js";
import { state } from "./session.js";
import { LIVE, useAttempt } from "./ui.js";

export const PAGE = 30;
const EVERY_MS = 5000;
/** Interval for pages whose tasks have all ended: these can still be deleted, in another tab or by the API. */
const RARELY_MS = 60_000;
/** Upper limit of the API's parameter `max`. */
const MAX_ROWS = 1000;

/** @param {any[]} tasks */
const untilNextMs = (tasks) => (tasks.some((task) => LIVE.includes(task.status)) ? EVERY_MS : RARELY_MS);

/** The further pages of the lists that were left, so that Back shows as many rows as before.
 * @type {Map<string, Rest[]>} */
const left = new Map();
effect(() => {
  if (state.value === "out") left.clear();
});

/** The rows that follow another page, polled with one call; `rows` is how many are requested. */
class Rest extends Poller {
  rows = 0;

  constructor() {
    super("", untilNextMs, true);
  }

  /** Return the path that requests these rows, from the `next` link of the page before.
   * @param {string} link */
  behind(link) {
    const { pathname, searchParams } = new URL(link, location.href);
    searchParams.set("max", String(this.rows));
    return `${pathname}?${searchParams}`;
  }

  /** Whether there are fewer rows than requested and yet a next page, as in a search: no more rows can then be
   * requested in one call. */
  isShort() {
    const { value, headers } = this.state.value;
    return !!headers && !!nextPage(headers) && value.length < this.rows;
  }

  /** Append a page to the rows.
   * @param {string} link `next` link of the page before these rows @param {any[]} tasks @param {Headers} headers */
  grow(link, tasks, headers) {
    this.rows = Math.min(MAX_ROWS, this.rows + PAGE);
    this.take(this.behind(link), [...(this.state.value.value || []), ...tasks], headers);
  }
}

/**
 * Return the tasks of a list that are shown, `showMore` (null at the end) and `refresh`, which polls all pages now.
 * @param {string} path of the first page, newest first
 */
export function usePages(path) {
  const first = usePolled(path, () => EVERY_MS);
  const rests = useSignal(/** @type {Rest[]} */ (left.get(path) || []));
  const showing = useAttempt({ isRead: true });
  const pages = [first, ...rests.value];
  const links = pages.map(({ state }) => state.value.headers && nextPage(state.value.headers));
  const { value, error } = first.state.value;
  const [rest] = rests.value;
  const displaced = useDisplaced(value, !!rest && rest.answered !== (links[0] && rest.behind(links[0])));

  const isShown = useRef(true);
  useEffect(() => {
    rests.peek().forEach((each) => each.start());
    return () => {
      isShown.current = false;
      rests.peek().forEach((each) => each.stop());
      if (rests.peek().length) left.set(path, rests.peek());
      else left.delete(path);
    };
  }, []);
  // A new task moves all others down by one, so each page is requested again from the new end of the one before.
  useEffect(() => {
    rests.value.forEach((each, index) => links[index] && each.moveTo(each.behind(links[index])));
    const end = links.indexOf(null);
    if (end < 0 || end >= rests.value.length) return;
    rests.value.slice(end).forEach((each) => each.stop());
    rests.value = rests.value.slice(0, end);
  }, [links.join(" ")]);

  /** @param {string} link of the page @param {any[]} tasks @param {Headers} headers */
  const add = (link, tasks, headers) => {
    const last = rests.value.at(-1);
    const isFull = !last || last.rows === MAX_ROWS || last.isShort();
    const grown = isFull ? new Rest() : last;
    grown.grow(isFull ? link : /** @type {string} */ (links.at(-2)), tasks, headers);
    if (!isFull) return;
    rests.value = [...rests.value, grown];
    grown.start(true);
  };
  /** Add the next page, and the ones after it until there is a row: a page of a search may be empty, and have
   * a next one all the same. */
  const showMore = () => showing.attempt(async () => {
    let isFound = false;
    for (let link = links.at(-1) || null; link && !isFound; ) {
      const { data, headers } = await call("GET", link);
      if (!isShown.current) return;
      add(link, data, headers);
      isFound = data.length > 0;
      link = nextPage(headers);
    }
  });

  return {
    value,
    error,
    tasks: unique([...(value || []), ...displaced, ...rests.value.flatMap((each) => each.state.value.value)]),
    showMore: links.at(-1) ? showMore : null,
    showing,
    refresh: () => pages.forEach((page) => page.refresh()),
  };
}

/** Remove duplicates: pages are polled at different times, so a row may be on two of them.
 * @param {any[]} tasks */
function unique(tasks) {
  const ids = new Set();
  return tasks.filter(({ task_id }) => !ids.has(task_id) && ids.add(task_id));
}

/** Return the rows that newer ones have pushed out of the first page.
 * @param {any[] | null} tasks the first page @param {boolean} isKept true until the second page has been polled
 *   again from the first page's new end, and so contains them */
function useDisplaced(tasks, isKept) {
  const state = useRef({ tasks: /** @type {any[]} */ ([]), displaced: /** @type {any[]} */ ([]) });
  if (tasks && tasks !== state.current.tasks) {
    const last = tasks.at(-1)?.created_at;
    const ids = new Set(tasks.map((task) => task.task_id));
    const gone = state.current.tasks.filter((task) => !ids.has(task.task_id) && last && task.created_at <= last);
    state.current = { tasks, displaced: [...gone, ...state.current.displaced] };
  }
  if (!isKept) state.current.displaced = [];
  return state.current.displaced;
}
