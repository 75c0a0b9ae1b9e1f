// How things are written: numbers, times, ages, ids, and text of strangers with its invisible characters made visible. Everything
// here returns plain text; nothing here touches the document.

const INTEGER = new Intl.NumberFormat("en");
const TENTH = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const COMPACT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const DATE = new Intl.DateTimeFormat("en-CA", { year: "numeric", month: "2-digit", day: "2-digit" });
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

// Controls, and the marks that turn the direction of what stands beside them.
const INVISIBLE = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

/** Text of strangers: what cannot be seen is written as an escape. */
export function visible(text) {
  return String(text ?? "").replace(INVISIBLE, (it) => "\\u" + it.charCodeAt(0).toString(16).padStart(4, "0"));
}

/** An integer of any size, with its thousands apart. */
export function number(value) {
  return value === null || value === undefined ? "–" : INTEGER.format(value);
}

/** A change, with its sign. */
export function signed(value) {
  return value > 0 ? `+${number(value)}` : value < 0 ? `−${number(-value)}` : "±0";
}

/** Something that is counted, in the singular or the plural. */
export function counted(value, one, many = one + "s") {
  return `${number(value)} ${value === 1 ? one : many}`;
}

/** A rate per second. */
export function rate(value) {
  return value === null || value === undefined ? "–" : value < 10 ? TENTH.format(value) : INTEGER.format(Math.round(value));
}

/** A number on an axis. */
export function compact(value) {
  if (value >= 1e15) return value.toExponential().replace("+", "");
  return value < 10_000 ? INTEGER.format(value) : COMPACT.format(value);
}

/** The first group of an id, where there is no room for all of it. */
export function shortId(id) {
  return visible(id).slice(0, 8);
}

/** A moment in the reader's own time zone. */
export function moment(text) {
  const at = Date.parse(text);
  return Number.isNaN(at) ? visible(text) : `${DATE.format(at)} ${CLOCK.format(at)}`;
}

/** The time of day. */
export function clock(at) {
  return CLOCK.format(at);
}

/** How long something is: the largest unit alone. */
export function span(milliseconds) {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

/** How long ago, within a day; the date before that. */
export function ago(text, now) {
  const at = Date.parse(text);
  if (Number.isNaN(at)) return visible(text);
  const age = now - at;
  return age < 86_400_000 && age > -60_000 ? `${span(age)} ago` : DATE.format(at);
}

/** What kind of message it is, without the word that all of them begin with. */
export function kind(type) {
  const words = visible(type ?? "unknown").replace(/^Rocket(?=[A-Z])/, "").replace(/([a-z])([A-Z])/g, "$1 $2");
  return words.charAt(0).toUpperCase() + words.slice(1).toLowerCase();
}
