"""A workload: the work that the process of one side of a comparison is asked for."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple


class Floor(NamedTuple):
    """The least time of a repetition: its operations over the rates of this process.

    flops: floating-point operations of all matrix products.
    flop_rate: operations a second, of matrix products of the same shapes.
    randoms: random numbers that are drawn.
    random_rate: random numbers a second.
    """

    flops: float
    flop_rate: float
    randoms: float = 0.0
    random_rate: float = 1.0

    @property
    def seconds(self) -> float:
        """Seconds that a repetition takes at least."""
        return self.flops / self.flop_rate + self.randoms / self.random_rate


class Workload(NamedTuple):
    """One side of a comparison, ready to run; a module of this package makes it by `workload`.

    run: one repetition, up to its last result.
    numbers: a few of the results, logarithms or of order 1, for inputs that are in a folder: ours
        draws them and writes them there, a peer reads them. Both sides must give equal numbers.
    floor: the least time of a repetition; ours alone has it.
    memory: bytes that the program of a repetition takes, if that is measured.
    """

    run: Callable[[], object]
    numbers: Callable[[Path], Iterable[float]]
    floor: Callable[[], Floor] | None = None
    memory: Callable[[], float] | None = None


def bytes_of(program: Any) -> float:
    """Return the memory that a compiled program of JAX takes besides that of its arguments."""
    sizes = program.memory_analysis()
    return float(sizes.temp_size_in_bytes + sizes.output_size_in_bytes)
