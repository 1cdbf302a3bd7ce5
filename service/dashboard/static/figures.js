// Numbers as pages show them: as figures.py.
const UNITS = ["", " k", " M", " G", " T"];

/** A large number with three digits that mean something: 1814073344 → "1.81 G". */
export function count(number) {
  const rounded = Number(number.toPrecision(3));
  const size = Math.log10(Math.max(1, Math.abs(rounded)));
  const power = Math.min(UNITS.length - 1, Math.floor(size / 3 + 1e-9));
  return power ? `${Number((rounded / 1000 ** power).toPrecision(3))}${UNITS[power]}` : `${Math.round(number)}`;
}

/** A number with three digits. */
export function short(number) {
  return `${Number(number.toPrecision(3))}`;
}

/** An amount of a cost: "400 k", "2.5 ms". */
export function costWord(word, amount) {
  return word === "latency_ms" ? `${short(amount)} ms` : count(amount);
}

/** A share: 0.331 → "33%". */
export function percent(share, digits = 0) {
  return `${(100 * share).toFixed(digits)}%`;
}

/** A value of the metric: accuracy in per cent; a dash where there is none. */
export function metricWord(metric, value) {
  if (value === null || value === undefined) return "–";
  return metric === "accuracy" ? percent(value, 2) : short(value);
}
