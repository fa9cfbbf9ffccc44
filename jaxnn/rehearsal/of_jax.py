"""A rehearsal in JAX: arrays do not change, so the copy is what the steps return."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from ..arrays.compiled import compiled
from ..arrays.rows import at_least_float32, is_float
from ..evidence.jax_trial import JaxTrial
from ..flow.record.loss import mean_of
from ..train.first_batch import OF_BATCH
from ..train.steps import Optimizer, check_optimizer, moved_by, strongly_typed
from ..train.trainee import Trainee, learned, loss_through, trainee_of, whole_of
from ..train.watch import Watch
from ..train.watch import watch as watch_of
from .course import Batch, Losses


class JaxTrainee:
    """A network of JAX in a rehearsal; options are those of `jaxnn.as_network` and the loss."""

    def __init__(
        self, model: Any, optimizer: Optimizer | None, batch: Batch, every: int, **options: Any
    ):
        self._trainee = trainee_of(model, *batch, **options)
        self.optimizer = check_optimizer(ADAM if optimizer is None else optimizer)
        floats = learned(self._trainee.tree)
        self._floats, self._state = _start(self.optimizer, floats)
        loss = self._trainee.loss
        self.watch: Watch = watch_of(self._trainee.net, loss=loss, every=every, ignore=OF_BATCH)

    def step(self, number: int, batch: Batch) -> Losses:
        """Take one step of the optimiser, watched; return the losses before it."""
        xs, ys = batch
        trainee = self._trainee._replace(ys=ys)
        before = self._floats
        self._floats, self._state, value, constant = _step(
            trainee, self.optimizer, before, self._state, xs
        )
        params, after = (whole_of(floats, trainee.tree) for floats in (before, self._floats))
        self.watch(number, params, xs, ys, after=after, value=value)
        return Losses(float(value), float(constant))

    def trial(self, batch: Batch) -> JaxTrial:
        """Return the network as it is now, with a batch to make experiments with."""
        net, tree, loss, _ = self._trainee
        return JaxTrial(net, net.params(whole_of(self._floats, tree)), *batch, loss)


@compiled
def _start(optimizer: Optimizer, floats: PyTree) -> Any:
    floats = strongly_typed(floats)
    return floats, strongly_typed(jax.tree.map(jnp.asarray, optimizer.init(floats)))


@compiled
def _step(
    trainee: Trainee, optimizer: Optimizer, floats: PyTree, opt_state: PyTree, xs: PyTree
) -> tuple[Any, Any, Array, Array]:
    """Return floats and the optimiser's state after a step, and the losses before it."""
    mean_loss = loss_through(trainee, xs)
    (value, (output, _)), gradient = jax.value_and_grad(mean_loss, has_aux=True)(floats)
    moved = moved_by(
        optimizer, gradient, opt_state, floats, value, lambda floats: mean_loss(floats)[0]
    )
    return *moved, value, _of_constant(trainee, output)


def _of_constant(trainee: Trainee, output: PyTree) -> Array:
    """Return the loss of the mean output, given to each example; nan without several examples."""
    floats = [v for v in jax.tree.leaves(output) if is_float(v)]
    counts = {v.shape[0] if v.ndim else 0 for v in floats}
    if trainee.net.whole or trainee.ys is None or len(counts) != 1 or min(counts) < 2:
        return jnp.array(np.nan)
    mean = jax.tree.map(lambda v: _mean(v) if is_float(v) else v, output)
    return mean_of(trainee.loss, mean, trainee.ys, *counts)


def _mean(v: Array) -> Array:
    return jnp.broadcast_to(jnp.mean(v, axis=0, keepdims=True), v.shape)


# Adam, where no optimiser is given: optax need not be installed.

RATE, BETA1, BETA2, EPSILON = 1e-3, 0.9, 0.999, 1e-8


class _Adam:
    """m ← β₁ m + (1 - β₁) Δ, v ← β₂ v + (1 - β₂) Δ², u = -η m̂ / (√v̂ + ε).

    Source: Kingma and Ba 2015, arXiv:1412.6980.
    """

    @staticmethod
    def init(params: PyTree) -> Any:
        """Return m, v and the number of steps."""
        m = jax.tree.map(lambda p: at_least_float32(jnp.zeros_like(p)), params)
        return m, jax.tree.map(jnp.abs, m), jnp.zeros((), jnp.int32)

    @staticmethod
    def update(gradient: PyTree, state: Any, params: PyTree = None) -> tuple[Any, Any]:
        """Return u and the next state."""
        m, v, t = state
        m = jax.tree.map(lambda m, g: _moved(m, at_least_float32(g), BETA1), m, gradient)
        v = jax.tree.map(
            lambda v, g: _moved(v, jnp.abs(at_least_float32(g)) ** 2, BETA2), v, gradient
        )

        def change(m: Array, v: Array, g: Array) -> Array:
            bias1, bias2 = (1 - beta ** (t + 1).astype(v.dtype) for beta in (BETA1, BETA2))
            u: Array = -RATE * (m / bias1) / (jnp.sqrt(v / bias2) + EPSILON)
            return u.astype(g.dtype)

        return jax.tree.map(change, m, v, gradient), (m, v, t + 1)


def _moved(mean: Array, value: Array, beta: float) -> Array:
    return beta * mean + (1 - beta) * value


ADAM = _Adam()
