// Buttons that copy a text of the page: `data-copy-from` is its id.
import { copy } from "./copying.js";
import { announce } from "./notices.js";

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy-from]");
  if (!button) return;
  const words = button.textContent;
  const done = await copy(document.getElementById(button.dataset.copyFrom).textContent);
  button.textContent = done ? "Copied" : "Open it below and select it";
  announce(done ? "Copied" : "It could not be copied: open it below and select it by hand");
  setTimeout(() => (button.textContent = words), 2000);
});
