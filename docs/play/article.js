// The article's 3-4-1 network: every number of it, and for each Δ the product that it is.
//
//     z[1] = x θ[0] + b[0],  a[1] = σ(z[1]),  z[2] = a[1] θ[1] + b[1],  ŷ = a[2] = sigmoid(z[2])
//
// Δv stands for ∂loss/∂v. Indices count from 1 on the page and from 0 in here.
"use strict";

const START = {
  x: [0.5, -1, 2],
  y: 1,
  activation: "sigmoid",
  theta0: [
    [0.85, -0.6, 0.3, 0.95],
    [-0.4, 0.75, 0.9, -0.25],
    [0.55, 0.35, -0.8, 0.15],
  ],
  b0: [0.1, -0.2, 0, 0.3],
  theta1: [0.9, -1.1, 0.7, -0.5],
  b1: 0.2,
};

// All numbers forward and backward. x, y, activation, θ and b are as in START.
function derive({ x, y, activation, theta0, b0, theta1, b1 }) {
  const { sigma, prime } = ACTIVATIONS[activation];
  const z1 = b0.map((b, j) => x.reduce((sum, value, i) => sum + value * theta0[i][j], b));
  const a1 = z1.map(sigma);
  const slope1 = z1.map(prime);
  const z2 = a1.reduce((sum, a, j) => sum + a * theta1[j], b1);
  const yHat = sigmoid(z2);
  const loss = Math.max(z2, 0) - y * z2 + Math.log1p(Math.exp(-Math.abs(z2)));
  // The top: Δŷ g′(z[2]), in which everything cancels but ŷ - y; for y = 1 that is -σ(-z).
  const dz2 = y ? -sigmoid(-z2) : yHat;
  const dyHat = y ? -1 / yHat : 1 / sigmoid(-z2);
  const da1 = theta1.map((theta) => dz2 * theta);
  const dz1 = da1.map((delta, j) => delta * slope1[j]);
  return {
    z1, a1, slope1, z2, yHat, loss,
    dz2, dyHat, da1, dz1,
    slope2: sigmoidPrime(z2),
    dtheta1: a1.map((a) => a * dz2),
    db1: dz2,
    dtheta0: x.map((value) => dz1.map((delta) => value * delta)),
    db0: dz1,
    dx: theta0.map((row) => row.reduce((sum, theta, j) => sum + theta * dz1[j], 0)),
  };
}

const SUBSCRIPTS = "₀₁₂₃₄₅₆₇₈₉";
const sub = (...indices) => indices.map((i) => SUBSCRIPTS[i + 1]).join("");

// What can be asked about, by a key such as "theta0.1.2", "b0.2", "z1.2", "theta1.2", "b1", "z2",
// "x.1", and its name as a symbol.
function symbolOf(key) {
  const [kind, i, j] = key.split(".").map((part, at) => (at ? Number(part) : part));
  return {
    theta0: () => `θ[0]${sub(i, j)}`,
    b0: () => `b[0]${sub(i)}`,
    z1: () => `z[1]${sub(i)}`,
    a1: () => `a[1]${sub(i)}`,
    theta1: () => `θ[1]${sub(i)}`,
    b1: () => "b[1]",
    z2: () => "z[2]",
    x: () => `x${sub(i)}`,
  }[kind]();
}

// The chain rule of one Δ: its value, the factors whose product it is, and a sentence.
// A factor has a symbol, a value, what it is, and if it can be asked about, its key.
// Of an input it is a sum: `terms`, each with factors of its own.
function chainOf(key, numbers, state) {
  const [kind, i, j] = key.split(".").map((part, at) => (at ? Number(part) : part));
  const top = factor("Δz[2]", numbers.dz2, "the error at the top, ŷ − y", "z2");
  const weight = (k) =>
    factor(`θ[1]${sub(k)}`, state.theta1[k], `the weight from unit ${k + 1} to the output`, `theta1.${k}`);
  const slope = (k) =>
    factor(`σ′(z[1]${sub(k)})`, numbers.slope1[k], `the slope of unit ${k + 1}`);
  const input = (k) => factor(`x${sub(k)}`, state.x[k], `what input ${k + 1} sends up this edge`);
  switch (kind) {
    case "z2":
      return {
        value: numbers.dz2,
        factors: [
          factor("Δŷ", numbers.dyHat, state.y ? "the slope of the loss, −1/ŷ" : "the slope of the loss, 1/(1 − ŷ)"),
          factor("σ′(z[2])", numbers.slope2, "the slope of the output, ŷ (1 − ŷ)"),
        ],
        text: "In this product everything cancels but ŷ − y: the prediction minus the label.",
      };
    case "b1":
      return { value: numbers.db1, factors: [top], text: "A bias is added to z, so its Δ is that of z." };
    case "theta1":
      return {
        value: numbers.dtheta1[i],
        factors: [factor(`a[1]${sub(i)}`, numbers.a1[i], `what unit ${i + 1} sends up this edge`), top],
        text: "A weight multiplies what comes in, so its Δ is what came in times the error above.",
      };
    case "a1":
      return { value: numbers.da1[i], factors: [top, weight(i)], text: "The error comes down the same edge." };
    case "z1":
      return {
        value: numbers.dz1[i],
        factors: [top, weight(i), slope(i)],
        text: "Down the edge, then through the slope of the unit. A deep network has such a pair for every layer.",
      };
    case "b0":
      return {
        value: numbers.db0[i],
        factors: [top, weight(i), slope(i)],
        text: `A bias is added to z, so its Δ is that of z[1]${sub(i)}.`,
      };
    case "theta0":
      return {
        value: numbers.dtheta0[i][j],
        factors: [top, weight(j), slope(j), input(i)],
        text: "Read it from the loss down: the error, the edge it comes down, the unit it passes, and what came in.",
      };
    default: // x
      return {
        value: numbers.dx[i],
        terms: numbers.dz1.map((delta, k) => ({
          value: delta * state.theta0[i][k],
          factors: [
            factor(`Δz[1]${sub(k)}`, delta, `the error at unit ${k + 1}`, `z1.${k}`),
            factor(`θ[0]${sub(i, k)}`, state.theta0[i][k], `the weight from input ${i + 1}`, `theta0.${i}.${k}`),
          ],
        })),
        text: "An input reaches the loss by four ways, and what comes back by them adds up.",
      };
  }
}

function factor(symbol, value, meaning, key) {
  return { symbol, value, meaning, key };
}

// The parameter or input of a key; and the state with another value there.
function valueAt(state, key) {
  const [kind, i, j] = key.split(".");
  if (kind === "b1") return state.b1;
  return kind === "theta0" ? state.theta0[i][j] : state[kind][i];
}

function withValue(state, key, value) {
  const changed = structuredClone(state);
  const [kind, i, j] = key.split(".");
  if (kind === "b1") changed.b1 = value;
  else if (kind === "theta0") changed.theta0[i][j] = value;
  else changed[kind][i] = value;
  return changed;
}

// A step of training on this one example: every parameter less rate times its Δ.
function afterStep(state, rate) {
  const d = derive(state);
  return {
    ...state,
    theta0: state.theta0.map((row, i) => row.map((theta, j) => theta - rate * d.dtheta0[i][j])),
    b0: state.b0.map((b, j) => b - rate * d.db0[j]),
    theta1: state.theta1.map((theta, j) => theta - rate * d.dtheta1[j]),
    b1: state.b1 - rate * d.db1,
  };
}
