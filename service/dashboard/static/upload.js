// Files on their way to the service (the macro `upload`): chosen or dropped, sent with progress, cancelled.
import { csrfToken } from "./api.js";
import { announce, problemBox } from "./notices.js";

const LONGEST_NAME = 200;

/** What people know a file by: its name without the ending. */
function nameOf(file) {
  const name = file.name.replace(/\.(safetensors|onnx)$/i, "").replace(/[\x00-\x1f\x7f]/g, " ").trim();
  return name.slice(0, LONGEST_NAME) || "unnamed";
}

function size(bytes) {
  const power = Math.min(4, Math.max(0, Math.floor(Math.log2(Math.max(1, bytes)) / 10)));
  return power === 0 ? `${bytes} B` : `${(bytes / 1024 ** power).toFixed(1)} ${["KiB", "MiB", "GiB", "TiB"][power - 1]}`;
}

/** Send a file; what it became. `told` hears of the share that is sent. Rejects with a problem document. */
function sent(address, file, request, told) {
  return new Promise((resolve, reject) => {
    request.open("POST", `${address}?name=${encodeURIComponent(nameOf(file))}`);
    request.responseType = "json";
    request.setRequestHeader("accept", "application/json");
    request.setRequestHeader("content-type", "application/octet-stream");
    request.setRequestHeader("x-csrf-token", csrfToken());
    request.upload.addEventListener("progress", (event) => told(event.loaded));
    request.addEventListener("load", () => {
      if (request.status < 300) resolve(request.response);
      else reject(request.response ?? { detail: `the service answered ${request.status}` });
    });
    request.addEventListener("abort", () => reject(null));
    request.addEventListener("error", () =>
      reject({ detail: "the upload was cut off", mend: "check your connection, and that the file did not change; then try again" }),
    );
    request.send(file);
  });
}

function prepare(form) {
  const part = (name) => form.querySelector(`[data-${name}]`);
  const [input, drop, sending, bar, words, problem] = ["file", "drop", "sending", "progress", "words", "problem"].map(part);
  let request = null;

  async function take(file) {
    if (!file || request) return;
    request = new XMLHttpRequest();
    problem.replaceChildren();
    part("name").textContent = file.name;
    drop.hidden = true;
    sending.hidden = false;
    const tell = (done) => {
      bar.value = file.size ? done / file.size : 1;
      words.textContent = done < file.size ? `${size(done)} of ${size(file.size)}` : `${size(file.size)}, being checked`;
    };
    tell(0);
    part("cancel").focus();
    try {
      const made = await sent(form.dataset.upload, file, request, tell);
      announce(`${file.name} is uploaded`);
      if (form.dataset.next) location.assign(form.dataset.next + encodeURIComponent(made.id));
      else form.dispatchEvent(new CustomEvent("uploaded", { detail: made, bubbles: true }));
    } catch (refusal) {
      if (refusal instanceof Error) throw refusal;
      if (refusal) problem.replaceChildren(problemBox(refusal));
      else announce("The upload was cancelled");
    } finally {
      const held = sending.contains(document.activeElement);
      request = null;
      sending.hidden = true;
      drop.hidden = false;
      input.value = "";
      if (held) input.focus(); // it was on what is hidden now
    }
  }

  input.addEventListener("change", () => take(input.files[0]));
  part("cancel").addEventListener("click", () => request?.abort());
  form.addEventListener("submit", (event) => event.preventDefault());
  for (const kind of ["dragenter", "dragover"]) {
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.add("drop--over");
    });
  }
  drop.addEventListener("dragleave", () => drop.classList.remove("drop--over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("drop--over");
    take(event.dataTransfer.files[0]);
  });
  addEventListener("beforeunload", (event) => {
    if (request) event.preventDefault(); // the browser asks whether the upload is to be given up
  });
  take(input.files[0]); // it was chosen before this script was there to hear of it
}

for (const form of document.querySelectorAll("[data-upload]")) prepare(form);
