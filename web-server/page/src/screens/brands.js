// @ts-check
// Brands (bumpers before and after clips, watermark): a list with previews, a form, the choice of the default.
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { ApiError, call, get } from "../api.js";
import { ConfirmButton } from "../confirm.js";
import { announce, Choice, Failure, Field, html, useAttempt } from "../ui.js";
import { sentenceOf, t } from "../words.js";

const FILES = ["before", "after", "watermark"];
/** Of the files of a brand together. */
const MAX_BYTES = 32 * 1024 * 1024;
const IMAGES = "image/png,image/jpeg,image/webp";
const PLACES = ["top-left", "top", "top-right", "left", "center", "right", "bottom-left", "bottom", "bottom-right"];

export function Brands() {
  const brands = useSignal(/** @type {any[] | null} */ (null));
  const chosen = useSignal("built-in");
  const error = useSignal(/** @type {ApiError | null} */ (null));
  const made = useSignal("");
  const list = useRef(/** @type {HTMLElement | null} */ (null));
  const choices = useRef(0);
  const loads = useRef(0);
  const load = async () => {
    const before = choices.current;
    const number = (loads.current += 1);
    const [found, standard] = await Promise.all([get("/brands"), get("/brands/default")]);
    if (number !== loads.current) return; // it may be older than the answer to a later call
    // A choice that was made after this call began is newer than its answer.
    if (choices.current === before) chosen.value = standard.brand_id || "built-in";
    brands.value = found;
  };
  // Not useAttempt, which would ignore a second choice while the first is being sent.
  const attempt = async (/** @type {() => Promise<any>} */ change) => {
    error.value = null;
    try {
      await change();
      await load();
    } catch (failure) {
      if (!(failure instanceof ApiError)) throw failure;
      error.value = failure;
    }
  };
  useEffect(() => void attempt(async () => {}), []);
  const choose = async (/** @type {string} */ id) => {
    const before = chosen.value;
    choices.current += 1;
    chosen.value = id;
    await attempt(() => call("PUT", "/brands/default", { brand_id: id }));
    if (error.value && chosen.value === id) chosen.value = before;
  };
  const remove = (/** @type {any} */ brand) => attempt(async () => {
    await call("DELETE", brand.link);
    announce(t("brand.deleted"));
  });
  const onMade = async (/** @type {any} */ brand, /** @type {boolean} */ isUsed) => {
    await attempt(async () => isUsed && (await call("PUT", "/brands/default", { brand_id: brand.brand_id })));
    made.value = brand.name;
    announce(t("brand.made", { name: brand.name }));
    list.current?.scrollIntoView({ block: "center" });
  };
  const options = [["built-in", t("brand.built_in")], ["none", t("brand.none")]];
  for (const brand of brands.value || []) options.push([brand.brand_id, brand.name]);
  return html`<div class="narrow">
    <h1>${t("nav.brand")}</h1>
    <p class="lead">${t("brand.lead")}</p>
    <section ref=${list} aria-busy=${!brands.value && !error.value}>
      <${Choice} legend=${t("brand.default")} name="default-brand" value=${chosen.value} options=${options} onChange=${choose} />
      <${Failure} error=${error.value} />
      ${made.value && html`<p class="good">✓ ${t("brand.made", { name: made.value })}</p>`}
      <ul class="plain brands">
        ${(brands.value || []).map((brand) => html`<${Card} key=${brand.brand_id} brand=${brand} onDelete=${() => remove(brand)} />`)}
      </ul>
    </section>
    <section>
      <h2>${t("brand.new")}</h2>
      <${NewBrand} onMade=${onMade} />
    </section>
  </div>`;
}

/** @param {{brand: any, onDelete: () => Promise<void>}} props */
function Card({ brand, onDelete }) {
  return html`<li>
    <div>
      <strong>${brand.name}</strong>
      <div class="previews">
        ${["16:9", "9:16"].map((aspect) => html`<img key=${aspect} loading="lazy" src=${`${brand.link}/preview.jpg?aspect=${aspect}`}
          alt=${t("brand.preview", { name: brand.name, aspect })} />`)}
      </div>
    </div>
    <${ConfirmButton} kind="brand.delete" name=${brand.name} label=${t("action.delete")} onSure=${onDelete} />
  </li>`;
}

/** @param {{onMade: (brand: any, isUsed: boolean) => Promise<void>}} props */
function NewBrand({ onMade }) {
  const { error, isBusy, attempt } = useAttempt();
  const place = useSignal("bottom-right");
  const wrong = Object.fromEntries((error.value?.errors || []).map((each) => [each.field, sentenceOf(each.code, each.message)]));
  const onSubmit = (/** @type {any} */ event) => {
    event.preventDefault();
    const form = new FormData(event.target);
    return attempt(async () => {
      const { data } = await call("POST", "/brands", sent(form, place.value));
      event.target.reset();
      await onMade(data, form.has("used"));
    });
  };
  return html`<form onSubmit=${onSubmit}>
    <${Field} id="brand-name" label=${t("new.name")} error=${wrong.name}><input id="brand-name" name="name" required maxlength="200" /><//>
    ${FILES.map((name) => html`<${Field} key=${name} id=${`brand-${name}`} label=${t(`brand.${name}`)} error=${wrong[name]}>
      <input id=${`brand-${name}`} name=${name} type="file" accept=${name === "watermark" ? IMAGES : `${IMAGES},video/*`} />
    <//>`)}
    <div class="columns">
      ${["before_s", "after_s"].map((name) => html`<${Field} key=${name} id=${name} label=${t(`brand.${name}`)} error=${wrong[name]}>
        <input id=${name} name=${name} type="number" min="0" max="5" step="0.1" defaultValue="1" required />
      <//>`)}
      <${Field} id="background" label=${t("brand.background")}><input id="background" name="background" type="color" defaultValue="#141414" /><//>
    </div>
    <${Choice} legend=${t("brand.place")} kind="places" name="place" value=${place.value} onChange=${(/** @type {string} */ key) => (place.value = key)}
      options=${PLACES.map((key) => [key, t(`place.${key}`)])} />
    <div class="columns">
      <${Field} id="width" label=${t("brand.width")}><input id="width" name="width" type="number" min="2" max="50" defaultValue="20" required /><//>
      <${Field} id="opacity" label=${t("brand.opacity")}><input id="opacity" name="opacity" type="number" min="0" max="100" defaultValue="100" required /><//>
    </div>
    <label class="check"><input type="checkbox" name="used" defaultChecked /> ${t("brand.use")}</label>
    ${!error.value?.errors.length && html`<${Failure} error=${error.value} />`}
    <button class="primary" disabled=${isBusy.value}>${t(isBusy.value ? "new.sending" : "brand.make")}</button>
  </form>`;
}

/** Return the form's fields as the API takes them: percentages as fractions of 1, no empty file fields. Raise
 * ApiError for files that are too large, before they are sent.
 * @param {FormData} form @param {string} place */
function sent(form, place) {
  const body = new FormData();
  for (const name of ["name", "before_s", "after_s", "background"]) body.set(name, String(form.get(name)));
  body.set("watermark_place", place);
  body.set("watermark_width", String(Number(form.get("width")) / 100));
  body.set("watermark_opacity", String(Number(form.get("opacity")) / 100));
  let bytes = 0;
  for (const name of FILES) {
    const file = form.get(name);
    if (file instanceof File) bytes += file.size;
    if (bytes > MAX_BYTES) throw new ApiError(413, { code: "brand_files_too_large" });
    if (file instanceof File && file.name) body.set(name, file); // of a field without a file it is empty
  }
  return body;
}
