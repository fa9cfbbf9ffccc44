"""Programs in plain JAX whose last activation, loss and labels do not fit each other."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from experiments.casebook import data
from experiments.casebook.program import CaseProgram
from experiments.casebook.programs.jax_parts import Params, classes, dense, mlp, squares


def softmax_over_one_unit(is_cured: bool) -> CaseProgram:
    """One output with softmax, which is 1 whatever comes in."""
    xs = np.random.default_rng(0).uniform(size=(400, 3)).astype(np.float32)
    ys = 3 * xs[:, 0] + xs[:, 1] - 2 * xs[:, 2] + 1
    end = (lambda z: z) if is_cured else jax.nn.softmax
    model = (lambda params, xs: end(mlp(params, xs)), dense((3, 24, 24, 1)))
    return CaseProgram(model, xs, ys, squares, optax.rmsprop(3e-3), data.explained)


def logarithm_of_no_probability(is_cured: bool) -> CaseProgram:
    """Cross entropy written for probabilities, of outputs without an activation."""
    xs, ys = data.digits()
    end = jax.nn.softmax if is_cured else (lambda z: z)

    def cross_entropy(output: Array, ys: Array) -> Array:
        return -jnp.sum(jax.nn.one_hot(ys, 10) * jnp.log(output), axis=-1)

    model = (lambda params, xs: end(mlp(params, xs, jax.nn.sigmoid)), dense((64, 30, 10)))
    return CaseProgram(model, xs, ys, cross_entropy, optax.sgd(0.5), data.accuracy)


def softmax_by_hand(is_cured: bool) -> CaseProgram:
    """The logarithm of a softmax that underflows, of inputs up to 16."""
    xs, ys = data.digits(is_scaled=False)

    def by_hand(output: Array, ys: Array) -> Array:
        p = jnp.exp(output) / jnp.sum(jnp.exp(output), axis=-1, keepdims=True)
        return -jnp.sum(jax.nn.one_hot(ys, 10) * jnp.log(p), axis=-1)

    model = [(mlp, dense((64, 10), scale=3.0))]
    loss = classes if is_cured else by_hand
    return CaseProgram(model, xs, ys, loss, optax.adam(1e-2), data.accuracy)


def axis_of_the_batch(is_cured: bool) -> CaseProgram:
    """A softmax along the first axis, which counts the examples."""
    xs, ys = data.iris()
    axis = -1 if is_cured else 0

    def cross_entropy(output: Array, ys: Array) -> Array:
        p = jnp.clip(output, 1e-7, 1)
        return -jnp.sum(jax.nn.one_hot(ys, 3) * jnp.log(p), axis=-1)

    model = (lambda params, xs: jax.nn.softmax(mlp(params, xs), axis), dense((4, 16, 3)))
    return CaseProgram(model, xs, ys, cross_entropy, optax.adam(1e-2), data.likelihood)


def column_minus_row(is_cured: bool) -> CaseProgram:
    """Outputs (B, 1) minus targets (B,), all against all."""
    xs, ys = data.diabetes()

    def mean_square(output: Array, ys: Array) -> Array:
        return jnp.mean(((output[:, 0] if is_cured else output) - ys) ** 2)

    model = (lambda params, xs: mlp(params, xs, jnp.tanh), dense((10, 16, 1)))
    return CaseProgram(model, xs, ys, mean_square, optax.adam(1e-2), data.explained)


def volume_subtracted(is_cured: bool) -> CaseProgram:
    """A flow from points to a normal distribution; the logarithm of its volume has a wrong sign."""
    xs, _ = data.moons(1000)
    xs = data.scaled(xs).astype(np.float32)
    sign = 1 if is_cured else -1
    params = {f"step{i}": dense((1, 32, 2), seed=i, scale=0.5) for i in range(6)}

    def flow(params: Params, xs: Array) -> Array:
        """Return where the points are, and the logarithm of what a volume there has grown by."""
        volume = jnp.zeros(len(xs))
        for i, step in enumerate(params.values()):
            still, moved = xs[:, i % 2], xs[:, 1 - i % 2]
            scale, shift = mlp(step, still[:, None], jnp.tanh).T
            moved = moved * jnp.exp(jnp.tanh(scale)) + shift
            xs = jnp.stack([moved, still] if i % 2 else [still, moved], axis=1)
            volume = volume + jnp.tanh(scale)
        return jnp.concatenate([xs, volume[:, None]], axis=1)

    def unlikely(output: Array, ys: Array) -> Array:
        return 0.5 * jnp.sum(output[:, :2] ** 2, axis=1) - sign * output[:, 2]

    def score(output: Array, ys: Array) -> float:
        places, volume = np.asarray(output)[:, :2], np.asarray(output)[:, 2]
        return float(np.exp(np.mean(volume - 0.5 * np.sum(places**2, axis=1))))

    model = (flow, params)
    return CaseProgram(
        model, xs, xs, unlikely, optax.adam(3e-3), score, batch=128, steps=200, every=20
    )


def entropy_of_the_labels(is_cured: bool) -> CaseProgram:
    """A cross entropy whose logarithms are of the labels, not of what the network answers."""
    xs, ys = data.circles()

    def entropy(output: Array, ys: Array) -> Array:
        asked = output[:, 0] if is_cured else ys
        return -(ys * jnp.log(asked) + (1 - ys) * jnp.log(1 - asked))

    def network(params: Params, xs: Array) -> Array:
        return jax.nn.sigmoid(mlp(params, xs))

    model = (network, dense((2, 16, 16, 1)))
    given = model, xs, ys.astype(np.float32), entropy, optax.adam(1e-2), data.accuracy
    return CaseProgram(*given, steps=150, every=10)


def labels_of_all_for_each(is_cured: bool) -> CaseProgram:
    """Columns of all labels taken from each row, instead of the one of its own label."""
    xs, ys = data.digits()

    def loss(output: Array, ys: Array) -> Array:
        logarithms = jax.nn.log_softmax(output)
        rows = jnp.arange(len(ys)) if is_cured else slice(None)
        return -jnp.mean(logarithms[rows, ys])

    given = (mlp, dense((64, 32, 10))), xs, ys, loss, optax.adam(3e-3)
    return CaseProgram(*given, data.accuracy, steps=80)
