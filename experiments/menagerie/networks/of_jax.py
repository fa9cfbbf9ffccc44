"""Networks of JAX itself: `jax.example_libraries.stax`."""

from typing import Any

import jax
from jax.example_libraries import stax

from experiments.menagerie import inputs


def _built(layers: Any, xs: Any) -> dict[str, Any]:
    init, apply = layers
    return {"model": (apply, init(jax.random.key(0), xs.shape)[1]), "xs": xs}


def dense() -> dict[str, Any]:
    """stax.serial of Dense and Softplus."""
    return _built(stax.serial(*8 * (stax.Dense(8), stax.Softplus)), inputs.vectors())


def convolutions() -> dict[str, Any]:
    """stax.serial of Conv, BatchNorm, MaxPool."""
    block = (
        stax.Conv(8, (3, 3), padding="SAME"),
        stax.BatchNorm(),
        stax.Relu,
        stax.MaxPool((2, 2), (2, 2)),
    )
    return _built(
        stax.serial(*3 * block, stax.Flatten, stax.Dense(10), stax.LogSoftmax), inputs.images()
    )


def residual() -> dict[str, Any]:
    """stax.FanOut, parallel, FanInSum: residual blocks."""
    block = stax.serial(
        stax.FanOut(2),
        stax.parallel(stax.serial(stax.Dense(8), stax.Gelu), stax.Identity),
        stax.FanInSum,
    )
    return _built(stax.serial(*6 * (block,)), inputs.vectors())


def vae() -> dict[str, Any]:
    """stax.FanOut into mean and deviation."""
    encoder = stax.serial(
        stax.Dense(16),
        stax.Relu,
        stax.Dense(16),
        stax.Relu,
        stax.FanOut(2),
        stax.parallel(stax.Dense(4), stax.serial(stax.Dense(4), stax.Softplus)),
    )
    return _built(encoder, inputs.vectors())
