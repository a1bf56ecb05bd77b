// @ts-check
// An account's webhooks: addresses, deliveries, and sending again.
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { call, get } from "../api.js";
import { ConfirmButton } from "../confirm.js";
import { Copy } from "../copy.js";
import { usePolled } from "../poll.js";
import { nowMs } from "../time.js";
import { announce, Dialog, Failure, Field, html, useAttempt } from "../ui.js";
import { date, moment, sentenceOf, t } from "../words.js";

const EVENTS = ["task.done", "task.failed", "task.canceled", "task.planned", "part.done", "batch.done"];
const USUAL = 3;
const LAST = 10;
const UNTIL_SENT_MS = 1500;
/** The list is polled while a delivery's next attempt is at most this far away; later attempts are minutes apart. */
const SOON_MS = 60_000;

export function Webhooks() {
  const poller = usePolled("/webhooks", () => 0);
  const { value: webhooks, error } = poller.state.value;
  const made = useSignal(/** @type {any} */ (null));
  const load = () => poller.refresh();
  return html`<section>
    <h2>${t("hooks.title")}</h2>
    <p>${t("hooks.lead")}</p>
    <pre><code>curl -H "Authorization: Bearer idrl_…" --json '{"url": "https://hooks.example.com/idrl"}' ${location.origin}/webhooks</code></pre>
    <${Failure} error=${error} />
    <ul class="plain stacked">
      ${(webhooks || []).map((/** @type {any} */ webhook) => html`<${Webhook} key=${webhook.webhook_id} webhook=${webhook} onDelete=${load} />`)}
    </ul>
    <${NewWebhook} onMade=${(/** @type {any} */ webhook) => { made.value = webhook; load(); }} />
    ${made.value && html`<${Dialog} title=${t("hooks.secret")} onClose=${() => (made.value = null)}>
      <p>${t("hooks.once")}</p>
      <${Copy} text=${made.value.secret} label=${t("hooks.secret")} />
    <//>`}
  </section>`;
}

/** @param {{onMade: (webhook: any) => void}} props */
function NewWebhook({ onMade }) {
  const { error, attempt } = useAttempt();
  const onSubmit = (/** @type {any} */ event) => {
    event.preventDefault();
    const form = event.target;
    const values = new FormData(form);
    attempt(async () => {
      const { data } = await call("POST", "/webhooks", { url: values.get("url"), events: values.getAll("events") });
      form.reset();
      onMade(data);
    });
  };
  const [reason] = error.value?.errors || [];
  const wrong = reason && sentenceOf(reason.code, reason.message);
  const isOfEvents = reason?.field.startsWith("events");
  return html`<form onSubmit=${onSubmit}>
    <${Field} id="hook-url" label=${t("hooks.url")} error=${!isOfEvents && wrong}>
      <input id="hook-url" name="url" type="url" required maxlength="2048" placeholder="https://" />
    <//>
    <fieldset class="checks" aria-describedby=${isOfEvents ? "hook-events-error" : null}>
      <legend>${t("hooks.events")}</legend>
      ${EVENTS.map((name, index) => html`<label key=${name} class="check">
        <input type="checkbox" name="events" value=${name} defaultChecked=${index < USUAL} /> <code>${name}</code>
      </label>`)}
    </fieldset>
    ${isOfEvents && html`<p class="failure" id="hook-events-error" role="alert">${wrong}</p>`}
    ${!wrong && html`<${Failure} error=${error.value} />`}
    <button>${t("hooks.make")}</button>
  </form>`;
}

/** @param {{webhook: any, onDelete: () => Promise<any>}} props */
function Webhook({ webhook, onDelete }) {
  const deliveries = useSignal(/** @type {any[] | null} */ (null));
  const { error, attempt, inTurn } = useAttempt();
  const listing = useAttempt({ isRead: true });
  const later = useRef(0);
  const loads = useRef(0);
  const isGone = useRef(false);
  /** Load the last deliveries, and again every UNTIL_SENT_MS while one is about to be sent. */
  const load = async () => {
    clearTimeout(later.current);
    const number = (loads.current += 1);
    const found = await get(`${webhook.link}/deliveries?max=${LAST}`);
    if (number !== loads.current) return; // it may be older than the answer to a later call
    deliveries.value = found;
    if (!isGone.current && deliveries.value?.some(isSoonSent)) later.current = setTimeout(() => listing.attempt(load), UNTIL_SENT_MS);
  };
  useEffect(() => () => {
    isGone.current = true;
    clearTimeout(later.current);
  }, []);
  /** Delete the webhook; its deliveries are not read meanwhile, as they may be gone already. */
  const remove = async () => {
    isGone.current = true;
    clearTimeout(later.current);
    try {
      await call("DELETE", webhook.link);
    } catch (error) {
      isGone.current = false;
      throw error;
    }
    await onDelete();
  };
  const send = async (/** @type {string} */ path) => {
    await call("POST", path);
    announce(t("hooks.sent"));
    await load();
  };
  return html`<li>
    <div class="title-row">
      <span><strong class="long">${webhook.url}</strong><br /><span class="facts">${webhook.events.join(" · ")}</span></span>
      <span class="actions">
        <button class="quiet" disabled=${!!webhook.disabled_at} onClick=${() => attempt(() => send(`${webhook.link}/test`))} aria-label=${t("hooks.test_one", { url: webhook.url })}>${t("hooks.test")}</button>
        <${ConfirmButton} kind="hooks.delete" name=${webhook.url} label=${t("action.delete")}
          onSure=${() => inTurn(remove)} />
      </span>
    </div>
    ${webhook.disabled_at && html`<p class="waiting">${t("hooks.disabled", { at: date(webhook.disabled_at) })}</p>`}
    <${Failure} error=${error.value || listing.error.value} />
    <details open=${!!deliveries.value} onToggle=${(/** @type {any} */ event) => event.target.open && !deliveries.value && listing.attempt(load)}>
      <summary>${t("hooks.last")}</summary>
      ${deliveries.value && !deliveries.value.length && html`<p class="facts">${t("hooks.none")}</p>`}
      <ul class="plain">
        ${(deliveries.value || []).map((each) => html`<${Delivery} key=${each.delivery_id} delivery=${each}
          onResend=${() => send(`${webhook.link}/deliveries/${each.delivery_id}/resend`)} />`)}
      </ul>
    </details>
  </li>`;
}

/** @param {any} delivery */
const isSoonSent = ({ status, next_attempt_at }) =>
  status === "waiting" && (!next_attempt_at || Date.parse(next_attempt_at) < nowMs() + SOON_MS);

/** @param {{delivery: any, onResend: () => Promise<void>}} props */
function Delivery({ delivery, onResend }) {
  const { error, attempt } = useAttempt(); // of its own: another delivery may be sent again meanwhile
  const { status, http_status, error_code, attempted_at, next_attempt_at, event } = delivery;
  const facts = [
    http_status && `HTTP ${http_status}`,
    error_code && sentenceOf(error_code),
    attempted_at && moment(attempted_at),
    next_attempt_at && t("task.next", { at: date(next_attempt_at) }),
  ].filter(Boolean);
  return html`<li>
    <span><code>${event}</code> <span class=${`status ${status}`}>${t(`hooks.${status}`)}</span><br /><span class="facts">${facts.join(" · ")}</span>
      <${Failure} error=${error.value} /></span>
    ${status !== "waiting" && html`<button class="quiet" onClick=${() => attempt(onResend)} aria-label=${t("hooks.resend_one", { event })}>${t("hooks.resend")}</button>`}
  </li>`;
}
