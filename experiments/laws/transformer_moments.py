"""Law 28: variances after a transformer's parts, with half the errors of published formulas.

Kedia et al. 2024, arXiv:2403.09635, give formulas for what each part of a transformer makes of
variances, and the errors that these have in drawn networks, in percent, over all their set-ups:

                                      median   90 %   99 %
    feed-forward, variance of z          .4     1.4    2.8
    attention, variance of Δz           2.2    13.3   44.5

Here are the same parts in set-ups like theirs: tokens of correlation c, W_Q and W_K of standard
deviation σ/√d, gradients of correlation c′, dropout of what is attended to or of the output, which
keeps a part of it. A theory counts as nearer if its errors are at most half of these.

Feed-forward, z = relu(x A) B: E z² = ½ σ_A² σ_B² E x² over the part kept, by
`jaxnn.theory.meanfield.length_map`; exact in expectation at any width, so that what is left is the
number of draws. Weights are ± their standard deviation.

Attention, z = softmax(x W_Q (x W_K)ᵀ/√d) x W_V: their formula, with T tokens and a part kept κ,

    E Δx² = E Δz² · σ_V² d · (1 + (T-1) c′ κ) / (T κ)

leaves out that the weights of tokens are unequal, and what comes back through them. Theory here is
the wide twin of the library, which is given the layer and nothing else. It is right up to a part of
1/d, since logits of d numbers are not quite Gaussian. Set-ups here have fewer tokens than theirs,
of 300 to 1000, for which the formula is meant, and more draws.
"""

import math
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import jaxnn
from experiments.laws.law import Measured, Predicted, Setup, Told, mean_of
from jaxnn.flow.measure.flow_of_net import flow_of_net

PERCENTILES = (50, 90, 99)
FEED_FORWARD, ATTENTION = "feed-forward, variance of z", "attention, variance of Δz"
PUBLISHED = {FEED_FORWARD: (0.4, 1.4, 2.8), ATTENTION: (2.2, 13.3, 44.5)}
FACTORS = {FEED_FORWARD: "E relu²", ATTENTION: "the twin's ‖Δz‖²"}
PERCENTILE = "{}: error in %, {} of 100 set-ups"
HALF = "half of the published error"
GROUPS = 16  # of draws, whose means give the standard error
REPLICAS = 16
NETWORKS = 4  # with an input each
HIDDEN = 4  # times as many units as channels
CHANNELS, FEW = 64, 2  # channels and tokens of a feed-forward network


def predict(setup: Setup) -> Told:
    """Predict no bias, and errors of at most half of the published ones."""
    for name, published in PUBLISHED.items():
        left = 1 / setup.head if name == ATTENTION else 0.0
        reason = "4 standard errors" + (", and the next order in 1/d" if left else "")
        yield Predicted(f"{name}: ln of measured over theory", 0.0, left, reason).about(
            FACTORS[name], 1.0
        )
        for p, error in zip(PERCENTILES, published, strict=True):
            yield Predicted(
                PERCENTILE.format(name, p), error / 2, 0.0, HALF, errors=0, relation="≤"
            )


def measure(setup: Setup, key: jax.Array) -> Told:
    """Measure drawn parts, and how far theory is from them."""
    logs = {FEED_FORWARD: feed_forward(setup, key), ATTENTION: attention(setup, key)}
    for name, by_group in logs.items():
        yield f"{name}: ln of measured over theory", mean_of(by_group.mean(axis=0))
        for p, error in errors(by_group):
            yield PERCENTILE.format(name, p), error


def errors(by_group: np.ndarray) -> list[tuple[int, Measured]]:
    """Return percentiles of the errors in %, given ln of measured over theory."""
    each = np.sort(100 * np.abs(np.expm1(-by_group.mean(axis=1))))
    return [(p, Measured(float(each[len(each) * p // 100]))) for p in PERCENTILES]


def normals(key: jax.Array, *shapes: tuple[int, ...]) -> list[jax.Array]:
    """Return Gaussian arrays, by one call: each takes half a second to compile."""
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    parts = jnp.split(jax.random.normal(key, (int(ends[-1]),)), ends[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def alike(common: jax.Array, own: jax.Array, c: jax.Array) -> jax.Array:
    """Return tokens, (T, n), of correlation c."""
    return jnp.sqrt(c) * common + jnp.sqrt(1 - c) * own


def kept_of(normal: jax.Array, keep: jax.Array) -> jax.Array:
    """Return a mask of dropout, 0 or over the part kept, from Gaussian numbers."""
    return (jax.scipy.special.ndtr(normal) < keep) / keep


def grouped(values: np.ndarray) -> np.ndarray:
    """Return means of groups of draws, (set-ups, draws) -> (set-ups, groups)."""
    return values.reshape(len(values), GROUPS, -1).mean(axis=-1)


def feed_forward(setup: Setup, key: jax.Array) -> np.ndarray:
    """Return ln of the variance of z, measured over theory, (set-ups, groups)."""
    given = jnp.array(list(product(setup.correlations, setup.kept)))
    keys = jax.random.split(key, setup.feed_forward)
    drawn = np.asarray(_of_feed_forward(keys, given), np.float64).T
    length_map = jaxnn.theory.meanfield.length_map
    theory = [float(length_map("relu", 1.0, 0.0, 1.0, keep=float(keep))) for _, keep in given]
    return np.log(grouped(drawn) / np.array(theory)[:, None])


@jax.jit
def _of_feed_forward(keys: jax.Array, given: jax.Array) -> jax.Array:
    """Mean squares of z, (draws, set-ups)."""

    def drawn(key: jax.Array) -> jax.Array:
        units, rows = (CHANNELS, HIDDEN * CHANNELS), (FEW, CHANNELS)
        a, b, common, own, mask = normals(key, units, units[::-1], (CHANNELS,), rows, rows)
        a, b = jnp.sign(a) / math.sqrt(units[0]), jnp.sign(b) / math.sqrt(units[1])

        def mean_square(of: jax.Array) -> jax.Array:
            c, keep = of
            z = jax.nn.relu(alike(common, own, c) @ a) @ b * kept_of(mask, keep)
            return jnp.mean(jnp.square(z))

        return jax.vmap(mean_square)(given)

    return lax.map(drawn, keys, batch_size=GROUPS)


class HeadWeights(NamedTuple):
    """W_Q, W_K, W_V, and the mask of dropout, 0 or over the part kept."""

    queries: Any
    keys: Any
    values: Any
    mask: Any


def attend(p: HeadWeights, x: jax.Array) -> jax.Array:
    """Return what one head makes of (B, T, n) tokens."""
    scores = jnp.einsum("btd,bsd->bts", x @ p.queries, x @ p.keys) / p.queries.shape[-1] ** 0.5
    return (jax.nn.softmax(scores) * p.mask) @ (x @ p.values)


class Case(NamedTuple):
    """A set-up: correlation of tokens, σ, correlation of Δ, and the part kept."""

    c: jax.Array
    sigma: jax.Array
    of_delta: jax.Array
    keep: jax.Array


def attention(setup: Setup, key: jax.Array) -> np.ndarray:
    """Return ln of the variance of Δz over theory, (set-ups, groups)."""
    given = product(setup.correlations, setup.sizes, setup.gradients, setup.kept)
    cases = Case(*jnp.array(list(given)).T)
    sizes = setup.width, setup.head, setup.tokens
    both = _of_attention(jax.random.split(key, setup.inputs), cases, sizes)
    real, theory = (grouped(np.asarray(v, np.float64)) for v in both)
    return np.log(real / theory)


@partial(jax.jit, static_argnames="sizes")
def _of_attention(
    keys: jax.Array, cases: Case, sizes: tuple[int, int, int]
) -> tuple[jax.Array, jax.Array]:
    """Mean squares of Δx of drawn networks, and of twins for the same inputs, (set-ups, inputs)."""
    n, head, t = sizes

    def of(case: Case, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        x, of_x, delta, of_delta, normal = normals(key, (t, n), (n,), (t, head), (head,), (t, t))
        x, mask = alike(of_x, x, case.c)[None], kept_of(normal, case.keep)
        delta = alike(of_delta, delta, case.of_delta)[None]

        def weights(key: jax.Array) -> HeadWeights:
            q, k, v = jax.random.normal(key, (3, n, head)) / math.sqrt(n)
            return HeadWeights(case.sigma * q, case.sigma * k, v, mask)

        def below(key: jax.Array) -> jax.Array:
            return jax.vjp(partial(attend, weights(key)), x)[1](delta)[0]

        drawn = jnp.mean(jnp.square(jax.vmap(below)(jax.random.split(key, NETWORKS))))
        net, params = jaxnn.as_network([(attend, weights(key))])
        twin, own = jaxnn.theory.wide((net, params), replicas=REPLICAS, key=key)
        flow = flow_of_net(twin, own, x, cotangent=delta, examples=False)
        return drawn, jnp.exp(2 * flow.log_delta_input) / x.size

    return lax.map(lambda case: lax.map(partial(of, case), keys), cases)


THIRDS = (0.0, 1 / 3, 2 / 3)

SOURCE = "Kedia et al. 2024, their table of errors; theory: Yang 2019, by the wide twin"
# inputs: of attention in a set-up; each of four networks and of one twin. All draws are multiples
# of 16.
FULL = Setup(
    width=128,
    head=64,
    tokens=32,
    inputs=384,
    feed_forward=2**17,
    correlations=THIRDS,
    sizes=(0.1, 0.245, 0.6),
    gradients=THIRDS,
    kept=(1.0, 1 / 3),
)
ENDS = (0.0, 2 / 3)
QUICK = FULL.but(
    tokens=16, inputs=256, feed_forward=2**16, correlations=ENDS, sizes=(0.1, 0.6), gradients=ENDS
)
