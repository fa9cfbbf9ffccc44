// The numbers below everything else: activations, random weights, sizes that no double can hold.
//
// These are classic scripts, not modules, so that the page also works when it is opened from disk.
// Matrices are Float64Arrays, row by row; examples are rows, as in the article.
"use strict";

// Activations: σ and its derivative σ′, each with what is left of it where it saturates.

function sigmoid(z) {
  const e = Math.exp(-Math.abs(z));
  return z < 0 ? e / (1 + e) : 1 / (1 + e);
}

// σ(z) σ(-z), which keeps the tail that 1 - σ(z) rounds to zero.
function sigmoidPrime(z) {
  const e = Math.exp(-Math.abs(z));
  return e / ((1 + e) * (1 + e));
}

const SELU_ALPHA = 1.6732632423543772;
const SELU_SCALE = 1.0507009873554805;

// critical: the σ_w at which a layer keeps the size of a gradient, χ = 1, of Gaussian weights of
// variance σ_w² / fan-in without biases; from jaxnn.theory.meanfield.critical_sigma_w.
// steepest: the largest |σ′|; a unit whose slope is below a hundredth of it is called saturated.
const ACTIVATIONS = {
  sigmoid: {
    sigma: sigmoid,
    prime: sigmoidPrime,
    critical: 10.149263710019525,
    steepest: 0.25,
  },
  tanh: {
    sigma: Math.tanh,
    prime: (z) => 4 * sigmoidPrime(2 * z),
    critical: 1,
    steepest: 1,
  },
  relu: {
    sigma: (z) => (z > 0 ? z : 0),
    prime: (z) => (z > 0 ? 1 : 0),
    critical: Math.SQRT2,
    steepest: 1,
  },
  elu: {
    sigma: (z) => (z > 0 ? z : Math.expm1(z)),
    prime: (z) => (z > 0 ? 1 : Math.exp(z)),
    critical: 1,
    steepest: 1,
  },
  selu: {
    sigma: (z) => SELU_SCALE * (z > 0 ? z : SELU_ALPHA * Math.expm1(z)),
    prime: (z) => SELU_SCALE * (z > 0 ? 1 : SELU_ALPHA * Math.exp(z)),
    critical: 0.6904860736341848,
    steepest: SELU_SCALE * SELU_ALPHA,
  },
};

// Random numbers. Number i of a stream is a hash of i and the stream, so nothing has to be drawn
// before it, and tests draw the same numbers in Python. `mix` is the finaliser of MurmurHash3.

function mix(h) {
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

function streamOf(seed, layer) {
  return mix(mix(seed + 1) ^ (layer + 1));
}

// Number i of a stream, uniform between 0 and 1, never either of them.
function uniform(stream, i) {
  return (mix(mix(i) ^ stream) + 0.5) / 4294967296;
}

// `count` normal numbers, in pairs by the method of Box and Muller.
function normals(stream, count) {
  const drawn = new Float64Array(count);
  for (let i = 0; i < count; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(uniform(stream, i)));
    const angle = 2 * Math.PI * uniform(stream, i + 1);
    drawn[i] = radius * Math.cos(angle);
    if (i + 1 < count) drawn[i + 1] = radius * Math.sin(angle);
  }
  return drawn;
}

// `short` orthonormal rows of length `long`, in a random direction: normal rows, each without its
// parts along those before it (Gram and Schmidt, twice, for rounding), divided by its length.
function orthonormalRows(stream, short, long) {
  const rows = normals(stream, short * long);
  for (let i = 0; i < short; i++) {
    const row = rows.subarray(i * long, (i + 1) * long);
    for (let again = 0; again < 2; again++) {
      for (let j = 0; j < i; j++) {
        const other = rows.subarray(j * long, (j + 1) * long);
        const along = dot(row, other);
        for (let k = 0; k < long; k++) row[k] -= along * other[k];
      }
    }
    const length = Math.sqrt(dot(row, row));
    for (let k = 0; k < long; k++) row[k] /= length;
  }
  return rows;
}

function dot(u, v) {
  let sum = 0;
  for (let k = 0; k < u.length; k++) sum += u[k] * v[k];
  return sum;
}

// The names of weights, and θ of one layer, fanIn × fanOut, drawn from them.
// sigmaW: √(variance · fan-in) of the entries, which theory asks for.
const WEIGHTS = ["glorot", "he", "critical", "orthogonal"];

function drawWeights(scheme, activation, gain, fanIn, fanOut, stream) {
  const critical = ACTIVATIONS[activation].critical;
  const scale = {
    glorot: gain * Math.sqrt(2 / (fanIn + fanOut)),
    he: gain * Math.sqrt(2 / fanIn),
    critical: (gain * critical) / Math.sqrt(fanIn),
    orthogonal: (gain * critical) / Math.sqrt(Math.max(fanIn, fanOut)),
  }[scheme];
  const sigmaW = scale * Math.sqrt(fanIn);
  const count = fanIn * fanOut;
  if (scheme === "glorot") {
    const theta = new Float64Array(count);
    const bound = scale * Math.sqrt(3);
    for (let i = 0; i < count; i++) theta[i] = bound * (2 * uniform(stream, i) - 1);
    return { theta, sigmaW };
  }
  if (scheme === "orthogonal") {
    const [short, long] = [Math.min(fanIn, fanOut), Math.max(fanIn, fanOut)];
    const rows = orthonormalRows(stream, short, long);
    const theta = new Float64Array(count);
    for (let i = 0; i < fanIn; i++) {
      for (let j = 0; j < fanOut; j++) {
        const entry = fanIn <= fanOut ? rows[i * long + j] : rows[j * long + i];
        theta[i * fanOut + j] = gain * critical * entry;
      }
    }
    return { theta, sigmaW };
  }
  const theta = normals(stream, count);
  for (let i = 0; i < count; i++) theta[i] *= scale;
  return { theta, sigmaW };
}

// Sizes beyond the range of a double. A row is its numbers times 2^e; after each layer its largest
// number is brought near 1 by a power of two, which rounds nothing.

// Scale each row in place, add what was taken out to its exponent. A row of zeros stays one.
function renormalise(rows, exponents, width) {
  for (let b = 0; b < exponents.length; b++) {
    const row = rows.subarray(b * width, (b + 1) * width);
    const largest = largestOf(row);
    if (!(largest > 0) || largest === Infinity) continue;
    const e = Math.floor(Math.log2(largest));
    // Two factors: 2^1074 alone would be infinite.
    const [one, two] = [2 ** -Math.trunc(e / 2), 2 ** -(e - Math.trunc(e / 2))];
    for (let k = 0; k < width; k++) row[k] = row[k] * one * two;
    exponents[b] += e;
  }
}

function largestOf(row) {
  let largest = 0;
  for (let k = 0; k < row.length; k++) {
    const size = Math.abs(row[k]);
    if (!(size <= largest)) largest = size; // nan too
  }
  return largest;
}

// log₁₀ of the Euclidean norm of rows times 2^e, and of their largest entry.
function logSizes(rows, exponents, width) {
  let top = -Infinity;
  const sizes = [];
  for (let b = 0; b < exponents.length; b++) {
    const row = rows.subarray(b * width, (b + 1) * width);
    const largest = largestOf(row);
    let square = 0;
    for (let k = 0; k < width && largest > 0; k++) square += (row[k] / largest) ** 2;
    const log = Math.log10(largest) + exponents[b] * Math.log10(2);
    sizes.push([log, square]);
    if (!(log <= top)) top = log;
  }
  if (!Number.isFinite(top)) return { norm: top, largest: top };
  let sum = 0;
  for (const [log, square] of sizes) sum += square * 10 ** (2 * (log - top));
  return { norm: top + 0.5 * Math.log10(sum), largest: top };
}
