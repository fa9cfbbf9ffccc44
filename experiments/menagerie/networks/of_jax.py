"""Networks of JAX itself: `jax.example_libraries.stax`."""

from typing import Any

from jax.example_libraries import stax


def convolutions() -> Any:
    block = (
        stax.Conv(8, (3, 3), padding="SAME"),
        stax.BatchNorm(),
        stax.Relu,
        stax.MaxPool((2, 2), (2, 2)),
    )
    return stax.serial(*3 * block, stax.Flatten, stax.Dense(10), stax.LogSoftmax)


def residual() -> Any:
    block = stax.serial(
        stax.FanOut(2),
        stax.parallel(stax.serial(stax.Dense(8), stax.Gelu), stax.Identity),
        stax.FanInSum,
    )
    return stax.serial(*6 * (block,))


def vae() -> Any:
    return stax.serial(
        *2 * (stax.Dense(16), stax.Relu),
        stax.FanOut(2),
        stax.parallel(stax.Dense(4), stax.serial(stax.Dense(4), stax.Softplus)),
    )
