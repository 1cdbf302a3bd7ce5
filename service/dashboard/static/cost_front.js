// What trials cost against what they give; the trials that no other beats are joined by a line, and a bound on the cost
// is a line across.
import { costWord, count, metricWord, short } from "./figures.js";
import { drawMarks } from "./plotting.js";
import { dashed, radius, TrialChart, written } from "./trial_chart.js";
import { valueRange } from "./trial_history.js";

const FIELDS = { macs: "macs", params: "params", latency_ms: "latency" };
const WORDS = { macs: "macs", params: "parameters", latency_ms: "latency, ms" };

export class CostFront extends TrialChart {
  empty = "What trials cost and give appears here once one has completed.";

  /** `limits`: by cost, its bound; `word`: the cost that is shown at first. */
  constructor(host, store, open, limits, word) {
    super(host, store, open);
    this.limits = limits;
    this.word = word;
  }

  choose(word) {
    this.word = word;
    this.build();
  }

  shown() {
    const field = FIELDS[this.word];
    return this.store.trials.filter((one) => one.state === "COMPLETE" && one[field] !== null && one.value !== null);
  }

  columns() {
    const field = FIELDS[this.word];
    const shown = this.shown().sort((one, other) => one[field] - other[field]);
    return [shown.map((one) => one[field]), shown.map((one) => one.value)];
  }

  measure([costs]) {
    this.yRange = valueRange(this.store);
    const limit = this.limits[this.word] ?? costs.at(-1);
    const [low, high] = [Math.min(costs[0], limit), Math.max(costs.at(-1), limit)];
    const pad = Math.max(0.05 * (high - low), 0.02 * high) || 1; // trials at one budget are no whole axis
    this.xRange = [Math.max(0, low - pad), high + pad];
  }

  xAxis() {
    const worded = this.word === "latency_ms" ? short : count;
    return { label: WORDS[this.word], space: 60, values: (_plot, ticks) => ticks.map(worded) };
  }

  label() {
    const members = this.store.fronts[this.word] ?? [];
    return `Chart of ${WORDS[this.word]} against ${this.store.metric}; ${members.length} trials that no other beats in both`;
  }

  #place(plot, trial) {
    return [plot.valToPos(trial[FIELDS[this.word]], "x", true), this.y(plot, trial.value)];
  }

  paint(plot, ctx, ratio) {
    this.#drawLimit(plot, ctx, ratio);
    const [inside, outside] = [[], []];
    const shown = this.shown();
    for (const trial of shown) {
      const [x, y] = this.#place(plot, trial);
      (trial.feasible ? inside : outside).push(x, y);
      this.mark(x, y, trial);
    }
    const size = radius(shown.length, ratio);
    drawMarks(ctx, "ring", outside, size, this.colours.complete);
    drawMarks(ctx, "circle", inside, size, this.colours.complete);
    this.#drawFront(plot, ctx, ratio);
  }

  #drawLimit(plot, ctx, ratio) {
    const limit = this.limits[this.word];
    if (limit === undefined) return;
    const { left, top, width, height } = plot.bbox;
    const x = plot.valToPos(limit, "x", true);
    dashed(ctx, ratio, this.colours.strong, [x, top], [x, top + height]);
    const align = x > left + width / 2 ? "right" : "left";
    written(ctx, ratio, this.colours, `budget ${costWord(this.word, limit)}`, x + (align === "left" ? 6 : -6) * ratio, top + 12 * ratio, align);
  }

  #drawFront(plot, ctx, ratio) {
    const members = (this.store.fronts[this.word] ?? []).map((number) => this.store.trial(number)).filter(Boolean);
    const points = members.flatMap((trial) => this.#place(plot, trial));
    ctx.beginPath();
    for (let at = 0; at < points.length; at += 2) {
      if (at) ctx.lineTo(points[at], points[at - 1]);
      ctx[at ? "lineTo" : "moveTo"](points[at], points[at + 1]);
    }
    ctx.lineWidth = 2 * ratio;
    ctx.strokeStyle = this.colours.accent;
    ctx.stroke();
    drawMarks(ctx, "diamond", points, 4.5 * ratio, this.colours.surface);
    drawMarks(ctx, "diamond", points, 3.5 * ratio, this.colours.accent);
  }

  lines(trial) {
    const { metric } = this.store;
    const lines = [`trial ${trial.number}`, `${metric} ${metricWord(metric, trial.value)}`, `${count(trial.macs)} macs, ${count(trial.params)} parameters`];
    if (trial.latency !== null) lines.push(costWord("latency_ms", trial.latency));
    if (!trial.feasible) lines.push("outside the bounds");
    return lines;
  }
}
