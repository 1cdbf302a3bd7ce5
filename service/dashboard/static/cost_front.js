// What trials cost against what they give; the trials that no other beats are joined by a line.
import { axis, count, drawMarks, font, metricWord, palette, redrawn, say, Tip, uPlot } from "./plotting.js";
import { valueRange } from "./trial_history.js";

const FIELDS = { macs: "macs", params: "params", latency_ms: "latency" };
const WORDS = { macs: "macs", params: "parameters", latency_ms: "latency, ms" };

export class CostFront {
  #plot = null;
  #marks = [];
  #range = [0, 1];
  #costs = [0, 1];

  constructor(host, store, open) {
    this.host = host;
    this.store = store;
    this.open = open;
    this.word = "macs";
    this.tip = null;
    store.onChange(() => this.#update());
    redrawn(host, () => this.#build());
  }

  choose(word) {
    this.word = word;
    this.#build();
  }

  #shown() {
    const field = FIELDS[this.word];
    return this.store.trials.filter((one) => one.state === "COMPLETE" && one[field] !== null && one.value !== null);
  }

  #data() {
    const field = FIELDS[this.word];
    const shown = this.#shown().sort((one, other) => one[field] - other[field]);
    return [shown.map((one) => one[field]), shown.map((one) => one.value)];
  }

  #ranges(costs) {
    this.#range = valueRange(this.store);
    const [low, high] = [costs[0] ?? 0, costs.at(-1) ?? 1];
    const pad = Math.max(0.05 * (high - low), 0.02 * high) || 1; // trials at one budget are no whole axis
    this.#costs = [Math.max(0, low - pad), high + pad];
  }

  #build() {
    if (!this.store.loaded) return;
    this.#plot?.destroy();
    this.#plot = null;
    this.#describe();
    if (!this.#shown().length) return;
    this.colours = palette();
    this.tip ??= new Tip(this.host);
    const { metric } = this.store;
    const data = this.#data();
    this.#ranges(data[0]);
    const worded = (value) => (this.word === "latency_ms" ? `${Number(value.toPrecision(3))}` : count(value));
    const options = {
      width: this.host.clientWidth,
      height: this.host.clientHeight,
      legend: { show: false },
      cursor: { points: { show: false }, drag: { setScale: false, x: false, y: false } },
      scales: { x: { time: false, range: () => this.#costs }, y: { range: () => this.#range } },
      axes: [
        axis(this.colours, { label: WORDS[this.word], labelSize: 18, labelFont: font(), space: 80, values: (_plot, ticks) => ticks.map(worded) }),
        axis(this.colours, { size: 60, values: (_plot, ticks) => ticks.map((tick) => metricWord(metric, tick)) }),
      ],
      series: [{}, { paths: () => null, points: { show: false } }],
      hooks: { draw: [(plot) => this.#draw(plot)], setCursor: [(plot) => this.#point(plot)] },
    };
    this.#plot = new uPlot(options, data, this.host);
    this.#plot.over.addEventListener("click", () => {
      const trial = this.#nearest(this.#plot);
      if (trial) this.open(trial.number);
    });
    this.#plot.over.addEventListener("mouseleave", () => this.tip.hide());
  }

  #update() {
    if (!this.#plot) {
      this.#build();
      return;
    }
    const data = this.#data();
    this.#ranges(data[0]);
    this.#plot.setData(data);
    this.#describe();
  }

  #describe() {
    const members = this.store.fronts[this.word] ?? [];
    say(this.host, this.#shown().length ? "" : "What trials cost and give appears here once one has completed.");
    this.host.setAttribute("aria-label", `Chart of ${WORDS[this.word]} against ${this.store.metric}; ${members.length} trials that no other beats in both`);
  }

  #place(plot, trial) {
    const [low, high] = this.#range;
    const x = plot.valToPos(trial[FIELDS[this.word]], "x", true);
    return [x, plot.valToPos(Math.min(high, Math.max(low, trial.value)), "y", true)];
  }

  #draw(plot) {
    const { ctx, bbox } = plot;
    const ratio = devicePixelRatio || 1;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left - 4 * ratio, bbox.top - 4 * ratio, bbox.width + 8 * ratio, bbox.height + 8 * ratio);
    ctx.clip();
    const inside = [];
    const outside = [];
    this.#marks = [];
    for (const trial of this.#shown()) {
      const [x, y] = this.#place(plot, trial);
      (trial.feasible ? inside : outside).push(x, y);
      this.#marks.push(x, y, trial.number);
    }
    const radius = ratio * (this.#marks.length > 9000 ? 1.8 : this.#marks.length > 1500 ? 2.4 : 3.2);
    drawMarks(ctx, "ring", outside, radius, this.colours.complete);
    drawMarks(ctx, "circle", inside, radius, this.colours.complete);
    this.#drawFront(plot, ctx, ratio);
    ctx.restore();
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

  #nearest(plot) {
    const ratio = devicePixelRatio || 1;
    const { left, top } = plot.cursor;
    if (left === undefined || left < 0) return null;
    const [x, y] = [left * ratio + plot.bbox.left, top * ratio + plot.bbox.top];
    let least = (24 * ratio) ** 2;
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
    const { metric } = this.store;
    const lines = [`trial ${trial.number}`, `${metric} ${metricWord(metric, trial.value)}`, `${count(trial.macs)} macs, ${count(trial.params)} parameters`];
    if (trial.latency !== null) lines.push(`${Number(trial.latency.toPrecision(3))} ms`);
    if (!trial.feasible) lines.push("outside the bounds");
    const ratio = devicePixelRatio || 1;
    this.tip.show(plot.cursor.left + plot.bbox.left / ratio, plot.cursor.top, lines, this.host.clientWidth);
  }
}
