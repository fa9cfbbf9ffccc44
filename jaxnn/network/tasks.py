"""Tasks: the meaning of the last layer, given by the output activation g, the loss and Δz[L].

| task       | ŷ = g(z)                  | loss of one example               | Δz[L] |
|------------|---------------------------|-----------------------------------|-------|
| regression | z                         | ½ Σ_k (ŷ_k - y_k)²                | ŷ - y |
| binary     | 1 / (1 + e^-z)            | -Σ_k y_k ln ŷ_k + (1-y_k) ln(1-ŷ_k) | ŷ - y |
| multiclass | e^(z_k) / Σ_j e^(z_j)     | -Σ_k y_k ln ŷ_k                   | ŷ - y |

One convention, the ½ and a sum over outputs, makes Δz[L] = ŷ - y hold for all three. Every loss is
computed from the logits z, not from ŷ: ln ŷ is -inf once ŷ has rounded to 0, the loss is finite.

Index legend: z, y and ŷ are rows, (B, n[L]); a loss has one entry a row, (B,).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Float

from ..arrays.compiled import Numbers, as_array
from ..texts import counted, told
from .activations import identity

Rows = Float[Array, "B n"]

CLASSES_BY_NUMBER = "; np.unique(y, return_inverse=True)[1] gives classes numbers from 0"


@dataclass(frozen=True)
class Task:
    """A task: the output activation g, the loss and its derivatives at the last layer.

    Args:
        name: regression, binary or multiclass.
        output: z -> ŷ = g(z).
        loss: (z, y) -> the loss of each row.
        delta_z: (z, y) -> Δz[L] = ŷ - y.
        delta_a: (z, y) -> Δa[L] = ∂loss/∂ŷ, the first step of the article's derivation.
        delta_y: (z, y) -> ∂loss/∂y, for differentiating with respect to the labels.
    """

    name: str
    output: Callable[[Rows], Rows]
    loss: Callable[[Rows, Rows], Float[Array, " B"]]
    delta_z: Callable[[Rows, Rows], Rows]
    delta_a: Callable[[Rows, Rows], Rows]
    delta_y: Callable[[Rows, Rows], Rows]


# Named functions, no lambdas: a Task is sent to other processes by name.

# Regression: identity and half the squared error.


def _z_minus_y(z: Array, y: Array) -> Array:
    return z - y


def _y_minus_z(z: Array, y: Array) -> Array:
    return y - z


def _half_squared_error(z: Array, y: Array) -> Array:
    return 0.5 * jnp.sum(jnp.square(z - y), axis=-1)


# Binary: sigmoid and cross-entropy. -ln ŷ = softplus(-z) and -ln(1-ŷ) = softplus(z), so a row's
# loss is Σ softplus(z) - y z; the `where`s keep 0 · inf and inf - inf away from labels 0 and 1.


def _binary_cross_entropy(z: Array, y: Array) -> Array:
    z_wrong = jnp.where(y == 1, -z, z)
    correction = jnp.where((y == 0) | (y == 1), 0, y * z)
    return jnp.sum(jnp.logaddexp(z_wrong, 0) - correction, axis=-1)


def _minus_z(z: Array, y: Array) -> Array:
    return -z


def _binary_delta_z(z: Array, y: Array) -> Array:
    # ŷ - y = (1 - y) σ(z) - y σ(-z): the difference itself would lose σ(-z) where ŷ rounds to 1.
    return (1 - y) * lax.logistic(z) - y * lax.logistic(-z)


def _binary_delta_a(z: Array, y: Array) -> Array:
    # -y/ŷ + (1-y)/(1-ŷ), with 1 - ŷ = σ(-z).
    return _ratio(1 - y, lax.logistic(-z)) - _ratio(y, lax.logistic(z))


# Multiclass: softmax, over the last axis, and cross-entropy.


def _cross_entropy(z: Array, y: Array) -> Array:
    log_p = jax.nn.log_softmax(z, axis=-1)
    return -jnp.sum(jnp.where(y == 0, 0, y * log_p), axis=-1)


def _softmax_minus_y(z: Array, y: Array) -> Array:
    return jax.nn.softmax(z) - y


def _multiclass_delta_a(z: Array, y: Array) -> Array:
    return -_ratio(y, jax.nn.softmax(z))


def _minus_log_softmax(z: Array, y: Array) -> Array:
    return -jax.nn.log_softmax(z, axis=-1)


def _ratio(numerator: Array, denominator: Array) -> Array:
    """The quotient; 0 if the numerator is 0, since a label without mass has no derivative."""
    return jnp.where(numerator == 0, 0, numerator / denominator)


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("regression", identity, _half_squared_error, _z_minus_y, _z_minus_y, _y_minus_z),
        Task(
            "binary",
            lax.logistic,
            _binary_cross_entropy,
            _binary_delta_z,
            _binary_delta_a,
            _minus_z,
        ),
        Task(
            "multiclass",
            jax.nn.softmax,
            _cross_entropy,
            _softmax_minus_y,
            _multiclass_delta_a,
            _minus_log_softmax,
        ),
    )
}


def find_task(task: str | Task) -> Task:
    """Return the task of a name; a Task is returned as it is.

    Raises:
        ValueError: the name is not in `TASKS`; the message lists those that are.
        TypeError: it is neither a name nor a Task.

    Example:
        >>> import jax, jaxnn
        >>> jaxnn.network.find_task("binary").output(jax.numpy.zeros((1, 1)))
        Array([[0.5]], dtype=float32)
    """
    if isinstance(task, Task):
        return task
    if not isinstance(task, str):
        raise TypeError(f"task: expected one of {', '.join(TASKS)}, got {told(task)}")
    if task not in TASKS:
        raise ValueError(f"task: there is no {task!r}; choose one of {', '.join(TASKS)}")
    return TASKS[task]


def check_labels(task: Task, y: ArrayLike, batch: tuple[int, ...], n_out: int) -> Numbers:
    """Return labels as an array, in any of the forms that the task accepts.

    Shapes and dtypes are always checked, values only outside `jit`; see `label_rows` for the rest.
    """
    y = as_array("y", y, CLASSES_BY_NUMBER)
    full = (*batch, n_out)
    classes = _are_classes(task, y, batch)
    scalar = task.name != "multiclass" and n_out == 1 and y.shape == batch
    if y.shape != full and not classes and not scalar:
        also = {"multiclass": f" (probabilities) or {batch} (classes)"}.get(
            task.name, f" or {batch}" if n_out == 1 else ""
        )
        raise ValueError(
            f"y: expected shape {full}{also} for a {task.name} network with {n_out} "
            f"output{'s' if n_out > 1 else ''}, got {y.shape}"
        )
    if classes and not jnp.issubdtype(y.dtype, jnp.integer):
        raise TypeError(f"y: expected integer classes 0 … {n_out - 1}, got {y.dtype}; cast them")
    if not isinstance(y, jax.core.Tracer):
        _check_values(task.name, np.asarray(y, np.int64 if classes else np.float64), n_out)
    return y


def _are_classes(task: Task, y: Numbers, batch: tuple[int, ...]) -> bool:
    return task.name == "multiclass" and y.shape == batch


def label_rows(
    task: Task, y: ArrayLike, batch: tuple[int, ...], n_out: int, dtype: DTypeLike
) -> Array:
    """Check labels and return them as rows of floats, batch + (n[L],).

    Under `jit`, where values cannot be looked at, labels that no loss is defined for become nan,
    and so do the loss and the gradient: a class outside 0 … n[L]-1, binary labels outside [0, 1],
    probabilities below 0 or whose sum is not 1.
    """
    y = check_labels(task, y, batch, n_out)
    if _are_classes(task, y, batch):
        rows = jax.nn.one_hot(y, n_out, dtype=dtype)
        return jnp.where(((y >= 0) & (y < n_out))[..., None], rows, jnp.nan)
    rows = jnp.asarray(y).astype(dtype).reshape(*batch, n_out)
    if task.name == "binary":
        return jnp.where((rows >= 0) & (rows <= 1), rows, jnp.nan)
    if task.name == "multiclass":
        return jnp.where(_are_probabilities(jnp.asarray(y)), rows, jnp.nan)
    return rows


def _are_probabilities(y: Any) -> Any:
    """Tell entries in [0, 1] of rows that sum to 1, as far as rounding to bfloat16 lets them."""
    rounding = 1e-2
    total = (y if y.dtype.itemsize > 2 else y.astype("float32")).sum(axis=-1, keepdims=True)
    return (y >= 0) & (y <= 1) & (abs(total - 1) <= rounding)


def _check_values(task: str, y: np.ndarray, n_out: int) -> None:
    bad, expected = ~np.isfinite(y), "finite numbers"
    if task == "binary":
        bad, expected = (y != 0) & (y != 1), "labels 0 or 1"
    elif task == "multiclass" and y.dtype == np.int64:
        bad, expected = (y < 0) | (y >= n_out), f"classes 0 … {n_out - 1}"
    elif task == "multiclass":
        bad, expected = ~_are_probabilities(y), "probabilities that sum to 1"
    if np.any(bad):
        raise ValueError(
            f"y: expected {expected} for a {task} network, got {y[bad][0]:g} "
            f"({np.count_nonzero(bad)} wrong of {counted(y.size, 'entry')})"
        )
