// The one event stream of a tab: GET rockets/live, read with fetch. It reconnects by itself, with a growing and random pause, and
// goes on from the last id that it saw. The server sends a pulse every five seconds; when none comes the values are called stale and
// the connection is made again. A tab that nobody sees for a minute lets go of its connection.

import { hasOtherKey, headers, usedKey } from "./api.js";
import { parse } from "./exact.js";

const PATH = "rockets/live";
const SILENCE_MAX_MS = 12_000;
const HIDDEN_MAX_MS = 60_000;
const PAUSE_MIN_MS = 1_000;
const PAUSE_MAX_MS = 30_000;

export class LiveStream {
  #onEvent;
  #onState;
  #lastId = "";
  #failures = 0;
  #abort;
  #timer;
  #hidden;
  #heardAt = Date.now();
  #isOpen = false;

  constructor(onEvent, onState) {
    this.#onEvent = onEvent;
    this.#onState = onState;
  }

  start() {
    document.addEventListener("visibilitychange", () => this.#seen(!document.hidden));
    window.addEventListener("pagehide", () => this.#stop());
    window.addEventListener("pageshow", (event) => event.persisted && this.reconnect());
    window.addEventListener("online", () => this.reconnect());
    setInterval(() => this.#listen(), 1_000);
    this.#connect();
  }

  /** Connects now, unless it is connected. */
  reconnect() {
    if (this.#isOpen) return;
    this.#stop();
    this.#connect();
  }

  #seen(isSeen) {
    clearTimeout(this.#hidden);
    if (isSeen) this.reconnect();
    else this.#hidden = setTimeout(() => this.#stop("paused"), HIDDEN_MAX_MS);
  }

  #stop(state) {
    clearTimeout(this.#timer);
    this.#abort?.abort();
    this.#abort = undefined;
    this.#isOpen = false;
    if (state) this.#onState({ kind: state, since: this.#heardAt });
  }

  /** Notices silence: a broken line that nobody has closed. */
  #listen() {
    if (this.#isOpen && Date.now() - this.#heardAt > SILENCE_MAX_MS) this.#retry();
  }

  async #connect() {
    const abort = new AbortController();
    this.#abort = abort;
    this.#onState({ kind: this.#failures ? "reconnecting" : "connecting", since: this.#heardAt });
    try {
      await this.#read(abort.signal);
    } catch {
      // Whatever it was, the next try tells whether it still is.
    }
    if (this.#abort === abort) this.#retry();
  }

  #retry() {
    this.#stop();
    const most = Math.min(PAUSE_MAX_MS, PAUSE_MIN_MS * 2 ** this.#failures);
    const pause = PAUSE_MIN_MS / 2 + Math.random() * (most - PAUSE_MIN_MS / 2);
    this.#failures += 1;
    this.#timer = setTimeout(() => this.#connect(), pause);
    this.#onState({ kind: "waiting", since: this.#heardAt, retryAt: Date.now() + pause });
  }

  async #read(signal) {
    const sent = usedKey();
    const where = this.#lastId ? `${PATH}?since=${encodeURIComponent(this.#lastId)}` : PATH;
    const response = await fetch(where, { headers: headers({ Accept: "text/event-stream" }), cache: "no-store", signal });
    if (response.status === 401) return (await hasOtherKey(sent)) ? this.#read(signal) : this.#stop("locked");
    if (!response.ok) throw new Error(`the stream answered ${response.status}`);
    this.#isOpen = true;
    this.#heardAt = Date.now();
    const events = new EventParser((event) => this.#take(event));
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done || signal.aborted) return;
      this.#heardAt = Date.now();
      events.push(value);
    }
  }

  #take({ type, id, data }) {
    if (type === "reset") this.#lastId = "";
    else if (id) this.#lastId = id;
    if (this.#failures || type === "synced" || type === "pulse") {
      this.#failures = 0;
      this.#onState({ kind: "live", since: this.#heardAt });
    }
    this.#onEvent(type, data ? parse(data) : undefined);
  }
}

/** Parts a text that comes in pieces into events, as the standard of Server-Sent Events has it. */
export class EventParser {
  #rest = "";
  #event = {};
  #onEvent;

  constructor(onEvent) {
    this.#onEvent = onEvent;
  }

  push(text) {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop();
    for (const line of lines) this.#line(line.endsWith("\r") ? line.slice(0, -1) : line);
  }

  #line(line) {
    if (line === "") return this.#end();
    const colon = line.indexOf(":");
    if (colon === 0) return undefined;
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (name === "data") this.#event.data = this.#event.data === undefined ? value : `${this.#event.data}\n${value}`;
    else if (name === "event") this.#event.type = value;
    else if (name === "id") this.#event.id = value;
    return undefined;
  }

  #end() {
    const event = this.#event;
    this.#event = {};
    if (event.type || event.data !== undefined) this.#onEvent(event);
  }
}
