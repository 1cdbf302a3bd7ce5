// What every page needs; each concern has a module of its own.
import "./theme_switch.js";
import "./times.js";
import "./copying.js";
import "./changes.js";
import "./live.js";

// Where the header is too narrow for all pages, the one that is open is in sight.
document.querySelector(".top__nav [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });
