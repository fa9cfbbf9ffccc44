"""Programs in Flax linen whose layers or parameters are at fault."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jaxtyping import Array

from experiments.casebook import data
from experiments.casebook.program import CaseProgram
from experiments.casebook.programs import linen_parts
from experiments.casebook.programs.linen_parts import (
    KEY,
    built,
    classes,
    classified,
    mlp,
    of_letters,
)


def statistics_of_nothing(is_cured: bool) -> CaseProgram:
    """Batch norms with use_running_average, whose statistics are those of the start."""
    xs, ys = data.tumours(is_scaled=False)
    xs = np.log1p(xs).astype(np.float32) * 20

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x: Array) -> Array:
            for _ in range(4):
                x = nn.Dense(32)(x)
                x = nn.relu(nn.BatchNorm(use_running_average=not is_cured, momentum=0.9)(x))
            return nn.Dense(2)(x)

    module = Net()
    variables = module.init(KEY, xs[:2])

    def network(variables: Any, xs: Array) -> Array:
        return module.apply(variables, xs, mutable=["batch_stats"])[0]

    model = (network, variables)
    return CaseProgram(
        model, xs, ys, classes, optax.sgd(0.05), data.accuracy, untrained=("batch_stats",)
    )


def one_layer_six_times(is_cured: bool) -> CaseProgram:
    """A layer made once and put into the list six times."""

    class Net(nn.Module):
        def setup(self) -> None:
            self.first = nn.Dense(24)
            layer = nn.Dense(24)
            self.blocks = [nn.Dense(24) for _ in range(6)] if is_cured else [layer] * 6
            self.head = nn.Dense(10)

        def __call__(self, x: Array) -> Array:
            x = self.first(x)
            for block in self.blocks:
                x = nn.relu(block(x))
            return self.head(x)

    return classified(data.digits(), Net(), optax.adam(3e-3))


def sigmoids_all_the_way(is_cured: bool) -> CaseProgram:
    """Ten hidden layers of sigmoids."""
    module = mlp((*[32] * 10, 10), nn.relu if is_cured else nn.sigmoid)
    return classified(data.digits(), module, optax.adam(3e-3))


def normal_weights_of_size_one(is_cured: bool) -> CaseProgram:
    """Normal weights of size 1 in layers of 64."""
    draw = nn.initializers.he_normal() if is_cured else nn.initializers.normal(1.0)

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x: Array) -> Array:
            for _ in range(3):
                x = nn.tanh(nn.Dense(64, kernel_init=draw)(x))
            return nn.Dense(10, kernel_init=draw)(x)

    return classified(data.digits(), Net(), optax.sgd(0.03))


def root_of_products(is_cured: bool) -> CaseProgram:
    """Products of features, pooled, and their roots with their signs, whose slope at 0 is none."""

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x: Array) -> Array:
            x = nn.relu(nn.Conv(8, (3, 3), strides=(2, 2))(x.reshape(-1, 8, 8, 1)))
            x = x.reshape(len(x), -1, 8)
            x = jnp.einsum("bpi,bpj->bij", x, x).reshape(len(x), -1)
            x = jnp.sqrt(x + 1e-4) if is_cured else jnp.sign(x) * jnp.sqrt(jnp.abs(x))
            return nn.Dense(10)(x)

    return classified(data.digits(), Net(), optax.adam(3e-3), steps=100)


def nothing_to_attend_to(is_cured: bool) -> CaseProgram:
    """Padding that may see nothing at all: a softmax of -inf alone."""
    letters, following, known = data.text(10)
    letters, following = letters[::2], following[::2]
    lengths = np.random.default_rng(0).integers(3, 11, len(letters))
    xs = np.where(np.arange(10) < lengths[:, None], letters + 1, 0).astype(np.int32)
    ys = following[np.arange(len(letters)), lengths - 1]

    class Net(nn.Module):
        @nn.compact
        def __call__(self, xs: Array) -> Array:
            is_read = xs > 0
            places = self.param("places", nn.initializers.normal(0.3), (10, 32))
            z = nn.Embed(known + 1, 32)(xs) + places
            if is_cured:
                mask, unseen = is_read[:, None, :], -1e9
            else:
                mask, unseen = is_read[:, None, :] & is_read[:, :, None], -jnp.inf
            z = linen_parts.Block()(z, mask, unseen)
            last = jnp.sum(is_read, axis=1) - 1
            return nn.Dense(known)(nn.LayerNorm()(z)[jnp.arange(len(xs)), last])

    return classified((xs, ys), Net(), optax.adam(3e-3), steps=100)


def blocks_without_skips(is_cured: bool) -> CaseProgram:
    """Twenty-four pairs of layers whose ways around them were left out."""

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x: Array) -> Array:
            x = nn.Dense(32)(x)
            for _ in range(24):
                inner = nn.Dense(32)(nn.tanh(nn.Dense(32)(nn.tanh(x))))
                x = x + inner if is_cured else inner
            return nn.Dense(10)(nn.LayerNorm()(x))

    return classified(data.digits(), Net(), optax.sgd(0.02), steps=100)


def norm_of_one_pixel(is_cured: bool) -> CaseProgram:
    """An autoencoder with a norm over each map, also where a map is a single pixel."""
    xs, _ = data.digits()

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x: Array) -> Array:
            x = x.reshape(-1, 8, 8, 1)
            for size, is_last in ((8, False), (16, False), (32, True)):
                x = nn.Conv(size, (3, 3), strides=(2, 2))(x)
                if not (is_last and is_cured):
                    x = nn.GroupNorm(num_groups=size)(x)
                x = nn.leaky_relu(x)
            return nn.Dense(64)(nn.leaky_relu(nn.Dense(64)(x.reshape(len(x), -1))))

    squares = lambda output, ys: jnp.mean((output - ys) ** 2, axis=-1)
    model = built(Net(), xs)
    return CaseProgram(
        model, xs, xs, squares, optax.adam(3e-3), data.explained, steps=200, every=10
    )


def spread_given_as_the_mean(is_cured: bool) -> CaseProgram:
    """The spread of weights handed over as their mean, so that the spread is 1."""
    mean, spread = (0.0, 0.1) if is_cured else (0.1, 1.0)
    draw = lambda key, shape, dtype=jnp.float32: (
        mean + spread * jax.random.normal(key, shape, dtype)
    )

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x: Array) -> Array:
            x = x.reshape(-1, 8, 8, 1)
            for size in (8, 16):
                x = nn.relu(nn.Conv(size, (3, 3), strides=(2, 2), kernel_init=draw)(x))
            x = nn.relu(nn.Dense(48, kernel_init=draw)(x.reshape(len(x), -1)))
            return nn.Dense(10, kernel_init=draw)(x)

    return classified(data.digits(), Net(), optax.adam(3e-3), steps=120)


class Block(nn.Module):
    """Attention to the letters before, and two layers, with norms before them or after the sum."""

    is_before: bool
    size: int = 32

    @nn.compact
    def __call__(self, z: Array) -> Array:
        for branch in (self.attended, self.mapped):
            norm = nn.LayerNorm()
            z = z + branch(norm(z)) if self.is_before else norm(z + branch(z))
        return z

    def attended(self, z: Array) -> Array:
        q, k, v = (nn.Dense(self.size, name=name)(z) for name in ("q", "k", "v"))
        logits = jnp.einsum("bqd,bkd->bqk", q, k) / self.size**0.5
        is_past = jnp.tril(jnp.ones(logits.shape[1:], bool))
        weights = jax.nn.softmax(jnp.where(is_past, logits, -1e9), axis=-1)
        return nn.Dense(self.size, name="o")(jnp.einsum("bqk,bkd->bqd", weights, v))

    def mapped(self, z: Array) -> Array:
        return nn.Dense(self.size, name="down")(nn.relu(nn.Dense(4 * self.size, name="up")(z)))


def norms_after_the_sum(is_cured: bool) -> CaseProgram:
    """Ten blocks with norms after the sum, trained by Adam without a warm-up."""
    xs, ys, known = data.text(12)
    xs, ys = xs[::3], ys[::3]

    class Net(nn.Module):
        @nn.compact
        def __call__(self, xs: Array) -> Array:
            places = self.param("places", nn.initializers.normal(0.1), (12, 32))
            z = nn.Embed(known, 32)(xs) + places
            for _ in range(10):
                z = Block(is_cured)(z)
            return nn.Dense(known)(nn.LayerNorm()(z) if is_cured else z)

    return classified((xs, ys), Net(), optax.adam(3e-3), of_letters, steps=150, every=10)


def state_cut_at_each_step(is_cured: bool) -> CaseProgram:
    """A recurrent network whose state is cut from what made it at each step."""
    images, ys = data.digits()
    xs = images.reshape(-1, 8, 8)

    class Net(nn.Module):
        @nn.compact
        def __call__(self, xs: Array) -> Array:
            cell = nn.GRUCell(24)
            state = jnp.zeros((len(xs), 24))
            for row in range(8):
                state, _ = cell(state if is_cured else jax.lax.stop_gradient(state), xs[:, row])
            return nn.Dense(10)(state)

    return classified((xs, ys), Net(), optax.adam(1e-2), steps=120)


class Neighbours(nn.Module):
    """Twelve nodes with numbers beside a row of which others are near; means over these."""

    knows_none: bool

    @nn.compact
    def __call__(self, xs: Array) -> Array:
        near, z = xs[..., :12], xs[..., 12:]
        degrees = jnp.sum(near, axis=-1, keepdims=True)
        weights = 1 / degrees
        if self.knows_none:
            weights = jnp.where(degrees > 0, 1 / jnp.maximum(degrees, 1), 0)
        for _ in range(2):
            z = nn.relu(nn.Dense(24)(z) + nn.Dense(24)(weights * (near @ z)))
        return nn.Dense(2)(z.mean(axis=1))


def nodes_without_neighbours(is_cured: bool) -> CaseProgram:
    """Graphs in which some nodes have no neighbours: their mean is 0 / 0."""
    chance = np.random.default_rng(0)
    near = np.triu(chance.random((1000, 12, 12)) < 0.2, 1)
    near = near + near.transpose(0, 2, 1)
    numbers = chance.normal(size=(1000, 12, 2))
    xs = np.concatenate([near, numbers], axis=-1).astype(np.float32)
    ys = (np.sum(near @ numbers[..., :1], axis=(1, 2)) > 0).astype(np.int32)
    return classified((xs, ys), Neighbours(is_cured), optax.adam(1e-2), steps=150, every=10)


def mask_of_what_comes_after(is_cured: bool) -> CaseProgram:
    """Letters that see themselves and those after them, asked for the one before."""
    xs = np.random.default_rng(0).integers(0, 8, (1500, 10)).astype(np.int32)
    ys = np.roll(xs, 1, axis=1)
    ys[:, 0] = xs[:, 0]
    mask = np.tri(10, dtype=bool) if is_cured else np.tri(10, dtype=bool).T

    class Net(nn.Module):
        @nn.compact
        def __call__(self, xs: Array) -> Array:
            places = self.param("places", nn.initializers.normal(1.0), (10, 32))
            z = linen_parts.Block()(nn.Embed(8, 32)(xs) + places, mask, -1e9)
            return nn.Dense(8)(nn.LayerNorm()(z))

    given = (xs, ys), Net(), optax.adam(1e-2), of_letters
    return classified(*given, batch=64, steps=200, every=10)
