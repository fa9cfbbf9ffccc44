"""The networks, each described once in parts; `network_torch.py` and others build them.

`recipe -> the layers of Flax, Equinox or PyTorch, drawn as PyTorch draws -> a model, its data`
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

BATCH, TOKENS, HEADS, PIXELS, CHANNELS = 16, 8, 4, 8, 12
ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "gelu": partial(jax.nn.gelu, approximate=False),
    "silu": jax.nn.silu,
}
DEPTH, DEPTHS = 24, {"residual": 96, "attention": 50, "lstm": 500}


class Linear(NamedTuple):
    """A product with weights and biases uniform in ±1/√fan_in, as all of them but in attention."""

    into: int
    out: int


class Convolution(NamedTuple):
    """A convolution of 3 × 3 pixels, which keeps size and channels."""

    channels: int


class Units(NamedTuple):
    """An activation by name."""

    name: str


class LayerNorm(NamedTuple):
    """A layer norm over the last axis."""

    units: int


class BatchNorm(NamedTuple):
    """A batch norm of each channel of pictures."""

    channels: int


class Attention(NamedTuple):
    """Attention of several heads, with Xavier's weights and no biases for q, k and v."""

    units: int


class AcrossTokens(NamedTuple):
    """Parts that see each unit's tokens as their units."""

    parts: "Parts"


class Residual(NamedTuple):
    """A skip connection: the state plus the output of parts on it."""

    parts: "Parts"


class Lstm(NamedTuple):
    """The last output of an LSTM."""

    units: int


Part = (
    Linear | Convolution | Units | LayerNorm | BatchNorm | Attention | AcrossTokens | Residual
    | Lstm
)  # fmt: skip
Parts = tuple[Part, ...]


class Recipe(NamedTuple):
    """Layers, the lowest first, and the shape of an example, of pictures with the channels last."""

    layers: tuple[Parts, ...]
    shape: tuple[int, ...]

    @property
    def is_recurrent(self) -> bool:
        """True if examples are sequences whose steps are layers."""
        return isinstance(self.layers[0][0], Lstm)


def recipe(name: str, depth: int | None = None, width: int = 64) -> Recipe:
    """Return a network.

    Args:
        name: one of `NETWORKS`.
        depth: its layers, or the steps of an LSTM; its own if None. Those with skips stand above a
            product, as above an embedding.
        width: its units, a multiple of 4; convolutions have 12 channels.
    """
    depth = DEPTHS.get(name, DEPTH) if depth is None else depth
    if name == "lstm":
        return Recipe(((Lstm(width),), (Linear(width, width),)), (depth, width))
    block = BLOCKS[name](width)
    shapes: dict[bool, tuple[int, ...]] = {True: (width,), False: (TOKENS, width)}
    is_flat = name in (*ACTIVATIONS, "residual")
    is_picture = any(isinstance(part, Convolution) for part in block)
    shape = (PIXELS, PIXELS, CHANNELS) if is_picture else shapes[is_flat]
    has_skips = any(isinstance(part, Residual) for part in block)
    stem = ((Linear(width, width),),) if has_skips else ()
    return Recipe((*stem, *(block,) * depth), shape)


def data(made: Recipe, seed: int, channels_last: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Return normal examples, and a cotangent of the output, which has the shape of a state."""
    rng = np.random.default_rng(seed)
    out = made.shape[1:] if made.is_recurrent else made.shape
    drawn = (rng.normal(size=(BATCH, *shape)) for shape in (made.shape, out))
    xs, c = (v if channels_last or v.ndim < 4 else np.moveaxis(v, -1, 1) for v in drawn)
    return xs.astype(np.float32), c.astype(np.float32)


def _mlp(n: int) -> Parts:
    return (Linear(n, 4 * n), Units("gelu"), Linear(4 * n, n))


def _dense(name: str) -> Callable[[int], Parts]:
    return lambda n: (Linear(n, n), Units(name))


BLOCKS: dict[str, Callable[[int], Parts]] = {
    **{name: _dense(name) for name in ACTIVATIONS},
    "residual": lambda n: (Residual((Linear(n, n), Units("relu"), Linear(n, n))),),
    "pre_norm": lambda n: (
        Residual((LayerNorm(n), Attention(n))),
        Residual((LayerNorm(n), *_mlp(n))),
    ),
    "post_norm": lambda n: (
        Residual((Attention(n),)),
        LayerNorm(n),
        Residual(_mlp(n)),
        LayerNorm(n),
    ),
    "attention": lambda n: (Attention(n),),
    "mixer": lambda n: (
        Residual((LayerNorm(n), AcrossTokens(_mlp(TOKENS)))),
        Residual((LayerNorm(n), *_mlp(n))),
    ),
    "convolutions": lambda n: (Convolution(CHANNELS), Units("tanh")),
    "batch_norm": lambda n: (Convolution(CHANNELS), BatchNorm(CHANNELS), Units("relu")),
}
NETWORKS = (*BLOCKS, "lstm")
