// The pages of models and data sets: uploading, and leaving a page whose thing is deleted.
import "./upload.js";

document.addEventListener(
  "htmx:afterRequest",
  (event) => {
    const { successful, requestConfig, elt } = event.detail;
    const place = elt.closest("[data-leave]");
    if (!place || !successful || requestConfig?.verb !== "delete") return;
    event.stopImmediatePropagation(); // nothing is asked for again: the page's thing is gone
    location.assign(place.dataset.leave);
  },
  true,
);
