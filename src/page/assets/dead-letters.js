// Dead letters: what could not be applied, newest first, with its bytes, and what can be done about each one: replay it as it is,
// correct it, drop it, or replay all of a filter. Everything that changes something asks first.

import { get, path, send } from "./api.js";
import { buildBadge, buildId, fillBadge, fillForeign, fillId, fillTime } from "./cells.js";
import { askToCorrect } from "./correct.js";
import { ask } from "./dialog.js";
import { badge, debounced, el, mark, show } from "./dom.js";
import { parse, stringify } from "./exact.js";
import { counted, kind, moment, number, visible } from "./format.js";
import { replayMany } from "./replay-many.js";
import { VirtualTable } from "./table.js";
import { current, go, link } from "./url.js";

const PAGE = 200;
const REASONS = ["refused", "conflict", "skipped", "malformed"];

const COLUMNS = [
  { key: "reason", label: "Reason", build: buildBadge, fill: (node, it) => fillBadge(node, it.reason, visible(it.reason)) },
  { key: "id", label: "Rocket", build: buildId, fill: (anchor, { channel }) => fillId(anchor, channel) },
  { key: "number", label: "Number", fill: (cell, it) => show(cell, number(it.message_number)) },
  { key: "kind", label: "Message", fill: (cell, it) => show(cell, it.message_type ? kind(it.message_type) : "–") },
  { key: "error", label: "Why", fill: (cell, it) => fillForeign(cell, it.error_message) },
  { key: "attempts", label: "Attempts", fill: (cell, it) => show(cell, number(it.attempts)) },
  { key: "since", label: "Dead", fill: (cell, it) => fillTime(cell, it.dead_at) },
];

export class DeadLettersView {
  #rows = [];
  #cursor;
  #seen;
  #turn = 0;
  #isLoading = false;
  #shownId = "";

  constructor(fleet, node) {
    this.fleet = fleet;
    this.count = el("p", { class: "list-count" });
    this.reason = el("select", { "aria-label": "Reason", onchange: () => go({ reason: this.reason.value }) }, el("option", { value: "" }, "All"), REASONS.map((it) => el("option", { value: it }, it)));
    this.channel = el("input", { type: "search", placeholder: "Channel id", "aria-label": "Only of this channel", autocomplete: "off", spellcheck: "false", oninput: debounced(300, () => go({ channel: this.channel.value.trim() })) });
    this.all = el("button", { type: "button", onclick: () => replayMany({ reason: current().reason, channel: current().channel }, () => this.load()) }, "Replay all of these…");
    const handlers = { idOf: (it) => it.id, onOpen: (it) => go({ "dead-letter": String(it.id) }), onNearEnd: () => this.#more() };
    this.table = new VirtualTable({ label: "Dead letters, newest first", columns: COLUMNS, handlers, className: "dead-letters-table" });
    this.detail = el("section", { class: "panel", "aria-label": "Dead letter", hidden: true });
    const toolbar = el("div", { class: "toolbar" }, el("h1", { id: "dead-letters-title" }, "Dead letters"), el("label", { class: "field" }, el("span", {}, "Reason"), this.reason), this.channel, this.all, el("div", { class: "toolbar-end" }, this.count));
    node.append(el("div", { class: "list" }, toolbar, el("p", { class: "lead" }, "Messages that could not be applied. Nothing is lost: each one is kept until it is replayed or dropped."), this.table.node), this.detail);
    setInterval(() => this.#look(), 1_000);
  }

  update(state, before) {
    if (state.view !== "dead-letters") return;
    this.reason.value = state.reason;
    if (document.activeElement !== this.channel) this.channel.value = state.channel;
    if (before?.view !== state.view || before.reason !== state.reason || before.channel !== state.channel) this.load();
    this.table.setSelected(Number(state["dead-letter"]) || undefined);
    if (state["dead-letter"] !== this.#shownId) this.#open(state["dead-letter"]);
  }

  async load() {
    const turn = (this.#turn += 1);
    this.#seen = this.fleet.pulse?.dead_letters;
    try {
      const { data, next_cursor: cursor } = await get(this.#path());
      if (turn !== this.#turn) return;
      [this.#rows, this.#cursor] = [data, cursor];
      this.#show("There is no dead letter like that.");
    } catch (problem) {
      if (turn === this.#turn) this.#show(`The dead letters cannot be read now: ${problem.message}.`);
    }
  }

  async #more() {
    if (!this.#cursor || this.#isLoading) return;
    this.#isLoading = true;
    const turn = this.#turn;
    try {
      const { data, next_cursor: cursor } = await get(this.#path(this.#cursor));
      if (turn === this.#turn) [this.#rows, this.#cursor] = [[...this.#rows, ...data], cursor];
      this.#show("");
    } catch {
      // The next scroll asks again.
    }
    this.#isLoading = false;
  }

  #path(cursor) {
    const { reason, channel } = current();
    return path("dead-letters", { reason, channel, limit: PAGE, cursor });
  }

  #look() {
    if (current().view !== "dead-letters" || document.hidden) return;
    const isNews = this.fleet.pulse && this.fleet.pulse.dead_letters !== this.#seen;
    if (isNews && !document.querySelector("dialog[open]") && this.table.scroller.scrollTop === 0) this.load();
    else this.table.paint();
  }

  #show(empty) {
    this.table.setItems(this.#rows);
    this.table.setEmpty(empty);
    this.all.disabled = this.#rows.length === 0;
    show(this.count, counted(this.#rows.length, "dead letter") + (this.#cursor ? " and more" : ""));
  }

  async #open(id) {
    this.#shownId = id;
    this.detail.hidden = !id;
    mark(document.body, "data-detail", id ? "open" : null);
    if (!id) return;
    this.detail.replaceChildren(el("p", { class: "muted" }, "Loading…"));
    try {
      const { data } = await get(`dead-letters/${encodeURIComponent(id)}`);
      if (id === this.#shownId) this.#detailed(data);
    } catch (problem) {
      if (id === this.#shownId) this.detail.replaceChildren(this.#head("Dead letter"), el("p", { class: "banner" }, `${visible(problem.message)}.`));
    }
  }

  #head(title) {
    const heading = el("h2", { tabindex: "-1" }, title);
    return el("header", { class: "panel-head" }, heading, el("a", { class: "button", href: link({ ...current(), "dead-letter": "" }) }, "Close"));
  }

  #detailed(it) {
    const facts = [["Rocket", el("a", { href: link({ rocket: it.channel }) }, visible(it.channel))], ["Number", number(it.message_number)], ["Event", number(it.event_id)], ["Received", it.received_at ? moment(it.received_at) : "–"], ["Dead since", moment(it.dead_at)], ["Attempts", number(it.attempts)]];
    const raw = el("button", { type: "button", class: "quiet", "aria-pressed": "false" }, "As stored");
    const payload = el("pre", { tabindex: "0", "aria-label": "Payload" }, pretty(it));
    raw.addEventListener("click", () => {
      const isRaw = raw.getAttribute("aria-pressed") === "false";
      mark(raw, "aria-pressed", String(isRaw));
      payload.textContent = isRaw ? visibleLines(it.payload) : pretty(it);
    });
    const after = () => {
      this.load();
      if (current()["dead-letter"] === String(it.id)) go({ "dead-letter": "" });
    };
    this.detail.replaceChildren(
      this.#head(`Dead letter ${number(it.id)}`),
      el("p", { class: "under" }, badge(it.reason, visible(it.reason)), el("span", {}, it.message_type ? kind(it.message_type) : "")),
      el("p", { class: "banner" }, visible(it.error_message)),
      el("div", { class: "buttons start" },
        el("button", { type: "button", class: "primary", onclick: () => askToReplay(it, after) }, "Replay…"),
        el("button", { type: "button", onclick: () => askToCorrect(it, after) }, "Correct…"),
        el("button", { type: "button", class: "danger quiet", onclick: () => askToDrop(it, after) }, "Drop…")),
      el("dl", { class: "facts" }, facts.map(([name, value]) => el("div", { class: name === "Rocket" ? "wide" : null }, el("dt", {}, name), el("dd", {}, value)))),
      el("div", { class: "panel-head" }, el("h3", {}, it.encoding ? `Payload, as ${visible(it.encoding)}` : "Payload"), raw), payload);
    this.detail.querySelector("h2").focus();
  }
}

function askToReplay(it, onDone) {
  const where = `dead-letters/${it.id}/replay`;
  ask({
    title: `Replay dead letter ${number(it.id)}?`, about: aboutIt(it), confirm: "Replay", onDone,
    dryRun: () => send("POST", `${where}?dry_run=true`), act: () => send("POST", where),
  });
}

function askToDrop(it, onDone) {
  const where = `dead-letters/${it.id}`;
  ask({
    title: `Drop dead letter ${number(it.id)}?`, about: aboutIt(it), confirm: "Drop it", isDangerous: true, onDone,
    dryRun: () => send("DELETE", `${where}?dry_run=true`), act: () => send("DELETE", where),
  });
}

function aboutIt(it) {
  const what = it.message_number === null ? "" : `, number ${number(it.message_number)}`;
  return el("p", {}, it.message_type ? kind(it.message_type) : "Bytes", " of ", el("code", {}, visible(it.channel)), `${what}: ${visible(it.error_message)}`);
}

function pretty({ payload, encoding }) {
  if (encoding) return visibleLines(payload);
  try {
    return visibleLines(stringify(parse(payload), "  "));
  } catch {
    return visibleLines(payload);
  }
}

function visibleLines(text) {
  return text.split("\n").map(visible).join("\n");
}
