"""Networks of NumPyro: `numpyro.nn`."""

from collections.abc import Callable
from typing import Any

import jax
from numpyro import nn

from experiments.menagerie import inputs


def _built(layers: tuple[Callable[..., Any], Callable[..., Any]]) -> inputs.Arguments:
    init, apply = layers
    return {"model": (apply, init(jax.random.key(0), (8,))[1]), "xs": inputs.vectors()}


NETWORKS: inputs.Networks = {
    "autoregressive": ("nn.AutoregressiveNN", lambda: _built(nn.AutoregressiveNN(8, [16, 16, 16]))),
    "block_neural": (
        "nn.BlockNeuralAutoregressiveNN",
        lambda: _built(nn.BlockNeuralAutoregressiveNN(8, [2, 2])),
    ),
}
