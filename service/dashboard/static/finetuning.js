// Asking for the best trials to be fine-tuned: `data-tune` is where; what is left empty the service chooses.
import { Problem, send } from "./api.js";
import { announce, problemBox } from "./notices.js";

const form = document.querySelector("[data-tune]");

function wanted() {
  const { top, epochs, learning_rate: rate } = form.elements;
  const recipe = {};
  for (const field of [epochs, rate]) if (field.value.trim() !== "") recipe[field.name] = Number(field.value);
  return { top: Number(top.value), recipe };
}

form?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const place = form.querySelector("[data-problem]");
  const button = form.querySelector('button[type="submit"]');
  button.disabled = true;
  place.replaceChildren();
  try {
    const asked = await send("POST", form.dataset.tune, wanted());
    announce(`Trials ${asked.items.map((one) => one.trial).join(", ")} are fine-tuned`);
    form.closest("details").open = false;
    window.htmx.trigger(document.body, "changed");
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    place.replaceChildren(problemBox(problem.document));
  } finally {
    button.disabled = false;
  }
});
