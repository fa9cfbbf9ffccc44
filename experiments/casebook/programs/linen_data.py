"""Programs in Flax linen whose data or targets do not fit."""

import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jaxtyping import Array

from experiments.casebook import data
from experiments.casebook.program import CaseProgram
from experiments.casebook.programs.linen_parts import built, classes, classified, mlp


def one_sigmoid_for_three(is_cured: bool) -> CaseProgram:
    """One sigmoid with the binary cross entropy, for the labels 0, 1 and 2."""
    xs, ys = data.iris()

    def binary(output: Array, ys: Array) -> Array:
        p = jnp.clip(output[:, 0], 1e-7, 1 - 1e-7)
        return -(ys * jnp.log(p) + (1 - ys) * jnp.log1p(-p))

    def score(output: Array, ys: Array) -> float:
        return data.accuracy(
            output if is_cured else np.eye(3)[np.round(output[:, 0]).astype(int)], ys
        )

    module = mlp((16, 3)) if is_cured else mlp((16, 1), end=nn.sigmoid)
    loss = classes if is_cured else binary
    return CaseProgram(built(module, xs), xs, ys, loss, optax.rmsprop(1e-2), score)


def pixels_as_bytes(is_cured: bool) -> CaseProgram:
    """Pixels from 0 to 255 into convolutions."""
    xs, ys = data.digits(is_scaled=False)
    xs = xs / 16 if is_cured else np.round(xs * 255 / 16).astype(np.float32)

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x: Array) -> Array:
            x = x.reshape(-1, 8, 8, 1)
            for features in (8, 16):
                x = nn.max_pool(nn.relu(nn.Conv(features, (3, 3))(x)), (2, 2), (2, 2))
            x = nn.relu(nn.Dense(32)(x.reshape(len(x), -1)))
            return nn.Dense(10)(x)

    return classified((xs, ys), Net(), optax.sgd(0.05))


def scaled_twice(is_cured: bool) -> CaseProgram:
    """Pixels between 0 and 1, divided by 255 once more."""
    xs, ys = data.digits(is_scaled=False)
    xs = xs / 16 if is_cured else (xs / 16 / 255).astype(np.float32)
    return classified((xs, ys), mlp((32, 10)), optax.sgd(0.1))


def labels_at_random(is_cured: bool) -> CaseProgram:
    """Labels that were shuffled apart from their examples."""
    xs, ys = data.digits()
    ys = ys if is_cured else np.random.default_rng(0).permutation(ys)
    return classified((xs, ys), mlp((32, 10)), optax.adam(3e-3))


def bytes_divided_as_whole_numbers(is_cured: bool) -> CaseProgram:
    """Bytes divided by 255 as whole numbers: hardly one of them is not 0."""
    images, ys = data.digits(is_scaled=False)
    pixels = (15 * images).astype(np.uint8)
    xs = (pixels / 255 if is_cured else pixels // 255).astype(np.float32)

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x: Array) -> Array:
            x = x.reshape(-1, 8, 8, 1)
            for size in (8, 16):
                x = nn.relu(nn.Conv(size, (3, 3), strides=(2, 2))(x))
            return nn.Dense(10)(x.reshape(len(x), -1))

    return classified((xs, ys), Net(), optax.adam(1e-2), steps=120)
