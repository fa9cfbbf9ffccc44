// The first section: the 3-4-1 network in a picture and in tables, and the chain rule of one Δ.
//
// `small` is the state; whatever changes it calls `showSmall`, which writes every number anew.
"use strict";

const small = {
  state: structuredClone(START),
  key: "theta0.1.2", // what is asked about
  open: false, // whether its Δ is shown
  right: 0,
  asked: 0,
  draws: 0,
};
const part = (id) => document.getElementById(id);

// What a Δ is of, in words.
function meaningOf(key) {
  const [kind, i, j] = key.split(".").map((piece, at) => (at ? Number(piece) + 1 : piece));
  const of = {
    theta0: `the weight from input ${i} to unit ${j}`,
    b0: `the bias of unit ${i}`,
    z1: `what goes into unit ${i}, before σ`,
    a1: `what unit ${i} sends up`,
    theta1: `the weight from unit ${i} to the output`,
    b1: "the bias of the output",
    z2: "what goes into the output, before its sigmoid",
    x: `input ${i}`,
  }[kind];
  return `How the loss changes with ${of}.`;
}

// Keys of the edges and units that the product of a key runs through.
function pathOf(key) {
  const [kind, i, j] = key.split(".");
  const up = (k) => [`theta1.${k}`, `z1.${k}`, "z2"];
  if (kind === "theta0") return [key, `x.${i}`, ...up(j)];
  if (kind === "x") return [key, "z2", ...[0, 1, 2, 3].flatMap((k) => [`theta0.${i}.${k}`, ...up(k)])];
  if (kind === "z2" || kind === "b1") return ["z2"];
  return up(i);
}

function choose(key, focus = false) {
  if (key !== small.key) small.open = false;
  small.key = key;
  placeCard();
  showSmall();
  if (focus) part("chain-title").focus({ preventScroll: true });
}

// On a narrow screen the card comes to what was clicked: below its table, or below the picture.
const narrow = matchMedia("(max-width: 820px)");

function placeCard() {
  const table = narrow.matches && document.activeElement.closest("table");
  if (table) table.after(part("chain"));
  else if (!narrow.matches || document.activeElement.closest("#small-net")) part("small-settings").after(part("chain"));
}

function inkOf(value) {
  return value < 0 ? "negative-ink" : value > 0 ? "positive-ink" : "";
}

function showSmall() {
  const numbers = derive(small.state);
  const open = small.open || !part("ask").checked;
  drawSmall(numbers, open);
  showTables(numbers, open);
  showChain(numbers, open);
  small.state.x.forEach((value, i) => {
    part(`x${i}`).value = value;
    part(`x${i}-out`).textContent = asText(value);
  });
  part("small-y").value = small.state.y;
  part("small-activation").value = small.state.activation;
  part("small-loss").textContent =
    `The prediction ŷ is ${asText(numbers.yHat)} for the label ${small.state.y}: loss ${numbers.loss.toFixed(4)}.`;
}

// The picture: inputs, hidden units and the output from left to right.
function drawSmall(numbers, open) {
  const place = part("small-net");
  const width = Math.max(place.clientWidth, 280);
  const radius = width < 480 ? 25 : 29;
  const height = 384;
  const column = [radius + 4, width / 2, width - Math.max(radius + 4, 42)]; // room for its Δz
  const at = {};
  [0, 1, 2].forEach((i) => (at[`x.${i}`] = [column[0], 72 + 112 * i]));
  [0, 1, 2, 3].forEach((j) => (at[`z1.${j}`] = [column[1], 40 + 96 * j]));
  at.z2 = [column[2], 184];
  const path = pathOf(small.key);
  const { x, y, theta0, theta1 } = small.state;
  const label = `The network: prediction ${asText(numbers.yHat)} for the label ${y}. All of its numbers are in the tables below.`;
  const drawn = make("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label, class: "faded" });
  const labels = []; // each above a patch of paper, so that no edge runs through it
  const edge = (key, from, to, value) => {
    const [[x1, y1], [x2, y2]] = [at[from], at[to]];
    const chosen = path.includes(key);
    const line = { x1, y1, x2, y2 };
    const hit = make("line", { ...line, class: "edge-hit", "data-key": key, onclick: () => choose(key) },
      make("title", {}, `${symbolOf(key)} = ${asText(value)}`));
    const kind = `edge ${value < 0 ? "negative" : "positive"}${chosen ? " on-path" : ""}`;
    drawn.append(make("line", { ...line, class: kind, "stroke-width": Math.min(9, 1 + 3 * Math.abs(value)) }), hit);
    if (chosen) {
      const share = from.startsWith("x") ? 0.45 : 0.52;
      const text = width < 480 ? asText(value) : `${symbolOf(key)} ${asText(value)}`;
      const [x, y, half] = [x1 + share * (x2 - x1), y1 + share * (y2 - y1), 3.7 * text.length];
      labels.push(make("rect", { class: "patch", x: x - half, y: y - 9, width: 2 * half, height: 18, rx: 4 }),
        make("text", { class: `edge-label ${inkOf(value)}`, x, y: y + 4, "text-anchor": "middle" }, text));
    }
  };
  theta0.forEach((row, i) => row.forEach((value, j) => edge(`theta0.${i}.${j}`, `x.${i}`, `z1.${j}`, value)));
  theta1.forEach((value, j) => edge(`theta1.${j}`, `z1.${j}`, "z2", value));
  const unit = (key, name, value, delta, symbol) => {
    const [cx, cy] = at[key];
    const state = `unit${path.includes(key) ? " on-path" : ""}${key === small.key ? " chosen" : ""}`;
    const hidden = key === small.key && !open;
    const group = make("g", { class: state, "data-key": key, onclick: () => choose(key) },
      make("title", {}, `${name} = ${asText(value)}`),
      make("circle", { cx, cy, r: radius }),
      make("text", { class: "name", x: cx, y: cy - 5, "text-anchor": "middle" }, name),
      make("text", { class: "value", x: cx, y: cy + 12, "text-anchor": "middle" }, shortText(value)));
    if (delta !== undefined) {
      group.append(make("text", { class: hidden ? "name" : inkOf(delta), x: cx, y: cy + radius + 14, "text-anchor": "middle" },
        `${symbol} ${hidden ? "?" : shortText(delta)}`));
    }
    drawn.append(group);
  };
  x.forEach((value, i) => unit(`x.${i}`, `x${sub(i)}`, value));
  numbers.a1.forEach((value, j) => unit(`z1.${j}`, `a${sub(j)}`, value, numbers.dz1[j], "Δz"));
  unit("z2", "ŷ", numbers.yHat, numbers.dz2, "Δz");
  drawn.append(...labels);
  place.replaceChildren(drawn);
}

// Tables: every parameter with its Δ below it, and the Δ of every unit; each is a button.
const cells = new Map();

function buildTables() {
  const cell = (key) => {
    const button = make("button", { type: "button", "data-key": key, onclick: () => choose(key) });
    cells.set(key, button);
    return make("td", {}, button);
  };
  const row = (head, keys) => make("tr", {}, make("th", { scope: "row" }, head), ...keys.map(cell));
  const heads = (names) => make("tr", {}, make("td"), ...names.map((name) => make("th", { scope: "col" }, name)));
  const four = [0, 1, 2, 3];
  part("small-tables").append(
    make("table", {}, make("caption", {}, "First layer: θ[0] and b[0], each over its Δ"),
      heads(four.map((j) => `to unit ${j + 1}`)),
      ...[0, 1, 2].map((i) => row(`from x${sub(i)}`, four.map((j) => `theta0.${i}.${j}`))),
      row("bias", four.map((j) => `b0.${j}`)),
      row("z[1], into σ", four.map((j) => `z1.${j}`)),
      row("a[1], out of it", four.map((j) => `a1.${j}`))),
    make("table", { class: "single" }, make("caption", {}, "Second layer: θ[1] and b[1]"),
      heads(["to the output"]),
      ...four.map((j) => row(`from unit ${j + 1}`, [`theta1.${j}`])),
      row("bias", ["b1"]), row("z[2], into ŷ", ["z2"])),
    make("table", { class: "single" }, make("caption", {}, "Inputs"), heads(["value"]),
      ...[0, 1, 2].map((i) => row(`x${sub(i)}`, [`x.${i}`]))),
  );
}

function showTables(numbers, open) {
  for (const [key, button] of cells) {
    const [kind, i] = key.split(".");
    const value = kind === "z1" ? numbers.z1[i] : kind === "a1" ? numbers.a1[i] : kind === "z2" ? numbers.z2 : valueAt(small.state, key);
    const delta = chainOf(key, numbers, small.state).value;
    const hidden = key === small.key && !open;
    const text = hidden ? "?" : shortText(delta);
    button.replaceChildren(make("span", {}, shortText(value)), make("span", { class: hidden ? "" : inkOf(delta) }, `Δ ${text}`));
    button.setAttribute("aria-pressed", key === small.key);
    button.setAttribute("aria-label", `${symbolOf(key)} = ${asText(value)}, Δ ${hidden ? "not shown yet" : asText(delta)}`);
  }
}

// The card: the product of one Δ, once its sign has been guessed.
function showChain(numbers, open) {
  const { key, state } = small;
  const chain = chainOf(key, numbers, state);
  const symbol = symbolOf(key);
  part("chain-title").textContent = `Δ${symbol}`;
  part("chain-meaning").textContent = meaningOf(key);
  part("chain-text").textContent = open ? chain.text : "";
  part("guess").hidden = open;
  if (!small.open) part("answer").replaceChildren();
  const movable = !/^[za]/.test(key);
  part("chain-own").hidden = !movable;
  if (movable) {
    part("own-name").textContent = symbol;
    part("own").value = valueAt(state, key);
    part("own-out").textContent = asText(valueAt(state, key));
  }
  const result = (value) => make("span", { class: `factor result ${open ? inkOf(value) : ""}` },
    make("b", {}, `Δ${symbol}`), make("span", { class: "number" }, open ? asText(value) : "?"));
  const chip = ({ symbol: name, value, meaning, key: target }) => make(target ? "button" : "span",
    { class: "factor", title: meaning, ...(target && { type: "button", onclick: () => choose(target, true) }) },
    make("b", {}, name), make("span", { class: `number ${open ? inkOf(value) : ""}` }, open ? asText(value) : "?"));
  const product = (factors, end) => make("ul", { class: "factors" },
    ...factors.map((one, n) => make("li", {}, n ? "×" : null, chip(one))), make("li", {}, "=", end));
  if (chain.terms) {
    const end = (term) => make("span", { class: "factor" }, make("span", { class: "number" }, open ? asText(term.value) : "?"));
    part("product").replaceChildren(
      ...chain.terms.map((term) => product(term.factors, end(term))),
      make("p", {}, "and their sum: ", result(chain.value)));
  } else {
    part("product").replaceChildren(product(chain.factors, result(chain.value)),
      make("ul", { class: "meanings" }, ...chain.factors.map((one) => make("li", {}, make("b", {}, one.symbol), `: ${one.meaning}`))));
  }
  part("nudge").textContent = open && movable ? nudged(key, numbers, chain.value) : "";
  part("score").textContent = small.asked ? `${small.right} of ${small.asked} right` : "";
}

// Is it true? The loss with a little more of it.
function nudged(key, numbers, delta) {
  const after = derive(withValue(small.state, key, valueAt(small.state, key) + 0.1)).loss;
  return `Try it: with 0.1 more of ${symbolOf(key)} the loss goes from ${numbers.loss.toFixed(4)} to ${after.toFixed(4)}, ` +
    `a change of ${signed(after - numbers.loss, 4)}; 0.1 Δ is ${signed(0.1 * delta, 4)}.`;
}

function guess(sign) {
  const numbers = derive(small.state);
  const value = chainOf(small.key, numbers, small.state).value;
  const actual = Math.sign(value);
  small.open = true;
  const name = { "-1": "negative", 0: "zero", 1: "positive" }[actual];
  if (sign === "show") part("answer").replaceChildren(make("p", {}, `It is ${name}.`));
  else {
    const good = Number(sign) === actual;
    small.asked += 1;
    small.right += good ? 1 : 0;
    part("answer").replaceChildren(make("p", { class: good ? "right" : "wrong" }, good ? `Right, it is ${name}.` : `No, it is ${name}.`));
  }
  showSmall();
}

function newWeights() {
  small.draws += 1;
  const numbers = [...normals(streamOf(small.draws, 2000), 21)].map((v) => Math.round(60 * v) / 100);
  Object.assign(small.state, {
    theta0: [0, 4, 8].map((i) => numbers.slice(i, i + 4)),
    b0: numbers.slice(12, 16),
    theta1: numbers.slice(16, 20),
    b1: numbers[20],
  });
  small.open = false;
  showSmall();
}

function startSmall() {
  buildTables();
  part("small-activation").append(...Object.keys(ACTIVATIONS).map((name) => make("option", { value: name }, name)));
  const changed = (change) => { change(); showSmall(); };
  [0, 1, 2].forEach((i) => part(`x${i}`).addEventListener("input", (e) => changed(() => (small.state.x[i] = Number(e.target.value)))));
  part("small-y").addEventListener("change", (e) => changed(() => (small.state.y = Number(e.target.value))));
  part("small-activation").addEventListener("change", (e) => changed(() => (small.state.activation = e.target.value)));
  part("own").addEventListener("input", (e) => changed(() => (small.state = withValue(small.state, small.key, Number(e.target.value)))));
  part("small-step").addEventListener("click", () => changed(() => (small.state = afterStep(small.state, 1))));
  part("small-new").addEventListener("click", newWeights);
  part("small-reset").addEventListener("click", () => changed(() => (small.state = structuredClone(START))));
  part("ask").addEventListener("change", showSmall);
  for (const button of part("guess").querySelectorAll("button")) {
    button.addEventListener("click", () => guess(button.dataset.sign));
  }
  narrow.addEventListener("change", placeCard);
  showSmall();
}

startSmall();
