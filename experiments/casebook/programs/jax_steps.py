"""Programs in plain JAX whose optimiser, loop or number formats are at fault."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from experiments.casebook import data
from experiments.casebook.program import CaseProgram
from experiments.casebook.programs import jax_digits as digits
from experiments.casebook.programs.jax_parts import binary, classes, classified, dense, mlp, squares


def rate_far_too_large(is_cured: bool) -> CaseProgram:
    """Steps that throw the weights about."""
    rate = 0.05 if is_cured else 10.0
    return classified(data.digits(), (mlp, dense((64, 32, 32, 10))), optax.sgd(rate))


def parabola_at_a_large_rate(is_cured: bool) -> CaseProgram:
    """Targets of up to 125 with a step for targets of size 1."""
    xs = np.linspace(0, 5, 50, dtype=np.float32)[:, None]
    ys = 5 * xs[:, 0] ** 2 + np.random.default_rng(0).normal(size=50).astype(np.float32)
    model = (mlp, dense((1, 16, 1)))
    rate = 1e-3 if is_cured else 0.1
    return CaseProgram(model, xs, ys, squares, optax.sgd(rate), data.explained, steps=200, every=10)


def eight_points(is_cured: bool) -> CaseProgram:
    """Eight points of a line between -8 and 8."""
    xs = np.array([-8, -6, -4, -2, 2, 4, 6, 8], np.float32)[:, None]
    ys = 2 * xs[:, 0] + 1
    rate = 0.01 if is_cured else 0.1
    return CaseProgram([(mlp, dense((1, 1)))], xs, ys, squares, optax.sgd(rate), data.explained)


def xor_by_absolute_errors(is_cured: bool) -> CaseProgram:
    """Three sigmoids that do not get away from 1/2 by steps of 0.05."""
    xs, ys = data.xor(4)

    def absolute(output: Array, ys: Array) -> Array:
        return jnp.abs(output[:, 0] - ys)

    model = (
        lambda params, xs: jax.nn.sigmoid(mlp(params, xs, jax.nn.sigmoid)),
        dense((2, 3, 1), scale=0.5),
    )
    loss, optimizer = (squares, optax.adam(0.1)) if is_cured else (absolute, optax.sgd(0.05))
    return CaseProgram(model, xs, ys, loss, optimizer, data.accuracy, steps=300, every=20)


def decay_in_the_loss(is_cured: bool) -> CaseProgram:
    """A penalty on weights that outweighs the loss."""
    xs, ys = data.tumours()
    strength = 1e-4 if is_cured else 2.0
    optimizer = optax.chain(optax.add_decayed_weights(strength), optax.sgd(0.1))
    model = (lambda params, xs: jax.nn.sigmoid(mlp(params, xs)), dense((30, 16, 1)))
    return CaseProgram(model, xs, ys, binary, optimizer, data.accuracy)


def schedule_of_an_epoch(is_cured: bool) -> CaseProgram:
    """A cosine that ends after ten steps of a training of a hundred."""
    schedule = optax.cosine_decay_schedule(0.05, 100 if is_cured else 10)
    return classified(
        data.digits(), (mlp, dense((64, 32, 10))), optax.sgd(schedule), steps=100, every=5
    )


def updates_that_wait(is_cured: bool) -> CaseProgram:
    """Gradients gathered over a thousand steps, of which there are sixty."""
    optimizer = optax.MultiSteps(optax.adam(3e-3), 1 if is_cured else 1000)
    return classified(data.digits(), (mlp, dense((64, 32, 10))), optimizer)


def bfloat16_parameters(is_cured: bool) -> CaseProgram:
    """Parameters stored in bfloat16, and steps below their rounding."""
    xs, ys = data.digits()
    dtype = jnp.float32 if is_cured else jnp.bfloat16
    params = jax.tree.map(lambda v: v.astype(dtype), dense((64, 32, 10), scale=2.0))

    def loss(output: Array, ys: Array) -> Array:
        return classes(output.astype(jnp.float32), ys)

    model = (lambda params, xs: mlp(params, xs.astype(dtype)), params)
    return CaseProgram(model, xs, ys, loss, optax.sgd(1e-2), data.accuracy, steps=150, every=5)


def learning_rate_times_30(is_cured: bool) -> CaseProgram:
    """Adam with 0.06."""
    return digits.training(
        (digits.mlp, digits.start_of_mlp()), digits.ADAM if is_cured else optax.adam(6e-2)
    )


def growing_logits(is_cured: bool) -> CaseProgram:
    """Adam with steps that are ten times larger for queries and keys."""

    def change(path: Any, update: Array, array: Array) -> Array:
        return 10 * update if path[-1].key in "qk" else update

    return digits.training(
        (digits.attention, digits.start_of_attention()),
        digits.ADAM if is_cured else digits.changed(change),
    )


def float16_underflow(is_cured: bool) -> CaseProgram:
    """A loss of a millionth in float16, to which Adam is indifferent."""
    weight = 1e-6
    small = lambda output, ys: weight * digits.loss(output, ys)
    network, optimizer = digits.mlp if is_cured else digits.half_mlp, optax.adam(2e-3, eps=1e-16)
    return digits.training((network, digits.start_of_mlp()), optimizer, loss=small)


def dying_branch(is_cured: bool) -> CaseProgram:
    """A block whose weights lose a tenth in each step."""
    block = jax.tree_util.SequenceKey(2)

    def change(path: Any, update: Array, array: Array) -> Array:
        return -0.1 * array if block in path else update

    return digits.training(
        (digits.residual, digits.start_of_residual()),
        digits.ADAM if is_cured else digits.changed(change),
    )


def decay_times_1000(is_cured: bool) -> CaseProgram:
    """AdamW with a decay of 10."""
    decay = 1e-2 if is_cured else 10.0
    return digits.training(
        (digits.residual, digits.start_of_residual()), optax.adamw(2e-3, weight_decay=decay)
    )


def clip_that_always_clips(is_cured: bool) -> CaseProgram:
    """Gradients clipped to a norm of 0.01."""
    clip = optax.clip_by_global_norm(1.0 if is_cured else 1e-2)
    return digits.training((digits.tanh_mlp, digits.start_of_mlp()), optax.chain(clip, digits.SGD))


def masked_is_not_frozen(is_cured: bool) -> CaseProgram:
    """A mask of the optimiser, outside of which gradients are added as they are."""
    params = dense((64, 32, 32, 10))
    is_frozen = {name: name == "layer1" for name in params}
    is_trained = {name: not frozen for name, frozen in is_frozen.items()}
    optimizer = optax.masked(optax.sgd(0.1), is_trained)
    if is_cured:
        optimizer = optax.chain(optimizer, optax.masked(optax.set_to_zero(), is_frozen))
    return classified(data.digits(), (mlp, params), optimizer, steps=100)


def chain_without_a_minus(is_cured: bool) -> CaseProgram:
    """A chain of Adam's parts whose last one lacks its minus."""
    sign = -1 if is_cured else 1
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0), optax.scale_by_adam(), optax.scale(sign * 3e-3)
    )
    model = (lambda params, xs: mlp(params, xs, jax.nn.gelu), dense((64, 64, 32, 10)))
    return classified(data.digits(), model, optimizer, steps=80)


def counted_in_epochs(is_cured: bool) -> CaseProgram:
    """A rate that starts anew, a tenth lower, after as many steps as there are epochs."""
    period = 160 if is_cured else 2

    def rate(step: Array) -> Array:
        since = jnp.mod(step, period) / period
        return 0.02 * 0.9 ** (step // period) * (1 + jnp.cos(jnp.pi * since)) / 2

    optimizer = optax.sgd(rate, momentum=0.9)
    model = (lambda params, xs: mlp(params, xs, jax.nn.silu), dense((64, 48, 48, 10)))
    return classified(data.digits(), model, optimizer, steps=160, every=10)


def decay_behind_the_step(is_cured: bool) -> CaseProgram:
    """Decay added behind the step, which is downhill by then: the weights grow by it."""
    decay = optax.add_decayed_weights(0.03)
    step = optax.scale_by_learning_rate(3e-3)
    last = (decay, step) if is_cured else (step, decay)
    model = (lambda params, xs: mlp(params, xs, jnp.tanh), dense((64, 48, 48, 10)))
    optimizer = optax.chain(optax.scale_by_adam(), *last)
    return classified(data.digits(), model, optimizer, steps=150)


def updates_clipped_behind_adam(is_cured: bool) -> CaseProgram:
    """A clip behind Adam, which makes its steps as small as was meant for a gradient."""
    adam, clip = optax.adam(3e-3), optax.clip_by_global_norm(1e-3)
    optimizer = optax.chain(clip, adam) if is_cured else optax.chain(adam, clip)
    model = (lambda params, xs: mlp(params, xs, jax.nn.gelu), dense((64, 48, 48, 10)))
    return classified(data.digits(), model, optimizer, steps=100)
