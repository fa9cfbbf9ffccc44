"""PyTorch: passes down compared until one of them is right: see `backward_passes.py`."""

from itertools import pairwise
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from ..arrays.rows import ZERO_EXPONENT
from ..errors import DisagreementError
from .backward_passes import (
    Descent,
    Look,
    Pass,
    drawn_powers,
    mixing,
    plain_pass,
    rescaled,
    scaled_pass,
)
from .hooks import CutState
from .tensors import highest_exponent, name_of_dtype


class Agreed(NamedTuple):
    """The numbers on which the passes down agree; row 0 is the input."""

    exponent: np.ndarray  # Δ of each state and example as m 2^exponent
    largest: np.ndarray
    norm: np.ndarray
    mixes: np.ndarray  # for each state whether examples meet below it
    unmeasured: int  # number of the lowest states without a number; their rows are of no use
    has_input: bool  # Δ of the input has a number
    parameters: dict[str, float]  # of each by name ln ‖Δ‖; nan without a number
    noted: tuple[Any, ...]  # for each state what a `Look` noted of its Δ; None if Δ is zero


class _Range(NamedTuple):
    """Limits of the numbers of a pass that are used: smaller by an eps they are still normal."""

    lowest: int  # the smallest exponent within them
    tolerance: float  # between two logarithms of the same number
    room: int  # exponent at which gradients start that nothing scales on their way


def agreed(descent: Descent, is_probed: bool, look: Look | None = None) -> Agreed:
    """Return what is right, with plain backpropagation as the judge where it has normal numbers.

    is_probed: look where examples meet even if nothing tells.

    Raises:
        DisagreementError: no pass is right, with the name of the cut.
    """
    span = _range(descent.states)
    plain = plain_pass(descent, look if descent.is_apart else None)
    normal = (plain.exponent >= span.lowest) & np.isfinite(plain.norm)
    shifts = _shifts(descent, plain, span)
    mixes = np.zeros(len(descent.states) + 1, bool)
    if descent.is_apart and not is_probed and normal[descent.x is None :].all():
        known, trusted = np.ones_like(normal), np.ones(len(normal), bool)
        return _taken(descent, plain, plain, known, trusted, mixes, shifts, span)
    none = np.zeros_like(plain.exponent)
    meeting: set[int] = set()

    def down(more: np.ndarray, at_top: int = 0) -> Pass:
        top = max(shifts)
        return scaled_pass(
            descent,
            rescaled(meeting.__contains__, more),
            shifts | {top: shifts[top] + at_top},
            look=look if more is none else None,
        )

    found = down(none)
    for part in (2, 4, 0):
        if found.is_finite or not plain.is_finite:
            break
        shifts = {at: shift // part if part else 0 for at, shift in shifts.items()}
        found = down(none)  # the last one began too near the top of the range
    wrong, known, trusted = _judged(descent, plain, normal, found, down, span)
    if wrong is not None or is_probed:
        mixes = mixing(descent, shifts)
        meeting = _gates_above(descent, mixes)
        if wrong is not None and meeting:
            found = down(none)
            wrong, known, trusted = _judged(descent, plain, normal, found, down, span)
    if wrong is not None:
        names = ["the input", *(state.name for state in descent.states)]
        raise DisagreementError(
            f"cut {names[min(wrong + 1, len(names) - 1)]}: expected the gradient below it to grow "
            f"in proportion to that above, but at {names[wrong]} it depends on how that is scaled, "
            f"as if something clipped it, or it left the range of {_first_dtype(descent)} on the "
            "way; take clipping out, or measure in a wider float"
        )
    taken_as_is = known.all(axis=1) & ~trusted  # numbers of the plain pass are taken
    if look is not None and not descent.is_apart and taken_as_is[1:].any():
        plain = plain_pass(descent, look)
    return _taken(descent, plain, found, known, trusted, mixes, shifts, span)


def _first_dtype(descent: Descent) -> Any:
    return descent.states[0].parts[0].dtype


def _range(states: list[CutState]) -> _Range:
    infos = [jnp.finfo(part.dtype) for state in states for part in state.parts]  # type: ignore[no-untyped-call]
    return _Range(
        max(int(info.minexp) + int(info.nmant) for info in infos),
        max(float(info.eps) for info in infos) ** 0.5,
        min(int(info.maxexp) for info in infos) // 2,
    )


def _shifts(descent: Descent, plain: Pass, span: _Range) -> dict[int, int]:
    """Return by which power of two gradients are larger at the top and at gates."""
    gates, loose = descent.gates, descent.loose
    # Nothing at a gate that the next one follows, nor where plain numbers from the top are normal.
    shifts = {upper: span.room if upper in loose else 0 for upper in gates[:-1]}
    top = descent.first_below
    normal = (plain.exponent[top] >= span.lowest) & np.isfinite(plain.norm[top])
    if not plain.is_finite:
        shifts[gates[0]] = 0
    elif gates[0] in loose or not normal.all():
        shifts[gates[0]] = _to(span.room, descent, plain)
    return shifts


def _to(exponent: int, descent: Descent, plain: Pass) -> int:
    """Return the power of two that brings the first gradients below the top to an exponent."""
    largest = int(plain.exponent[descent.first_below].max())
    most = highest_exponent(name_of_dtype(descent.top)) - 4
    return int(np.clip(exponent - max(largest, -(2**12)), -most, most))


def _judged(
    descent: Descent, plain: Pass, normal: np.ndarray, found: Pass, down: Any, span: _Range
) -> tuple[int | None, np.ndarray, np.ndarray]:
    """Return the highest state at which a scaled pass is wrong, if any, and which numbers are good.

    Good are, for each state and example, numbers of plain backpropagation that are taken; and the
    states of which the scaled pass has a number.
    """
    known = _from_above(normal | (plain.log == found.log))
    # Where plain numbers judge everything, a second scaling has nothing to tell: one pass less.
    is_clear = known.all() or (plain.is_finite and _is_far_from_ends(descent, found, span))
    seconds = [] if is_clear else [down(drawn_powers(found.exponent.shape), 1)]
    is_number = np.logical_and.reduce([_is_number(going) for going in (found, *seconds)])
    # What is none in a scaled pass either is as plain backpropagation has it.
    known |= ~(is_number | _is_number(plain))[:, None]
    trusted = _from_above(_in_range(descent, found, span)) & is_number
    off = _differ(plain.log, found.log, span.tolerance) & known
    for second in seconds:
        off |= _differ(second.log, found.log, span.tolerance)
    where = np.flatnonzero((off & trusted[:, None]).any(axis=1))
    return (int(where[-1]) if len(where) else None), known, trusted


def _is_far_from_ends(descent: Descent, found: Pass, span: _Range) -> bool:
    """Tell whether examples are known to stay apart, and each layer changes Δ moderately."""
    # What left the range within a layer would have to come back by nearly as many powers of two.
    return descent.is_apart and bool((np.abs(found.arrived[1:]) <= span.room // 2).all())


def _is_number(going: Pass) -> np.ndarray:
    """Tell for each state whether Δ is a number for all examples, here and above."""
    return _from_above(np.isfinite(going.norm).all(axis=1))


def _from_above(good: np.ndarray) -> np.ndarray:
    # A number is of use only if all above it are: the pass has come through them.
    return np.logical_and.accumulate(good[::-1])[::-1]


def _in_range(descent: Descent, found: Pass, span: _Range) -> np.ndarray:
    """Tell for each state whether a gradient that nothing scaled on the way to it is in range."""

    def is_normal(arrived: np.ndarray) -> Any:
        return (arrived >= span.lowest) | (arrived == ZERO_EXPONENT)

    good = np.ones(len(found.norm), bool)
    fine = np.isfinite(found.norm) & is_normal(found.arrived)
    gates = descent.gates
    # One scaled at each gate is: between two that follow each other, a layer is taken at its word.
    for upper, between in descent.loose.items():
        lower = gates[gates.index(upper) + 1]
        layers = [*between, *([lower] if lower else [])]
        good[layers] = fine[layers].all(axis=1)
        come = [arrived for above, arrived in found.came if above == upper]
        good[0] &= all(is_normal(arrived).all() for arrived in come)
    return good


def _differ(a: np.ndarray, b: np.ndarray, tolerance: float) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.asarray(~((np.abs(a - b) <= tolerance) | (a == b) | (np.isnan(a) & np.isnan(b))))


def _gates_above(descent: Descent, mixes: np.ndarray) -> set[int]:
    """Return the gates below which examples meet, before the next one."""
    gates = descent.gates
    return {upper for upper, lower in pairwise(gates[1:]) if mixes[lower + 1 : upper + 1].any()}


def _taken(
    descent: Descent,
    plain: Pass,
    found: Pass,
    known: np.ndarray,
    trusted: np.ndarray,
    mixes: np.ndarray,
    shifts: dict[int, int],
    span: _Range,
) -> Agreed:
    """Return the numbers of the scaled pass where they are good, else those of the plain one."""
    all_known = known.all(axis=1)

    def taken(name: str) -> np.ndarray:
        return np.asarray(np.where(trusted[:, None], getattr(found, name), getattr(plain, name)))

    measured = trusted | all_known
    without = np.flatnonzero(~measured[1:])
    unmeasured = int(without[-1]) + 1 if len(without) else 0
    return Agreed(
        taken("exponent"),
        taken("largest"),
        taken("norm"),
        mixes[1:],
        unmeasured,
        bool(measured[0] and not unmeasured and descent.x is not None),
        _of_parameters(descent, plain, all_known, trusted, shifts, span),
        tuple((found if trusted[at] else plain).noted.get(at) for at in range(1, len(trusted))),
    )


def _of_parameters(
    descent: Descent,
    plain: Pass,
    known: np.ndarray,
    trusted: np.ndarray,
    shifts: dict[int, int],
    span: _Range,
) -> dict[str, float]:
    """Return ln ‖Δ‖ of each parameter, of the plain pass where all that leads to it is normal."""
    top = len(descent.states) + 1
    known, trusted = np.append(known, True), np.append(trusted, True)
    layers = {name: descent.layers_of(p) for name, p in descent.parameters.items()}
    sizes = plain.sums.all_sizes(layers, span.lowest)
    lost = [
        name
        for name, on in layers.items()
        if not (known[list(on)].all() and span.lowest <= sizes[name][1] < np.inf)
    ]
    logs = {name: size[0] for name, size in sizes.items()}
    first = shifts if top in descent.loose else shifts | {top: _to(0, descent, plain)}
    # A sum over examples needs one exponent for all, so it has a pass of its own; where even that
    # overflows on the way, one without a head start may not.
    for more in (first, dict.fromkeys(first, 0)):
        if not lost:
            break
        none = np.zeros_like(plain.exponent)
        common = scaled_pass(descent, rescaled(lambda at: True, none), more, with_parameters=True)
        for name in lost:
            is_good = trusted[list(layers[name])].all() and _is_whole(descent, common, name, span)
            logs[name] = common.sums.sizes(name)[0] if is_good else np.nan
        lost = [name for name in lost if np.isnan(logs[name])]
    return logs


def _is_whole(descent: Descent, common: Pass, name: str, span: _Range) -> bool:
    """Tell whether no part of a parameter's Δ was lost where nothing is scaled for a while."""
    for upper, exponent in common.sums.came.get(name, []):
        inside = descent.loose.get(upper)
        if inside is None or exponent >= span.lowest:
            continue
        at = [
            layer
            for layer in (upper, *inside)
            if layer in descent.layers_of(descent.parameters[name])
        ]
        at = [layer for layer in at if layer <= len(descent.states)] or descent.first_below
        largest = common.arrived[at].max(axis=1)
        # A zero is whole if the gradients that it is made of are far from the end of the range.
        is_far = (largest >= span.lowest // 2) | (largest == ZERO_EXPONENT)
        if exponent > -np.inf or not is_far.all():
            return False
    return True
