"""The matrix products of a gradient step alone, without σ, biases and a loss.

z[l] = z[l-1] θ[l-1] up, and Δθ = aᵀ Δz and Δz θᵀ down from Δz[L] = z[L] / B: three products a
layer, two in the first. It is the gradient of the linear network without biases, by which it is
checked.
"""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from experiments.bench import inputs
from experiments.bench.waiting import repeated
from experiments.bench.workload import Workload


@jax.jit
def products(thetas: list[jax.Array], xs: jax.Array) -> Any:
    """Return Δθ of every layer."""
    signals = [xs]
    for theta in thetas:
        signals.append(signals[-1] @ theta)
    delta, gradient = signals.pop() / len(xs), []
    for i in reversed(range(len(thetas))):
        gradient.append(signals[i].T @ delta)
        if i:
            delta = delta @ thetas[i].T
    return gradient[::-1]


def workload(calls: int, **_: object) -> Workload:
    """Return the peer of `gradient.py`, whose weights and batch it reads."""
    arguments: list[Any] = []

    def numbers(folder: Path) -> list[float]:
        params, arrays = inputs.read(folder)
        arguments[:] = [[jnp.asarray(theta) for theta, _ in params], jnp.asarray(arrays["x"])]
        return inputs.in_short(products(*arguments))

    return Workload(lambda: repeated(partial(products, *arguments), calls), numbers)
