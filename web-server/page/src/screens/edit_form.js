// @ts-check
// Converts the form to the API's `edit`, and maps the API's validation errors to fields of the form.
import { ApiError } from "../api.js";
import { adviceOf, sentenceOf, t } from "../words.js";

const SCHEME = "[a-z][a-z0-9+.-]*://";
/** What separates a link from the text before it, such as `1.`, `Lap 1:`, `<`, `"` or `[name](`. */
const BEFORE_LINK = new RegExp(`(?:^|[\\s,;<>"'“”«»({[|]+)(?=${SCHEME})`, "i");
const BEGINS_AS_LINK = new RegExp(`^${SCHEME}`, "i");
/** Marks that may be in a link: a closing one is none of the link's where its opening one is before the link.
 * @type {[string, string][]} */
const PAIRS = [["(", ")"], ["[", "]"], ["{", "}"]];

/** Return the links of a text, without empty lines and comments (#). A link may contain spaces; the
 * next one begins where a scheme (https:) does. Of a line without any, the whole line. @param {string} text */
export function linksOf(text) {
  return text.split(/[\r\n\u2028\u2029]/)
    .map((line) => line.replace(/(^|\s)#.*$/, "").trim())
    .flatMap(linksOfLine)
    .filter(Boolean);
}

/** @param {string} line */
function linksOfLine(line) {
  const pieces = line.split(BEFORE_LINK);
  const links = pieces.filter((piece) => BEGINS_AS_LINK.test(piece));
  return (links.length ? links : pieces).map(withoutEnd);
}

/** @param {string} link @returns {string} */
function withoutEnd(link) {
  const end = link.replace(/[\s,;<>"“”«»|]+$/, "");
  const isUnopened = PAIRS.some(([open, close]) => end.endsWith(close) && end.split(close).length > end.split(open).length);
  return isUnopened ? withoutEnd(end.slice(0, -1)) : end;
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

const MAX_SEGMENTS = 500;

/** Return the segments of lines such as `1:05 - 1:25 name`; raise ApiError for a line of another form, or for more
 * lines than the API takes.
 * @param {string} text */
export function segmentsOf(text) {
  const lines = text.split("\n").filter((line) => line.trim());
  if (lines.length > MAX_SEGMENTS) throw refusal("segments", "segments_too_many");
  return lines.map((line, index) => {
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
    ...(form.part_seconds?.trim() ? { part_seconds: partSecondsOf(form.part_seconds) } : {}),
    ...(form.aspect !== "16:9" ? { aspect: form.aspect } : {}),
    ...(form.fit !== "crop" ? { fit: form.fit } : {}),
    ...(form.quality !== "balanced" ? { quality: form.quality } : {}),
    ...(form.brand_id ? { brand_id: form.brand_id } : {}),
    ...(form.cut !== "exact" ? { cut: form.cut } : {}),
    ...(form.segments?.trim() ? { segments: segmentsOf(form.segments) } : timeRangeOf(form)),
  };
  return Object.keys(edit).length ? edit : undefined;
}

/** Return the length of parts; raise ApiError if it is no number, or not one that the API takes.
 * @param {string} text */
function partSecondsOf(text) {
  const seconds = Number(text.trim().replace(",", "."));
  if (!(seconds >= 2 && seconds <= 60)) throw refusal("part_seconds", "part_seconds_invalid");
  return seconds;
}

/** @param {Record<string, any>} form */
function timeRangeOf({ start, end }) {
  return { ...(start ? { start_s: timeOf("start_s", start) } : {}), ...(end ? { end_s: timeOf("end_s", end) } : {}) };
}

/** Return the sentence for each link of a batch that was refused.
 * @param {ApiError} error @param {string[]} links as they were sent */
export function byLink(error, links) {
  /** @type {Record<string, string>} */
  const sentences = {};
  for (const each of error.errors) {
    const [, index] = /^items\.(\d+)\.(?!edit\b)/.exec(each.field) || [];
    if (index) sentences[links[Number(index)]] = adviceOf(each.code, each.message);
  }
  return sentences;
}

const FIELDS = ["name", "brand_id", "part_seconds", "start_s", "end_s", "segments"];

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
