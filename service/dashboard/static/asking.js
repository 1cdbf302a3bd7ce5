// Buttons that ask for something to be made of a trial: the request goes out, and the page's parts look again.
import { Problem, send } from "./api.js";
import { announce, problemBox, showNotice } from "./notices.js";

/**
 * @param selector of the buttons
 * @param address of a button's data: where the request goes
 * @param body of a button's data: the request
 * @param told of the answer: what is announced
 */
export function askOnClick(selector, address, body, told) {
  document.addEventListener("click", async (event) => {
    const button = event.target.closest(selector);
    if (!button) return;
    button.disabled = true;
    try {
      announce(told(await send("POST", address(button.dataset), body(button.dataset))));
      window.htmx.trigger(document.body, "changed");
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      showNotice(problemBox(problem.document));
    } finally {
      button.disabled = false;
    }
  });
}
