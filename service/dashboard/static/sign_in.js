import { Problem, send } from "./api.js";
import { problemBox } from "./notices.js";

const form = document.querySelector("[data-sign-in]");
const place = form.querySelector("[data-problem]");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const field = form.elements.token;
  const button = form.querySelector("button");
  if (!field.value.trim()) {
    place.replaceChildren(problemBox({ detail: "the token is missing", mend: "paste it into the field above" }));
    field.focus();
    return;
  }
  button.disabled = true;
  try {
    await send("POST", "/v1/session", { token: field.value.trim() });
    location.replace(form.dataset.next);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    place.replaceChildren(problemBox(problem.document));
    field.setAttribute("aria-invalid", "true");
    field.select();
    button.disabled = false;
  }
});
