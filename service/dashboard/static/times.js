// Times come as UTC; here they become local, with UTC on hover. Relative ones are kept up to date.
const DATE = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

function relative(moment) {
  const seconds = (moment - Date.now()) / 1000;
  const size = Math.abs(seconds);
  const [unit, length] = UNITS.find(([, length]) => size >= length) ?? UNITS.at(-1);
  const amount = `${Math.floor(size / length)} ${unit}`;
  return seconds > 0 ? `in ${amount}` : `${amount} ago`;
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
