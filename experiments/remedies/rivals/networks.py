"""Ill networks, each in the framework that it is given to `jaxnn.cures` in.

    z = x w₀ + b₀,   z ← σ(z) w + b, or z ← z + σ(z) w + b, L times,   ŷ = σ(z) w₁ + b₁

All are of digits, 64 numbers and ten classes. Arrays are drawn by NumPy, so that all frameworks
have the same numbers.
"""

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

PIXELS, CLASSES = 64, 10
FRAMEWORKS = "flax", "equinox", "jax", "torch"
Params = dict[str, Any]


def _softsign(z: Any) -> Any:
    return z / (1 + abs(z))


UNITS: dict[str, Callable[[Any], Any]] = {
    "softplus": jax.nn.softplus,
    "mish": jax.nn.mish,
    "hard tanh": jax.nn.hard_tanh,
    "selu": jax.nn.selu,
    "celu": jax.nn.celu,
    "leaky relu": partial(jax.nn.leaky_relu, negative_slope=0.2),
    "relu6": jax.nn.relu6,
    "softsign": _softsign,
    "arctan": jnp.arctan,
    "sine": jnp.sin,
    "log-sigmoid": jax.nn.log_sigmoid,
    "hard swish": jax.nn.hard_swish,
    "hard sigmoid": jax.nn.hard_sigmoid,
    "squareplus": jax.nn.squareplus,
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "swish": jax.nn.swish,
    "elu": jax.nn.elu,
}
LIKE_RELU = 2**0.5  # the gain that is recommended for relu
GAINS = {"tanh": 5 / 3, "hard tanh": 5 / 3, "softsign": 5 / 3, "arctan": 5 / 3, "sine": 5 / 3}
GAINS |= {"hard sigmoid": 1.0, "selu": 3 / 4, "log-sigmoid": 1.0}


class Network(NamedTuple):
    """An ill network.

    units: its activation, a name of `UNITS`.
    depth: L.
    gain: √fan_in times the standard deviation of its weights.
    uniform: whether they and the biases are uniform, as PyTorch draws them; else normal, without
        biases.
    skip: whether each layer is added to its state.
    """

    framework: str
    units: str
    depth: int
    gain: float
    uniform: bool = False
    skip: bool = False
    width: int = 24

    @property
    def name(self) -> str:
        """Units, depth and gain."""
        return f"{'residual ' * self.skip}{self.units}, {self.depth} layers, gain {self.gain:.3g}"

    @property
    def sigma(self) -> Callable[[Any], Any]:
        """The activation."""
        return UNITS[self.units]


TORCH = 3**-0.5  # the gain of what PyTorch draws
NETWORKS = (
    Network("flax", "softplus", 16, TORCH, uniform=True),
    Network("equinox", "mish", 20, TORCH, uniform=True),
    Network("jax", "hard tanh", 20, 0.5),
    Network("torch", "selu", 20, TORCH, uniform=True),
    Network("flax", "relu", 20, 3.0, skip=True),
    Network("equinox", "leaky relu", 16, 0.11),
    Network("jax", "sine", 16, 2.5),
    Network("torch", "hard swish", 12, TORCH, uniform=True),
    Network("flax", "softsign", 24, 1.0),
    Network("equinox", "relu6", 20, 1.0),
    Network("jax", "log-sigmoid", 16, 1.0),
    Network("torch", "tanh", 20, 3.0),
    Network("flax", "celu", 24, TORCH, uniform=True),
    Network("equinox", "elu", 20, 2.0),
    Network("jax", "squareplus", 12, 1.0),
    Network("torch", "softplus", 20, 0.5),
    Network("flax", "hard sigmoid", 12, 1.0),
    Network("equinox", "swish", 24, 2.0, skip=True),
    Network("jax", "arctan", 24, 0.6),
    Network("torch", "relu", 16, 0.5),
)


def drawn(of: Network, seed: int) -> Params:
    """Return the arrays of a network: those of its first layer, of its blocks, and of its head."""
    rng, n = np.random.default_rng(seed), of.width

    def weights(*shape: int) -> np.ndarray:
        if of.uniform:
            return rng.uniform(-1, 1, shape) * of.gain * 3**0.5 / shape[-2] ** 0.5
        return rng.normal(size=shape) * of.gain / shape[-2] ** 0.5

    def biases(*shape: int) -> np.ndarray:
        return rng.uniform(-1, 1, shape) / n**0.5 if of.uniform else np.zeros(shape)

    made = {
        "first": {"w": weights(PIXELS, n), "b": biases(n)},
        "blocks": {"w": weights(of.depth, n, n), "b": biases(of.depth, n)},
        "head": {"w": weights(n, CLASSES), "b": biases(CLASSES)},
    }
    return jax.tree.map(np.float32, made)


def dense(p: Params, x: Any) -> Any:
    """Return x w + b."""
    return x @ p["w"] + p["b"][None]


def block(of: Network, p: Params, z: Any) -> Any:
    """Return z of a layer, of that below."""
    y = dense(p, of.sigma(z))
    return z + y if of.skip else y


def head(of: Network, p: Params, z: Any) -> Any:
    """Return ŷ."""
    return dense(p, of.sigma(z))


def as_list(params: Params) -> list[Params]:
    """Return the arrays of each layer."""
    blocks = params["blocks"]
    each = [{"w": w, "b": b} for w, b in zip(blocks["w"], blocks["b"], strict=True)]
    return [params["first"], *each, params["head"]]


def built(of: Network, params: Params) -> Any:
    """Return the network in its framework."""
    layers = as_list(params)
    if of.framework == "jax":
        functions = [dense, *[partial(block, of)] * of.depth, partial(head, of)]
        return list(zip(functions, layers, strict=True))
    module = importlib.import_module(f"experiments.remedies.rivals.of_{of.framework}")
    return module.built(of, layers)
