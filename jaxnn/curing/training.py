"""Training: what changes do to the loss, each trained on the data given as any other.

    changes -> all trained for 30 steps, each with some step sizes, in two orders of the batches
    -> the better half for 100 steps, with its two best step sizes -> its better half for 300
    -> Trained: the losses of each with its best step size, by whose mean it is ranked

The mean tells how soon a loss falls, too: after some hundred steps several changes have learned the
few examples by heart, and whose loss is then the least says little.

That is successive halving (Jamieson and Talwalkar 2016, arXiv:1502.07943). A training of more steps
begins anew, so that no copy is held in between. All have the same batches, and the unchanged
network is trained like a change. What the time did not reach says so.
"""

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Float, Int, PyTree

log = logging.getLogger("jaxnn.curing")

SECONDS = 30.0  # for all trainings
ROUNDS = 30, 100, 300  # steps
FEWEST = 10  # steps after which trainings are told apart
LEAST = 3  # networks of a round
EARLY = 0.1  # of the steps, whose losses are still those of the start
TIMES = 0.3, 1.0, 3.0, 10.0  # what the step of the optimiser is multiplied by
KEPT_TIMES = 2  # of them after the first round
RATE = 1e-3  # the step size of Adam, where no optimiser is given
BATCH = 32  # examples of a step, at most half of those given
ORDERS = 2


@dataclass(frozen=True, eq=False)
class Trained:
    """A short training of a network, with the best of some step sizes.

    steps: how many; 0 if it was not trained.
    step_size: the best of .0003, .001, .003 and .01; if an optimiser was given, what its steps were
        multiplied by, .3, 1, 3 or 10.
    losses: of each batch before its step, in two orders of the batches.
    mean: of these, but for the first tenth, and of `loss`: what trainings are ranked by.
    loss: of all examples after it, the mean of both orders; nan if it has no number.
    error: the standard error of that; nan of examples that cannot be split into batches.
    reason: why it was not trained, or no longer; "" of one that was trained to the end.
    """

    steps: int = 0
    step_size: float = np.nan
    losses: Float[np.ndarray, "orders steps"] = field(
        default_factory=lambda: np.empty((ORDERS, 0)), repr=False
    )
    mean: float = np.nan
    loss: float = np.nan
    error: float = np.nan
    reason: str = ""

    def __str__(self) -> str:
        if not self.steps:
            return f"not trained, for {self.reason}"
        if self.reason:
            return f"after {self.steps} steps {self.reason}"
        error = "" if np.isnan(self.error) else f" ± {self.error:.1g}"
        after = f"after {self.steps} steps of size {self.step_size:g}"
        return f"{after} its loss is {self.loss:.3g}{error}, in the mean {self.mean:.3g}"

    @property
    def place(self) -> tuple[int, float]:
        """The key that sorts trainings, the best first: the longest, then the least mean loss."""
        return -self.steps, as_rank(self.mean)

    def place_beside(self, unchanged: "Trained") -> tuple[int, tuple[int, float]]:
        """Return what changes are ranked by, given the training of the network as it is.

        First is what has less loss than that, then what was not trained, then the rest.
        """
        if not self.steps:
            return 1, (0, 0.0)
        return (0 if as_rank(self.mean) < as_rank(unchanged.mean) else 2), self.place


class Course(NamedTuple):
    """The loss of each batch before its step, (S,), and that of all examples after them."""

    losses: Float[np.ndarray, " S"]
    end: float

    @property
    def mean(self) -> float:
        """The mean of its losses, but for the first ones; nan if one has no number."""
        return float(np.mean([*self.losses[int(EARLY * len(self.losses)) :], self.end]))


class Training(Protocol):
    """A network that can be trained again and again from where it is."""

    @property
    def count(self) -> int:
        """The number of examples, if they can be split into batches; else 0."""

    @property
    def program(self) -> object:
        """A key of the compiled program; trainings that share one have equal keys."""

    def courses(
        self, times: float, parts: Iterable[Int[np.ndarray, "S b"]], seed: int = 0
    ) -> Iterator[tuple[Course, PyTree]]:
        """Yield the course of each part of a training, and the output for all examples after it.

        Without examples to split, all of them are the batch of each step.

        Args:
            times: what each step is multiplied by.
            parts: the examples of each step.
            seed: of what the network draws.
        """

    def on(self, xs: PyTree, ys: PyTree) -> "Training":
        """Return the training of this network on other examples."""


def orders_of(count: int) -> list[Int[np.ndarray, "S b"]]:
    """Return the examples of each step, in some orders: epochs of permutations, seeded.

    Of examples that cannot be split there is one order, without any.
    """
    if count < 2:
        return [np.zeros((ROUNDS[-1], 0), np.int32)]
    batch = min(BATCH, count // 2)
    per_epoch = count // batch
    epochs = -(-ROUNDS[-1] // per_epoch)

    def order(seed: int) -> Int[np.ndarray, "S b"]:
        rng = np.random.default_rng(seed)
        rows = [rng.permutation(count)[: per_epoch * batch] for _ in range(epochs)]
        return np.concatenate(rows).reshape(-1, batch)[: ROUNDS[-1]].astype(np.int32)

    return [order(seed) for seed in range(ORDERS)]


@dataclass
class Entrant:
    """A network in the race: the step sizes that it still has, and what it has reached.

    times: what the step of the optimiser is multiplied by.
    pace: seconds a step; of the first network where its own is unknown.
    compiling: seconds before its first step.
    """

    name: str
    training: Training
    pace: float
    compiling: float = 0.0
    times: tuple[float, ...] = TIMES
    trained: Trained = field(default_factory=Trained)

    def __post_init__(self) -> None:
        self.orders = orders_of(self.training.count)

    def cost(self, steps: int) -> float:
        """Return the seconds of a round."""
        return len(self.times) * len(self.orders) * steps * self.pace

    def train(self, steps: int, unit: float, until: float) -> bool:
        """Train for some steps with each step size; False if the time does not suffice."""
        log.debug("training %s: %d steps", self.name, steps)
        reached: dict[float, list[Course]] = {}
        for times in self.times:
            reached[times] = []
            for rows in self.orders:
                started = time.monotonic()
                if started + self.compiling + steps * self.pace > until:
                    return False
                self.compiling = 0.0
                reached[times].append(_course(self.training, times, rows[:steps]))
                spent = (time.monotonic() - started) / steps
            self.pace = spent  # of the last order: the first one may have compiled
        means = {times: _mean(reached[times]) for times in self.times}
        self.times = tuple(sorted(means, key=lambda times: as_rank(means[times])))
        best = self.times[0]
        self.trained = _trained(steps, best * unit, reached[best])
        log.debug("training %s: %d steps, loss %.3g", self.name, steps, self.trained.loss)
        return True


def as_rank(loss: float) -> float:
    """Return a loss as it is sorted: one that is no number is the worst."""
    return np.inf if np.isnan(loss) else loss


def _course(training: Training, times: float, rows: Int[np.ndarray, "S b"]) -> Course:
    """Return the course of a training in one part."""
    ((course, _),) = training.courses(times, [rows])
    return course


def _mean(courses: list[Course]) -> float:
    return float(np.mean([course.mean for course in courses]))


def _trained(steps: int, size: float, courses: list[Course]) -> Trained:
    losses, ends = np.stack([c.losses for c in courses]), np.array([c.end for c in courses])
    known = len(ends) > 1 and np.isfinite(ends).all()
    return Trained(
        steps,
        size,
        losses,
        _mean(courses),
        float(np.mean(ends)),
        float(np.std(ends, ddof=1) / len(ends) ** 0.5) if known else np.nan,
        "" if np.isfinite(ends).all() else "its loss is no finite number with any step size",
    )


class Race(NamedTuple):
    """The training of each network, in their order, and whether Ctrl-C ended the race."""

    reached: list[Trained]
    interrupted: bool = False


def raced(trainings: Mapping[str, Training], seconds: float, unit: float) -> Race:
    """Return what each network reaches in the seconds that there are, the first one as it is.

    The first is trained to the end, to compare with. Ctrl-C ends all, and what was reached is told.

    Args:
        trainings: by their names; the best first, as far as known.
        seconds: for all, programs that are compiled included.
        unit: the step size of the optimiser.
    """
    until = time.monotonic() + seconds
    entrants: list[Entrant] = []
    interrupted = False
    over = Trained(reason=f"the {seconds:g} seconds were over before")
    try:
        first = next(iter(trainings.values()))
        pace, compiling = _pace(first)
        known = [first.program, None]
        for name, training in trainings.items():
            is_known = training.program in known
            entrants.append(Entrant(name, training, pace, 0.0 if is_known else compiling))
            known.append(training.program)
        _race(entrants, unit, until)
    except KeyboardInterrupt:
        interrupted = True
    except Exception as error:  # of the user's functions, in a training alone
        told = " ".join(str(error).split())[:200]
        over = Trained(reason=f"a training ends with {type(error).__name__}: {told}")
    reached = [e.trained if e.trained.steps else over for e in entrants]
    return Race(reached or [over] * len(trainings), interrupted)


def _pace(training: Training) -> tuple[float, float]:
    """Return seconds a step of a network, and those that its program takes to be compiled."""
    (rows, *_), few = orders_of(training.count), 2
    started = time.monotonic()
    _course(training, 1.0, rows[:few])
    begun = time.monotonic()
    _course(training, 1.0, rows[:few])
    of_few = time.monotonic() - begun
    return of_few / few, max(begun - started - of_few, 0.0)


def _race(entrants: list[Entrant], unit: float, until: float) -> None:
    """Train all for a first round, and the better ones for longer."""
    first, *others = entrants
    taken = 0
    for most in ROUNDS:
        left = until - time.monotonic()
        if not taken:  # all of them in half of the time, if need be for fewer steps
            steps = max(_affordable(entrants, left / 2, most), FEWEST)
        else:
            steps = _affordable([first, *others[:2]], left, most)
            costs = first.cost(steps) + np.cumsum([other.cost(steps) for other in others])
            others = others[: int(np.searchsorted(costs, left, side="right"))]
        if steps <= taken or not others:
            return
        first.train(steps, unit, until)
        others = [other for other in others if other.train(steps, unit, until)]
        others.sort(key=lambda other: other.trained.place)
        others, taken = others[: max(-(-len(others) // 2), LEAST)], steps
        for entrant in (first, *others):
            entrant.times = entrant.times[:KEPT_TIMES]


def _affordable(entrants: list[Entrant], seconds: float, most: int) -> int:
    """Return for how many steps the time suffices."""
    cost = sum(entrant.cost(1) for entrant in entrants)
    return min(int(seconds / cost), most) if cost else most
