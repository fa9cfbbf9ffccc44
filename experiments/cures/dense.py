"""Dense networks that are ill, described once; `network_torch.py` and others build them.

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
from sklearn.datasets import load_digits

INPUTS, CLASSES = 64, 10
MODULES = {"equinox": "network_equinox", "torch": "network_torch"}
ACTIVATIONS: dict[str, Callable[[Any], Any]] = {  # that have no such name in jax.nn
    "leaky relu": partial(jax.nn.leaky_relu, negative_slope=0.2),
    "softsign": jax.nn.soft_sign,
    "arctan": jnp.arctan,
    "sine": jnp.sin,
}
Arrays = list[tuple[np.ndarray, np.ndarray]]  # weights and biases of each product


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Return pictures, (B, 64), and their classes."""
    x, y = load_digits(return_X_y=True)
    return ((x - x.mean()) / x.std()).astype(np.float32), y


class IllDense(NamedTuple):
    """A dense network that is ill.

    units: its activation.
    depth: L.
    gain: √fan_in times the standard deviation of its weights.
    uniform: whether they and the biases are uniform; else normal, without biases.
    skip: whether each layer is added to its state.
    norm: whether a layer norm stands in front of each activation, of PyTorch alone.
    """

    units: str
    depth: int
    gain: float
    uniform: bool = False
    skip: bool = False
    norm: bool = False
    width: int = 24

    @property
    def name(self) -> str:
        """Units, depth and gain."""
        return f"{'residual ' * self.skip}{self.units}, {self.depth} layers, gain {self.gain:.3g}"

    @property
    def sigma(self) -> Callable[[Any], Any]:
        """The activation, of JAX."""
        name = self.units.replace(" ", "_").replace("-", "_")
        return ACTIVATIONS.get(self.units) or getattr(jax.nn, name)

    def drawn(self, seed: int) -> Arrays:
        """Return the arrays of its products, the lowest first."""
        rng, n = np.random.default_rng(seed), self.width

        def weights(*shape: int) -> np.ndarray:
            gain = self.gain / shape[-2] ** 0.5
            is_uniform = self.uniform
            unit = rng.uniform(-1, 1, shape) * 3**0.5 if is_uniform else rng.normal(size=shape)
            return (unit * gain).astype(np.float32)

        def biases(*shape: int) -> np.ndarray:
            unit = rng.uniform(-1, 1, shape) if self.uniform else np.zeros(shape)
            return (unit / n**0.5).astype(np.float32)

        first = weights(INPUTS, n), biases(n)
        blocks = zip(weights(self.depth, n, n), biases(self.depth, n), strict=True)
        return [first, *blocks, (weights(n, CLASSES), biases(CLASSES))]

    def built(self, framework: str, seed: int) -> dict[str, Any]:
        """Return what `jaxnn.diagnose` takes: the network in a framework, with digits and loss."""
        module = importlib.import_module(f"experiments.cures.{MODULES[framework]}")
        xs, ys = map(module.array, digits())
        model = module.built(self, self.drawn(seed))
        return {"model": model, "xs": xs, "ys": ys, "loss": module.LOSS}


AS_TORCH = 3**-0.5  # the gain of what PyTorch draws
NETWORKS = (
    IllDense("softplus", 16, AS_TORCH, uniform=True),
    IllDense("mish", 20, AS_TORCH, uniform=True),
    IllDense("hard tanh", 20, 0.5),
    IllDense("selu", 20, AS_TORCH, uniform=True),
    IllDense("relu", 20, 3.0, skip=True),
    IllDense("leaky relu", 16, 0.11),
    IllDense("sine", 16, 2.5),
    IllDense("hard swish", 12, AS_TORCH, uniform=True),
    IllDense("softsign", 24, 1.0),
    IllDense("relu6", 20, 1.0),
    IllDense("log-sigmoid", 16, 1.0),
    IllDense("tanh", 20, 3.0),
    IllDense("celu", 24, AS_TORCH, uniform=True),
    IllDense("elu", 20, 2.0),
    IllDense("squareplus", 12, 1.0),
    IllDense("softplus", 20, 0.5),
    IllDense("hard sigmoid", 12, 1.0),
    IllDense("swish", 24, 2.0, skip=True),
    IllDense("arctan", 24, 0.6),
    IllDense("relu", 16, 0.5),
)
ILL = {one.name: one for one in NETWORKS}
