// The trials of a study as its charts know them: the service's columns, and then what events tell.

/** Whether `one` is a better value of the metric than `other`. */
export function better(metric, one, other) {
  return metric === "accuracy" ? one > other : one < other;
}

/** Trials by number; tells its listeners when it has changed, at most four times a second. */
export class TrialStore {
  #listeners = [];
  #at = new Map();
  #due = 0;

  /** `drop`: how much of the metric the smallest network may lose. */
  constructor(study, points, drop) {
    this.study = study;
    this.points = points;
    this.drop = drop;
    this.trials = []; // ascending in number: {number, state, value, macs, params, latency, feasible, origin}
    this.finals = new Map();
    this.starts = [];
    this.fronts = {};
    this.loaded = false;
    this.early = [];
    document.addEventListener("study-event", ({ detail }) => this.#hear(detail));
  }

  /** Fetch the columns. Throws what `get` throws. */
  async load(get) {
    const told = await get(`/v1/studies/${this.study}/history?points=${this.points}`);
    const outside = new Set(told.infeasible);
    this.metric = told.metric;
    this.objectives = told.objectives;
    this.denseValue = told.dense_value;
    this.planned = told.trials;
    this.trials = told.numbers.map((number, at) => ({
      number,
      state: told.states[at],
      value: told.values[at],
      macs: told.macs[at],
      params: told.params[at],
      latency: told.latencies?.[at] ?? null,
      feasible: !outside.has(number),
    }));
    this.#at = new Map(told.numbers.map((number, at) => [number, at]));
    this.finals = new Map(told.finals.map(({ trial, value }) => [trial, value]));
    this.starts = told.starts;
    this.improvements = told.improvements;
    this.fronts = told.fronts;
    this.lastEvent = told.last_event;
    this.loaded = true;
    for (const event of this.early.splice(0)) this.#hear(event);
    this.#tell();
  }

  /** Call `listener(store)` after changes. */
  onChange(listener) {
    this.#listeners.push(listener);
  }

  trial(number) {
    return this.trials[this.#at.get(number)];
  }

  #hear(event) {
    if (event.study !== this.study) return;
    if (!this.loaded) {
      this.early.push(event);
      return;
    }
    if (event.id <= this.lastEvent) return; // the columns know it already, and maybe what came after it
    this.lastEvent = event.id;
    if (event.kind === "trial") this.#take(event.data);
    else if (event.kind === "baseline") this.denseValue = event.data.dense_value;
    else return;
    if (!this.#due) this.#due = setTimeout(() => this.#tell(), 250);
  }

  #take(told) {
    const trial = {
      number: told.number,
      state: told.state,
      value: told.value,
      macs: told.planned?.macs ?? 0,
      params: told.planned?.params ?? 0,
      latency: told.result?.latency?.latency_ms ?? null,
      feasible: told.feasible !== false,
    };
    const at = this.#at.get(trial.number);
    const before = at === undefined ? undefined : this.trials[at];
    if (before) this.trials[at] = trial;
    else this.#insert(trial);
    this.planned = Math.max(this.planned, trial.number + 1);
    if (told.final) this.finals.set(trial.number, told.final.value);
    if (trial.state !== "COMPLETE" || before?.state === "COMPLETE") return;
    if (told.origin !== "sampler") this.starts.push({ trial: trial.number, origin: told.origin, value: trial.value });
    if (trial.feasible) for (const word of Object.keys(this.fronts)) this.#join(word, trial);
  }

  #insert(trial) {
    const last = this.trials.at(-1);
    this.trials.push(trial);
    if (!last || last.number < trial.number) {
      this.#at.set(trial.number, this.trials.length - 1);
      return;
    }
    this.trials.sort((one, other) => one.number - other.number);
    this.#at = new Map(this.trials.map(({ number }, at) => [number, at]));
  }

  /** Take a new trial into a front, and out of it whom it beats. */
  #join(word, trial) {
    const cost = word === "latency_ms" ? "latency" : word;
    const members = this.fronts[word].map((number) => this.trial(number)).filter(Boolean);
    const beaten = (one, by) => by[cost] <= one[cost] && !better(this.metric, one.value, by.value);
    if (trial[cost] === null || members.some((member) => beaten(trial, member))) return;
    const left = members.filter((member) => !beaten(member, trial));
    left.push(trial);
    left.sort((one, other) => one[cost] - other[cost]);
    this.fronts[word] = left.map(({ number }) => number);
  }

  /** What the study is after: the `best` within a budget, the `smallest`, or a `front`. */
  get goal() {
    if (this.objectives.length > 1) return "front";
    return this.objectives[0] === "proxy" ? "best" : "smallest";
  }

  /** The best trial so far after every trial, one a step; of a front there is none. */
  steps() {
    if (this.goal === "front") return [];
    const [first] = this.objectives;
    const seeksProxy = first === "proxy";
    const cost = first === "latency_ms" ? "latency" : first;
    const steps = [];
    let best = null;
    for (const trial of this.trials) {
      if (trial.state !== "COMPLETE" || !trial.feasible) continue;
      const wins = seeksProxy
        ? best === null || better(this.metric, trial.value, best.value)
        : best === null || trial[cost] < best[cost];
      if (wins) steps.push((best = trial));
    }
    return steps;
  }

  #tell() {
    this.#due = 0;
    for (const listener of this.#listeners) listener(this);
  }
}
