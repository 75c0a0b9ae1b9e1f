// The keyboard: one key for each place, and a list of them for whoever asks. Keys are left alone while somebody types, while a
// dialog is open, and where a modifier is held.

import { open } from "./dialog.js";
import { byId, el, isTyping } from "./dom.js";
import { openView } from "./header.js";
import { close } from "./rocket.js";
import { current, go } from "./url.js";

const HELP = [
  ["f", "The fleet"], ["g", "Gaps"], ["d", "Dead letters"], ["/", "Search"],
  ["↑ ↓ or k j", "Move in a table"], ["Home End PgUp PgDn", "Further in a table"], ["Enter", "Open the row"],
  ["← →", "One message back or on, while a rocket is open"], ["l", "Follow the rocket again"],
  ["Esc", "Close what is open"], ["?", "This list"],
];

export function listen(fleetView) {
  byId("help-button").addEventListener("click", help);
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || document.querySelector("dialog[open]")) return;
    if (event.key === "Escape") return escape(event);
    if (isTyping(event.target)) return undefined;
    const act = {
      f: () => openView("fleet"), g: () => openView("gaps"), d: () => openView("dead-letters"), "?": help,
      "/": () => search(fleetView), ArrowDown: () => fleetView.table.focusFirst(),
    }[event.key];
    const isOfTable = event.key === "ArrowDown" && (current().view || event.target.matches?.("input, tr"));
    if (!act || isOfTable) return undefined;
    event.preventDefault();
    act();
    return undefined;
  });
}

function search(fleetView) {
  if (current().view) openView("fleet");
  fleetView.focusSearch();
}

function escape(event) {
  const state = current();
  if (event.target.type === "search" && event.target.value) {
    event.target.value = "";
    event.target.dispatchEvent(new Event("input"));
  } else if (isTyping(event.target)) event.target.blur();
  else if (state["dead-letter"]) go({ "dead-letter": "" });
  else if (state.rocket) close();
  return undefined;
}

function help() {
  const rows = HELP.map(([keys, what]) => el("div", {}, el("dt", {}, keys.split(" ").map((key) => (key === "or" ? " or " : el("kbd", {}, key)))), el("dd", {}, what)));
  const dialog = open(el("div", {}, el("h2", { id: "dialog-title" }, "Keyboard"), el("dl", { class: "keys" }, rows), el("div", { class: "buttons" }, el("button", { type: "button", onclick: () => dialog.close() }, "Close"))));
}
