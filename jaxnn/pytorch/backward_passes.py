"""PyTorch: passes down through the states, each example brought near 1 by a power of two at gates.

    at gate l, for each example   g -> g 2^-k[l],   2^k[l] <= max |g| < 2^(k[l]+1)
    so that there                 Δ[l] = g 2^(k[l] + the sum of k at the gates above)

torch is asked for the gradient from one gate to the next, and for what it is at the states between.
That is exact, since a reverse pass is linear. Between gates nothing is scaled, so that numbers may
leave the range, and what has left it is lost for all below. `backward_consensus.py` judges passes.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from ..arrays.rows import LN2, ZERO_EXPONENT
from ..interrupts import registered
from .autograd_gates import Survey
from .custom_functions import Inner, blamed, taken
from .forks import Fork, Pairs, forks_of, leading_off
from .hooks import CutState
from .tensors import highest_exponent, log_norms, name_of_dtype, numbers_of, size_of
from .types import GradientEdge, Tensor, torch

FEW = 2**16  # numbers of a small state
POWERS = 3  # the second scaling is by 2, 4, …, 2^POWERS more: float16 has room for little else


@dataclass(frozen=True, eq=False)
class Descent:
    """All that a pass down needs."""

    top: Any  # the tensor to go down from
    cotangent: Any  # of the top; None if that is one number
    x: Any  # the input as a leaf; None if it has no gradient
    states: list[CutState]
    survey: Survey
    parameters: dict[str, Any]  # those with a gradient, by name
    # Those whose gradient comes, in part, through the user's own functions.
    inner: Mapping[str, Inner] = field(default_factory=dict)
    is_apart: bool = False  # the gradient of each example is known to be that example's own

    @property
    def examples(self) -> int:
        return self.states[0].parts[0].shape[0]

    @cached_property
    def gates(self) -> list[int]:
        """The gates from the top down, between the top and the end."""
        count = len(self.states)
        inside = [at for at in range(count, 0, -1) if self.survey.gates[at - 1]]
        return [count + 1, *inside, 0]

    def between(self, upper: int, lower: int) -> list[int]:
        """Return the states that are no gates between two gates."""
        return list(range(upper - 1, lower, -1))

    def reached_between(self, upper: int, lower: int) -> list[int]:
        """Return the states that the gradient comes to below a gate, down to the next one."""
        return [*self.between(upper, lower), *([lower] if lower else [])]

    def used_between(self, upper: int, lower: int, with_parameters: bool) -> tuple[list[str], bool]:
        """Return what is used in the layers between two gates: parameters, or if not the input."""
        inside = range(lower + 1, upper + 1)
        if not with_parameters:
            return [], not self.enters_at.isdisjoint(inside)
        named = self.parameters.items()
        return [name for name, p in named if not self.layers_of(p).isdisjoint(inside)], False

    def is_used_below(self, lower: int, names: list[str], enters: bool) -> bool:
        """Tell whether one of some parameters, or the input, is used below a gate too."""
        lowest = [min(self.layers_of(self.parameters[name])) for name in names]
        return any(at <= lower for at in [*lowest, *(self.enters_at if enters else [])])

    @property
    def first_below(self) -> list[int]:
        """The states that the gradient comes to first, down to the highest gate."""
        count, lower = self.gates[:2]
        return self.reached_between(count, lower)

    @cached_property
    def loose(self) -> dict[int, list[int]]:
        """The gates with states between them and the next one, and these."""
        pairs = {upper: self.between(upper, lower) for upper, lower in pairwise(self.gates)}
        return {upper: inside for upper, inside in pairs.items() if inside}

    @cached_property
    def forks(self) -> dict[int, list[Fork]]:
        """The forks on the way from a gate to the next one, by the number of the upper gate."""
        top = torch.autograd.graph.get_gradient_edge(self.top)
        return forks_of(top, self.states, self.survey, self.gates)

    def handles(self, at: int) -> list[Any]:
        """Return the places of a state, or of the input, in torch's graph."""
        if at == 0:
            return [self.x]
        return [self.states[at - 1].parts[j].handle for j in self.survey.parts[at - 1]]

    @cached_property
    def enters_at(self) -> set[int]:
        """The layers that the input enters at."""
        return {at for at, to in self.survey.links if to == 0} if self.x is not None else set()

    def layers_of(self, parameter: Tensor) -> set[int]:
        """The layers that a parameter is used in, L + 1 above the last cut."""
        return self.survey.parameters.get(id(parameter), set())


class Sums:
    """Δ of parameters as m × 2^e: sums over examples, and over the layers that share one."""

    def __init__(self) -> None:
        self.parts: dict[str, tuple[Any, int]] = {}
        self.came: dict[str, list[tuple[int, float]]] = {}

    def add(self, name: str, upper: int | None, grad: Tensor, exponent: int) -> None:
        """Add what comes from the part of the pass below a gate; None of a pass without gates."""
        grad = grad.detach().to_dense() if grad.is_sparse else grad.detach()
        if upper is not None:
            self.came.setdefault(name, []).append((upper, size_of(grad)[1]))
        if name in self.parts:  # on the larger exponent, so that nothing overflows
            m, e = self.parts[name]
            common = max(e, exponent)
            grad = m * 2.0 ** max(e - common, -2000) + grad * 2.0 ** max(exponent - common, -2000)
            exponent = common
        self.parts[name] = grad, exponent

    def sizes(self, name: str) -> tuple[float, float]:
        """Return ln ‖Δ‖, and the exponent of its largest entry as it came; -inf for zeros."""
        if name not in self.parts:
            return -np.inf, -np.inf
        m, e = self.parts[name]
        log, exponent = size_of(m)
        return log + e * LN2, exponent

    def all_sizes(self, names: Iterable[str], lowest: int) -> dict[str, tuple[float, float]]:
        """Return the `sizes` of each, most of them together."""
        logs = log_norms([self.parts[name][0] for name in self.parts])
        sizes = {}
        for (name, (m, e)), log in zip(self.parts.items(), logs, strict=True):
            # The largest of n entries is at least norm / √n: above the lowest that bound will do.
            least = log / LN2 - np.log2(max(m.numel(), 1)) / 2 - 1
            sizes[name] = (log + e * LN2, least) if least >= lowest else self.sizes(name)
        return {name: sizes[name] if name in sizes else self.sizes(name) for name in names}


class Look(NamedTuple):
    """Quantities of Δ to note for each state, next to its norm."""

    positions: tuple[bool, ...]  # for each state whether ln ‖Δ‖ at each of its positions is noted
    # (the state, the parts of its Δ, the exponent of each example) -> a note of its entries.
    entries: Callable[[int, list[Any], np.ndarray], Any] | None


class NotedDelta(NamedTuple):
    """Δ of a state in numbers: its entries and ln ‖Δ‖ by position, None of what is not wanted."""

    entries: Any
    positions: np.ndarray | None


# (state, the exponents of what has come, those to be had before it, those of Δ) -> to multiply by
Rule = Callable[[int, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


class Pass:
    """The record of one pass down. State 0 is the input; Δ of an example is m 2^exponent."""

    def __init__(self, descent: Descent, look: Look | None = None) -> None:
        shape = (len(descent.states) + 1, descent.examples)
        self.descent = descent
        self.look, self.noted = look, dict[int, NotedDelta]()
        self.exponent = np.full(shape, ZERO_EXPONENT, np.int64)
        self.arrived = np.full(shape, ZERO_EXPONENT, np.int64)
        self.largest, self.norm = np.zeros(shape), np.zeros(shape)
        self.sums = Sums()
        self.entered: tuple[Any, np.ndarray] | None = None  # what has come to the input, m and e
        self.came: list[tuple[int, np.ndarray]] = []  # (the gate above, arrived) of each part of it

    @property
    def log(self) -> np.ndarray:
        """Return ln ‖Δ‖ of each state and example."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.norm) + self.exponent * LN2)

    def record(self, at: int, grads: list[Any], total: np.ndarray) -> np.ndarray:
        """Record Δ = what arrives × 2^total of a state; return the exponents k of what arrives."""
        parts = [grad for grad in grads if grad is not None]
        if not parts:
            return np.zeros_like(total)
        channels, look = self._channels(at), self.look if at else None
        sizes = [Sizes.of(grad, channels) for grad in parts]
        counted = None if look is None or look.entries is None else look.entries(at, parts, total)
        self._note(at, counted, sizes[0], total)
        return self._take(at, parts, sizes, total)

    def _channels(self, at: int) -> int | None:
        """Return the axis of the channels of a state whose positions are noted; None of others."""
        has_positions = at > 0 and self.look is not None and self.look.positions[at - 1]
        return self.descent.states[at - 1].channels if has_positions else None

    def _note(self, at: int, entries: Any, sizes: "Sizes", total: np.ndarray) -> None:
        """Note what is looked at in Δ of a state."""
        if at and self.look is not None:
            has_positions = self.look.positions[at - 1]
            self.noted[at] = NotedDelta(
                entries, sizes.log_by_position(total) if has_positions else None
            )

    def record_all(self, grads: Mapping[int, list[Any]], total: np.ndarray) -> None:
        """Record Δ of several states that come with one power; small ones of a shape together."""
        alike: dict[Any, list[int]] = {}
        for at, parts in grads.items():
            (grad, *others) = parts
            has_entries = at > 0 and self.look is not None and self.look.entries is not None
            if has_entries or others or grad is None or grad.numel() > FEW:
                self.record(at, parts, total)
            else:
                kind = grad.shape, grad.dtype, grad.device, self._channels(at)
                alike.setdefault(kind, []).append(at)
        for (*_, channels), several in alike.items():
            stacked = torch.stack([grads[at][0] for at in several])
            together = Sizes.of(stacked.flatten(0, 1), channels)
            for i, at in enumerate(several):
                rows = slice(i * len(total), (i + 1) * len(total))
                sizes = Sizes(*(v[rows] for v in together))
                self._note(at, None, sizes, total)
                self._take(at, grads[at], [sizes], total)

    def _take(
        self, at: int, parts: list[Any], sizes: list["Sizes"], total: np.ndarray
    ) -> np.ndarray:
        """Record the sizes of the parts of Δ of a state."""
        largest = np.max([v.largest.max(axis=1) for v in sizes], axis=0)
        most = min(highest_exponent(name_of_dtype(_wide(v[:0]))) for v in parts)
        most -= 1 + POWERS  # room for the second scaling
        k = np.maximum(np.minimum(np.frexp(largest)[1] - 1, most), -most)
        k = np.where(np.isfinite(largest) & (largest > 0), k, 0).astype(np.int64)
        squares = [np.square(np.ldexp(v.norm, v.exponent - k[:, None])).sum(axis=1) for v in sizes]
        zero = largest == 0
        self.exponent[at] = np.where(zero, ZERO_EXPONENT, total + k)
        self.arrived[at] = np.where(zero, ZERO_EXPONENT, k)
        self.largest[at] = largest * np.ldexp(1.0, -k)
        self.norm[at] = np.sqrt(np.sum(squares, axis=0))
        return k

    def enter(self, upper: int, grad: Tensor, total: np.ndarray) -> None:
        """Add what comes to the input from below a gate, grad × 2^total."""
        m = _unit_rows(grad, self.record(0, [grad], total))
        self.came.append((upper, self.arrived[0].copy()))
        e = self.exponent[0].copy()
        if self.entered is not None:
            before, exponent = self.entered
            common = np.maximum(e, exponent)
            terms = ((before, exponent - common), (m, e - common))
            m = sum(
                v * v.new_tensor(np.ldexp(1.0, np.maximum(by, -2000)))[:, None] for v, by in terms
            )
            m = _unit_rows(m, self.record(0, [m], common))
            e = self.exponent[0].copy()
        self.entered = m, e

    @property
    def is_finite(self) -> bool:
        return bool(np.isfinite(self.norm).all())


class Sizes(NamedTuple):
    """The sizes of a gradient for each example and position; the norm is m 2^exponent."""

    largest: np.ndarray
    norm: np.ndarray
    exponent: np.ndarray

    @classmethod
    def of(cls, grad: Tensor, channels: int | None) -> "Sizes":
        """Return those at all positions, given the axis of the channels; None: at one for all."""
        v = _rows(grad) if channels is None else _wide(grad)
        axis = 1 if channels is None else channels

        def of_positions(v: Tensor) -> np.ndarray:
            return numbers_of(v).astype(np.float64).reshape(-1, len(grad), count)

        # Large temporaries cost more than what is computed, and abs() would be one.
        top = v.amax(axis)
        norm, count = torch.linalg.vector_norm, top.numel() // len(grad)
        upper, lower, size = of_positions(torch.stack([top, v.amin(axis), norm(v, dim=axis)]))
        largest = np.maximum(upper, -lower)
        most = highest_exponent(name_of_dtype(v)) - 1
        is_number = np.isfinite(largest) & (largest > 0)
        e = np.where(is_number, np.clip(np.frexp(largest)[1] - 1, -most, most), 0)
        if np.abs(e).max(initial=0) <= most // 4:  # squares are far from the ends of the range
            return cls(largest, size, np.zeros_like(e))
        by = v.new_tensor(np.ldexp(1.0, -e)).reshape(top.shape).unsqueeze(axis)
        (size,) = of_positions(norm(v * by, dim=axis))
        return cls(largest, size, e)

    def log_by_position(self, exponent: np.ndarray) -> np.ndarray:
        """Return ln of the norm at each position over the examples, times 2^exponent each."""
        zero = self.norm == 0
        e = np.where(zero, ZERO_EXPONENT, self.exponent + exponent[:, None])
        common = e.max(axis=0)
        square = np.square(np.ldexp(self.norm, np.maximum(e - common, -2000))).sum(axis=0)
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(square) / 2 + np.where(zero.all(axis=0), 0, common) * LN2)


def _wide(grad: Tensor) -> Any:
    return grad.float() if grad.element_size() < 4 else grad


def _rows(grad: Tensor) -> Any:
    return _wide(grad).reshape(len(grad), -1)


def _unit_rows(grad: Tensor, k: np.ndarray) -> Any:
    rows = _rows(grad)
    return rows * rows.new_tensor(np.ldexp(1.0, -k))[:, None]


def plain_pass(descent: Descent, look: Look | None = None) -> Pass:
    """Go down once as torch does, to all states, the input and the parameters at the same time."""
    going = Pass(descent, look)
    wanted = [*range(len(descent.states), 0, -1), *([0] if descent.x is not None else [])]
    top: Pairs = [(descent.top, descent.cotangent)]
    grads, by_name = _gradients(descent, top, wanted, list(descent.parameters))
    total = np.zeros(descent.examples, np.int64)
    going.record_all(grads, total)
    for name, grad in by_name.items():
        going.sums.add(name, None, grad, 0)
    return going


def scaled_pass(
    descent: Descent,
    rule: Rule,
    shifts: dict[int, int],
    with_parameters: bool = False,
    look: Look | None = None,
) -> Pass:
    """Go down from gate to gate.

    rule: returns by which power of two each example is multiplied at a gate.
    shifts: of the top and each gate, the power of two by which all examples are more than that.
    with_parameters: the rule keeps one exponent for all examples: Δ of parameters is their sum.
    """
    going, gates = Pass(descent, look), descent.gates
    pairs: Pairs = [(descent.top, _times(descent.top, descent.cotangent, shifts))]
    total = np.full(descent.examples, -shifts[gates[0]], np.int64)
    for upper, lower in pairwise(gates):
        names, enters = descent.used_between(upper, lower, with_parameters)
        wanted = descent.reached_between(upper, lower)
        if not (wanted or names or enters):
            break
        below, by_name = _down_to(descent, pairs, upper, lower, wanted, names, enters)
        for name, grad in by_name.items():
            going.sums.add(name, upper, grad, int(total[0]))
        for at in wanted:
            k = going.record(at, below[at], total)
        if enters and below[0][0] is not None:
            going.enter(upper, below[0][0], total)
        if lower == 0:
            break
        # All of the gradient is here: what is multiplied now is known to the last bit, and taken
        # off again in what is recorded below.
        by = rule(lower, k, total, going.exponent[lower]) + shifts[lower]
        total = total - by
        come = _pairs(descent.handles(lower), below[lower])
        if not come:
            break
        pairs = [(handle, _multiplied(grad, by)) for handle, grad in come]
    return going


def _down_to(
    descent: Descent,
    pairs: Pairs,
    upper: int,
    lower: int,
    wanted: list[int],
    names: list[str],
    enters: bool,
) -> tuple[dict[int, list[Any]], dict[str, Any]]:
    """Return what comes to states, to parameters and if it enters to the input, above a gate."""
    ends = [0] if enters else []
    # What is used below the gate too gets that part of its Δ later, on another scale: so nothing
    # may pass the gate now.
    again = lower > 0 and descent.is_used_below(lower, names, enters)
    if not again or upper not in descent.forks:
        with _closed(descent.handles(lower) if again else []):
            return _gradients(descent, pairs, wanted + ends, names)
    with leading_off(descent.forks[upper]) as off:
        below, _ = _gradients(descent, pairs, wanted, [])
    at_ends, by_name = _gradients(descent, off, ends, names) if off else ({0: [None]}, {})
    return below | at_ends, by_name


def mixing(descent: Descent, shifts: dict[int, int]) -> np.ndarray:
    """Return for each state whether examples meet below it, on the way to the next ones."""
    count = len(descent.states)
    mixes, going = np.zeros(count + 1, bool), Pass(descent)
    pairs: Pairs = [(descent.top, _times(descent.top, descent.cotangent, shifts))]
    for upper, lower in pairwise(descent.gates):
        wanted = descent.reached_between(upper, lower)
        below = _gradients(descent, pairs, wanted, [])[0] if wanted else {}
        if upper <= count:
            mixes[upper] = _meet(descent, upper, pairs)
        for at in descent.between(upper, lower):
            mixes[at] = _meet(descent, at, _of_unit(going, at, below[at]))
        pairs = _of_unit(going, lower, below[lower]) if lower else []
        if not pairs:
            break
    return mixes


def _meet(descent: Descent, at: int, pairs: Pairs) -> bool:
    """Tell whether examples meet between a state and the next ones, given Δ of its parts."""
    below = [to for above, to in descent.survey.links if above == at and to]
    wanted = [*below, *([0] if at in descent.enters_at else [])]
    if not wanted or not pairs:
        return False
    with _closed([handle for to in below for handle in descent.handles(to)]):
        return any(_come_back(descent, pairs, wanted, zero) for zero in _halves(descent.examples))


def _pairs(handles: list[Any], grads: list[Any]) -> Pairs:
    """Return the places of a state with the gradients that come there; without those of none."""
    pairs = zip(handles, grads, strict=True)
    return [(handle, grad) for handle, grad in pairs if grad is not None]


def _of_unit(going: Pass, at: int, grads: list[Any]) -> Pairs:
    """Return the gradients at a state, each example brought near 1."""
    zero = np.zeros(going.descent.examples, np.int64)
    return [
        (handle, _multiplied(grad, -going.record(at, [grad], zero)))
        for handle, grad in _pairs(going.descent.handles(at), grads)
    ]


def _halves(count: int) -> list[np.ndarray]:
    """Return the numbers of the examples of each half, by the parity of ones in their bits."""
    odd = np.array([i.bit_count() % 2 == 1 for i in range(count)])
    return [np.flatnonzero(odd), np.flatnonzero(~odd)]


def _come_back(descent: Descent, pairs: Pairs, wanted: list[int], zero: np.ndarray) -> bool:
    """Tell whether examples that are made zero in gradients come back below."""
    halved = [(handle, grad.clone()) for handle, grad in pairs]
    for _, grad in halved:
        grad[zero] = 0
    come, _ = _gradients(descent, halved, wanted, [])
    below = (g for parts in come.values() for g in parts if g is not None)
    return any(bool((g[zero] != 0).any()) for g in below)


def _gradients(
    descent: Descent, pairs: Pairs, wanted: list[int], names: list[str]
) -> tuple[dict[int, list[Any]], dict[str, Any]]:
    """Return the gradients at the states that are wanted, part by part, and of the parameters."""
    places: dict[Any, int] = {}
    inputs: list[Any] = []
    below = [edge for name in names if name in descent.inner for edge in descent.inner[name].edges]
    for handle in (*(handle for at in wanted for handle in descent.handles(at)), *below):
        if _key(handle) not in places:
            places[_key(handle)] = len(inputs)
            inputs.append(handle)
    leaves = [descent.parameters[name] for name in names]
    with blamed(descent.survey.functions):
        come = torch.autograd.grad(
            [handle for handle, _ in pairs],
            [*inputs, *leaves],
            [grad for _, grad in pairs],
            retain_graph=True,
            allow_unused=True,
        )
    at_states = {
        at: [come[places[_key(handle)]] for handle in descent.handles(at)] for at in wanted
    }
    by_name = {
        n: grad for n, grad in zip(names, come[len(inputs) :], strict=True) if grad is not None
    }
    inner = taken({name: descent.parameters[name] for name in descent.inner})
    for name in inner.keys() & names:
        by_name[name] = by_name[name] + inner[name] if name in by_name else inner[name]
    return at_states, by_name


def _key(handle: GradientEdge | Tensor) -> Any:
    return tuple(handle[:2]) if isinstance(handle, tuple) else id(handle)


def _times(top: Tensor, cotangent: Tensor | None, shifts: dict[int, int]) -> Any:
    by = float(2.0 ** shifts[max(shifts)])
    return top.new_tensor(by).reshape(top.shape) if cotangent is None else cotangent * by


def _multiplied(grad: Tensor, by: np.ndarray) -> Any:
    """Return a gradient times a power of two for each example."""
    rows = _rows(grad)
    most = highest_exponent(name_of_dtype(rows))
    # Where examples meet, one that is zero may have any power.
    by = np.clip(by, -2 * most, 2 * most)
    # One factor beyond the range is two in it.
    for part in (by,) if np.abs(by).max() <= most else (by // 2, by - by // 2):
        rows = rows * rows.new_tensor(np.ldexp(1.0, part))[:, None]
    return rows.reshape(grad.shape).to(grad.dtype)


def _closed(handles: list[Any]) -> AbstractContextManager[None]:
    """Let nothing pass a gate to what is used above it and below, which is added up."""
    return registered(
        partial(edge.node.register_prehook, _zeroing(edge.output_nr)) for edge in handles
    )


def _zeroing(number: int) -> Callable[[Any], Any]:
    def zeros(grads: Any) -> Any:
        return tuple(
            g.new_zeros(g.shape) if g is not None and i == number else g
            for i, g in enumerate(grads)
        )

    return zeros


def rescaled(common: Callable[[int], bool], more: np.ndarray) -> Rule:
    """Return the rule that brings each example, at some gates all together, near 1 times 2^more."""

    def by(at: int, k: np.ndarray, total: np.ndarray, exponent: np.ndarray) -> np.ndarray:
        if common(at):
            highest = np.max(exponent)
            return np.asarray(total - (0 if highest == ZERO_EXPONENT else highest) + more[at, 0])
        return np.asarray(-k + more[at])

    return by


def drawn_powers(shape: tuple[int, int]) -> np.ndarray:
    """Draw a power of two for each (state, example): none is 0, and none is its neighbour's."""
    # One seed: no network is accepted by luck.
    steps = np.random.default_rng(0).integers(1, POWERS, shape)
    return np.asarray(1 + np.cumsum(steps, axis=1) % POWERS)
