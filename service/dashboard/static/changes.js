// Buttons that change something (the macro `action`), and signing out.
import { csrfToken, send, Problem } from "./api.js";
import { announce, problemBox, setConnected, showNotice } from "./notices.js";

document.addEventListener("htmx:configRequest", (event) => {
  if (event.detail.verb !== "get") event.detail.headers["X-CSRF-Token"] = csrfToken();
});

document.addEventListener("htmx:afterRequest", (event) => {
  const { successful, requestConfig, elt } = event.detail;
  if (!successful || !requestConfig || requestConfig.verb === "get") return;
  if (elt.dataset.done) announce(elt.dataset.done);
  window.htmx.trigger(document.body, "changed");
});

document.addEventListener("htmx:responseError", (event) => {
  const { requestConfig, xhr } = event.detail;
  if (requestConfig.verb === "get") {
    setConnected(false); // a part of the page that could not be had; it is asked for again
    return;
  }
  const box = document.createElement("div");
  box.innerHTML = xhr.responseText; // the service's own: its templates escape whatever they are given
  showNotice(box);
});

for (const lost of ["htmx:sendError", "htmx:timeout"]) {
  document.addEventListener(lost, (event) => {
    setConnected(false);
    if (event.detail.requestConfig?.verb !== "get") {
      showNotice(problemBox({ detail: "the service cannot be reached", mend: "check your connection and try again" }));
    }
  });
}

document.addEventListener("htmx:afterOnLoad", () => setConnected(true));

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-sign-out]");
  if (!button) return;
  button.disabled = true;
  for (const part of document.querySelectorAll("[data-live]")) {
    part.removeAttribute("data-live"); // what is asked for after the end of the session would lead back here
    window.htmx.trigger(part, "htmx:abort");
  }
  try {
    await send("DELETE", "/v1/session");
  } catch (problem) {
    const ended = problem instanceof Problem && problem.document.status === 401;
    if (!ended) {
      button.disabled = false;
      showNotice(problemBox(problem.document ?? { detail: String(problem) }));
      return;
    }
  }
  location.assign("/sign-in");
});
