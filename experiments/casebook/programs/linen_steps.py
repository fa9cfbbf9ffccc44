"""Programs in Flax linen whose optimiser, loop or number formats are at fault."""

import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array

from experiments.casebook import data
from experiments.casebook.program import CaseProgram
from experiments.casebook.programs.linen_parts import (
    Block,
    classified,
    mlp,
    of_letters,
)


def rate_of_a_millionth(is_cured: bool) -> CaseProgram:
    """Steps far too small to arrive."""
    rate = 3e-3 if is_cured else 1e-6
    return classified(data.digits(), mlp((32, 10)), optax.adam(rate))


def adam_by_a_fifth(is_cured: bool) -> CaseProgram:
    """Adam with a rate of 0.2 for convolutions."""

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x: Array) -> Array:
            x = x.reshape(-1, 8, 8, 1)
            x = nn.relu(nn.Conv(8, (3, 3))(x))
            x = nn.avg_pool(nn.relu(nn.Conv(16, (3, 3))(x)), (2, 2), (2, 2))
            return nn.Dense(10)(nn.relu(nn.Dense(32)(x.reshape(len(x), -1))))

    optimizer = optax.adam(2e-3 if is_cured else 0.2)
    return classified(data.digits(), Net(), optimizer, steps=80)


def warmup_of_thousands(is_cured: bool) -> CaseProgram:
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

    schedule = optax.linear_schedule(0.0, 3e-3, 15 if is_cured else 4000)
    return classified((xs, ys), Net(), optax.adam(schedule), of_letters, steps=150, every=10)


def tagger_at_a_half(is_cured: bool) -> CaseProgram:
    """Adam with 0.5 for a recurrent network that tags letters."""
    letters, following, known = data.text(10)
    xs, ys = letters[::4], following[::4]

    class Net(nn.Module):
        @nn.compact
        def __call__(self, xs: Array) -> Array:
            z = nn.RNN(nn.OptimizedLSTMCell(32))(nn.Embed(known, 32)(xs))
            return nn.Dense(known)(z)

    optimizer = optax.adam(1e-2 if is_cured else 0.5)
    given = (xs, ys), Net(), optimizer, of_letters
    return classified(*given, batch=64, steps=150, every=10)
