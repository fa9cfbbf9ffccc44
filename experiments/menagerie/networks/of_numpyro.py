"""Networks of NumPyro: `numpyro.nn`."""

from collections.abc import Callable
from typing import Any

import jax
from numpyro import nn

from experiments.menagerie import inputs


def arguments(
    layers: tuple[Callable[..., Any], Callable[..., Any]], xs: inputs.Batch
) -> inputs.Arguments:
    init, apply = layers
    return {"model": (apply, init(jax.random.key(0), (8,))[1]), "xs": xs}


NETWORKS: inputs.Networks = {
    "autoregressive": (
        "nn.AutoregressiveNN",
        lambda: nn.AutoregressiveNN(8, [16, 16, 16]),
        inputs.vectors,
    ),
    "block_neural": (
        "nn.BlockNeuralAutoregressiveNN",
        lambda: nn.BlockNeuralAutoregressiveNN(8, [2, 2]),
        inputs.vectors,
    ),
}
