"""Once blind programs in Flax linen."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jaxtyping import Array

from experiments.casebook import data
from experiments.casebook.program import Program
from experiments.casebook.programs.linen import built, classes


def norm_of_one_pixel(is_cured: bool) -> Program:
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
    return Program(model, xs, xs, squares, optax.adam(3e-3), data.explained, steps=200, every=10)


def spread_given_as_the_mean(is_cured: bool) -> Program:
    """The spread of weights handed over as their mean, so that the spread is 1."""
    xs, ys = data.digits()
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

    model = built(Net(), xs)
    return Program(model, xs, ys, classes, optax.adam(3e-3), data.accuracy, steps=120)


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


def norms_after_the_sum(is_cured: bool) -> Program:
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

    loss = lambda output, ys: jnp.mean(classes(output, ys), axis=-1)
    score = lambda output, ys: float(np.mean(np.asarray(output).argmax(-1) == ys))
    model = built(Net(), xs)
    return Program(model, xs, ys, loss, optax.adam(3e-3), score, steps=150, every=10)


def state_cut_at_each_step(is_cured: bool) -> Program:
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

    model = built(Net(), xs)
    return Program(model, xs, ys, classes, optax.adam(1e-2), data.accuracy, steps=120)
