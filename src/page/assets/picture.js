// The fleet as a picture: speed against time for the rockets in sight of the table, coloured by mission, with a shape at the end of
// each line for its status. The lines grow while the page is open; of rockets that were never in sight none is kept, and a line
// has a bounded number of points.

import { Chart } from "./chart.js";
import { el } from "./dom.js";
import { clock, compact, number, shortId, visible } from "./format.js";

const SPAN_MIN_MS = 20_000;
const SPAN_MAX_MS = 120_000;
const TRAILS_MAX = 256;
const POINTS_MAX = 480;
const LINES_MAX = 40;
const MERGE_MS = 250;
const COLOURS = [0, 1, 2, 3, 4, 5, 6, 7];

export class Picture {
  #trails = new Map();
  #missions = new Map();
  #begun = Date.now();

  constructor({ onOpen, onPoint }) {
    this.canvas = el("canvas", { class: "chart", role: "img", "aria-label": "Speed against time of the rockets in sight; the table below has the same rockets" });
    this.legend = el("ul", { class: "legend", "aria-label": "Missions" });
    this.tip = el("p", { class: "tip", "aria-hidden": "true" });
    const title = el("h2", {}, "Speed of the rockets in sight");
    this.node = el("figure", { class: "picture" }, el("figcaption", {}, title, this.legend, this.tip), this.canvas);
    const formatX = (at, most) => (most - at < 1_000 ? "now" : clock(at));
    formatX.steps = [2_000, 5_000, 10_000, 15_000, 30_000, 60_000];
    this.chart = new Chart(this.canvas, { formatX, formatY: compact, right: 84 });
    this.canvas.addEventListener("pointermove", (event) => this.#point(event, onPoint));
    this.canvas.addEventListener("pointerleave", () => this.#point(undefined, onPoint));
    this.canvas.addEventListener("click", () => this.pointed && onOpen(this.pointed));
  }

  /** Adds what a rocket's speed is now to its line, if it has one. */
  take({ id, rocket }) {
    const trail = this.#trails.get(id);
    if (trail) extend(trail, Number(rocket.currentSpeed));
  }

  forget() {
    this.#trails.clear();
  }

  show(entries, now) {
    const inSight = entries.slice(0, LINES_MAX);
    this.#dress(inSight);
    for (const entry of inSight) this.#trailOf(entry);
    this.#bound(new Set(inSight.map((entry) => entry.id)));
    // The time that is shown grows with what there is to show.
    const begin = now - Math.min(SPAN_MAX_MS, Math.max(SPAN_MIN_MS, now - this.#begun));
    const series = inSight.map((entry) => this.#series(entry, begin, now));
    this.chart.show({ series, x: [begin, now], end: now });
    this.#explain(inSight);
  }

  #trailOf({ id, rocket }) {
    if (this.#trails.has(id)) return;
    const trail = { xs: [], ys: [] };
    this.#trails.set(id, trail);
    extend(trail, Number(rocket.currentSpeed));
  }

  #bound(inSight) {
    for (const id of this.#trails.keys()) {
      if (this.#trails.size <= TRAILS_MAX) return;
      if (!inSight.has(id)) this.#trails.delete(id);
    }
  }

  #series({ id, rocket }, begin, now) {
    const { xs, ys } = this.#trails.get(id);
    const first = Math.max(0, xs.findLastIndex((at) => at <= begin));
    const times = xs.slice(first).map((at) => Math.max(at, begin));
    times.push(now);
    const speeds = ys.slice(first);
    speeds.push(speeds.at(-1));
    const isStrong = id === this.pointed;
    return { id, xs: times, ys: speeds, colour: this.chart.colours.series[this.#missions.get(rocket.mission)], end: rocket.status, label: shortId(id), isStrong, isFaint: Boolean(this.pointed) && !isStrong };
  }

  // A mission keeps its colour while it is in sight; the ninth shares one.
  #dress(inSight) {
    const missions = new Set(inSight.map(({ rocket }) => rocket.mission));
    for (const mission of this.#missions.keys()) if (!missions.has(mission)) this.#missions.delete(mission);
    for (const mission of missions) {
      if (this.#missions.has(mission)) continue;
      const taken = new Set(this.#missions.values());
      const free = COLOURS.find((colour) => !taken.has(colour));
      this.#missions.set(mission, free ?? COLOURS[this.#missions.size % COLOURS.length]);
    }
  }

  #explain(entries) {
    const counts = new Map();
    for (const { rocket } of entries) counts.set(rocket.mission, (counts.get(rocket.mission) ?? 0) + 1);
    const shown = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 8);
    const text = shown.map(([mission]) => `${this.#missions.get(mission)} ${mission}`).join("\n");
    if (this.explained === text) return;
    this.explained = text;
    this.legend.replaceChildren(...shown.map(([mission]) => {
      const colour = `series-${this.#missions.get(mission) + 1}`;
      return el("li", {}, el("i", { class: `swatch ${colour}`, "aria-hidden": "true" }), el("span", {}, visible(mission)));
    }));
  }

  #point(event, onPoint) {
    const found = event && this.chart.nearest(event.offsetX, event.offsetY);
    if (found?.id === this.pointed) return;
    this.pointed = found?.id;
    this.canvas.classList.toggle("is-pointed", Boolean(found));
    this.tip.textContent = found ? `${found.id} at ${number(found.ys.at(-1))}` : "";
    onPoint(this.pointed);
  }
}

// A point for each change, at most four a second: a later one takes the place of one that has just been made.
function extend({ xs, ys }, speed) {
  const now = Date.now();
  const isRecent = xs.length > 1 && now - xs.at(-1) < MERGE_MS;
  if (isRecent) {
    ys[ys.length - 1] = speed;
    return;
  }
  xs.push(now);
  ys.push(speed);
  if (xs.length > POINTS_MAX) xs.shift(), ys.shift();
}
