// Replaying all dead letters of a filter. First they are counted, then it asks, then they are sent one after the other with a pause,
// and it can be stopped at any time: what was not sent yet stays where it is. One that fails again is a new dead letter, and is not
// tried twice, because the list was made before the first was sent.

import { get, path, send } from "./api.js";
import { open, say } from "./dialog.js";
import { el } from "./dom.js";
import { counted, number, visible } from "./format.js";

const PAGE = 1_000;
const MOST = 10_000;
const PAUSE_MS = 50;
const EXAMPLES = 3;

/** Opens the dialog; `filter` has `reason` and `channel`, either of which may be empty. */
export function replayMany(filter, onDone) {
  const box = el("div", { class: "effect", role: "status" });
  const bar = el("progress", { "aria-label": "Progress", hidden: true });
  const close = el("button", { type: "button", onclick: () => dialog.close() }, "Cancel");
  const start = el("button", { type: "button", class: "primary", disabled: true }, "Replay");
  const words = [filter.reason && `with the reason ${filter.reason}`, filter.channel && `of the channel ${visible(filter.channel)}`].filter(Boolean);
  const about = el("p", {}, `All dead letters ${words.join(" ") || "that there are"}.`);
  const dialog = open(el("div", {}, el("h2", { id: "dialog-title" }, "Replay many"), about, box, bar, el("div", { class: "buttons" }, close, start)));
  const run = { isStopped: false };
  dialog.addEventListener("close", () => {
    run.isStopped = true;
    onDone();
  });
  prepare();

  async function prepare() {
    say(box, "waiting", "Counting…");
    try {
      const { ids, isCut } = await collect(filter, run, (count) => say(box, "waiting", `Counting: ${number(count)} so far…`));
      if (run.isStopped) return;
      if (!ids.length) return say(box, "done", "There is none.");
      say(box, "effect", `${counted(ids.length, "dead letter")}${isCut ? ", the newest of more," : ""} will be stored again as they are, one after the other, about ${1000 / PAUSE_MS} a second at most. One that fails again is a new dead letter.`);
      await foresee(ids);
      start.disabled = false;
      start.textContent = `Replay ${number(ids.length)}`;
      start.addEventListener("click", () => replay(ids), { once: true });
    } catch (problem) {
      say(box, "problem", `They cannot be counted now: ${problem.message}.`);
    }
    return undefined;
  }

  // What the server says of the first ones stands for the rest.
  async function foresee(ids) {
    const effects = await Promise.all(ids.slice(0, EXAMPLES).map((id) => send("POST", `dead-letters/${id}/replay?dry_run=true`).then(({ data }) => data.effect, (problem) => problem.message)));
    const items = effects.map((effect, at) => el("li", {}, `${number(ids[at])}: ${visible(effect ?? "done at once by a server that knows no dry run")}`));
    box.append(el("p", { class: "muted" }, "The first of them:"), el("ul", {}, items));
  }

  async function replay(ids) {
    dialog.dataset.busy = "true";
    start.remove();
    close.textContent = "Stop";
    close.onclick = () => (run.isStopped = true);
    bar.hidden = false;
    bar.max = ids.length;
    const count = { replayed: 0, failed: 0, problems: [] };
    for (const id of ids) {
      if (run.isStopped) break;
      await one(id, count);
      bar.value = count.replayed + count.failed;
      say(box, "waiting", progress(count, ids.length));
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
    delete dialog.dataset.busy;
    close.textContent = "Close";
    close.onclick = null;
    tell(count, ids.length);
    onDone();
  }

  function tell(count, all) {
    const left = all - count.replayed - count.failed;
    say(box, count.failed ? "problem" : "done", `${progress(count, all)}${left ? ` Stopped: ${number(left)} stay as they are.` : ""}`);
    if (count.problems.length) box.append(el("ul", {}, count.problems.map((it) => el("li", {}, visible(it)))));
  }
}

async function one(id, count) {
  try {
    await send("POST", `dead-letters/${id}/replay`);
    count.replayed += 1;
  } catch (problem) {
    count.failed += 1;
    if (count.problems.length < 20) count.problems.push(`${id}: ${problem.message}`);
  }
}

function progress({ replayed, failed }, all) {
  return `${number(replayed)} of ${number(all)} replayed${failed ? `, ${number(failed)} not` : ""}.`;
}

async function collect(filter, run, onCount) {
  const ids = [];
  let cursor;
  do {
    const { data, next_cursor: next } = await get(path("dead-letters", { ...filter, limit: PAGE, cursor }));
    ids.push(...data.map((it) => it.id));
    cursor = next;
    onCount(ids.length);
  } while (cursor && ids.length < MOST && !run.isStopped);
  return { ids: ids.slice(0, MOST), isCut: Boolean(cursor) };
}
