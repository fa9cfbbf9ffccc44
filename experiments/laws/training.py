"""Training with the gradient by hand, as one compiled program: for the laws that need it.

    v ← μ v - η Δ(θ, b),   (θ, b) ← (θ, b) + v       (SGD where μ = 0), batches drawn at random

The step size η, the momentum μ and the depth that is used of a run are data: one program serves all
of them. `backprop` is the hand-written recursion; nothing here differentiates.
"""

from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

import jaxnn
from experiments.learning import data

Params = tuple[jaxnn.Layer, ...]


class Examples(NamedTuple):
    """A whole set: x (N, n[0]) and classes (N,)."""

    x: jax.Array
    y: jax.Array

    @property
    def chance(self) -> float:
        """The accuracy of always naming the most frequent class."""
        return float(jnp.max(jnp.bincount(self.y))) / len(self.y)


Moving = tuple[Params, Params]  # parameters and their velocity v
Falling = tuple[Params, jax.Array, jax.Array, jax.Array]  # parameters, steps, loss, the first loss


class Descent(NamedTuple):
    """How the steps go: η, μ, and examples in a batch."""

    rate: float
    momentum: float
    batch: int


@cache
def digits() -> Examples:
    """scikit-learn's digits: 1797 images of 64 standardised pixels, 10 classes."""
    of = data.load("digits")
    return Examples(jnp.asarray(of.x, float), jnp.asarray(of.y))


def classifier(width: int, hidden: int, activation: str) -> jaxnn.Network:
    """A network for the digits; all hidden layers but the first are one run."""
    return jaxnn.Network((64, *[width] * hidden, 10), activation, "multiclass")


def accuracies(
    net: jaxnn.Network,
    params: Params,
    examples: Examples,
    key: jax.Array,
    descent: Descent,
    steps: int,
    looks: int = 1,
    depth: int | None = None,
) -> jax.Array:
    """The accuracy on all examples after each of `looks` equal parts of the steps, (looks,).

    depth: how many layers of the run are used; all where it is None.
    """
    part = steps // looks
    hyper = (descent.rate, descent.momentum)
    found: jax.Array = _train(
        net, params, examples, key, hyper, depth, (looks, part, descent.batch)
    )
    return found


@partial(jax.jit, static_argnames="sizes")
def _train(
    net: jaxnn.Network,
    params: Params,
    examples: Examples,
    key: jax.Array,
    hyper: tuple[jax.Array, jax.Array],
    depth: jax.Array | None,
    sizes: tuple[int, int, int],
) -> jax.Array:
    batches = jax.random.randint(key, sizes, 0, len(examples.y))
    rate, momentum = hyper

    def step(state: Moving, batch: jax.Array) -> tuple[Moving, None]:
        params, velocity = state
        x, y = examples.x[batch], examples.y[batch]
        _, gradient = jaxnn.backprop(net, params, x, y, depth=depth)
        velocity = jax.tree.map(lambda v, g: momentum * v - rate * g, velocity, gradient)
        return (jax.tree.map(jnp.add, params, velocity), velocity), None

    def look(state: Moving, batches: jax.Array) -> tuple[Moving, jax.Array]:
        state, _ = lax.scan(step, state, batches)
        return state, accuracy(net, state[0], examples, depth)

    start = (params, jax.tree.map(jnp.zeros_like, params))
    return lax.scan(look, start, batches)[1]


def accuracy(
    net: jaxnn.Network, params: Params, examples: Examples, depth: jax.Array | int | None
) -> jax.Array:
    """The fraction of examples whose class has the largest probability."""
    forward = partial(jaxnn.forward, depth=depth)
    y_hat = jax.vmap(forward, in_axes=(None, None, 0))(net, params, examples.x)
    right = jnp.argmax(y_hat, axis=1) == examples.y
    return jnp.mean((right & jnp.isfinite(y_hat).all(axis=1)).astype(float))


def fewest_steps(
    net: jaxnn.Network,
    params: Params,
    examples: Examples,
    rates: jax.Array,
    until: float,
    most: int,
    depth: jax.Array | int,
) -> jax.Array:
    """The fewest full-batch steps, over the rates, until the loss is `until` times the first one.

    inf where none is there within `most` steps. A rate is given up where the loss is ten times the
    first or no number, and where another one has needed fewer steps.
    """

    def body(rate: jax.Array, state: Falling) -> Falling:
        params, step, _, first = state
        loss, gradient = jaxnn.backprop(net, params, examples.x, examples.y, depth=depth)
        moved = jax.tree.map(lambda v, g: v - rate * g, params, gradient)
        return moved, step + 1, loss, jnp.where(step == 0, loss, first)

    def of_rate(best: jax.Array, rate: jax.Array) -> tuple[jax.Array, None]:
        def unfinished(state: Falling) -> jax.Array:
            _, step, loss, first = state
            return (step < best) & (loss > until * first) & (loss < 10 * first)

        huge = jnp.asarray(1e30)
        start = (params, jnp.zeros((), jnp.int32), huge, huge)
        _, steps, loss, first = lax.while_loop(unfinished, partial(body, rate), start)
        return jnp.where(loss <= until * first, jnp.minimum(steps, best), best), None

    none = jnp.asarray(most + 1, jnp.int32)
    best, _ = lax.scan(of_rate, none, rates)
    return jnp.where(best == none, jnp.inf, best.astype(float))
