// The form of a study: its fields follow one another, its budget is judged at once, and it is submitted.
import { send, Problem } from "./api.js";
import { announce, problemBox } from "./notices.js";
import { metricOf, missing, number, request } from "./study_request.js";
import { Asking } from "./verdict.js";

/** A key that nobody else makes; crypto.randomUUID needs https. */
function freshKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
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
    form.querySelector("[data-drop-unit]").textContent = metric === "accuracy" ? "points of accuracy" : ["kl", "loss"].includes(metric) ? `nats of ${metric}` : metric;
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
