// One chart, made to fit the page: panels side by side stand below one another on a phone.
"use strict";

const place = document.getElementById("chart");
const room = place.clientWidth;
const NARROW = 760; // pixels
const AXIS = 110; // pixels for the axis on the left of a panel and the space on its right

function fitted(spec) {
  const { layout, signals } = spec;
  if (!layout?.columns) return spec;
  const columns = room < NARROW ? 1 : layout.columns;
  const width = room / columns - AXIS;
  const isWidth = ({ name, value }) => /width$/i.test(name) && value !== undefined;
  return {
    ...spec,
    ...(spec.width && { width }), // of a single panel
    layout: { ...layout, columns },
    signals: signals.map((signal) => (isWidth(signal) ? { ...signal, value: width } : signal)),
  };
}

const labelled = (spec) =>
  JSON.parse(JSON.stringify(spec), (key, value) =>
    key === "labelLimit" ? Math.min(value, room / 2.6) : value
  );

specs
  .then(([spec]) => drawn(place, labelled(spec), fitted))
  .then(() => {
    document.documentElement.dataset.ready = "yes";
  })
  .catch(console.error);
