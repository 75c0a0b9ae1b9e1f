// Who asks: where the service wants a key, one dialog asks for it, however many requests were refused. The key is sent as a header and
// kept in the memory of the tab alone: who closes or reloads the page enters it again.

import { onKeyNeeded, usedKey, useKey } from "./api.js";
import { open } from "./dialog.js";
import { byId, el } from "./dom.js";

let asked;

/** Asks for a key whenever one is needed, or another one is wanted; says when there is one. */
export function listenForKeys(onGiven) {
  const ask = async () => {
    asked ??= new Promise(show).finally(() => (asked = undefined));
    const isGiven = await asked;
    if (isGiven) onGiven();
    return isGiven;
  };
  onKeyNeeded(ask);
  byId("key-button").addEventListener("click", ask);
}

function show(resolve) {
  let isGiven = false;
  byId("key-button").hidden = false;
  const field = el("input", { type: "password", autocomplete: "off", spellcheck: "false", required: true });
  const about = usedKey() ? "Enter another key: the one that is used now does not do, or is to be replaced." : "This service asks who you are.";
  const cancel = el("button", { type: "button", onclick: () => dialog.close() }, "Cancel");
  const box = el(
    "form", { method: "dialog", class: "who" }, el("h2", { id: "dialog-title" }, "A key is needed"),
    el("p", {}, about, " It is kept in this tab, until the page is closed or loaded again."), el("div", { class: "fields" }, el("label", {}, "Key", field)),
    el("div", { class: "buttons" }, cancel, el("button", { type: "submit", class: "primary" }, "Use it")),
  );
  box.addEventListener("submit", () => {
    isGiven = true;
    useKey(field.value.trim());
  });
  const dialog = open(box);
  dialog.addEventListener("close", () => resolve(isGiven));
}
