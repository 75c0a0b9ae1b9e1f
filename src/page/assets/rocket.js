// One rocket: what it is now or was after a number, how it came to be, and travel in time. There is one time, and it is in the
// address: without a number the view follows the rocket, with one it stands still and says how much is new since.

import { get, path, rocketPath } from "./api.js";
import { buildBadge, fillBadge, fillForeign } from "./cells.js";
import { Chart } from "./chart.js";
import { badge, byId, debounced, el, isTyping, mark, setBadge, show } from "./dom.js";
import { compare, minus } from "./exact.js";
import { ago, compact, counted, kind, moment, number, signed, visible } from "./format.js";
import { effectOf, History } from "./history.js";
import { askToSkip } from "./problems.js";
import { VirtualTable } from "./table.js";
import { current, go, link } from "./url.js";

const FOLLOW_MS = 1_000;
const WORDS = { number, signed };

const COLUMNS = [
  { key: "number", label: "#", fill: (cell, { row }) => show(cell, number(row.message_number)) },
  { key: "kind", label: "Message", fill: (cell, { row }) => show(cell, kind(row.message_type)) },
  { key: "effect", label: "Effect", fill: (cell, item) => fillForeign(cell, effectOf(item.row, item.before, WORDS)) },
  { key: "outcome", label: "Outcome", build: buildBadge, fill: (node, { row }) => fillBadge(node, outcomeOf(row)) },
  { key: "event", label: "Event", fill: (cell, { row }) => show(cell, number(row.event_id)) },
  { key: "time", label: "Sent", fill: (cell, { row }) => { show(cell, moment(row.message_time)); mark(cell, "title", visible(row.message_time)); } },
];

export class RocketView {
  #id = "";
  #then;
  #problem = "";
  #followedAt = 0;
  #isLoading = false;

  constructor(fleet) {
    this.fleet = fleet;
    this.node = byId("rocket");
    this.#build();
    setInterval(() => this.#id && this.#follow(), 250);
    document.addEventListener("keydown", (event) => this.#pressed(event));
    this.askThen = debounced(120, () => this.#askThen());
  }

  /** Shows what the address says. */
  update(state, before) {
    this.node.hidden = !state.rocket;
    mark(document.body, "data-rocket", state.rocket ? "open" : null);
    if (state.rocket !== this.#id) this.#open(state.rocket, before !== undefined);
    if (!this.#id) return;
    this.#then = state.at ? this.history.row(state.at)?.rocket ?? undefined : undefined;
    this.#problem = "";
    if (state.at) this.askThen();
    this.paint();
  }

  /** Takes the colours of another theme. */
  recolour() {
    this.chart.recolour();
    if (this.#id) this.#draw();
  }

  #build() {
    const button = (label, text, onclick, className = "square") => el("button", { type: "button", class: className, "aria-label": label, title: label, onclick }, text);
    this.title = el("h2", { tabindex: "-1" });
    this.id = el("code", { class: "full-id" });
    this.status = badge("active");
    this.copied = el("button", { type: "button", class: "quiet", onclick: () => this.#copy() }, "Copy id");
    this.back = el("a", { class: "button", href: "#", onclick: (event) => { event.preventDefault(); close(); } }, "Close");
    this.banner = el("p", { class: "banner", hidden: true, role: "status" });
    this.facts = el("dl", { class: "facts" });
    this.gap = el("p", { class: "banner gap", hidden: true });
    this.gapText = el("span");
    this.gap.append(this.gapText, el("button", { type: "button", onclick: () => askToSkip({ channel: this.#id, waiting_for: this.#nextNumber() }, () => this.#reload()) }, "Skip…"));
    this.canvas = el("canvas", { class: "chart", role: "img", "aria-details": "history" });
    this.canvas.addEventListener("click", (event) => this.#pick(event));
    this.chart = new Chart(this.canvas, { formatX: compact, formatY: compact });
    this.slider = el("input", { type: "range", step: "1", "aria-label": "After message number", oninput: () => this.#travel(this.slider.value) });
    this.field = el("input", { type: "text", inputmode: "numeric", class: "number-field", "aria-label": "After message number, typed", onchange: () => this.#travel(this.field.value.trim()) });
    const travel = el("div", { class: "travel", role: "group", "aria-label": "Time travel" },
      button("One number back", "‹", () => this.#step(-1)), this.slider, button("One number on", "›", () => this.#step(1)), this.field,
      (this.live = el("button", { type: "button", class: "primary", onclick: () => go({ at: "" }) }, "Live")));
    const chartTitle = el("h3", {}, "Speed after each message");
    this.more = el("button", { type: "button", class: "quiet", onclick: () => this.#older() }, "Load earlier messages");
    this.loaded = el("p", { class: "muted" });
    this.table = new VirtualTable({
      label: "History, newest first", columns: COLUMNS, className: "history-table",
      handlers: { idOf: ({ row }) => String(row.message_number), onOpen: ({ row }) => go({ at: String(row.message_number) }) },
    });
    this.table.node.id = "history";
    const keys = el("ul", { class: "legend" }, ["failed", "skipped", "corrected", "exploded"].map((it) => el("li", {}, badge(it))));
    this.node.append(
      el("header", { class: "panel-head" }, el("div", {}, this.title, el("p", { class: "under" }, this.status, this.id, this.copied)), this.back),
      this.banner, this.facts, this.gap,
      el("figure", { class: "picture" }, el("figcaption", {}, chartTitle, keys), this.canvas), travel,
      el("div", { class: "panel-head" }, el("h3", {}, "Messages"), this.loaded, this.more), this.table.node,
    );
  }

  #open(id, isAsked) {
    this.#id = id;
    this.#then = undefined;
    this.table.setItems([]);
    if (!id) return;
    this.history = new History(id);
    this.#reload();
    if (isAsked) this.title.focus();
  }

  async #reload() {
    await this.#load(() => this.history.load());
    this.#then = undefined;
    if (current().at) this.#askThen();
  }

  async #load(act) {
    if (this.#isLoading === this.#id) return;
    const id = (this.#isLoading = this.#id);
    try {
      await act();
      this.loadProblem = "";
    } catch (problem) {
      this.loadProblem = problem.status === 404 ? "" : `The history cannot be read now: ${problem.message}.`;
    }
    if (this.#isLoading === id) this.#isLoading = false;
    this.#followedAt = Date.now();
    if (id === this.#id) this.#arrange();
    else if (this.#id) this.#reload();
  }

  // Follows the rocket: new numbers are loaded at most once a second, and not while the view stands at a number.
  #follow() {
    const entry = this.fleet.get(this.#id);
    this.paint();
    if (!entry || current().at || document.hidden || Date.now() - this.#followedAt < FOLLOW_MS) return;
    const newest = this.history.rows.at(-1)?.message_number;
    if (newest === undefined || compare(entry.rocket.lastMessageNumber, newest) > 0) {
      this.#changed = entry.rocket;
      this.#load(() => this.history.loadNewer());
    } else if (this.#isCorrected(entry.rocket)) {
      this.#changed = entry.rocket;
      this.#load(() => this.history.load());
    }
  }

  #changed;

  // A rocket that has changed and has no new number was corrected.
  #isCorrected(rocket) {
    const row = this.history.rows.at(-1)?.rocket;
    const isOther = row && (row.currentSpeed !== rocket.currentSpeed || row.mission !== rocket.mission || row.status !== rocket.status);
    return isOther && this.#changed !== rocket;
  }

  #arrange() {
    const { rows } = this.history;
    const items = rows.map((row, at) => ({ row, before: rows[at - 1] })).reverse();
    this.table.setItems(items);
    this.table.setEmpty(this.loadProblem || (rows.length ? "" : "No messages are known."));
    this.more.hidden = !this.history.hasMore;
    const begins = this.history.trimmedThrough ? `, trimmed through ${number(this.history.trimmedThrough)}` : "";
    show(this.loaded, `${counted(rows.length, "message")} loaded${begins}`);
    this.#draw();
    this.paint();
  }

  #draw() {
    const rows = this.history.rows.filter((row) => row.rocket);
    const series = { xs: rows.map((row) => Number(row.message_number)), ys: rows.map((row) => Number(row.rocket.currentSpeed)), colour: this.chart.colours.accent };
    const marks = rows.filter(isMarked).map((row) => ({ x: Number(row.message_number), y: Number(row.rocket.currentSpeed), kind: markOf(row) }));
    const first = series.xs[0] ?? 0;
    const last = Math.max(series.xs.at(-1) ?? 1, first + 1);
    this.scene = { series: [series], marks, shades: runs(rows), x: [first, last], end: last };
    this.chart.show({ ...this.scene, cursor: current().at ? Number(current().at) : undefined });
  }

  /** Brings everything but the history up to date. */
  paint() {
    const { at } = current();
    const entry = this.fleet.get(this.#id);
    const rocket = at ? this.#then : entry?.rocket;
    mark(this.node, "data-time", at ? "then" : "now");
    this.back.href = link({ ...current(), rocket: "", at: "" });
    show(this.id, visible(this.#id));
    show(this.title, rocket ? `${visible(rocket.type)} · ${visible(rocket.mission)}` : "Rocket");
    this.status.hidden = !rocket;
    if (rocket) setBadge(this.status, rocket.status);
    this.#paintBanner(at, entry);
    this.#paintFacts(rocket);
    this.#paintGap(at ? undefined : entry?.rocket);
    this.#paintTravel(at, entry);
    if (this.scene) this.chart.show({ ...this.scene, cursor: at ? Number(at) : undefined });
    this.table.setSelected(at);
  }

  #paintBanner(at, entry) {
    const fresh = at && entry ? minus(entry.rocket.lastMessageNumber, this.history.rows.at(-1)?.message_number ?? entry.rocket.lastMessageNumber) : 0;
    const then = this.#problem || `As it was after message ${visible(at)}${fresh > 0 ? ` · ${number(fresh)} new since` : ""}`;
    const isUnknown = this.fleet.isComplete && !entry && !at;
    this.banner.hidden = !at && !isUnknown;
    show(this.banner, at ? then : "No rocket with this id has been launched. If messages of it wait for number 1, it is among the gaps.");
  }

  #paintFacts(rocket) {
    const facts = rocket && [
      ["Speed", number(rocket.currentSpeed)], ["Last message", number(rocket.lastMessageNumber)],
      ["Updated", ago(rocket.lastUpdated, Date.now()), moment(rocket.lastUpdated)], ["Launched", ago(rocket.launchTime, Date.now()), moment(rocket.launchTime)],
      ...(rocket.explosionReason ? [["Exploded because", visible(rocket.explosionReason)]] : []),
    ];
    if (!facts) return this.facts.replaceChildren();
    if (this.facts.children.length !== facts.length) this.facts.replaceChildren(...facts.map(([label]) => el("div", {}, el("dt", {}, label), el("dd"))));
    facts.forEach(([label, value, title], at) => {
      const [name, told] = this.facts.children[at].children;
      show(name, label);
      show(told, value);
      mark(told, "title", title ?? null);
    });
    return undefined;
  }

  #paintGap(rocket) {
    this.gap.hidden = !rocket?.pendingMessages;
    if (rocket?.pendingMessages) show(this.gapText, `Waits for number ${number(this.#nextNumber())}: ${counted(rocket.pendingMessages, "later message")} cannot be applied before it.`);
  }

  #paintTravel(at, entry) {
    const first = this.history.rows[0]?.message_number ?? 1;
    const last = at ? this.history.rows.at(-1)?.message_number ?? at : entry?.rocket.lastMessageNumber ?? 1;
    mark(this.slider, "min", String(first));
    mark(this.slider, "max", String(last));
    const value = String(at || last);
    if (this.slider.value !== value) this.slider.value = value;
    mark(this.slider, "aria-valuetext", `message ${value}`);
    if (document.activeElement !== this.field) this.field.value = value;
    this.live.hidden = !at;
    mark(this.canvas, "aria-label", `Speed after each message from ${first} to ${last}; the table of messages has the same numbers`);
  }

  async #askThen() {
    const [id, { at }] = [this.#id, current()];
    if (!id || !at) return;
    try {
      const { data } = await get(path(rocketPath(id, "/history"), { at }));
      if (id === this.#id && at === current().at) [this.#then, this.#problem] = [data, ""];
    } catch (problem) {
      if (at !== current().at) return;
      this.#problem = problem.status === 404 ? `Not launched after message ${visible(at)}` : problem.message;
      this.#then = undefined;
    }
    this.paint();
  }

  #nextNumber() {
    const last = this.fleet.get(this.#id)?.rocket.lastMessageNumber ?? 0;
    const next = BigInt(last) + 1n;
    return Number.isSafeInteger(Number(next)) ? Number(next) : next;
  }

  #travel(to) {
    if (/^[1-9]\d*$/.test(to)) go({ at: to });
    else this.field.value = current().at;
  }

  #step(by) {
    const { at } = current();
    const last = this.history.rows.at(-1)?.message_number ?? 1;
    const next = BigInt(at || last) + BigInt(by);
    if (next < 1n) return;
    if (next > BigInt(last)) go({ at: "" });
    else go({ at: String(next) });
  }

  #pick(event) {
    const x = this.chart.xAt(event.offsetX);
    const row = this.history.rows.findLast((it) => Number(it.message_number) <= x + 0.5);
    if (row) go({ at: String(row.message_number) });
  }

  #pressed(event) {
    const isFree = this.#id && !isTyping(event.target) && !event.target.matches?.("input") && !event.altKey && !event.ctrlKey && !event.metaKey;
    if (!isFree || document.querySelector("dialog[open]")) return;
    if (event.key === "ArrowLeft") this.#step(-1);
    else if (event.key === "ArrowRight") this.#step(1);
    else if (event.key === "l") go({ at: "" });
    else return;
    event.preventDefault();
  }

  async #older() {
    await this.#load(() => this.history.loadOlder());
  }

  async #copy() {
    try {
      await navigator.clipboard.writeText(this.#id);
      show(this.copied, "Copied");
    } catch {
      getSelection().selectAllChildren(this.id);
      show(this.copied, "Selected");
    }
    setTimeout(() => show(this.copied, "Copy id"), 2_000);
  }
}

/** Goes back from a rocket to where it was opened. */
export function close() {
  const { rocket } = current();
  go({ rocket: "", at: "" });
  document.querySelector(`tr[data-id="${CSS.escape(rocket)}"]`)?.focus({ preventScroll: true });
}

function isMarked(row) {
  return row.status !== "processed" || row.corrects || row.message_type === "RocketExploded";
}

function markOf(row) {
  return row.status === "processed" && !row.corrects ? "exploded" : outcomeOf(row);
}

// A correction that was refused has failed.
function outcomeOf(row) {
  return row.status === "processed" && row.corrects ? "corrected" : row.status;
}

// The runs of numbers that were skipped.
function runs(rows) {
  const found = [];
  for (const row of rows) {
    if (row.status !== "skipped") continue;
    const at = Number(row.message_number);
    if (found.at(-1)?.[1] === at - 1) found.at(-1)[1] = at;
    else found.push([at - 1, at]);
  }
  return found;
}
