// One chart, made to fit the page: panels side by side stand below one another on a phone.
"use strict";

const place = document.getElementById("chart");
const room = place.clientWidth;
const NARROW = 760; // pixels
const AXIS = 110; // pixels for the axis on the left of a panel and the space on its right

function fitted(spec) {
  const { hconcat, ...rest } = spec;
  const panels = hconcat ?? spec.concat;
  if (!panels) return { ...spec, width: room, autosize: { type: "fit-x", contains: "padding" } };
  const columns = room < NARROW ? 1 : hconcat ? hconcat.length : spec.columns;
  const width = room / columns - AXIS;
  return { ...rest, columns, concat: panels.map((panel) => ({ ...panel, width })) };
}

const spec = JSON.parse(document.getElementById("spec").textContent, (key, value) =>
  key === "labelLimit" ? Math.min(value, room / 2.6) : value
);

const options = {
  ast: true,
  renderer: "svg",
  logLevel: 1, // errors: that a line has nothing to show is none
  actions: { export: true, source: false, compiled: false, editor: false },
  tooltip: { disableDefaultStyle: true },
};

library
  .then(() => vegaEmbed(place, fitted(spec), options))
  .then(() => {
    document.querySelector(".vega-embed summary")?.setAttribute("aria-label", "Save this chart");
    document.documentElement.dataset.ready = "yes";
  })
  .catch(console.error);
