"""Training of the user's own networks, of JAX and of PyTorch, with one step size and one seed.

`network, its parameters, data, rule -> steps on batches -> loss and accuracy over all the data`

A network of JAX is trained as `jaxnn` has taken it apart, which computes what the user's function
does: equal layers are one loop, so that a program does not grow with the depth.
"""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import PyTree

from experiments.learning.descent import rows_of_steps
from jaxnn.arrays.compiled import compiled
from jaxnn.chain.apply import applied
from jaxnn.chain.chain import Chain
from jaxnn.chain.parameter_handover import is_array
from jaxnn.curing.jax_training import Scaled, rows_of
from jaxnn.pytorch.module import prediction_of
from jaxnn.train.descent import begun, descended
from jaxnn.train.steps import Optimizer
from jaxnn.train.torch_descent import copies, differentiated, loss_and_output
from jaxnn.train.trainee import Trainee, loss_through

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
    """A chain. One program serves all parameters, step sizes and seeds."""

    net: Chain

    def trained(self, params: PyTree, rate: float, seed: int) -> Curve:
        """Train from some parameters."""
        params = jax.tree.map(lambda v: jnp.asarray(v) if is_array(v) else v, params)
        trainee = Trainee(self.net, params, self.data.loss, self.data.ys)
        optimizer = RULES[self.rule.optimizer]
        state, scores = begun(trainee, optimizer), []
        for rows in [None, *self._rows(seed)]:
            if rows is not None:
                state = _steps(trainee, optimizer, np.float32(rate), state, rows, self.data.xs)
            scores.append(_score(trainee, self.data.accuracy, state[0], self.data.xs))
        loss, accuracy = zip(*scores, strict=True)
        known = None if accuracy[0] is None else list(map(float, accuracy))
        return Curve(self.rule.points, list(map(float, loss)), known)


RULES = {name: getattr(optax, name)(1.0) for name in OPTIMIZERS}  # times a step size


@compiled
def _steps(
    trainee: Trainee,
    optimizer: Optimizer,
    rate: np.float32,
    state: tuple[PyTree, PyTree],
    rows: np.ndarray,
    xs: PyTree,
) -> tuple[Any, Any]:
    """Return floats and the optimiser's state after a step on each batch."""
    scaled = Scaled(optimizer, jnp.asarray(rate))

    def step(state: tuple[PyTree, PyTree], chosen: Any) -> Any:
        batch, labels = rows_of((xs, trainee.ys), chosen)
        return descended(trainee._replace(ys=labels), scaled, *state, batch)[:2], None

    moved: tuple[Any, Any] = lax.scan(step, state, rows)[0]
    return moved


@compiled
def _score(trainee: Trainee, accuracy: Loss, floats: PyTree, xs: PyTree) -> tuple[Any, Any]:
    """Return the loss over all the data, and the accuracy, None of others than classes."""
    value, (output, _) = loss_through(trainee, xs)(floats)
    return value, accuracy(output, trainee.ys)


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
        rule = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[self.rule.optimizer]
        with torch.random.fork_rng(), torch.enable_grad():
            torch.manual_seed(seed)
            module, optimizer = copies(self.module, partial(rule, lr=rate))
            module.load_state_dict(params)
            learned, scores = [*module.parameters()], [self._scores(module)]
            for part in self._rows(seed):
                for rows in part:
                    xs, ys = (taken(v, torch.tensor(rows)) for v in self.data[:2])
                    differentiated(module, learned, xs, ys, self.data.loss)
                    optimizer.step()
                scores.append(self._scores(module))
        loss, accuracy = zip(*scores, strict=True)
        return Curve(self.rule.points, list(loss), None if accuracy[0] is None else list(accuracy))

    def _scores(self, module: "torch.nn.Module") -> tuple[float, float | None]:
        xs, ys = self.data.xs, self.data.ys
        value, output = loss_and_output(module, xs, ys, self.data.loss)
        loss, first = float(value.detach()), prediction_of(output)
        is_classes = getattr(ys, "dtype", None) == sys.modules["torch"].long
        if not is_classes or first.shape[:-1] != ys.shape:
            return loss, None
        return loss, float((first.argmax(-1) == ys).double().mean())


def taken(tree: PyTree, rows: "torch.Tensor | slice | None") -> Any:
    """Return the rows of tensors in tuples and dicts; what is no tensor stays as it is."""
    if isinstance(tree, dict):
        return {name: taken(v, rows) for name, v in tree.items()}
    if isinstance(tree, tuple | list):
        return type(tree)(taken(v, rows) for v in tree)
    return tree[rows] if hasattr(tree, "index_select") else tree
