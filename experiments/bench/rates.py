"""Rates of this process, of which a floor is made: matrix products, random numbers."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import PyTree

from experiments.bench.waiting import waited
from experiments.runs.devices import SideBySide

TRIES, LEAST = 5, 0.05  # how often, and seconds for each


def products(batch: int, n: int, m: int, at_once: int = 1) -> float:
    """Return operations a second of a layer's three products, θ (n, m): the fastest of a few tries.

    Args:
        batch: rows of a and Δz.
        n: units below.
        m: units above.
        at_once: so many layers over the devices; or one, which may use all cores.
    """
    generator = np.random.default_rng(0)
    theta = np.linalg.qr(generator.normal(size=(max(n, m), min(n, m))))[0].astype(np.float32)
    theta = theta if n >= m else theta.T  # of singular values 1, so that nothing grows or shrinks
    a = generator.normal(size=(batch, n)).astype(np.float32)
    count = min(at_once, jax.device_count())
    devices = SideBySide.over_devices(count)  # a layer each

    def layers(_: jax.Array, a: jax.Array, theta: jax.Array, passes: jax.Array) -> Any:
        def layer(_: jax.Array, carry: PyTree) -> Any:
            a, _, theta = carry
            z = a @ theta
            return z @ theta.T, a.T @ z, theta

        return lax.fori_loop(0, passes, layer, (a, theta, theta))[:2]

    program = devices.map(layers, spread=1, shared=3)
    each = devices.put(np.arange(count))

    def run(passes: int) -> Any:
        return program(each, a, theta, np.int32(passes))

    return count * 6.0 * batch * n * m * _rate(run)


def randoms(draw: Callable[[Any], Any], at_once: int = 1) -> float:
    """Return numbers a second of drawing them, key -> array, one array after the other."""
    count = min(at_once, jax.device_count())
    devices = SideBySide.over_devices(count)
    size = jax.eval_shape(draw, jax.random.key(0)).size

    def arrays(seed: jax.Array, passes: jax.Array) -> Any:
        key = jax.random.key(seed)

        def one(i: jax.Array, total: jax.Array) -> Any:
            return total + jnp.sum(draw(jax.random.fold_in(key, i)))

        return lax.fori_loop(0, passes, one, jnp.zeros(()))

    program = devices.map(arrays, spread=1, shared=1)
    seeds = devices.put(np.arange(count, dtype=np.int32))
    return float(count * size) * _rate(lambda passes: program(seeds, np.int32(passes)))


def _rate(run: Callable[[int], Any]) -> float:
    """Return passes of the loop a second."""
    waited(run(1))
    passes, seconds = 1, 0.0
    while seconds < LEAST:
        passes *= 2
        seconds = _seconds(run, passes)
    return passes / min(_seconds(run, passes) for _ in range(TRIES))


def _seconds(run: Callable[[int], Any], passes: int) -> float:
    begun = time.perf_counter()
    waited(run(passes))
    return time.perf_counter() - begun
