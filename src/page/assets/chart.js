// A chart of our own on a canvas: step lines (a speed holds until the next message), axes with round numbers, shaded gaps, marks and
// a cursor. Where there are more points than pixels each column of pixels shows its lowest and highest value, and marks are drawn
// after that, so that thinning never hides one. What the chart shows is always beside it as a table too; the canvas is a picture.

const MARGIN = { top: 12, right: 14, bottom: 24, left: 56 };

/** The page's colours, as the canvas needs them; read again when the theme changes. */
export function colours() {
  const probe = document.body.appendChild(document.createElement("span"));
  const read = (name) => {
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
  };
  const found = {
    text: read("--text"), muted: read("--muted"), line: read("--line"), grid: read("--line-soft"), surface: read("--surface"),
    accent: read("--accent"), good: read("--good"), bad: read("--bad"), warn: read("--warn"),
    series: [1, 2, 3, 4, 5, 6, 7, 8].map((at) => read(`--series-${at}`)),
  };
  probe.remove();
  return found;
}

export class Chart {
  #scene = { series: [], marks: [], shades: [], x: [0, 1] };
  #frame;

  constructor(canvas, { formatX, formatY, right = MARGIN.right }) {
    Object.assign(this, { canvas, formatX, formatY, margin: { ...MARGIN, right } });
    this.recolour();
    new ResizeObserver(() => this.#soon()).observe(canvas);
  }

  recolour() {
    this.colours = colours();
    this.#soon();
  }

  /**
   * What to show: `series` (`{ xs, ys, colour, end, label, isStrong }`, both lists ascending in x), `marks` (`{ x, y, kind }`),
   * `shades` (`[from, to]`), `x` (`[least, most]`), `cursor`.
   */
  show(scene) {
    this.#scene = { marks: [], shades: [], ...scene };
    this.#soon();
  }

  /** The value on the x axis at a pixel of the canvas. */
  xAt(pixel) {
    const [least, most] = this.#scene.x;
    const share = (pixel - this.margin.left) / Math.max(1, this.canvas.clientWidth - this.margin.left - this.margin.right);
    return least + Math.min(1, Math.max(0, share)) * (most - least);
  }

  /** The series nearest to a pixel, within reach. */
  nearest(pixelX, pixelY, reach = 24) {
    const x = this.xAt(pixelX);
    let best;
    let distance = reach;
    for (const series of this.#scene.series) {
      const at = lastAt(series.xs, x);
      if (at < 0 || !this.scale) continue;
      const away = Math.abs(this.scale.y(series.ys[at]) - pixelY);
      if (away < distance) [best, distance] = [series, away];
    }
    return best;
  }

  #soon() {
    this.#frame ??= requestAnimationFrame(() => {
      this.#frame = undefined;
      this.#draw();
    });
  }

  #draw() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width || !height) return;
    const density = devicePixelRatio || 1;
    this.canvas.width = Math.round(width * density);
    this.canvas.height = Math.round(height * density);
    const pen = this.canvas.getContext("2d");
    pen.scale(density, density);
    const { fontSize, fontFamily } = getComputedStyle(this.canvas);
    pen.font = `${fontSize} ${fontFamily}`;
    this.scale = this.#scales(width, height);
    this.#axes(pen, width, height);
    for (const [from, to] of this.#scene.shades) this.#shade(pen, from, to, height);
    const { series } = this.#scene;
    for (const line of series.filter((it) => !it.isStrong)) this.#line(pen, line);
    for (const line of series.filter((it) => it.isStrong)) this.#line(pen, line);
    this.#labels(pen, width);
    for (const mark of this.#scene.marks) this.#mark(pen, this.scale.x(mark.x), this.scale.y(mark.y), mark.kind);
    if (this.#scene.cursor !== undefined) this.#cursor(pen, this.#scene.cursor, height);
  }

  #scales(width, height) {
    const { left, right, top, bottom } = this.margin;
    const [least, most] = this.#scene.x;
    let highest = 0;
    for (const { ys } of this.#scene.series) for (const y of ys) if (y > highest) highest = y;
    const step = roundStep((highest || 100) / Math.max(2, Math.floor((height - top - bottom) / 44)));
    const ceiling = Math.ceil(((highest || 100) * 1.02) / step) * step;
    const [wide, high] = [width - left - right, height - top - bottom];
    return {
      step, ceiling,
      x: (value) => left + ((value - least) / (most - least || 1)) * wide,
      y: (value) => top + high - (value / ceiling) * high,
    };
  }

  #axes(pen, width, height) {
    const { left, right, bottom } = this.margin;
    const { step, ceiling, x, y } = this.scale;
    pen.lineWidth = 1;
    pen.textBaseline = "middle";
    pen.textAlign = "right";
    for (let value = 0; value <= ceiling + step / 2; value += step) {
      pen.strokeStyle = value === 0 ? this.colours.line : this.colours.grid;
      stroke(pen, [left, Math.round(y(value)) + 0.5], [width - right, Math.round(y(value)) + 0.5]);
      pen.fillStyle = this.colours.muted;
      pen.fillText(this.formatY(value), left - 8, y(value));
    }
    pen.textAlign = "center";
    const [least, most] = this.#scene.x;
    const gap = roundStep((most - least) / Math.max(2, Math.floor((width - left - right) / 110)), this.formatX.steps);
    for (let value = Math.ceil(least / gap) * gap; value <= most; value += gap) {
      const at = x(value);
      if (at < left + 4 || at > width - right + 4) continue;
      pen.fillText(this.formatX(value, most), Math.min(at, width - 16), height - bottom / 2 + 2);
    }
  }

  #shade(pen, from, to, height) {
    const { top, bottom } = this.margin;
    const [left, right] = [this.scale.x(from), this.scale.x(to)];
    pen.globalAlpha = 0.18;
    pen.fillStyle = this.colours.warn;
    pen.fillRect(left, top, Math.max(3, right - left), height - top - bottom);
    pen.globalAlpha = 1;
  }

  #line(pen, { xs, ys, colour, end, isStrong, isFaint }) {
    if (!xs.length) return;
    pen.strokeStyle = colour;
    pen.globalAlpha = isFaint ? 0.25 : 1;
    pen.lineWidth = isStrong ? 2.25 : 1.4;
    pen.lineJoin = "round";
    pen.beginPath();
    this.#steps(pen, xs, ys);
    pen.stroke();
    const last = xs.length - 1;
    if (end) this.#mark(pen, this.scale.x(Math.max(xs[last], end === "active" ? this.#scene.x[1] : 0)), this.scale.y(ys[last]), end, colour);
    pen.globalAlpha = 1;
  }

  // One vertical stroke for all points in one column of pixels, and a step to the next column.
  #steps(pen, xs, ys) {
    const { x, y } = this.scale;
    pen.moveTo(x(xs[0]), y(ys[0]));
    for (let at = 1; at < xs.length; ) {
      const column = Math.round(x(xs[at]));
      let [low, high, last] = [ys[at], ys[at], at];
      while (last + 1 < xs.length && Math.round(x(xs[last + 1])) === column) {
        last += 1;
        if (ys[last] < low) low = ys[last];
        if (ys[last] > high) high = ys[last];
      }
      pen.lineTo(column, y(ys[at - 1]));
      if (last > at) pen.lineTo(column, y(low)), pen.lineTo(column, y(high));
      pen.lineTo(column, y(ys[last]));
      at = last + 1;
    }
    pen.lineTo(x(Math.max(xs.at(-1), this.#scene.end ?? -Infinity)), y(ys.at(-1)));
  }

  #labels(pen, width) {
    const labelled = this.#scene.series.filter((line) => line.label && line.xs.length);
    const places = labelled.map((line) => ({ line, at: this.scale.y(line.ys.at(-1)) })).sort((a, b) => Number(b.line.isStrong ?? 0) - Number(a.line.isStrong ?? 0) || a.at - b.at);
    const taken = [];
    pen.textAlign = "left";
    for (const { line, at } of places) {
      if (taken.some((other) => Math.abs(other - at) < 13)) continue;
      taken.push(at);
      pen.fillStyle = line.isStrong ? this.colours.text : this.colours.muted;
      pen.globalAlpha = line.isFaint ? 0.4 : 1;
      pen.fillText(line.label, width - this.margin.right + 12, at);
    }
    pen.globalAlpha = 1;
  }

  #mark(pen, x, y, kind, colour) {
    const { bad, warn, accent, surface } = this.colours;
    pen.lineWidth = 2;
    pen.fillStyle = pen.strokeStyle = colour ?? { failed: bad, exploded: bad, skipped: warn, corrected: accent }[kind];
    pen.beginPath();
    if (kind === "active") {
      shape(pen, [[x, y - 4.5], [x + 4, y + 3.5], [x - 4, y + 3.5]]);
      pen.fill();
    } else if (kind === "exploded") {
      stroke(pen, [x - 5, y - 5], [x + 5, y + 5]);
      stroke(pen, [x - 5, y + 5], [x + 5, y - 5]);
    } else if (kind === "failed") {
      pen.arc(x, y, 4, 0, 2 * Math.PI);
      pen.fillStyle = surface;
      pen.fill();
      pen.stroke();
    } else {
      shape(pen, [[x, y - 5], [x + 5, y], [x, y + 5], [x - 5, y]]);
      pen.fillStyle = kind === "skipped" ? surface : pen.strokeStyle;
      pen.fill();
      pen.stroke();
    }
  }

  #cursor(pen, value, height) {
    const { top, bottom } = this.margin;
    const at = Math.round(this.scale.x(value)) + 0.5;
    pen.strokeStyle = this.colours.accent;
    pen.lineWidth = 1.5;
    stroke(pen, [at, top], [at, height - bottom]);
    const [line] = this.#scene.series;
    const index = line ? lastAt(line.xs, value) : -1;
    if (index < 0) return;
    pen.fillStyle = this.colours.accent;
    pen.beginPath();
    pen.arc(at, this.scale.y(line.ys[index]), 4.5, 0, 2 * Math.PI);
    pen.fill();
  }
}

function stroke(pen, from, to) {
  pen.beginPath();
  pen.moveTo(...from);
  pen.lineTo(...to);
  pen.stroke();
}

function shape(pen, corners) {
  pen.moveTo(...corners[0]);
  for (const corner of corners.slice(1)) pen.lineTo(...corner);
  pen.closePath();
}

// A step of 1, 2 or 5 times a power of ten, or one of those given, that is at least this.
function roundStep(least, steps) {
  const given = steps?.find((step) => step >= least);
  if (given) return given;
  const power = 10 ** Math.floor(Math.log10(least || 1));
  return Math.max(1, [1, 2, 5, 10].find((times) => times * power >= least) * power);
}

// The index of the last value that is not above this one, or -1.
function lastAt(values, most) {
  let [low, high] = [0, values.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] <= most) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
