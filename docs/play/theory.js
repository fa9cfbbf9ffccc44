// Mean-field theory: signal and gradient of a random network of infinite width, without drawing it.
//
//     q[1] = σ_w² E x²,    q[l+1] = σ_w² E[σ(z)²],    χ[l] = σ_w² E[σ′(z)²],    z ~ N(0, q[l])
//
// q[l] is the mean square of z[l], and √χ[l] the factor from ‖Δz[l+1]‖ to ‖Δz[l]‖: Poole et al. 2016
// (arXiv:1606.05340), Schoenholz et al. 2017 (arXiv:1611.01232). A skip z + c f(z) makes them
// q + c² q′ and 1 + c² χ; a norm in front takes q = 1 and divides χ by q.
"use strict";

// Nodes and weights of Gauss and Legendre on [-1, 1]: the roots of P_n, by Newton's method.
function gaussLegendre(n) {
  const nodes = [];
  for (let i = 0; i < n; i++) {
    let x = Math.cos((Math.PI * (i + 0.75)) / (n + 0.5));
    let slope = 1;
    for (let step = 0; step < 20; step++) {
      let [below, value] = [1, x];
      for (let k = 2; k <= n; k++) {
        [below, value] = [value, ((2 * k - 1) * x * value - (k - 1) * below) / k];
      }
      slope = (n * (x * value - below)) / (x * x - 1);
      x -= value / slope;
    }
    nodes.push([x, 2 / ((1 - x * x) * slope * slope)]);
  }
  return nodes;
}

// Nodes g and weights w with Σ w f(g) = E f(g), g ~ N(0, 1): panels on [-10, 10] with an edge at
// the kinks, z = 0, and ever finer towards it, where units that saturate change fast.
const GAUSSIAN = (() => {
  const edges = [];
  for (let i = -20; i <= 20; i++) edges.push(i / 2);
  for (let k = 2; k <= 20; k++) edges.push(2 ** -k, -(2 ** -k));
  edges.sort((a, b) => a - b);
  const [g, w] = [[], []];
  const legendre = gaussLegendre(16);
  for (let i = 1; i < edges.length; i++) {
    const [middle, half] = [(edges[i] + edges[i - 1]) / 2, (edges[i] - edges[i - 1]) / 2];
    for (const [x, weight] of legendre) {
      const node = middle + half * x;
      g.push(node);
      w.push((half * weight * Math.exp((-node * node) / 2)) / Math.sqrt(2 * Math.PI));
    }
  }
  return { g: Float64Array.from(g), w: Float64Array.from(w) };
})();

// E f(z)² for z ~ N(0, q); of q = 0 the limit.
function meanSquare(f, q) {
  const root = Math.max(Math.sqrt(q), 1e-250);
  let sum = 0;
  for (let i = 0; i < GAUSSIAN.g.length; i++) sum += GAUSSIAN.w[i] * f(root * GAUSSIAN.g[i]) ** 2;
  return sum;
}

// Theory's line: of hidden layers 1 … depth log₁₀ √q[l], and log₁₀ ‖Δz[l]‖ / ‖Δz[depth]‖.
// sigmas: σ_w of the layers of weights; q0: the mean square of the inputs.
function predict(sigma, sigmas, skip, norm, q0, depth) {
  const signal = [];
  const factors = [];
  let q = sigmas[0] ** 2 * q0;
  for (let l = 1; l <= depth; l++) {
    signal.push(0.5 * Math.log10(q));
    if (l === depth) break;
    const variance = sigmas[l] ** 2;
    let next = variance * meanSquare(sigma.sigma, norm ? 1 : q);
    let chi = variance * meanSquare(sigma.prime, norm ? 1 : q);
    if (norm) chi /= q;
    if (skip) [next, chi] = [q + skip ** 2 * next, 1 + skip ** 2 * chi];
    factors.push(0.5 * Math.log10(chi));
    q = next;
  }
  const gradient = Array(depth).fill(0);
  for (let l = depth - 2; l >= 0; l--) gradient[l] = gradient[l + 1] + factors[l];
  return { signal, gradient };
}

function theoryOf(network, xs) {
  let square = 0;
  for (let k = 0; k < xs.length; k++) square += xs[k] ** 2 / xs.length;
  const sigmas = network.layers.map((layer) => layer.sigmaW);
  return predict(network.sigma, sigmas, network.skip, network.norm, square, sigmas.length - 1);
}

// The formats in which networks are trained: log₁₀ of their least normal and largest number.
const FORMATS = [
  { name: "float16", least: Math.log10(2 ** -14), most: Math.log10(65504) },
  { name: "bfloat16", least: Math.log10(2 ** -126), most: Math.log10((2 - 2 ** -7) * 2 ** 127) },
  { name: "float32", least: Math.log10(2 ** -126), most: Math.log10((2 - 2 ** -23) * 2 ** 127) },
];

// The highest layer from which down a format has no number for the gradient, or 0; as jaxnn says it.
function lostIn(format, largest) {
  for (let l = largest.length; l >= 1; l--) {
    const log = largest[l - 1];
    if (Number.isFinite(log) && (log < format.least || log > format.most)) return l;
  }
  return 0;
}

// What is said of the gradient: the decades from the top hidden layer to the first, and a word.
function judge(flow) {
  const depth = flow.gradient.length - 1;
  const total = flow.gradient[0] - flow.gradient[depth - 1];
  const rate = depth > 1 ? total / (depth - 1) : NaN;
  let word = "steady";
  if (flow.gradient.some(Number.isNaN) || flow.signal.some((v) => v === Infinity)) word = "undefined";
  else if (flow.gradient[0] === -Infinity) word = "cut";
  else if (total < -1) word = "vanishing";
  else if (total > 1) word = "exploding";
  return { word, total, rate, depth };
}
