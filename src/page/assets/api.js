// The service's public routes, as the page asks them. Paths are relative, so that the page also works behind a proxy that puts it
// below a prefix. An answer is its envelope; an error carries the status and the words that the service has for it.

import { parse, stringify } from "./exact.js";

const PATIENCE_MS = 20_000;

/** Why a request did not do what it was to do. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

let key = "";
let askForKey = async () => false;

/** Sends this key from now on. It is kept here and nowhere else. */
export function useKey(given) {
  key = given;
}

/** The key that is sent; empty where there is none. */
export function usedKey() {
  return key;
}

/** Who asks for a key where one is needed: a function that promises whether there is another one then. */
export function onKeyNeeded(ask) {
  askForKey = ask;
}

/** Whether it is worth to try again what was refused to whoever sent this key. */
export async function hasOtherKey(sent) {
  return sent !== key || askForKey();
}

/** Headers of every request. */
export function headers(more = {}) {
  const authorization = key ? { Authorization: `Bearer ${key}` } : {};
  return { Accept: "application/json", ...authorization, ...more };
}

/** Asks, and gives the whole envelope. */
export async function get(path, signal) {
  return ask(path, () => ({ headers: headers(), signal: deadline(signal) }));
}

/** Does something. A text is sent as it is, anything else as JSON. */
export async function send(method, path, body) {
  const text = body === undefined || typeof body === "string" ? body : stringify(body);
  const more = text === undefined ? {} : { "Content-Type": "application/json" };
  return ask(path, () => ({ method, body: text, headers: headers(more), signal: deadline() }));
}

/** A path with its query; what is empty is left out. */
export function path(base, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const text = new URLSearchParams(given).toString();
  return text ? `${base}?${text}` : base;
}

/** The path of something of one rocket. */
export function rocketPath(id, rest = "") {
  return `rockets/${encodeURIComponent(id)}${rest}`;
}

/** Follows an event until it is known what became of it, and says each time what is known. */
export async function follow(eventId, onKnown) {
  for (let turn = 0; turn < 6; turn += 1) {
    const { data } = await get(path(`events/${eventId}`, { wait: "5s" }));
    onKnown(data);
    const isFinal = !["pending", "processing"].includes(data.status);
    if (isFinal || data.waiting_for) return data;
  }
  return undefined;
}

function deadline(signal) {
  const late = AbortSignal.timeout(PATIENCE_MS);
  return signal ? AbortSignal.any([signal, late]) : late;
}

async function ask(where, options) {
  const sent = key;
  let response;
  try {
    response = await fetch(where, { ...options(), cache: "no-store", credentials: "same-origin" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "the service does not answer");
  }
  if (response.status === 401 && (await hasOtherKey(sent))) return ask(where, options);
  const envelope = read(await response.text());
  if (!response.ok) throw new ApiError(response.status, envelope?.error ?? `the service answered ${response.status}`);
  if (!envelope) throw new ApiError(response.status, "the answer is no JSON");
  return envelope;
}

function read(text) {
  try {
    return parse(text);
  } catch {
    return undefined;
  }
}
