// Making a token: its secret is shown once, and is nowhere afterwards.
import { send, Problem } from "./api.js";
import { announce, problemBox } from "./notices.js";

const form = document.querySelector("[data-new-token]");
const shown = document.querySelector("[data-secret]");

function wanted() {
  const fields = form.elements;
  const days = fields.days.value.trim();
  return {
    name: fields.name.value.trim(),
    scopes: [...form.querySelectorAll('input[name="scopes"]:checked')].map((box) => box.value),
    ...(fields.user ? { user: fields.user.value, project: fields.project.value } : {}),
    expires_in_days: days === "" ? null : Number(days),
  };
}

function show(made) {
  shown.querySelector("[data-secret-name]").textContent = made.name;
  shown.querySelector("[data-secret-text]").textContent = made.secret;
  shown.querySelector("[data-copy]").dataset.copy = made.secret;
  shown.hidden = false;
  shown.focus();
  announce("The token is made; copy its secret now");
}

function forget() {
  shown.hidden = true;
  shown.querySelector("[data-secret-text]").textContent = "";
  shown.querySelector("[data-copy]").dataset.copy = "";
}

form?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const place = form.querySelector("[data-problem]");
  const button = form.querySelector('button[type="submit"]');
  const asked = wanted();
  const mend = asked.name === "" ? "say what it is for" : asked.scopes.length ? null : "choose at least one thing that it allows";
  if (mend) {
    place.replaceChildren(problemBox({ detail: "something is missing", mend }));
    return;
  }
  button.disabled = true;
  place.replaceChildren();
  try {
    show(await send("POST", "/v1/tokens", asked));
    form.reset();
    form.closest("details").open = false;
    window.htmx.trigger(document.body, "changed");
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    place.replaceChildren(problemBox(problem.document));
  } finally {
    button.disabled = false;
  }
});
shown?.querySelector("[data-secret-done]").addEventListener("click", forget);
addEventListener("pagehide", forget);
