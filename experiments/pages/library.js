// The library of charts comes as gzip in base64: a script, which the page's policy knows by its hash.
"use strict";

async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

const library = unpacked(document.getElementById("library").textContent).then((text) => {
  const script = document.createElement("script");
  script.textContent = text;
  document.head.append(script);
});
