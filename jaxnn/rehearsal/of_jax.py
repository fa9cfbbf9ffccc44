"""A rehearsal in JAX: arrays do not change, so the copy is what the steps return."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from ..arrays.compiled import compiled
from ..arrays.rows import is_float
from ..evidence.jax_trial import JaxTrial
from ..flow.record.loss import mean_of
from ..train.descent import ADAM, begun, descended
from ..train.first_batch import OF_BATCH
from ..train.steps import Optimizer, check_optimizer
from ..train.trainee import Trainee, trainee_of, whole_of
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
        self._floats, self._state = _start(self._trainee, self.optimizer)
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


_start = compiled(begun)


@compiled
def _step(
    trainee: Trainee, optimizer: Optimizer, floats: PyTree, opt_state: PyTree, xs: PyTree
) -> tuple[Any, Any, Array, Array]:
    """Return floats and the optimiser's state after a step, and the losses before it."""
    floats, opt_state, value, output = descended(trainee, optimizer, floats, opt_state, xs)
    return floats, opt_state, value, _of_constant(trainee, output)


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
