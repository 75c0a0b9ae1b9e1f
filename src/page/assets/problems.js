// The gaps: which rockets wait for a number that has not arrived, the one that has waited for longest first, and the dialog that
// skips. The list is loaded when the view is opened and whenever the stream tells that the number of gaps has changed.

import { get, path, rocketPath, send } from "./api.js";
import { buildId, fillId, fillTime } from "./cells.js";
import { ask } from "./dialog.js";
import { el, mark, show } from "./dom.js";
import { counted, number, visible } from "./format.js";
import { integerOf } from "./message.js";
import { VirtualTable } from "./table.js";
import { current, go } from "./url.js";

const PAGE = 200;

export class GapsView {
  #gaps = [];
  #cursor;
  #seen;
  #isLoading = false;

  constructor(fleet, node) {
    this.fleet = fleet;
    this.count = el("p", { class: "list-count" });
    const columns = [
      { key: "id", label: "Rocket", build: buildId, fill: (anchor, { channel }) => fillId(anchor, channel) },
      { key: "name", label: "Type and mission", fill: (cell, { channel }) => show(cell, this.#name(channel)) },
      { key: "waiting", label: "Waits for", fill: (cell, gap) => show(cell, number(gap.waiting_for)) },
      { key: "behind", label: "Pending", fill: (cell, gap) => show(cell, number(gap.pending_messages)) },
      { key: "since", label: "Since", fill: (cell, gap) => fillTime(cell, gap.since) },
      { key: "actions", label: "Actions", hideLabel: true, build: (cell) => cell.appendChild(el("button", { type: "button" }, "Skip…")), fill: (button, gap) => this.#offer(button, gap) },
    ];
    const handlers = { idOf: (gap) => gap.channel, onOpen: (gap) => go({ view: "", rocket: gap.channel, at: "" }), onNearEnd: () => this.#more() };
    this.table = new VirtualTable({ label: "Gaps, oldest first", columns, handlers, className: "gaps-table" });
    const about = el("p", { class: "lead" }, "These rockets wait for a message that has not arrived; later ones are stored and cannot be applied before it. A skip says that the missing numbers need not be waited for.");
    node.append(el("div", { class: "toolbar" }, el("h1", { id: "gaps-title" }, "Gaps"), el("div", { class: "toolbar-end" }, this.count)), about, this.table.node);
    setInterval(() => this.#look(), 1_000);
  }

  update(state, before) {
    if (state.view === "gaps" && before?.view !== "gaps") this.load();
  }

  async load() {
    if (this.#isLoading) return;
    this.#isLoading = true;
    this.#seen = this.#signs();
    try {
      const { data, next_cursor: cursor } = await get(path("gaps", { limit: PAGE }));
      [this.#gaps, this.#cursor] = [data, cursor];
      this.#show("No rocket waits for a message.");
    } catch (problem) {
      this.#show(`The gaps cannot be read now: ${problem.message}.`);
    }
    this.#isLoading = false;
  }

  async #more() {
    if (!this.#cursor || this.#isLoading) return;
    this.#isLoading = true;
    try {
      const { data, next_cursor: cursor } = await get(path("gaps", { limit: PAGE, cursor: this.#cursor }));
      [this.#gaps, this.#cursor] = [[...this.#gaps, ...data], cursor];
      this.#show("");
    } catch {
      // The next scroll asks again.
    }
    this.#isLoading = false;
  }

  #look() {
    if (current().view !== "gaps" || document.hidden) return;
    if (this.#signs() !== this.#seen && !document.querySelector("dialog[open]")) this.load();
    else this.table.paint();
  }

  #signs() {
    const pulse = this.fleet.pulse ?? {};
    return `${pulse.gaps} ${pulse.pending_messages}`;
  }

  #show(empty) {
    this.table.setItems(this.#gaps);
    this.table.setEmpty(empty);
    show(this.count, counted(this.#gaps.length, "gap") + (this.#cursor ? " and more" : ""));
  }

  #name(channel) {
    const rocket = this.fleet.get(channel)?.rocket;
    return rocket ? `${visible(rocket.type)} · ${visible(rocket.mission)}` : "not launched yet";
  }

  #offer(button, gap) {
    mark(button, "aria-label", `Skip number ${gap.waiting_for} of ${visible(gap.channel)}`);
    button.onclick = () => askToSkip(gap, () => this.load());
  }
}

/** Asks, and skips: the first missing number unless another one is entered. */
export function askToSkip({ channel, waiting_for: first }, onDone) {
  const upTo = el("input", { type: "text", inputmode: "numeric", required: true, value: String(first), autocomplete: "off" });
  const reason = el("input", { type: "text", required: true, maxlength: "255", placeholder: "radio lost", autocomplete: "off" });
  const node = el("div", { class: "fields" },
    el("label", {}, "Skip what is missing up to number", upTo),
    el("label", {}, "Reason, kept with the rocket’s history", reason));
  const read = () => {
    const number = integerOf(upTo.value.trim());
    if (typeof number === "string" || number < 1) throw new Error("The number must be a whole number from 1 on.");
    if (!reason.value.trim()) throw new Error("Say why: the reason stays in the rocket’s history.");
    return { up_to: number, reason: reason.value.trim() };
  };
  const where = rocketPath(channel, "/skip");
  const dialog = ask({
    title: "Skip missing messages?",
    about: el("p", {}, "Rocket ", el("code", {}, visible(channel)), ` waits for number ${number(first)}.`),
    form: { node, read },
    dryRun: (input) => send("POST", `${where}?dry_run=true`, input),
    act: (input) => send("POST", where, input),
    confirm: "Skip", isDangerous: true, onDone,
  });
  reason.focus();
  return dialog;
}
