// What the cells of several tables have in common: an id as a link, a status, a time as its age, text of strangers. A builder makes
// what is in a cell once; a filler brings it up to date and changes only what differs.

import { badge, el, mark, setBadge, show } from "./dom.js";
import { ago, moment, shortId, visible } from "./format.js";
import { link } from "./url.js";

/** A cell with a shape and a word. */
export function buildBadge(cell) {
  return cell.appendChild(badge("active"));
}

export function fillBadge(node, status, text = status) {
  setBadge(node, status, text);
}

/** A cell with the id of a rocket; where there is little room, its first group alone is shown. */
export function buildId(cell) {
  return cell.appendChild(el("a", { class: "id", tabindex: "-1" }, el("span"), el("span", { class: "id-rest" })));
}

export function fillId(anchor, id, fields = {}) {
  mark(anchor, "href", link({ ...fields, rocket: id }));
  mark(anchor, "title", visible(id));
  show(anchor.firstChild, shortId(id));
  show(anchor.lastChild, visible(id).slice(8));
}

/** Text of a stranger, whole at hand where it may be cut. */
export function fillForeign(cell, text) {
  show(cell, visible(text));
  mark(cell, "title", text && text.length > 14 ? cell.shown : null);
}

/** A time as its age, with the moment itself at hand. */
export function fillTime(cell, text) {
  if (!text) return show(cell, "–");
  show(cell, ago(text, Date.now()));
  if (cell.told === text) return undefined;
  cell.told = text;
  cell.title = `${moment(text)} (sent as ${visible(text)})`;
  return undefined;
}
