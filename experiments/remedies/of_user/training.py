"""Training of the user's own networks, of JAX and of PyTorch, with one step size and one seed.

`network, its parameters, data, rule -> steps on batches -> loss and accuracy over all the data`

A network of JAX is trained as `jaxnn` has taken it apart, which computes what the user's function
does: equal layers are one loop, so that a program does not grow with the depth.
"""

import copy
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import PyTree

from experiments.learning.descent import rows_of_steps
from jaxnn.arrays.rows import can_be_learned
from jaxnn.chain.apply import applied
from jaxnn.chain.chain import Chain
from jaxnn.chain.parameter_handover import is_array
from jaxnn.pytorch.module import for_criterion, prediction_of

if TYPE_CHECKING:
    import torch

POINTS = 20  # of a curve, after its first
OPTIMIZERS = ("sgd", "adam")

Loss = Callable[[Any, Any], Any]


class Rule(NamedTuple):
    """The rule of the steps: the optimiser's name, examples in a batch, and how many steps."""

    optimizer: str
    batch: int
    steps: int

    @property
    def points(self) -> list[int]:
        """The steps after which the network is evaluated, from 0."""
        return sorted({round(v) for v in np.linspace(0, self.steps, POINTS + 1)})


def named(output: PyTree, ys: PyTree) -> Any:
    """Return the fraction of labels that the largest output names; None of others than classes."""
    shape = getattr(ys, "shape", None)
    is_classes = shape and jnp.issubdtype(ys.dtype, jnp.integer)
    if not is_classes or jnp.shape(output)[:-1] != shape or jnp.shape(output)[-1] < 2:
        return None
    return jnp.mean(jnp.argmax(output, axis=-1) == ys)


class Data(NamedTuple):
    """Examples, what the loss takes with them, and the loss: (output, ys) -> (B,) or a number.

    size: the number of examples; 0 if xs is measured as one.
    accuracy: (output, ys) -> a number, or None of others than classes; of JAX.
    """

    xs: Any
    ys: Any
    loss: Loss
    size: int
    accuracy: Loss = named


class Curve(NamedTuple):
    """Loss and accuracy over all the data after some steps; no accuracy without classes."""

    steps: list[int]
    loss: list[float]
    accuracy: list[float] | None


@dataclass(frozen=True, eq=False)
class Training(ABC):
    """A network with its data, to be trained."""

    data: Data
    rule: Rule

    @abstractmethod
    def trained(self, params: PyTree, rate: float, seed: int) -> Curve:
        """Train from some parameters.

        Args:
            params: in the user's pytree, or a state dict.
            rate: the step size.
            seed: draws the batches.
        """

    def _rows(self, seed: int) -> list[np.ndarray]:
        """Return the rows of each step, (steps, batch), in parts between the points."""
        if self.data.size:
            rows = rows_of_steps(self.data.size, seed, self.rule.batch, self.rule.steps)
        else:
            rows = np.zeros((self.rule.steps, 0), np.int32)
        return np.split(rows, self.rule.points[1:-1])


@dataclass(frozen=True, eq=False)
class OfJax(Training):
    """A chain; parameters are the user's pytree, all of the form of `like`.

    One program serves all parameters, step sizes and seeds.
    """

    net: Chain
    like: Any

    def trained(self, params: PyTree, rate: float, seed: int) -> Curve:
        """Train from some parameters."""
        leaves = jax.tree.leaves(params)
        arrays, fixed = ([jnp.asarray(leaves[i]) for i in which] for which in self._arrays)
        steps, score = self._programs
        state, given = self._rule(rate).init(arrays), (fixed, self.data.xs, self.data.ys)
        scores = [score(arrays, *given)]
        for rows in self._rows(seed):
            arrays, state = steps(arrays, state, rows, np.float32(rate), *given)
            scores.append(score(arrays, *given))
        loss, accuracy = zip(*scores, strict=True)
        known = None if accuracy[0] is None else list(map(float, accuracy))
        return Curve(self.rule.points, list(map(float, loss)), known)

    def _rule(self, rate: jax.Array | float) -> optax.GradientTransformation:
        return getattr(optax, self.rule.optimizer)(rate)

    @cached_property
    def _arrays(self) -> tuple[list[int], list[int]]:
        """The numbers of the leaves that are trained, and of the other arrays."""
        arrays = {i: v for i, v in enumerate(jax.tree.leaves(self.like)) if is_array(v)}
        learned = [i for i, v in arrays.items() if can_be_learned(v)]
        return learned, [i for i in arrays if i not in set(learned)]

    @cached_property
    def _programs(self) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """Compile some steps, and the scores."""
        leaves, structure = jax.tree.flatten(self.like)
        numbers = [*self._arrays[0], *self._arrays[1]]

        def output(arrays: list[Any], fixed: list[Any], xs: PyTree) -> Any:
            filled = dict(enumerate(leaves)) | dict(zip(numbers, [*arrays, *fixed], strict=True))
            return output_of(self.net, jax.tree.unflatten(structure, filled.values()), xs)

        def loss_of(arrays: list[Any], fixed: list[Any], xs: PyTree, ys: PyTree) -> Any:
            return jnp.mean(self.data.loss(output(arrays, fixed, xs), ys))

        def batch(rows: jax.typing.ArrayLike, *trees: PyTree) -> Any:
            return jax.tree.map(lambda v: v[rows], trees) if self.data.size else trees

        @jax.jit
        def steps(
            arrays: PyTree,
            state: optax.OptState,
            rows: jax.typing.ArrayLike,
            rate: jax.Array | float,
            fixed: PyTree,
            xs: PyTree,
            ys: PyTree,
        ) -> Any:
            def step(carry: PyTree, rows: Any) -> Any:
                arrays, state = carry
                gradient = jax.grad(loss_of)(arrays, fixed, *batch(rows, xs, ys))
                updates, state = self._rule(rate).update(gradient, state, arrays)
                return (optax.apply_updates(arrays, updates), state), None

            return lax.scan(step, (arrays, state), rows)[0]

        @jax.jit
        def score(arrays: PyTree, fixed: PyTree, xs: PyTree, ys: PyTree) -> Any:
            out = output(arrays, fixed, xs)
            return jnp.mean(self.data.loss(out, ys)), self.data.accuracy(out, ys)

        return steps, score


def output_of(net: Chain, params: PyTree, xs: PyTree) -> Any:
    """Return the output of a chain, differentiable."""
    return applied(net, net.params(params), xs)[0]


@dataclass(frozen=True, eq=False)
class OfTorch(Training):
    """A module of PyTorch, which torch trains, in the mode that it is in."""

    module: Any

    def trained(self, params: PyTree, rate: float, seed: int) -> Curve:
        """Train a copy of the module from a state dict."""
        torch = sys.modules["torch"]
        module = copy.deepcopy(self.module)
        module.load_state_dict(params)
        named = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}
        optimizer = named[self.rule.optimizer](module.parameters(), lr=rate)
        with torch.random.fork_rng(), torch.enable_grad():
            torch.manual_seed(seed)
            scores = [self._scores(module)]
            for part in self._rows(seed):
                for rows in part:
                    optimizer.zero_grad()
                    xs, ys = (taken(v, torch.tensor(rows)) for v in self.data[:2])
                    self._loss(called(module, xs), ys).backward()
                    optimizer.step()
                scores.append(self._scores(module))
        loss, accuracy = zip(*scores, strict=True)
        return Curve(self.rule.points, list(loss), None if accuracy[0] is None else list(accuracy))

    def _loss(self, output: PyTree, ys: PyTree) -> Any:
        return self.data.loss(for_criterion(self.data.loss, output), ys).mean()

    def _scores(self, module: "torch.nn.Module") -> tuple[float, float | None]:
        output, ys = called(module, self.data.xs), self.data.ys
        loss, first = float(self._loss(output, ys).detach()), prediction_of(output)
        is_classes = getattr(ys, "dtype", None) == sys.modules["torch"].long
        if not is_classes or first.shape[:-1] != ys.shape:
            return loss, None
        return loss, float((first.argmax(-1) == ys).double().mean())


def called(module: "torch.nn.Module", inputs: PyTree) -> Any:
    """Return the output of a module of a tensor, a tuple of arguments, or a dict of them."""
    if isinstance(inputs, dict):
        return module(**inputs)
    return module(*inputs) if isinstance(inputs, tuple | list) else module(inputs)


def taken(tree: PyTree, rows: "torch.Tensor | slice | None") -> Any:
    """Return the rows of tensors in tuples and dicts; what is no tensor stays as it is."""
    if isinstance(tree, dict):
        return {name: taken(v, rows) for name, v in tree.items()}
    if isinstance(tree, tuple | list):
        return type(tree)(taken(v, rows) for v in tree)
    return tree[rows] if hasattr(tree, "index_select") else tree
