// Asking before something is done. A dialog shows what the server says would happen (`?dry_run=true`); the button that does it stays
// off until that is known for exactly what was entered. Afterwards the dialog follows the event and says what became of it.

import { follow } from "./api.js";
import { badge, debounced, el } from "./dom.js";
import { visible } from "./format.js";

/**
 * Opens a dialog. `form` is `{ node, read() }`, where `read` gives the input or throws an Error with what is wrong with it;
 * `dryRun(input)` and `act(input)` ask the server and give its envelope; `onDone(data)` is called when it is stored, and once
 * more when it is known what became of it.
 */
export function ask({ title, about, form, dryRun, confirm, isDangerous, act, onDone }) {
  const effect = el("div", { class: "effect", role: "status" });
  const doIt = el("button", { type: "submit", class: isDangerous ? "danger" : "primary", disabled: true }, confirm);
  const cancel = el("button", { type: "button", onclick: () => dialog.close() }, "Cancel");
  const box = el("form", { method: "dialog", novalidate: true }, el("h2", { id: "dialog-title" }, title), about, form?.node, effect, el("div", { class: "buttons" }, cancel, doIt));
  const dialog = open(box);
  let turn = 0;

  async function foresee() {
    const mine = (turn += 1);
    doIt.disabled = true;
    say(effect, "waiting", "Asking the server what this would do…");
    try {
      const input = form?.read();
      const { data } = await dryRun(input);
      if (mine !== turn) return;
      if (data.status !== "dry_run") return finish(data);
      foreseen(effect, data);
      doIt.disabled = false;
    } catch (problem) {
      if (mine === turn) say(effect, "problem", problem.message);
    }
  }

  async function carryOut(event) {
    event.preventDefault();
    if (doIt.disabled) return;
    turn += 1;
    doIt.disabled = true;
    say(effect, "waiting", "Sending…");
    try {
      await finish((await act(form?.read())).data);
    } catch (problem) {
      say(effect, "problem", problem.message);
      cancel.textContent = "Close";
    }
  }

  async function finish(data) {
    doIt.remove();
    form?.node.remove();
    cancel.textContent = "Close";
    cancel.focus();
    onDone?.(data);
    await outcome(effect, data);
    onDone?.(data);
  }

  const again = debounced(250, foresee);
  form?.node.addEventListener("input", () => {
    turn += 1;
    doIt.disabled = true;
    again();
  });
  box.addEventListener("submit", carryOut);
  foresee();
  return dialog;
}

/** Opens a dialog with this in it, which goes when it is closed. */
export function open(content) {
  const dialog = el("dialog", { "aria-labelledby": "dialog-title" }, content);
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("cancel", (event) => dialog.dataset.busy && event.preventDefault());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** Says something in a box of a dialog: `waiting`, `problem` or `done`. */
export function say(box, level, ...text) {
  box.dataset.level = level;
  box.replaceChildren(el("p", {}, ...text));
}

function foreseen(box, data) {
  box.dataset.level = "effect";
  box.replaceChildren(el("h3", {}, "What this does"), el("p", {}, visible(data.effect)));
}

async function outcome(box, data) {
  if (data.event_id === undefined || data.event_id === null) return say(box, "done", `Done: ${visible(data.status)}.`);
  say(box, "waiting", `Stored as event ${data.event_id}. Waiting for what becomes of it…`);
  try {
    const event = await follow(data.event_id, () => {});
    become(box, data.event_id, event);
  } catch (problem) {
    say(box, "problem", `Stored as event ${data.event_id}. What became of it cannot be told now: ${problem.message}.`);
  }
  return undefined;
}

function become(box, id, event) {
  if (!event) return say(box, "done", `Event ${id} is stored, and pending.`);
  const why = event.waiting_for ? `waits for number ${event.waiting_for}` : event.error_message;
  box.dataset.level = event.status === "failed" ? "problem" : "done";
  box.replaceChildren(el("p", {}, `Event ${id} `, badge(event.status)), why ? el("p", {}, visible(why)) : "");
  return undefined;
}
