// @ts-check
// What a share link shows to people without an account: clips to play and to download.
import { useEffect } from "preact/hooks";
import { usePolled } from "../poll.js";
import { Failure, html } from "../ui.js";
import { date, t } from "../words.js";
import { Cards } from "./parts.js";

/** The path of the share link that this page was opened by; empty for all other pages. */
export const sharePath = /^\/s\/[^/]+$/.test(location.pathname) ? location.pathname : "";

export function Shared() {
  const { value: shared, error } = usePolled(sharePath, () => 0).state.value;
  useEffect(() => {
    if (shared) document.title = `${shared.name} · idrl`;
  }, [shared?.name]);
  if (!shared && error) return html`<h1>${t("shared.title")}</h1><${Failure} error=${error} />`;
  if (!shared) return html`<p aria-busy="true">${t("loading")}</p>`;
  const { name, expires_at, clips_zip, parts } = shared;
  // Links do not tell the clips' shape.
  const task = { edit: { aspect: "source" }, parts: parts.map((/** @type {any} */ part) => ({ ...part, status: "done" })) };
  return html`<article>
    <h1>${name}</h1>
    <p class="lead">${t("shared.lead", { at: date(expires_at) })}</p>
    ${parts.length === 0 && html`<p>${t("shared.empty")}</p>`}
    ${clips_zip && parts.length > 0 && html`<div class="actions"><a class="button primary" href=${clips_zip} download>${t("task.zip")}</a></div>`}
    <${Cards} task=${task} />
  </article>`;
}
