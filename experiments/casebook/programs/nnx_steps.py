"""Programs in Flax NNX whose optimiser, loop or number formats are at fault."""

import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array

from experiments.casebook import data
from experiments.casebook.program import CaseProgram
from experiments.casebook.programs.nnx_parts import Pictures, Reading, classes, classified, mlp


def adam_by_one(is_cured: bool) -> CaseProgram:
    """Adam with a learning rate of 1."""
    rate = 3e-3 if is_cured else 1.0
    return classified(data.digits(), mlp((64, 32, 10)), optax.adam(rate))


def descent_instead_of_adam(is_cured: bool) -> CaseProgram:
    """Plain descent with the rate that is Adam's by default."""
    optimizer = optax.adam(1e-3) if is_cured else optax.sgd(1e-3)
    return classified(data.digits(), mlp((64, 64, 10)), optimizer)


def steps_of_minus_a_thousand(is_cured: bool) -> CaseProgram:
    """Adam with a learning rate of -1000."""
    rngs = nnx.Rngs(0)
    model = nnx.Sequential(
        lambda x: x.reshape(-1, 8, 8, 1),
        nnx.Conv(1, 8, (3, 3), rngs=rngs),
        nnx.relu,
        lambda x: x.reshape(len(x), -1),
        nnx.Linear(512, 10, rngs=rngs),
    )
    rate = 1e-3 if is_cured else -1e3
    return classified(data.images(), model, optax.adam(rate))


def momentum_of_99(is_cured: bool) -> CaseProgram:
    """A momentum of 0.99 at a rate that is good for 0.9."""
    optimizer = optax.sgd(0.2, momentum=0.9 if is_cured else 0.99)
    return classified(data.digits(), Reading(nnx.Rngs(0)), optimizer, steps=120, every=10)


def epsilon_below_float16(is_cured: bool) -> CaseProgram:
    """Norms in float16 whose epsilon is 0 there, of columns of pixels that may be empty."""
    xs, ys = data.digits(is_scaled=False)
    xs = np.swapaxes(xs.reshape(-1, 8, 8), 1, 2).astype(np.float16) / 16
    half, rngs = jnp.float16, nnx.Rngs(0)
    epsilon = 1e-3 if is_cured else 1e-12

    class Columns(nnx.Module):
        def __init__(self) -> None:
            self.scale = nnx.Param(jnp.ones(8))
            self.first = nnx.Linear(64, 32, dtype=half, rngs=rngs)
            self.last = nnx.Linear(32, 10, dtype=half, rngs=rngs)

        def __call__(self, xs: Array) -> Array:
            centred = xs - jnp.mean(xs, axis=-1, keepdims=True)
            variance = jnp.mean(centred**2, axis=-1, keepdims=True) + half(epsilon)
            normed = self.scale[...].astype(half) * centred / jnp.sqrt(variance)
            return self.last(nnx.relu(self.first(normed.reshape(len(xs), 64))))

    loss = lambda output, ys: classes(output.astype(jnp.float32), ys)
    return CaseProgram(Columns(), xs, ys, loss, optax.adam(3e-3), data.accuracy, steps=80)


def lion_at_the_rate_of_adam(is_cured: bool) -> CaseProgram:
    """Lion, each of whose steps is as large as it can be, at the rate that Adam had."""
    images, _ = data.digits()
    noise = np.random.default_rng(0).normal(size=images.shape).astype(np.float32)
    xs = images + 0.5 * noise
    squares = lambda output, ys: jnp.mean((output - ys) ** 2, axis=-1)
    model = mlp((64, 96, 96, 64), nnx.silu)
    optimizer = optax.lion(1e-3 if is_cured else 3e-2)
    return CaseProgram(model, xs, images, squares, optimizer, data.explained, steps=200, every=10)


def no_warmup_for_large_batches(is_cured: bool) -> CaseProgram:
    """A rate for batches of 256 from the first step on."""
    rate = optax.linear_schedule(0.0, 0.4, 60) if is_cured else 0.4
    return classified(
        data.digits(),
        mlp((64, 48, 48, 48, 10)),
        optax.sgd(rate, momentum=0.9),
        batch=256,
        steps=160,
    )


def lars_at_the_rate_of_adam(is_cured: bool) -> CaseProgram:
    """LARS, whose steps are a thousandth of the weights times the rate, with 0.001."""
    optimizer = optax.lars(3.0 if is_cured else 1e-3)
    return classified(
        data.digits(), Pictures(nnx.Rngs(0)), optimizer, batch=128, steps=200, every=10
    )
