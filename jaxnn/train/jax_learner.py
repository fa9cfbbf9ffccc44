"""Learners of JAX: arrays do not change, so a copy is what the steps return.

A course is one program for all numbers, step sizes and orders: what only changes numbers goes
through the program of the unchanged network; another structure has one of its own. On a CPU courses
one after the other are faster than `jax.vmap` over them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial, wraps
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree

from ..arrays.compiled import (
    KEPT,
    is_light,
    light_options,
    many_runs,
    transfers,
)
from ..arrays.rows import is_float
from ..arrays.spread import on_mesh_of
from ..chain.parameter_handover import Static, is_array
from ..evidence.jax_trial import JaxTrial
from ..jaxpr.numpy_programs import turns_of
from ..jaxpr.program import TracedFunction
from ..models import Program
from ..texts import told
from ..watching.recorder import WatchOptions
from ..watching.step_program import StepArrays
from ..watching.watch import Watch
from .descent import ADAM, Trainee, begun, descended, learned, loss_through, trainee_of, whole_of
from .learner import Batch, Known, Learner
from .steps import Optimizer, check_optimizer, strongly_typed


class JaxLearner(Learner):
    """A network of JAX in training."""

    def __init__(self, program: Program, times: float = 1.0, known: Known | None = None):
        super().__init__(program, times, known)
        self._trainee = trainee_of(program)
        self._leaves, self._structure = jax.tree.flatten(self._trainee.tree)
        self._arrays = [v for v in self._leaves if is_array(v)]
        self.optimizer = check_optimizer(ADAM if program.optimizer is None else program.optimizer)
        pieces = program.model, program.network, program.loss, self.optimizer, program.step
        self._programs = self.known.setdefault((*map(Static, pieces),), {})

    # Step by step

    def watched(self, every: int, intended: Collection[str]) -> None:
        net, loss = self._trainee.net, self._trainee.loss
        self.watch = Watch(net, loss, WatchOptions(every, intended=intended))

    def step(self, batch: Batch) -> float:
        before, number = self._now[0], self.taken
        times = np.float32(self.times)
        self._now, value, _ = self._run(self._stepped, self._arrays, *self._now, *batch, times)
        loss = float(value)
        if self.watch is not None:
            params, after = (whole_of(v, self._trainee.tree) for v in (before, self._now[0]))
            with self.watch.guarded("measurement", number):
                self.watch.look(number, StepArrays(params, *batch, after), loss)
        self.taken += 1
        return loss

    def trial(self, batch: Batch) -> JaxTrial:
        net, tree, loss, _ = self._trainee
        params = net.params(whole_of(self._now[0], tree))
        return JaxTrial(Program((net, params), *batch, loss))

    def output(self, batch: Batch) -> np.ndarray | None:
        # By the program of the steps, so that it takes no other one.
        if self.program.step is not None:
            return super().output(batch)
        zero = np.float32(0)
        *_, output = self._run(self._stepped, self._arrays, *self._now, *batch, zero)
        leaves = jax.tree.leaves(output)
        is_known = len(leaves) == 1 and is_float(leaves[0])
        return np.asarray(leaves[0]) if is_known else None

    @cached_property
    def _now(self) -> tuple[PyTree, PyTree]:
        """The learned floats, and the optimiser's state."""
        floats, state = self._run(self._begun, self._arrays)
        return floats, state

    def _run(self, f: Callable[..., Any], *given: PyTree) -> Any:
        """Call a method, known by its program: an equal learner compiles nothing."""
        types = ((np.shape(v), getattr(v, "dtype", type(v))) for v in jax.tree.leaves(given[3:]))
        key = f.__name__, *types  # those of arrays, floats and states stay
        if key not in self._programs:
            leaves = jax.tree.leaves(given)
            self._programs[key] = _jitted(TracedFunction.of(f, *given), is_light(leaves))
        with transfers():
            return self._programs[key](*given)

    def _with(self, arrays: list[Array], ys: PyTree = None) -> Trainee:
        """Return the network with these arrays, and with labels."""
        given = iter(arrays)
        leaves = [next(given) if is_array(v) else v for v in self._leaves]
        tree = jax.tree.unflatten(self._structure, leaves)
        return self._trainee._replace(tree=tree, ys=ys)

    def _begun(self, arrays: list[Array]) -> Any:
        return begun(self._with(arrays), self.optimizer)

    def _stepped(
        self,
        arrays: list[Array],
        floats: PyTree,
        state: PyTree,
        xs: PyTree,
        ys: PyTree,
        times: Array,
    ) -> tuple[Any, Array, Any]:
        """Return floats and the optimiser's state after a step; loss and output before it."""
        trainee = self._with(arrays, ys)
        if (step := self.program.step) is not None:
            made = step(whole_of(floats, trainee.tree), state, xs, ys)
            if not isinstance(made, tuple) or len(made) != 3:
                raise TypeError(
                    "step: expected step(params, state, xs, ys) to return (params, state, loss), "
                    f"got {told(made)}"
                )
            params, state, value = made
            after = jax.tree.map(
                lambda p, q: (p + times * (q - p)).astype(p.dtype), floats, learned(params)
            )
            return (after, strongly_typed(state)), jnp.mean(value), ()
        scaled = ScaledOptimizer(self.optimizer, jnp.asarray(times))
        *moved, value, (output, _) = descended(trainee, scaled, floats, state, xs)
        return tuple(moved), value, output

    # Its examples

    def _lengths(self) -> set[int]:
        data = jax.tree.leaves((self.program.xs, self._trainee.ys))
        is_whole = self._trainee.net.whole
        return {0} if is_whole else {jnp.shape(v)[0] if jnp.ndim(v) else 0 for v in data}

    def _try(self, rows: Int[np.ndarray, " b"]) -> None:
        xs, ys = jax.tree.map(lambda v: v[rows], (self.program.xs, self._trainee.ys))
        mean_loss = loss_through(self._trainee._replace(ys=ys), xs)
        jax.eval_shape(mean_loss, learned(self._trainee.tree))


@dataclass(frozen=True)
class OtherOptimizer(ABC):
    """An optimiser with other updates, of the arguments that it takes itself."""

    optimizer: Optimizer

    def init(self, params: PyTree) -> Any:
        """Return its state."""
        return self.optimizer.init(params)

    @property
    def update(self) -> Callable[..., tuple[Any, Any]]:
        """Its updates."""
        return wraps(self.optimizer.update)(partial(self.updated))

    @abstractmethod
    def updated(self, gradient: PyTree, state: PyTree, *args: Any, **extra: Any) -> tuple[Any, Any]:
        """Return updates and its next state."""


@dataclass(frozen=True)
class ScaledOptimizer(OtherOptimizer):
    """An optimiser whose steps are so many times as large."""

    times: Array

    def updated(self, gradient: PyTree, state: PyTree, *args: Any, **extra: Any) -> tuple[Any, Any]:
        updates, state = self.optimizer.update(gradient, state, *args, **extra)
        return jax.tree.map(lambda u: u * self.times.astype(u.dtype), updates), state


@lru_cache(maxsize=KEPT)
def _jitted(f: Callable[..., Any], is_light: bool) -> Any:
    """Return a function as a program, for few runs if it is light."""

    def program(*given: PyTree) -> Any:
        with on_mesh_of(given), many_runs():
            return f(*given)

    options = None
    if is_light and isinstance(f, TracedFunction):
        closed = f.program.closed
        options = light_options(closed.in_avals, turns_of(closed.jaxpr))
    return jax.jit(program, compiler_options=options)
