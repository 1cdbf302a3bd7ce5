// What every page needs; each concern has a module of its own.
import "./theme_switch.js";
import "./times.js";
import "./copying.js";
import "./changes.js";
import "./live.js";
