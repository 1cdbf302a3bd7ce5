// Buttons that ask for a trial's network as a file: `data-make` is the study's address, the request stands beside it.
import { askOnClick } from "./asking.js";

askOnClick(
  "[data-make]",
  (data) => data.make,
  (data) => ({ trial: Number(data.trial), format: data.format, tuned: "tuned" in data }),
  (made) => (made.state === "ready" ? `${made.name} is there` : `${made.name} is being made`),
);
