// @ts-check
// Links become tasks: one a line, all of them together a batch.
import { effect, signal, useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { ApiError, call, get } from "../api.js";
import { goTo } from "../router.js";
import { state, user } from "../session.js";
import { announce, Choice, Failure, Field, html } from "../ui.js";
import { sentenceOf, t } from "../words.js";
import { Files } from "./files.js";

const MAX_LINES = 500;
const ASPECTS = [["16:9", 16, 9], ["9:16", 9, 16], ["1:1", 1, 1], ["4:5", 4, 5]];

const USUAL = { part_seconds: "", aspect: "16:9", fit: "crop", quality: "balanced", cut: "exact", begin: "auto", brand_id: "" };
// What was typed stays while another screen is open, until it is sent or the reader logs out.
const links = signal("");
const name = signal("");
const edit = signal(/** @type {Record<string, any>} */ (USUAL));

function clear() {
  links.value = name.value = "";
  edit.value = USUAL;
}
effect(() => {
  if (state.value === "out") clear();
});

export function NewTask() {
  const busy = useSignal(false);
  const error = useSignal(/** @type {ApiError | null} */ (null));
  const lineErrors = useSignal(/** @type {Record<number, string>} */ ({}));
  const sent = useRef({ content: "", key: "" });
  const lines = links.value.split(/\s+/).filter(Boolean);

  // The same content has the same key: where an answer was lost, sending again makes no second task.
  const keyOf = (/** @type {string} */ content) => {
    if (content !== sent.current.content) sent.current = { content, key: newKey() };
    return sent.current.key;
  };
  const sentTo = (/** @type {string[]} */ ...place) => {
    announce(t("new.accepted"));
    clear();
    goTo(...place);
  };
  const send = async () => {
    if (busy.value || !lines.length) return;
    busy.value = true;
    error.value = null;
    lineErrors.value = {};
    try {
      const asked = item(edit.value);
      const named = name.value ? { name: name.value } : {};
      const headers = { "Idempotency-Key": keyOf(JSON.stringify([lines, named, asked])) };
      if (lines.length === 1) {
        const { data } = await call("POST", "/tasks", { url: lines[0], ...named, ...asked }, { headers });
        sentTo("task", data.task_id);
      } else {
        const items = lines.map((url) => ({ url, ...asked }));
        const { data } = await call("POST", "/batches", { items, ...named }, { headers });
        sentTo("batch", data.batch_id);
      }
    } catch (failure) {
      if (!(failure instanceof ApiError)) throw failure;
      error.value = failure;
      lineErrors.value = byLine(failure);
    }
    busy.value = false;
  };
  const onKeyDown = (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) send();
  };

  return html`<div class="narrow">
    <h1>${t("new.title")}</h1>
    <p class="lead">${t("new.lead")}</p>
    <form onSubmit=${(/** @type {Event} */ event) => { event.preventDefault(); send(); }}>
      <${Field} id="links" label=${t("new.links")} hint=${t("new.hint")}
        error=${lines.length > MAX_LINES && t("new.too_many")}>
        <textarea id="links" rows="4" required spellcheck="false" autocapitalize="off" placeholder="https://"
          aria-describedby="links-hint" value=${links.value} onKeyDown=${onKeyDown}
          onInput=${(/** @type {any} */ event) => (links.value = event.target.value)}></textarea>
      <//>
      ${user.value?.sample_url && !lines.length && html`<p><button type="button" class="link" onClick=${() => (links.value = user.value?.sample_url || "")}>${t("new.sample")}</button></p>`}
      ${lines.length > 1 && html`<ol class="lines">${lines.slice(0, 20).map((line, index) => html`<li key=${index}>
        <span class="ellipsis">${line}</span>
        ${lineErrors.value[index] && html`<p class="failure">${lineErrors.value[index]}</p>`}
      </li>`)}</ol>`}
      <${Options} isBatch=${lines.length > 1} />
      <${Failure} error=${error.value} />
      ${error.value?.code === "url_private_address" && html`<p>${t("new.private")}</p>`}
      <div class="actions">
        <button class="primary" disabled=${busy.value || !lines.length || lines.length > MAX_LINES}>
          ${busy.value ? t("new.sending") : lines.length > 1 ? t("new.send_many", { n: lines.length }) : t("new.send")}
        </button>
        <small class="with-keys">${t("new.shortcut")}</small>
      </div>
    </form>
    <${Files} itemOf=${() => item(edit.value)} onSent=${clear} />
    <section class="steps" aria-label=${t("new.steps")}>
      ${[1, 2, 3].map((number) => html`<p key=${number}><b aria-hidden="true">${number}</b> ${t(`new.step${number}`)}</p>`)}
    </section>
  </div>`;
}

/** @param {{isBatch: boolean}} props */
function Options({ isBatch }) {
  const set = (/** @type {string} */ field) => (/** @type {any} */ value) => (edit.value = { ...edit.value, [field]: value });
  const isOpen = useRef(!!(wanted(edit.value) || name.value));
  const typed = (/** @type {string} */ field) => (/** @type {any} */ event) => set(field)(event.target.value);
  return html`<details class="options-box" open=${isOpen.current}>
    <summary>${t("new.options")}</summary>
    <${Field} id="name" label=${t(isBatch ? "new.batch_name" : "new.name")}>
      <input id="name" maxlength="200" value=${name.value} onInput=${(/** @type {any} */ event) => (name.value = event.target.value)} />
    <//>
    <${Choice} legend=${t("new.aspect")} name="aspect" value=${edit.value.aspect} onChange=${set("aspect")}
      options=${[...ASPECTS.map(([key, width, height]) => [key, key, html`<${Frame} width=${width} height=${height} />`]), ["source", t("new.source")]]} />
    <${Choice} legend=${t("new.fit")} name="fit" value=${edit.value.fit} onChange=${set("fit")}
      options=${["crop", "pad", "blur"].map((key) => [key, t(`fit.${key}`)])} />
    <${BrandChoice} value=${edit.value.brand_id} onChange=${typed("brand_id")} />
    <${Choice} legend=${t("new.quality")} name="quality" value=${edit.value.quality} onChange=${set("quality")}
      options=${["fast", "balanced", "small"].map((key) => [key, t(`quality.${key}`)])} />
    <${Choice} legend=${t("new.cut")} name="cut" value=${edit.value.cut} onChange=${set("cut")}
      options=${["exact", "keyframe", "silence", "scene"].map((key) => [key, t(`cut.${key}`)])} />
    <div class="columns">
      <${Field} id="part_seconds" label=${t("new.part_seconds")}>
        <input id="part_seconds" type="number" min="2" max="60" step="0.1" inputmode="decimal" placeholder="20"
          value=${edit.value.part_seconds} onInput=${typed("part_seconds")} />
      <//>
      <${Field} id="start_s" label=${t("new.start")}>
        <input id="start_s" placeholder="0:00" value=${edit.value.start} onInput=${typed("start")} disabled=${!!edit.value.segments} />
      <//>
      <${Field} id="end_s" label=${t("new.end")}>
        <input id="end_s" placeholder="–" value=${edit.value.end} onInput=${typed("end")} disabled=${!!edit.value.segments} />
      <//>
    </div>
    <${Field} id="segments" label=${t("new.segments")} hint=${t("new.segments_hint")}>
      <textarea id="segments" rows="3" placeholder="1:05 - 1:25 Lap 1" aria-describedby="segments-hint"
        value=${edit.value.segments} onInput=${typed("segments")}></textarea>
    <//>
    <${Choice} legend=${t("new.begin")} name="begin" value=${edit.value.begin} onChange=${set("begin")}
      options=${["auto", "manual"].map((key) => [key, t(`start.${key}`)])} />
  </details>`;
}

/** @param {{value: string, onChange: (event: Event) => void}} props */
function BrandChoice({ value, onChange }) {
  const brands = useSignal(/** @type {string[][]} */ ([]));
  const usual = useSignal("");
  const load = async () => {
    const [found, standard] = await Promise.all([get("/brands"), get("/brands/default")]);
    brands.value = found.map((/** @type {any} */ each) => [each.brand_id, each.name]);
    usual.value = standard.brand_id || "built-in";
  };
  useEffect(() => void load(), []);
  const choices = [["built-in", t("brand.built_in")], ["none", t("brand.none")], ...brands.value];
  const [, usualName] = choices.find(([key]) => key === usual.value) || ["", "…"];
  return html`<${Field} id="brand_id" label=${t("nav.brand")} hint=${html`<a href="#/brand">${t("brand.own")}</a>`}>
    <select id="brand_id" onChange=${onChange}>
      ${[["", t("brand.usual", { name: usualName })], ...choices]
        .map(([key, label]) => html`<option key=${key} value=${key} selected=${key === value}>${label}</option>`)}
    </select>
  <//>`;
}

/** @param {{width: number, height: number}} props */
function Frame({ width, height }) {
  const scale = 18 / Math.max(width, height);
  return html`<svg width="20" height="20" aria-hidden="true"><rect x=${10 - (width * scale) / 2} y=${10 - (height * scale) / 2}
    width=${width * scale} height=${height * scale} rx="2" class="frame" /></svg>`;
}

/** Return seconds of `1:05.5` or `65.5`; NaN of anything else. @param {string} text */
export function secondsOf(text) {
  if (!/^(\d+:){0,2}\d+([.,]\d+)?$/.test(text)) return NaN;
  return text.replace(",", ".").split(":").reduce((total, part) => total * 60 + Number(part), 0);
}

/** Return the segments of lines such as `1:05 - 1:25 name`. @param {string} text */
export function segmentsOf(text) {
  return text.split("\n").filter((line) => line.trim()).map((line) => {
    const [, start, end, name] = /^\s*([\d:.,]+)\s*[-–]\s*([\d:.,]+)\s*(.*)$/.exec(line) || [];
    return { start_s: secondsOf(start || ""), end_s: secondsOf(end || ""), ...(name ? { name: name.trim() } : {}) };
  });
}

/** Return an Idempotency-Key. `randomUUID` is there on pages of https and of this machine alone. */
function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Return what the form asks for, but for links and name. @param {Record<string, any>} form */
function item(form) {
  const edit = wanted(form);
  return { ...(form.begin === "manual" ? { start: "manual" } : {}), ...(edit ? { edit } : {}) };
}

/** Return the edit that the form asks for; undefined where all is as usual. @param {Record<string, any>} form */
export function wanted(form) {
  const edit = {
    ...(form.part_seconds ? { part_seconds: Number(form.part_seconds) } : {}),
    ...(form.aspect !== "16:9" ? { aspect: form.aspect } : {}),
    ...(form.fit !== "crop" ? { fit: form.fit } : {}),
    ...(form.quality !== "balanced" ? { quality: form.quality } : {}),
    ...(form.brand_id ? { brand_id: form.brand_id } : {}),
    ...(form.cut !== "exact" ? { cut: form.cut } : {}),
    ...(form.segments?.trim()
      ? { segments: segmentsOf(form.segments) }
      : { ...(form.start ? { start_s: secondsOf(form.start) } : {}), ...(form.end ? { end_s: secondsOf(form.end) } : {}) }),
  };
  return Object.keys(edit).length ? edit : undefined;
}

/** @param {ApiError} error */
function byLine(error) {
  /** @type {Record<number, string>} */
  const found = {};
  for (const each of error.errors) {
    const [, index] = /^items\.(\d+)\./.exec(each.field) || [];
    if (index) found[Number(index)] = sentenceOf(each.code, each.message);
  }
  return found;
}
