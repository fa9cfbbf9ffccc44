"""Programs: a model, data, a loss and an optimiser, with the loop that trains them.

Whoever writes a program gives these as they would be given to `jaxnn.diagnose` and to a training;
what is peculiar to its fault, such as a step without `zero_grad`, is a `train` of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PyTree

Batch = tuple[Any, Any]  # of xs and ys
Labels = Callable[[int, Any], Any]  # of a step


class Trained(NamedTuple):
    """The result of a training: the loss of each step, and the score of the network on all data."""

    losses: list[float]
    score: float


@dataclass(frozen=True)
class CaseProgram:
    """A program that trains a network.

    model: as `jaxnn.diagnose` takes it: a pair (f, params), a module of any framework, or a list of
        a single layer.
    xs, ys: all examples, arrays of the framework.
    loss: (output, ys) -> losses of the examples, or one number.
    optimizer: of optax; of PyTorch a function of the module.
    score: (output, ys) -> how well it does on all data, the larger the better: no program is
        judged by it, it shows that the ill one does worse than the cured one.
    batch: examples of a step.
    steps: of the training.
    every: steps from one measurement to the next.
    each: as for `jaxnn.diagnose`.
    is_shuffled: whether a batch is drawn at random, or is the next one in order.
    untrained: collections of params, by their key, that the optimiser is not given, such as running
        statistics.
    labels: what a step makes of its labels.
    train: the loop.
    seed: draws the batches.
    """

    model: Any
    xs: Any
    ys: Any
    loss: Callable[[Any, Any], Any]
    optimizer: Any
    score: Callable[[Any, Any], float]
    batch: int = 32
    steps: int = 60
    every: int = 5
    each: str = "batch"
    is_shuffled: bool = True
    untrained: tuple[str, ...] = ()
    labels: Labels = lambda step, ys: ys
    train: Callable[["CaseProgram", Any], Trained] = field(default=lambda *given: trained(*given))
    seed: int = 0

    @property
    def first(self) -> Batch:
        """The examples that are looked at before training: the first 256 as the loop takes them."""
        return self._rows(0, min(256, len(self.xs)))

    def batch_of(self, step: int) -> Batch:
        """Return the examples of a step."""
        xs, ys = self._rows(step, min(self.batch, len(self.xs)))
        return xs, self.labels(step, ys)

    def _rows(self, step: int, count: int) -> Batch:
        if self.is_shuffled:
            rows = np.random.default_rng((self.seed, step)).choice(
                len(self.xs), count, replace=False
            )
        else:
            rows = (step * count + np.arange(count)) % len(self.xs)
        return self.xs[rows], self.ys[rows]


def trained(program: CaseProgram, watch: Any) -> Trained:
    """Train as people do in the framework of the model, and watch every step."""
    is_of_torch = hasattr(program.model, "register_forward_hook")
    return (trained_in_torch if is_of_torch else trained_in_jax)(program, watch)


def trained_in_torch(program: CaseProgram, watch: Any) -> Trained:
    """Train a module of PyTorch by the loop of its tutorials."""
    module, losses = program.model, []
    optimizer = program.optimizer(module)
    for step in range(program.steps):
        xs, ys = program.batch_of(step)
        optimizer.zero_grad()
        value = program.loss(module(xs), ys).mean()
        value.backward()
        with watch(step, xs, ys, value=value.detach()):
            optimizer.step()
        losses.append(value.item())
    return Trained(losses, scored(program))


def scored(program: CaseProgram) -> float:
    """Return the score of a module of PyTorch on all data, in eval mode."""
    output = program.model.eval()(program.xs)
    return float(program.score(output.detach(), program.ys))


def trained_in_jax(program: CaseProgram, watch: Any) -> Trained:
    """Train a pair (f, params) or a module by one compiled step with an optimiser of optax."""
    network, params = runnable(program.model, program.each)
    optimizer, losses = program.optimizer, []
    learned, fixed = divided(params, program.untrained)

    @jax.jit
    def one_step(step: Any, learned: PyTree, state: Any, xs: Any, ys: Any) -> tuple[Any, Any, Any]:
        def mean_loss(learned: PyTree) -> Any:
            return jnp.mean(program.loss(network(joined(learned, fixed), xs), ys))

        value, gradient = jax.value_and_grad(mean_loss)(learned)
        updates, state = optimizer.update(gradient, state, learned)
        after = optax.apply_updates(learned, updates)
        watch(step, joined(learned, fixed), xs, ys, after=joined(after, fixed), value=value)
        return after, state, value

    state = optimizer.init(learned)
    for step in range(program.steps):
        learned, state, value = one_step(step, learned, state, *program.batch_of(step))
        losses.append(float(value))
    output = jax.jit(lambda learned: network(joined(learned, fixed), program.xs))(learned)
    return Trained(losses, float(program.score(output, program.ys)))


def runnable(model: Any, each: str = "batch") -> tuple[Callable[[PyTree, Any], Any], PyTree]:
    """Return the function of (params, xs) that a model of JAX is, and its params."""
    if isinstance(model, tuple):
        function, params = model
    elif isinstance(model, list):  # of one layer
        function, params = (lambda layers, xs: layers[0][0](layers[0][1], xs)), model
    else:
        function, params = (lambda module, xs: module(xs)), model
    if each == "example":
        return jax.vmap(function, (None, 0)), params
    return function, params


def divided(params: PyTree, untrained: tuple[str, ...] = ()) -> tuple[PyTree, PyTree]:
    """Return the floats that an optimiser is given, and all else, each with None for the other."""

    def is_learned(path: tuple[Any, ...], leaf: Any) -> bool:
        is_left_out = bool(path) and getattr(path[0], "key", None) in untrained
        return jnp.issubdtype(getattr(leaf, "dtype", bool), jnp.floating) and not is_left_out

    learned = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf if is_learned(path, leaf) else None, params
    )
    fixed = jax.tree_util.tree_map_with_path(
        lambda path, leaf: None if is_learned(path, leaf) else leaf, params
    )
    return learned, fixed


def joined(learned: PyTree, fixed: PyTree) -> PyTree:
    """Return what `divided` has divided."""
    return jax.tree.map(
        lambda one, other: other if one is None else one,
        learned,
        fixed,
        is_leaf=lambda v: v is None,
    )
