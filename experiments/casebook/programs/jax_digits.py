"""Trainings of the digits in plain JAX: the networks in which faults are planted."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from experiments.casebook import data
from experiments.casebook.program import CaseProgram

Params = dict[str, Any]
ADAM, SGD = optax.adam(2e-3), optax.sgd(0.05)


def loss(output: Array, ys: Array) -> Array:
    """Return the cross entropy of each example, in float32."""
    return optax.softmax_cross_entropy_with_integer_labels(output.astype(jnp.float32), ys)


def training(model: Any, optimizer: Any = ADAM, **options: Any) -> CaseProgram:
    """Return a training of 400 steps on 64 digits each, measured at every tenth."""
    xs, ys = data.digits()
    given = {"loss": loss, "batch": 64, "steps": 400, "every": 10, **options}
    return CaseProgram(model, xs, ys, optimizer=optimizer, score=data.accuracy, **given)


# Networks: (key) -> parameters, and (parameters, xs) -> output


def weights(key: Array, *sizes: int, scale: float = 1.0) -> list[Array]:
    """Return weights with He's variance times scale²."""
    keys = jax.random.split(key, len(sizes) - 1)
    return [
        scale * (2 / n) ** 0.5 * jax.random.normal(k, (n, m))
        for k, n, m in zip(keys, sizes[:-1], sizes[1:], strict=True)
    ]


def norm(z: Array) -> Array:
    """Return z with a mean square of 1."""
    return z * jax.lax.rsqrt(jnp.mean(z**2, axis=-1, keepdims=True) + 1e-6)


def start_of_mlp(scale: float = 1.0) -> Params:
    """Return weights of four hidden layers of 32 units."""
    thetas = weights(jax.random.key(0), 64, *[32] * 4, 10, scale=scale)
    return {"thetas": thetas, "b": [jnp.zeros(v.shape[1]) for v in thetas]}


def mlp(p: Params, xs: Array, activation: Callable[[Array], Array] = jax.nn.relu) -> Array:
    """Return the output of the last layer, without an activation."""
    for theta, b in zip(p["thetas"][:-1], p["b"][:-1], strict=True):
        xs = activation(xs @ theta + b)
    output: Array = xs @ p["thetas"][-1] + p["b"][-1]
    return output


def tanh_mlp(p: Params, xs: Array) -> Array:
    """Return that of an MLP with tanh."""
    return mlp(p, xs, jnp.tanh)


def half_mlp(p: Params, xs: Array) -> Array:
    """Return it in float16, as mixed precision is written: parameters are float32."""
    return mlp(*jax.tree.map(lambda v: v.astype(jnp.float16), (p, xs)))


def batch_norm_mlp(p: Params, xs: Array) -> Array:
    """Return that of an MLP with batch norms."""
    for theta, b in zip(p["thetas"][:-1], p["b"][:-1], strict=True):
        z = xs @ theta
        z = (z - jnp.mean(z, axis=0)) * jax.lax.rsqrt(jnp.var(z, axis=0) + 1e-5)
        xs = jax.nn.relu(z + b)
    output: Array = xs @ p["thetas"][-1] + p["b"][-1]
    return output


def start_of_residual(blocks: int = 4, width: int = 32) -> Params:
    """Return weights of blocks with a skip."""
    keys = jax.random.split(jax.random.key(0), blocks + 2)
    inner = [weights(k, width, width, width) for k in keys[:blocks]]
    return {
        "in": weights(keys[-1], 64, width)[0],
        "blocks": [{"up": up, "down": down / 3} for up, down in inner],
        "out": weights(keys[-2], width, 10)[0] / 2,
    }


def residual(p: Params, xs: Array) -> Array:
    """Return the output of pre-norm blocks."""
    z = xs @ p["in"]
    for block in p["blocks"]:
        z = z + jax.nn.relu(norm(z) @ block["up"]) @ block["down"]
    output: Array = norm(z) @ p["out"]
    return output


def start_of_attention(blocks: int = 2, width: int = 32) -> Params:
    """Return weights of blocks of attention over the rows of an image."""
    keys = jax.random.split(jax.random.key(0), 4 * blocks + 2)

    def block(i: int) -> Params:
        names = ("q", "k", "v", "o")
        return {n: weights(keys[4 * i + j], width, width)[0] / 2 for j, n in enumerate(names)}

    return {
        "in": weights(keys[-1], 8, width)[0],
        "place": 0.3 * jax.random.normal(keys[-1], (8, width)),
        "blocks": [block(i) for i in range(blocks)],
        "out": weights(keys[-2], width, 10)[0] / 2,
    }


def attention(p: Params, xs: Array) -> Array:
    """Return the output of blocks of attention."""
    z = xs.reshape(-1, 8, 8) @ p["in"] + p["place"]
    for block in p["blocks"]:
        n = norm(z)
        q, k, v = (n @ block[name] for name in "qkv")
        weight = jax.nn.softmax(jnp.einsum("bqd,bkd->bqk", q, k) / q.shape[-1] ** 0.5, axis=-1)
        z = z + jnp.einsum("bqk,bkd->bqd", weight, v) @ block["o"]
    output: Array = jnp.mean(norm(z), axis=1) @ p["out"]
    return output


def start_of_experts(experts: int = 4, width: int = 32) -> Params:
    """Return weights of a mixture of experts."""
    keys = jax.random.split(jax.random.key(0), 5)
    return {
        "in": weights(keys[0], 64, width)[0],
        "router": 0.3 * jax.random.normal(keys[1], (width, experts)),
        "bias": jnp.zeros(experts),
        "up": jax.random.normal(keys[2], (experts, width, width)) / width**0.5,
        "down": jax.random.normal(keys[3], (experts, width, width)) / width**0.5,
        "out": weights(keys[4], width, 10)[0] / 2,
    }


def mixture(p: Params, xs: Array) -> Array:
    """Return the output of a mixture that sends each example to one expert."""
    z = xs @ p["in"]
    scores, chosen = jax.lax.top_k(jax.nn.softmax(norm(z) @ p["router"] + p["bias"]), 1)
    gate = jax.nn.one_hot(chosen[:, 0], p["router"].shape[1]) * scores
    inner = jax.nn.relu(jnp.einsum("bn,enm->bem", norm(z), p["up"]))
    z = z + jnp.einsum("bem,emn,be->bn", inner, p["down"], gate)
    output: Array = norm(z) @ p["out"]
    return output


def changed(change: Callable[[Any, Array, Array], Array]) -> Any:
    """Return Adam with a change of each array's update: (path, update, array) -> update."""

    def update(updates: PyTree, state: Any, params: PyTree) -> tuple[PyTree, Any]:
        return jax.tree_util.tree_map_with_path(change, updates, params), state

    return optax.chain(
        ADAM, optax.GradientTransformation(lambda params: optax.EmptyState(), update)
    )
