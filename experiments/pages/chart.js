"use strict";
vegaEmbed("#chart", JSON.parse(document.getElementById("spec").textContent), {
  ast: true,
  logLevel: 1, // errors: that a line has nothing to show is none
  actions: { export: true, source: false, compiled: false, editor: false },
}).catch(console.error);
