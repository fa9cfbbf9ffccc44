"""PyTorch: nn.RNN, nn.LSTM and nn.GRU unrolled: Δ at their steps, beyond any range.

    up      s[t] = cell(x[t], s[t-1])        with the module's own weights, in float64
    down    Δx[t], Δs[t-1] = the cell's reverse pass of Δs[t], which has that of the output in it

torch's own kernel hands out no Δ of the states between the steps, and what leaves the range on the
way is lost. Here Δ is m 2^e. What comes out is compared with what the module has returned.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..arrays.rows import LN2
from .tensors import is_a, size_of
from .types import Module, Tensor, torch

FAINT = -(2**20)  # the exponent of zeros
LOWEST = -1000  # of normal numbers


class Returned(NamedTuple):
    """The result of a recurrent module, or its Δ."""

    # Of each step the output; of a packed sequence of fewer and fewer examples.
    steps: Sequence[Tensor]
    # The states after the last step, h or h and c, (layers and directions, examples, units).
    ends: Sequence[Tensor]


def unrolled(
    module: Module, xs: Sequence[Tensor], starts: Sequence[Tensor], made: Returned, delta: Returned
) -> list[float] | None:
    """Return ln ‖Δ‖ of what enters at each step; None if the steps make another output."""
    # torch has no cell for an LSTM with projections.
    if module.proj_size:
        return None
    ways = 2 if module.bidirectional else 1
    with torch.no_grad():
        layers = _up(module, ways, xs, starts, made.steps)
        if layers is None:
            return None
        deltas, ends = [_Scaled.of([v.double()]) for v in delta.steps], _by_layer(delta.ends)
        for tracks in reversed(layers):
            parts = zip(*(v.chunk(ways) for v in deltas), strict=True)
            at_ends = [ends.pop() for _ in tracks][::-1]
            pairs = zip(parts, at_ends, strict=True)
            of_x = [track.down(*pair) for track, pair in zip(tracks, pairs, strict=True)]
            deltas = [_Scaled.sum(several) for several in zip(*of_x, strict=True)]
    return [v.log_norm for v in deltas]


def _up(
    module: Module,
    ways: int,
    xs: Sequence[Tensor],
    starts: Sequence[Tensor],
    made: Sequence[Tensor],
) -> "list[list[_Track]] | None":
    """Return all layers in each direction; None if their steps make another output."""
    count = len(module.all_weights) // ways
    of_top: list[Tensor] = [*zip(*(v.double().chunk(ways, 1) for v in made), strict=True)]
    pairs = zip(_cells(module), _by_layer(starts), strict=True)
    below, layers = [x.double() for x in xs], list[list[_Track]]()
    for number, of_layer in enumerate(zip(*[pairs] * ways, strict=True), 1):
        read = of_top if number == count else [None] * ways
        given = enumerate(zip(of_layer, read, strict=True))
        layers.append([_Track(cell, start, below, bool(i), h) for i, ((cell, start), h) in given])
        together = zip(*(track.outputs for track in layers[-1]), strict=True)
        below = [torch.cat(several, 1) for several in together]
    return layers if all(map(_are_close, below, made)) else None


def _by_layer(states: Sequence[Tensor]) -> list[list[Tensor]]:
    """Return the states of each layer and direction."""
    return [[v.double() for v in several] for several in zip(*states, strict=True)]


def _are_close(a: Tensor, b: Tensor) -> bool:
    eps = torch.finfo(b.dtype).eps
    return bool((a - b).abs().max() <= eps**0.5 * b.abs().max())


class _CellStep(NamedTuple):
    """One step of a layer in one direction, by torch's function (x, states, *weights)."""

    step: Callable[..., Any]
    weights: list[Tensor]

    def __call__(self, x: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the next states, h or h and c."""
        if len(states) == 1:
            return (self.step(x, *states, *self.weights),)
        return tuple(self.step(x, [*states], *self.weights))


def _cells(module: Module) -> list[_CellStep]:
    """Return the cell of each layer and direction."""
    kinds = {"LSTM": torch.lstm_cell, "GRU": torch.gru_cell}
    step = next((kinds[name] for name in kinds if is_a(module, name)), None)
    step = step or getattr(torch, f"{module.mode.lower()}_cell")
    every = module.all_weights
    return [_CellStep(step, [w.detach().double() for w in weights]) for weights in every]


class _Scaled(NamedTuple):
    """Tensors m 2^e."""

    m: Sequence[Tensor]
    e: int

    @classmethod
    def of(cls, m: Sequence[Tensor], e: int = 0) -> "_Scaled":
        """Return tensors times 2^e with the largest entry near 1."""
        k = max(size_of(v)[1] for v in m)
        if not np.isfinite(k):
            return cls(m, FAINT if k < 0 else e)
        by = max(int(k), LOWEST)  # of a subnormal number 2^-k would be beyond the range
        return cls([v * 2.0**-by for v in m], e + by)

    @classmethod
    def sum(cls, several: Sequence["_Scaled"]) -> "_Scaled":
        e = max(v.e for v in several)
        return cls([sum(ms) for ms in zip(*(v.at(e) for v in several), strict=True)], e)

    def at(self, e: int) -> list[Tensor]:
        """Return the tensors to another exponent, which is no lower."""
        return [v * 2.0 ** max(self.e - e, -2000) for v in self.m]

    def chunk(self, count: int) -> list["_Scaled"]:
        """Return the parts of one tensor that belong to each direction."""
        return [_Scaled([part], self.e) for part in self.m[0].chunk(count, 1)]

    @property
    def log_norm(self) -> float:
        squares = [2 * size_of(v)[0] for v in self.m]
        return float(np.logaddexp.reduce(squares)) / 2 + self.e * LN2


class _Track:
    """One layer in one direction, on the way up."""

    def __init__(
        self,
        cell: _CellStep,
        start: list[Tensor],
        xs: Sequence[Tensor],
        is_back: bool,
        read: Sequence[Tensor] | None,
    ) -> None:
        self.cell, self.xs = cell, xs
        self.order = [*range(len(xs))][:: -1 if is_back else 1]
        self.before: dict[int, list[Tensor]] = {}
        after: dict[int, Tensor] = {}
        states = start
        for t in self.order:
            self.before[t] = [v[: len(xs[t])] for v in states]
            after[t], *others = cell(xs[t], self.before[t])
            h = after[t] if read is None else read[t]
            states = _with_rows(states, [h, *others])
        self.outputs = [after[t] for t in range(len(xs))]

    def down(self, deltas: Sequence[_Scaled], ends: Sequence[Tensor]) -> list[_Scaled]:
        """Return Δ of what enters at each step, given that of the outputs and the last states."""
        of_x: dict[int, _Scaled] = {}
        carried = _Scaled.of(ends)
        for t in reversed(self.order):
            e, rows = max(carried.e, deltas[t].e), len(self.xs[t])
            states, (read,) = carried.at(e), deltas[t].at(e)
            states[0] = _with_rows(states[:1], [states[0][:rows] + read])[0]
            x, *below = self._reverse(t, [v[:rows] for v in states])
            of_x[t] = _Scaled.of([x], e)
            carried = _Scaled.of(_with_rows(states, below), e)
        return [of_x[t] for t in range(len(deltas))]

    def _reverse(self, t: int, deltas: list[Tensor]) -> tuple[Tensor, ...]:
        """Return Δ of x and of the states before a step, given that of those after it."""
        with torch.enable_grad():
            x, *states = (v.detach().requires_grad_() for v in (self.xs[t], *self.before[t]))
            after = self.cell(x, states)
        come: tuple[Tensor, ...] = torch.autograd.grad(after, [x, *states], deltas)
        return come


def _with_rows(tensors: Sequence[Tensor], first: Sequence[Tensor]) -> list[Tensor]:
    """Return tensors with other first rows: of a packed sequence the longer examples go on."""
    cat = torch.cat
    return [cat([v, t[len(v) :]]) for t, v in zip(tensors, first, strict=True)]
