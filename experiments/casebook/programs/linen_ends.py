"""Programs in Flax linen whose last activation, loss and labels do not fit each other."""

import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jaxtyping import Array

from experiments.casebook import data
from experiments.casebook.program import CaseProgram
from experiments.casebook.programs.linen_parts import built, classified, mlp


def relu_on_the_logits(is_cured: bool) -> CaseProgram:
    """A relu after the last layer, before the softmax of the loss."""

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x: Array) -> Array:
            x = x.reshape(-1, 8, 8, 1)
            x = nn.relu(nn.Conv(8, (3, 3))(x)).reshape(len(x), -1)
            x = nn.Dense(10, bias_init=nn.initializers.constant(-0.5))(x)
            return x if is_cured else nn.relu(x)

    return classified(data.digits(), Net(), optax.adam(3e-3))


def relu_that_ends_a_classifier(is_cured: bool) -> CaseProgram:
    """Relu after every layer, the last one too."""
    return classified(
        data.wine(), mlp((32, 16, 3), end=None if is_cured else nn.relu), optax.sgd(0.1)
    )


def softmax_twice(is_cured: bool) -> CaseProgram:
    """A softmax before a loss that takes logits."""
    return classified(
        data.digits(), mlp((32, 10), end=None if is_cured else nn.softmax), optax.sgd(0.1)
    )


def affinities_by_two_sigmoids(is_cured: bool) -> CaseProgram:
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
    return CaseProgram(model, xs, ys, loss, optax.adam(3e-2), score, batch=128, steps=150, every=10)
