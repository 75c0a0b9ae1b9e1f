// The state of the page, in the address: which view, which rocket, after which number, sorted and filtered how. Every view is a link
// that survives a reload. What opens something adds to the history of the browser; what refines it replaces the last entry.

const FIELDS = ["view", "rocket", "at", "sort", "status", "type", "mission", "q", "reason", "channel", "dead-letter"];
const OPENS = ["view", "rocket", "dead-letter"];

const listeners = new Set();
let state = read();

/** What the address says now; what it does not say is an empty text. */
export function current() {
  return state;
}

/** Changes some of it; an empty text takes a field away. */
export function go(change) {
  const next = { ...state, ...change };
  if (FIELDS.every((field) => next[field] === state[field])) return;
  const isPush = OPENS.some((field) => next[field] !== state[field]);
  const hash = write(next);
  history[isPush ? "pushState" : "replaceState"](null, "", hash || location.pathname + location.search);
  update();
}

/** Calls a function whenever the address changes, with the state now and before. */
export function onChange(listener) {
  listeners.add(listener);
}

/** The address of a state, for links. */
export function link(fields) {
  return write({ ...empty(), ...fields }) || "#";
}

window.addEventListener("popstate", update);
window.addEventListener("hashchange", update);

function update() {
  const before = state;
  state = read();
  if (FIELDS.some((field) => state[field] !== before[field])) for (const listener of listeners) listener(state, before);
}

function empty() {
  return Object.fromEntries(FIELDS.map((field) => [field, ""]));
}

function read() {
  const given = new URLSearchParams(location.hash.slice(1));
  return Object.fromEntries(FIELDS.map((field) => [field, given.get(field) ?? ""]));
}

function write(fields) {
  const given = FIELDS.filter((field) => fields[field]).map((field) => [field, fields[field]]);
  return given.length ? `#${new URLSearchParams(given)}` : "";
}
