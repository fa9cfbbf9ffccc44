"""Networks of JAX itself: `jax.example_libraries.stax`."""

from typing import Any

from jax.example_libraries import stax


def convolutions() -> Any:
    pool = stax.MaxPool((2, 2), (2, 2))
    block = (stax.Conv(8, (3, 3), padding="SAME"), stax.BatchNorm(), stax.Relu, pool)
    return stax.serial(*3 * block, stax.Flatten, stax.Dense(10), stax.LogSoftmax)


def residual() -> Any:
    branch = stax.serial(stax.Dense(8), stax.Gelu)
    both = stax.parallel(branch, stax.Identity)
    return stax.serial(*6 * (stax.serial(stax.FanOut(2), both, stax.FanInSum),))


def vae() -> Any:
    deviation = stax.serial(stax.Dense(4), stax.Softplus)
    both = stax.parallel(stax.Dense(4), deviation)
    return stax.serial(*2 * (stax.Dense(16), stax.Relu), stax.FanOut(2), both)
