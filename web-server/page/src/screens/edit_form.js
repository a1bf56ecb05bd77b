// @ts-check
// Converts the form to the API's `edit`, and maps the API's validation errors to fields of the form.
import { ApiError } from "../api.js";
import { sentenceOf, t } from "../words.js";

/** Return the links of a text, without empty lines and comments (#). A link may contain spaces; the
 * next one begins where a scheme (https:) does. @param {string} text */
export function linksOf(text) {
  return text.split("\n")
    .map((line) => line.replace(/(^|\s)#.*$/, "").trim())
    .flatMap((line) => line.split(/[\s,;]+(?=[a-z][a-z0-9+.-]*:\/\/)/i))
    .map((link) => link.replace(/[\s,;]+$/, ""))
    .filter(Boolean);
}

/** Return seconds of `1:05.5` or `65.5`; NaN of anything else. @param {string} text */
export function secondsOf(text) {
  if (!/^(\d+:){0,2}\d+([.,]\d+)?$/.test(text.trim())) return NaN;
  return text.trim().replace(",", ".").split(":").reduce((total, part) => total * 60 + Number(part), 0);
}

/** Return the seconds in a field's text; raise ApiError if it is not a time.
 * @param {string} field @param {string} text */
function timeOf(field, text) {
  const seconds = secondsOf(text);
  if (Number.isNaN(seconds)) throw refusal(field, "time_invalid");
  return seconds;
}

/** Return the segments of lines such as `1:05 - 1:25 name`; raise ApiError for a line of another form.
 * @param {string} text */
export function segmentsOf(text) {
  return text.split("\n").filter((line) => line.trim()).map((line, index) => {
    const [, start, end, name] = /^\s*([\d:.,]+)\s*[-–—]\s*([\d:.,]+)\s*(.*)$/.exec(line) || [];
    const segment = { start_s: secondsOf(start || ""), end_s: secondsOf(end || "") };
    if (Number.isNaN(segment.start_s + segment.end_s)) throw refusal(`segments.${index}`, "segment_invalid");
    return { ...segment, ...(name ? { name: name.trim() } : {}) };
  });
}

/** Return an error as the API would give it, for a field whose text cannot be sent.
 * @param {string} field @param {string} code */
function refusal(field, code) {
  return new ApiError(400, { code: "invalid_body", errors: [{ field: `edit.${field}`, code, message: code }] });
}

/** Return the form's edit and start. @param {Record<string, any>} form */
export function item(form) {
  const edit = wanted(form);
  return { ...(form.begin === "manual" ? { start: "manual" } : {}), ...(edit ? { edit } : {}) };
}

/** Return the edit of the form; undefined where it has only defaults. @param {Record<string, any>} form */
export function wanted(form) {
  const edit = {
    ...(form.part_seconds ? { part_seconds: Number(form.part_seconds) } : {}),
    ...(form.aspect !== "16:9" ? { aspect: form.aspect } : {}),
    ...(form.fit !== "crop" ? { fit: form.fit } : {}),
    ...(form.quality !== "balanced" ? { quality: form.quality } : {}),
    ...(form.brand_id ? { brand_id: form.brand_id } : {}),
    ...(form.cut !== "exact" ? { cut: form.cut } : {}),
    ...(form.segments?.trim() ? { segments: segmentsOf(form.segments) } : stretchOf(form)),
  };
  return Object.keys(edit).length ? edit : undefined;
}

/** @param {Record<string, any>} form */
function stretchOf({ start, end }) {
  return { ...(start ? { start_s: timeOf("start_s", start) } : {}), ...(end ? { end_s: timeOf("end_s", end) } : {}) };
}

/** Return the sentence for each link of a batch that was refused, by its index. @param {ApiError} error */
export function byLine(error) {
  /** @type {Record<number, string>} */
  const sentences = {};
  for (const each of error.errors) {
    const [, index] = /^items\.(\d+)\.(?!edit\b)/.exec(each.field) || [];
    if (index) sentences[Number(index)] = sentenceOf(each.code, each.message);
  }
  return sentences;
}

const FIELDS = ["name", "part_seconds", "start_s", "end_s", "segments"];

/** Return the sentence for each field of the form that was refused. @param {ApiError} error */
export function byField(error) {
  /** @type {Record<string, string>} */
  const sentences = {};
  for (const each of error.errors) {
    const [, field, index] = /^(?:items\.\d+\.)?(?:edit\.)?(\w+)(?:\.(\d+))?/.exec(each.field) || [];
    const sentence = sentenceOf(each.code, each.message);
    if (field && FIELDS.includes(field) && !sentences[field]) sentences[field] = index ? `${t("new.line", { n: Number(index) + 1 })} ${sentence}` : sentence;
  }
  return sentences;
}

/** Bring the field that was refused into view. @param {HTMLFormElement} form @param {string} [field] */
export function showField(form, field) {
  const element = field && form.querySelector(`#${field}`);
  if (!(element instanceof HTMLElement)) return;
  element.closest("details")?.setAttribute("open", "");
  element.focus();
}
