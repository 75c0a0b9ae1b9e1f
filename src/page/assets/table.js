// A table that is fast however long it is: rows have one height, and only those in sight are in the document. They are recycled as
// the reader scrolls, and belong to what they show, so that the focus stays on a rocket and not on a place. One row is in the tab
// order; arrows, j and k, Home, End, PageUp and PageDown move it. What is shown, and in which order, is the caller's affair.

import { el, mark } from "./dom.js";

const AHEAD = 6;
// Browsers give up on boxes that are higher; beyond it the bar stands for more than one row a pixel.
const HEIGHT_MAX = 12_000_000;

export class VirtualTable {
  /**
   * columns: `{ key, label, sort, build(cell), fill(parts, item) }`, where `build` makes what is in a cell and gives back what
   * `fill` changes. handlers: `idOf(item)`, `onOpen(item)`, `onSort(key)`, `onNearEnd()`.
   */
  constructor({ label, columns, handlers, className }) {
    this.columns = columns;
    this.handlers = handlers;
    this.items = [];
    this.rows = new Map();
    this.spare = [];
    this.activeId = undefined;
    this.selectedId = undefined;
    this.heads = new Map();
    this.body = el("tbody", { role: "rowgroup" });
    this.table = el("table", { role: "grid", "aria-label": label, class: "grid" }, this.#head(), this.body);
    this.sizer = el("div", { class: "sizer" }, this.table);
    this.scroller = el("div", { class: "scroller", tabindex: "-1" }, this.sizer);
    this.empty = el("p", { class: "empty", hidden: true });
    this.node = el("div", { class: `table-box ${className}` }, this.scroller, this.empty);
    this.#listen();
  }

  /** What is shown, in order. */
  setItems(items) {
    this.items = items;
    mark(this.table, "aria-rowcount", String(items.length + 1));
    this.paint();
  }

  /** The word for no rows, or none. */
  setEmpty(text) {
    this.empty.hidden = this.items.length > 0 || !text;
    if (this.empty.textContent !== text) this.empty.textContent = text;
  }

  setSort(sort) {
    const [key, direction] = sort.startsWith("-") ? [sort.slice(1), "descending"] : [sort, "ascending"];
    for (const [column, head] of this.heads) mark(head, "aria-sort", column === key ? direction : "none");
  }

  setSelected(id) {
    this.selectedId = id || undefined;
    for (const [other, row] of this.rows) mark(row.node, "aria-selected", String(other === this.selectedId));
  }

  /** Whether a reader is at it with the pointer or the keyboard. */
  get isInUse() {
    return this.body.matches(":hover") || this.body.contains(document.activeElement);
  }

  /** The items in sight. */
  inSight() {
    const { first, last } = this.#window(0);
    return this.items.slice(first, last);
  }

  /** Brings the rows of what is in sight up to date. */
  paint() {
    const { first, last, top } = this.#window(AHEAD);
    const height = Math.min(this.items.length * this.rowHeight, HEIGHT_MAX) + this.headHeight;
    this.sizer.style.height = `${height}px`;
    this.table.style.marginTop = `${top}px`;
    const wanted = this.items.slice(first, last);
    this.#recycle(new Set(wanted.map((item) => this.handlers.idOf(item))));
    let place = this.body.firstChild;
    wanted.forEach((item, at) => {
      const row = this.#rowOf(item);
      if (row.node === place) place = place.nextSibling;
      else this.body.insertBefore(row.node, place);
      this.#fill(row, item, first + at);
    });
    this.#keepTabStop(wanted);
    if (last >= this.items.length) this.handlers.onNearEnd?.();
  }

  focusFirst() {
    if (this.items.length) this.#moveTo(Math.max(0, this.#activeIndex()));
  }

  /** Scrolls to an item. */
  reveal(id) {
    const index = this.items.findIndex((item) => this.handlers.idOf(item) === id);
    if (index >= 0) this.#scrollTo(index);
  }

  #head() {
    const cells = this.columns.map((column) => {
      const isSortable = Boolean(column.sort && this.handlers.onSort);
      const label = isSortable
        ? el("button", { type: "button", class: "sort", onclick: () => this.handlers.onSort(column.sort) }, column.label)
        : el("span", { class: column.hideLabel ? "sr-only" : undefined }, column.label);
      const head = el("th", { role: "columnheader", scope: "col", "data-column": column.key, "aria-sort": isSortable ? "none" : null }, label);
      if (isSortable) this.heads.set(column.sort, head);
      return head;
    });
    return el("thead", { role: "rowgroup" }, el("tr", { role: "row", "aria-rowindex": "1" }, cells));
  }

  #listen() {
    this.rowHeight = 32;
    this.headHeight = 32;
    this.scroller.addEventListener("scroll", () => this.#soon(), { passive: true });
    this.body.addEventListener("click", (event) => this.#clicked(event));
    this.body.addEventListener("keydown", (event) => this.#pressed(event));
    this.body.addEventListener("focusin", (event) => this.#focused(event));
    new ResizeObserver(() => {
      const style = getComputedStyle(this.sizer);
      const before = this.rowHeight;
      this.rowHeight = Number.parseFloat(style.getPropertyValue("--row")) || 32;
      // Rows of another height are elsewhere: what was opened stays in sight.
      if (this.rowHeight !== before && this.selectedId !== undefined) this.reveal(this.selectedId);
      this.headHeight = Number.parseFloat(style.getPropertyValue("--head")) || 0;
      this.#soon();
    }).observe(this.scroller);
  }

  #soon() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = undefined;
      this.paint();
    });
  }

  #window(ahead) {
    const { scrollTop, clientHeight } = this.scroller;
    const fits = Math.ceil(clientHeight / this.rowHeight) + 1;
    const real = this.items.length * this.rowHeight;
    const room = Math.max(1, Math.min(real, HEIGHT_MAX) + this.headHeight - clientHeight);
    const scale = real > HEIGHT_MAX ? (real + this.headHeight - clientHeight) / room : 1;
    const offset = scrollTop * scale;
    const first = Math.max(0, Math.floor(offset / this.rowHeight) - ahead);
    const last = Math.min(this.items.length, Math.floor(offset / this.rowHeight) + fits + ahead);
    return { first, last, top: Math.max(0, scrollTop - (offset - first * this.rowHeight)) };
  }

  #recycle(wanted) {
    for (const [id, row] of this.rows) {
      if (wanted.has(id)) continue;
      if (row.node.contains(document.activeElement)) this.scroller.focus({ preventScroll: true });
      this.rows.delete(id);
      row.node.remove();
      this.spare.push(row);
    }
    this.spare.length = Math.min(this.spare.length, 60);
  }

  #rowOf(item) {
    const id = this.handlers.idOf(item);
    let row = this.rows.get(id);
    if (!row) {
      row = this.spare.pop() ?? this.#newRow();
      this.rows.set(id, row);
      row.id = id;
      row.node.dataset.id = id;
      mark(row.node, "aria-selected", String(id === this.selectedId));
    }
    return row;
  }

  #newRow() {
    const cells = this.columns.map((column) => el("td", { role: "gridcell", "data-column": column.key }));
    const parts = this.columns.map((column, at) => column.build?.(cells[at]) ?? cells[at]);
    return { node: el("tr", { role: "row", tabindex: "-1" }, cells), parts };
  }

  #fill(row, item, index) {
    mark(row.node, "aria-rowindex", String(index + 2));
    this.columns.forEach((column, at) => column.fill(row.parts[at], item));
    this.handlers.onFill?.(row.node, item);
  }

  #keepTabStop(wanted) {
    const ids = wanted.map((item) => this.handlers.idOf(item));
    const stop = ids.includes(this.activeId) ? this.activeId : ids.at(this.scroller.scrollTop > 0 ? Math.min(AHEAD, ids.length - 1) : 0);
    for (const [id, row] of this.rows) mark(row.node, "tabindex", id === stop ? "0" : "-1");
    // The focus waits at the table while its row is out of sight, and goes back when that comes again.
    if (document.activeElement === this.scroller && this.rows.has(this.activeId)) this.rows.get(this.activeId).node.focus({ preventScroll: true });
  }

  #itemOf(target) {
    const id = target.closest("tr")?.dataset.id;
    return this.items.find((item) => String(this.handlers.idOf(item)) === id);
  }

  #clicked(event) {
    if (event.target.closest("button") || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const item = this.#itemOf(event.target);
    if (!item) return;
    event.preventDefault();
    this.handlers.onOpen?.(item);
  }

  #focused(event) {
    const item = this.#itemOf(event.target);
    if (!item) return;
    this.activeId = this.handlers.idOf(item);
    for (const [id, row] of this.rows) mark(row.node, "tabindex", id === this.activeId ? "0" : "-1");
  }

  #pressed(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "Enter" && !event.target.closest("button")) {
      event.preventDefault();
      this.handlers.onOpen?.(this.#itemOf(event.target));
      return;
    }
    const page = Math.max(1, Math.floor(this.scroller.clientHeight / this.rowHeight) - 2);
    const last = this.items.length - 1;
    const at = this.#activeIndex();
    const to = { ArrowDown: at + 1, j: at + 1, ArrowUp: at - 1, k: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    this.#moveTo(Math.min(last, Math.max(0, to)));
  }

  #activeIndex() {
    return this.items.findIndex((item) => this.handlers.idOf(item) === this.activeId);
  }

  #moveTo(index) {
    this.activeId = this.handlers.idOf(this.items[index]);
    this.#scrollTo(index);
    this.rows.get(this.activeId)?.node.focus({ preventScroll: true });
  }

  #scrollTo(index) {
    const { scroller, rowHeight, headHeight } = this;
    const real = this.items.length * rowHeight;
    const shrink = real > HEIGHT_MAX ? HEIGHT_MAX / real : 1;
    const top = index * rowHeight * shrink;
    const room = scroller.clientHeight - headHeight - rowHeight;
    if (top < scroller.scrollTop) scroller.scrollTop = top;
    else if (top > scroller.scrollTop + room) scroller.scrollTop = top - room;
    this.paint();
  }
}
