"""Parameters and noise: how weights were drawn, which modules are one, what dropout leaves.

weights, (…, in, out)   equal entries, equal columns: units that compute the same
output, drawn again     its noise against what differs between examples
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from .trial import Trial, as_wide

DRAWS = 4  # of the output
CORNER = 256  # rows and columns, at most, in which a direction is looked for
TIMES = 8  # that it is multiplied with them
KEPT = 16  # widths of arrays


@dataclass(frozen=True)
class WeightDraw:
    """The draw of one array of weights."""

    is_constant: bool  # all entries are one number, not 0
    distinct: float  # share of columns, or of groups, that differ from those before
    gain: float  # √fan_in times the root mean square: by which it multiplies what is random
    edge: float = 1.0  # largest singular value over that of independent entries
    mean_edge: float = 0.0  # likewise that of the mean of its entries alone
    is_one_row: bool = False  # all rows are equal, or all columns, as those of Mamba's A_log

    @property
    def is_drawn(self) -> bool:
        """True if its entries differ, and are no copies of one row."""
        return self.gain > 0 and not self.is_constant and not self.is_one_row

    @property
    def of_random(self) -> float:
        """Its gain; 0 of one that nobody drew."""
        return self.gain if self.is_drawn else 0.0

    @classmethod
    def of(cls, v: np.ndarray) -> "WeightDraw":
        """Return how weights (…, in, out) were drawn."""
        columns = as_wide(v).reshape(-1, v.shape[-1])
        marks = _random(len(columns)) @ columns
        size = float(np.sqrt(np.mean(np.square(columns))))
        known = np.unique(np.round(marks / max(size, 1e-300), 9))
        distinct = min(len(known) / len(marks), _distinct_groups(v)) if size > 0 else 1.0
        return cls(
            bool(size > 0 and (columns == columns[0, 0]).all()),
            distinct,
            size * len(columns) ** 0.5,
            *_edges(columns),
            bool((columns == columns[:1]).all() or (columns == columns[:, :1]).all()),
        )


@lru_cache(maxsize=KEPT)
def _random(count: int) -> np.ndarray:
    """Return random numbers, the same ones for each array."""
    return np.random.default_rng(0).normal(size=count)


def _distinct_groups(v: np.ndarray) -> float:
    """Return the share of parts along a first axis that differ, of three axes or more."""
    return len({part.tobytes() for part in v}) / len(v) if v.ndim > 2 else 1.0


def _edges(matrix: np.ndarray) -> tuple[float, float]:
    """Return the largest singular value, of all and of the mean, over that of random entries."""
    # Of a large matrix a part is enough.
    corner = matrix[tuple(slice(None, None, -(-n // CORNER)) for n in matrix.shape)]
    size = float(np.sqrt(np.mean(np.square(corner))))
    if not 0 < size < np.inf:
        return 1.0, 0.0
    direction = _random(corner.shape[1])
    for _ in range(TIMES):
        direction = corner.T @ (corner @ direction) / (size * np.linalg.norm(direction))
    largest = np.linalg.norm(corner @ direction) / np.linalg.norm(direction)
    independent = size * sum(n**0.5 for n in corner.shape)
    of_mean = abs(np.mean(corner)) * corner.size**0.5
    return float(largest / independent), float(of_mean / independent)


@dataclass(frozen=True)
class Noise:
    """Root mean squares of the output: of what random numbers add, and of its mean over them."""

    of_draws: float
    of_mean: float
    drops_in_eval: bool = False  # numbers are dropped in eval mode too
    dropped: float = 0.0  # the largest share of numbers that are

    @classmethod
    def of(cls, trial: Trial) -> "Noise | None":
        """Return the noise of a trial; None without any."""
        draws = trial.draws(DRAWS)
        if draws is None:
            return None
        draws = as_wide(draws)
        noise = np.mean(np.var(draws, axis=0, ddof=1))
        square = np.mean(np.square(draws.mean(axis=0))) - noise / DRAWS  # of what is left of it
        size = float(np.sqrt(max(square, 0.0)))
        return cls(float(np.sqrt(noise)), size, trial.drops_in_eval, trial.dropped)


@dataclass(frozen=True)
class KnownParameters:
    """Facts about parameters beside their sizes; see `Trial`."""

    draws: Mapping[str, WeightDraw] = field(default_factory=dict)
    untouched_norms: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()
    unregistered: tuple[str, ...] = ()
    equal: tuple[tuple[str, ...], ...] = ()  # of arrays that were drawn
    resting_norms: tuple[str, ...] = ()
    stopped: tuple[str, ...] = ()
    flat: tuple[str, ...] = ()  # the same all along one of their axes

    @classmethod
    def of(cls, trial: Trial) -> "KnownParameters":
        """Return what a trial shows of its parameters."""
        matrices = {path: v for path, v in trial.weights.items() if _is_matrix(v)}
        draws = {path: WeightDraw.of(v) for path, v in matrices.items()}
        drawn = {path: matrices[path] for path, draw in draws.items() if draw.is_drawn}
        others = trial.untouched_norms, trial.repeated, trial.unregistered
        flat = tuple(path for path, v in trial.arrays.items() if _is_flat(v))
        return cls(draws, *others, _equal(drawn), trial.resting_norms, trial.stopped, flat)


def _equal(matrices: Mapping[str, np.ndarray]) -> tuple[tuple[str, ...], ...]:
    """Return the paths of equal arrays, in groups of two and more."""
    groups: dict[tuple[object, ...], list[str]] = {}
    for path, v in matrices.items():
        groups.setdefault((v.shape, v.dtype, v.tobytes()), []).append(path)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def _is_flat(v: np.ndarray) -> bool:
    """Tell an array all of whose rows along one axis are equal, as queries that are zeros."""
    return any(
        count > 1 and bool((v == v.take([0], axis)).all()) for axis, count in enumerate(v.shape)
    )


def _is_matrix(v: np.ndarray) -> bool:
    """Tell arrays (…, in, out) of several units; gains of several layers end in an axis of 1."""
    return bool(v.shape[-1] > 1 and sorted(v.shape)[-2] > 1)
