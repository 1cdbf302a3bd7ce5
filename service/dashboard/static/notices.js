// What people are told besides the page: problems, and that something was done.

/** A message whose `commands` stand between backticks, as nodes. */
function codeSpans(text) {
  return text.split(/`([^`]+)`/).map((part, at) => {
    if (at % 2 === 0) return part;
    const code = document.createElement("code");
    code.textContent = part;
    return code;
  });
}

/** A problem document as the box that pages show. */
export function problemBox(problem) {
  const box = document.getElementById("problem-template").content.firstElementChild.cloneNode(true);
  box.querySelector('[data-slot="detail"]').replaceChildren(...codeSpans(problem.detail));
  for (const row of box.querySelectorAll("[data-row]")) {
    const text = problem[row.dataset.row];
    if (text === undefined || text === null) row.remove();
    else if (row.dataset.row === "mend") row.querySelector("[data-slot]").replaceChildren(...codeSpans(text));
    else row.querySelector("[data-slot]").textContent = text;
  }
  return box;
}

/** Show a box above the page until it is closed. */
export function showNotice(box) {
  const notice = document.createElement("div");
  notice.className = "notice";
  const close = document.createElement("button");
  close.type = "button";
  close.className = "button button--small";
  close.textContent = "Close";
  close.addEventListener("click", () => notice.remove());
  notice.append(box, close);
  document.getElementById("notices").replaceChildren(notice);
}

/** Tell those who do not see the page, and show it for a moment. */
export function announce(words) {
  const announcer = document.getElementById("announcer");
  announcer.textContent = "";
  setTimeout(() => (announcer.textContent = words), 50);
}

/** Whether the service answers. */
export function setConnected(connected) {
  document.getElementById("connection").hidden = connected;
}
