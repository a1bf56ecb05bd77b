// @ts-check
import { useSignal } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { ApiError } from "../api.js";
import { leave, logIn, signUp, user } from "../session.js";
import { Dialog, Failure, Field, html } from "../ui.js";
import { language, sentenceOf, t } from "../words.js";

/** The API's rules for passwords. @type {[string, (password: string) => boolean][]} */
const RULES = [
  ["length", (password) => [...password].length >= 8],
  ["upper", (password) => /\p{Lu}/u.test(password)],
  ["lower", (password) => /\p{Ll}/u.test(password)],
  ["digit", (password) => /\p{Nd}/u.test(password)],
];

export function SignIn() {
  const isNew = useSignal(false);
  // Not that of the screen before, such as a task's name.
  useLayoutEffect(() => {
    document.title = `${t(isNew.value ? "signin.signup" : "signin.login")} · idrl`;
  }, [isNew.value, language.value]);
  return html`<div class="sign-in">
    <h1>${t("signin.title")}</h1>
    <p class="lead">${t("signin.lead")}</p>
    <div class="tabs" role="tablist">
      ${[false, true].map((kind) => html`<button key=${kind} role="tab" id=${`tab-${kind}`} aria-controls="sign-in"
        aria-selected=${kind === isNew.value} tabindex=${kind === isNew.value ? 0 : -1}
        onKeyDown=${(/** @type {KeyboardEvent} */ event) => moveTab(event, isNew)}
        onClick=${() => (isNew.value = kind)}>${t(kind ? "signin.signup" : "signin.login")}</button>`)}
    </div>
    <div id="sign-in" role="tabpanel" aria-labelledby=${`tab-${isNew.value}`}>
      <${isNew.value ? SignUpForm : LogInForm} key=${isNew.value} />
    </div>
  </div>`;
}

/** @param {KeyboardEvent} event @param {{value: boolean}} isNew */
function moveTab(event, isNew) {
  if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
  isNew.value = !isNew.value;
  setTimeout(() => document.getElementById(`tab-${isNew.value}`)?.focus());
}

/** Return a form's state and its event handlers; `send` makes the call.
 * @param {(values: Record<string, string>) => Promise<void>} send */
function useForm(send) {
  const busy = useSignal(false);
  const error = useSignal(/** @type {ApiError | null} */ (null));
  const onSubmit = async (/** @type {any} */ event) => {
    event.preventDefault();
    const fields = event.target.elements;
    const values = Object.fromEntries(new FormData(event.target));
    busy.value = true;
    error.value = null;
    try {
      await send(/** @type {any} */ (values));
    } catch (failure) {
      if (!(failure instanceof ApiError)) throw failure;
      error.value = failure;
      fields[failure.errors[0]?.field]?.focus();
    }
    busy.value = false;
  };
  // The API's errors of fields are about the old values: remove them when a field changes.
  const onInput = () => {
    if (error.value?.errors.length) error.value = null;
  };
  const errorOf = (/** @type {string} */ name) => {
    const found = (error.value?.errors || []).find((each) => each.field === name);
    return found && sentenceOf(found.code, found.message);
  };
  return { busy, error, onSubmit, onInput, errorOf };
}

/** @param {{email?: string}} props */
function LogInForm({ email = "" }) {
  const form = useForm(({ email, password }) => logIn(email, password));
  return html`<form onSubmit=${form.onSubmit}>
    <${Field} id="email" label=${t("account.email")}>
      <input id="email" name="email" type="email" autocomplete="username" required defaultValue=${email} autofocus=${!email} />
    <//>
    <${Password} id="password" name="password" autocomplete="current-password" />
    <${Failure} error=${form.error.value} />
    <button class="primary" disabled=${form.busy.value}>${t(form.busy.value ? "signin.working" : "signin.login")}</button>
  </form>`;
}

const FIELDS = ["username", "email", "password"];

function SignUpForm() {
  const form = useForm((values) => signUp({ ...values, password_2: values.password }));
  const error = form.error.value;
  // Only the API knows whether signing up needs an invitation, so the first try shows the field.
  const isInvited = useRef(false);
  const isRefused = error?.code === "invitation_invalid";
  isInvited.current ||= isRefused;
  useLayoutEffect(() => {
    if (isRefused) document.getElementById("invitation")?.focus();
  }, [error]);
  return html`<form onSubmit=${form.onSubmit} onInput=${form.onInput}>
    <${Field} id="username" label=${t("account.username")} error=${form.errorOf("username")}>
      <input id="username" name="username" autocomplete="nickname" required maxlength="64" />
    <//>
    <${Field} id="email" label=${t("account.email")} error=${form.errorOf("email")}>
      <input id="email" name="email" type="email" autocomplete="username" required />
    <//>
    <${Password} id="password" name="password" autocomplete="new-password" error=${form.errorOf("password")} />
    ${isInvited.current && html`<${Field} id="invitation" label=${t("account.invitation")} error=${isRefused && sentenceOf(error.code)}>
      <input id="invitation" name="invitation" autocomplete="off" autocapitalize="off" spellcheck="false" required maxlength="128" />
    <//>`}
    ${error && !isRefused && !FIELDS.some(form.errorOf) && html`<${Failure} error=${error} />`}
    <button class="primary" disabled=${form.busy.value}>${t(form.busy.value ? "signin.working" : "signin.signup")}</button>
  </form>`;
}

/** A field for a password; of a new one it shows which rules are met.
 * @param {any} props */
export function Password({ id, name, autocomplete, error, label = t("account.password"), autofocus = false }) {
  const isShown = useSignal(false);
  const typed = useSignal("");
  const input = useRef(/** @type {HTMLInputElement | null} */ (null));
  useEffect(() => {
    const clear = () => (typed.value = "");
    const form = input.current?.form;
    form?.addEventListener("reset", clear);
    return () => form?.removeEventListener("reset", clear);
  }, []);
  const rules = autocomplete === "new-password" ? `${id}-rules` : "";
  return html`<${Field} id=${id} label=${label} error=${error} describedBy=${rules}>
    <div class="with-button">
      <input ref=${input} id=${id} name=${name} type=${isShown.value ? "text" : "password"} autocomplete=${autocomplete} required autofocus=${autofocus}
        onInput=${(/** @type {any} */ event) => (typed.value = event.target.value)} />
      <button type="button" class="quiet" aria-pressed=${isShown.value} onClick=${() => (isShown.value = !isShown.value)}>
        ${t(isShown.value ? "signin.hide" : "signin.show")}
      </button>
    </div>
    ${rules && html`<${Rules} id=${rules} password=${typed.value} />`}
  <//>`;
}

/** @param {{id: string, password: string}} props */
function Rules({ id, password }) {
  return html`<ul class="rules" id=${id}>
    ${RULES.map(([name, holds]) => html`<li key=${name} class=${holds(password) ? "met" : ""}>
      <span aria-hidden="true">${holds(password) ? "✓" : "○"}</span> ${t(`rule.${name}`)}
      <span class="hidden">${holds(password) ? t("rule.met") : ""}</span>
    </li>`)}
  </ul>`;
}

/** Opens over the page when the session has expired, so that what was typed in the page is kept. */
export function LogInDialog() {
  return html`<${Dialog} title=${t("signin.again")}>
    <p>${t("signin.expired")}</p>
    <${LogInForm} email=${user.value?.email || ""} />
    <button class="quiet" onClick=${leave}>${t("signin.other")}</button>
  <//>`;
}
