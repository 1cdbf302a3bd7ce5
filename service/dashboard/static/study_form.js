// The form of a study: what it asks for as a request, whether that can be kept, and submitting it.
import { csrfToken, send, Problem } from "./api.js";
import { announce, problemBox } from "./notices.js";

const PAUSE_MS = 150;
const REST_MS = 500; // what a budget is good for takes longer to say, and is asked for once nothing moves any more
const ORIGINS = { uniform: "the same share for every layer", equal_error: "the same error for every layer" };
const UNITS = ["", " k", " M", " G", " T"];

function count(number) {
  const rounded = Number(number.toPrecision(3));
  const power = Math.min(UNITS.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(1, rounded)) / 3)));
  return power ? `${Number((rounded / 1000 ** power).toPrecision(3))}${UNITS[power]}` : String(Math.round(number));
}

const percent = (share) => `${(100 * share).toFixed(1)}%`;
const told = (word, amount) => (word === "latency_ms" ? `${Number(amount.toPrecision(3))} ms` : count(amount));

/** A key that nobody else makes; crypto.randomUUID needs https. */
function freshKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

const number = (field) => (field.value.trim() === "" ? null : Number(field.value));

/** The metric by which the smallest network is judged. */
function metricOf(form) {
  return form.elements.metric.value || (form.dataset.labelled ? "accuracy" : "kl");
}

function bounds(form) {
  const given = {};
  for (const row of form.querySelectorAll("[data-bound]")) {
    const field = row.querySelector("[data-amount]");
    if (!field || field.value.trim() === "") continue;
    given[row.dataset.bound] = row.querySelector("[data-unit]").value ? `${Number(field.value)}%` : Number(field.value);
  }
  return given;
}

function slice(form, role) {
  return {
    dataset: role === "calibration" ? form.dataset.calibration : form.dataset.data,
    start: number(form.elements[`${role}-start`]) ?? 0,
    stop: number(form.elements[`${role}-stop`]),
  };
}

/** The form as the body of POST /v1/studies. */
function request(form) {
  const fields = form.elements;
  const goal = fields.goal.value;
  const boxes = (name) => [...form.querySelectorAll(`input[name="${name}"]`)];
  const asked = {
    ...JSON.parse(form.dataset.base),
    model: form.dataset.model,
    calibration: slice(form, "calibration"),
    validation: slice(form, "validation"),
    constraints: bounds(form),
    objectives: { best: ["proxy"], smallest: [fields.cost.value], front: frontOf(form) }[goal],
    max_drop: goal === "smallest" ? drop(form) : null,
    name: fields.name.value.trim() || null,
    methods: boxes("methods").filter((box) => box.checked).map((box) => box.value),
    keep_dense: boxes("free").filter((box) => !box.checked).map((box) => box.value),
    n_trials: number(fields.n_trials),
    metric: fields.metric.value || null,
    search_images: { calibration: number(fields["search-calibration"]), validation: number(fields["search-validation"]) },
    finalists: number(fields.finalists),
    timeout: number(fields.timeout),
    plateau: number(fields.plateau),
    priority: number(fields.priority),
    sampler: fields.sampler.value,
  };
  if (fields.learn?.checked) asked.from_studies = [...new Set([...(asked.from_studies ?? []), fields.learn.value])];
  for (const needed of ["n_trials", "finalists", "priority"]) if (asked[needed] === null) delete asked[needed];
  return asked;
}

function frontOf(form) {
  const given = form.dataset.objectives.split(" ");
  return given.length > 1 ? given : ["proxy", "macs"];
}

function drop(form) {
  const amount = number(form.elements.drop);
  return amount !== null && metricOf(form) === "accuracy" ? Number((amount / 100).toPrecision(12)) : amount;
}

/** What the person has to mend before the service can be asked; null: nothing. */
function missing(asked, goal) {
  if (!asked.methods.length) return "choose a method at least";
  if (goal === "best" && !Object.keys(asked.constraints).length) return "set a bound: without one the dense network is the best";
  if (goal === "smallest" && asked.max_drop === null) return "say how much may be lost";
  for (const [word, bound] of Object.entries(asked.constraints)) {
    const amount = Number.parseFloat(bound);
    if (!(amount > 0) || (typeof bound === "string" && amount > 100)) return `the bound on ${word} must be above 0, and at most 100 %`;
    if (word !== "latency_ms" && typeof bound === "number" && !Number.isInteger(bound)) return `${word} are whole numbers`;
  }
  return null;
}

class Verdict {
  constructor(form) {
    this.form = form;
    this.place = form.querySelector("[data-verdict]");
  }

  say(tone, word, words) {
    const badge = this.place.querySelector("[data-word]");
    badge.className = `state${tone ? ` state--${tone}` : ""}`;
    badge.textContent = word;
    this.place.querySelector("[data-words]").textContent = words;
  }

  show(found) {
    const limits = Object.entries(found.limits).map(([word, limit]) => `${word.replace("_ms", "")} ≤ ${told(word, limit)}`);
    if (found.feasible) this.say("good", "✓ can be kept", limits.join(", "));
    else this.say("bad", "✕ cannot be kept", limits.join(", "));
    this.refuse(found.problem);
    if (!found.feasible) this.allocations([]);
    for (const row of this.form.querySelectorAll("[data-bound]")) {
      const note = row.querySelector("[data-least]");
      const least = found.least[row.dataset.bound];
      if (note && least) note.textContent = `the least that is possible: ${least.percent} (${told(row.dataset.bound, least.amount)})`;
      const slider = row.querySelector("[data-slider]");
      if (slider && least) slider.setAttribute("aria-valuetext", `${slider.value} %; the least is ${least.percent}`);
    }
  }

  refuse(problem) {
    const place = this.place.querySelector("[data-refusal]");
    place.replaceChildren();
    if (!problem) return;
    place.append(problemBox(problem));
    for (const [word, amount] of Object.entries(problem.extra?.nearest_feasible ?? {})) {
      if (!word.endsWith("_percent")) continue;
      const button = document.createElement("button");
      button.type = "button";
      button.className = "button";
      button.textContent = `Use ${amount} of the ${word === "latency_ms_percent" ? "latency" : word.replace("_percent", "")}`;
      button.addEventListener("click", () => this.use(word.replace("_percent", ""), amount));
      place.append(button, " ");
    }
  }

  use(word, amount) {
    const row = this.form.querySelector(`[data-bound="${word}"]`);
    const field = row.querySelector("[data-amount]");
    row.querySelector("[data-unit]").value = "%";
    field.value = amount.replace("%", "");
    field.dispatchEvent(new Event("input", { bubbles: true }));
    field.focus();
  }

  allocations(found) {
    const place = this.place.querySelector("[data-allocations]");
    place.hidden = !found.length;
    place.querySelector("tbody").replaceChildren(
      ...found.map((one) => {
        const row = document.createElement("tr");
        const cells = [
          `${count(one.cost.macs)} (${percent(one.macs_fraction)})`,
          `${count(one.cost.params)} (${percent(one.params_fraction)})`,
          percent(one.largest_error),
        ];
        const head = document.createElement("th");
        head.scope = "row";
        head.textContent = ORIGINS[one.origin] ?? one.origin;
        row.append(head, ...cells.map((text) => Object.assign(document.createElement("td"), { className: "right number", textContent: text })));
        return row;
      }),
    );
  }
}

/** What the service says of a request; a refusal to say anything counts as one of the request. */
async function examined(asked, allocations, signal) {
  const answer = await fetch(`/v1/studies/feasibility?allocations=${allocations}`, {
    method: "POST",
    headers: { accept: "application/json", "content-type": "application/json", "x-csrf-token": csrfToken() },
    body: JSON.stringify(asked),
    signal,
  });
  const found = await answer.json();
  return answer.ok ? found : { feasible: false, problem: found, limits: {}, least: {}, allocations: [] };
}

/** Whether the service would take the request; the answer to the newest question counts. */
class Asking {
  constructor(form) {
    this.form = form;
    this.verdict = new Verdict(form);
    this.timer = 0;
    this.controller = null;
  }

  soon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.now(), PAUSE_MS);
  }

  async now() {
    clearTimeout(this.timer);
    this.controller?.abort();
    const asked = request(this.form);
    const mend = missing(asked, this.form.elements.goal.value);
    if (mend) {
      this.verdict.refuse(null);
      this.verdict.allocations([]);
      this.verdict.say("warn", "not complete", mend);
      return;
    }
    const mine = (this.controller = new AbortController());
    try {
      const found = await examined(asked, false, mine.signal);
      if (mine !== this.controller) return;
      this.verdict.show(found);
      if (!found.feasible || !Object.keys(found.limits).length) return;
      await new Promise((done) => setTimeout(done, REST_MS));
      if (mine !== this.controller) return;
      this.verdict.allocations((await examined(asked, true, mine.signal)).allocations);
    } catch (failure) {
      if (failure.name !== "AbortError") this.verdict.say("warn", "not known", "the service cannot be reached; it is asked again at the next change");
    }
  }
}

function follow(form, row) {
  const [field, unit, slider] = ["amount", "unit", "slider"].map((name) => row.querySelector(`[data-${name}]`));
  if (!field) return;
  const show = () => {
    slider.disabled = unit.value !== "%";
    slider.value = field.value.trim() === "" || slider.disabled ? 100 : field.value;
  };
  field.addEventListener("input", show);
  unit.addEventListener("change", () => {
    field.value = "";
    show();
  });
  slider.addEventListener("input", () => (field.value = slider.value));
  show();
}

/** Make a study's form work. `reload` fetches it anew: for other calibration images. */
export function prepare(form, reload) {
  const asking = new Asking(form);
  const place = form.querySelector("[data-problem]");
  const button = form.querySelector('button[type="submit"]');
  const keys = new Map(); // a request's own idempotency key: sent twice it makes one study

  const show = () => {
    const goal = form.elements.goal.value;
    const metric = metricOf(form);
    form.querySelector("[data-smallest]").hidden = goal !== "smallest";
    form.querySelector("[data-drop-unit]").textContent = metric === "accuracy" ? "points of accuracy" : metric === "features" ? "features" : `nats of ${metric}`;
    form.querySelector("[data-summary]").textContent = `${number(form.elements.n_trials) ?? "?"} trials`;
  };
  form.addEventListener("input", () => {
    show();
    asking.soon();
  });
  for (const row of form.querySelectorAll("[data-bound]")) follow(form, row);
  form.querySelector("[data-calibration-set]").addEventListener("change", (event) => {
    event.stopPropagation();
    reload();
  });
  for (const radio of form.querySelectorAll('input[name="goal"]')) {
    radio.addEventListener("change", () => {
      const macs = form.elements.macs;
      if (radio.value !== "best" && macs.value === macs.defaultValue) macs.value = ""; // a default of the best network's alone
      else if (radio.value === "best" && macs.value === "") macs.value = macs.defaultValue;
      macs.dispatchEvent(new Event("input", { bubbles: true }));
    });
  }
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const asked = request(form);
    const mend = missing(asked, form.elements.goal.value);
    if (mend) {
      place.replaceChildren(problemBox({ detail: "something is missing", mend }));
      return;
    }
    const body = JSON.stringify(asked);
    if (!keys.has(body)) keys.set(body, freshKey());
    button.disabled = true;
    place.replaceChildren();
    try {
      const study = await send("POST", "/v1/studies", asked, { "idempotency-key": keys.get(body) });
      announce("The study is submitted");
      location.assign(`/studies/${encodeURIComponent(study.id)}`);
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      place.replaceChildren(problemBox(problem.document));
      button.disabled = false;
    }
  });
  show();
  asking.now();
}
