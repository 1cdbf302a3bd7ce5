// A chart with one mark a trial: built once, drawn again when trials change, pointed at and clicked. What is drawn and
// said, its kinds tell (trial_history.js, cost_front.js).
import uPlot from "./vendor/uPlot.js";
import { metricWord } from "./figures.js";
import { axis, FONT, palette, redrawn, say, Tip } from "./plotting.js";

const NEAR = 24; // CSS pixels from the pointer to a mark that is still meant

/**
 * Kinds have `word`, `shown()` the trials that it is about, `columns()` [xs, ys], `measure(data)` which sets `xRange` and
 * `yRange`, `xAxis()` its options, `paint(plot, ctx, ratio)` which calls `mark`, `lines(trial)` what is said beside the
 * pointer, `label()` for those who do not see it, and `empty` what stands there while there is nothing.
 */
export class TrialChart {
  #plot = null;
  #marks = [];

  constructor(host, store, open) {
    this.host = host;
    this.store = store;
    this.open = open;
    this.tip = null;
    this.xRange = [0, 1];
    this.yRange = [0, 1];
    store.onChange(() => this.#update());
    redrawn(host, () => this.build());
  }

  /** Make it anew: its box, its colours or what it is about are others. */
  build() {
    if (!this.store.loaded) return;
    this.#plot?.destroy();
    this.#plot = null;
    this.#describe();
    if (!this.shown().length || !this.host.clientWidth) return;
    this.colours = palette();
    this.tip ??= new Tip(this.host);
    const data = this.columns();
    this.measure(data);
    this.#plot = new uPlot(this.#options(), data, this.host);
    this.#plot.over.addEventListener("click", () => {
      const trial = this.#nearest(this.#plot);
      if (trial) this.open(trial.number);
    });
    this.#plot.over.addEventListener("mouseleave", () => this.tip.hide());
  }

  #options() {
    const { metric } = this.store;
    return {
      width: this.host.clientWidth,
      height: this.host.clientHeight,
      legend: { show: false },
      cursor: { y: false, points: { show: false }, drag: { setScale: false, x: false, y: false } },
      scales: { x: { time: false, range: () => this.xRange }, y: { range: () => this.yRange } },
      axes: [
        axis(this.colours, { labelSize: 18, labelFont: FONT, ...this.xAxis() }),
        axis(this.colours, { size: 60, values: (_plot, ticks) => ticks.map((tick) => metricWord(metric, tick)) }),
      ],
      series: [{}, { paths: () => null, points: { show: false } }],
      hooks: { draw: [(plot) => this.#draw(plot)], setCursor: [(plot) => this.#point(plot)] },
    };
  }

  #update() {
    if (!this.#plot) {
      this.build();
      return;
    }
    const data = this.columns();
    this.measure(data);
    this.#plot.setData(data);
    this.#describe();
  }

  #describe() {
    say(this.host, this.shown().length ? "" : this.empty);
    this.host.setAttribute("aria-label", this.label());
  }

  #draw(plot) {
    const { ctx, bbox } = plot;
    const ratio = devicePixelRatio || 1;
    const edge = 4 * ratio; // marks at the edge are whole
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left - edge, bbox.top - edge, bbox.width + 2 * edge, bbox.height + 2 * edge);
    ctx.clip();
    this.#marks = [];
    this.paint(plot, ctx, ratio);
    ctx.restore();
  }

  /** Remember where a trial stands: there it can be pointed at. */
  mark(x, y, trial) {
    this.#marks.push(x, y, trial.number);
  }

  /** The height of a value; what is outside the axis stands at its edge. */
  y(plot, value) {
    const [low, high] = this.yRange;
    return plot.valToPos(Math.min(high, Math.max(low, value)), "y", true);
  }

  #nearest(plot) {
    const ratio = devicePixelRatio || 1;
    const { left, top } = plot.cursor;
    if (left === undefined || left < 0) return null;
    const [x, y] = [left * ratio + plot.bbox.left, top * ratio + plot.bbox.top];
    let least = (NEAR * ratio) ** 2;
    let found = null;
    for (let at = 0; at < this.#marks.length; at += 3) {
      const distance = (this.#marks[at] - x) ** 2 + (this.#marks[at + 1] - y) ** 2;
      if (distance < least) [least, found] = [distance, this.#marks[at + 2]];
    }
    return found === null ? null : this.store.trial(found);
  }

  #point(plot) {
    const trial = this.#nearest(plot);
    plot.over.classList.toggle("over--link", Boolean(trial));
    if (!trial) {
      this.tip.hide();
      return;
    }
    const left = plot.cursor.left + plot.bbox.left / (devicePixelRatio || 1);
    this.tip.show(left, plot.cursor.top, this.lines(trial), this.host.clientWidth);
  }
}

/** The radius of a mark, in device pixels: the more of them, the smaller. */
export function radius(marks, ratio) {
  return ratio * (marks > 3000 ? 1.8 : marks > 500 ? 2.4 : 3.4);
}

/** A dashed line across a drawing, from one place to another. */
export function dashed(ctx, ratio, ink, [fromX, fromY], [toX, toY]) {
  ctx.beginPath();
  ctx.setLineDash([5 * ratio, 4 * ratio]);
  ctx.lineWidth = ratio;
  ctx.strokeStyle = ink;
  ctx.moveTo(fromX, fromY);
  ctx.lineTo(toX, toY);
  ctx.stroke();
  ctx.setLineDash([]);
}

/** Words within a drawing, on a rim that keeps them legible whatever they stand on. */
export function written(ctx, ratio, colours, words, x, y, align) {
  ctx.font = FONT.replace("12px", `${12 * ratio}px`);
  ctx.textAlign = align;
  ctx.textBaseline = "alphabetic";
  ctx.lineWidth = 4 * ratio;
  ctx.strokeStyle = colours.surface;
  ctx.strokeText(words, x, y);
  ctx.fillStyle = colours.text;
  ctx.fillText(words, x, y);
}
