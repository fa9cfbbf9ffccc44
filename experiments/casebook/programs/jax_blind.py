"""Programs in plain JAX of the second blind round."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from experiments.casebook import data
from experiments.casebook.program import CaseProgram
from experiments.casebook.programs.jax_parts import classes, dense, mlp, squares


def mask_of_the_padding(is_cured: bool) -> CaseProgram:
    """Letters that each next one is foretold from, with a loss where the mask says padding."""
    xs, ys, known = data.text(12)
    xs, ys = xs[::3] + 1, ys[::3] + 1
    ends = np.random.default_rng(0).integers(6, 11, (len(xs), 1))
    xs, ys = (np.where(np.arange(12) < ends, letters, 0) for letters in (xs, ys))

    def of_three_letters(params: Any, xs: Array) -> Array:
        z = params["letters"][jnp.pad(xs, ((0, 0), (2, 0)))]
        before = jnp.concatenate([z[:, 2:], z[:, 1:-1], z[:, :-2]], axis=-1)
        return mlp(params["layers"], before, jax.nn.tanh)

    def masked(output: Array, ys: Array) -> Array:
        is_padding = ys == 0
        mask = ~is_padding if is_cured else is_padding
        return jnp.sum(mask * classes(output, ys), axis=-1) / jnp.sum(mask, axis=-1)

    def score(output: Array, ys: Array) -> float:
        return float(np.mean((np.argmax(output, axis=-1) == ys)[np.asarray(ys) > 0]))

    letters = jax.random.normal(jax.random.key(1), (known + 1, 16))
    params = {"letters": letters, "layers": dense((48, 64, known + 1))}
    given = (of_three_letters, params), xs, ys, masked, optax.adam(1e-2), score
    return CaseProgram(*given, steps=150, every=10)


def noise_of_a_sum(is_cured: bool) -> CaseProgram:
    """Noise for the sum of a batch's gradients, added to their mean, to keep examples private."""
    spread = 1.0 / (64 if is_cured else 1)
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.add_noise(spread**2, 0.0, jax.random.key(0)),
        optax.sgd(0.1),
    )
    model = (mlp, dense((10, 32, 1)))
    given = model, *data.diabetes(), squares, optimizer, data.explained
    return CaseProgram(*given, batch=64, steps=200, every=10)
