"""A rehearsal in JAX: arrays do not change, so the copy is what the steps return."""

from collections.abc import Callable, Collection
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, PyTree

from ..chain.parameter_handover import is_array
from ..evidence.jax_trial import JaxTrial
from ..jaxpr.program import TracedFunction, called
from ..train.descent import ADAM, begun, descended
from ..train.recorder import Options
from ..train.steps import Optimizer, check_optimizer
from ..train.trainee import Trainee, trainee_of, whole_of
from ..train.watch import Watch
from .course import Batch


class JaxTrainee:
    """A network of JAX in a rehearsal; options are those of `jaxnn.as_network` and the loss."""

    def __init__(
        self,
        model: Any,
        optimizer: Optimizer | None,
        batch: Batch,
        every: int,
        intended: Collection[str] = (),
        **options: Any,
    ):
        self._trainee = trainee_of(model, *batch, **options)
        self._leaves, self._structure = jax.tree.flatten(self._trainee.tree)
        self._arrays = [v for v in self._leaves if is_array(v)]
        self.optimizer = check_optimizer(ADAM if optimizer is None else optimizer)
        self._programs: dict[Any, Any] = {}
        self._floats, self._state = self._run(self._begun, self._arrays)
        net, loss = self._trainee.net, self._trainee.loss
        self.watch = Watch(net, loss, Options(every, intended=intended))

    def step(self, number: int, batch: Batch) -> float:
        """Take one step of the optimiser, watched; return the loss before it."""
        before = self._floats
        (self._floats, self._state), value = self._run(
            self._stepped, self._arrays, before, self._state, *batch
        )
        loss = float(value)
        params, after = (whole_of(v, self._trainee.tree) for v in (before, self._floats))
        with self.watch.guarded("measurement", number):
            self.watch.look(number, params, *batch, after, loss)
        return loss

    def _run(self, f: Callable[..., Any], *given: PyTree) -> Any:
        """Call a method, known by its program: an equal rehearsal compiles nothing."""
        types = ((np.shape(v), getattr(v, "dtype", type(v))) for v in jax.tree.leaves(given))
        key = f.__name__, *types
        if key not in self._programs:
            self._programs[key] = TracedFunction.of(f, *given)
        return called(self._programs[key], *given)

    def trial(self, batch: Batch) -> JaxTrial:
        """Return the network as it is now, with a batch to make experiments with."""
        net, tree, loss, _ = self._trainee
        return JaxTrial(net, net.params(whole_of(self._floats, tree)), *batch, loss)

    def _with(self, arrays: list[Array], ys: PyTree = None) -> Trainee:
        """Return the network with these arrays, and with labels."""
        given = iter(arrays)
        leaves = [next(given) if is_array(v) else v for v in self._leaves]
        tree = jax.tree.unflatten(self._structure, leaves)
        return self._trainee._replace(tree=tree, ys=ys)

    def _begun(self, arrays: list[Array]) -> Any:
        return begun(self._with(arrays), self.optimizer)

    def _stepped(
        self, arrays: list[Array], floats: PyTree, state: PyTree, xs: PyTree, ys: PyTree
    ) -> tuple[Any, Array]:
        """Return floats and the optimiser's state after a step, and the loss before it."""
        after, state, value, _ = descended(
            self._with(arrays, ys), self.optimizer, floats, state, xs
        )
        return (after, state), value
