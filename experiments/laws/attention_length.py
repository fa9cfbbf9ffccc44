"""Law 20: a random softmax sees few of T tokens: Σ softmax² follows an integral at any length.

Queries and keys of T independent tokens, W_Q and W_K of standard deviation √β (ln T)^¼ / √d each,
give logits of variance β² ln T: w = exp(β √(ln T) g), g ~ N(0, 1), and A = w / Σ w. Since
1/S² = ∫ t e^(-tS) dt,

    E Σ A² = T ∫₀^∞ t E[w² e^(-tw)] (E[e^(-tw)])^(T-1) dt

which for T → ∞ is (1 - √2/β)₊ (Giorlandino & Goldt 2025, arXiv:2505.24333): above β = √2 a few
tokens get all. Of tokens with the overlap p, x = √p m + √(1-p) ξ, the common part adds the same to
all logits of a row: β √(1-p) stands for β. In d dimensions the variance of a row's logits is that
times the product of three χ²_d/d, of token, W_Q and W_K, whose mean is 1 and variance 6/d to first
order. The integral at finite T is a derivation, made here.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from experiments.laws.law import Predicted, Setup, Told, mean_of

MORE = 0.01  # of β, for the change of E Σ A² that it makes
REASON = "4 standard errors, and the next order in 1/d, (6/d)²"
STEP = 0.4  # of ln t and ln w: e^-tw is smooth over 1, and the rule good to 1e-10
REACH = 8.0  # of g, beyond the largest of T


def series(setup: Setup, overlap: float) -> str:
    """Return the name of a series of points."""
    name = f"T = {setup.tokens}"
    return f"{name}, overlap {overlap:g}" if overlap else name


def cases(setup: Setup) -> list[tuple[float, float]]:
    """Return every β with its overlap p."""
    with_overlap = [(beta, setup.overlap) for beta in setup.beta_overlap]
    return [*((beta, 0.0) for beta in setup.beta), *with_overlap]


def predict(setup: Setup) -> Told:
    """Predict E Σ A² by the integral."""
    left = (6 / setup.width) ** 2
    for beta, overlap in cases(setup):
        value, more = (
            in_dimensions(part * beta * math.sqrt(1 - overlap), setup.tokens, setup.width)
            for part in (1.0, 1 + MORE)
        )
        case = f"{series(setup, overlap)}, β = {beta:g}"
        yield Predicted(case, value, left, REASON).about("β", (more - value) / MORE)


def in_dimensions(beta: float, tokens: int, width: int) -> float:
    """Return E Σ A² over rows whose variance of the logits has itself the variance 6/d."""
    sd = math.sqrt(6 / width)
    spread = ((1 / 6, -math.sqrt(3)), (2 / 3, 0.0), (1 / 6, math.sqrt(3)))  # of a normal one
    return sum(w * concentration(beta * math.sqrt(1 + x * sd), tokens) for w, x in spread)


def concentration(beta: float, tokens: int) -> float:
    """Return E Σ A² of T tokens, by the trapezoidal rule in ln w and u = ln t."""
    root = math.sqrt(math.log(tokens))
    s, most = beta * root, math.sqrt(2) * root + REACH  # of a logit; of g
    log_w = np.arange(-REACH * s, most * s, STEP)
    density = np.exp(-((log_w / s) ** 2) / 2) * STEP / s / math.sqrt(2 * math.pi)
    u = np.arange(-most * s - 12.0, REACH * s + 4.0, STEP)  # t w from e^-12 to where e^-tw is 0
    tw = np.exp(np.minimum(u[:, None] + log_w, 300.0))
    square = (tw**2 * np.exp(-tw)) @ density  # E t² w² e^-tw
    gone = -np.expm1(-tw) @ density  # 1 - E e^-tw, without cancellation
    each = square * np.exp((tokens - 1) * np.log1p(-np.minimum(gone, 1 - 1e-16)))
    return float(tokens * np.sum(each) * STEP)


def measure(setup: Setup, key: jax.Array) -> Told:
    """Draw tokens, queries and keys; the mean over the rows of a network is one sample."""
    keys = jax.random.split(key, setup.seeds)
    for beta, overlap in cases(setup):
        scale = beta * math.sqrt(math.log(setup.tokens))
        shares = _shares(keys, setup.tokens, setup.width, scale, overlap)
        name = series(setup, overlap)
        yield f"{name}, β = {beta:g}", mean_of(shares)


@partial(jax.jit, static_argnames=("tokens", "width"))
def _shares(
    keys: jax.Array, tokens: int, width: int, scale: jax.Array, overlap: jax.Array
) -> jax.Array:
    """Σ softmax², the mean over rows, of every network."""

    def share(key: jax.Array) -> jax.Array:
        of_common, of_own, of_queries, of_keys = jax.random.split(key, 4)
        common = jax.random.normal(of_common, (width,))
        own = jax.random.normal(of_own, (tokens, width))
        x = jnp.sqrt(overlap) * common + jnp.sqrt(1 - overlap) * own
        w_q, w_k = (
            jax.random.normal(k, (width, width)) * jnp.sqrt(scale / width)
            for k in (of_queries, of_keys)
        )
        logits = (x @ w_q) @ (x @ w_k).T / jnp.sqrt(width)
        return jnp.mean(jnp.sum(jnp.square(jax.nn.softmax(logits)), axis=1))

    return lax.map(share, keys)


SOURCE = "Giorlandino & Goldt 2025; at finite length derived here"
FULL = Setup(
    tokens=2048, width=512, seeds=8, beta=(1.0, 2.0, 3.0, 5.0), overlap=0.5, beta_overlap=(2.0, 4.0)
)
QUICK = Setup(
    tokens=256, width=256, seeds=24, beta=(1.0, 2.0, 3.0), overlap=0.5, beta_overlap=(3.0,)
)
