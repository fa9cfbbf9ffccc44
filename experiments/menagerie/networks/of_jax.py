"""Networks of JAX itself: `jax.example_libraries.stax`."""

from collections.abc import Callable
from typing import Any

import jax
from jax.example_libraries import stax

from experiments.menagerie import inputs


def arguments(
    layers: tuple[Callable[..., Any], Callable[..., Any]], xs: inputs.Batch
) -> inputs.Arguments:
    init, apply = layers
    return {"model": (apply, init(jax.random.key(0), xs.shape)[1]), "xs": xs}


def _convolutions() -> inputs.Arguments:
    block = (
        stax.Conv(8, (3, 3), padding="SAME"),
        stax.BatchNorm(),
        stax.Relu,
        stax.MaxPool((2, 2), (2, 2)),
    )
    return arguments(
        stax.serial(*3 * block, stax.Flatten, stax.Dense(10), stax.LogSoftmax), inputs.images()
    )


def _residual() -> inputs.Arguments:
    block = stax.serial(
        stax.FanOut(2),
        stax.parallel(stax.serial(stax.Dense(8), stax.Gelu), stax.Identity),
        stax.FanInSum,
    )
    return arguments(stax.serial(*6 * (block,)), inputs.vectors())


def _vae() -> inputs.Arguments:
    encoder = stax.serial(
        *2 * (stax.Dense(16), stax.Relu),
        stax.FanOut(2),
        stax.parallel(stax.Dense(4), stax.serial(stax.Dense(4), stax.Softplus)),
    )
    return arguments(encoder, inputs.vectors())


NETWORKS: inputs.Networks = {
    "dense": (
        "stax.serial of Dense and Softplus",
        lambda: stax.serial(*8 * (stax.Dense(8), stax.Softplus)),
        inputs.vectors,
    ),
    "convolutions": ("stax.serial of Conv, BatchNorm, MaxPool", _convolutions),
    "residual": ("stax.FanOut, parallel, FanInSum: residual blocks", _residual),
    "vae": ("stax.FanOut into mean and deviation", _vae),
}
