// Every trial's value against its number: complete, pruned and failed ones told apart by shape, the best so far as a
// line, and what there is to compare with as labelled lines.
import { axis, drawMarks, font, metricWord, originWord, palette, redrawn, say, Tip, uPlot } from "./plotting.js";

const OUTLIERS = 0.03; // of the complete trials, those farthest off stand at the edge

function quantile(sorted, share) {
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.round(share * (sorted.length - 1))))];
}

/** What the axis shows: all that may be the best, and what it is compared with; far outliers stand at its edge. */
export function valueRange(store) {
  const seen = store.trials.filter((one) => one.state === "COMPLETE" && one.value !== null).map((one) => one.value);
  const others = [...store.starts.map((one) => one.value), ...store.finals.values()];
  const known = [...seen, ...others].sort((one, other) => one - other);
  if (store.denseValue !== null && store.metric === "accuracy") known.push(store.denseValue);
  if (!known.length) {
    const any = store.trials.map((one) => one.value).filter((value) => value !== null);
    if (!any.length) return store.metric === "accuracy" ? [0, 1] : [0, 1];
    known.push(...any.sort((one, other) => one - other));
  }
  const ordered = seen.length ? seen.sort((one, other) => one - other) : known;
  let low = quantile(ordered, store.metric === "accuracy" ? OUTLIERS : 0);
  let high = quantile(ordered, store.metric === "accuracy" ? 1 : 1 - OUTLIERS);
  for (const value of others) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (store.metric === "accuracy" && store.denseValue !== null) high = Math.max(high, store.denseValue);
  const pad = 0.06 * (high - low || Math.abs(high) || 1);
  const least = store.metric === "accuracy" ? -Infinity : 0;
  return [Math.max(least, low - pad), high + pad];
}

export class TrialHistory {
  #plot = null;
  #range = [0, 1];
  #marks = [];

  constructor(host, store, open) {
    this.host = host;
    this.store = store;
    this.open = open;
    this.tip = null;
    store.onChange(() => this.#update());
    redrawn(host, () => this.#build());
  }

  #lastNumber() {
    return Math.max(9, (this.store.trials.at(-1)?.number ?? 0) + 1);
  }

  #data() {
    const { trials } = this.store;
    const numbers = trials.map((trial) => trial.number);
    const values = trials.map((trial) => trial.value);
    return [numbers, values];
  }

  #build() {
    if (!this.store.loaded) return;
    this.#plot?.destroy();
    this.#plot = null;
    this.#describe();
    if (!this.store.trials.length) return;
    this.colours = palette();
    this.tip ??= new Tip(this.host);
    const { metric } = this.store;
    this.#range = valueRange(this.store);
    const options = {
      width: this.host.clientWidth,
      height: this.host.clientHeight,
      legend: { show: false },
      cursor: {
        y: false,
        points: { show: false },
        drag: { setScale: false, x: false, y: false },
        dataIdx: (plot, series, closest) => this.#nearest(plot) ?? closest,
      },
      scales: { x: { time: false, range: () => [-0.5, this.#lastNumber()] }, y: { range: () => this.#range } },
      axes: [
        axis(this.colours, { label: "trial", labelSize: 18, labelFont: font(), incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000] }),
        axis(this.colours, { size: 60, values: (_plot, ticks) => ticks.map((tick) => metricWord(metric, tick)) }),
      ],
      series: [{}, { label: metric, paths: () => null, points: { show: false } }],
      hooks: { draw: [(plot) => this.#draw(plot)], setCursor: [(plot) => this.#point(plot)] },
    };
    this.#plot = new uPlot(options, this.#data(), this.host);
    this.#plot.over.addEventListener("click", () => {
      const trial = this.#nearestTrial(this.#plot);
      if (trial) this.open(trial.number);
    });
    this.#plot.over.addEventListener("mouseleave", () => this.tip.hide());
  }

  #update() {
    if (!this.#plot) {
      this.#build();
      return;
    }
    this.#range = valueRange(this.store);
    this.#plot.setData(this.#data());
    this.#describe();
  }

  #describe() {
    const { trials, metric } = this.store;
    const best = this.store.steps().at(-1);
    say(this.host, trials.length ? "" : "Each trial appears here as soon as a worker has measured it.");
    const words = best ? `, the best ${metricWord(metric, best.value)} in trial ${best.number}` : "";
    this.host.setAttribute("aria-label", `Chart of the ${metric} of ${this.store.planned} trials${words}`);
  }

  #y(plot, value) {
    const [low, high] = this.#range;
    return plot.valToPos(Math.min(high, Math.max(low, value)), "y", true);
  }

  #draw(plot) {
    const { ctx, bbox } = plot;
    const ratio = devicePixelRatio || 1;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top - 4 * ratio, bbox.width, bbox.height + 8 * ratio);
    ctx.clip();
    this.#drawLines(plot, ctx, ratio);
    const groups = { COMPLETE: [], PRUNED: [], FAIL: [], RUNNING: [], outside: [] };
    this.#marks = [];
    const floor = bbox.top + bbox.height - 5 * ratio;
    for (const trial of this.store.trials) {
      const x = plot.valToPos(trial.number, "x", true);
      const measured = trial.value !== null && trial.state !== "FAIL";
      if (!measured && trial.state === "WAITING") continue;
      const y = measured ? this.#y(plot, trial.value) : floor;
      const group = trial.state === "COMPLETE" && !trial.feasible ? "outside" : trial.state;
      groups[group]?.push(x, y);
      this.#marks.push(x, y, trial.number);
    }
    const radius = ratio * (this.store.trials.length > 3000 ? 1.8 : this.store.trials.length > 500 ? 2.4 : 3.4);
    const { complete, pruned, failed, running, accent, text } = this.colours;
    drawMarks(ctx, "triangle", groups.PRUNED, radius, pruned);
    drawMarks(ctx, "ring", groups.outside, radius, complete);
    drawMarks(ctx, "circle", groups.COMPLETE, radius, complete);
    drawMarks(ctx, "cross", groups.FAIL, Math.max(radius, 3 * ratio), failed);
    drawMarks(ctx, "ring", groups.RUNNING, Math.max(radius, 3 * ratio), running);
    this.#drawBest(plot, ctx, ratio, accent);
    const finals = [];
    for (const [number, value] of this.store.finals) finals.push(plot.valToPos(number, "x", true), this.#y(plot, value));
    drawMarks(ctx, "diamond", finals, 4.5 * ratio, this.colours.surface);
    drawMarks(ctx, "diamond", finals, 3.5 * ratio, text);
    ctx.restore();
  }

  #drawBest(plot, ctx, ratio, ink) {
    const steps = this.store.steps();
    if (!steps.length) return;
    ctx.beginPath();
    let y = null;
    for (const step of steps) {
      const x = plot.valToPos(step.number, "x", true);
      if (y === null) ctx.moveTo(x, this.#y(plot, step.value));
      else ctx.lineTo(x, y);
      y = this.#y(plot, step.value);
      ctx.lineTo(x, y);
    }
    ctx.lineTo(plot.valToPos(this.store.trials.at(-1).number + 0.5, "x", true), y);
    ctx.lineWidth = 2.25 * ratio;
    ctx.strokeStyle = ink;
    ctx.stroke();
  }

  /** Lines to compare with, each with its words above its right end; words that would overlap are moved apart. */
  #drawLines(plot, ctx, ratio) {
    const { metric, denseValue, starts } = this.store;
    const lines = starts.map(({ origin, value }) => ({ words: `${originWord(origin)} ${metricWord(metric, value)}`, value }));
    if (denseValue !== null) lines.push({ words: `dense ${metricWord(metric, denseValue)}`, value: denseValue });
    const [low, high] = this.#range;
    for (const line of lines) {
      line.y = this.#y(plot, line.value); // at the edge, with an arrow, where the axis ends before it
      if (line.value < low) line.words += " ↓";
      if (line.value > high) line.words += " ↑";
    }
    const shown = lines;
    shown.sort((one, other) => one.y - other.y);
    ctx.font = font().replace("12px", `${12 * ratio}px`);
    ctx.textAlign = "right";
    ctx.textBaseline = "alphabetic";
    const right = plot.bbox.left + plot.bbox.width - 6 * ratio;
    let free = plot.bbox.top + 12 * ratio;
    for (const { words, y } of shown) {
      ctx.beginPath();
      ctx.setLineDash([5 * ratio, 4 * ratio]);
      ctx.lineWidth = ratio;
      ctx.strokeStyle = this.colours.strong;
      ctx.moveTo(plot.bbox.left, y);
      ctx.lineTo(plot.bbox.left + plot.bbox.width, y);
      ctx.stroke();
      ctx.setLineDash([]);
      const place = Math.min(Math.max(free, y - 4 * ratio), plot.bbox.top + plot.bbox.height - 4 * ratio);
      free = place + 15 * ratio;
      ctx.lineWidth = 4 * ratio;
      ctx.strokeStyle = this.colours.surface;
      ctx.strokeText(words, right, place);
      ctx.fillStyle = this.colours.text;
      ctx.fillText(words, right, place);
    }
  }

  #nearestTrial(plot) {
    const ratio = devicePixelRatio || 1;
    const { left, top } = plot.cursor;
    if (left === undefined || left < 0) return null;
    const x = left * ratio + plot.bbox.left;
    const y = top * ratio + plot.bbox.top;
    let least = (24 * ratio) ** 2;
    let found = null;
    for (let at = 0; at < this.#marks.length; at += 3) {
      const distance = (this.#marks[at] - x) ** 2 + (this.#marks[at + 1] - y) ** 2;
      if (distance < least) {
        least = distance;
        found = this.#marks[at + 2];
      }
    }
    return found === null ? null : this.store.trial(found);
  }

  #nearest(plot) {
    const trial = this.#nearestTrial(plot);
    return trial ? this.store.trials.indexOf(trial) : null;
  }

  #point(plot) {
    const trial = this.#nearestTrial(plot);
    plot.over.classList.toggle("over--link", Boolean(trial));
    if (!trial) {
      this.tip.hide();
      return;
    }
    const { metric } = this.store;
    const lines = [`trial ${trial.number}`, trial.value === null ? trial.state.toLowerCase() : `${metric} ${metricWord(metric, trial.value)}`];
    if (trial.state === "PRUNED") lines.push("stopped early");
    if (trial.state === "FAIL") lines[1] = "failed";
    if (!trial.feasible) lines.push("outside the bounds");
    const final = this.store.finals.get(trial.number);
    if (final !== undefined) lines.push(`on all images ${metricWord(metric, final)}`);
    const start = this.store.starts.find((one) => one.trial === trial.number);
    if (start) lines.push(originWord(start.origin));
    const ratio = devicePixelRatio || 1;
    this.tip.show(plot.cursor.left + plot.bbox.left / ratio, plot.cursor.top, lines, this.host.clientWidth);
  }
}
