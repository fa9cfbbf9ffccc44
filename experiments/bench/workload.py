"""A workload: what the process of one side of a comparison is asked for."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple


class Floor(NamedTuple):
    """What a repetition takes at least: its operations over the rates of this process.

    flops: floating-point operations of all matrix products.
    flop_rate: of matrix products of the same shapes, a second.
    randoms: random numbers that are drawn.
    random_rate: of drawing them, a second.
    """

    flops: float
    flop_rate: float
    randoms: float = 0.0
    random_rate: float = 1.0

    @property
    def seconds(self) -> float:
        """The floor."""
        return self.flops / self.flop_rate + self.randoms / self.random_rate


class Workload(NamedTuple):
    """One side of a comparison, ready to run; a module of this package makes it by `workload`.

    run: one repetition, up to its last result.
    numbers: a few of the results, logarithms or of order 1, for inputs that are in a folder: ours
        draws them and writes them there, a peer reads them. Both sides give the same.
    floor: how fast a repetition could be; ours alone has it.
    memory: bytes that the program of a repetition takes, where that is measured.
    """

    run: Callable[[], object]
    numbers: Callable[[Path], Sequence[float]]
    floor: Callable[[], Floor] | None = None
    memory: Callable[[], float] | None = None
