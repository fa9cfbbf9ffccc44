"""The depth sweep with `jax.grad` of the plain forward pass, one compiled function a depth.

Δz[l] is the gradient with respect to a zero that is added to z[l].
"""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.nn import initializers
from jaxtyping import PyTree

from experiments.bench import inputs
from experiments.bench.workload import Workload

ACTIVATIONS = {"sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh, "relu": jax.nn.relu}
INITIALISERS: dict[str, Any] = {
    "glorot_uniform": initializers.glorot_uniform(),
    "he_normal": initializers.he_normal(),
}


def workload(
    depths: list[int], activation: str, width: int, batch: int, seeds: int, weights: str
) -> Workload:
    """Return the peer of `sweep.py`."""
    sigma, draw = ACTIVATIONS[activation], INITIALISERS[weights]
    all_x, all_y = inputs.standardised("breast_cancer")

    def loss(zeros: PyTree, params: PyTree, x: jax.Array, y: jax.Array) -> Any:
        a = x
        for (theta, b), zero in zip(params[:-1], zeros[:-1], strict=True):
            a = sigma(a @ theta + b + zero)
        z = a @ params[-1][0] + params[-1][1] + zeros[-1]
        return jnp.mean(optax.sigmoid_binary_cross_entropy(z[:, 0], y))

    def log_norms(params: PyTree, x: jax.Array, y: jax.Array) -> Any:
        zeros = [jnp.zeros((len(x), len(b))) for _, b in params]
        deltas = jax.grad(loss)(zeros, params, x, y)
        return jnp.log10(jnp.stack([jnp.linalg.norm(delta) for delta in deltas]))

    @partial(jax.jit, static_argnames="depth")
    def measured(seed: jax.typing.ArrayLike, x: jax.Array, y: jax.Array, depth: int) -> Any:
        key_batch, *keys = jax.random.split(jax.random.key(seed), depth + 2)
        sizes = [x.shape[1], *[width] * depth, 1]
        params = [
            (draw(key, (n, m)), jnp.zeros(m))
            for key, n, m in zip(keys, sizes[:-1], sizes[1:], strict=True)
        ]
        rows = jax.random.permutation(key_batch, len(x))[:batch]
        return log_norms(params, x[rows], y[rows])

    def run() -> list[list[float]]:
        x, y = jnp.asarray(all_x), jnp.asarray(all_y)
        return [measured(s, x, y, depth=d).tolist() for d in depths for s in range(seeds)]

    def numbers(folder: Path) -> list[float]:
        params, given = inputs.read(folder)
        return jax.jit(log_norms)(params, given["x"], given["y"]).tolist()

    return Workload(run, numbers)
