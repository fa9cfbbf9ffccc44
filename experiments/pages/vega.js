// Charts come with their library: as gzip in base64, which the page unpacks. The
// library is then a script that the page's policy knows by its hash.
"use strict";

async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

const inElement = (id) => unpacked(document.getElementById(id).textContent);

const specs = inElement("charts").then(JSON.parse);

const library = inElement("library").then((text) => {
  const script = document.createElement("script");
  script.textContent = text;
  document.head.append(script);
});

function saving(view, kind) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = `Save as ${kind.toUpperCase()}`;
  button.addEventListener("click", async () => {
    const link = document.createElement("a");
    link.href = await view.toImageURL(kind, 2);
    link.download = `chart.${kind}`;
    link.click();
    button.parentElement.open = false;
  });
  return button;
}

function menu(view) {
  const details = document.createElement("details");
  const summary = document.createElement("summary");
  summary.textContent = "⋯";
  summary.setAttribute("aria-label", "Save this chart");
  details.append(summary, saving(view, "png"), saving(view, "svg"));
  return details;
}

// Draws a chart in an element, and returns its view; `patch` changes what it is compiled to.
async function drawn(place, spec, patch) {
  await library;
  const container = document.createElement("div");
  place.replaceChildren(container);
  const { view } = await vegaEmbed(container, spec, {
    actions: false,
    ast: true,
    defaultStyle: false,
    logLevel: 1, // errors: that a line has nothing to show is none
    patch,
    renderer: "svg",
    tooltip: { disableDefaultStyle: true },
  });
  place.append(menu(view));
  return view;
}
