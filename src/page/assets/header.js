// The top of the page: the service in numbers, the state of the connection, the views, the colours. Problems are here and one key
// away: gaps, dead letters and a stale view are never further than the first line.

import { announce, byId, el, mark, show } from "./dom.js";
import { clock, number, rate, span } from "./format.js";
import { current, go } from "./url.js";

const VIEW_NAMES = { fleet: "Fleet", gaps: "Gaps", "dead-letters": "Dead letters" };

export class Header {
  #state = { kind: "connecting", since: Date.now() };
  #readouts = new Map();

  constructor(fleet, stream) {
    this.fleet = fleet;
    byId("connection").addEventListener("click", () => stream().reconnect());
    byId("skip-link").addEventListener("click", (event) => {
      event.preventDefault();
      byId("main").focus();
    });
    for (const tab of document.querySelectorAll("[data-view]")) tab.addEventListener("click", (event) => this.#open(event, tab.dataset.view));
    document.querySelector(".brand").addEventListener("click", (event) => this.#open(event, "fleet"));
    this.#readout("rockets", "Rockets");
    this.#readout("active", "Active");
    this.#readout("exploded", "Exploded");
    this.#readout("ingested", "Taken in / s");
    this.#readout("applied", "Applied / s");
    this.#readout("gaps", "Gaps", () => openView("gaps"));
    this.#readout("pending", "Pending messages");
    this.#readout("dead", "Dead letters", () => openView("dead-letters"));
    this.#readout("view", "View");
    themes();
    setInterval(() => this.paint(), 500);
  }

  /** What the stream says of the connection. */
  connection(state) {
    const isNews = state.kind !== this.#state.kind && (state.kind === "live" || this.#state.kind === "live");
    this.#state = state;
    this.paint();
    if (isNews) announce(state.kind === "live" ? "Live" : "The connection is lost");
  }

  /** Which view is open. */
  update(state) {
    const view = state.view || "fleet";
    for (const tab of document.querySelectorAll(".tabs [data-view]")) mark(tab, "aria-current", tab.dataset.view === view ? "page" : null);
    document.title = state.rocket ? `Rocket ${state.rocket.slice(0, 8)} · Rockets` : `${VIEW_NAMES[view] ?? "Fleet"} · Rockets`;
  }

  paint() {
    const pulse = this.fleet.pulse ?? {};
    const { size } = this.fleet;
    show(byId("count-fleet"), size ? number(size) : "");
    show(byId("count-gaps"), pulse.gaps ? number(pulse.gaps) : "");
    show(byId("count-dead-letters"), pulse.dead_letters ? number(pulse.dead_letters) : "");
    const counts = pulse.by_status ?? {};
    this.#set("rockets", number(Math.max(size, this.fleet.isComplete ? 0 : pulse.rockets ?? 0)));
    this.#set("active", number(counts.active ?? null));
    this.#set("exploded", number(counts.exploded ?? null));
    this.#set("ingested", rate(pulse.ingested_per_second));
    this.#set("applied", rate(pulse.applied_per_second));
    this.#set("gaps", number(pulse.gaps), pulse.gaps ? "warn" : null);
    this.#set("pending", number(pulse.pending_messages), pulse.pending_messages ? "warn" : null);
    this.#set("dead", number(pulse.dead_letters), pulse.dead_letters ? "bad" : null);
    this.#set("view", pulse.stale ? "stale" : pulse.freshness ?? "–", pulse.stale ? "bad" : null);
    this.#partitions(pulse.partitions);
    this.#connection(pulse);
  }

  #connection(pulse) {
    const { kind, since, retryAt } = this.#state;
    const button = byId("connection");
    const state = kind === "live" && pulse.stale ? "stale" : kind === "waiting" ? "lost" : kind;
    mark(button, "data-state", state);
    mark(document.body, "data-connection", state === "live" ? "live" : state === "connecting" ? "connecting" : "stale");
    const words = {
      live: () => "live",
      connecting: () => "connecting",
      stale: () => "the server's view is stale",
      paused: () => "paused",
      locked: () => "a key is needed",
      reconnecting: () => `reconnecting, stale since ${clock(since)}`,
      lost: () => `reconnecting in ${span(retryAt - Date.now() + 499)}, stale since ${clock(since)}`,
    };
    show(byId("connection-text"), words[state]());
    mark(button, "title", state === "live" ? `Last heard ${span(Date.now() - since)} ago` : "Connect now");
  }

  // Where the server tells how its partitions do, each one is a bar whose height is its lag.
  #partitions(partitions) {
    if (!Array.isArray(partitions) || !partitions.length) return;
    if (!this.#readouts.has("partitions")) this.#readout("partitions", "Partitions held");
    const held = partitions.filter((it) => it.held ?? it.holder ?? true).length;
    this.#set("partitions", `${held} of ${partitions.length}`, held < partitions.length ? "bad" : null);
  }

  #readout(key, label, open) {
    const value = el("dd", {}, "–");
    const name = open ? el("dt", {}, el("button", { type: "button", class: "link", onclick: open }, label)) : el("dt", {}, label);
    this.#readouts.set(key, value);
    byId("readouts").append(el("div", { class: "readout", "data-key": key }, name, value));
  }

  #set(key, text, level = null) {
    const node = this.#readouts.get(key);
    show(node, text);
    mark(node, "data-level", level);
  }

  #open(event, view) {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    openView(view);
  }
}

/** Opens one of the views; what the fleet is filtered by stays. */
export function openView(view) {
  go({ ...current(), view: view === "fleet" ? "" : view, rocket: "", at: "", "dead-letter": "" });
}

function themes() {
  const chosen = document.documentElement.dataset.theme ?? "system";
  for (const choice of byId("theme").querySelectorAll("input")) {
    choice.checked = choice.value === chosen;
    choice.addEventListener("change", () => setTheme(choice.value));
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recoloured);
}

function setTheme(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem("theme", theme);
  } catch {
    // It is kept for as long as the page is open.
  }
  recoloured();
}

function recoloured() {
  document.dispatchEvent(new CustomEvent("recoloured"));
}

