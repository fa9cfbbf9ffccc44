"""Tools of changes: what JAX and torch do each in their own way; the losses are written once."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from .score import CLASSES, YES_NO, Aim
from .setup import Setup

Loss = Callable[[Any, Any], Any]


class Tools(ABC):
    """Operations on arrays of a framework, and changes of its networks and optimisers."""

    turns_update: str  # code that has an optimiser step the other way

    # Arrays

    @abstractmethod
    def prediction(self, output: Any) -> Any:
        """Return the array that is the output."""

    @abstractmethod
    def like(self, array: Any, numbers: np.ndarray) -> Any:
        """Return numbers as an array of the kind of another one."""

    @abstractmethod
    def numbers(self, v: Any) -> np.ndarray:
        """Return an array in NumPy's memory."""

    @abstractmethod
    def log_softmax(self, v: Any, axis: int) -> Any:
        """Return v - log Σ e^v."""

    @abstractmethod
    def softplus(self, v: Any) -> Any:
        """Return log(1 + e^v)."""

    @abstractmethod
    def picked(self, v: Any, classes: Any, axis: int) -> Any:
        """Return the entries of the classes along an axis."""

    @abstractmethod
    def as_classes(self, v: Any) -> Any:
        """Return labels as numbers of classes, (B,)."""

    @abstractmethod
    def ranks(self, v: Any, kinds: np.ndarray) -> Any:
        """Return of each label its place among all that there are."""

    def rows(self, v: Any, rows: np.ndarray) -> Any:
        """Return some rows of an array."""
        return v[rows]

    @abstractmethod
    def cheaply(self, setup: Setup) -> AbstractContextManager[None]:
        """Have a small network trained for few steps as fast as can be."""

    def seed(self, number: int) -> None:  # noqa: B027
        """Set the random state that a training draws of; JAX has none."""

    def is_float(self, v: Any) -> bool:
        """Tell an array of floats."""
        return "float" in str(getattr(v, "dtype", ""))

    def usual_loss(self, aim: Aim) -> Loss:
        """Return the loss that such labels usually take, on logits or numbers, their mean."""
        if aim.axis is not None and aim.kind == CLASSES:
            return self.cross_entropy(aim.axis)

        def loss(output: Any, ys: Any) -> Any:
            z = self.prediction(output)
            y = self.like(z, ys) if isinstance(ys, np.ndarray) else ys
            z = z.reshape(tuple(y.shape))
            if aim.kind == YES_NO:
                return (self.softplus(z) - z * y).mean()
            return ((z - y) ** 2).mean()

        return loss

    def cross_entropy(self, axis: int) -> Loss:
        """Return the cross-entropy of classes, of their numbers or of shares."""

        def loss(output: Any, ys: Any) -> Any:
            logs = self.log_softmax(self.prediction(output), axis)
            if tuple(ys.shape) == tuple(logs.shape):
                return -(logs * ys).sum(axis).mean()
            rest = tuple(n for i, n in enumerate(logs.shape) if i != axis)
            return -self.picked(logs, ys.reshape(rest), axis).mean()

        return loss

    # Programs

    @abstractmethod
    def headless(self, setup: Setup) -> Setup | None:
        """Return it without the activation after the last layer; None if there is none."""

    def optimizer_of(self, setup: Setup, model: Any) -> Any:
        """Return the optimiser for another structure with parameters of the same names."""
        return setup.program.optimizer

    @abstractmethod
    def with_adam(self, setup: Setup) -> Setup | None:
        """Return it with Adam of a step size of .001."""

    @abstractmethod
    def step_size(self, setup: Setup) -> float | None:
        """Return the step size of the optimiser, if it has one."""

    @abstractmethod
    def without_decay(self, setup: Setup) -> Setup | None:
        """Return it with an optimiser that does not shrink weights."""

    @abstractmethod
    def all_learning(self, setup: Setup) -> Setup | None:
        """Return it with all parameters learned, by one optimiser; None if they are."""

    @abstractmethod
    def drawn(self, setup: Setup, variance: float = 1.0) -> Setup | None:
        """Return it with weights of N(0, variance / number of inputs), and biases of 0."""

    @abstractmethod
    def goes_uphill(self, setup: Setup) -> bool:
        """Tell whether its optimiser adds to parameters what has the sign of their gradient."""

    def with_zero_grad(self, setup: Setup) -> Setup | None:
        """Return it with gradients of zero before a step of the user's own."""
        return None

    def without_clip(self, setup: Setup) -> Setup | None:
        """Return it with a step of the user's own in which clipping does nothing."""
        return None

    def without_dropout(self, setup: Setup) -> Setup | None:
        """Return it without dropout; None where it has none, or has it of a key."""
        return None

    def in_mode(self, setup: Setup, training: bool) -> Setup | None:
        """Return it in training or evaluation mode; None of a network that has none."""
        return None

    def with_own_copies(self, setup: Setup) -> Setup | None:
        """Return it with a copy for each place of a module that is in several."""
        return None

    def with_class_each(self, setup: Setup, classes: int) -> Setup | None:
        """Return it with a unit for each class in the last layer."""
        return None
