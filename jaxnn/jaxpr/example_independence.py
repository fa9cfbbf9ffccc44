"""A proof, from the program of a reverse rule, that it keeps examples apart.

    Δ of what comes out, (B, …)  ->  a linear program  ->  Δ of what goes in, (B, …)

Of each value of the program it is known that it is zero, or that it does not depend on Δ, or else
along which axis its examples lie: entry j of it is then a linear function of example j's Δ alone.
What JAX makes of a layer to go back through it consists of few operations. Where it has others, as
in a loop or in a rule of the user's own, nothing is known here, and it has to be tried.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array

from ..arrays.rows import is_float
from .program import Flat, Step


class _Inputs(NamedTuple):
    """Facts about the inputs of a step.

    axes: of those that depend on Δ the axis of the examples; None of others.
    zero: whether they are zero.
    shapes: of all.
    params: of the operation.
    """

    axes: list[int | None]
    zero: list[bool]
    shapes: list[tuple[int, ...]]
    params: dict[str, Any]

    @property
    def only(self) -> int | None:
        """The axis of the first input, if no other one depends on Δ."""
        return self.axes[0] if all(axis is None for axis in self.axes[1:]) else None

    @property
    def common(self) -> int | None:
        """The axis of all inputs, if those without one are zero."""
        pairs = zip(self.axes, self.zero, strict=True)
        axes = {axis for axis, is_zero in pairs if not is_zero}
        return axes.pop() if len(axes) == 1 else None


def keeps_apart(pull: Callable[[list[Array]], list[Array]], delta: list[Any]) -> bool:
    """Tell whether each example's Δ is known to be linear in that of the same example alone.

    Args:
        pull: Δ of what comes out -> Δ of what goes in.
        delta: arrays or types of the former, the examples first.

    Returns:
        False also where the program has operations of which nothing is known.
    """
    flat = Flat(jax.make_jaxpr(pull)(delta))
    axes = dict.fromkeys(flat.inputs, 0)
    zeros = {v for v, constant in flat.constants.items() if _is_zero(constant)}
    for step in flat.steps:
        if axes.keys().isdisjoint(step.inputs):
            zeros.update(step.outputs if zeros.issuperset(step.inputs) and _keeps(step) else ())
            continue
        rule = RULES.get(step.eqn.primitive.name)
        axis = None if rule is None else rule(_inputs(step, flat, axes, zeros))
        if axis is None:
            return False
        axes.update(dict.fromkeys(step.outputs, axis))
    return all(v in zeros or axes.get(v) == 0 for v in flat.outputs)


def _is_zero(constant: Any) -> bool:
    is_number = not isinstance(constant, jax.core.Tracer) and is_float(constant)
    return is_number and np.size(constant) == 1 and not np.any(constant)


def _keeps(step: Step) -> bool:
    """Tell steps that make zeros of zeros."""
    return step.eqn.primitive.name in ("broadcast_in_dim", "convert_element_type", "reshape")


def _inputs(step: Step, flat: Flat, axes: dict[int, int], zeros: set[int]) -> _Inputs:
    return _Inputs(
        [axes.get(v) for v in step.inputs],
        [v in zeros for v in step.inputs],
        [flat.types[v].shape for v in step.inputs],
        step.eqn.params,
    )


def _without(axis: int | None, dropped: Sequence[int]) -> int | None:
    """Return where an axis is when others are dropped; None if it is one of them."""
    if axis is None or axis in dropped:
        return None
    return axis - sum(other < axis for other in dropped)


def _along_another(given: _Inputs) -> int | None:
    return None if given.only == given.params["axis"] else given.only


def _factor(given: _Inputs) -> int | None:
    """Return the axis of a product of which one factor depends on Δ, the other not."""
    first, second = given.axes
    return second if first is None else None if second is not None else first


def _selected(given: _Inputs) -> int | None:
    cases = given._replace(axes=given.axes[1:], zero=given.zero[1:])
    return cases.common if given.axes[0] is None else None


def _broadcast(given: _Inputs) -> int | None:
    axis, params = given.only, given.params
    if axis is None:
        return None
    at = int(params["broadcast_dimensions"][axis])
    return at if params["shape"][at] == given.shapes[0][axis] else None


def _reshaped(given: _Inputs) -> int | None:
    axis, shape, new = given.only, given.shapes[0], given.params["new_sizes"]
    if axis is None or given.params["dimensions"] is not None:
        return None
    before = prod(shape[:axis])
    at = [i for i, n in enumerate(new) if n == shape[axis] and prod(new[:i]) == before]
    return at[0] if at else None


def _transposed(given: _Inputs) -> int | None:
    return None if given.only is None else list(given.params["permutation"]).index(given.only)


def _dot(given: _Inputs) -> int | None:
    contracted, batched = given.params["dimension_numbers"]
    if None not in given.axes:
        return None
    i = 0 if given.axes[1] is None else 1
    axis, batch = given.axes[i], list(batched[i])
    if axis is None or axis in contracted[i]:
        return None
    if axis in batch:
        return batch.index(axis)
    free = [d for d in range(len(given.shapes[i])) if d not in (*contracted[i], *batch)]
    others = len(given.shapes[0]) - len(contracted[0]) - len(batch) if i else 0
    return len(batch) + others + free.index(axis)


def _convolved(given: _Inputs) -> int | None:
    numbers = given.params["dimension_numbers"]
    if given.only != numbers.lhs_spec[0] or given.params["batch_group_count"] != 1:
        return None
    at: int = numbers.out_spec[0]
    return at


def _joined(given: _Inputs) -> int | None:
    return None if given.common == given.params["dimension"] else given.common


def _padded(given: _Inputs) -> int | None:
    axis = given.only
    if axis is None or not given.zero[1] or any(given.params["padding_config"][axis]):
        return None
    return axis


def _sliced(given: _Inputs) -> int | None:
    axis, params = given.only, given.params
    if axis is None or params["start_indices"][axis] or (params["strides"] or [1] * 99)[axis] != 1:
        return None
    return axis if params["limit_indices"][axis] == given.shapes[0][axis] else None


def _sliced_there(given: _Inputs) -> int | None:
    axis = given.only
    if axis is None or given.params["slice_sizes"][axis] != given.shapes[0][axis]:
        return None
    return axis


def _written(given: _Inputs) -> int | None:
    both = given._replace(axes=given.axes[:2], zero=given.zero[:2])
    axis, (whole, part) = both.common, given.shapes[:2]
    if axis is None or any(at is not None for at in given.axes[2:]) or whole[axis] != part[axis]:
        return None
    return axis


def _in_windows(given: _Inputs) -> int | None:
    axis, params = given.only, given.params
    if axis is None or any(params["padding"][axis]):
        return None
    sizes = [params[name][axis] for name in ("window_dimensions", "window_strides")]
    sizes += [params[name][axis] for name in params if name.endswith("dilation")]
    return axis if sizes == [1] * len(sizes) else None


RULES: dict[str, Callable[[_Inputs], int | None]] = {
    **dict.fromkeys(("add", "add_any", "sub"), lambda given: given.common),
    **dict.fromkeys(("neg", "copy", "convert_element_type"), lambda given: given.only),
    "mul": _factor,
    "div": lambda given: given.only,
    "select_n": _selected,
    "broadcast_in_dim": _broadcast,
    "reshape": _reshaped,
    "transpose": _transposed,
    "squeeze": lambda given: _without(given.only, given.params["dimensions"]),
    "reduce_sum": lambda given: _without(given.only, given.params["axes"]),
    "rev": lambda given: None if given.only in given.params["dimensions"] else given.only,
    **dict.fromkeys(("cumsum", "split"), _along_another),
    "dot_general": _dot,
    "conv_general_dilated": _convolved,
    "concatenate": _joined,
    "pad": _padded,
    "slice": _sliced,
    "dynamic_slice": _sliced_there,
    "dynamic_update_slice": _written,
    "reduce_window_sum": _in_windows,
    "select_and_scatter_add": _in_windows,
}
