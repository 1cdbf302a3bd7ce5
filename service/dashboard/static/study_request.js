// A study’s form as the request that it stands for.

/** The number in a field; null: it is empty. */
export const number = (field) => (field.value.trim() === "" ? null : Number(field.value));

/** The metric by which the smallest network is judged. */
export function metricOf(form) {
  return form.elements.metric.value || form.dataset.smallestMetric;
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
export function request(form) {
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
  const top = fields.finetune ? number(fields.finetune) : null;
  if (top) asked.finetune = { ...asked.finetune, top };
  else delete asked.finetune;
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
export function missing(asked, goal) {
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
