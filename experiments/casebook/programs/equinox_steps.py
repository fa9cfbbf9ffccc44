"""Programs in Equinox whose optimiser, loop or number formats are at fault."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PyTree

from experiments.casebook import data
from experiments.casebook.program import CaseProgram
from experiments.casebook.programs.equinox_parts import classified, mlp, picture, squares


def points_of_a_face(is_cured: bool) -> CaseProgram:
    """Adam with a rate of 0.1 for a regression."""
    xs, _ = data.digits()
    ys = xs[:, 27:37]
    rate = 3e-3 if is_cured else 0.3
    loss = lambda output, ys: jnp.mean((output - ys) ** 2, axis=-1)
    model = mlp((64, 32, 32, 10))
    return CaseProgram(model, xs, ys, loss, optax.adam(rate), data.explained, each="example")


def absolute_weights(is_cured: bool) -> CaseProgram:
    """A penalty on the sum of absolute weights that outweighs the loss."""
    strength = 1e-5 if is_cured else 0.1

    def penalty(updates: Any, state: Any, params: Any) -> tuple[Any, Any]:
        return jax.tree.map(lambda u, v: u + strength * jnp.sign(v), updates, params), state

    first = optax.GradientTransformation(lambda params: optax.EmptyState(), penalty)
    optimizer = optax.chain(first, optax.sgd(0.1))
    return classified(data.digits(), mlp((64, 32, 10)), optimizer)


def clipped_to_a_thousandth(is_cured: bool) -> CaseProgram:
    """Gradients clipped to a norm of 0.001."""
    optimizer = optax.chain(
        optax.clip_by_global_norm(5.0 if is_cured else 1e-3), optax.sgd(0.1, momentum=0.9)
    )
    return classified(data.digits(), mlp((64, 32, 10)), optimizer)


class Waves(eqx.Module):
    """Waves of drawn frequencies, which do not learn, and layers above them."""

    frequencies: Array
    inner: Any

    def __call__(self, x: Array) -> Array:
        angles = 2 * jnp.pi * jax.lax.stop_gradient(self.frequencies) @ x
        return self.inner(jnp.concatenate([jnp.sin(angles), jnp.cos(angles)]))


def decay_of_what_does_not_learn(is_cured: bool) -> CaseProgram:
    """Frequencies after a stop_gradient, which the optimiser's decay makes smaller."""
    xs, ys = picture()
    frequencies = 2 * jax.random.normal(jax.random.key(1), (48, 2))
    model = Waves(frequencies, mlp((96, 64, 1), jax.nn.silu))

    def learns(params: PyTree) -> PyTree:
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: "frequencies" not in jax.tree_util.keystr(path), params
        )

    optimizer = optax.adamw(1e-2, weight_decay=0.5, mask=learns if is_cured else None)
    given = model, xs, ys, squares, optimizer, data.explained
    return CaseProgram(*given, batch=256, steps=300, every=20, each="example")


class Attending(eqx.Module):
    """Attention between the rows of an image, whose products are numbers of 16 bits."""

    weights: dict[str, Array]
    inner: Any
    scales_first: bool = eqx.field(static=True)

    def __call__(self, x: Array) -> Array:
        q, k, v = (x @ self.weights[name] for name in "qkv")
        size = 1 / q.shape[-1] ** 0.5
        q, k = ((size * q if self.scales_first else q).astype(jnp.float16), k.astype(jnp.float16))
        logits = q @ k.T if self.scales_first else size * (q @ k.T)
        attended = jax.nn.softmax(logits.astype(jnp.float32), axis=-1) @ v
        return self.inner((x + attended @ self.weights["o"]).reshape(-1))


def products_beyond_float16(is_cured: bool) -> CaseProgram:
    """Products of queries and keys in float16, too large before they are divided."""
    images, ys = data.digits()
    bright = np.random.default_rng(0).random(len(images)) < 0.02
    xs = np.where(bright[:, None], 100 * images, images).reshape(-1, 8, 8).astype(np.float32)
    keys = jax.random.split(jax.random.key(1), 4)
    shapes = {"q": (8, 64), "k": (8, 64), "v": (8, 64), "o": (64, 8)}
    weights = {
        name: jax.random.normal(key, shape) / shape[0] ** 0.5
        for key, (name, shape) in zip(keys, shapes.items(), strict=True)
    }
    model = Attending(weights, mlp((64, 48, 10)), is_cured)
    return classified((xs, ys), model, optax.adam(3e-3), steps=150, every=10)
