// What a study shows of its layers: where their ranks were, where the macs went, how much their errors matter.
import { count, percent, short } from "./figures.js";
import { LayerChart, roundTicks } from "./layer_chart.js";

/** A colour between two, as rgb(): 0 is the first. Both come as rgb(r, g, b). */
function between(one, other, share) {
  const [from, to] = [one, other].map((colour) => colour.match(/[\d.]+/g).map(Number));
  return `rgb(${from.slice(0, 3).map((part, at) => Math.round(part + (to[at] - part) * share)).join(", ")})`;
}

/** Layer × share of its macs: how often the trials of a period were there; the best trial and the front as ticks. */
export class RankMapChart {
  constructor(host) {
    this.map = null;
    this.period = "all";
    this.chart = new LayerChart(host, {
      ticks: () => [0, 0.25, 0.5, 0.75, 1].map((share) => [share, percent(share)]),
      draw: (chart, ctx) => this.#draw(chart, ctx),
      lines: (at) => this.#lines(at),
    });
  }

  show(map) {
    this.map = map;
    this.chart.show(map.periods.length ? map.layers : [], "Where the search looks appears here with its first trial.");
  }

  choose(period) {
    this.period = period;
    if (this.map) this.chart.draw();
  }

  #counts(at) {
    const { periods, bins } = this.map;
    if (this.period !== "all") return periods[Math.min(Number(this.period), periods.length - 1)].counts[at];
    return Array.from({ length: bins }, (_none, bin) => periods.reduce((sum, one) => sum + one.counts[at][bin], 0));
  }

  #draw(chart, ctx) {
    const { map } = this;
    const { surface, accent, text, pruned } = chart.colours;
    const ramp = Array.from({ length: 33 }, (_none, step) => between(surface, accent, 0.12 + (0.88 * step) / 32));
    for (let at = 0; at < map.layers.length; at++) {
      const [left, wide] = chart.column(at);
      const counts = this.#counts(at);
      const whole = counts.reduce((sum, one) => sum + one, 0);
      const gap = wide > 12 ? 1 : 0;
      for (let bin = 0; bin < map.bins; bin++) {
        if (!counts[bin]) continue;
        ctx.fillStyle = ramp[Math.round(32 * Math.sqrt(counts[bin] / whole))];
        const top = chart.y((bin + 1) / map.bins);
        ctx.fillRect(left + gap / 2, top, Math.max(1, wide - gap), chart.y(bin / map.bins) - top);
      }
      for (const { shares } of map.front) {
        ctx.fillStyle = pruned;
        ctx.fillRect(left + wide * 0.3, chart.y(shares[at]) - 0.75, Math.max(1.5, wide * 0.4), 1.5);
      }
      if (!map.best) continue;
      const y = chart.y(map.best.shares[at]);
      ctx.fillStyle = surface;
      ctx.fillRect(left, y - 2.5, wide, 5);
      ctx.fillStyle = text;
      ctx.fillRect(left, y - 1.5, wide, 3);
    }
  }

  #lines(at) {
    const { map } = this;
    const counts = this.#counts(at);
    const whole = counts.reduce((sum, one) => sum + one, 0);
    const most = counts.indexOf(Math.max(...counts));
    const often = percent(counts[most] / whole);
    const lines = [map.layers[at], `${often} of trials keep ${percent(most / map.bins)}–${percent((most + 1) / map.bins)}`];
    if (map.best) lines.push(`best: ${percent(map.best.shares[at])} of ${count(map.dense_macs[at])} macs`);
    return lines;
  }
}

/** Dense against compressed macs of every layer, in the best trial or in one of the front. */
export class MacsChart {
  /** `sum`: where the total is told; `choice`: a select of the trial; `goal`: of the study, as the store has it. */
  constructor(host, sum, choice, goal) {
    this.sum = sum;
    this.choice = choice;
    this.goal = goal;
    this.map = null;
    this.trial = null; // that somebody has chosen
    this.chart = new LayerChart(host, {
      ticks: () => roundTicks(0, this.most).map(([share, macs]) => [share, count(macs)]),
      draw: (chart, ctx) => this.#draw(chart, ctx),
      lines: (at) => this.#lines(at),
    });
    choice.addEventListener("change", () => {
      this.trial = Number(choice.value);
      this.show(this.map);
    });
  }

  show(map) {
    this.map = map;
    this.most = Math.max(1, ...map.dense_macs);
    const offered = this.#offered();
    const usual = this.goal === "front" ? offered[offered.length >> 1] : map.best; // the best of a front saves least
    this.shown = offered.find(({ trial }) => trial === this.trial) ?? usual;
    this.#offer(offered);
    this.chart.show(this.shown ? map.layers : [], "Where the macs went appears here once a trial has completed.");
    if (!this.shown) return;
    const [kept, dense] = this.#sums(this.shown);
    const rest = map.other_macs ? `, ${count(map.other_macs)} of them in what is not searched` : "";
    this.sum.textContent = `Dense and, filled, compressed: together ${count(kept)} of ${count(dense)} macs (${percent(kept / dense)})${rest}.`;
  }

  /** The best trial and the front, the cheapest first. */
  #offered() {
    const { best, front } = this.map;
    const others = front.filter(({ trial }) => trial !== best?.trial);
    return [...(best ? [best] : []), ...others].sort((one, other) => this.#sums(one)[0] - this.#sums(other)[0]);
  }

  #offer(offered) {
    const words = (one) => `trial ${one.trial}: ${percent(this.#sums(one)[0] / this.#sums(one)[1])} of the macs`;
    const best = this.goal === "front" ? null : this.map.best?.trial;
    const options = offered.map((one) => new Option(words(one) + (one.trial === best ? ", the best" : ""), one.trial));
    if (options.length) this.choice.replaceChildren(...options);
    this.choice.disabled = options.length < 2;
    if (this.shown) this.choice.value = this.shown.trial;
  }

  /** What a trial keeps of all macs, and all of them. */
  #sums({ shares }) {
    const { dense_macs: dense, other_macs: other } = this.map;
    return [dense.reduce((sum, macs, at) => sum + macs * shares[at], other), dense.reduce((sum, macs) => sum + macs, other)];
  }

  #draw(chart, ctx) {
    const { map } = this;
    const { strong, accent, raised } = chart.colours;
    for (let at = 0; at < map.layers.length; at++) {
      const [left, wide] = chart.column(at);
      const gap = wide > 6 ? wide * 0.15 : 0;
      const dense = map.dense_macs[at] / this.most;
      const top = chart.y(dense);
      ctx.fillStyle = raised;
      ctx.fillRect(left + gap, top, wide - 2 * gap, chart.y(0) - top);
      if (wide > 6) {
        ctx.strokeStyle = strong;
        ctx.strokeRect(left + gap + 0.5, top + 0.5, wide - 2 * gap - 1, chart.y(0) - top - 1);
      } else {
        ctx.fillStyle = strong;
        ctx.fillRect(left, top, wide, 1);
      }
      const kept = chart.y(dense * this.shown.shares[at]);
      ctx.fillStyle = accent;
      ctx.fillRect(left + gap, kept, Math.max(1, wide - 2 * gap), chart.y(0) - kept);
    }
  }

  #lines(at) {
    const { map } = this;
    const [dense, share] = [map.dense_macs[at], this.shown.shares[at]];
    return [map.layers[at], `${count(dense)} → ${count(dense * share)} macs`, `${percent(share)} remain`];
  }
}

/** How much each layer's error matters, with how sure that is. */
export class ImportanceChart {
  constructor(host) {
    this.told = null;
    this.chart = new LayerChart(host, {
      ticks: () => roundTicks(this.low, this.high),
      draw: (chart, ctx) => this.#draw(chart, ctx),
      lines: (at) => this.#lines(at),
    });
  }

  show(told) {
    this.told = told;
    const ends = told.layers.flatMap(({ importance, spread }) => [importance - (spread ?? 0), importance + (spread ?? 0)]);
    this.low = Math.min(0, ...told.layers.map(({ importance }) => importance));
    this.high = Math.max(1e-9, ...ends);
    const names = told.layers.map(({ name }) => name);
    this.chart.show(names, "What each layer’s error costs appears here once trials have been measured.");
  }

  #share(value) {
    return Math.min(1, Math.max(0, (value - this.low) / (this.high - this.low)));
  }

  #draw(chart, ctx) {
    const { accent, text, pruned } = chart.colours;
    const zero = chart.y(this.#share(0));
    for (const [at, layer] of this.told.layers.entries()) {
      const [left, wide] = chart.column(at);
      const gap = wide > 6 ? wide * 0.15 : 0;
      const y = chart.y(this.#share(layer.importance));
      ctx.fillStyle = accent;
      ctx.fillRect(left + gap, Math.min(y, zero), Math.max(1, wide - 2 * gap), Math.abs(zero - y));
      if (layer.spread !== null) {
        const [low, high] = [-1, 1].map((sign) => chart.y(this.#share(layer.importance + sign * layer.spread)));
        ctx.fillStyle = text;
        ctx.fillRect(left + wide / 2 - 0.75, high, 1.5, low - high);
      }
      if (layer.prior !== null) {
        ctx.fillStyle = pruned;
        ctx.fillRect(left + gap, chart.y(this.#share(layer.prior)) - 1, Math.max(1, wide - 2 * gap), 2);
      }
    }
  }

  #lines(at) {
    const { name, importance, spread, prior, loss } = this.told.layers[at];
    const lines = [name, `importance ${short(importance)}${spread === null ? "" : ` ± ${short(spread)}`}`];
    if (prior !== null) lines.push(`before any trial ${short(prior)}`);
    if (loss !== null) lines.push(`costs ${short(loss)} in the best trial`);
    return lines;
  }
}

/** How far each layer alone moves the network, at a few of its ranks. */
export class SensitivityChart {
  constructor(host) {
    this.told = null;
    this.chart = new LayerChart(host, {
      ticks: () => roundTicks(0, this.most),
      draw: (chart, ctx) => this.#draw(chart, ctx),
      lines: (at) => this.#lines(at),
    });
  }

  show(told) {
    this.told = told;
    this.measure = told.measure;
    this.most = Math.max(1e-9, ...told.layers.flatMap(({ points }) => points.map(({ change }) => change)));
    this.chart.show(told.layers.map(({ name }) => name), "It is being measured.");
  }

  #draw(chart, ctx) {
    const { accent, surface } = chart.colours;
    for (const [at, { points }] of this.told.layers.entries()) {
      const [left, wide] = chart.column(at);
      for (const [step, { change }] of points.entries()) {
        ctx.fillStyle = between(surface, accent, 0.35 + (0.65 * (step + 1)) / points.length);
        const y = chart.y(Math.max(0, change) / this.most);
        ctx.fillRect(left + wide * 0.15, y - 1.5, Math.max(2, wide * 0.7), 3);
      }
    }
  }

  #lines(at) {
    const { name, points } = this.told.layers[at];
    return [name, ...points.map(({ macs_fraction, change }) => `${percent(macs_fraction)} of its macs: ${this.measure} ${short(change)}`)];
  }
}
