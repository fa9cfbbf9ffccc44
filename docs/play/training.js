// The third section: the deep network learns two moons or spirals, a few steps a frame.
"use strict";

const training = { running: false };

// Training starts over, with the network as `rebuild` has just drawn it.
function restart() {
  Object.assign(training, {
    running: false,
    optimiser: { name: part("optimiser").value, rate: rateOf(), steps: 0 },
    history: [],
    shown: 0, // when charts and map were drawn last, in milliseconds
    mapped: 0,
  });
  note(deep.flow);
  showTraining();
}

// Learning rates to begin with, as the slider has them: 10^(value / 4).
const RATES = { sgd: -4, adam: -10 };
const rateOf = () => 10 ** (part("rate").value / 4);

function note(flow) {
  const { depth } = deep.settings;
  training.history.push({
    accuracy: flow.accuracy,
    loss: flow.loss,
    first: flow.gradient[0],
    last: flow.gradient[depth - 1],
  });
}

// Steps for some milliseconds, at least one; then the next frame.
function learn(once = false) {
  const start = performance.now();
  do {
    deep.flow = trainingStep(deep.network, deep.data, training.optimiser);
    if (training.optimiser.steps > 1) note(deep.flow);
    if (!Number.isFinite(deep.flow.loss)) training.running = false;
  } while (!once && training.running && performance.now() - start < 20);
  const now = performance.now();
  if (once || !training.running || now - training.shown > 120) {
    training.shown = now;
    showDeep(true);
    showTraining();
  }
  if (training.running && !once) requestAnimationFrame(() => training.running && learn());
}

// One of every few entries, so that a long history stays a short path.
function thinned(name) {
  const { history } = training;
  const every = Math.max(1, Math.ceil(history.length / 400));
  return { values: history.filter((_, i) => i % every === 0).map((entry) => entry[name]), every };
}

// Why a network has not learned its points; empty if it has, or has had few steps.
function whyNot(history, flow) {
  const latest = history[history.length - 1];
  if (history.length < 50 || latest.accuracy > 0.9) return "";
  const spread = flow.spread[deep.settings.depth - 1];
  const least = history.reduce((best, entry, step) => (entry.loss < best.loss ? { loss: entry.loss, step } : best), { loss: Infinity });
  const before = history[Math.floor(0.8 * history.length)].loss;
  if (spread < -2) {
    return `It does not learn, since in the last hidden layer the examples differ by only ${sizeText(spread)} of the signal: ` +
      "nothing above can tell them apart, whatever the gradient. A cure has to keep their differences, too.";
  }
  if (latest.first - latest.last < -2) {
    return `It does not learn, since layer 1 gets ${sizeText(latest.first - latest.last)} of the gradient of the last hidden layer: its weights hardly move.`;
  }
  if (latest.loss > 1.2 * least.loss) {
    return `It does not learn, since the steps are too large for it: the loss was ${least.loss.toFixed(3)} at step ${least.step}, and jumped. Start over with a smaller learning rate.`;
  }
  if (latest.loss < 0.99 * before) return "It still learns: go on, or take a larger learning rate.";
  return "It does not learn, although the gradient arrives and the examples differ: its steps lead nowhere from here. Try another learning rate or optimiser.";
}

function showTraining() {
  const { history, optimiser, running } = training;
  const latest = history[history.length - 1];
  part("run").textContent = running ? "Pause" : optimiser.steps ? "Go on" : "Train";
  part("rate-out").textContent = asText(rateOf());
  const lost = !Number.isFinite(latest.loss);
  const after = `After ${optimiser.steps} step${optimiser.steps === 1 ? "" : "s"}`;
  part("train-text").textContent = lost
    ? `${after} the loss is no number any more: the steps were too large for this gradient. Start over with a smaller learning rate, or cure the network first.`
    : `${after} ${percent(latest.accuracy)} of the points are right, loss ${latest.loss.toFixed(3)}. ` +
      `Layer 1 has a gradient of ${sizeText(latest.first)}, the last hidden layer ${sizeText(latest.last)}.`;
  part("train-why").textContent = lost ? "" : whyNot(history, deep.flow);
  const steps = Math.max(optimiser.steps, 10);
  const axis = (every) => ({ from: 0, to: steps / every, bottom: every > 1 ? `step / ${every}` : "step", height: 240 });
  const accuracy = thinned("accuracy");
  lineChart(part("accuracy-chart"), {
    ...axis(accuracy.every), plain: [0, 1], title: "points that are right",
    lines: [{ values: accuracy.values, first: 0, kind: "signal" }],
    label: `Accuracy by step, now ${percent(latest.accuracy)}`,
  });
  lineChart(part("training-chart"), {
    ...axis(accuracy.every), title: "size of the gradient, ‖Δz‖",
    lines: [
      { values: thinned("last").values, first: 0, kind: "spread" },
      { values: thinned("first").values, first: 0, kind: "gradient" },
    ],
    label: `Gradient by step: now ${sizeText(latest.first)} in layer 1, ${sizeText(latest.last)} in the last hidden layer`,
  });
  const now = performance.now();
  if (running && now - training.mapped < 400) return; // it takes longer than the charts
  training.mapped = now;
  showMap();
}

// The plane in the colour of what the network says there, and the points in that of their class.
function showMap() {
  const canvas = part("map");
  const size = Math.min(canvas.parentElement.clientWidth, 300);
  canvas.style.width = `${size}px`;
  const context = pen(canvas, size, size);
  const weights = deep.network.layers.reduce((sum, layer) => sum + layer.theta.length, 0);
  const cells = Math.round(Math.min(50, Math.max(10, Math.sqrt(4e7 / weights))));
  const reach = 2.3;
  const grid = new Float64Array(2 * cells * cells);
  for (let i = 0; i < cells * cells; i++) {
    grid[2 * i] = (((i % cells) + 0.5) / cells) * 2 * reach - reach;
    grid[2 * i + 1] = reach - ((Math.floor(i / cells) + 0.5) / cells) * 2 * reach;
  }
  const { z } = forward(deep.network, grid);
  const [zero, one] = [colour("--orange"), colour("--blue")];
  for (let i = 0; i < z.length; i++) {
    const certain = Math.abs(2 * sigmoid(z[i]) - 1);
    context.globalAlpha = Number.isNaN(certain) ? 0 : 0.06 + 0.4 * certain;
    context.fillStyle = z[i] > 0 ? one : zero;
    const [x, y] = [i % cells, Math.floor(i / cells)].map((at) => Math.round((at * size) / cells));
    const [right, low] = [(i % cells) + 1, Math.floor(i / cells) + 1].map((at) => Math.round((at * size) / cells));
    context.fillRect(x, y, right - x, low - y);
  }
  context.globalAlpha = 1;
  const { xs, ys } = deep.data;
  context.strokeStyle = colour("--paper");
  for (let n = 0; n < ys.length; n++) {
    context.fillStyle = ys[n] ? one : zero;
    context.beginPath();
    context.arc(((xs[2 * n] + reach) / (2 * reach)) * size, ((reach - xs[2 * n + 1]) / (2 * reach)) * size, 4, 0, 2 * Math.PI);
    context.fill();
    context.stroke();
  }
  canvas.setAttribute("aria-label", `The ${ys.length} points and what the network says of the plane around them.`);
}

function startTraining() {
  document.addEventListener("rebuilt", restart);
  part("run").addEventListener("click", () => {
    training.running = !training.running;
    if (training.running) learn();
    else showTraining();
  });
  part("one-step").addEventListener("click", () => { training.running = false; learn(true); });
  part("restart").addEventListener("click", rebuild);
  part("optimiser").addEventListener("change", () => {
    part("rate").value = RATES[part("optimiser").value];
    rebuild();
  });
  part("points").addEventListener("change", (e) => { deep.points.name = e.target.value; rebuild(); });
  part("rate").addEventListener("input", () => {
    training.optimiser.rate = rateOf();
    part("rate-out").textContent = asText(rateOf());
  });
  part("rate").value = RATES.sgd;
  restart();
}

startTraining();

// A window of another size, or other colours: everything is drawn again.
const redraw = soon(() => { showSmall(); showDeep(training.optimiser.steps > 0); showTraining(); });
let drawnWidth = window.innerWidth;
window.addEventListener("resize", () => {
  if (window.innerWidth !== drawnWidth) redraw();
  drawnWidth = window.innerWidth;
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

// On a site there are other pages around this one; on a disk there are not.
if (location.protocol.startsWith("http")) {
  part("home").hidden = false;
  part("article-link").replaceChildren(make("a", { href: "../article/" }, "the article"));
}
document.documentElement.dataset.ready = "yes";
