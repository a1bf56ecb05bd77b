// @ts-check
// The page's frame: header, navigation, the screen that the URL's hash names, the log-in dialog.
import { useEffect, useLayoutEffect } from "preact/hooks";
import { isHelpOpen, listen } from "./keys.js";
import { LogOut } from "./logout.js";
import { isLost, usePolled } from "./poll.js";
import { place } from "./router.js";
import { Account } from "./screens/account.js";
import { Batch } from "./screens/batch.js";
import { Brands } from "./screens/brands.js";
import { NewTask } from "./screens/new.js";
import { Shared, sharePath } from "./screens/shared.js";
import { LogInDialog, SignIn } from "./screens/signin.js";
import { System } from "./screens/system.js";
import { Task } from "./screens/task.js";
import { Tasks } from "./screens/tasks.js";
import { isStillIn, startError, state, user } from "./session.js";
import { Dialog, Failure, html, LiveRegion, LostConnection, MissedFailure, Notice } from "./ui.js";
import { LANGUAGES, language, setLanguage, t } from "./words.js";

const READY_MS = 60_000;

/** The whole page: that of a share link if the URL is one (/s/…), else that of the account. */
export function App() {
  language.value; // read to subscribe: render again when the language changes
  return sharePath ? html`<${SharedPage} />` : html`<${OwnPage} />`;
}

function SharedPage() {
  return html`
    <a class="skip" href="#main" onClick=${toMain}>${t("nav.skip")}</a>
    <header class="top">
      <a class="brand" href="/"><img src="/icon.svg" alt="" width="28" height="28" /> idrl</a>
      <div class="end"><${LanguageChoice} /></div>
    </header>
    <main id="main" tabindex="-1"><${Shared} /></main>
    <${LiveRegion} />
  `;
}

function OwnPage() {
  useEffect(listen, []);
  if (state.value === "start") return html`<${Start} />`;
  const isOut = state.value === "out";
  return html`
    <a class="skip" href="#main" onClick=${toMain}>${t("nav.skip")}</a>
    <header class="top">
      <a class="brand" href="#/new"><img src="/icon.svg" alt="" width="28" height="28" /> idrl</a>
      ${!isOut && html`<${Navigation} />`}
      <div class="end">
        <${SystemState} />
        <${LanguageChoice} />
        ${!isOut && html`<${LogOut} label=${t("nav.logout")} kind="quiet" />`}
      </div>
    </header>
    <${LostConnection} />
    ${isStillIn.value && html`<${Notice} onClose=${() => (isStillIn.value = false)}>${t("nav.still_in")}<//>`}
    <${MissedFailure} />
    <main id="main" tabindex="-1">${isOut ? html`<${SignIn} />` : html`<${Screen} key=${user.value?.user_id} />`}</main>
    ${isHelpOpen.value && html`<${KeysDialog} />`}
    ${state.value === "expired" && html`<${LogInDialog} />`}
    <${LiveRegion} />
  `;
}

/** Shown until GET /me has answered who is logged in. */
function Start() {
  const header = html`<header class="top"><span class="brand"><img src="/icon.svg" alt="" width="28" height="28" /> idrl</span></header>`;
  if (!startError.value) return html`${header}<p class="hidden" aria-busy="true">${t("loading")}</p>`;
  return html`${header}<main><h1>idrl</h1><${Failure} error=${startError.value} /><p>${t("start.waits")}</p></main>`;
}

function LanguageChoice() {
  return html`<label class="hidden" for="language">${t("nav.language")}</label>
    <select id="language" onChange=${(/** @type {any} */ event) => setLanguage(event.target.value)}>
      ${LANGUAGES.map(([tag, name]) => html`<option key=${tag} value=${tag} selected=${tag === language.value}>${name}</option>`)}
    </select>`;
}

const KEYS = ["n", "t", "/", "j", "k", "Enter", "Shift + →", "Shift + ←", "Ctrl + Enter", "?", "Esc"];

/** @param {string} key */
const keyName = (key) => key.replace(/Shift|Enter/, (name) => t(`keyname.${name}`));

function KeysDialog() {
  return html`<${Dialog} title=${t("account.keyboard")} onClose=${() => (isHelpOpen.value = false)}>
    <dl class="keys">${KEYS.map((key) => html`<div key=${key}><dt><kbd>${keyName(key)}</kbd></dt><dd>${t(`key.${key}`)}</dd></div>`)}</dl>
  <//>`;
}

function toMain(/** @type {Event} */ event) {
  event.preventDefault();
  document.getElementById("main")?.focus();
}

function Navigation() {
  const items = ["new", "tasks", "brand", "account", ...(user.value?.role === "operator" ? ["system"] : [])];
  const current = sectionOf(place.value[0]);
  return html`<nav aria-label=${t("nav.label")}>
    ${items.map((name) => html`<a key=${name} href=${`#/${name}`} aria-current=${name === current ? "page" : null}>${t(`nav.${name}`)}</a>`)}
  </nav>`;
}

function SystemState() {
  const poller = usePolled("/ready", () => READY_MS, true);
  // At once when other calls get no answer: "Online" would stand beside the banner for up to a minute.
  useEffect(() => {
    if (isLost.value && !poller.state.value.error) poller.refresh();
  }, [isLost.value]);
  const word = readinessOf(poller.state.value);
  return html`<span class=${`system ${word}`} title=${t(`ready.${word}`)}><span aria-hidden="true">●</span> ${t(`ready.${word}`)}</span>`;
}

/** Return the status of the system: the one it gave, `unavailable` after an error, `unreachable` without an answer.
 * @param {import("./poll.js").Polled<{status: string}>} ready */
function readinessOf({ value, error }) {
  if (!error || error.status === 429) return value?.status || "ready";
  return error.status ? "unavailable" : "unreachable";
}

/** @type {Map<string, any>} */
const SECTIONS = new Map(Object.entries({ new: NewTask, tasks: Tasks, brand: Brands, account: Account, system: System }));
/** @type {Map<string, any>} */
const ONE = new Map(Object.entries({ task: Task, batch: Batch }));

/** Return the section of the navigation that a screen belongs to; for an unknown name `new`.
 * @param {string} [name] */
function sectionOf(name = "new") {
  if (ONE.has(name)) return "tasks";
  return SECTIONS.has(name) ? name : "new";
}

function Screen() {
  const [name, id] = place.value;
  const section = sectionOf(name);
  // Before the effects of the screen within, which may set a title of its own.
  useLayoutEffect(() => {
    document.title = `${t(`nav.${section}`)} · idrl`;
  }, [name, id, language.value]);
  if (id && ONE.has(name)) return html`<${ONE.get(name)} key=${id} id=${id} />`;
  return html`<${SECTIONS.get(section)} />`;
}
