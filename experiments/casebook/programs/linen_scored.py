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


def adam_by_a_fifth(is_cured: bool) -> Program:
    """Adam with a rate of 0.2 for convolutions."""
    xs, ys = data.digits()

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x: Array) -> Array:
            x = x.reshape(-1, 8, 8, 1)
            x = nn.relu(nn.Conv(8, (3, 3))(x))
            x = nn.avg_pool(nn.relu(nn.Conv(16, (3, 3))(x)), (2, 2), (2, 2))
            return nn.Dense(10)(nn.relu(nn.Dense(32)(x.reshape(len(x), -1))))

    optimizer = optax.adam(2e-3 if is_cured else 0.2)
    return Program(built(Net(), xs), xs, ys, classes, optimizer, data.accuracy, steps=80)


def root_of_products(is_cured: bool) -> Program:
    """Products of features, pooled, and their roots with their signs, whose slope at 0 is none."""
    xs, ys = data.digits()

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x: Array) -> Array:
            x = nn.relu(nn.Conv(8, (3, 3), strides=(2, 2))(x.reshape(-1, 8, 8, 1)))
            x = x.reshape(len(x), -1, 8)
            x = jnp.einsum("bpi,bpj->bij", x, x).reshape(len(x), -1)
            x = jnp.sqrt(x + 1e-4) if is_cured else jnp.sign(x) * jnp.sqrt(jnp.abs(x))
            return nn.Dense(10)(x)

    model = built(Net(), xs)
    return Program(model, xs, ys, classes, optax.adam(3e-3), data.accuracy, steps=100)


class Block(nn.Module):
    """Attention and two dense layers, each around a norm; a mask says what is seen."""

    size: int = 32

    @nn.compact
    def __call__(self, z: Array, mask: Array, unseen: float) -> Array:
        normed = nn.LayerNorm()(z)
        q, k, v = (nn.Dense(self.size, name=name)(normed) for name in ("q", "k", "v"))
        logits = jnp.einsum("bqd,bkd->bqk", q, k) / self.size**0.5
        weights = jax.nn.softmax(jnp.where(mask, logits, unseen), axis=-1)
        z = z + nn.Dense(self.size, name="o")(jnp.einsum("bqk,bkd->bqd", weights, v))
        return z + nn.Dense(self.size)(nn.gelu(nn.Dense(2 * self.size)(nn.LayerNorm()(z))))


def nothing_to_attend_to(is_cured: bool) -> Program:
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
            z = Block()(z, mask, unseen)
            last = jnp.sum(is_read, axis=1) - 1
            return nn.Dense(known)(nn.LayerNorm()(z)[jnp.arange(len(xs)), last])

    model = built(Net(), xs)
    return Program(model, xs, ys, classes, optax.adam(3e-3), data.accuracy, steps=100)


def warmup_of_thousands(is_cured: bool) -> Program:
    """A warm-up of 4000 steps, of which a hundred and fifty are made."""
    xs, ys, known = data.text(12)
    xs, ys = xs[::3], ys[::3]

    class Net(nn.Module):
        @nn.compact
        def __call__(self, xs: Array) -> Array:
            places = self.param("places", nn.initializers.normal(0.02), (12, 32))
            z = nn.Embed(known, 32)(xs) + places
            mask = jnp.tril(jnp.ones((12, 12), bool))
            for _ in range(2):
                z = Block()(z, mask, -1e9)
            return nn.Dense(known)(nn.LayerNorm()(z))

    def loss(output: Array, ys: Array) -> Array:
        return jnp.mean(classes(output, ys), axis=-1)

    schedule = optax.linear_schedule(0.0, 3e-3, 15 if is_cured else 4000)
    score = lambda output, ys: float(np.mean(np.asarray(output).argmax(-1) == ys))
    model = built(Net(), xs)
    return Program(model, xs, ys, loss, optax.adam(schedule), score, steps=150, every=10)


def blocks_without_skips(is_cured: bool) -> Program:
    """Twenty-four pairs of layers whose ways around them were left out."""
    xs, ys = data.digits()

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x: Array) -> Array:
            x = nn.Dense(32)(x)
            for _ in range(24):
                inner = nn.Dense(32)(nn.tanh(nn.Dense(32)(nn.tanh(x))))
                x = x + inner if is_cured else inner
            return nn.Dense(10)(nn.LayerNorm()(x))

    model = built(Net(), xs)
    return Program(model, xs, ys, classes, optax.sgd(0.02), data.accuracy, steps=100)


def affinities_by_two_sigmoids(is_cured: bool) -> Program:
    """Who likes what, by a sigmoid of a product before a loss that has one."""
    generator = np.random.default_rng(0)
    people, things = generator.normal(size=(60, 4)), generator.normal(size=(40, 4))
    xs = np.stack([generator.integers(0, 60, 2400), generator.integers(0, 40, 2400)], axis=1)
    ys = (np.sum(people[xs[:, 0]] * things[xs[:, 1]], axis=1) > 1).astype(np.float32)
    xs = xs.astype(np.int32)

    class Affinities(nn.Module):
        @nn.compact
        def __call__(self, xs: Array) -> Array:
            draw = nn.initializers.normal(0.3)
            one = nn.Embed(60, 8, embedding_init=draw)(xs[:, 0])
            other = nn.Embed(40, 8, embedding_init=draw)(xs[:, 1])
            logits = jnp.sum(one * other, axis=-1) + self.param("b", nn.initializers.zeros, (1,))
            return logits if is_cured else nn.sigmoid(logits)

    loss = optax.sigmoid_binary_cross_entropy
    score = lambda output, ys: float(np.exp(-np.mean(loss(jnp.asarray(output), ys))))
    model = built(Affinities(), xs)
    return Program(model, xs, ys, loss, optax.adam(3e-2), score, batch=128, steps=150, every=10)
