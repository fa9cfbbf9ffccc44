"""How fast this process multiplies matrices and draws random numbers: what a floor is made of."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from experiments.bench.waiting import waited
from experiments.runs import devices, runtime

TRIES, LEAST = 5, 0.05  # how often, and seconds for each


def products(batch: int, n: int, m: int, side_by_side: int = 1) -> float:
    """Operations a second of a layer's three products, θ (n, m): the fastest of a few tries.

    Args:
        batch: rows of a and Δz.
        n: units below.
        m: units above.
        side_by_side: so many layers at once, over the devices; or one that may use all cores.
    """
    generator = np.random.default_rng(0)
    theta = np.linalg.qr(generator.normal(size=(max(n, m), min(n, m))))[0].astype(np.float32)
    theta = theta if n >= m else theta.T  # of singular values 1, so that nothing grows or shrinks
    a = generator.normal(size=(batch, n)).astype(np.float32)
    mesh = runtime.mesh(side_by_side)
    many = mesh.devices.size

    def layers(_: Any, a: Any, theta: Any, count: Any) -> Any:
        def layer(_: Any, carry: Any) -> Any:
            a, _, theta = carry
            z = a @ theta
            return z @ theta.T, a.T @ z, theta

        return lax.fori_loop(0, count, layer, (a, theta, theta))[:2]

    mapped = devices.side_by_side(mesh, layers, spread=1, shared=3)
    each = devices.in_a_row(mesh, np.arange(many))

    def run(count: int) -> Any:
        return mapped(each, a, theta, np.int32(count))

    return many * 6.0 * batch * n * m * _rate(run)


def randoms(draw: Callable[[Any], Any], side_by_side: int = 1) -> float:
    """Numbers a second of drawing them, key -> array, one array after the other."""
    mesh = runtime.mesh(side_by_side)
    many = mesh.devices.size
    size = jax.eval_shape(draw, jax.random.key(0)).size

    def arrays(seed: Any, count: Any) -> Any:
        key = jax.random.key(seed)

        def one(i: Any, total: Any) -> Any:
            return total + jnp.sum(draw(jax.random.fold_in(key, i)))

        return lax.fori_loop(0, count, one, jnp.zeros(()))

    mapped = devices.side_by_side(mesh, arrays, spread=1, shared=1)
    seeds = devices.in_a_row(mesh, np.arange(many, dtype=np.int32))
    return float(many * size) * _rate(lambda count: mapped(seeds, np.int32(count)))


def _rate(run: Callable[[int], Any]) -> float:
    """Passes of the loop a second."""
    waited(run(1))
    count, seconds = 1, 0.0
    while seconds < LEAST:
        count *= 2
        seconds = _seconds(run, count)
    return count / min(_seconds(run, count) for _ in range(TRIES))


def _seconds(run: Callable[[int], Any], count: int) -> float:
    begun = time.perf_counter()
    waited(run(count))
    return time.perf_counter() - begun
