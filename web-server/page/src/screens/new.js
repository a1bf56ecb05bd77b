// @ts-check
// The form for new tasks: links, one on each line; several links become a batch.
import { batch, effect, signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { ApiError, call } from "../api.js";
import { missed, reporter } from "../missed.js";
import { usePolled } from "../poll.js";
import { goTo, isOn, linkTo } from "../router.js";
import { user } from "../session.js";
import { announce, Choice, Failure, Field, html } from "../ui.js";
import { t } from "../words.js";
import { byField, byLink, item, linksOf, showField } from "./edit_form.js";
import { Files, keepChoices } from "./files.js";

const MAX_LINES = 500;
const SHOWN_LINES = 20;
const ASPECTS = [["16:9", 16, 9], ["9:16", 9, 16], ["1:1", 1, 1], ["4:5", 4, 5]];

const USUAL = { part_seconds: "", aspect: "16:9", fit: "crop", quality: "balanced", cut: "exact", begin: "auto", brand_id: "" };
const KEPT = "new";
// The form's content is kept in sessionStorage, so it survives a change of screen, a reload and the end of the
// session, until it is sent or the user logs out. Another account gets nothing of it.
const links = signal("");
/** The content sent last, and its Idempotency-Key: if the response was lost, sending the same content
 * again creates no second task. */
const sent = signal({ content: "", key: "" });
const name = signal("");
const edit = signal(/** @type {Record<string, any>} */ (USUAL));
/** Whose content it is, by user_id; 0 without a session. */
let owner = 0;

// The result of the last attempt to send it, also if the screen was left meanwhile.
const sending = signal(/** @type {any} */ (null));
const error = signal(/** @type {ApiError | null} */ (null));
const refused = signal(/** @type {Record<string, string>} */ ({}));
const wrong = signal(/** @type {Record<string, string>} */ ({}));
const accepted = signal(/** @type {string[] | null} */ (null));

function forgetOutcome() {
  accepted.value = error.value = null;
  refused.value = wrong.value = {};
}

function clear() {
  links.value = name.value = "";
  edit.value = USUAL;
}

/** @param {Record<string, any>} kept */
function fill(kept) {
  batch(() => {
    links.value = kept.links || "";
    name.value = kept.name || "";
    sent.value = kept.sent || { content: "", key: "" };
    edit.value = kept.edit || USUAL;
  });
}
effect(() => {
  const typed = { links: links.value, name: name.value, sent: sent.value, edit: edit.value === USUAL ? null : edit.value };
  if (owner) store({ owner, ...typed });
});
effect(() => {
  const id = user.value?.user_id || 0;
  if (id === owner) return;
  if (owner) store({}); // logged out
  owner = id;
  sending.value = null;
  forgetOutcome();
  const kept = read();
  fill(kept.owner === owner ? kept : {});
});

/** @param {Record<string, any>} typed */
function store(typed) {
  try {
    sessionStorage.setItem(KEPT, JSON.stringify(typed));
  } catch {
    // Without storage the content is kept until the page is reloaded.
  }
}

/** Return the form's content that was stored in this tab before a reload. @returns {Record<string, any>} */
function read() {
  try {
    return JSON.parse(sessionStorage.getItem(KEPT) || "{}");
  } catch {
    return {};
  }
}

export function NewTask() {
  const form = useRef(/** @type {any} */ (null));
  useEffect(() => {
    if (missed.value?.href === "#/new") missed.value = null; // shown by the form
    return () => {
      accepted.value = null; // it was seen
    };
  }, []);
  const sender = user.value?.user_id;
  const all = linksOf(links.value);
  const lines = [...new Set(all)];
  /** Clear what was sent, and go to it, unless the reader does something else by now. */
  const sentTo = (/** @type {string[]} */ where, /** @type {any} */ choices) => {
    if (user.value?.user_id !== sender) return; // logged out meanwhile: the form may be another account's by now
    announce(t("new.accepted"));
    sent.value = { content: "", key: "" }; // accepted: the same content again is a new request with a new key
    const typed = linksOf(links.value).filter((link) => !lines.includes(link));
    if (typed.length) {
      links.value = typed.join("\n");
      accepted.value = where;
      return;
    }
    keepChoices(choices);
    clear();
    if (isOn("new")) goTo(...where);
  };
  const send = async () => {
    if (sending.value || !lines.length || lines.length > MAX_LINES) return;
    const report = reporter(t("nav.new"), "#/new");
    const content = (sending.value = { lines });
    forgetOutcome();
    try {
      const choices = item(edit.value);
      const named = name.value ? { name: name.value } : {};
      const headers = { "Idempotency-Key": keyOf(JSON.stringify([lines, named, choices])) };
      if (lines.length === 1) {
        const { data } = await call("POST", "/tasks", { url: lines[0], ...named, ...choices }, { headers });
        sentTo(["task", data.task_id], choices);
      } else {
        const items = lines.map((url) => ({ url, ...choices }));
        const { data } = await call("POST", "/batches", { items, ...named }, { headers });
        sentTo(["batch", data.batch_id], choices);
      }
    } catch (failure) {
      if (!(failure instanceof ApiError)) throw failure;
      if (sending.value !== content) return; // logged out meanwhile
      if (!isOn("new")) report(failure);
      error.value = failure;
      refused.value = byLink(failure, lines);
      wrong.value = byField(failure);
      if (form.current) showField(form.current, Object.keys(wrong.value)[0]);
    } finally {
      if (sending.value === content) sending.value = null;
    }
  };
  const leaveOut = () => {
    links.value = lines.filter((link) => !refused.value[link]).join("\n");
    error.value = null;
  };
  /** Return what a file is sent with; the name only where it is of one file. */
  const itemOf = (/** @type {boolean} */ isAlone) => ({ ...(isAlone && name.value ? { name: name.value } : {}), ...item(edit.value) });
  const onKeyDown = (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.current.requestSubmit();
  };

  return html`<div class="narrow">
    <h1>${t("new.title")}</h1>
    <p class="lead">${t("new.lead")}</p>
    <form ref=${form} onKeyDown=${onKeyDown} onSubmit=${(/** @type {Event} */ event) => { event.preventDefault(); send(); }}>
      <${Field} id="links" label=${t("new.links")} hint=${t("new.hint")}
        error=${lines.length > MAX_LINES && t("new.too_many")}>
        <textarea id="links" rows="4" required spellcheck="false" autocapitalize="off" placeholder="https://"
          value=${links.value}
          onInput=${(/** @type {any} */ event) => (links.value = event.target.value)}></textarea>
      <//>
      ${user.value?.sample_url && !lines.length && html`<p><button type="button" class="link" onClick=${() => (links.value = user.value?.sample_url || "")}>${t("new.sample")}</button></p>`}
      ${all.length > lines.length && html`<p class="hint">${t("new.repeated", { n: all.length - lines.length })}</p>`}
      ${lines.length > 1 && html`<${Lines} lines=${lines} errors=${refused.value} onLeaveOut=${leaveOut} />`}
      <${Options} isBatch=${lines.length > 1} wrong=${wrong.value} />
      ${!Object.keys(wrong.value).length && html`<${Failure} error=${error.value} />`}
      ${accepted.value && html`<p class="good">✓ ${t("new.accepted")} <a href=${linkTo(...accepted.value)}>${t("files.open")}</a></p>`}
      <div class="actions">
        <button class="primary" disabled=${!!sending.value || !lines.length || lines.length > MAX_LINES}>
          ${sending.value ? t("new.sending") : lines.length > 1 ? t("new.send_many", { n: lines.length }) : t("new.send")}
        </button>
        <small class="with-keys">${t("new.shortcut")}</small>
      </div>
    </form>
    <${Files} itemOf=${itemOf} isOtherwiseEmpty=${() => !links.value} onSent=${clear}
      onLinks=${(/** @type {string} */ text) => (links.value = [links.value, text].filter(Boolean).join("\n"))} />
    <section class="steps" aria-label=${t("new.steps")}>
      ${[1, 2, 3].map((number) => html`<p key=${number}><b aria-hidden="true">${number}</b> ${t(`new.step${number}`)}</p>`)}
    </section>
  </div>`;
}

/** The first SHOWN_LINES links, and all that the API refused, with the reason.
 * @param {{lines: string[], errors: Record<string, string>, onLeaveOut: () => void}} props */
function Lines({ lines, errors, onLeaveOut }) {
  const shown = [...lines.keys()].filter((index) => index < SHOWN_LINES || errors[lines[index]]);
  const n = lines.filter((link) => errors[link]).length;
  return html`<ol class="lines">${shown.map((index) => html`<li key=${index} value=${index + 1}>
    <span class="ellipsis">${lines[index]}</span>
    ${errors[lines[index]] && html`<p class="failure">${errors[lines[index]]}</p>`}
  </li>`)}</ol>
  ${n > 0 && n < lines.length && html`<p><button type="button" onClick=${onLeaveOut}>${t("new.leave_out", { n })}</button></p>`}`;
}

/** @param {{isBatch: boolean, wrong: Record<string, string>}} props */
function Options({ isBatch, wrong }) {
  const set = (/** @type {string} */ field) => (/** @type {any} */ value) => (edit.value = { ...edit.value, [field]: value });
  const isOpen = useRef(edit.value !== USUAL || !!name.value);
  const typed = (/** @type {string} */ field) => (/** @type {any} */ event) => set(field)(event.target.value);
  // The browser cannot show its validation message at a field inside a closed <details>.
  const unfold = (/** @type {any} */ event) => (event.currentTarget.open = true);
  return html`<details class="options-box" open=${isOpen.current} onInvalidCapture=${unfold}>
    <summary>${t("new.options")}</summary>
    <${Field} id="name" label=${t(isBatch ? "new.batch_name" : "new.name")} error=${wrong.name}>
      <input id="name" maxlength="200" value=${name.value} onInput=${(/** @type {any} */ event) => (name.value = event.target.value)} />
    <//>
    <${Choice} legend=${t("new.aspect")} name="aspect" value=${edit.value.aspect} onChange=${set("aspect")}
      options=${[...ASPECTS.map(([key, width, height]) => [key, key, html`<${Frame} width=${width} height=${height} />`]), ["source", t("new.source")]]} />
    <${Choice} legend=${t("new.fit")} name="fit" value=${edit.value.fit} onChange=${set("fit")}
      options=${["crop", "pad", "blur"].map((key) => [key, t(`fit.${key}`)])} />
    <${BrandChoice} value=${edit.value.brand_id} error=${wrong.brand_id} onChange=${typed("brand_id")} />
    <${Choice} legend=${t("new.quality")} name="quality" value=${edit.value.quality} onChange=${set("quality")}
      options=${["fast", "balanced", "small"].map((key) => [key, t(`quality.${key}`)])} />
    <${Choice} legend=${t("new.cut")} name="cut" value=${edit.value.cut} onChange=${set("cut")}
      options=${["exact", "keyframe", "silence", "scene"].map((key) => [key, t(`cut.${key}`)])} />
    <div class="columns">
      <${Field} id="part_seconds" label=${t("new.part_seconds")} error=${wrong.part_seconds}>
        <input id="part_seconds" inputmode="decimal" autocomplete="off" placeholder="20"
          value=${edit.value.part_seconds} onInput=${typed("part_seconds")} />
      <//>
      <${Field} id="start_s" label=${t("new.start")} error=${wrong.start_s}>
        <input id="start_s" placeholder="0:00" value=${edit.value.start} onInput=${typed("start")} disabled=${!!edit.value.segments} />
      <//>
      <${Field} id="end_s" label=${t("new.end")} error=${wrong.end_s}>
        <input id="end_s" placeholder="–" value=${edit.value.end} onInput=${typed("end")} disabled=${!!edit.value.segments} />
      <//>
    </div>
    <${Field} id="segments" label=${t("new.segments")} hint=${t("new.segments_hint")} error=${wrong.segments}>
      <textarea id="segments" rows="3" placeholder="1:05 - 1:25 Lap 1"
        value=${edit.value.segments} onInput=${typed("segments")}></textarea>
    <//>
    <${Choice} legend=${t("new.begin")} name="begin" value=${edit.value.begin} onChange=${set("begin")}
      options=${["auto", "manual"].map((key) => [key, t(`start.${key}`)])} />
  </details>`;
}

/** @param {{value: string, error: string | undefined, onChange: (event: Event) => void}} props */
function BrandChoice({ value, error, onChange }) {
  const brands = usePolled("/brands", () => 0).state.value.value;
  const standard = usePolled("/brands/default", () => 0).state.value.value;
  const usual = standard && (standard.brand_id || "built-in");
  const own = (brands || []).map((/** @type {any} */ each) => [each.brand_id, each.name]);
  const choices = [["built-in", t("brand.built_in")], ["none", t("brand.none")], ...own];
  const [, usualName] = choices.find(([key]) => key === usual) || ["", "…"];
  // Deleted since it was chosen: a list without it would show the default, and the form be refused.
  if (value && brands && !choices.some(([key]) => key === value)) choices.push([value, t("brand.gone")]);
  return html`<${Field} id="brand_id" label=${t("nav.brand")} error=${error} hint=${html`<a href="#/brand">${t("brand.own")}</a>`}>
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

/** Return the Idempotency-Key of a form's content; the same content as last time has the same key.
 * @param {string} content */
function keyOf(content) {
  if (content !== sent.value.content) sent.value = { content, key: newKey() };
  return sent.value.key;
}

/** Return an Idempotency-Key. Not by `crypto.randomUUID`: browsers have it only over https and on localhost. */
function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
