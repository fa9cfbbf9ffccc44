"""Law 31: a weight that is used several times is one draw in the wide twin.

Yang 2020, arXiv:2006.14548 and arXiv:2009.10685 (tensor programs II and III): what is multiplied by
W is Gaussian, jointly for all that is multiplied by it,

    E[(x W)_o (x′ W)_o] = v x·x′

and what is multiplied by W and then by Wᵀ has a part that is not: with a[o] = f((x W)_o),

    a Wᵀ = v n E[f′] x + g,    E[g·g′] = v E[a·a′]

g Gaussian and independent of x. So of an autoencoder relu(z W) Wᵀ, σ² = v n,

    E|z′|² = σ⁴ (½ + ¼) E|z|²

of which independent draws have ½: gradients survive at σ = (4/3)^¼, not at 2^¼. Of T linear steps
Δ + a Δ Wᵀ those powers of W that are equal add up, which independent ones do not,

    E|Δ(1 + a Wᵀ)^T|² = Σ_k (T over k)² (a σ)^2k |Δ|²,    not (1 + a²σ²)^T

so that steps of an ODE grow by e^(2 σ t) for large t, however many they are. A gate is like itself
from step to step, two branches keep what their inputs have in common, and relu(z W) - relu(-z W) is
z W. Without gates or skips a recurrence is what it is with a matrix for each step.

Drawn networks are told from their twins as in law 29, within four joint errors, for they are a
hundred numbers; the autoencoder's critical factor, which `jaxnn.theory.critical_scale` finds by its
twin, from the formula.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

import jaxnn
from experiments.laws import wide_twin
from experiments.laws.law import Measured, Predicted, Setup, Told
from experiments.laws.power import ERRORS
from experiments.laws.wide_networks import EXAMPLES, Drawn, Kind, inputs

STEPS = 8  # of a recurrence, for each block
CRITICAL = "autoencoder: critical factor"
SIGMA = 1.2  # of its weights, whose signs alone are random
LAYERS = 12
GOAL = 0.01  # of the factor, that its width of so many units leaves open


def _matrices(sigma: float, n: int, count: int) -> Any:
    def params(key: jax.Array) -> Any:
        return [
            sigma * n**-0.5 * jax.random.normal(k, (n, n), jnp.float32)
            for k in jax.random.split(key, count)
        ]

    return params


def _encoded(weights: Any, z: jax.Array) -> jax.Array:
    for w in weights:
        z = jax.nn.relu(z @ w) @ w.T
    return z


def autoencoder(n: int, blocks: int) -> Drawn:
    """Autoencoders on each other, whose decoders are the transposes of their encoders."""
    return Drawn(_encoded, _matrices(SIGMA, n, 2 * blocks), inputs(EXAMPLES, n))


def _up(w: jax.Array, z: jax.Array) -> jax.Array:
    return jnp.tanh(z @ w)


def _back(w: jax.Array, z: jax.Array) -> jax.Array:
    return jnp.tanh(z @ w.T)


def stacked_autoencoder(n: int, blocks: int) -> Drawn:
    """One autoencoder of several layers, whose transposes come in reverse order."""

    def layers(key: jax.Array) -> Any:
        weights = _matrices(1.5, n, 2 * blocks)(key)
        return [*((_up, w) for w in weights), *((_back, w) for w in reversed(weights))]

    return Drawn(None, layers, inputs(EXAMPLES, n))


def siamese(n: int, blocks: int) -> Drawn:
    """Two branches with the same weights, and what is left of the difference of like inputs."""

    def apply(weights: Any, xs: jax.Array) -> jax.Array:
        *below, top = weights
        one, other = xs[:, 0], (3 * xs[:, 0] + xs[:, 1]) / 10**0.5
        for w in below:
            one, other = jnp.tanh(one @ w), jnp.tanh(other @ w)
        return (one - other) @ top

    return Drawn(apply, _matrices(1.5, n, 2 * blocks + 1), inputs(EXAMPLES, 2, n))


def pairs(n: int, blocks: int) -> Drawn:
    """Positive and negative parts of the same products."""

    def apply(weights: Any, z: jax.Array) -> jax.Array:
        for w in weights:
            z = jax.nn.relu(z @ w) - jax.nn.relu(-z @ w)
        return z

    return Drawn(apply, _matrices(1.0, n, 4 * blocks), inputs(EXAMPLES, n))


def steps(n: int, blocks: int) -> Drawn:
    """Residual steps that share their weights, as those that solve an ODE, each a layer."""

    def apply(params: Any, z: jax.Array) -> jax.Array:
        (w,) = params

        def step(z: jax.Array, _: None) -> tuple[jax.Array, None]:
            return z + jnp.tanh(z @ w) / 4, None

        return lax.scan(step, z, None, STEPS * blocks)[0]

    return Drawn(apply, _matrices(1.5, n, 1), inputs(EXAMPLES, n))


def gru(n: int, blocks: int) -> Drawn:
    """A recurrent network of `flax.linen`, GRUCell with independent weights, each step a layer."""
    from flax import linen as nn

    cell = nn.GRUCell(n, recurrent_kernel_init=nn.initializers.lecun_normal())  # not orthogonal
    model, xs = nn.RNN(cell), inputs(EXAMPLES, STEPS * blocks, n)
    return Drawn(
        lambda params, xs: model.apply(params, xs)[:, -1], lambda key: model.init(key, xs), xs
    )


KINDS = {
    "autoencoder": Kind("jax", autoencoder),
    "stacked autoencoder": Kind("jax", stacked_autoencoder),
    "siamese": Kind("jax", siamese),
    "positive and negative parts": Kind("jax", pairs),
    "residual steps": Kind("jax", steps),
    "GRU in time": Kind("flax", gru),
}


def predict(setup: Setup) -> Told:
    """Predict the sizes by draws of twins, and the factor by its formula."""
    yield from wide_twin.predict(setup, KINDS, ERRORS)
    if "autoencoder" in setup.kinds:
        reason = f"4 standard errors, and {GOAL:g}"
        yield Predicted(CRITICAL, (4 / 3) ** 0.25 / SIGMA, GOAL, reason)


def measure(setup: Setup, key: jax.Array) -> Told:
    """Measure drawn networks of each kind, and find the factor."""
    yield from wide_twin.measure(setup, key, KINDS)
    if "autoencoder" in setup.kinds:
        n = setup.width
        signs = jax.random.rademacher(key, (LAYERS // 2, n, n), jnp.float32)
        xs = inputs(EXAMPLES, n)
        found = jaxnn.theory.critical_scale((_encoded, list(SIGMA * n**-0.5 * signs)), xs)
        yield CRITICAL, Measured(found.factor or math.nan, found.error)


SOURCE = "Yang 2020; the factor derived here"
FULL = Setup(kinds=tuple(KINDS), width=256, blocks=2, seeds=8, draws=16, replicas=2, gains=2)
QUICK = FULL.but(kinds=("autoencoder", "residual steps"), width=128, blocks=1, replicas=4)
SMALL = "a step adds a quarter of what it computes, which moves what is measured by little"
MORE = "six percent takes half as many networks more"
REASONS = {"residual steps": SMALL, "autoencoder": MORE, "siamese": MORE}
COARSE = tuple((wide_twin.FACTOR.format(kind), reason) for kind, reason in REASONS.items())
NEEDS = ("flax",)
