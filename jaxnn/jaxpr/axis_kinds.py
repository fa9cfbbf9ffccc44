"""Axes of the values of a program: the examples, the positions, the features that each is made of.

    (B, T, n) -> z q, (B, T, n) -> reshape, (B, T, H, n / H) -> q kᵀ, (B, H, T, T)
    of the last one: examples, features (a head), positions, positions

An axis is a list of factors, the outermost first: a reshape splits and joins them, all else hands
them on. So the heads of an attention are known in whatever order its axes are written.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, pairwise, takewhile
from math import prod

from ..arrays.rows import is_float
from ..arrays.spread import ArrayOrType
from . import primitives
from .program import Flat, TracedStep

EXAMPLES, POSITIONS, FEATURES = "examples", "positions", "features"


@dataclass(frozen=True, eq=False)
class AxisFactor:
    """A factor of an axis: what it counts, and how many of them; one factor is equal to itself."""

    kind: str
    size: int
    # In the order in which they come up, of a split axis from the outermost on.
    number: int = field(default_factory=count().__next__)


Axis = tuple[AxisFactor, ...]  # none of an axis of size 1


def axis_of(kind: str, size: int) -> Axis:
    """Return an axis of one factor."""
    return (AxisFactor(kind, size),) if size != 1 else ()


def axes_of_state(state: ArrayOrType, is_beside: bool = False) -> tuple[Axis, ...]:
    """Return the axes of a state: examples first, of floats features last, else positions."""
    last = FEATURES if is_float(state) else POSITIONS
    inner = FEATURES if is_beside else POSITIONS  # the heads of a mask are no positions
    kinds = [EXAMPLES, *[inner] * (len(state.shape) - 2), last]
    return tuple(axis_of(*pair) for pair in zip(kinds, state.shape, strict=False))


@dataclass(frozen=True)
class AxisKinds:
    """The axes of all values of a program that depend on the state, and of what multiplies them."""

    flat: Flat
    made: dict[int, TracedStep]  # the step that makes a value
    known: dict[int, tuple[Axis, ...]]  # of the values
    # Of the other factors of their products, which do not depend on the state.
    others: dict[int, tuple[Axis, ...]] = field(default_factory=dict)
    # Pairs of factors that count the same, since their axes meet entry by entry.
    same: list[tuple[AxisFactor, AxisFactor]] = field(default_factory=list)

    @classmethod
    def of(cls, flat: Flat, states: Sequence[int], beside: Collection[int] = ()) -> "AxisKinds":
        """Return those of a program and the values of its state; of those beside, as masks, too."""
        made = {v: step for step in flat.steps for v in step.outputs}
        axes = cls(flat, made, {v: axes_of_state(flat.types[v], v in beside) for v in states})
        for step in flat.steps:
            if not axes.known.keys().isdisjoint(step.inputs):
                sides = [axes.known.get(v, ()) for v in step.inputs]
                axes.known.update({v: axes._of(step, v, sides) for v in step.outputs})
        return axes

    def are_same(self, factor: AxisFactor) -> set[AxisFactor]:
        """Return all factors that count the same."""
        same, before = {factor}, 0
        while len(same) > before:
            before = len(same)
            same.update(v for pair in self.same if not same.isdisjoint(pair) for v in pair)
        return same

    def _of(
        self, step: TracedStep, out: int, sides: Sequence[tuple[Axis, ...]]
    ) -> tuple[Axis, ...]:
        """Return the axes of an output, given those of the inputs."""
        shape, params = self.flat.shape(out), step.eqn.params
        match step.eqn.primitive.name:
            case primitives.RESHAPE:
                return _regrouped([factor for axis in sides[0] for factor in axis], shape)
            case primitives.CONVOLUTION:
                examples, features, *_ = params["dimension_numbers"].out_spec
                kinds = {examples: EXAMPLES, features: FEATURES}
                return tuple(axis_of(kinds.get(i, POSITIONS), n) for i, n in enumerate(shape))
            case primitives.OPAQUE:
                return _first_axes(next(filter(None, sides), ()), shape)
            case primitives.DOT:
                sides = [self._of_factor(v) for v in step.inputs]
                summed = zip(*params["dimension_numbers"][0], strict=True)
                pairs = [(sides[0][i], sides[1][j]) for i, j in summed]
                if all(v in self.known for v in step.inputs):
                    for axis, other in pairs:
                        self._merged([axis, other], _size(axis))
                elif step.inputs[0] not in self.known:
                    pairs = [pair[::-1] for pair in pairs]
                self.same.extend(self._summed(pairs))
        several: list[list[Axis]] = [[] for _ in shape]  # for each axis, those that come to be it
        call = self.flat.call(step)._replace(out=shape)
        for places, axes in zip(step.rule.places(call), sides, strict=True):
            for place, axis in zip(places, axes, strict=False):
                if place is not None:
                    several[place].append(axis)
        return tuple(map(self._merged, several, shape))

    def _summed(
        self, pairs: Sequence[tuple[Axis, Axis]]
    ) -> Iterator[tuple[AxisFactor, AxisFactor]]:
        """Yield factors that are summed together with features that are those of the state."""
        made = {factor for axes in self.others.values() for axis in axes for factor in axis}
        for axis, other in pairs:
            sizes = [[factor.size for factor in v] for v in (axis, other)]
            if len(axis) > 1 and sizes[0] == sizes[1] and not made.issuperset(axis):
                yield from zip(axis, other, strict=True)

    def _merged(self, several: list[Axis], size: int) -> Axis:
        """Return the axis that one of several operands has; of another size one of its kind."""
        same = [axis for axis in several if _size(axis) == size]
        told = [axis for axis in same if any(factor.kind != FEATURES for factor in axis)]
        if same:
            self.same.extend(
                (axis[0], other[0])
                for axis, other in pairwise(same)
                if len(axis) == len(other) == 1
            )
            return min(told or same, key=lambda axis: [factor.number for factor in axis])
        kinds = [factor.kind for axis in several for factor in axis]
        other = [kind for kind in kinds if kind != FEATURES]
        return axis_of((other or [FEATURES])[0], size)

    def _of_factor(self, v: int) -> tuple[Axis, ...]:
        if v in self.known:
            return self.known[v]
        if v not in self.others:
            step = self.made.get(v)
            if step is not None and step.rule.kind in (primitives.COPY, primitives.SHAPE):
                self.others[v] = self._of(step, v, [*map(self._of_factor, step.inputs)])
            else:
                self.others[v] = tuple(axis_of(FEATURES, n) for n in self.flat.types[v].shape)
        return self.others[v]


def _first_axes(axes: Sequence[Axis], shape: Sequence[int]) -> tuple[Axis, ...]:
    """Return axes of what nothing is known of: the first ones stay that have their sizes."""
    stay = takewhile(lambda pair: _size(pair[0]) == pair[1], zip(axes, shape, strict=False))
    first = [axis for axis, _ in stay]
    return (*first, *(axis_of(FEATURES, n) for n in shape[len(first) :]))


def _size(axis: Axis) -> int:
    return prod(factor.size for factor in axis)


def _regrouped(factors: list[AxisFactor], shape: Sequence[int]) -> tuple[Axis, ...]:
    """Return the axes of a reshaped value; a factor that two axes share is split."""
    waiting, axes = factors[::-1], []
    for size in shape:
        axis: list[AxisFactor] = []
        need = size
        while need > 1 and waiting:
            factor = waiting.pop()
            if need % factor.size:
                if factor.size % need:  # no product of whole factors
                    return tuple(axis_of(FEATURES, n) for n in shape)
                outer, inner = (AxisFactor(factor.kind, n) for n in (need, factor.size // need))
                waiting.append(inner)
                factor = outer
            axis.append(factor)
            need //= factor.size
        axes.append(tuple(axis))
    return tuple(axes)
