// @ts-check
// The state of the system, for operators: queues, workers, share, failures, accounts.
import { call } from "../api.js";
import { usePolled } from "../poll.js";
import { Failure, html, useAttempt } from "../ui.js";
import { ago, lasting, number, sentenceOf, sizeOf, t } from "../words.js";

const EVERY_MS = 5000;

export function System() {
  const poller = usePolled("/status", () => EVERY_MS);
  const { value, error } = poller.state.value;
  if (!value) return error ? html`<h1>${t("nav.system")}</h1><${Failure} error=${error} />` : html`<p aria-busy="true">${t("loading")}</p>`;
  return html`<div>
    <h1>${t("nav.system")}</h1>
    <div class="tiles">
      ${value.work.map((/** @type {any} */ work) => html`<${Work} key=${work.kind} work=${work} refresh=${() => poller.refresh()} />`)}
      <section class="tile">
        <h2>${t("system.share")}</h2>
        <p><b>${value.share.free_bytes == null ? "–" : sizeOf(value.share.free_bytes)}</b> ${t("system.free")}</p>
        ${value.share.error && html`<p class="failure">${sentenceOf(value.share.error)}</p>`}
      </section>
      <section class="tile">
        <h2>${t("system.speed")}</h2>
        <p><b>${value.speed == null ? "–" : `${number(value.speed, 1)} ×`}</b> ${t("system.realtime")}</p>
        <p class="facts">${t("system.rendered", { time: lasting(value.rendered_s) })}</p>
      </section>
    </div>
    <${Table} title=${t("system.workers")} heads=${["system.name", "system.kinds", "system.seen", "system.fault"]}
      rows=${value.workers.map((/** @type {any} */ worker) => [
        worker.name,
        worker.kinds.map((/** @type {string} */ kind) => t(`kind.${kind}`)).join(", "),
        `${worker.is_alive ? "" : "⚠ "}${ago(worker.seen_at)}`,
        worker.fault_code ? sentenceOf(worker.fault_code) : "",
      ])} />
    <${Table} title=${t("system.failures")} heads=${["system.code", "nav.tasks"]}
      rows=${value.failures.map((/** @type {any} */ each) => [sentenceOf(each.code), each.tasks])} />
    <${Table} title=${t("system.accounts")} heads=${["system.account", "usage.tasks", "usage.bytes", "usage.month"]}
      rows=${value.accounts.map((/** @type {any} */ each) => [each.user_id, each.live_tasks, sizeOf(each.clips_bytes), lasting(each.rendered_s_this_month)])} />
  </div>`;
}

/** @param {any} props */
function Work({ work, refresh }) {
  const { error, attempt } = useAttempt();
  const change = async () => {
    await attempt(() => call("POST", `/status/${work.paused ? "resume" : "pause"}`, { kind: work.kind }));
    refresh();
  };
  return html`<section class="tile">
    <h2>${t(`kind.${work.kind}`)}${work.paused ? ` · ${t("system.paused")}` : ""}</h2>
    <p><b>${work.waiting}</b> ${t("system.waiting")} · <b>${work.running}</b> ${t("system.running")}</p>
    ${work.waiting > 0 && work.oldest_wait_s != null && html`<p class="facts">${t("system.oldest", { time: lasting(work.oldest_wait_s) })}</p>`}
    <button key=${work.paused} onClick=${change}>${t(work.paused ? "system.resume" : "system.pause")}</button>
    <${Failure} error=${error.value} />
  </section>`;
}

/** @param {{title: string, heads: string[], rows: any[][]}} props */
function Table({ title, heads, rows }) {
  if (!rows.length) return null;
  return html`<section>
    <h2>${title}</h2>
    <div class="scroll" tabindex="0" role="region" aria-label=${title}><table>
      <thead><tr>${heads.map((head) => html`<th key=${head} scope="col">${t(head)}</th>`)}</tr></thead>
      <tbody>${rows.map((row, index) => html`<tr key=${index}>${row.map((cell, n) => html`<td key=${n}>${cell}</td>`)}</tr>`)}</tbody>
    </table></div>
  </section>`;
}
