// A deep network, forward and backward by the article's formulas, with the size of every layer.
//
//     z[1] = x θ[0] + b[0],    z[l+1] = a[l] θ[l] + b[l],    a[l] = σ(z[l]),    ŷ = sigmoid(z[L])
//     Δz[L] = (ŷ - y) / B,     Δa[l] = Δz[l+1] θ[l]ᵀ,        Δz[l] = Δa[l] ∘ σ′(z[l])
//     Δθ[l] = a[l]ᵀ Δz[l+1],   Δb[l] = Δz[l+1], summed over the B examples
//
// Between hidden layers may stand another block: a skip, z[l+1] = z[l] + c (a[l] θ[l] + b[l]); a
// norm, with σ of ẑ = (z - mean) / sd over the units instead of σ of z; or both.
"use strict";

// The kinds of blocks. `skip` is c, given the number of hidden layers.
const BLOCKS = {
  plain: { skip: () => 0, norm: false },
  skip: { skip: () => 1, norm: false },
  scaled: { skip: (depth) => 1 / Math.sqrt(depth), norm: false },
  norm: { skip: () => 0, norm: true },
  prenorm: { skip: () => 1, norm: true },
};

// A network with its weights, from settings such as
//     { activation: "tanh", block: "plain", weights: "glorot", gain: 1, depth: 30, width: 32, seed: 1 }
// depth: the number of hidden layers. There are depth + 1 layers of weights, and 2 inputs.
function drawNetwork(settings) {
  const { activation, block, weights, gain, depth, width, seed } = settings;
  const sizes = [2, ...Array(depth).fill(width), 1];
  const layers = [];
  for (let i = 0; i <= depth; i++) {
    const [fanIn, fanOut] = [sizes[i], sizes[i + 1]];
    const drawn = drawWeights(weights, activation, gain, fanIn, fanOut, streamOf(seed, i));
    layers.push({ ...drawn, b: new Float64Array(fanOut), fanIn, fanOut });
  }
  const { skip, norm } = BLOCKS[block];
  return { sizes, layers, sigma: ACTIVATIONS[activation], skip: skip(depth), norm };
}

// out = rows θ + b
function affine(rows, { theta, b, fanIn, fanOut }, count) {
  const out = new Float64Array(count * fanOut);
  for (let n = 0; n < count; n++) {
    const [from, to] = [n * fanIn, n * fanOut];
    for (let j = 0; j < fanOut; j++) out[to + j] = b[j];
    for (let i = 0; i < fanIn; i++) {
      const a = rows[from + i];
      if (a === 0) continue;
      for (let j = 0, at = i * fanOut; j < fanOut; j++, at++) out[to + j] += a * theta[at];
    }
  }
  return out;
}

// out = delta θᵀ
function backThrough(delta, { theta, fanIn, fanOut }, count) {
  const out = new Float64Array(count * fanIn);
  for (let n = 0; n < count; n++) {
    const to = n * fanIn;
    for (let i = 0; i < fanIn; i++) {
      let sum = 0;
      for (let j = 0, at = i * fanOut, d = n * fanOut; j < fanOut; j++, at++, d++) {
        sum += delta[d] * theta[at];
      }
      out[to + i] = sum;
    }
  }
  return out;
}

// ẑ = (z - mean) / sd of each row, and 1/sd; of a row of equal units both are 0.
function normalised(z, count, width) {
  const zHat = new Float64Array(z.length);
  const inverse = new Float64Array(count);
  for (let n = 0; n < count; n++) {
    let mean = 0;
    for (let k = 0; k < width; k++) mean += z[n * width + k] / width;
    let variance = 0;
    for (let k = 0; k < width; k++) variance += (z[n * width + k] - mean) ** 2 / width;
    inverse[n] = variance > 0 ? 1 / Math.sqrt(variance) : 0;
    for (let k = 0; k < width; k++) zHat[n * width + k] = (z[n * width + k] - mean) * inverse[n];
  }
  return { zHat, inverse };
}

// Δz = (Δẑ - mean Δẑ - ẑ mean(Δẑ ∘ ẑ)) / sd, in place.
function backThroughNorm(delta, { zHat, inverse }, count, width) {
  for (let n = 0; n < count; n++) {
    const [row, hat] = [n * width, n * width + width];
    let [mean, along] = [0, 0];
    for (let k = row; k < hat; k++) {
      mean += delta[k] / width;
      along += (delta[k] * zHat[k]) / width;
    }
    for (let k = row; k < hat; k++) delta[k] = (delta[k] - mean - zHat[k] * along) * inverse[n];
  }
}

// Of each hidden layer z, the argument of σ (z, or ẑ behind a norm), and a = σ of it; and ŷ's z.
function forward(network, xs) {
  const { layers, sigma, skip, norm } = network;
  const count = xs.length / 2;
  const top = layers.length - 1;
  const hidden = [];
  let z = affine(xs, layers[0], count);
  for (let l = 1; l <= top; l++) {
    const isBlock = l < top; // the output layer is plain
    const width = layers[l].fanIn;
    const normal = norm && isBlock ? normalised(z, count, width) : { zHat: z, inverse: null };
    const a = new Float64Array(z.length);
    for (let k = 0; k < a.length; k++) a[k] = sigma.sigma(normal.zHat[k]);
    hidden.push({ z, a, ...normal });
    const next = affine(a, layers[l], count);
    if (skip && isBlock) for (let k = 0; k < next.length; k++) next[k] = z[k] + skip * next[k];
    z = next;
  }
  return { count, hidden, z };
}

// -y ln ŷ - (1 - y) ln(1 - ŷ) from z: max(z, 0) - y z + ln(1 + e^-|z|); the mean of the examples.
function meanLoss(z, ys) {
  let sum = 0;
  for (let n = 0; n < ys.length; n++) {
    sum += Math.max(z[n], 0) - ys[n] * z[n] + Math.log1p(Math.exp(-Math.abs(z[n])));
  }
  return sum / ys.length;
}

// Backward: calls `visit(l, delta, exponents)` with Δz[l] of l = L … 1, renormalised, and with
// `gradients` returns Δθ and Δb of every layer.
function backward(network, way, xs, ys, visit, gradients) {
  const { layers, sigma, skip, norm } = network;
  const { count, hidden } = way;
  const top = layers.length - 1;
  const exponents = new Float64Array(count);
  const changes = [];
  let delta = new Float64Array(count);
  for (let n = 0; n < count; n++) delta[n] = (sigmoid(way.z[n]) - ys[n]) / count;
  visit(top + 1, delta, exponents);
  for (let l = top; l >= 0; l--) {
    const isBlock = l > 0 && l < top;
    const c = isBlock && skip ? skip : 1;
    if (gradients) {
      const rows = l ? hidden[l - 1].a : xs;
      changes[l] = gradientOf(rows, delta, exponents, layers[l], count, c);
    }
    if (l === 0) break;
    const state = hidden[l - 1];
    const width = layers[l].fanIn;
    const below = backThrough(delta, layers[l], count);
    for (let k = 0; k < below.length; k++) below[k] *= c * sigma.prime(state.zHat[k]);
    if (norm && isBlock) backThroughNorm(below, state, count, width);
    if (skip && isBlock) for (let k = 0; k < below.length; k++) below[k] += delta[k];
    delta = below;
    renormalise(delta, exponents, width);
    visit(l, delta, exponents);
  }
  return changes;
}

// Δθ = c aᵀ Δz and Δb = c Σ Δz of one layer; too small for a double they are 0.
function gradientOf(rows, delta, exponents, { fanIn, fanOut }, count, c) {
  const theta = new Float64Array(fanIn * fanOut);
  const b = new Float64Array(fanOut);
  for (let n = 0; n < count; n++) {
    const scale = c * 2 ** exponents[n];
    if (scale === 0) continue;
    for (let j = 0; j < fanOut; j++) b[j] += scale * delta[n * fanOut + j];
    for (let i = 0; i < fanIn; i++) {
      const a = scale * rows[n * fanIn + i];
      if (a === 0) continue;
      for (let j = 0, at = i * fanOut, d = n * fanOut; j < fanOut; j++, at++, d++) {
        theta[at] += a * delta[d];
      }
    }
  }
  return { theta, b };
}

// The flow of a network: every size of hidden layers 1 … depth, and of the output as the last.
// In decades: gradient, log₁₀ ‖Δz[l]‖; largest, log₁₀ of its largest entry; signal, log₁₀ of the
// root mean square of z[l]; spread, log₁₀ of what differs between examples, relative to it.
function measure(network, xs, ys, gradients = false) {
  const way = forward(network, xs);
  const layers = network.layers.length;
  const flow = {
    gradient: Array(layers),
    largest: Array(layers),
    signal: [],
    spread: [],
    saturated: [],
    loss: meanLoss(way.z, ys),
    accuracy: accuracyOf(way.z, ys),
    way,
  };
  flow.changes = backward(network, way, xs, ys, (l, delta, exponents) => {
    const sizes = logSizes(delta, exponents, network.sizes[l]);
    flow.gradient[l - 1] = sizes.norm;
    flow.largest[l - 1] = sizes.largest;
  }, gradients);
  for (const z of [...way.hidden.map((state) => state.z), way.z]) {
    const { rms, spread } = spreadOf(z, way.count);
    flow.signal.push(Math.log10(rms));
    flow.spread.push(Math.log10(spread));
  }
  for (const { zHat } of way.hidden) flow.saturated.push(saturatedPart(zHat, network.sigma));
  return flow;
}

function accuracyOf(z, ys) {
  let right = 0;
  for (let n = 0; n < ys.length; n++) right += z[n] > 0 === ys[n] > 0.5 ? 1 : 0;
  return right / ys.length;
}

// The root mean square of rows, and that of their deviations from the mean row, relative to it.
function spreadOf(z, count) {
  const width = z.length / count;
  const largest = largestOf(z);
  if (!(largest > 0) || largest === Infinity) return { rms: largest, spread: NaN };
  let [square, deviation] = [0, 0];
  for (let k = 0; k < width; k++) {
    let mean = 0;
    for (let n = 0; n < count; n++) mean += z[n * width + k] / largest / count;
    for (let n = 0; n < count; n++) {
      const entry = z[n * width + k] / largest;
      square += entry * entry;
      deviation += (entry - mean) ** 2;
    }
  }
  return { rms: largest * Math.sqrt(square / z.length), spread: Math.sqrt(deviation / square) };
}

function saturatedPart(zHat, sigma) {
  let count = 0;
  for (let k = 0; k < zHat.length; k++) {
    if (Math.abs(sigma.prime(zHat[k])) < 0.01 * sigma.steepest) count += 1;
  }
  return count / zHat.length;
}

// Two moons or two spirals: `count` points around 0, (count × 2), and their labels.
function drawPoints(name, count, seed) {
  const stream = streamOf(seed, 1000);
  const noise = normals(streamOf(seed, 1001), 2 * count);
  const xs = new Float64Array(2 * count);
  const ys = new Float64Array(count);
  for (let n = 0; n < count; n++) {
    const label = n % 2;
    const t = uniform(stream, n);
    let x, y;
    if (name === "moons") {
      const angle = Math.PI * t;
      [x, y] = label
        ? [0.5 - Math.cos(angle), -Math.sin(angle) + 0.25]
        : [Math.cos(angle) - 0.5, Math.sin(angle) - 0.25];
      [x, y] = [1.15 * (x + 0.12 * noise[2 * n]), 1.6 * (y + 0.12 * noise[2 * n + 1])];
    } else {
      const radius = 0.3 + 1.7 * Math.sqrt(t);
      const angle = 1.75 * Math.PI * Math.sqrt(t) + Math.PI * label;
      x = radius * Math.cos(angle) + 0.05 * noise[2 * n];
      y = radius * Math.sin(angle) + 0.05 * noise[2 * n + 1];
    }
    xs[2 * n] = x;
    xs[2 * n + 1] = y;
    ys[n] = label;
  }
  return { xs, ys };
}

// One step down the gradient, on all points: θ ← θ - rate Δθ, or Adam's (Kingma & Ba 2015).
// Returns the flow of before the step.
function trainingStep(network, { xs, ys }, optimiser) {
  const flow = measure(network, xs, ys, true);
  optimiser.steps += 1;
  network.layers.forEach((layer, l) => {
    for (const name of ["theta", "b"]) {
      const [values, slope] = [layer[name], flow.changes[l][name]];
      if (optimiser.name === "adam") adam(values, slope, layer, name, optimiser);
      else for (let k = 0; k < values.length; k++) values[k] -= optimiser.rate * slope[k];
    }
  });
  return flow;
}

function adam(values, slope, layer, name, { rate, steps }) {
  layer.moments ??= {};
  layer.moments[name] ??= [new Float64Array(values.length), new Float64Array(values.length)];
  const [mean, square] = layer.moments[name];
  const [unbiasMean, unbiasSquare] = [1 - 0.9 ** steps, 1 - 0.999 ** steps];
  for (let k = 0; k < values.length; k++) {
    mean[k] += 0.1 * (slope[k] - mean[k]);
    square[k] += 0.001 * (slope[k] ** 2 - square[k]);
    values[k] -= (rate * (mean[k] / unbiasMean)) / (Math.sqrt(square[k] / unbiasSquare) + 1e-8);
  }
}
