"""Unseen programs in plain JAX."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from experiments.casebook import data
from experiments.casebook.program import Program
from experiments.casebook.programs.jax_plain import Params, classes, dense, mlp


def gate_of_two_zero_layers(is_cured: bool) -> Program:
    """A gate for what is said of an image, of two layers of zeros with a relu between."""
    images, labels = data.digits()
    chance = np.random.default_rng(0)
    said = np.where(chance.random(len(labels)) < 0.5, labels, chance.integers(0, 10, len(labels)))
    xs = np.concatenate([images, np.eye(10)[said]], axis=1).astype(np.float32)
    params = {
        "seen": dense((64, 32))["layer1"],
        "fused": dense((74, 32), seed=1)["layer1"],
        "gate": dense((32, 32, 32), seed=2, scale=0.0),
        "head": dense((32, 32, 2), seed=3),
    }
    if is_cured:
        params["gate"]["layer1"] = dense((32, 32), seed=4)["layer1"]

    def network(params: Params, xs: Array) -> Array:
        fused = jax.nn.relu(xs @ params["fused"]["w"] + params["fused"]["b"])
        seen = jax.nn.relu(xs[:, :64] @ params["seen"]["w"] + params["seen"]["b"])
        return mlp(params["head"], seen + jnp.tanh(mlp(params["gate"], fused)) * fused)

    ys = (said == labels).astype(np.int32)
    given = (network, params), xs, ys, classes, optax.adam(3e-3), data.accuracy
    return Program(*given, steps=300, every=20)


def decay_behind_the_step(is_cured: bool) -> Program:
    """Decay added behind the step, which is downhill by then: the weights grow by it."""
    xs, ys = data.digits()
    decay = optax.add_decayed_weights(0.03)
    step = optax.scale_by_learning_rate(3e-3)
    last = (decay, step) if is_cured else (step, decay)
    model = (lambda params, xs: mlp(params, xs, jnp.tanh), dense((64, 48, 48, 10)))
    optimizer = optax.chain(optax.scale_by_adam(), *last)
    return Program(model, xs, ys, classes, optimizer, data.accuracy, steps=150)


def fans_of_the_wrong_axes(is_cured: bool) -> Program:
    """Convolutions whose fan is counted without their channels, so that weights are too large."""
    xs, ys = data.digits()
    keys = jax.random.split(jax.random.key(0), 7)
    params: dict[str, Any] = {}
    for i, key in enumerate(keys[:-1]):
        shape = (3, 3, 16 if i else 1, 16)
        fan = np.prod(shape[:-1] if is_cured else shape[:2])
        params[f"layer{i}"] = (2 / fan) ** 0.5 * jax.random.normal(key, shape)
    params["head"] = dense((256, 10))["layer1"]

    def network(params: Params, xs: Array) -> Array:
        z = xs.reshape(-1, 8, 8, 1)
        for i in range(6):
            strides = (2, 2) if i == 2 else (1, 1)
            layout = ("NHWC", "HWIO", "NHWC")
            z = jax.lax.conv_general_dilated(
                z, params[f"layer{i}"], strides, "SAME", dimension_numbers=layout
            )
            z = jax.nn.relu(z)
        return z.reshape(len(z), -1) @ params["head"]["w"] + params["head"]["b"]

    given = (network, params), xs, ys, classes, optax.sgd(0.02, momentum=0.9), data.accuracy
    return Program(*given, steps=80)


def entropy_of_the_labels(is_cured: bool) -> Program:
    """A cross entropy whose logarithms are of the labels, not of what the network answers."""
    xs, ys = data.circles()

    def entropy(output: Array, ys: Array) -> Array:
        asked = output[:, 0] if is_cured else ys
        return -(ys * jnp.log(asked) + (1 - ys) * jnp.log(1 - asked))

    def network(params: Params, xs: Array) -> Array:
        return jax.nn.sigmoid(mlp(params, xs))

    model = (network, dense((2, 16, 16, 1)))
    given = model, xs, ys.astype(np.float32), entropy, optax.adam(1e-2), data.accuracy
    return Program(*given, steps=150, every=10)
