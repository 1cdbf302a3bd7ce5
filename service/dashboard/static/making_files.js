// Buttons that ask for a trial's network as a file: `data-make` is the study's address, the request stands beside it.
import { Problem, send } from "./api.js";
import { announce, problemBox, showNotice } from "./notices.js";

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-make]");
  if (!button) return;
  button.disabled = true;
  const trial = Number(button.dataset.trial);
  try {
    const made = await send("POST", button.dataset.make, { trial, format: button.dataset.format, tuned: "tuned" in button.dataset });
    announce(made.state === "ready" ? `${made.name} is there` : `${made.name} is being made`);
    window.htmx.trigger(document.body, "changed");
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    showNotice(problemBox(problem.document));
  } finally {
    button.disabled = false;
  }
});
