// The colours: the system's, light or dark; kept for this browser.
const ORDER = ["system", "light", "dark"];
const KEY = "ranksearch.theme";
const root = document.documentElement;

function show() {
  const theme = root.dataset.theme ?? "system";
  for (const name of document.querySelectorAll("[data-theme-name]")) name.textContent = theme;
}

document.addEventListener("click", (event) => {
  if (!event.target.closest("[data-theme-switch]")) return;
  const next = ORDER[(ORDER.indexOf(root.dataset.theme ?? "system") + 1) % ORDER.length];
  if (next === "system") delete root.dataset.theme;
  else root.dataset.theme = next;
  try {
    if (next === "system") localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, next);
  } catch {
    // Storage is switched off: the choice lasts as long as the page.
  }
  show();
  document.dispatchEvent(new CustomEvent("theme-changed")); // charts are drawn again
});

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  document.dispatchEvent(new CustomEvent("theme-changed"));
});
show();

/** A colour of the style sheet as a canvas takes it: colour("--accent") → "rgb(31, 95, 191)". */
export function colour(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  probe.hidden = true;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}
