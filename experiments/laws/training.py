"""Training with the gradient by hand, as one compiled program: for the laws that need it.

    v ← μ v - η Δ(θ, b),   (θ, b) ← (θ, b) + v

Batches are drawn at random, and step size, momentum and the depth that is used are data:
one program serves all of them. `backprop` is the hand-written recursion; nothing here
differentiates.
"""

from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

import jaxnn
from experiments.laws.networks import Activation, Params
from experiments.learning import data
from experiments.learning.descent import DescentRule, descend
from jaxnn.network.blocks import DENSE, Block


class TrainingSet(NamedTuple):
    """A whole set: x (N, n[0]) and classes (N,)."""

    x: jax.Array
    y: jax.Array

    @property
    def chance(self) -> float:
        """The accuracy of always naming the most frequent class."""
        return float(jnp.max(jnp.bincount(self.y))) / len(self.y)


Falling = tuple[Params, jax.Array, jax.Array, jax.Array]  # parameters, steps, loss, the first loss


@cache
def digits() -> TrainingSet:
    """Load scikit-learn's digits: 1797 images of 64 standardised pixels, 10 classes."""
    dataset = data.load("digits")
    return TrainingSet(jnp.asarray(dataset.x, float), jnp.asarray(dataset.y))


def classifier(
    width: int, hidden: int, activation: Activation, block: Block = DENSE
) -> jaxnn.Network:
    """Return a network for the digits; all hidden layers but the first are one run."""
    return jaxnn.Network((64, *[width] * hidden, 10), activation, "multiclass", hidden=block)


def accuracies(
    net: jaxnn.Network,
    params: Params,
    examples: TrainingSet,
    key: jax.Array,
    descent: DescentRule,
    steps: int,
    looks: int = 1,
    depth: int | None = None,
) -> jax.Array:
    """Train, and return the accuracy after each of `looks` equal parts of the steps, (looks,)."""
    rule, sizes = (descent.rate, descent.momentum), (looks, steps // looks, descent.batch)
    return _train(net, params, examples, key, rule, depth, sizes)


@partial(jax.jit, static_argnames="sizes")
def _train(
    net: jaxnn.Network,
    params: Params,
    examples: TrainingSet,
    key: jax.Array,
    rule: tuple[jax.Array, jax.Array],
    depth: jax.Array | None,
    sizes: tuple[int, int, int],
) -> jax.Array:
    batches = jax.random.randint(key, sizes, 0, len(examples.y))
    rate, momentum = rule
    # Not optax.sgd, which multiplies by η last: at the edge of chaos a last digit decides.
    sgd = optax.chain(optax.scale(-rate), optax.trace(momentum))

    def look(state: jaxnn.train.State, batches: jax.Array) -> tuple[jaxnn.train.State, jax.Array]:
        state = descend(net, state, examples.x, examples.y, sgd, batches, depth)
        return state, accuracy(net, state.params, examples, depth)

    return lax.scan(look, jaxnn.train.start(net, params, sgd, key), batches)[1]


def accuracy(
    net: jaxnn.Network, params: Params, examples: TrainingSet, depth: jax.Array | int | None
) -> jax.Array:
    """Return the fraction of examples whose class has the largest probability."""
    forward = partial(jaxnn.forward, depth=depth)
    y_hat = jax.vmap(forward, in_axes=(None, None, 0))(net, params, examples.x)
    right = jnp.argmax(y_hat, axis=1) == examples.y
    return jnp.mean((right & jnp.isfinite(y_hat).all(axis=1)).astype(float))


@partial(jax.jit, static_argnames=("steps", "batch"))
def losses_of_run(
    net: jaxnn.Network,
    params: Params,
    examples: TrainingSet,
    key: jax.Array,
    rates: jax.Array,
    steps: int,
    batch: int,
) -> jax.Array:
    """Train the run alone, by Adam, once with each rate; return the mean losses after, (rates,)."""
    batches = jax.random.randint(key, (steps, batch), 0, len(examples.y))

    def run_alone(updates: Params, _: object = None) -> Params:
        none: Params = jax.tree.map(jnp.zeros_like, updates)
        return none[0], updates[1], none[2]

    def loss(rate: jax.Array) -> jax.Array:
        adam = optax.chain(optax.adam(rate), optax.stateless(run_alone))
        state = jaxnn.train.start(net, params, adam, key)
        state = descend(net, state, examples.x, examples.y, adam, batches)
        return jnp.asarray(jaxnn.train.evaluate(net, state.params, examples.x, examples.y).loss)

    return lax.map(loss, rates)


def fewest_steps(
    net: jaxnn.Network,
    params: Params,
    examples: TrainingSet,
    rates: jax.Array,
    until: float,
    most: int,
    depth: jax.Array | int,
) -> jax.Array:
    """Return the fewest full-batch steps, over the rates, until that part of the loss is left.

    It is inf if no rate gets there. A rate is given up once the loss is ten times the first or no
    number, and once another one has needed fewer steps.
    """

    def body(rate: jax.Array, state: Falling) -> Falling:
        params, step, _, first = state
        loss, gradient = jaxnn.backprop(net, params, examples.x, examples.y, depth=depth)
        moved = jax.tree.map(lambda v, g: v - rate * g, params, gradient)
        return moved, step + 1, loss, jnp.where(step == 0, loss, first)

    def race(best: jax.Array, rate: jax.Array) -> tuple[jax.Array, None]:
        def unfinished(state: Falling) -> jax.Array:
            _, step, loss, first = state
            return (step < best) & (loss > until * first) & (loss < 10 * first)

        huge = jnp.asarray(1e30)
        start = (params, jnp.zeros((), jnp.int32), huge, huge)
        _, steps, loss, first = lax.while_loop(unfinished, partial(body, rate), start)
        return jnp.where(loss <= until * first, jnp.minimum(steps, best), best), None

    none = jnp.asarray(most + 1, jnp.int32)
    best, _ = lax.scan(race, none, rates)
    return jnp.where(best == none, jnp.inf, best.astype(float))
