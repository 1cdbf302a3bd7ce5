// The charts of one study.
import { Problem, send } from "./api.js";
import { failed } from "./plotting.js";
import { TrialHistory } from "./trial_history.js";
import { TrialStore } from "./trial_store.js";

const POINTS = 2000; // what a chart of a screen's width can show

const root = document.getElementById("charts");
const study = root.dataset.study;
const store = new TrialStore(study, POINTS);
const chart = (name) => root.querySelector(`[data-chart="${name}"]`);
const open = (number) => location.assign(`/studies/${study}/trials/${number}`);

new TrialHistory(chart("history"), store, open);

async function load() {
  try {
    await store.load((address) => send("GET", address));
  } catch (problem) {
    failed(chart("history"), problem instanceof Problem ? problem.document : { detail: String(problem) }, load);
  }
}

await load();
performance.mark("charts-drawn");
