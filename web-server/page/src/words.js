// @ts-check
// The page's texts in two languages: the one that the reader has chosen, else the browser's.
import { effect, signal } from "@preact/signals";
import { nowMs } from "./time.js";
import en from "./words/en.json";
import es from "./words/es.json";

/** @type {Record<string, Record<string, string>>} */
const WORDS = { en, es };
export const LANGUAGES = [["en", "English"], ["es", "Español"]];

function initial() {
  const stored = read("language");
  const wanted = [stored, ...navigator.languages].map((tag) => (tag || "").slice(0, 2));
  return wanted.find((tag) => tag in WORDS) || "en";
}

/** @param {string} key */
function read(key) {
  try {
    return localStorage.getItem(key) || "";
  } catch {
    return "";
  }
}

export const language = signal(initial());
effect(() => {
  document.documentElement.lang = language.value;
});
// Sent by the browser to its other tabs.
addEventListener("storage", ({ key, newValue }) => {
  if (key === "language" && LANGUAGES.some(([tag]) => tag === newValue)) language.value = String(newValue);
});

/** Show the page in this language, now and from the next visit on. @param {string} tag */
export function setLanguage(tag) {
  language.value = tag;
  try {
    localStorage.setItem("language", tag);
  } catch {
    // Without storage the next visit begins in the browser's language.
  }
}

/**
 * Return the sentence, `{name}` replaced by values. Where `n` is 1, that of `key.one` if there is one.
 * @param {string} key @param {Record<string, string | number>} [values]
 */
export function t(key, values = {}) {
  const words = WORDS[language.value];
  const text = (values.n === 1 && words[`${key}.one`]) || (words[key] ?? WORDS.en[key] ?? key);
  return text.replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ""));
}

/** Return the sentence for an error code of the API; `detail` for a code that this page does not know.
 * @param {string} code @param {string} [detail] */
export function sentenceOf(code, detail = "") {
  const key = `code.${code}`;
  return key in WORDS.en ? t(key) : detail || code;
}

/** Return the sentence for an error code, and what the reader can do about it.
 * @param {string} code @param {string} [detail] */
export function adviceOf(code, detail = "") {
  const key = `do.${code}`;
  return key in WORDS.en ? `${sentenceOf(code, detail)} ${t(key)}` : sentenceOf(code, detail);
}

/** @param {number} value @param {number} digits after the decimal sign, at most */
export function number(value, digits) {
  return new Intl.NumberFormat(language.value, { maximumFractionDigits: digits }).format(value);
}

/** @param {number} value 0 to 100 */
export const percent = (value) => new Intl.NumberFormat(language.value, { style: "percent" }).format(value / 100);

/** Return the sign before the decimals of a number. */
export const decimalSign = () => number(0.5, 1).charAt(1);

/** @param {number} bytes */
export function sizeOf(bytes) {
  const units = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"];
  const power = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(bytes, 1)) / 3));
  return new Intl.NumberFormat(language.value, {
    style: "unit",
    unit: units[power],
    unitDisplay: power ? "short" : "long",
    maximumFractionDigits: power ? 1 : 0,
  }).format(bytes / 1000 ** power);
}

/** @param {number} seconds */
export function clock(seconds) {
  const whole = Math.round(seconds * 10) / 10;
  const minutes = Math.floor(whole / 60);
  const digits = whole % 1 ? 1 : 0;
  const rest = new Intl.NumberFormat(language.value, {
    minimumIntegerDigits: 2, minimumFractionDigits: digits, maximumFractionDigits: digits,
  }).format(whole % 60);
  const hours = Math.floor(minutes / 60);
  return hours ? `${hours}:${String(minutes % 60).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

/** Changes every minute, so that components which call ago() are rendered again. */
const minute = signal(0);
setInterval(() => (minute.value += 1), 60_000);

/** @param {string} time */
export function ago(time) {
  minute.value;
  const seconds = (Date.parse(time) - nowMs()) / 1000;
  /** @type {[Intl.RelativeTimeFormatUnit, number, number][]} unit, its seconds, and how many are a larger one */
  const units = [["minute", 60, 60], ["hour", 3600, 24], ["day", 86400, Infinity]];
  const format = new Intl.RelativeTimeFormat(language.value, { numeric: "auto" });
  for (const [unit, length, most] of Math.abs(seconds) < 60 ? [] : units) {
    const count = Math.round(seconds / length);
    if (Math.abs(count) < most) return format.format(count, unit);
  }
  return t("time.now");
}

/** @param {string} time */
export function date(time) {
  return new Intl.DateTimeFormat(language.value, { dateStyle: "medium", timeStyle: "short" }).format(
    new Date(time),
  );
}

/** Return the date and the time to the second: several events may share a minute. @param {string} time */
export function moment(time) {
  return new Intl.DateTimeFormat(language.value, { dateStyle: "medium", timeStyle: "medium" }).format(
    new Date(time),
  );
}

/** @param {number} seconds */
export function lasting(seconds) {
  if (seconds < 90) return t("time.seconds", { n: Math.ceil(seconds) });
  if (seconds < 5400) return t("time.minutes", { n: Math.ceil(seconds / 60) });
  return t("time.hours", { n: number(seconds / 3600, 1) });
}
