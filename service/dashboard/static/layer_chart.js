// Charts with one column a layer, in forward order. All of them have the same columns, so that what stands above one
// another is of the same layer; pointing at one points at it in all.
import { FONT, palette, redrawn, say, Tip } from "./plotting.js";

const MARGIN = { left: 60, right: 12, top: 8, bottom: 26 };
const LEAST_COLUMN = 4; // CSS pixels; a network with more layers than fit scrolls sideways

/** Round numbers between two, about five of them, as [[share of the way, number], …]. */
export function roundTicks(low, high) {
  const raw = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((one) => one * power).find((one) => one >= raw * 0.999);
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + 1e-9 * step; at++) {
    found.push([(at * step - low) / (high - low), Number((at * step).toPrecision(6))]);
  }
  return found;
}

export class LayerChart {
  /**
   * @param host element of the chart, inside a box that may scroll.
   * @param options `draw(chart, ctx)`, `lines(at)` what is said of a layer, `ticks()` [[share, words], …] of the
   *   vertical axis.
   */
  constructor(host, options) {
    this.host = host;
    this.options = options;
    this.layers = [];
    this.canvas = document.createElement("canvas");
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", host.dataset.label);
    this.cursor = document.createElement("div");
    this.cursor.className = "column-cursor";
    this.cursor.hidden = true;
    host.append(this.canvas, this.cursor);
    this.tip = new Tip(host);
    host.addEventListener("pointermove", (event) => this.#point(event));
    host.addEventListener("pointerleave", () => this.#tell(null));
    document.addEventListener("layer-pointed", ({ detail }) => this.#show(detail));
    redrawn(host.parentElement, () => this.draw());
  }

  /** Show these layers. `empty`: what is said where there is nothing. */
  show(layers, empty = "") {
    this.layers = layers;
    say(this.host.parentElement, layers.length ? "" : empty);
    this.draw();
  }

  get plotWidth() {
    return this.width - MARGIN.left - MARGIN.right;
  }

  get plotHeight() {
    return this.height - MARGIN.top - MARGIN.bottom;
  }

  /** Left edge and width of a column, in CSS pixels. */
  column(at) {
    const wide = this.plotWidth / this.layers.length;
    return [MARGIN.left + at * wide, wide];
  }

  /** From a share of the axis, 0 at the bottom and 1 at the top, to CSS pixels. */
  y(share) {
    return MARGIN.top + (1 - share) * this.plotHeight;
  }

  draw() {
    const box = this.host.parentElement;
    this.height = box.clientHeight;
    const least = MARGIN.left + MARGIN.right + LEAST_COLUMN * this.layers.length;
    this.width = Math.max(box.clientWidth, least);
    if (!this.layers.length || !this.width) {
      this.host.style.width = "";
      this.canvas.hidden = true;
      return;
    }
    this.canvas.hidden = false;
    if (this.width > box.clientWidth) this.height -= 16; // of the bar to scroll by
    this.host.style.width = `${this.width}px`;
    this.host.style.height = `${this.height}px`;
    const ratio = devicePixelRatio || 1;
    this.canvas.width = Math.round(this.width * ratio);
    this.canvas.height = Math.round(this.height * ratio);
    this.canvas.style.width = `${this.width}px`;
    this.canvas.style.height = `${this.height}px`;
    this.colours = palette();
    const ctx = this.canvas.getContext("2d");
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.font = FONT;
    this.#axes(ctx);
    this.options.draw(this, ctx);
  }

  #axes(ctx) {
    ctx.fillStyle = this.colours.muted;
    ctx.strokeStyle = this.colours.line;
    ctx.lineWidth = 1;
    ctx.textAlign = "right";
    ctx.textBaseline = "middle";
    for (const [share, words] of this.options.ticks()) {
      const y = Math.round(this.y(share)) + 0.5;
      ctx.beginPath();
      ctx.moveTo(MARGIN.left, y);
      ctx.lineTo(this.width - MARGIN.right, y);
      ctx.stroke();
      ctx.fillText(words, MARGIN.left - 8, y);
    }
    this.#names(ctx);
  }

  /** As many names below as have room, the first and the last among them. */
  #names(ctx) {
    const { layers } = this;
    ctx.textBaseline = "top";
    const y = this.height - MARGIN.bottom + 8;
    let free = -Infinity;
    for (const [at, name] of layers.entries()) {
      const [left, wide] = this.column(at);
      const centre = left + wide / 2;
      const half = ctx.measureText(name).width / 2;
      const start = Math.max(MARGIN.left - 20, Math.min(centre - half, this.width - 2 * half - 4));
      if (start < free) continue;
      ctx.textAlign = "left";
      ctx.fillText(name, start, y);
      free = start + 2 * half + 12;
    }
  }

  #point(event) {
    if (!this.layers.length) return;
    const x = event.clientX - this.canvas.getBoundingClientRect().left - MARGIN.left;
    const at = Math.floor((x / this.plotWidth) * this.layers.length);
    const inside = at >= 0 && at < this.layers.length;
    this.#tell(inside ? { name: this.layers[at], by: this, top: event.offsetY } : null);
  }

  #tell(detail) {
    document.dispatchEvent(new CustomEvent("layer-pointed", { detail }));
  }

  #show(pointed) {
    const at = pointed ? this.layers.indexOf(pointed.name) : -1;
    this.cursor.hidden = at < 0;
    if (at < 0) {
      this.tip.hide();
      return;
    }
    const [left, wide] = this.column(at);
    this.cursor.style.left = `${left}px`;
    this.cursor.style.width = `${Math.max(1, wide)}px`;
    this.cursor.style.height = `${this.plotHeight}px`;
    this.cursor.style.top = `${MARGIN.top}px`;
    if (pointed.by === this) this.tip.show(left + wide / 2, pointed.top, this.options.lines(at), this.width);
    else this.tip.hide();
  }
}
