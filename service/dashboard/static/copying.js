// Buttons that copy (the macro `copy_button`).
import { announce } from "./notices.js";

function copyOld(text) {
  const area = document.createElement("textarea"); // without https there is no other way
  area.value = text;
  area.className = "sr-only";
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}

/** Put a text into the clipboard; whether that worked. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyOld(text);
  }
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const done = await copy(button.dataset.copy);
  const word = button.querySelector("[data-copy-word]");
  word.textContent = done ? "Copied" : "Select it";
  announce(done ? "Copied" : "It could not be copied: select it by hand");
  setTimeout(() => (word.textContent = "Copy"), 2000);
});
