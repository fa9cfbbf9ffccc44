"""The networks: layers as people draw them, uniform in ±1/√fan_in, PyTorch's default."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax, random

BATCH, TOKENS, HEADS, PIXELS, CHANNELS = 16, 8, 4, 8, 12
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
}


class Network(NamedTuple):
    """A function or a list of layers, and its data.

    layers: pairs (f, params); or None.
    f, params: instead, of f(params, xs).
    xs: a batch.
    """

    layers: Any
    f: Any
    params: Any
    xs: Array


def uniform(key: Array, *shape: int) -> Array:
    """Return weights uniform in ±1/√fan_in; the last axis is that of outputs."""
    fan_in = 1
    for n in shape[:-1]:
        fan_in *= n
    drawn: Array = random.uniform(key, shape, minval=-1, maxval=1) / fan_in**0.5
    return drawn


def _normed(z: Array) -> Array:
    mean = jnp.mean(z, -1, keepdims=True)
    return (z - mean) / jnp.sqrt(jnp.var(z, -1, keepdims=True) + 1e-5)


def _dense(sigma: Callable[[Array], Array], w: Array, z: Array) -> Array:
    return sigma(z @ w)


def _residual(p: Any, z: Array) -> Any:
    return z + jax.nn.relu(z @ p["up"]) @ p["down"]


def _attention(p: Any, z: Array) -> Any:
    q, k, v = (a.reshape(*z.shape[:2], HEADS, -1) for a in jnp.split(z @ p["qkv"], 3, axis=-1))
    scores = jnp.einsum("bthd,bshd->bhts", q, k) / q.shape[-1] ** 0.5
    mixed = jnp.einsum("bhts,bshd->bthd", jax.nn.softmax(scores), v)
    return mixed.reshape(z.shape) @ p["out"]


def _mlp(p: Any, z: Array) -> Any:
    return jax.nn.gelu(z @ p["up"]) @ p["down"]


def _pre_norm(p: Any, z: Array) -> Any:
    z = z + _attention(p, _normed(z))
    return z + _mlp(p, _normed(z))


def _post_norm(p: Any, z: Array) -> Array:
    z = _normed(z + _attention(p, z))
    return _normed(z + _mlp(p, z))


def _mixer(p: Any, z: Array) -> Any:
    across = jax.nn.gelu(_normed(z).swapaxes(1, 2) @ p["across"]) @ p["back"]
    z = z + across.swapaxes(1, 2)
    return z + _mlp(p, _normed(z))


def _convolution(kernel: Array, z: Array) -> Array:
    of = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(z, kernel, (1, 1), "SAME", dimension_numbers=of)


def _tanh_convolution(kernel: Array, z: Array) -> Array:
    return jnp.tanh(_convolution(kernel, z))


def _batch_normed(kernel: Array, z: Array) -> Array:
    z = _convolution(kernel, z)
    mean, var = jnp.mean(z, (0, 1, 2)), jnp.var(z, (0, 1, 2))
    return jax.nn.relu((z - mean[None, None, None]) * lax.rsqrt(var + 1e-5)[None, None, None])


def _lstm(p: Any, xs: Array) -> Any:
    """Return the last hidden state, (B, n), of steps (B, T, n)."""

    def step(carry: Any, x: Array) -> tuple[Any, None]:
        h, c = carry
        i, f, g, o = jnp.split(x @ p["in"] + h @ p["hidden"], 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

    zero = jnp.zeros((len(xs), p["hidden"].shape[0]))
    (h, _), _ = lax.scan(step, (zero, zero), xs.swapaxes(0, 1))
    return h @ p["head"]


def _of_dense(sigma: Callable[[Array], Array], depth: int, width: int, key: Array) -> Network:
    f, keys = partial(_dense, sigma), random.split(key, depth + 1)
    layers = [(f, uniform(k, width, width)) for k in keys[1:]]
    return Network(layers, None, None, random.normal(keys[0], (BATCH, width)))


def _of_residual(depth: int, width: int, key: Array) -> Network:
    keys = random.split(key, 2 * depth + 1)
    layers = [
        (_residual, {"up": uniform(a, width, width), "down": uniform(b, width, width)})
        for a, b in zip(keys[1::2], keys[2::2], strict=True)
    ]
    return Network(layers, None, None, random.normal(keys[0], (BATCH, width)))


def _of_blocks(f: Any, depth: int, width: int, key: Array) -> Network:
    names = {"qkv": (width, 3 * width), "out": (width, width)}
    if f is _mixer:
        names = {"across": (TOKENS, 4 * TOKENS), "back": (4 * TOKENS, TOKENS)}
    if f is not _attention:
        names |= {"up": (width, 4 * width), "down": (4 * width, width)}
    layers = [
        (
            f,
            {
                n: uniform(k, *s)
                for k, (n, s) in zip(random.split(one, len(names)), names.items(), strict=True)
            },
        )
        for one in random.split(random.fold_in(key, 1), depth)
    ]
    return Network(layers, None, None, random.normal(key, (BATCH, TOKENS, width)))


def _of_kernels(f: Any, depth: int, width: int, key: Array) -> Network:
    keys = random.split(key, depth + 1)
    layers = [(f, uniform(k, 3, 3, CHANNELS, CHANNELS)) for k in keys[1:]]
    xs = random.normal(keys[0], (BATCH, PIXELS, PIXELS, CHANNELS))
    return Network(layers, None, None, xs)


def _of_steps(depth: int, width: int, key: Array) -> Network:
    keys = random.split(key, 4)
    params = {
        "in": uniform(keys[0], width, 4 * width),
        "hidden": uniform(keys[1], width, 4 * width),
        "head": uniform(keys[2], width, width),
    }
    return Network(None, _lstm, params, random.normal(keys[3], (BATCH, depth, width)))


NETWORKS: dict[str, Callable[[int, int, Array], Network]] = {
    **{name: partial(_of_dense, sigma) for name, sigma in ACTIVATIONS.items()},
    "residual": _of_residual,
    "pre_norm": partial(_of_blocks, _pre_norm),
    "post_norm": partial(_of_blocks, _post_norm),
    "attention": partial(_of_blocks, _attention),
    "mixer": partial(_of_blocks, _mixer),
    "convolutions": partial(_of_kernels, _tanh_convolution),
    "batch_norm": partial(_of_kernels, _batch_normed),
    "lstm": _of_steps,
}
