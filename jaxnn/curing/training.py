"""Training: what changes do to the loss, each trained on the data given as any other.

    changes -> all trained for 30 steps, each with some step sizes -> the better half for 100 steps,
    with its two best step sizes, in two orders of the batches -> its better half for 300
    -> ShortTraining: the losses of each with its best step size, by whose mean it is ranked

That is successive halving (Jamieson and Talwalkar 2016, arXiv:1502.07943); a training of more steps
begins anew. The mean tells how soon a loss falls: in the end several have learned all by heart.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ..texts import counted
from ..train.learner import Learner, LossCourse

log = logging.getLogger("jaxnn.curing")

SECONDS = 60.0  # for all trainings, at most
ROUNDS = 30, 100, 300  # steps
LEAST = 3  # networks of a round
TIMES = 0.3, 1.0, 3.0, 10.0  # what the step of the optimiser is multiplied by
KEPT_TIMES = 2  # of them after the first round
RATE = 1e-3  # the step size of Adam, where no optimiser is given
BATCH = 32  # examples of a step, at most half of those given
ORDERS = 2


@dataclass(frozen=True, eq=False)
class ShortTraining:
    """A short training of a network, with the best of some step sizes."""

    steps: int = 0  # 0 if it was not trained
    step_size: float = np.nan  # or times that of an optimiser given
    losses: Float[np.ndarray, "orders steps"] = field(
        default_factory=lambda: np.empty((ORDERS, 0)), repr=False
    )
    # of losses and loss, but for the first tenth: what trainings are ranked by
    mean: float = np.nan
    loss: float = np.nan  # of all examples after it, the mean over orders; nan if it has no number
    error: float = np.nan  # its standard error; nan of one order
    reason: str = ""  # why it was not trained, or no longer
    of_optimizer: bool = False  # True if an optimiser was given

    def __str__(self) -> str:
        if not self.steps:
            return f"not trained, for {self.reason}"
        if self.reason:
            return f"after {counted(self.steps, 'step')} {self.reason}"
        error = "" if np.isnan(self.error) else f" ± {self.error:.1g}"
        size, steps = f"{self.step_size:g}", counted(self.steps, "step")
        size = f"{size} times the optimiser's size" if self.of_optimizer else f"size {size}"
        after = f"after {steps} of {size}"
        return f"{after} its loss is {self.loss:.3g}{error}, in the mean {self.mean:.3g}"

    @property
    def place(self) -> tuple[int, float]:
        """The key that sorts trainings, the best first: the longest, then the least mean loss."""
        return -self.steps, as_rank(self.mean)


def orders_of(count: int) -> list[Int[np.ndarray, "S b"]]:
    """Return the examples of each step, in some orders: epochs of permutations, seeded."""
    # Of examples that cannot be split there is one order, without any.
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
    """A network in the race: the step sizes that it still has, and what it has reached."""

    learner: Learner
    times: tuple[float, ...] = TIMES  # of the optimiser's step, the best first after a round
    trained: ShortTraining = field(default_factory=ShortTraining)
    pace: float = 0.0  # seconds a step of its last training

    def after(self, steps: int, unit: float, until: float) -> "Entrant":
        """Return it as it is after a round; raise TimeoutError if the seconds do not suffice."""
        log.debug("training a change: %d steps", steps)
        reached: dict[float, list[LossCourse]] = {times: [] for times in self.times}
        orders = orders_of(self.learner.count)[: 1 if steps == ROUNDS[0] else ORDERS]
        for times, rows in product(self.times, orders):
            started = time.monotonic()
            if started + steps * self.pace >= until:
                raise TimeoutError
            try:
                reached[times].append(self.learner.course(times, rows[:steps]))
            except Exception as error:  # of the user's functions, in a training alone
                told = " ".join(str(error).split())[:200]
                reason = f"a training ends with {type(error).__name__}: {told}"
                return Entrant(self.learner, trained=ShortTraining(reason=reason))
            self.pace = (time.monotonic() - started) / steps
        best, *more = sorted(reached, key=lambda times: as_rank(_mean(reached[times])))
        trained = _trained(steps, best * unit, reached[best])
        return Entrant(self.learner, (best, *more)[:KEPT_TIMES], trained, self.pace)


def as_rank(loss: float) -> float:
    """Return a loss as it is sorted: one that is no number is the worst."""
    return np.inf if np.isnan(loss) else loss


def _mean(courses: list[LossCourse]) -> float:
    return float(np.mean([course.mean for course in courses]))


def _trained(steps: int, size: float, courses: list[LossCourse]) -> ShortTraining:
    losses, ends = np.stack([c.losses for c in courses]), np.array([c.end for c in courses])
    known = len(ends) > 1 and np.isfinite(ends).all()
    return ShortTraining(
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

    reached: list[ShortTraining]
    interrupted: bool = False


def raced(learners: Sequence[Learner], seconds: float, unit: float) -> Race:
    """Return what each network reaches, the first one as it is, in the seconds given."""
    until, interrupted = time.monotonic() + seconds, False
    why, before = f"the {seconds:g} seconds were over", f"before all had taken {ROUNDS[0]} steps"
    entrants = dict(enumerate(map(Entrant, learners)))
    racing = [*entrants]
    try:
        # The first takes part in every round. A round that is not ended counts for none.
        for steps in ROUNDS:
            entrants |= {i: entrants[i].after(steps, unit, until) for i in racing}
            others = [i for i in racing[1:] if entrants[i].trained.steps]
            others.sort(key=lambda i: entrants[i].trained.place)
            racing = [0, *others[: max(-(-len(others) // 2), LEAST)]]
    except TimeoutError:
        log.debug("the %g seconds are over", seconds)
    except KeyboardInterrupt:
        interrupted, why = True, "it was stopped"
    over = ShortTraining(reason=f"{why} {before}")
    reached = [one.trained for one in entrants.values()]
    reached = [one if one.steps or one.reason else over for one in reached]
    return Race(reached, interrupted)
