// What can be done with a study besides its buttons: copying longer texts, and the same again with another budget.
import { Problem, send } from "./api.js";
import { copy } from "./copying.js";
import { announce, problemBox } from "./notices.js";

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy-from]");
  if (!button) return;
  const words = button.textContent;
  const done = await copy(document.getElementById(button.dataset.copyFrom).textContent);
  button.textContent = done ? "Copied" : "Open it below and select it";
  announce(done ? "Copied" : "It could not be copied: open it below and select it by hand");
  setTimeout(() => (button.textContent = words), 2000);
});

const FORM = `
<form method="dialog" class="dialog__form">
  <h2 id="clone-title">The same with another budget</h2>
  <p class="hint">A new study of the same network and images. It learns from this one’s trials.</p>
  <div class="fields">
    <div><label for="clone-macs">Macs, at most</label><input id="clone-macs" name="macs" autocomplete="off" placeholder="33%"></div>
    <div><label for="clone-params">Parameters, at most</label><input id="clone-params" name="params" autocomplete="off" placeholder="no bound"></div>
    <div><label for="clone-trials">Trials</label><input id="clone-trials" name="n_trials" type="number" min="1" max="100000" required></div>
    <div><label for="clone-name">Name</label><input id="clone-name" name="name" maxlength="200" autocomplete="off"></div>
  </div>
  <p class="hint">Per cent are of the dense network’s, such as 33%; numbers are absolute.</p>
  <div data-problem aria-live="polite"></div>
  <div class="row"><button class="button button--main" type="submit" value="go">Submit the study</button> <a class="button" data-more>Change more…</a> <button class="button" type="button" data-close>Close</button></div>
</form>`;

function bound(text) {
  const given = text.trim();
  if (!given) return null;
  return /^\d+$/.test(given) ? Number(given) : given;
}

async function ask(address) {
  const study = await send("GET", address);
  const { request } = study;
  const dialog = document.createElement("dialog");
  dialog.className = "dialog";
  dialog.setAttribute("aria-labelledby", "clone-title");
  dialog.innerHTML = FORM;
  document.body.append(dialog);
  const form = dialog.querySelector("form");
  dialog.querySelector("[data-more]").href = `/submit?from=${encodeURIComponent(study.id)}`;
  form.elements.macs.value = request.constraints.macs ?? "";
  form.elements.params.value = request.constraints.params ?? "";
  form.elements.n_trials.value = request.n_trials;
  form.elements.name.value = `${study.name} again`.slice(0, 200);
  dialog.addEventListener("close", () => dialog.remove());
  dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit(form, study);
  });
  dialog.showModal();
}

async function submit(form, study) {
  const button = form.querySelector('[value="go"]');
  const { request } = study;
  const wanted = {
    ...request,
    name: form.elements.name.value.trim() || null,
    constraints: { ...request.constraints, macs: bound(form.elements.macs.value), params: bound(form.elements.params.value) },
    n_trials: Number(form.elements.n_trials.value),
    from_studies: [study.id, ...request.from_studies.filter((one) => one !== study.id)].slice(0, 16),
  };
  button.disabled = true;
  try {
    const made = await send("POST", "/v1/studies", wanted);
    location.assign(`/studies/${made.id}`);
  } catch (problem) {
    button.disabled = false;
    const told = problem instanceof Problem ? problem.document : { detail: String(problem) };
    form.querySelector("[data-problem]").replaceChildren(problemBox(told));
  }
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-clone]");
  if (!button) return;
  button.disabled = true;
  try {
    await ask(button.dataset.clone);
  } finally {
    button.disabled = false;
  }
});
