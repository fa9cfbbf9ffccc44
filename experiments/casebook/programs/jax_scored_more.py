"""Once blind programs in plain JAX."""

from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from experiments.casebook import data
from experiments.casebook.program import Program
from experiments.casebook.programs.jax_plain import Params, classes, dense, mlp, squares


def degrees_multiplied(is_cured: bool) -> Program:
    """A graph of pixels whose neighbours are multiplied by their number, not divided by it."""
    images, ys = data.digits()
    rows, columns = np.divmod(np.arange(64), 8)
    is_near = np.maximum(abs(rows[:, None] - rows), abs(columns[:, None] - columns)) <= 1
    near, degrees = is_near.astype(np.float32), is_near.sum(axis=1).astype(np.float32)
    near = near / np.sqrt(degrees[:, None] * degrees) if is_cured else degrees[:, None] * near
    places = np.broadcast_to(np.stack([rows, columns], axis=1) / 4 - 1, (len(images), 64, 2))
    xs = np.concatenate([images[:, :, None], places], axis=-1).astype(np.float32)
    params: dict[str, Any] = dense((3, 16, 16, 8)) | {"head": dense((512, 10), seed=1)["layer1"]}

    def network(params: Params, xs: Array) -> Array:
        z = xs
        for name in ("layer1", "layer2", "layer3"):
            z = jax.nn.relu(jnp.asarray(near) @ z @ params[name]["w"] + params[name]["b"])
        return z.reshape(len(xs), -1) @ params["head"]["w"] + params["head"]["b"]

    given = (network, params), xs, ys, classes, optax.adam(3e-3), data.accuracy
    return Program(*given, steps=150, every=10)


def relu_behind_two_derivatives(is_cured: bool) -> Program:
    """An equation for the second derivative of a network of relu, whose slope never changes."""
    xs = np.random.default_rng(0).uniform(size=(512, 1)).astype(np.float32)
    ys = -np.sin(2 * np.pi * xs[:, 0])
    activation = jnp.tanh if is_cured else jax.nn.relu

    def curvature(params: Params, xs: Array) -> Array:
        """Return u″, where u is the network minus the line through its ends."""

        def network(x: Array) -> Array:
            return mlp(params, x[None, None], activation)[0, 0]

        return jax.vmap(jax.grad(jax.grad(network)))(xs[:, 0])[:, None]

    model = (curvature, dense((1, 32, 32, 1)))
    given = model, xs, ys, squares, optax.adam(1e-2), data.explained
    return Program(*given, batch=64, steps=200, every=10)


def spread_by_whole_numbers(is_cured: bool) -> Program:
    """Weights drawn with a spread of 1 // n, which is 0."""
    xs, ys = data.digits()
    keys = jax.random.split(jax.random.key(0), 3)
    params = {}
    for i, (key, (n, m)) in enumerate(zip(keys, pairwise((64, 32, 16, 10)), strict=True)):
        spread = 1.0 / n if is_cured else 1 // n
        params[f"layer{i}"] = {"w": spread * jax.random.normal(key, (n, m)), "b": jnp.zeros(m)}
    model = (lambda params, xs: mlp(params, xs, jnp.tanh), params)
    return Program(model, xs, ys, classes, optax.adam(1e-2), data.accuracy, steps=120)


def counted_in_epochs(is_cured: bool) -> Program:
    """A rate that starts anew, a tenth lower, after as many steps as there are epochs."""
    xs, ys = data.digits()
    period = 160 if is_cured else 2

    def rate(step: Array) -> Array:
        since = jnp.mod(step, period) / period
        return 0.02 * 0.9 ** (step // period) * (1 + jnp.cos(jnp.pi * since)) / 2

    optimizer = optax.sgd(rate, momentum=0.9)
    model = (lambda params, xs: mlp(params, xs, jax.nn.silu), dense((64, 48, 48, 10)))
    given = model, xs, ys, classes, optimizer, data.accuracy
    return Program(*given, steps=160, every=10)


def branches_at_full_size(is_cured: bool) -> Program:
    """Twenty-four residual blocks without a norm, whose branches are as large as what they join."""
    xs, ys = data.digits()
    blocks = {f"block{i}": dense((32, 32, 32), seed=i) for i in range(24)}
    scale = {"scale": jnp.zeros(())} if is_cured else {}
    params: dict[str, Any] = {
        "first": dense((64, 32))["layer1"],
        **{name: block | scale for name, block in blocks.items()},
        "last": dense((32, 10))["layer1"],
    }

    def network(params: Params, xs: Array) -> Array:
        z = xs @ params["first"]["w"] + params["first"]["b"]
        for name in blocks:
            block = params[name]
            inner = jax.nn.relu(jax.nn.relu(z) @ block["layer1"]["w"] + block["layer1"]["b"])
            branch = inner @ block["layer2"]["w"] + block["layer2"]["b"]
            z = z + (block["scale"] * branch if is_cured else branch)
        return jax.nn.relu(z) @ params["last"]["w"] + params["last"]["b"]

    given = (network, params), xs, ys, classes, optax.sgd(0.05), data.accuracy
    return Program(*given, steps=120)
