// @ts-check
import { useSignal } from "@preact/signals";
import { useLayoutEffect } from "preact/hooks";
import { call } from "../api.js";
import { ConfirmButton } from "../confirm.js";
import { Copy } from "../copy.js";
import { areKeysOn, switchKeys } from "../keys.js";
import { LogOut } from "../logout.js";
import { usePolled } from "../poll.js";
import { leave, user } from "../session.js";
import { announce, Dialog, Failure, Field, html, useAttempt } from "../ui.js";
import { ago, date, lasting, sentenceOf, sizeOf, t } from "../words.js";
import { Password } from "./signin.js";
import { Webhooks } from "./webhooks.js";

export function Account() {
  const account = user.value;
  return html`<div class="narrow">
    <h1>${t("nav.account")}</h1>
    <p class="lead">${account?.username} · ${account?.email}</p>
    <${Usage} />
    <${Keys} />
    <${Webhooks} />
    <section>
      <h2>${t("account.change_password")}</h2>
      <${ChangePassword} />
    </section>
    <section>
      <h2>${t("account.here")}</h2>
      <label class="check"><input type="checkbox" checked=${areKeysOn.value} onChange=${(/** @type {any} */ event) => switchKeys(event.target.checked)} /> ${t("account.keyboard")}</label>
      <p class="facts">${t("account.keyboard_list")}</p>
      <div class="actions">
        <${LogOut} label=${t("account.everywhere")} />
        <${DeleteAccount} />
      </div>
    </section>
  </div>`;
}

function Usage() {
  const { value: found, error } = usePolled("/usage", () => 0).state.value;
  if (!found) return html`<section aria-busy=${!error}><${Failure} error=${error} /></section>`;
  const rows = [
    ["usage.tasks", found.live_tasks, found.live_tasks_limit, String],
    // clips_bytes_limit applies to all files of the account, not only to clips.
    ["usage.bytes", found.clips_bytes + found.uploads_bytes + found.sources_bytes + found.brands_bytes, found.clips_bytes_limit, sizeOf],
    ...["clips", "uploads", "sources", "brands"].map((kind) => [`usage.${kind}`, found[`${kind}_bytes`], null, sizeOf]),
    ["usage.today", found.source_s_today, found.source_s_today_limit, lasting],
  ];
  return html`<section>
    <h2>${t("usage.title")}</h2>
    <dl class="usage">
      ${rows.map(([key, value, limit, format]) => html`<div key=${key}>
        <dt>${t(key)}</dt>
        <dd>${format(value)}${limit != null ? ` / ${format(limit)}` : ""}
          ${limit != null && html`<progress max=${limit} value=${value} aria-label=${t(key)}></progress>`}</dd>
      </div>`)}
      <div><dt>${t("usage.month")}</dt><dd>${lasting(found.rendered_s_this_month)}</dd></div>
    </dl>
  </section>`;
}

function Keys() {
  const poller = usePolled("/me/keys", () => 0);
  const keys = poller.state.value;
  const load = () => poller.refresh();
  const made = useSignal(/** @type {any} */ (null));
  const { error, attempt, inTurn } = useAttempt();
  const onSubmit = (/** @type {any} */ event) => {
    event.preventDefault();
    const form = event.target;
    attempt(async () => {
      made.value = (await call("POST", "/me/keys", { name: new FormData(form).get("name") })).data;
      form.reset();
      load(); // not awaited: the next key may be made meanwhile
    });
  };
  const [reason] = error.value?.errors || [];
  const wrong = reason && sentenceOf(reason.code, reason.message);
  const revoke = (/** @type {any} */ key) => inTurn(async () => {
    await call("DELETE", `/me/keys/${key.key_id}`);
    await load();
    announce(t("keys.revoked"));
  });
  return html`<section>
    <h2>${t("keys.title")}</h2>
    <p>${t("keys.lead")}</p>
    <pre><code>curl -H "Authorization: Bearer idrl_…" ${location.origin}/tasks</code></pre>
    <ul class="plain">
      ${(keys.value || []).map((/** @type {any} */ key) => html`<li key=${key.key_id}>
        <span><strong>${key.name}</strong> <span class="facts">${date(key.created_at)}${key.expires_at ? ` – ${date(key.expires_at)}` : ""} · ${key.last_used_at ? t("keys.used", { ago: ago(key.last_used_at) }) : t("keys.unused")}</span></span>
        <${ConfirmButton} kind="keys.revoke" name=${key.name} label=${t("keys.revoke")} onSure=${() => revoke(key)} />
      </li>`)}
    </ul>
    <form class="inline" onSubmit=${onSubmit}>
      <${Field} id="key-name" label=${t("keys.name")} error=${wrong}><input id="key-name" name="name" required maxlength="100" /><//>
      <button>${t("keys.make")}</button>
    </form>
    <${Failure} error=${wrong ? keys.error : error.value || keys.error} />
    ${made.value && html`<${Dialog} title=${t("keys.made")} onClose=${() => (made.value = null)}>
      <p>${t("keys.once")}</p>
      <${Copy} text=${made.value.key} label=${t("keys.made")} />
    <//>`}
  </section>`;
}

/** Return the sentence for each password that was refused, and focus its field.
 * @param {import("../api.js").ApiError | null} error @param {Record<string, string>} ids of the fields, by name */
function useRefused(error, ids) {
  /** @type {Record<string, string>} */
  const wrong = {};
  for (const each of error?.errors || []) wrong[each.field] ||= sentenceOf(each.code, each.message);
  if (error?.code === "bad_credentials") wrong[Object.keys(ids)[0]] = t("account.wrong_password");
  useLayoutEffect(() => {
    const name = Object.keys(ids).find((each) => wrong[each]);
    if (name) document.getElementById(ids[name])?.focus();
  }, [error]);
  return { wrong, rest: Object.keys(ids).some((name) => wrong[name]) ? null : error };
}

function ChangePassword() {
  const { error, attempt } = useAttempt();
  const { wrong, rest } = useRefused(error.value, { old_password: "old_password", password: "new_password" });
  const done = useSignal(false);
  const onSubmit = (/** @type {any} */ event) => {
    event.preventDefault();
    const form = event.target;
    const { old_password, password } = Object.fromEntries(new FormData(form));
    attempt(async () => {
      done.value = false;
      await call("POST", "/auth/password", { old_password, password, password_2: password });
      form.reset();
      done.value = true;
      announce(t("account.password_changed"));
    });
  };
  return html`<form onSubmit=${onSubmit}>
    <${Username} />
    <${Password} id="old_password" name="old_password" autocomplete="current-password" label=${t("account.old_password")} error=${wrong.old_password} />
    <${Password} id="new_password" name="password" autocomplete="new-password" label=${t("account.new_password")} error=${wrong.password} />
    <${Failure} error=${rest} />
    ${done.value && html`<p class="good">${t("account.password_changed")}</p>`}
    <button>${t("account.change_password")}</button>
  </form>`;
}

function DeleteAccount() {
  const isConfirming = useSignal(false);
  const { error, attempt } = useAttempt();
  const { wrong, rest } = useRefused(error.value, { password: "delete-password" });
  const onSubmit = (/** @type {any} */ event) => {
    event.preventDefault();
    const password = new FormData(event.target).get("password");
    attempt(async () => {
      await call("DELETE", "/me", { password });
      leave();
    });
  };
  return html`<button class="danger" onClick=${() => (isConfirming.value = true)}>${t("account.delete")}</button>
    ${isConfirming.value && html`<${Dialog} title=${t("account.delete")} onClose=${() => (isConfirming.value = false)}>
      <p>${t("account.delete_means")}</p>
      <form onSubmit=${onSubmit}>
        <${Username} />
        <${Password} id="delete-password" name="password" autocomplete="current-password" autofocus error=${wrong.password} />
        <${Failure} error=${rest} />
        <button class="danger primary">${t("account.delete")}</button>
      </form>
    <//>`}`;
}

/** A hidden field for password managers: it tells them which account the password is for. */
function Username() {
  return html`<input type="email" autocomplete="username" value=${user.value?.email} readonly hidden />`;
}
