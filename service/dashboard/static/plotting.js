// What the charts have in common: colours, marks, what is said beside the pointer, and boxes that keep their size.
import { problemBox } from "./notices.js";
import { colour } from "./theme_switch.js";

const ORIGINS = {
  uniform: "same share",
  equal_error: "same error",
  vbmf: "variational Bayes",
  energy: "same energy",
  greedy: "greedy table",
  transfer: "earlier study",
};

/** Where a trial's ranks came from, in words. */
export function originWord(origin) {
  return ORIGINS[origin] ?? "search";
}

/** The colours of the page, as a canvas takes them; asked for anew when they change. */
export function palette() {
  const names = {
    text: "--text", muted: "--muted", line: "--line", surface: "--surface", raised: "--raised", accent: "--accent",
    complete: "--part-complete", pruned: "--part-pruned", failed: "--part-failed", running: "--part-running",
    strong: "--strong-line",
  };
  return Object.fromEntries(Object.entries(names).map(([word, name]) => [word, colour(name)]));
}

/** The font of axes and labels. */
export const FONT = "12px system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";

/** Axes in the page's colours. */
export function axis(colours, more) {
  return {
    stroke: colours.muted,
    font: FONT,
    grid: { stroke: colours.line, width: 1 },
    ticks: { stroke: colours.line, width: 1 },
    ...more,
  };
}

/** Draw marks of one shape: ● complete, △ pruned, ✕ failed, ◆ final. `points`: [x, y, …] in device pixels. */
export function drawMarks(ctx, shape, points, radius, ink) {
  const path = new Path2D();
  for (let at = 0; at < points.length; at += 2) {
    const x = points[at];
    const y = points[at + 1];
    if (shape === "circle" || shape === "ring") {
      path.moveTo(x + radius, y);
      path.arc(x, y, radius, 0, 2 * Math.PI);
    } else if (shape === "triangle") {
      path.moveTo(x, y - 1.2 * radius);
      path.lineTo(x + 1.1 * radius, y + 0.8 * radius);
      path.lineTo(x - 1.1 * radius, y + 0.8 * radius);
      path.closePath();
    } else if (shape === "cross") {
      path.moveTo(x - radius, y - radius);
      path.lineTo(x + radius, y + radius);
      path.moveTo(x + radius, y - radius);
      path.lineTo(x - radius, y + radius);
    } else {
      path.moveTo(x, y - 1.3 * radius);
      path.lineTo(x + 1.3 * radius, y);
      path.lineTo(x, y + 1.3 * radius);
      path.lineTo(x - 1.3 * radius, y);
      path.closePath();
    }
  }
  ctx.lineWidth = Math.max(1, radius / 2.5);
  ctx.strokeStyle = ctx.fillStyle = ink;
  if (shape === "circle" || shape === "diamond") ctx.fill(path);
  else ctx.stroke(path);
}

/** What is said beside the pointer. One a chart. */
export class Tip {
  #box = document.createElement("div");

  constructor(host) {
    this.#box.className = "tip";
    this.#box.hidden = true;
    this.#box.setAttribute("aria-hidden", "true"); // the tables say it to those who do not see
    host.append(this.#box);
  }

  /** Show lines of text at a place of the host, in CSS pixels. */
  show(left, top, lines, width) {
    this.#box.replaceChildren(
      ...lines.map((line, at) => {
        const row = document.createElement(at ? "span" : "strong");
        row.textContent = line;
        return row;
      }),
    );
    this.#box.hidden = false;
    const right = left > width / 2;
    this.#box.style.left = `${right ? left - 12 - this.#box.offsetWidth : left + 12}px`;
    this.#box.style.top = `${Math.max(0, top - 10)}px`;
  }

  hide() {
    this.#box.hidden = true;
  }
}

/** Words in the place of a chart that has nothing to show yet. */
export function say(host, words) {
  let box = host.querySelector(".chart__empty");
  if (!words) {
    box?.remove();
    return;
  }
  if (!box) {
    box = document.createElement("p");
    box.className = "chart__empty";
    host.append(box);
  }
  if (box.textContent !== words) box.textContent = words;
}

/** A problem in the place of a chart, and a button to try again. */
export function failed(host, problem, again) {
  const box = document.createElement("div");
  box.className = "chart__problem";
  const button = document.createElement("button");
  button.type = "button";
  button.className = "button";
  button.textContent = "Try again";
  button.addEventListener("click", () => {
    box.remove();
    again();
  });
  box.append(problemBox(problem), button);
  host.append(box);
}

/** Call `draw` once at first, when the box changes its width, and when the colours change. */
export function redrawn(host, draw) {
  let width = 0;
  new ResizeObserver(() => {
    if (host.clientWidth === width || host.clientWidth === 0) return;
    width = host.clientWidth;
    draw();
  }).observe(host);
  document.addEventListener("theme-changed", () => draw());
}
