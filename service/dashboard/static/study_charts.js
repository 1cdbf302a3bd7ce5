// The charts of one study.
import { Problem, send } from "./api.js";
import { CostFront } from "./cost_front.js";
import { ImportanceChart, MacsChart, RankMapChart, SensitivityChart } from "./layer_charts.js";
import { failed } from "./plotting.js";
import { TrialHistory } from "./trial_history.js";
import { TrialStore } from "./trial_store.js";

const POINTS = 2000; // what a chart of a screen's width can show
const REST_SECONDS = 15; // between two looks at what is computed over all trials

const root = document.getElementById("charts");
const { study, goal } = root.dataset;
const address = `/v1/studies/${study}`;
const box = (name) => root.querySelector(`[data-chart="${name}"]`);
const get = (path) => send("GET", path);
const open = (number) => location.assign(`/studies/${study}/trials/${number}`);

const store = new TrialStore(study, POINTS, Number(root.dataset.drop));
new TrialHistory(box("history"), store, open);
const cost = root.querySelector('input[name="cost"]:checked').value;
const front = new CostFront(box("front"), store, open, JSON.parse(root.dataset.limits), cost);
const rankMap = new RankMapChart(box("rank-map"));
const macs = new MacsChart(box("macs"), document.getElementById("macs-sum"), document.getElementById("macs-trial"), goal);
const importance = new ImportanceChart(box("importance"));

/** Show what an endpoint answers in its chart, or the problem and a button to try again. */
async function shown(name, task) {
  try {
    await task();
  } catch (problem) {
    const told = problem instanceof Problem ? problem.document : { detail: String(problem) };
    failed(box(name).closest(".chart"), told, () => shown(name, task));
  }
}

async function showMap() {
  const map = await get(`${address}/rank-map`);
  rankMap.show(map);
  macs.show(map);
  for (const choice of root.querySelectorAll('input[name="period"]')) {
    choice.disabled = choice.value !== "all" && Number(choice.value) >= map.periods.length;
  }
}

async function showImportance() {
  const told = await get(`${address}/importance`);
  importance.show(told);
  for (const words of root.querySelectorAll("[data-measure]")) words.hidden = words.dataset.measure !== told.measure;
}

async function showSensitivity() {
  if (box("sensitivity")) new SensitivityChart(box("sensitivity")).show(await get(`${address}/sensitivity`));
}

root.addEventListener("change", ({ target }) => {
  if (target.name === "period") rankMap.choose(target.value);
  if (target.name === "cost") front.choose(target.value);
});

store.onChange(() => {
  if (!root.hidden || !store.trials.length) return;
  root.hidden = false; // it had ended before its first trial, and goes on
  document.querySelector("[data-nothing]").remove();
});

let stale = false;
let resting = true;

/** What is computed over all trials is asked for again when something has happened, and not more often than that. */
async function refresh() {
  stale = false;
  resting = false;
  await Promise.allSettled([shown("rank-map", showMap), shown("importance", showImportance)]);
  setTimeout(() => {
    resting = true;
    if (stale) refresh();
  }, REST_SECONDS * 1000);
}

document.addEventListener("study-event", ({ detail }) => {
  if (detail.kind !== "trial" || detail.data.state === "RUNNING") return;
  stale = true;
  if (resting && document.visibilityState === "visible") refresh();
});

await Promise.all([
  shown("history", () => store.load(get)).then(() => performance.mark("history-drawn")),
  refresh(),
  shown("sensitivity", showSensitivity),
]);
performance.mark("charts-drawn");
