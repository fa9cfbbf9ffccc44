"""Law 27: attention cubes the difference between tokens; a skip connection keeps it.

z′ = s z + A z V over T tokens of n numbers, A = softmax(z Q (z K)ᵀ/√n), V = α W, with W and K of
variance 1/n. ρ_i = z_i - z̄ is what tokens differ by, p = T - 1, and G = ρ ρᵀ.

With a skip connection, s = 1, and Q = 0 all of A is 1/T, as Noci et al. 2022, arXiv:2206.03126,
assume: every token gets the same, z̄ V. So ρ stays as it is and z̄ grows, on average over V by

    E‖z̄′‖² = (1 + α²) ‖z̄‖²,   on the way down E‖Σ Δz_i‖² = (1 + α²) E‖Σ Δz′_i‖²

With α = 1 tokens become alike exponentially, with α = 1/√L they do not. Of independent tokens z̄ and
ρ are so as well: E T ‖z̄‖²/Σ‖ρ_i‖² = 1/(p - 2/Bn) over B inputs, and of a random Δ the mean has the
share 1/T. Δ of the queries of the top layer is Δ_i Vᵀ ρᵀ ρ Kᵀ/(T√n) of each token i: it vanishes
where tokens are alike. Of tokens of correlation c, with u = 1 - c,

    E‖ΔQ‖² = B α² / (n T²) · E[(tr G + T ‖z̄‖²) tr G²]
    E tr G² = u² p n (n + p + 1),    E[tr G tr G²] = u (p n + 4) E tr G²       (Wishart)

Without one, s = 0, a small Q with variance β²/n has A = (1 + l)/T, where only l_ij = ρ_i M ρ_jᵀ,
M = Q Kᵀ/√n, tells the rows of A apart: ρ′_i = Σ_j l_ij ρ_j V/T, the cube of ρ. Hence the doubly
exponential collapse of Dong et al. 2021, arXiv:2103.03404: ρ ~ β^e after l layers, e = (3^l - 1)/2,
and after one, of independent tokens,

    E Σ_i ‖ρ′_i‖² = β² / (n² T²) · E[tr G tr G²]

All of these expectations are exact at any n and T, those in β to its first order. Bounds and
assumptions are of the papers; the constants are derived here.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxnn
from experiments.laws.law import Predicted, Setup, Told, log_mean_of, mean_of

SMALL = "4 standard errors, and the next order in β"
NEXT = 10.0  # times β², a part of what is predicted
BELOW = "without skip connections"
EXPONENT = BELOW + ": exponent of β, layer {}"


def alphas(setup: Setup) -> dict[str, float]:
    """Return α of each kind of network with skip connections."""
    return {"α = 1": 1.0, "α = 1/√L": setup.layers**-0.5}


def predict(setup: Setup) -> Told:
    """Predict logarithms of means, and the exponents of β."""
    n, t, count, inputs = setup.width, setup.tokens, setup.layers, setup.inputs
    for name, alpha in alphas(setup).items():
        growth = math.log1p(alpha**2)
        apart = t - 1 - 2 / (inputs * n)  # Σ‖ρ_i‖² over T ‖z̄‖² of the input
        total = (1 + math.expm1(count * growth) / t, math.exp(count * growth) / t)
        gain, alike = count * alpha**2 / (1 + alpha**2), count * growth - math.log(apart)
        yield Predicted(f"{name}: T ‖z̄‖² / Σ ‖ρ‖²", alike).about("α²", gain)
        yield Predicted(f"{name}: ‖Δz[0]‖² / ‖Δz[L]‖²", math.log(total[0])).about(
            "α²", total[1] / total[0] * gain
        )
        for c in setup.correlations:
            square = alpha**2 * of_queries(setup, c, (1 + alpha**2) ** (count - 1))
            case = f"{name}, tokens of c = {c:g}: ‖ΔQ‖²"
            yield Predicted(case, math.log(square)).about("ΔQ", 1.0)
    beta = setup.beta
    square = beta**2 / (n**2 * t**2) * cubes(n, t) / (t * n)
    left = NEXT * beta**2
    yield Predicted(f"{BELOW}: ‖ρ′‖², β = {beta:g}", math.log(square), left, SMALL).about("ρ′", 1.0)
    for layer in (1, 2):
        exponent = (3**layer - 1) / 2
        yield Predicted(EXPONENT.format(layer), exponent, left * exponent, SMALL).about(
            "the exponent"
        )


def squares(n: int, tokens: int) -> float:
    """Return E tr G² of independent tokens of mean square 1."""
    p = tokens - 1
    return p * n * (n + p + 1.0)


def cubes(n: int, tokens: int) -> float:
    """Return E[tr G tr G²] of independent tokens of mean square 1."""
    return ((tokens - 1) * n + 4.0) * squares(n, tokens)


def of_queries(setup: Setup, c: float, grown: float) -> float:
    """Return E‖ΔQ‖² for α = 1 in a layer whose ‖z̄‖² has grown by a factor; Δ of variance 1."""
    n, t, u = setup.width, setup.tokens, 1 - c
    mean = n * (c * t + u) * grown  # T E‖z̄‖²
    both = u**3 * cubes(n, t) + mean * u**2 * squares(n, t)
    return setup.inputs / (n * t**2) * both


class SkipWeights(NamedTuple):
    """The parameters of a layer."""

    skip: Any
    queries: Any
    keys: Any
    values: Any


def attention(p: SkipWeights, z: jax.Array) -> jax.Array:
    """Return s z + softmax(z Q (z K)ᵀ/√n) z V of (B, T, n) tokens."""
    scores = jnp.einsum("btn,bsn->bts", z @ p.queries, z @ p.keys) / z.shape[-1] ** 0.5
    return p.skip * z + jax.nn.softmax(scores) @ (z @ p.values)


def draw(key: jax.Array, setup: Setup, alpha: float, beta: float, skip: float) -> SkipWeights:
    """Return the stacked weights of all layers."""
    n, count = setup.width, setup.layers
    q, k, v = (
        scale * jax.random.normal(key, (count, n, n)) / math.sqrt(n)
        for scale, key in zip((beta, 1.0, alpha), jax.random.split(key, 3), strict=True)
    )
    return SkipWeights(jnp.full(count, skip), q, k, v)


def tokens(key: jax.Array, setup: Setup, c: float) -> jax.Array:
    """Return inputs of tokens of correlation c, (B, T, n)."""
    of_common, of_own = jax.random.split(key)
    shape = (setup.inputs, setup.tokens, setup.width)
    common = jax.random.normal(of_common, (setup.inputs, 1, setup.width))
    return math.sqrt(c) * common + math.sqrt(1 - c) * jax.random.normal(of_own, shape)


def measure(setup: Setup, key: jax.Array) -> Told:
    """Measure the flow of the library's chains, from random cotangents."""
    keys = jax.random.split(key, setup.seeds)
    for name, alpha in alphas(setup).items():
        for c in (0.0, *setup.correlations):
            several = [_flow(k, setup, alpha, 0.0, 1.0, c) for k in keys]
            yield f"{name}, tokens of c = {c:g}: ‖ΔQ‖²", log_mean_of([*map(_of_queries, several)])
            if c:
                continue
            shares = np.exp([2 * np.asarray(v.log_spread_within, np.float64) for v in several])
            yield f"{name}: T ‖z̄‖² / Σ ‖ρ‖²", log_mean_of(np.log(1 / shares[:, -1] - 1))
            down = [2 * float(v.log_delta_input - v.log_delta[-1]) for v in several]
            yield f"{name}: ‖Δz[0]‖² / ‖Δz[L]‖²", log_mean_of(down)
    # Without skip connections, ln of the mean square of ρ behind the first two layers.
    larger, smaller = (
        np.array([_apart(k, setup, beta) for k in keys]) for beta in (setup.beta, setup.beta / 2)
    )
    yield f"{BELOW}: ‖ρ′‖², β = {setup.beta:g}", log_mean_of(larger[:, 0])
    for layer in (1, 2):
        less = larger[:, layer - 1] - smaller[:, layer - 1]
        yield EXPONENT.format(layer), mean_of(less / (2 * math.log(2)))


def _flow(
    key: jax.Array, setup: Setup, alpha: float, beta: float, skip: float, c: float
) -> jaxnn.Flow:
    """Return the flow of a network, from a cotangent of variance 1.

    In float64: tokens that are alike differ by less than a thousandth, ρ of the second layer is β⁴.
    """
    of_weights, of_tokens, of_cotangent = jax.random.split(key, 3)
    with jax.enable_x64(True):
        weights = draw(of_weights, setup, alpha, beta, skip)
        net, params = jaxnn.as_network([jaxnn.Run(attention, weights, setup.layers)])
        xs = tokens(of_tokens, setup, c)
        cotangent = jax.random.normal(of_cotangent, xs.shape, xs.dtype)
        return jaxnn.gradient_flow((net, params), xs, cotangent=cotangent)


def _of_queries(flow: jaxnn.Flow) -> float:
    """Return ln ‖ΔQ‖² of the top layer."""
    of = flow.parameters
    named = zip(of.paths, of.layers, of.log_delta, strict=True)
    (log_delta,) = [v for path, i, v in named if i == max(of.layers) and "queries" in path]
    return 2 * float(log_delta)


def _apart(key: jax.Array, setup: Setup, beta: float) -> np.ndarray:
    flow = _flow(key, setup.but(layers=2), 1.0, beta, 0.0, 0.0)
    return 2 * np.asarray(flow.log_spread_within) + np.asarray(flow.log_mean_square)


SOURCE = "Dong et al. 2021; Noci et al. 2022; constants derived here"
FULL = Setup(
    width=128, tokens=8, inputs=16, layers=16, seeds=256, beta=0.02, correlations=(0.9, 0.99)
)
QUICK = FULL.but(width=64, inputs=2, layers=8, seeds=32, correlations=(0.99,))
COARSE = (("ΔQ", "its four cases share their weights, and count as one"),)
