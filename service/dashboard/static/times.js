// Times come as UTC; here they become local, with UTC on hover. Relative ones are kept up to date.
const DATE = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "narrow" });
const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

function relative(moment) {
  const seconds = (moment - Date.now()) / 1000;
  const [unit, length] = UNITS.find(([, length]) => Math.abs(seconds) >= length) ?? UNITS.at(-1);
  return RELATIVE.format(Math.trunc(seconds / length), unit);
}

function write(element) {
  const moment = new Date(element.dateTime);
  const text = element.dataset.time === "relative" ? relative(moment) : DATE.format(moment);
  if (element.textContent !== text) element.textContent = text;
  if (element.dataset.time === "relative" && !element.dataset.said) {
    element.dataset.said = "yes";
    element.title = `${DATE.format(moment)}; ${element.title}`;
  }
}

/** Make all times below an element local. */
export function localise(root = document) {
  for (const element of root.querySelectorAll("time[data-time]")) write(element);
}

localise();
document.addEventListener("htmx:afterSwap", () => localise());
setInterval(() => {
  for (const element of document.querySelectorAll('time[data-time="relative"]')) write(element);
}, 5000);
