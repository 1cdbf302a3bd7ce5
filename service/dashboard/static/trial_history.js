// Every trial's value against its number: complete, pruned and failed ones told apart by shape, the best so far as a
// line, and what there is to compare with as labelled lines.
import { metricWord } from "./figures.js";
import { drawMarks, originWord } from "./plotting.js";
import { dashed, radius, TrialChart, written } from "./trial_chart.js";

const OUTLIERS = 0.03; // of the complete trials, those farthest off stand at the edge

function quantile(sorted, share) {
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.round(share * (sorted.length - 1))))];
}

/** What there is to compare trials with; `near`: the axis has room for it in any case. */
function references(store) {
  const { goal, metric, denseValue, drop } = store;
  const found = goal === "best" ? store.starts.map(({ origin, value }) => ({ word: originWord(origin), value, near: true })) : [];
  if (denseValue === null) return found; // it is measured first; and starts of other goals have budgets of their own
  found.push({ word: "dense", value: denseValue, near: metric === "accuracy" });
  if (goal === "smallest") found.push({ word: "bound", value: denseValue + (metric === "accuracy" ? -drop : drop), near: true });
  return found;
}

/** What the axis shows: all that may be the best, and what it is compared with; far outliers stand at its edge. */
export function valueRange(store) {
  const known = (trials) => trials.map((one) => one.value).filter((value) => value !== null);
  const complete = known(store.trials.filter((one) => one.state === "COMPLETE"));
  const compared = [...references(store).filter((one) => one.near).map((one) => one.value), ...store.finals.values()];
  const values = [complete, known(store.trials), compared].find((some) => some.length);
  if (!values) return [0, 1];
  values.sort((one, other) => one - other);
  const higher = store.metric === "accuracy";
  const low = Math.min(quantile(values, higher ? OUTLIERS : 0), ...compared);
  const high = Math.max(quantile(values, higher ? 1 : 1 - OUTLIERS), ...compared);
  const pad = 0.06 * (high - low || Math.abs(high) || 1);
  return [Math.max(higher ? -Infinity : 0, low - pad), high + pad];
}

export class TrialHistory extends TrialChart {
  empty = "Each trial appears here as soon as a worker has measured it.";

  shown() {
    return this.store.trials;
  }

  columns() {
    const { trials } = this.store;
    return [trials.map((trial) => trial.number), trials.map((trial) => trial.value)];
  }

  measure() {
    this.yRange = valueRange(this.store);
    this.xRange = [-0.5, Math.max(9, (this.store.trials.at(-1)?.number ?? 0) + 1)];
  }

  xAxis() {
    return { label: "trial", incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000] };
  }

  label() {
    const { metric, planned } = this.store;
    const best = this.store.steps().at(-1);
    const words = best ? `, the best ${metricWord(metric, best.value)} in trial ${best.number}` : "";
    return `Chart of the ${metric} of ${planned} trials${words}`;
  }

  paint(plot, ctx, ratio) {
    this.#drawLines(plot, ctx, ratio);
    const groups = { COMPLETE: [], PRUNED: [], FAIL: [], RUNNING: [], outside: [] };
    const floor = plot.bbox.top + plot.bbox.height - 5 * ratio;
    for (const trial of this.store.trials) {
      const measured = trial.value !== null && trial.state !== "FAIL";
      if (!measured && trial.state === "WAITING") continue;
      const x = plot.valToPos(trial.number, "x", true);
      const y = measured ? this.y(plot, trial.value) : floor;
      const group = trial.state === "COMPLETE" && !trial.feasible ? "outside" : trial.state;
      groups[group]?.push(x, y);
      this.mark(x, y, trial);
    }
    const size = radius(this.store.trials.length, ratio);
    const { complete, pruned, failed, running, text, surface } = this.colours;
    drawMarks(ctx, "triangle", groups.PRUNED, size, pruned);
    drawMarks(ctx, "ring", groups.outside, size, complete);
    drawMarks(ctx, "circle", groups.COMPLETE, size, complete);
    drawMarks(ctx, "cross", groups.FAIL, Math.max(size, 3 * ratio), failed);
    drawMarks(ctx, "ring", groups.RUNNING, Math.max(size, 3 * ratio), running);
    this.#drawBest(plot, ctx, ratio);
    const finals = [...this.store.finals].flatMap(([number, value]) => [plot.valToPos(number, "x", true), this.y(plot, value)]);
    drawMarks(ctx, "diamond", finals, 4.5 * ratio, surface);
    drawMarks(ctx, "diamond", finals, 3.5 * ratio, text);
  }

  #drawBest(plot, ctx, ratio) {
    const steps = this.store.steps();
    if (!steps.length) return;
    ctx.beginPath();
    let y = null;
    for (const step of steps) {
      const x = plot.valToPos(step.number, "x", true);
      if (y === null) ctx.moveTo(x, this.y(plot, step.value));
      else ctx.lineTo(x, y);
      y = this.y(plot, step.value);
      ctx.lineTo(x, y);
    }
    ctx.lineTo(plot.valToPos(this.store.trials.at(-1).number + 0.5, "x", true), y);
    ctx.lineWidth = 2.25 * ratio;
    ctx.strokeStyle = this.colours.accent;
    ctx.stroke();
  }

  /** Lines to compare with, each with its words above its right end; words that would overlap are moved apart. */
  #drawLines(plot, ctx, ratio) {
    const { metric } = this.store;
    const [low, high] = this.yRange;
    const { left, top, width, height } = plot.bbox;
    const lines = references(this.store).map(({ word, value }) => {
      const edge = value < low ? " ↓" : value > high ? " ↑" : ""; // at the edge, where the axis ends before it
      return { words: `${word} ${metricWord(metric, value)}${edge}`, y: this.y(plot, value) };
    });
    let free = top + 12 * ratio;
    for (const { words, y } of lines.sort((one, other) => one.y - other.y)) {
      dashed(ctx, ratio, this.colours.strong, [left, y], [left + width, y]);
      const place = Math.min(Math.max(free, y - 4 * ratio), top + height - 4 * ratio);
      free = place + 15 * ratio;
      written(ctx, ratio, this.colours, words, left + width - 6 * ratio, place, "right");
    }
  }

  lines(trial) {
    const { metric } = this.store;
    const told = trial.state === "FAIL" ? "failed" : trial.value === null ? trial.state.toLowerCase() : `${metric} ${metricWord(metric, trial.value)}`;
    const lines = [`trial ${trial.number}`, told];
    if (trial.state === "PRUNED") lines.push("stopped early");
    if (!trial.feasible) lines.push("outside the bounds");
    const final = this.store.finals.get(trial.number);
    if (final !== undefined) lines.push(`on all images ${metricWord(metric, final)}`);
    const start = this.store.starts.find((one) => one.trial === trial.number);
    if (start) lines.push(originWord(start.origin));
    return lines;
  }
}
