"""Programs in plain JAX: parameters in a dictionary, and a function of them."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from experiments.casebook import data
from experiments.casebook.program import Program

Params = dict[str, Any]
Activation = Callable[[Array], Array]


def dense(sizes: Sequence[int], seed: int = 0, scale: float = 1.0) -> Params:
    """Return weights with He's variance times scale², and biases of zero, by layer."""
    keys = jax.random.split(jax.random.key(seed), len(sizes) - 1)
    return {
        f"layer{i}": {
            "w": scale * (2 / n) ** 0.5 * jax.random.normal(key, (n, m)),
            "b": jnp.zeros(m),
        }
        for i, (key, n, m) in enumerate(zip(keys, sizes[:-1], sizes[1:], strict=True), 1)
    }


def mlp(params: Params, xs: Array, activation: Activation = jax.nn.relu) -> Array:
    """Return the last layer's outputs, without an activation."""
    *hidden, last = params.values()
    for layer in hidden:
        xs = activation(xs @ layer["w"] + layer["b"])
    output: Array = xs @ last["w"] + last["b"]
    return output


def binary(output: Array, ys: Array) -> Array:
    """Return the cross entropy of one probability an example, clipped as Keras does."""
    p = jnp.clip(output[:, 0], 1e-7, 1 - 1e-7)
    return -jnp.where(ys == 1, jnp.log(p), jnp.log1p(-p))


def squares(output: Array, ys: Array) -> Array:
    """Return the square of an example's one error."""
    return (output[:, 0] - ys) ** 2


classes = optax.softmax_cross_entropy_with_integer_labels


# The end, and the loss


def softmax_over_one_unit(is_cured: bool) -> Program:
    """One output with softmax, which is 1 whatever comes in."""
    xs = np.random.default_rng(0).uniform(size=(400, 3)).astype(np.float32)
    ys = 3 * xs[:, 0] + xs[:, 1] - 2 * xs[:, 2] + 1
    end = (lambda z: z) if is_cured else jax.nn.softmax
    model = (lambda params, xs: end(mlp(params, xs)), dense((3, 24, 24, 1)))
    return Program(model, xs, ys, squares, optax.rmsprop(3e-3), data.explained)


def logarithm_of_no_probability(is_cured: bool) -> Program:
    """Cross entropy written for probabilities, of outputs without an activation."""
    xs, ys = data.digits()
    end = jax.nn.softmax if is_cured else (lambda z: z)

    def cross_entropy(output: Array, ys: Array) -> Array:
        return -jnp.sum(jax.nn.one_hot(ys, 10) * jnp.log(output), axis=-1)

    model = (lambda params, xs: end(mlp(params, xs, jax.nn.sigmoid)), dense((64, 30, 10)))
    return Program(model, xs, ys, cross_entropy, optax.sgd(0.5), data.accuracy)


def softmax_by_hand(is_cured: bool) -> Program:
    """The logarithm of a softmax that underflows, of inputs up to 16."""
    xs, ys = data.digits(is_scaled=False)

    def by_hand(output: Array, ys: Array) -> Array:
        p = jnp.exp(output) / jnp.sum(jnp.exp(output), axis=-1, keepdims=True)
        return -jnp.sum(jax.nn.one_hot(ys, 10) * jnp.log(p), axis=-1)

    model = [(mlp, dense((64, 10), scale=3.0))]
    loss = classes if is_cured else by_hand
    return Program(model, xs, ys, loss, optax.adam(1e-2), data.accuracy)


def axis_of_the_batch(is_cured: bool) -> Program:
    """A softmax along the first axis, which counts the examples."""
    xs, ys = data.iris()
    axis = -1 if is_cured else 0

    def cross_entropy(output: Array, ys: Array) -> Array:
        p = jnp.clip(output, 1e-7, 1)
        return -jnp.sum(jax.nn.one_hot(ys, 3) * jnp.log(p), axis=-1)

    model = (lambda params, xs: jax.nn.softmax(mlp(params, xs), axis), dense((4, 16, 3)))
    return Program(model, xs, ys, cross_entropy, optax.adam(1e-2), data.likelihood)


def column_minus_row(is_cured: bool) -> Program:
    """Outputs (B, 1) minus targets (B,), all against all."""
    xs, ys = data.diabetes()

    def mean_square(output: Array, ys: Array) -> Array:
        return jnp.mean(((output[:, 0] if is_cured else output) - ys) ** 2)

    model = (lambda params, xs: mlp(params, xs, jnp.tanh), dense((10, 16, 1)))
    return Program(model, xs, ys, mean_square, optax.adam(1e-2), data.explained)


# Data


def columns_in_their_units(is_cured: bool) -> Program:
    """Columns from 0.001 to 4000, as they were measured."""
    xs, ys = data.tumours(is_scaled=is_cured)
    model = (lambda params, xs: jax.nn.sigmoid(mlp(params, xs)), dense((30, 16, 1)))
    return Program(model, xs, ys, binary, optax.adam(1e-3), data.accuracy)


def line_far_from_zero(is_cured: bool) -> Program:
    """A line over 0 to 100, and a step for columns of size 1."""
    xs = np.linspace(0, 100, 100, dtype=np.float32)[:, None]
    ys = 0.5 * xs[:, 0] + np.random.default_rng(0).normal(size=100).astype(np.float32)
    xs = data.scaled(xs).astype(np.float32) if is_cured else xs
    model = [(mlp, dense((1, 1)))]
    return Program(model, xs, ys, squares, optax.sgd(0.1), data.explained)


def classes_in_order(is_cured: bool) -> Program:
    """Digits of one class after the other, never shuffled."""
    xs, ys = data.digits()
    rows = np.argsort(ys, kind="stable")
    xs, ys = xs[rows], ys[rows]
    model = (mlp, dense((64, 32, 10)))
    return Program(
        model, xs, ys, classes, optax.sgd(0.1), data.accuracy, steps=112, is_shuffled=is_cured
    )


# Steps


def rate_far_too_large(is_cured: bool) -> Program:
    """Steps that throw the weights about."""
    xs, ys = data.digits()
    rate = 0.05 if is_cured else 10.0
    model = (mlp, dense((64, 32, 32, 10)))
    return Program(model, xs, ys, classes, optax.sgd(rate), data.accuracy)


def parabola_at_a_large_rate(is_cured: bool) -> Program:
    """Targets of up to 125 with a step for targets of size 1."""
    xs = np.linspace(0, 5, 50, dtype=np.float32)[:, None]
    ys = 5 * xs[:, 0] ** 2 + np.random.default_rng(0).normal(size=50).astype(np.float32)
    model = (mlp, dense((1, 16, 1)))
    rate = 1e-3 if is_cured else 0.1
    return Program(model, xs, ys, squares, optax.sgd(rate), data.explained, steps=200, every=10)


def eight_points(is_cured: bool) -> Program:
    """Eight points of a line between -8 and 8."""
    xs = np.array([-8, -6, -4, -2, 2, 4, 6, 8], np.float32)[:, None]
    ys = 2 * xs[:, 0] + 1
    rate = 0.01 if is_cured else 0.1
    return Program([(mlp, dense((1, 1)))], xs, ys, squares, optax.sgd(rate), data.explained)


def xor_by_absolute_errors(is_cured: bool) -> Program:
    """Three sigmoids that do not get away from 1/2 by steps of 0.05."""
    xs, ys = data.xor(4)

    def absolute(output: Array, ys: Array) -> Array:
        return jnp.abs(output[:, 0] - ys)

    model = (
        lambda params, xs: jax.nn.sigmoid(mlp(params, xs, jax.nn.sigmoid)),
        dense((2, 3, 1), scale=0.5),
    )
    loss, optimizer = (squares, optax.adam(0.1)) if is_cured else (absolute, optax.sgd(0.05))
    return Program(model, xs, ys, loss, optimizer, data.accuracy, steps=300, every=20)


def decay_in_the_loss(is_cured: bool) -> Program:
    """A penalty on weights that outweighs the loss."""
    xs, ys = data.tumours()
    strength = 1e-4 if is_cured else 2.0
    optimizer = optax.chain(optax.add_decayed_weights(strength), optax.sgd(0.1))
    model = (lambda params, xs: jax.nn.sigmoid(mlp(params, xs)), dense((30, 16, 1)))
    return Program(model, xs, ys, binary, optimizer, data.accuracy)


def schedule_of_an_epoch(is_cured: bool) -> Program:
    """A cosine that ends after ten steps of a training of a hundred."""
    xs, ys = data.digits()
    schedule = optax.cosine_decay_schedule(0.05, 100 if is_cured else 10)
    model = (mlp, dense((64, 32, 10)))
    return Program(model, xs, ys, classes, optax.sgd(schedule), data.accuracy, steps=100, every=5)


def updates_that_wait(is_cured: bool) -> Program:
    """Gradients gathered over a thousand steps, of which there are sixty."""
    xs, ys = data.digits()
    optimizer = optax.MultiSteps(optax.adam(3e-3), 1 if is_cured else 1000)
    return Program((mlp, dense((64, 32, 10))), xs, ys, classes, optimizer, data.accuracy)


def bfloat16_parameters(is_cured: bool) -> Program:
    """Parameters stored in bfloat16, and steps below their rounding."""
    xs, ys = data.digits()
    dtype = jnp.float32 if is_cured else jnp.bfloat16
    params = jax.tree.map(lambda v: v.astype(dtype), dense((64, 32, 10), scale=2.0))

    def loss(output: Array, ys: Array) -> Array:
        return classes(output.astype(jnp.float32), ys)

    model = (lambda params, xs: mlp(params, xs.astype(dtype)), params)
    return Program(model, xs, ys, loss, optax.sgd(1e-2), data.accuracy, steps=150, every=5)


# Parameters


def features_behind_stop_gradient(is_cured: bool) -> Program:
    """A stop_gradient that stayed, below it features as they were drawn."""
    xs, ys = data.circles()
    stop = (lambda z: z) if is_cured else jax.lax.stop_gradient

    def network(params: Params, xs: Array) -> Array:
        z = stop(jnp.tanh(xs @ params["features"]["w"] + params["features"]["b"]))
        return jax.nn.sigmoid(z @ params["head"]["w"] + params["head"]["b"])

    drawn = dense((2, 4, 1))
    params = {"features": drawn["layer1"], "head": drawn["layer2"]}
    return Program((network, params), xs, ys, binary, optax.adam(0.1), data.accuracy, steps=100)


def label_that_no_layer_has(is_cured: bool) -> Program:
    """An optimiser for what is named hidden; the layers are named layer."""
    xs, ys = data.digits()
    known = "layer" if is_cured else "layer3"

    def labels(params: Params) -> Any:
        return jax.tree_util.tree_map_with_path(
            lambda path, _: "train" if str(path[0].key).startswith(known) else "rest", params
        )

    of_label = {"train": optax.adam(3e-3), "rest": optax.set_to_zero()}
    optimizer = optax.multi_transform(of_label, labels)
    return Program((mlp, dense((64, 32, 32, 10))), xs, ys, classes, optimizer, data.accuracy)


# Layers


def logits_not_divided(is_cured: bool) -> Program:
    """Attention over letters, its logits not divided and from weights drawn too large."""
    xs, ys, letters = data.text()
    width, length = 32, xs.shape[1]
    keys = jax.random.split(jax.random.key(0), 6)
    draw = lambda key, n, m: jax.random.normal(key, (n, m)) / n**0.5
    params = {
        "letters": jax.random.normal(keys[0], (letters, width)),
        "places": jax.random.normal(keys[1], (length, width)),
        **{name: draw(key, width, width) for name, key in zip("qkv", keys[2:5], strict=True)},
        "head": draw(keys[5], width, letters),
    }
    scale = width**-0.5 if is_cured else 10.0

    def network(params: Params, xs: Array) -> Array:
        z = params["letters"][xs] + params["places"]
        q, k, v = (z @ params[name] for name in "qkv")
        logits = scale * jnp.einsum("bqd,bkd->bqk", q, k)
        seen = jnp.tril(jnp.ones((length, length), bool))
        weights = jax.nn.softmax(jnp.where(seen, logits, -1e9), axis=-1)
        return (z + jnp.einsum("bqk,bkd->bqd", weights, v)) @ params["head"]

    def loss(output: Array, ys: Array) -> Array:
        return jnp.mean(classes(output, ys), axis=-1)

    score = lambda output, ys: float(np.mean(np.asarray(output).argmax(-1) == ys))
    return Program((network, params), xs, ys, loss, optax.adam(3e-3), score)
