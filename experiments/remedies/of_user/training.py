"""Training of the user's own networks, of JAX and of PyTorch, with one step size and one seed.

`training of jaxnn.curing, data, rule -> parts of its steps -> loss and accuracy over all the data`
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PyTree

from experiments.learning.descent import rows_of_steps
from jaxnn.curing.training import Trainable
from jaxnn.pytorch.call import prediction_of

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


def named_of_torch(output: PyTree, ys: PyTree) -> float | None:
    """Return the fraction of labels that the largest output of a module names, as `named`."""
    first, is_classes = (
        prediction_of(output),
        getattr(ys, "dtype", None) == sys.modules["torch"].long,
    )
    if not is_classes or first.shape[:-1] != ys.shape:
        return None
    return float((first.argmax(-1) == ys).double().mean())


class Data(NamedTuple):
    """Examples, what the loss takes with them, and the loss: (output, ys) -> (B,) or a number.

    size: the number of examples; 0 if xs is measured as one.
    accuracy: (output, ys) -> a number, or None of others than classes.
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


def trained(training: Trainable, data: Data, rule: Rule, rate: float, seed: int) -> Curve:
    """Train a network.

    Args:
        training: of the network, by an optimiser of `optimizer_of`.
        data: whose loss it has.
        rule: of the steps.
        rate: the step size.
        seed: draws the batches.
    """
    if data.size:
        rows = rows_of_steps(data.size, seed, rule.batch, rule.steps)
    else:
        rows = np.zeros((rule.steps, 0), np.int32)
    parts = [rows[:0], *np.split(rows, rule.points[1:-1])]
    losses, scores = [], []
    for course, output in training.on(data.xs, data.ys).courses(rate, parts, seed):
        losses.append(course.end)
        scores.append(data.accuracy(output, data.ys))
    accuracy = None if scores[0] is None else list(map(float, scores))
    return Curve(rule.points, losses, accuracy)


def optimizer_of(rule: Rule, of_torch: bool) -> Any:
    """Return the optimiser of a rule with a step size of 1, of PyTorch a function of parameters."""
    if not of_torch:
        return RULES[rule.optimizer]
    torch = sys.modules["torch"]
    return partial({"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[rule.optimizer], lr=1.0)


RULES = {name: getattr(optax, name)(1.0) for name in OPTIMIZERS}


def taken(tree: PyTree, rows: slice | None) -> Any:
    """Return the rows of tensors in tuples and dicts; what is no tensor stays as it is."""
    if isinstance(tree, dict):
        return {name: taken(v, rows) for name, v in tree.items()}
    if isinstance(tree, tuple | list):
        return type(tree)(taken(v, rows) for v in tree)
    return tree[rows] if hasattr(tree, "index_select") else tree
