// Parts of a page that follow what happens (the macro `live`): by events, and every so many seconds.
//
// A study's stream tells that something happened; the part is then fetched again, at most once a second. Every event
// is passed on to the page, too, as a "study-event" of the document with the event's data in `detail`: charts add what
// it tells instead of asking for everything again.

const LEAST_SECONDS = 1;
const RETRY_MS = 3000;
const AFTERWARDS = new Set(["artifact", "finetune", "latency"]); // what is asked for of a trial
const KINDS = ["study", "baseline", "trial", ...AFTERWARDS];
const UNDER_WAY = new Set(["pending", "running"]); // of what is asked for
const ENDED = new Set(["completed", "failed", "cancelled"]);

const fetched = new Map(); // by a part's id: when it was asked for last, in ms
const stale = new Set(); // ids of parts that an event has made old
const streams = new Set(); // paths of those that are heard

const { callbacks } = window.Idiomorph.defaults;
callbacks.beforeNodeMorphed = (before, after) => {
  if (before.dataset?.keep !== undefined) return false; // scripts own it
  return !(before.localName === "time" && after.localName === "time" && before.dateTime === after.dateTime);
};
callbacks.beforeAttributeUpdated = (name, node) => !(name === "open" && node.localName === "details");

function refresh(part) {
  stale.delete(part.id);
  fetched.set(part.id, Date.now());
  window.htmx.trigger(part, "refresh");
}

function isDue(part) {
  const age = (Date.now() - (fetched.get(part.id) ?? opened)) / 1000;
  return age >= (stale.has(part.id) ? LEAST_SECONDS : Number(part.dataset.live));
}

function look() {
  if (document.visibilityState !== "visible") return;
  for (const part of document.querySelectorAll("[data-live]")) {
    follow(part);
    if (isDue(part)) refresh(part);
  }
}

function streamOf(part) {
  return part.dataset.events?.split("?")[0];
}

function follow(part) {
  const address = part.dataset.events; // with the number of the last event that the page shows, which grows
  const path = streamOf(part);
  if (!path || streams.has(path)) return;
  streams.add(path);
  connect(path, address);
}

/** Hear a stream from one event on, for as long as its study goes on. */
function connect(path, address) {
  const stream = new EventSource(address);
  let last = null;
  let ended = false;
  const hear = (message) => {
    const event = JSON.parse(message.data);
    last = event.id;
    if (event.kind === "study") ended = ENDED.has(event.data.state);
    if (AFTERWARDS.has(event.kind)) ended = !UNDER_WAY.has(event.data.state);
    for (const one of document.querySelectorAll("[data-live]")) if (streamOf(one) === path) stale.add(one.id);
    document.dispatchEvent(new CustomEvent("study-event", { detail: event }));
  };
  for (const kind of KINDS) stream.addEventListener(kind, hear);
  stream.addEventListener("error", () => {
    if (ended) return stream.close();
    if (stream.readyState !== EventSource.CLOSED) return; // the browser connects again, and goes on where it was
    const next = last === null ? address : `${path}?after=${last}`; // it gave up: something else answered meanwhile
    setTimeout(() => {
      const wanted = [...document.querySelectorAll("[data-events]")].some((one) => streamOf(one) === path);
      if (wanted) connect(path, next);
      else streams.delete(path);
    }, RETRY_MS);
  });
}

const opened = Date.now();
setInterval(look, 500);
document.addEventListener("visibilitychange", look);
look();
