"""Networks of NumPyro: `numpyro.nn`."""

from typing import Any

import jax
from numpyro import nn

from experiments.menagerie import inputs


def _built(layers: Any) -> dict[str, Any]:
    init, apply = layers
    return {"model": (apply, init(jax.random.key(0), (8,))[1]), "xs": inputs.vectors()}


def autoregressive() -> dict[str, Any]:
    """nn.AutoregressiveNN."""
    return _built(nn.AutoregressiveNN(8, [16, 16, 16]))


def block_neural() -> dict[str, Any]:
    """nn.BlockNeuralAutoregressiveNN."""
    return _built(nn.BlockNeuralAutoregressiveNN(8, [2, 2]))
