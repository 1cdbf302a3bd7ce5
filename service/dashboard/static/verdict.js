// Whether a study’s form asks for something that can be kept, and what that is good for without any search.
import { csrfToken } from "./api.js";
import { costWord, count, percent } from "./figures.js";
import { problemBox } from "./notices.js";
import { missing, request } from "./study_request.js";

const PAUSE_MS = 150;
const REST_MS = 500; // what a budget is good for takes longer to say, and is asked for once nothing moves any more
const ORIGINS = { uniform: "the same share for every layer", equal_error: "the same error for every layer" };

function cell(label, text) {
  const made = document.createElement("td");
  made.className = "right number";
  made.dataset.label = label;
  made.textContent = text;
  return made;
}

class Verdict {
  constructor(form) {
    this.form = form;
    this.place = form.querySelector("[data-verdict]");
  }

  say(tone, word, words) {
    const badge = this.place.querySelector("[data-word]");
    badge.className = `state${tone ? ` state--${tone}` : ""}`;
    badge.textContent = word;
    this.place.querySelector("[data-words]").textContent = words;
  }

  show(found) {
    const limits = Object.entries(found.limits).map(([word, limit]) => `${word.replace("_ms", "")} ≤ ${costWord(word, limit)}`);
    if (found.feasible) this.say("good", "✓ can be kept", limits.join(", "));
    else this.say("bad", "✕ cannot be kept", limits.join(", "));
    this.refuse(found.problem);
    if (!found.feasible) this.allocations([]);
    for (const row of this.form.querySelectorAll("[data-bound]")) {
      const note = row.querySelector("[data-least]");
      const least = found.least[row.dataset.bound];
      if (note && least) note.textContent = `the least that is possible: ${least.percent} (${costWord(row.dataset.bound, least.amount)})`;
      const slider = row.querySelector("[data-slider]");
      if (slider && least) slider.setAttribute("aria-valuetext", `${slider.value} %; the least is ${least.percent}`);
    }
  }

  refuse(problem) {
    const place = this.place.querySelector("[data-refusal]");
    place.replaceChildren();
    if (!problem) return;
    place.append(problemBox(problem));
    for (const [word, amount] of Object.entries(problem.extra?.nearest_feasible ?? {})) {
      if (!word.endsWith("_percent")) continue;
      const button = document.createElement("button");
      button.type = "button";
      button.className = "button";
      button.textContent = `Use ${amount} of the ${word === "latency_ms_percent" ? "latency" : word.replace("_percent", "")}`;
      button.addEventListener("click", () => this.use(word.replace("_percent", ""), amount));
      place.append(button, " ");
    }
  }

  use(word, amount) {
    const row = this.form.querySelector(`[data-bound="${word}"]`);
    const field = row.querySelector("[data-amount]");
    row.querySelector("[data-unit]").value = "%";
    field.value = amount.replace("%", "");
    field.dispatchEvent(new Event("input", { bubbles: true }));
    field.focus();
  }

  allocations(found) {
    const place = this.place.querySelector("[data-allocations]");
    place.hidden = !found.length;
    place.querySelector("tbody").replaceChildren(
      ...found.map((one) => {
        const row = document.createElement("tr");
        const cells = [
          ["Macs", `${count(one.cost.macs)} (${percent(one.macs_fraction, 1)})`],
          ["Parameters", `${count(one.cost.params)} (${percent(one.params_fraction, 1)})`],
          ["Largest error", percent(one.largest_error, 1)],
        ];
        const head = document.createElement("th");
        head.scope = "row";
        head.className = "wide";
        head.textContent = ORIGINS[one.origin] ?? one.origin;
        row.append(head, ...cells.map(([label, text]) => cell(label, text)));
        return row;
      }),
    );
  }
}

/** What the service says of a request; a refusal to say anything counts as one of the request. */
async function examined(asked, allocations, signal) {
  const answer = await fetch(`/v1/studies/feasibility?allocations=${allocations}`, {
    method: "POST",
    headers: { accept: "application/json", "content-type": "application/json", "x-csrf-token": csrfToken() },
    body: JSON.stringify(asked),
    signal,
  });
  const found = await answer.json();
  return answer.ok ? found : { feasible: false, problem: found, limits: {}, least: {}, allocations: [] };
}

/** Whether the service would take the request; the answer to the newest question counts. */
export class Asking {
  constructor(form) {
    this.form = form;
    this.verdict = new Verdict(form);
    this.timer = 0;
    this.controller = null;
  }

  soon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.now(), PAUSE_MS);
  }

  async now() {
    clearTimeout(this.timer);
    this.controller?.abort();
    const asked = request(this.form);
    const mend = missing(asked, this.form.elements.goal.value);
    if (mend) {
      this.verdict.refuse(null);
      this.verdict.allocations([]);
      this.verdict.say("warn", "not complete", mend);
      return;
    }
    const mine = (this.controller = new AbortController());
    try {
      const found = await examined(asked, false, mine.signal);
      if (mine !== this.controller) return;
      this.verdict.show(found);
      if (!found.feasible || !Object.keys(found.limits).length) return;
      await new Promise((done) => setTimeout(done, REST_MS));
      if (mine !== this.controller) return;
      this.verdict.allocations((await examined(asked, true, mine.signal)).allocations);
    } catch (failure) {
      if (failure.name !== "AbortError") this.verdict.say("warn", "not known", "the service cannot be reached; it is asked again at the next change");
    }
  }
}
