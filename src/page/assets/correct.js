// Correcting a dead letter: its message as a form, checked as the ingress checks, with what differs shown before it is sent. Fields
// that the form does not know stay as they are. Bytes that are no message at all begin as an empty form.

import { send } from "./api.js";
import { ask } from "./dialog.js";
import { el } from "./dom.js";
import { parse, stringify } from "./exact.js";
import { kind, number, visible } from "./format.js";
import { PAYLOADS, differences, integerOf, isObject, problemOf } from "./message.js";

/** Opens the form. */
export function askToCorrect(it, onDone) {
  const form = new Correction(it);
  const where = `dead-letters/${it.id}/replay`;
  const body = () => form.body();
  return ask({
    title: `Correct dead letter ${number(it.id)}`,
    about: el("p", {}, visible(it.error_message)),
    form: { node: form.node, read: () => form.read() },
    dryRun: () => send("POST", `${where}?dry_run=true`, body()),
    act: () => send("POST", where, body()),
    confirm: "Replay as corrected", onDone,
  });
}

class Correction {
  constructor(it) {
    this.before = read(it);
    const metadata = isObject(this.before?.metadata) ? this.before.metadata : {};
    this.channel = field(metadata.channel ?? it.channel);
    this.number = field(metadata.messageNumber ?? it.message_number);
    this.time = field(metadata.messageTime ?? new Date().toISOString());
    const known = Object.hasOwn(PAYLOADS, metadata.messageType ?? "") ? metadata.messageType : "RocketSpeedIncreased";
    this.type = el("select", {}, Object.keys(PAYLOADS).map((name) => el("option", { value: name }, kind(name))));
    this.type.value = known;
    this.type.addEventListener("input", () => this.#payload());
    this.payload = el("div", { class: "fields" });
    this.difference = el("div", { class: "difference" });
    this.node = el("div", {}, el("div", { class: "fields two" },
      label("Channel", this.channel), label("Message number", this.number), label("Message time", this.time), label("Message type", this.type)),
      this.payload, this.difference);
    this.#payload();
  }

  /** The message as entered, after its difference is shown; an Error where the ingress would refuse it. */
  read() {
    const after = this.#message();
    this.#showDifference(after);
    const problem = problemOf(after);
    if (problem) throw new Error(problem);
    return after;
  }

  body() {
    return stringify(this.#message());
  }

  #payload() {
    const was = isObject(this.before?.message) ? this.before.message : {};
    this.inputs = new Map(Object.keys(PAYLOADS[this.type.value]).map((name) => [name, field(was[name])]));
    this.payload.replaceChildren(...[...this.inputs].map(([name, input]) => label(`message.${name}`, input)));
  }

  #message() {
    const before = isObject(this.before) ? this.before : {};
    const kinds = PAYLOADS[this.type.value];
    const others = Object.entries(isObject(before.message) ? before.message : {}).filter(([name]) => !isOfAType(name));
    const payload = [...this.inputs].map(([name, input]) => [name, kinds[name] === "text" ? input.value : integerOf(input.value.trim())]);
    return {
      ...before,
      metadata: {
        ...(isObject(before.metadata) ? before.metadata : {}),
        channel: this.channel.value.trim(), messageNumber: integerOf(this.number.value.trim()),
        messageTime: this.time.value.trim(), messageType: this.type.value,
      },
      message: Object.fromEntries([...others, ...payload]),
    };
  }

  #showDifference(after) {
    const rows = differences(this.before, after);
    const text = (value) => (value === undefined ? "(nothing)" : visible(isObject(value) || Array.isArray(value) ? stringify(value) : String(value)));
    const items = rows.map(({ path, before, after: now }) => el("li", {}, el("code", {}, visible(path)), " ", el("del", {}, text(before)), " → ", el("ins", {}, text(now))));
    this.difference.replaceChildren(el("h3", {}, "What differs"), rows.length ? el("ul", {}, items) : el("p", { class: "muted" }, "Nothing: this is the message as it was stored."));
  }
}

function read({ payload, encoding }) {
  if (encoding) return undefined;
  try {
    return parse(payload);
  } catch {
    return undefined;
  }
}

function isOfAType(name) {
  return Object.values(PAYLOADS).some((fields) => Object.hasOwn(fields, name));
}

function field(value) {
  return el("input", { type: "text", autocomplete: "off", spellcheck: "false", value: value === undefined || value === null ? "" : String(value) });
}

function label(text, input) {
  return el("label", {}, text, input);
}
