"""The depth sweep with Equinox: `MLP(scan=True)`, compiled once a depth.

The bias of a layer is added to its z, so the gradient of an example's loss with respect to it is
that example's Δz[l]: a vmapped gradient with respect to the biases alone.
"""

from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.bench import inputs
from experiments.bench.sweep_jax import ACTIVATIONS, INITIALISERS
from experiments.bench.workload import Workload


def biases(model: eqx.nn.MLP) -> list[Any]:
    """Return the biases of every Linear; that of the scanned ones is (k, n)."""
    return [layer.bias for layer in model.layers]


def matrices(model: eqx.nn.MLP) -> list[Any]:
    """Return the weights of every Linear: (m, n), or (k, m, n) of the scanned ones."""
    return [layer.weight for layer in model.layers]


@eqx.filter_jit
def log_norms(model: eqx.nn.MLP, x: jax.Array, y: jax.Array) -> Any:
    """Return log₁₀ ‖Δz[l]‖ of the batch's mean loss, l = 1 … L."""
    is_bias = eqx.tree_at(biases, jax.tree.map(lambda _: False, model), [True] * len(model.layers))
    moving, fixed = eqx.partition(model, is_bias)

    def loss(moving: eqx.nn.MLP, x: jax.Array, y: jax.Array) -> Any:
        z = eqx.combine(moving, fixed)(x)
        return optax.sigmoid_binary_cross_entropy(z[0], y)

    deltas = jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))(moving, x, y)
    squares = [jnp.sum(jnp.square(of / len(x)), axis=(0, -1)) for of in biases(deltas)]
    return 0.5 * jnp.log10(jnp.concatenate([jnp.atleast_1d(s) for s in squares]))


def workload(
    depths: list[int], activation: str, width: int, batch: int, seeds: int, weights: str
) -> Workload:
    """Return the peer of `sweep.py`."""
    all_x, all_y = inputs.standardised("breast_cancer")
    draw = INITIALISERS[weights]

    def network(depth: int, key: jax.Array) -> eqx.nn.MLP:
        sigma, scan = ACTIVATIONS[activation], depth > 1  # there is nothing to scan in one
        return eqx.nn.MLP(all_x.shape[1], 1, width, depth, sigma, scan=scan, key=key)

    @eqx.filter_jit
    def drawn(depth: int, seed: jax.typing.ArrayLike, x: jax.Array, y: jax.Array) -> Any:
        key, *keys, key_batch = jax.random.split(jax.random.key(seed), 5)
        model = network(depth, key)
        # The initialisers count fan_in in the first of the last two axes.
        turned = [jnp.swapaxes(w, -1, -2) for w in matrices(model)]
        fresh = [
            jax.vmap(lambda k, w=w: draw(k, w.shape[-2:]))(jax.random.split(key, len(w)))
            if w.ndim == 3
            else draw(key, w.shape)
            for key, w in zip(keys, turned, strict=False)
        ]
        model = eqx.tree_at(matrices, model, [jnp.swapaxes(w, -1, -2) for w in fresh])
        model = eqx.tree_at(biases, model, [jnp.zeros_like(b) for b in biases(model)])
        rows = jax.random.permutation(key_batch, len(x))[:batch]
        return model, x[rows], y[rows]

    def run() -> list[list[float]]:
        x, y = jnp.asarray(all_x), jnp.asarray(all_y)
        return [log_norms(*drawn(d, s, x, y)).tolist() for d in depths for s in np.arange(seeds)]

    def numbers(folder: Path) -> list[float]:
        params, given = inputs.read(folder)
        model = network(len(params) - 1, jax.random.key(0))
        first, *hidden, last = params
        thetas, shifts = ([layer[i] for layer in hidden] for i in (0, 1))
        run = [(np.stack(thetas), np.stack(shifts))] if hidden else []
        layers = [first, *run, last]
        model = eqx.tree_at(matrices, model, [np.swapaxes(theta, -1, -2) for theta, _ in layers])
        model = eqx.tree_at(biases, model, [b for _, b in layers])
        return log_norms(model, given["x"], given["y"]).tolist()

    return Workload(run, numbers)
