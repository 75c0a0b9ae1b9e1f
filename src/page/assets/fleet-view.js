// The fleet on the page: search, filters, the picture and the table. It paints at most four times a second and sorts at most once,
// and it holds the order while the pointer or the focus is in the table, because a row must not move away under a click; what is
// asked for by hand is sorted at once.

import { buildBadge, buildId, fillBadge, fillForeign, fillId, fillTime } from "./cells.js";
import { debounced, el, mark, show } from "./dom.js";
import { counted, number, visible } from "./format.js";
import { Picture } from "./picture.js";
import { VirtualTable } from "./table.js";
import { current, go } from "./url.js";

const PAINT_MS = 250;
const SORT_MS = 1_000;
const CHOICES_MAX = 100;

const SORTS = [
  ["channel", "Rocket"], ["status", "Status"], ["type", "Type"], ["mission", "Mission"], ["speed", "Speed"],
  ["number", "Messages"], ["pending", "Pending"], ["launchTime", "Launched"], ["lastUpdated", "Updated"],
];

const COLUMNS = [
  { key: "status", label: "Status", sort: "status", build: buildBadge, fill: (node, { rocket, isGone }) => fillBadge(node, isGone ? "gone" : rocket.status) },
  { key: "id", label: "Rocket", sort: "channel", build: buildId, fill: (anchor, { id }) => fillId(anchor, id, filters(current())) },
  { key: "type", label: "Type", sort: "type", fill: (cell, { rocket }) => fillForeign(cell, rocket.type) },
  { key: "mission", label: "Mission", sort: "mission", fill: (cell, { rocket }) => fillForeign(cell, rocket.mission) },
  { key: "speed", label: "Speed", sort: "speed", fill: (cell, { rocket }) => fillSpeed(cell, number(rocket.currentSpeed)) },
  { key: "number", label: "Messages", sort: "number", fill: (cell, { rocket }) => show(cell, number(rocket.lastMessageNumber)) },
  { key: "pending", label: "Pending", sort: "pending", fill: (cell, { rocket }) => fillPending(cell, rocket.pendingMessages) },
  { key: "launched", label: "Launched", sort: "launchTime", fill: (cell, { rocket }) => fillTime(cell, rocket.launchTime) },
  { key: "updated", label: "Updated", sort: "lastUpdated", fill: (cell, { rocket }) => fillTime(cell, rocket.lastUpdated) },
];

export class FleetView {
  #order = [];
  #sortedAt = 0;
  #seen = { version: -1, membership: -1, isComplete: false };
  #asked = "";

  constructor(fleet, node) {
    this.fleet = fleet;
    const handlers = {
      idOf: (entry) => entry.id,
      onOpen: (entry) => go({ rocket: entry.id, at: "" }),
      onSort: (key) => go({ sort: sorted(current().sort || "channel", key) }),
      onFill: (row, entry) => row.classList.toggle("is-pointed", entry.id === this.pointed),
    };
    this.table = new VirtualTable({ label: "Rockets", columns: COLUMNS, handlers, className: "fleet-table" });
    this.picture = new Picture({ onOpen: (id) => go({ rocket: id, at: "" }), onPoint: (id) => this.#point(id) });
    node.append(this.#toolbar(), this.picture.node, this.table.node);
    fleet.onChange((entry) => this.picture.take(entry));
    this.#followAddress();
  }

  start() {
    const paint = () => {
      const begun = performance.now();
      if (!document.hidden) this.#tick();
      // A slow machine is left as much time as it was kept busy.
      setTimeout(() => requestAnimationFrame(paint), Math.max(PAINT_MS, 2 * (performance.now() - begun)));
    };
    paint();
  }

  /** What the address asks for is shown at once, in a fresh order. */
  update(state) {
    this.#followAddress();
    this.table.setSelected(state.rocket);
    if (JSON.stringify(asked(state)) !== this.#asked) this.#arrange();
    if (!this.table.node.offsetParent) return;
    this.table.paint();
    if (state.rocket && !this.table.isInUse) this.table.reveal(state.rocket);
  }

  focusSearch() {
    this.search.focus();
    this.search.select();
  }

  /** After a reset nothing of before counts. */
  forget() {
    this.#order = [];
    this.picture.forget();
  }

  #toolbar() {
    this.search = el("input", { type: "search", id: "search", placeholder: "Search id, type, mission", "aria-label": "Search rockets", "aria-keyshortcuts": "/", autocomplete: "off", spellcheck: "false" });
    this.search.addEventListener("input", debounced(60, () => go({ q: this.search.value })));
    const field = (name, label) => el("label", { class: "field" }, el("span", {}, label), (this[name] = el("select", { "aria-label": label, onchange: (event) => go({ [name]: event.target.value }) })));
    const fields = [field("status", "Status"), field("type", "Type"), field("mission", "Mission"), field("sort", "Sort")];
    fields[1].classList.add("only-wide");
    fields[2].classList.add("only-wide");
    fields[3].classList.add("only-narrow");
    choices(this.status, [["", "All"], ["active", "Active"], ["exploded", "Exploded"], ["pending", "Pending"]]);
    choices(this.sort, SORTS.flatMap(([key, label]) => [[key, `${label}, up`], [`-${key}`, `${label}, down`]]));
    this.clear = el("button", { type: "button", class: "quiet", hidden: true, onclick: () => go({ q: "", status: "", type: "", mission: "" }) }, "Clear");
    this.count = el("p", { class: "list-count" });
    this.held = el("p", { class: "held", hidden: true, title: "Rows stay where they are while the pointer or the focus is among them" }, "order held");
    return el("div", { class: "toolbar", role: "search" }, this.search, fields, this.clear, el("div", { class: "toolbar-end" }, this.held, this.count));
  }

  #followAddress() {
    const state = current();
    if (this.search.value !== state.q && document.activeElement !== this.search) this.search.value = state.q;
    this.clear.hidden = !(state.q || state.status || state.type || state.mission);
    this.status.value = state.status;
    for (const name of ["type", "mission"]) choose(this[name], state[name]);
    this.sort.value = state.sort || "channel";
    this.table.setSort(state.sort || "channel");
  }

  #tick() {
    const isDue = Date.now() - this.#sortedAt >= SORT_MS || this.fleet.isComplete !== this.#seen.isComplete;
    const isHeld = this.fleet.isComplete && this.table.isInUse;
    this.held.hidden = !(isHeld && this.#isMoving());
    if (isDue && this.fleet.version !== this.#seen.version) {
      if (isHeld) this.#append();
      else if (this.#isMoving()) this.#arrange();
    }
    if (!this.table.node.offsetParent) return;
    this.table.paint();
    if (this.picture.node.offsetParent) this.picture.show(this.table.inSight(), Date.now());
  }

  // Sorted by what never changes and not filtered, the order changes only with those who come and go.
  #isMoving() {
    const { sort, ...filter } = asked(current());
    const isFixed = !Object.values(filter).some(Boolean) && ["channel", "-channel", "launchTime", "-launchTime", "type", "-type"].includes(sort);
    const { membership, isComplete } = this.#seen;
    return this.fleet.membership !== membership || this.fleet.isComplete !== isComplete || !isFixed;
  }

  #arrange() {
    this.#order = this.fleet.select(asked(current()), this.#order);
    this.#arranged();
  }

  // New rockets are shown below those that are held in their places.
  #append() {
    if (this.fleet.membership === this.#seen.membership) return;
    const known = new Set(this.#order);
    this.#order = [...this.#order, ...this.fleet.select(asked(current())).filter((entry) => !known.has(entry))];
    this.#arranged();
  }

  #arranged() {
    this.#asked = JSON.stringify(asked(current()));
    this.#sortedAt = Date.now();
    const { version, membership, isComplete } = this.fleet;
    this.#seen = { version, membership, isComplete };
    this.table.setItems(this.#order);
    const { size } = this.fleet;
    const isAll = this.#order.length === size;
    show(this.count, isAll ? counted(size, "rocket") : `${number(this.#order.length)} of ${counted(size, "rocket")}`);
    this.table.setEmpty(!this.fleet.isComplete ? "Waiting for the rockets…" : size ? "No rocket is like that. Clear the search and the filters to see all." : "No rocket has been launched yet.");
    this.#offer(this.type, this.fleet.types, current().type);
    this.#offer(this.mission, this.fleet.missions, current().mission);
  }

  #offer(select, counts, chosen) {
    if (document.activeElement === select) return;
    const most = [...counts.values()].sort((a, b) => b.rockets - a.rockets).slice(0, CHOICES_MAX).map((it) => it.name).sort();
    choices(select, [["", "All"], ...most.map((name) => [name, visible(name)])]);
    choose(select, chosen);
  }

  #point(id) {
    this.pointed = id;
    this.table.paint();
  }
}

function filters({ sort, status, type, mission, q }) {
  return { sort, status, type, mission, q };
}

function asked({ sort, status, type, mission, q }) {
  return { sort: sort || "channel", status, type, mission, q };
}

// Numbers begin with the largest; a second click turns the order round.
function sorted(now, key) {
  const isNumber = ["speed", "number", "pending", "launchTime", "lastUpdated"].includes(key);
  if (now === key) return `-${key}`;
  if (now === `-${key}`) return key;
  return isNumber ? `-${key}` : key;
}

function choices(select, options) {
  const text = options.map(([value]) => value).join("\n");
  if (select.offered === text) return;
  select.offered = text;
  const chosen = select.value;
  select.replaceChildren(...options.map(([value, label]) => el("option", { value }, label)));
  select.value = chosen;
}

// A choice that came by the address may not be among those that are offered.
function choose(select, value) {
  if (value && ![...select.options].some((option) => option.value === value)) select.append(el("option", { value }, visible(value)));
  select.value = value;
}

// A number is never cut: one of many digits is written smaller.
function fillSpeed(cell, text) {
  show(cell, text);
  cell.classList.toggle("is-long", text.length > 14);
}

function fillPending(cell, pending) {
  show(cell, pending ? number(pending) : "");
  mark(cell, "data-pending", pending ? "" : null);
}
