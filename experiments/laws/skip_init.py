"""Law 22: a first step moves L blocks L times as far as one block; with Fixup, as far as one.

A branch of unit mean square on a skip connection: after L of them z has the mean square 1 + L, so
the last is 1/(1+L) of it, and the network behaves as a shallow one (De & Smith 2020,
arXiv:2002.10444): the mean square after a batch norm in each branch is 1 + L. Without it each
block doubles it, and each branch is half of z. SkipInit has one number α a branch, 0 at first:

    α = 0: Δz is the same in all layers, and Δα[l] = Δ·f_l is a random number of its own in each:
    a step of gradient descent takes η Σ Δα² = η L from the loss, for ‖Δ‖ = 1 and E f² = 1.

Fixup (Zhang, Dauphin & Ma 2019, arXiv:1901.09321) has B = 0 in a branch h B, h = relu(z A), and A
of variance 2/n L^-1: a step moves z[L] by η Σ ‖h_l‖² Δ = η n Δ at any depth, and by L times as much
without L^-1. Both are exact at any width, in the mean.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import jaxnn
from experiments.laws.law import Predicted, Setup, Told, log_mean_of
from experiments.laws.networks import HiddenLayers, gradients, random_rows

RELU = HiddenLayers("relu", math.sqrt(2))
ROWS = 32  # of a batch norm
COTANGENTS = 16  # of a network, of which each has Δα of its own
NORMED, SKIP = "batch norm in the branch", "SkipInit, α = 0"
FIXUP, UNSCALED = "Fixup", "Fixup without its 1/√L"
CLOSED = "α = 0: ln ‖Δz[1]‖ / ‖Δz[L+1]‖"  # of branches that start at zero


def predict(setup: Setup) -> Told:
    """Predict logarithms of means: of 1 + L, of L and of 1; and Δz[1] = Δz[L+1] for α = 0."""
    for blocks in setup.blocks:
        for name, size, factor, gain in (
            (NORMED, 1 + blocks, "E f² of a normed branch", blocks / (1 + blocks)),
            (SKIP, blocks, "Δα²", 1.0),
            (FIXUP, 1, "Σ ‖h‖²", 1.0),
            (UNSCALED, blocks, "Σ ‖h‖²", 1.0),
        ):
            case, value = f"{name}, L = {blocks}", math.log(size)
            yield Predicted(case, value).about(factor, gain)
    yield Predicted(CLOSED, 0.0, 1e-6, "rounding", errors=0)


def measure(setup: Setup, key: jax.Array) -> Told:
    """Measure lengths by the library's blocks, and first steps by JAX's derivatives."""
    keys, n = jax.random.split(key, setup.seeds), setup.width
    deepest = max(setup.blocks)
    normed = jaxnn.blocks.Residual(jaxnn.blocks.BatchNorm())
    for blocks in setup.blocks:
        of_kind, fields = (RELU, n, deepest + 1, 0.5, ROWS), ("log_mean_square",)
        (square,) = gradients(keys, *of_kind, block=normed, depth=blocks + 1, fields=fields)
        yield f"{NORMED}, L = {blocks}", log_mean_of(square[:, blocks] - square[:, 0])
        for name, step, power in (
            (SKIP, _skip_init, 0.0),
            (FIXUP, _fixup, 1.0),
            (UNSCALED, _fixup, 0.0),
        ):
            logs = np.log(np.asarray(step(keys, n, blocks, blocks**-power), np.float64))
            yield f"{name}, L = {blocks}", log_mean_of(logs)
    closed = jaxnn.blocks.Residual(scale=0.0)
    (log_delta,) = gradients(keys[:1], RELU, n, deepest + 1, block=closed)
    yield CLOSED, log_mean_of(log_delta[:, 0] - log_delta[:, deepest])


@partial(jax.jit, static_argnames=("n", "blocks"))
def _skip_init(keys: jax.Array, n: int, blocks: int, _: jax.Array) -> jax.Array:
    """Σ Δα² of every network, the loss being u·z with ‖u‖ = 1; the mean over several u."""

    def taken(key: jax.Array) -> jax.Array:
        of_weights, of_input, of_cotangent = jax.random.split(key, 3)
        z, us = random_rows(of_input, 1, n, 1.0)[0], random_rows(of_cotangent, COTANGENTS, n, 1 / n)

        def output(alphas: jax.Array) -> jax.Array:
            def block(z: jax.Array, at: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
                alpha, key = at
                theta = jax.random.normal(key, (n, n)) * math.sqrt(2 / n)
                return z + alpha * (jax.nn.relu(z) @ theta), None

            return lax.scan(block, z, (alphas, jax.random.split(of_weights, blocks)))[0]

        down = jax.vjp(output, jnp.zeros(blocks))[1]
        gradients: jax.Array = jax.vmap(lambda u: down(u)[0])(us)
        return jnp.sum(jnp.square(gradients)) / COTANGENTS

    return lax.map(taken, keys)


@partial(jax.jit, static_argnames=("n", "blocks"))
def _fixup(keys: jax.Array, n: int, blocks: int, variance: jax.Array) -> jax.Array:
    """‖dz[L]/dη‖ / n of every network along the step of its gradient, for ‖Δ‖ = 1."""

    def moved(key: jax.Array) -> jax.Array:
        of_weights, of_input, of_cotangent = jax.random.split(key, 3)
        x, u = random_rows(of_input, 1, n, 1.0)[0], random_rows(of_cotangent, 1, n, 1 / n)[0]
        a = jax.random.normal(of_weights, (blocks, n, n)) * jnp.sqrt(2 * variance / n)

        def output(params: tuple[jax.Array, jax.Array]) -> jax.Array:
            def block(z: jax.Array, at: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
                return z + jax.nn.relu(z @ at[0]) @ at[1], None

            return lax.scan(block, x, params)[0]

        params = (a, jnp.zeros_like(a))
        gradient = jax.vjp(output, params)[1](u)[0]
        step = jax.tree.map(jnp.negative, gradient)
        along: jax.Array = jax.jvp(output, (params,), (step,))[1]
        return jnp.sqrt(jnp.sum(jnp.square(along))) / n

    return lax.map(moved, keys)


SOURCE = "De & Smith 2020; Zhang, Dauphin & Ma 2019"
FULL = Setup(width=128, seeds=110, blocks=(4, 16, 64))
QUICK = Setup(width=64, seeds=40, blocks=(4, 32))
