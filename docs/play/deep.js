// The second section: a deep network by its settings, its charts, the verdict and the cures.
//
// Settings -> a network of random weights -> its flow, measured, and theory's -> what is drawn.
"use strict";

const deep = {
  settings: { activation: "sigmoid", block: "plain", weights: "glorot", gain: 1, depth: 30, width: 32, seed: 1 },
  points: { name: "moons", count: 96 },
  layer: 1, // the one that is looked at
};

function rebuild() {
  deep.data = drawPoints(deep.points.name, deep.points.count, 1);
  deep.network = drawNetwork(deep.settings);
  deep.theory = theoryOf(deep.network, deep.data.xs);
  deep.flow = measure(deep.network, deep.data.xs, deep.data.ys);
  deep.layer = Math.min(deep.layer, deep.settings.depth);
  showControls();
  showDeep();
  showCures();
  document.dispatchEvent(new Event("rebuilt")); // training starts over
}

function showControls() {
  const { settings } = deep;
  for (const name of ["activation", "weights", "block"]) part(name).value = settings[name];
  part("gain").value = Math.round(10 * Math.log2(settings.gain));
  part("gain-out").textContent = asText(settings.gain);
  for (const name of ["depth", "width"]) {
    part(name).value = settings[name];
    part(`${name}-out`).textContent = settings[name];
  }
  part("layer").max = settings.depth;
}

function showDeep(trained = false) {
  const { flow, theory, settings } = deep;
  const verdict = verdictOf(flow, trained ? null : theory);
  part("verdict").className = `verdict ${verdict.word}`;
  part("verdict").setAttribute("aria-live", trained ? "off" : "polite"); // not at every step
  part("verdict").replaceChildren(
    make("p", { class: "headline" }, verdict.subject, make("strong", {}, verdict.verb), verdict.rest));
  part("verdict-more").replaceChildren(
    make("p", { class: "why" }, whyOf(deep.network, flow)),
    ...verdict.more.map((text) => make("p", { class: "quiet" }, text)));
  const from = { from: 1, to: settings.depth, cursor: deep.layer, pick: lookAt };
  const top = flow.gradient[settings.depth - 1];
  const line = trained ? [] : [{ values: theory.gradient.map((v) => v + top), first: 1, kind: "theory" }];
  const ends = FORMATS.filter((format) => format.name !== "bfloat16").flatMap(({ name, least, most }) => [
    { at: least, below: true, name: `below ${name === "float32" ? "float32 and bfloat16" : name}` },
    { at: most, below: false, name: `above ${name === "float32" ? "float32 and bfloat16" : name}` },
  ]);
  lineChart(part("gradient-chart"), {
    ...from, ends, height: 320, span: 8, title: "size of the gradient, ‖Δz‖, in each layer",
    bottom: "layer, from the input to the output",
    lines: [{ values: flow.gradient.slice(0, -1), first: 1, kind: "gradient" }, ...line],
    label: `Size of the gradient by layer. ${verdict.subject}${verdict.verb}${verdict.rest}`,
  });
  lineChart(part("signal-chart"), {
    ...from, height: 250, title: "root mean square of z", bottom: "layer",
    lines: [
      { values: flow.spread.slice(0, -1), first: 1, kind: "spread" },
      { values: flow.signal.slice(0, -1), first: 1, kind: "signal" },
      ...(trained ? [] : [{ values: theory.signal, first: 1, kind: "theory" }]),
    ],
    label: `Size of the signal by layer: ${sizeText(flow.signal[0])} in the first, ` +
      `${sizeText(flow.signal[settings.depth - 1])} in the last.`,
  });
  showUnits();
}

// Units: the outputs a of every layer as one column of shades, and those of one layer as bars.
const BINS = 24;

function unitsOf(l) {
  const { a } = deep.flow.way.hidden[l - 1];
  const bounded = { sigmoid: [0, 1], tanh: [-1, 1] }[deep.settings.activation];
  if (bounded) return { counts: histogram(a, ...bounded, BINS), ends: bounded, unit: "" };
  const largest = largestOf(a);
  const rms = largest > 0 ? largest * Math.sqrt(a.reduce((sum, v) => sum + (v / largest) ** 2, 0) / a.length) : 1;
  return { counts: histogram(a.map((v) => v / rms), -2, 4, BINS), ends: [-2, 4], unit: " × their size" };
}

function showUnits() {
  const { depth } = deep.settings;
  const canvas = part("units-map");
  const [width, height] = [canvas.parentElement.clientWidth, 150];
  const context = pen(canvas, width, height);
  context.fillStyle = colour("--green");
  const [left, right] = [54, 12];
  const step = (width - left - right) / depth;
  const { ends, unit } = unitsOf(1);
  for (let l = 1; l <= depth; l++) {
    const { counts } = unitsOf(l);
    const most = Math.max(...counts);
    counts.forEach((count, bin) => {
      context.globalAlpha = count ? 0.08 + 0.92 * Math.sqrt(count / most) : 0;
      const y = height - ((bin + 1) / BINS) * height;
      context.fillRect(left + (l - 1) * step, y, Math.max(step - (step > 6 ? 1 : 0), 0.6), height / BINS + 0.3);
    });
  }
  context.globalAlpha = 1;
  context.strokeStyle = colour("--ink");
  context.strokeRect(left + (deep.layer - 1) * step, 0.5, Math.max(step, 2), height - 1);
  context.fillStyle = colour("--quiet");
  context.font = "12px system-ui, sans-serif";
  context.textAlign = "right";
  context.fillText(asText(ends[1]), left - 7, 11);
  context.fillText(asText(ends[0]), left - 7, height - 3);
  part("units-legend").textContent = `what the units send up${unit}, each column a layer`;
  const saturated = percent(deep.flow.saturated[deep.layer - 1]);
  canvas.setAttribute("aria-label", `Histograms of what the units of each layer send up. In layer ${deep.layer} ${saturated} are saturated.`);
  showLayer();
}

const percent = (share) => `${Math.round(100 * share)} %`;

function showLayer() {
  const { flow, layer, settings } = deep;
  const { counts, ends } = unitsOf(layer);
  const place = part("units-layer");
  const [width, height, left, right] = [Math.max(place.clientWidth, 200), 100, 54, 12];
  const most = Math.max(...counts);
  const step = (width - left - right) / BINS;
  const drawn = make("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Histogram of layer ${layer}` });
  counts.forEach((count, bin) => {
    const tall = (count / most) * (height - 36);
    drawn.append(make("rect", { class: "bar", x: left + bin * step, y: height - 20 - tall, width: step - 1, height: tall }));
  });
  drawn.append(
    make("text", { class: "axis", x: left, y: 12 }, `units of layer ${layer}`),
    make("text", { class: "tick", x: left, y: height - 5 }, asText(ends[0])),
    make("text", { class: "tick", x: width - right, y: height - 5, "text-anchor": "end" }, asText(ends[1])));
  place.replaceChildren(drawn);
  part("layer").value = layer;
  part("layer-out").textContent = `${layer} of ${settings.depth}`;
  const text =
    `Layer ${layer}: gradient ${sizeText(flow.gradient[layer - 1])}, signal ${sizeText(flow.signal[layer - 1])}, ` +
    `examples differ by ${sizeText(flow.spread[layer - 1])} of it, ${percent(flow.saturated[layer - 1])} of the units saturated.`;
  part("layer-text").textContent = text;
  part("layer").setAttribute("aria-valuetext", text);
}

function lookAt(layer) {
  if (layer === deep.layer) return;
  deep.layer = layer;
  for (const id of ["gradient-chart", "signal-chart"]) moveCursor(part(id), layer);
  showUnits();
}

function moveCursor(place, layer) {
  const line = place.querySelector(".cursor");
  const { depth } = deep.settings;
  const width = Math.max(place.clientWidth, 200);
  const x = 54 + (depth > 1 ? (layer - 1) / (depth - 1) : 0.5) * (width - 66);
  line.setAttribute("x1", x);
  line.setAttribute("x2", x);
}

// What a layer does to a gradient on its way down, in the mean over layers: that of logarithms.
//     slope: √ mean σ′²,   weights: √(fan-in mean θ²),   sd: what a norm divides by,   factor: all of it
function factorsOf(network, flow) {
  const { layers, sigma, skip, norm } = network;
  const squared = (values, f) => values.reduce((sum, v) => sum + f(v) ** 2, 0) / values.length;
  const logs = { slope: 0, weights: 0, sd: 0, branch: 0, factor: 0 };
  const between = layers.length - 2; // hidden layers that a gradient leaves for another one
  for (let l = 1; l <= between; l++) {
    const { zHat, inverse } = flow.way.hidden[l - 1];
    const one = {
      slope: squared(zHat, sigma.prime),
      weights: layers[l].fanIn * squared(layers[l].theta, (v) => v),
      sd: norm ? 1 / squared(inverse, (v) => v) : 1,
    };
    one.branch = (one.slope * one.weights) / one.sd;
    one.factor = skip ? 1 + skip ** 2 * one.branch : one.branch;
    for (const name of Object.keys(logs)) logs[name] += Math.log(one[name]) / 2 / between;
  }
  return Object.fromEntries(Object.entries(logs).map(([name, log]) => [name, Math.exp(log)]));
}

// Why the gradient has its rate, by the numbers of this network.
function whyOf(network, flow) {
  const { word, rate } = judge(flow);
  if (Number.isNaN(rate) || word === "cut" || word === "undefined") return "";
  const { slope, weights, sd, branch, factor } = factorsOf(network, flow);
  const steepest = asText(network.sigma.steepest).replace(/\.?0+$/, "").replace("0.25", "¼");
  const of = `the slope σ′ of its units (${asText(slope)}, at most ${steepest})`;
  const parts = `${of} × its weights (${asText(weights)})${network.norm ? ` ÷ what the norm divides by (${asText(sd)})` : ""}`;
  const measured = `measured: ${asText(10 ** rate)}`;
  if (!network.skip) return `Why: going down, each layer multiplies the gradient by ${parts} = ${asText(factor)}; ${measured}.`;
  const share = network.skip === 1 ? "" : `${asText(network.skip)} × `;
  return `Why: the skip hands the gradient down as it is, and each layer adds ${share}${parts}, together √(1 + ${asText(network.skip * branch)}²), in the mean ${asText(factor)}; ${measured}.`;
}

// What is said of a flow: a headline in three parts, a word for its colour, and more sentences.
function verdictOf(flow, theory) {
  const { word, total, rate, depth } = judge(flow);
  const first = `layer 1 gets ${sizeText(total)} of what layer ${depth} gets`;
  const each = Number.isNaN(rate) ? "." : `, a factor of ${asText(10 ** rate)} a layer.`;
  const [verb, rest] = {
    vanishing: ["vanishes", `: ${first}${each}`],
    exploding: ["explodes", `: ${first.replace(" of what", " times what")}${each}`],
    steady: ["is steady", depth > 1 ? `: ${first}.` : ": there is only one hidden layer."],
    cut: ["is cut", ": so many units are off that nothing at all comes down to layer 1."],
    undefined: ["is lost", ": numbers have become infinite."],
  }[word];
  const more = [];
  const lost = FORMATS.map((format) => ({ name: format.name, layer: lostIn(format, flow.largest) })).filter(({ layer }) => layer);
  if (lost.length) {
    const layers = [...new Set(lost.map(({ layer }) => layer))];
    const named = layers.map((layer) => {
      const names = lost.filter((format) => format.layer === layer).map(({ name }) => name);
      return `${names.join(" and ")} from layer ${layer} down`;
    });
    more.push(`There is no number for it in ${named.join(", and in ")}.`);
  } else if (word !== "undefined") more.push("Every format down to float16 has numbers for all of it.");
  if (theory && depth > 1 && word !== "undefined") {
    more.push(`Theory of infinite width says ${sizeText(theory.gradient[0])} instead of ${sizeText(total)}.`);
  }
  const spread = flow.spread[depth - 1];
  if (spread < -2) {
    more.push(`The examples have become almost alike: in layer ${depth} they differ by ${sizeText(spread)} of the signal, so there is little to learn from.`);
  }
  return { word, subject: "The gradient ", verb, rest, more };
}

// Cures: changes of the settings, each measured on this network when there is time.
const CURES = [
  ["Critical weights", { weights: "critical", gain: 1 }],
  ["Orthogonal weights", { weights: "orthogonal", gain: 1 }],
  ["Relu with He weights", { activation: "relu", weights: "he", gain: 1 }],
  ["Skips, scaled by 1/√L", { block: "scaled" }],
  ["Skips around a norm", { block: "prenorm" }],
  ["A norm alone", { block: "norm" }],
];

let curing = 0; // the number of the latest attempt; older ones stop

function showCures() {
  const attempt = ++curing;
  const open = CURES.filter(([, change]) => Object.entries(change).some(([name, value]) => deep.settings[name] !== value));
  const buttons = open.map(([name, change]) => make("button", { type: "button", onclick: () => apply(change) },
    make("b", {}, name), make("span", {}, "…")));
  const back = deep.before && make("button", { type: "button", onclick: () => { deep.settings = deep.before; deep.before = null; rebuild(); } },
    make("b", {}, "Back"), make("span", {}, "to the network before the cure"));
  part("cures").replaceChildren(...buttons, ...(back ? [back] : []));
  const tryOne = (i) => {
    if (attempt !== curing || i >= open.length) return;
    const flow = measure(drawNetwork({ ...deep.settings, ...open[i][1] }), deep.data.xs, deep.data.ys);
    const { word, total, depth } = judge(flow);
    const alike = flow.spread[depth - 1] < -2;
    const result = word === "cut" || word === "undefined" ? "no gradient" : `${word}: layer 1 gets ${sizeText(total)}`;
    buttons[i].className = word === "steady" && !alike ? "good" : "bad";
    buttons[i].lastChild.textContent = result + (alike ? `, ${word === "steady" ? "but" : "and"} the examples become alike` : "");
    setTimeout(tryOne, 30, i + 1);
  };
  setTimeout(tryOne, 150, 0);
}

function apply(change) {
  deep.before ??= deep.settings;
  deep.settings = { ...deep.settings, ...change };
  rebuild();
}

// Draw once a frame, however fast a slider moves.
function soon(task) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; task(); });
  };
}

function startDeep() {
  part("activation").append(...Object.keys(ACTIVATIONS).map((name) => make("option", { value: name }, name)));
  const rebuildSoon = soon(rebuild);
  const set = (change) => {
    deep.settings = { ...deep.settings, ...change };
    deep.before = null;
    rebuildSoon();
  };
  for (const name of ["activation", "weights", "block"]) part(name).addEventListener("change", (e) => set({ [name]: e.target.value }));
  for (const name of ["depth", "width"]) part(name).addEventListener("input", (e) => set({ [name]: Number(e.target.value) }));
  part("gain").addEventListener("input", (e) => set({ gain: 2 ** (e.target.value / 10) }));
  part("redraw").addEventListener("click", () => set({ seed: deep.settings.seed + 1 }));
  part("layer").addEventListener("input", (e) => lookAt(Number(e.target.value)));
  part("units-map").addEventListener("pointermove", (e) => {
    const { left, width } = e.target.getBoundingClientRect();
    const at = Math.ceil(((e.clientX - left - 54) / (width - 66)) * deep.settings.depth);
    lookAt(Math.min(deep.settings.depth, Math.max(1, at)));
  });
  rebuild();
}

startDeep();
