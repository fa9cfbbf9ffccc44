"""Races: changes of a program, each trained on a copy for a moment.

    table of changes -> each made, trained for some steps -> the better half for more
    -> scores -> the first in the order of the table of those that are clearly better
    cures that keep the gradient -> each trained with some step sizes -> the better half for more
    -> mean losses on the way, by which they are ranked

Rounds are counted in steps, so that the answer does not depend on the machine; the clock ends it,
and makes them shorter where steps are so slow that else few changes would be tried.
Where no change makes the program learn, the best are made two by two. A mean loss tells how soon it
falls: in the end several cures have learned all by heart. That is successive halving (Jamieson and
Talwalkar 2016, arXiv:1502.07943).
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from html import escape
from operator import attrgetter
from typing import Any

import numpy as np

from ..progress import LASTING
from ..pytorch.restore import same_random_states
from ..texts import counted
from ..train.descent import RATE
from ..train.learner import Learner
from ..train.torch_learner import original_kept
from . import causes, layers  # noqa: F401  # which enter their changes
from .changes import CHANGES, Change, draw, ordered, resized
from .score import OTHER, Aim, Score, score_of
from .setup import Attempt, Setup

log = logging.getLogger("jaxnn.trials")

ROUNDS = 60, 240  # steps
SHORTER = 1, 2, 4  # times, of networks whose steps are slow
PROBE = 10  # steps by which they are timed
WAIT = 2.0  # times what the rehearsal took
FEWEST = 6  # changes that stay
MARGIN = 0.25  # of scores, between a program that learns and one that does not
LEAST = 0.4  # score of a program that learns
ENOUGH = 0.6  # score of a program that needs no change
MOST_SCORED = 32  # batches
SURE = 0.9  # score of a program that learns all; where a finding names the change, the last one
NEAR = 0.8  # of what the best change gains: what is as good
BEST = 3  # changes that are made two by two
OF_STEPS = frozenset(("step", "adam"))
FINER = 1 / 3, 3.0  # times the step size that does
SECONDS = 15.0, 40.0  # of the processor, of PyTorch and of JAX, at least
AS_IT_IS = Change("as it is", lambda setup: setup, "", "nothing changed")
SHOWN = 12  # rows of a printed table
BAR = "#3b82c4"  # colour of a score
NOT_KNOWN = Score(np.nan, "no score")
DRAWN = {  # what is told of a change of structure whose weights are drawn anew
    "says": ", with weights of variance 1 / (number of inputs)",
    "advises": " Draw the weights with a variance of 1 / (number of inputs), and set biases to 0.",
}
# Of cures
SECONDS_OF_CURES = 60.0  # of the processor, for all trainings, at most
ROUNDS_OF_CURES = 30, 100, 300  # steps
TIMES = 0.3, 1.0, 3.0, 10.0  # what the step of the optimiser is multiplied by
KEPT_TIMES = 2  # of them of the network as it is
ENDS = "a training ends with"
BY_PLACE = attrgetter("place")
EARLY = 0.1  # of the steps, whose losses are still those of the start


@dataclass
class Tried:
    """A change, what its program has learned in some steps, and why it has not if it could not."""

    names: tuple[str, ...] = ()
    says: str = ""
    advice: str = ""
    code: str = ""
    score: Score = NOT_KNOWN
    steps: int = 0
    reason: str = ""
    setup: Setup | None = field(default=None, repr=False)
    learner: Learner | None = field(default=None, repr=False)
    losses: list[float] = field(default_factory=list, repr=False)

    @classmethod
    def of(cls, change: Change, setup: Setup, before: "Tried | None" = None) -> "Tried":
        """Return a change that was made, of what another one has changed before it."""
        texts = change.says, change.advises, change.code
        made = [text.format(**setup.words) for text in texts]
        if setup.attempt is not None:
            made[-1], setup = setup.attempt.code, setup.formed
        names: tuple[str, ...] = (change.name,)
        if before is not None:
            names = (*before.names, *names)
            olds = before.says, before.advice, before.code
            made = [f"{old}{by}{new}" for old, by, new in zip(olds, JOINED, made, strict=True)]
        says, advice, code = made
        return cls(names, says, advice, code, setup=setup)

    def train(self, steps: int, reference: float, is_over: Callable[[], bool] = bool) -> None:
        """Take steps, up to a number of them, and say what it has learned.

        Raises:
            TimeoutError: the time is over.
        """
        self.take(steps, is_over)
        if not self.reason:
            self.rate(reference)
            self.steps = len(self.losses)  # those that the score is of

    def rate(self, reference: float = np.nan) -> None:
        """Say what it has learned."""
        assert self.setup is not None
        assert self.learner is not None
        try:
            self.score = scored(self.learner, self.setup, self.losses, reference)
        except Exception as error:
            self._end(error)

    def take(self, steps: int, is_over: Callable[[], bool]) -> None:
        """Take steps, up to a number of them, or say why it cannot; see `train`."""
        assert self.setup is not None
        over, before = False, self.losses
        try:
            if self.learner is None:
                self.setup.tools.seed(0)
                self.learner, self.losses = self.setup.learner(), []
            while len(self.losses) < steps and np.isfinite(self.losses[-1:]).all():
                if is_over():
                    over = True
                    break
                self.losses.append(self.learner.step(self.setup.batch(len(self.losses))))
        except Exception as error:  # of a change that its network or its loss does not take
            self._end(error)
        finally:  # of a training that was begun anew, and stopped
            self.losses = max(self.losses, before, key=len)
        if over:
            raise TimeoutError

    def _end(self, error: Exception) -> None:
        self.reason = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
        self.score = NOT_KNOWN

    @property
    def is_of_steps(self) -> bool:
        """True if only the optimiser is another one, or takes other steps."""
        return OF_STEPS.issuperset(self.names)

    @property
    def value(self) -> float:
        """Its score; -inf without one."""
        return self.score.value if np.isfinite(self.score.value) else -np.inf

    @property
    def mean(self) -> float:
        """The mean of its losses, but for the first ones; nan if one has no number."""
        late = self.losses[int(EARLY * self.steps) : self.steps]
        return float(np.mean(late)) if late else np.nan

    @property
    def place(self) -> tuple[int, float]:
        """The key that sorts cures, the best first: the longest training, the least mean loss."""
        return -self.steps, as_rank(self.mean)

    def __str__(self) -> str:
        if not self.steps:
            return f"not trained, for {self.reason}"
        after = f"after {counted(self.steps, 'step')}"
        if not np.isfinite(self.mean):
            return f"{after} its loss is no finite number with any step size"
        return (
            f"{after} of {self.step_size} {self.score.text}, its loss {self.mean:.3g} in the mean"
        )

    @property
    def step_size(self) -> str:
        """The step size in words."""
        assert self.setup is not None
        times = self.setup.times
        is_adam = self.setup.program.optimizer is None
        return f"size {RATE * times:g}" if is_adam else f"{times:g} times the optimiser's size"


JOINED = ", and ", " ", "\n"


def as_rank(loss: float) -> float:
    """Return a loss as it is sorted: one that is no number is the worst."""
    return np.inf if np.isnan(loss) else loss


def scored(learner: Learner, setup: Setup, losses: Sequence[float], reference: float) -> Score:
    """Return what a program has learned of its batches."""
    if not np.isfinite(losses).all():
        return Score(-1.0, f"a loss of {losses[-1]}")
    count = len(setup.steps)
    batches = [setup.batch(i) for i in range(min(count, MOST_SCORED))]
    outputs = [learner.output(batch) for batch in batches]
    labels = [learner.trial(batch).ys for batch in batches]
    if Aim.of(outputs[0], labels[0]).kind == OTHER:
        end = float(np.median(losses[-max(count, len(losses) // 10) :]))
        return Score((reference - end) / max(abs(reference), 1e-30), f"a loss of {end:.3g}")
    if setup.is_split:
        outputs, labels = [_joined(outputs)], [_joined(labels)]
    scores = [score_of(output, ys) for output, ys in zip(outputs, labels, strict=True)]
    known = sorted(score for score in scores if score is not None)
    # Of several batches the one in the middle, since shapes of batches may differ.
    return known[(len(known) - 1) // 2] if known else NOT_KNOWN


def _joined(arrays: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """Return the arrays of parts of a batch as one; None if one is not known."""
    known = [v for v in arrays if v is not None]
    return np.concatenate(known) if len(known) == len(arrays) else None


@dataclass(frozen=True)
class Trials:
    """Changes that were tried on a program that does not learn; `print` it.

    tried: all, the best first.
    as_it_is: what the program learns by itself.
    answer: the change that is told; None where no change makes it learn.
    ended: why it ended before all were tried, by Ctrl-C or by the clock; else empty.
    steps: that it was trained for as it is.
    """

    tried: tuple[Tried, ...]
    as_it_is: Score
    answer: Tried | None = None
    ended: str = ""
    steps: int = ROUNDS[-1]

    @property
    def learns(self) -> bool:
        """True if the program learns unchanged, in more steps than the rehearsal had."""
        return self.as_it_is.value >= ENOUGH

    @property
    def in_vain(self) -> frozenset[str]:
        """The names of changes that were tried and do not make it learn."""
        done = [one for one in self.tried if not one.reason]
        helps = {name for one in done if self._is_better(one) for name in one.names}
        helps |= OF_STEPS if helps & OF_STEPS else set()  # with other steps it learns
        return frozenset(name for one in done for name in one.names) - helps

    def confirms(self, changes: Iterable[str]) -> bool:
        """Tell whether it learns better with one of some changes."""
        return any(self._is_better(one) and {*one.names}.issubset(changes) for one in self.tried)

    def _is_better(self, one: Tried) -> bool:
        return one.value >= max(self.as_it_is.value, 0.0) + MARGIN

    def sentences(self, where: str = "print checkup.trials") -> Iterator[str]:
        """Yield what makes it learn, and how much was tried in vain; where says where to see it."""
        if self.learns:
            yield f"It learns in {counted(self.steps, 'step')}: {self.as_it_is.text}."
            return
        if self.answer is not None:
            how = "" if self.answer.value >= SURE else " in part"
            before = ""
            if self.as_it_is.value >= MARGIN:
                how, before = " better", f" instead of {self.as_it_is.text}"
            yield f"It learns{how} with {self.answer.says}: {self.answer.score.text}{before}."
        count = sum(not self._is_better(one) for one in self.tried)
        if count:
            what = "other change" if self.answer is not None else "change"
            yield f"Tried in vain: {counted(count, what)} ({where})."
        if self.ended:
            yield f"Not all changes were tried: {self.ended}."

    def _rows(self) -> Iterator[tuple[str, Score, str]]:
        """Yield what was changed, its score, and how many steps it took or why it could not."""
        yield "as it is", self.as_it_is, counted(self.steps, "step")
        for one in self.tried:
            yield one.says, one.score, one.reason or counted(one.steps, "step")

    def __repr__(self) -> str:
        width = max(len(score.text) for _, score, _ in self._rows())
        lines = [f"{score.text:{width}}  {says} ({how})" for says, score, how in self._rows()]
        more = len(lines) - SHOWN
        return "\n".join(lines[:SHOWN] + [f"… {more} more, in checkup.trials.tried"] * (more > 0))

    def _repr_html_(self) -> str:
        rows = (
            f"<tr><td>{escape(says)}</td><td><div style='background:{BAR};height:.8em;"
            f"width:{10 * max(np.nan_to_num(score.value), 0.0):.2f}em'></div></td>"
            f"<td>{escape(score.text)}</td><td>{escape(how)}</td></tr>"
            for says, score, how in self._rows()
        )
        return f"<table>{''.join(rows)}</table>"


def raced(
    setup: Setup,
    reference: float,
    seconds: float,
    named: Sequence[str] = (),
    hinted: Sequence[str] = (),
    only_named: bool = False,
) -> Trials:
    """Return what changes do to a program that does not learn.

    Args:
        seconds: of the processor, at most.
        named: changes that are told before others, and tried first.
        hinted: changes that are tried next, while there is time.
        only_named: whether no others are tried.
    """
    race = _Race(setup, reference, seconds, named, hinted, only_named)
    ended = ""
    with setup.tools.cheaply(setup):
        try:
            race.run()
        except KeyboardInterrupt:
            ended = "it was stopped"
        except TimeoutError:
            ended = f"the {seconds:.3g} seconds of processor time were over (seconds=)"
    done = [one for one in race.tried if one.score is not NOT_KNOWN or one.reason]
    best_first = sorted(done, key=lambda one: -one.value)
    for one in race.tried:
        one.learner = one.setup = None  # copies of the network
    as_it_is = race.as_it_is
    return Trials(tuple(best_first), as_it_is.score, race.answer, ended, as_it_is.steps)


@dataclass
class _Race:
    """A race in progress."""

    setup: Setup
    reference: float
    seconds: float
    named: Sequence[str]
    hinted: Sequence[str]
    only_named: bool = False

    def __post_init__(self) -> None:
        names = [one.name for one in ordered()]
        self.rest = [name for name in (*self.hinted, *names) if name not in self.named]
        self.order = [*dict.fromkeys((*self.named, *names))]
        self.until = time.process_time() + self.seconds
        self.tried: list[Tried] = []
        self.as_it_is = Tried.of(AS_IT_IS, self.setup)

    @property
    def answer(self) -> Tried | None:
        """The change that is told by now."""
        return _answer(self.tried, self.as_it_is.score, self.order)

    def run(self) -> None:
        """Try changes: those named, all, the best two by two, and step sizes between."""
        first, last = self._rounds()
        self._train([self.as_it_is], first)
        if self.named and self.as_it_is.value < ENOUGH:  # which it is compared with
            self._train([self.as_it_is], last)
        if self.as_it_is.value >= ENOUGH:
            return
        self._train(self._entered(made_of(self.setup, self.named)), last)
        if self.only_named or any(one.value >= SURE for one in self.tried):
            return
        begun = self._train(self._entered(made_of(self.setup, self.rest)), first)
        self._train([self.as_it_is], last)
        if self.as_it_is.value >= ENOUGH:
            return
        self._train(_best(begun, max(FEWEST, len(begun) // 2)), last)
        if self.answer is None:
            made = self._entered(_pairs(self.tried, self.order, self.named))
            self._train(_best(self._train(made, first), FEWEST), last)
        if (answer := self.answer) is not None and answer.names[-1] == "step":
            self._train(self._entered(_finer(answer, times) for times in FINER), last)

    def _rounds(self) -> tuple[int, int]:
        """Return the steps of both rounds, of which the first is to take half of the time."""
        self._train([self.as_it_is], 1)  # which a program may be compiled for
        begun = time.process_time()
        self._train([self.as_it_is], PROBE)
        of_step = (time.process_time() - begun) / PROBE
        most = self.seconds / 2 / max(of_step * len(self.order), 1e-9)
        times = next((v for v in SHORTER if ROUNDS[0] / v <= most), SHORTER[-1])
        return ROUNDS[0] // times, ROUNDS[-1] // times

    def _entered(self, made: Iterable[Tried]) -> Iterator[Tried]:
        """Yield changes as they are made, each a copy of the network."""
        for one in made:
            self.tried.append(one)
            yield one

    def _train(self, entrants: Iterable[Tried], steps: int) -> list[Tried]:
        """Train some up to so many steps; return them."""
        done = []
        for one in entrants:
            log.debug("trying %s", one.says)
            one.train(steps, self.reference, lambda: time.process_time() > self.until)
            log.log(LASTING, "tried: %s: %s", one.says, one.reason or one.score.text)
            done.append(one)
        return done


def _best(tried: Sequence[Tried], count: int) -> list[Tried]:
    """Return the best; the others give back their copies of the network."""
    best_first = sorted(tried, key=lambda one: -one.value)
    for one in best_first[count:]:
        one.learner = None
    return best_first[:count]


def made_of(setup: Setup, names: Iterable[str], before: Tried | None = None) -> Iterator[Tried]:
    """Yield those changes of some names that apply to a program."""
    drawn = cache(partial(draw, setup))
    for change in (CHANGES[name] for name in dict.fromkeys(names) if name in CHANGES):
        made = _made(change, setup)
        yield from (Tried.of(change, one, before) for one in made)
        # Another structure is tried with other weights, too.
        if any(one.attempt and one.attempt.patient is not setup.patient for one in made):
            also = change._replace(**{k: getattr(change, k) + v for k, v in DRAWN.items()})
            usual = drawn()
            yield from (
                Tried.of(also, one, before) for one in (_made(change, usual) if usual else ())
            )


def _made(change: Change, setup: Setup) -> list[Setup]:
    """Return what a change makes of a program; nothing if it cannot be made."""
    try:
        made = [*change.made(setup)]
    except Exception as error:
        log.debug("change %s: %s: %s", change.name, type(error).__name__, error)
        return []
    return [one for one in made if one.attempt is None or one.attempt.params is not None]


def _pairs(tried: Sequence[Tried], order: Sequence[str], named: Sequence[str]) -> Iterator[Tried]:
    """Yield the best changes, and those named, two by two, and each with other steps."""
    changes = [one for one in tried if not one.reason and not one.is_of_steps]
    changes.sort(key=lambda one: (one.names[0] not in named, -one.value))
    chosen = changes[: max(BEST, sum(one.names[0] in named for one in changes))]
    for first in sorted(chosen, key=lambda one: order.index(one.names[0])):
        after = [
            c.names[0] for c in chosen if order.index(c.names[0]) > order.index(first.names[0])
        ]
        if first.setup is not None:
            yield from made_of(first.setup, [*after, *sorted(OF_STEPS)], first)


def _finer(one: Tried, times: float) -> Tried:
    assert one.setup is not None
    change = CHANGES["step"]
    return Tried.of(change, resized(one.setup, times))


def _answer(tried: Sequence[Tried], as_it_is: Score, order: Sequence[str]) -> Tried | None:
    """Return the first of the changes that are as good as the best, if that is good."""
    base = max(as_it_is.value, 0.0) if np.isfinite(as_it_is.value) else 0.0
    best = max((one.value for one in tried), default=-np.inf)
    if best < max(base + MARGIN, LEAST):
        return None
    good = [one for one in tried if one.value >= base + NEAR * (best - base)]

    def place(one: Tried) -> tuple[int, list[int], float]:
        is_size = one.names[-1] in OF_STEPS  # of several the best
        return len(one.names), [*map(order.index, one.names)], -one.value * is_size

    return min(good, key=place)


# Cures


def halved(
    attempts: Sequence[Attempt], seconds: float, optimizer: Any = None
) -> tuple[list[Tried], bool]:
    """Return what networks reach, the first as it is, in the seconds given; True if stopped."""
    until, stopped = time.process_time() + seconds, False
    why = f"the {seconds:g} seconds were over"
    programs = [attempt.program.but(optimizer=optimizer) for attempt in attempts]
    setups = map(Setup.of, programs)
    entrants = [[Tried(setup=replace(one, times=times)) for times in TIMES] for one in setups]
    racing = {id(one) for entrant in entrants for one in entrant}
    kept = original_kept(programs[0]) if programs[0].of_torch else same_random_states()
    with kept:
        try:
            # The first takes part in every round. A round that is not ended counts for none.
            for steps in ROUNDS_OF_CURES:
                done = [
                    _round([one for one in entrant if id(one) in racing], steps, until)
                    for entrant in entrants
                ]
                for of_entrant in done:
                    for one, score in of_entrant:
                        one.score, one.steps = score, 0 if one.reason else len(one.losses)
                first, *others = ([one for one, _ in of_entrant] for of_entrant in done)
                rest = sorted((one for of_one in others for one in of_one), key=BY_PLACE)
                best = (
                    *sorted(first, key=BY_PLACE)[:KEPT_TIMES],
                    *rest[: max(len(rest) // 2, FEWEST)],
                )
                racing = {*map(id, best)}
        except TimeoutError:
            log.debug("the %g seconds are over", seconds)
        except KeyboardInterrupt:
            stopped, why = True, "it was stopped"
    reached = [min(entrant, key=BY_PLACE) for entrant in entrants]
    for one in reached:
        if not one.steps and not one.reason:
            one.reason = f"{why} before all had taken {ROUNDS_OF_CURES[0]} steps"
    return reached, stopped


def _round(tried: Sequence[Tried], steps: int, until: float) -> list[tuple[Tried, Score]]:
    """Train a network anew with some step sizes, and give back its copies; return the scores."""
    for one in tried:
        one.take(steps, lambda: time.process_time() > until)
        if one.reason and not one.reason.startswith(ENDS):
            one.reason = f"{ENDS} {one.reason}"
    scores = []
    for one in tried:
        before = one.score
        if one.learner is not None and not one.reason:
            one.rate()
        scores.append((one, one.score))
        one.score, one.learner = before, None
    return scores
