// @ts-check
// The parts of a task: a timeline (Strip), cards, and a player that goes from one clip to the next.
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { ApiError, call } from "../api.js";
import { announce, Dialog, Failure, html, useAttempt } from "../ui.js";
import { adviceOf, clock, sizeOf, t } from "../words.js";
import { Poster } from "./task_list.js";

const CARDS = 24;
const MORE_CARDS = 96;
const WIDTH = 720;
const HEIGHT = 24;
const MAX_PLAYS = 2;

/** All parts in time order as one picture: filled done, hatched rendering, outlined waiting, crossed failed.
 * @param {{parts: any[]}} props */
export function Strip({ parts }) {
  const step = WIDTH / parts.length;
  const gap = Math.min(2, step / 4);
  const shapes = { waiting: "", rendering: "", done: "", failed: "" };
  parts.forEach((part, index) => {
    const height = part.status === "rendering" ? HEIGHT * (0.35 + (0.65 * part.progress) / 100) : HEIGHT;
    const width = Math.max(0.5, step - gap);
    const box = `M${(index * step).toFixed(2)} ${(HEIGHT - height).toFixed(1)}h${width.toFixed(2)}V${HEIGHT}h-${width.toFixed(2)}z`;
    shapes[/** @type {keyof typeof shapes} */ (part.status)] += box;
  });
  const count = (/** @type {string} */ status) => parts.filter((part) => part.status === status).length;
  const words = Object.keys(shapes).filter(count).map((status) => t(`strip.${status}`, { n: count(status) }));
  return html`<svg class="strip" viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label=${words.join(", ")}>
    <defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><path d="M0 0v6" class="hatch" /></pattern></defs>
    ${Object.entries(shapes).map(([status, path]) => html`<path key=${status} class=${status} d=${path} />`)}
  </svg>`;
}

/** @param {{task: any}} props */
export function Cards({ task }) {
  const shown = useSignal(CARDS);
  const playing = useSignal(-1);
  const parts = task.parts;
  return html`
    <ul class="cards">
      ${parts.slice(0, shown.value).map((/** @type {any} */ part) => html`<${Card} key=${part.number} part=${part} aspect=${task.edit?.aspect}
        playing=${playing} />`)}
    </ul>
    ${parts.length > shown.value && html`<p class="center">
      <button onClick=${() => (shown.value += MORE_CARDS)}>${t("part.more", { n: Math.min(MORE_CARDS, parts.length - shown.value) })}</button>
    </p>`}
    ${playing.value >= 0 && html`<${Player} parts=${parts} number=${playing.value}
      onChange=${(/** @type {number} */ number) => (playing.value = number)} onClose=${() => (playing.value = -1)} />`}
  `;
}

/** @param {any} props */
function Card({ part, aspect, playing }) {
  const isDone = part.status === "done";
  const title = part.name || t("part.number", { n: part.number + 1 });
  return html`<li class=${`card ${part.status}`}>
    <button class=${`picture a${(aspect || "16:9").replace(":", "x")}`} data-row disabled=${!isDone} onClick=${() => (playing.value = part.number)} aria-label=${t("part.play", { name: title })}>
      <${Poster} src=${isDone && `${part.link}/poster.jpg`} />
      ${isDone && html`<span class="play" aria-hidden="true">▶</span>`}
      ${part.status === "rendering" && html`<progress max="100" value=${part.progress} aria-label=${title}></progress>`}
    </button>
    <div class="card-text">
      <strong class="ellipsis">${title}</strong>
      <span class="facts">${clock(part.start_s)}–${clock(part.end_s)}${part.size_bytes ? ` · ${sizeOf(part.size_bytes)}` : ""}</span>
      ${part.error && html`<span class="failure">${adviceOf(part.error.code, part.error.message)}</span>`}
      ${!isDone && !part.error && html`<span class="facts">${t(`part.${part.status}`)}</span>`}
      ${isDone && html`<a class="quiet" href=${part.link} download aria-label=${t("part.download", { name: title })}>${t("action.download")}</a>`}
    </div>
  </li>`;
}

/** @param {any} props */
function Player({ parts, number, onChange, onClose }) {
  const done = parts.filter((/** @type {any} */ part) => part.status === "done");
  const at = done.findIndex((/** @type {any} */ part) => part.number === number);
  const part = done[at];
  const next = done[at + 1];
  const previous = done[at - 1];
  const { error, attempt } = useAttempt({ isRead: true });
  const again = useSignal(0);
  useEffect(() => {
    announce(t("part.number", { n: number + 1 }));
    error.value = null;
    again.value = 0;
  }, [number]);
  /** <video> gives no reason for an error. The clip's first byte is requested to learn it (session ended, …). */
  const onError = () => attempt(async () => {
    await call("GET", part.link, undefined, { headers: { Range: "bytes=0-0" } });
    if (again.value === MAX_PLAYS) throw new ApiError(400, { code: "not_playable" });
    again.value += 1;
  });
  if (!part) return null;
  const title = `${part.name || t("part.number", { n: number + 1 })} · ${clock(part.start_s)}–${clock(part.end_s)}`;
  const onKeyDown = (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "ArrowRight" && event.shiftKey && next) onChange(next.number);
    if (event.key === "ArrowLeft" && event.shiftKey && previous) onChange(previous.number);
  };
  // One <video> for all clips: a new element would lose the focus and end full-screen mode.
  return html`<${Dialog} title=${title} onClose=${onClose} onKeyDown=${onKeyDown} wide>
    <video key=${again.value} src=${part.link} poster=${`${part.link}/poster.jpg`} controls autoplay autofocus playsinline preload="metadata"
      onError=${onError} onEnded=${() => next && onChange(next.number)}></video>
    <${Failure} error=${error.value} />
    <div class="actions">
      <button aria-disabled=${!previous} onClick=${() => previous && onChange(previous.number)}>${t("part.previous")}</button>
      <button aria-disabled=${!next} onClick=${() => next && onChange(next.number)}>${t("part.next")}</button>
      <a class="button" href=${part.link} download>${t("action.download")}</a>
    </div>
  <//>`;
}
