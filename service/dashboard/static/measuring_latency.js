// Buttons that have a trial's network timed beside the dense one: `data-measure-latency` is the study's address.
import { askOnClick } from "./asking.js";

askOnClick(
  "[data-measure-latency]",
  (data) => data.measureLatency,
  (data) => ({ trial: Number(data.trial), again: data.again !== undefined }),
  (made) => (made.state === "ready" ? "The latency is measured already" : "The latency is being measured"),
);
