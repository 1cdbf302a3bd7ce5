// The page that submits a study: documents are chosen or uploaded, the rest follows them without leaving the page.
import "./upload.js";
import { announce, setConnected } from "./notices.js";
import { localise } from "./times.js";
import { prepare } from "./study_form.js";

const WAIT_MS = 1500;
const documents = document.querySelector("[data-documents]");

const rest = () => document.querySelector("[data-rest]");
let timer = 0;
let turn = 0;

function address() {
  const given = [...new FormData(documents)].filter(([, value]) => value);
  const calibration = document.querySelector("[data-calibration-set]")?.value;
  if (calibration) given.push(["calibration", calibration]);
  return `/submit?${new URLSearchParams(given)}`;
}

/** Fetch what follows the documents that are chosen now; while a model is inspected, again and again. */
async function load() {
  clearTimeout(timer);
  const mine = ++turn;
  const here = address();
  history.replaceState(null, "", here);
  let answer;
  try {
    answer = await fetch(here, { headers: { accept: "text/html" } });
  } catch {
    setConnected(false);
    timer = setTimeout(load, WAIT_MS);
    return;
  }
  setConnected(true);
  if (answer.redirected) return location.assign(here); // the session has ended
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (mine !== turn) return; // something else was chosen meanwhile
  const next = page.querySelector("[data-rest]");
  if (!next) return location.assign(here); // a problem, which is a page of its own
  const before = rest();
  if (before.outerHTML !== next.outerHTML || before.querySelector("form")) {
    before.replaceWith(next);
    carry(before.querySelector("form"), next.querySelector("form"));
    window.htmx.process(next);
    localise(next);
    begin();
  }
  wait();
}

function changed(field) {
  if (field.type === "checkbox" || field.type === "radio") return field.checked !== field.defaultChecked;
  if (field.localName === "select") return !field.selectedOptions[0]?.defaultSelected && field.selectedIndex > 0;
  return field.value !== field.defaultValue;
}

/** What somebody has set already stays as it is when other documents are chosen; which images are used does not. */
function carry(before, after) {
  for (const field of before && after ? before.elements : []) {
    if (!field.name || /^(calibration|validation)-/.test(field.name) || !changed(field)) continue;
    const boxed = field.type === "checkbox" || field.type === "radio";
    const twin = [...after.elements].find((one) => one.name === field.name && (!boxed || one.value === field.value));
    if (twin && boxed) twin.checked = field.checked;
    else if (twin) twin.value = field.value;
  }
}

function wait() {
  if (rest().dataset.waits !== undefined) timer = setTimeout(load, WAIT_MS);
}

function begin() {
  const form = document.querySelector("[data-study]");
  if (form) prepare(form, load);
}

documents.addEventListener("change", load);
documents.addEventListener("submit", (event) => {
  event.preventDefault();
  load();
});
document.addEventListener("uploaded", (event) => {
  const select = documents.elements[event.target.dataset.upload === "/v1/models" ? "model" : "data"];
  const made = event.detail;
  if (![...select.options].some((one) => one.value === made.id)) select.add(new Option(made.name, made.id), 1);
  select.options[0].textContent = "choose another";
  select.value = made.id;
  announce(`${made.name} is chosen`);
  load();
});
document.body.addEventListener("changed", load); // the model is inspected again
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload(); // Back from the study: what is shown may be old, and has been submitted
});

begin();
wait();
