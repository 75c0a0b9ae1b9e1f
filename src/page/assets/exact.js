// JSON with exact integers. A speed or a number may have 63 bits, which a double cannot hold: such integers become BigInt when
// they are read, and are written as the digits that they are.

const LONG_DIGITS = /[0-9]{16}/;

/** Reads JSON; integers that a double would round are BigInt. Most texts have none and take the fast way. */
export function parse(text) {
  return LONG_DIGITS.test(text) ? JSON.parse(text, exact) : JSON.parse(text);
}

function exact(_key, value, context) {
  const isRounded = typeof value === "number" && !Number.isSafeInteger(value) && /^-?\d+$/.test(context?.source ?? "");
  return isRounded ? BigInt(context.source) : value;
}

/** Writes JSON, with BigInt as digits. */
export function stringify(value, indent = "", inner = "") {
  const [line, deeper] = indent ? ["\n", inner + indent] : ["", ""];
  const list = (open, items, close) =>
    items.length ? open + line + items.map((item) => deeper + item).join("," + line) + line + inner + close : open + close;
  if (typeof value === "bigint") return value.toString();
  if (Array.isArray(value)) return list("[", value.map((item) => stringify(item ?? null, indent, deeper)), "]");
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const fields = Object.entries(value).filter(([, field]) => field !== undefined);
  const colon = indent ? ": " : ":";
  return list("{", fields.map(([key, field]) => JSON.stringify(key) + colon + stringify(field, indent, deeper)), "}");
}

/** Compares two numbers, either of which may be a BigInt. */
export function compare(a, b) {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** A minus b, exact where one of them is a BigInt. */
export function minus(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  const difference = BigInt(a) - BigInt(b);
  return Number.isSafeInteger(Number(difference)) ? Number(difference) : difference;
}
