"""Checkup: what is known of a network before its training, and what a rehearsal of that shows.

model, optimizer, xs, ys, loss -> diagnosis          what one batch shows, FINDINGS
-> a copy, trained    what its watch sees, ALARMS, and its course
-> Checkup            one answer, the worst first
"""

import logging
import time
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
from jaxtyping import Float, PyTree

from ..arrays.arguments import check_outside_of_jit
from ..arrays.compiled import few_runs, measuring
from ..diagnosis import TRY, Diagnosis, diagnosed
from ..errors import TrainingWarning
from ..evidence.constant_answer import constant_answer
from ..flow.verdict.findings import CUT, FINDINGS, is_usual
from ..flow.view.table import findings_as_html
from ..models import Cuts, Model, Program
from ..progress import live
from ..pytorch.restore import same_random_states
from ..rules import Found
from ..texts import counted
from ..train.jax_learner import JaxLearner
from ..train.learner import Batch, Learner
from ..train.torch_learner import TorchLearner, original_kept
from ..train.trainers import taken_from
from ..trials.race import SECONDS, WAIT, Trials, raced
from ..trials.setup import Setup
from ..watching.alarms import ALARMS, Intended
from ..watching.watched import Watched
from .course import Course, rehearsed
from .held_out import held_out_of

log = logging.getLogger("jaxnn.rehearsal")

STEPS = 100
REHEARSAL = 60.0  # seconds by the clock, at most
MEASUREMENTS = 10  # of the gradient in a rehearsal
FIRST = 4  # steps that are all measured
MOST_BATCHES = 8  # of an iterator
MOST = 6  # of what was found, among the sentences
OF_STEP = {"accumulates"}  # said first: what learns a batch by heart so is trained worse on many
WITHOUT_END = {"inverted", "negative", "endless"}  # which say why a loss can fall without end


@dataclass(frozen=True, repr=False)
class Checkup:
    """A network's diagnosis and the rehearsal of its training; `print` it.

    learns: True if it learns the examples, by heart or in part; None if that cannot be told.
    course: the losses of the rehearsal, and those of a constant answer.
    diagnosis: of the network before it, on the first batch.
    watched: the record of the rehearsal.
    found: all findings and alarms, the worst first, each once.
    trials: where it does not learn, the changes that were tried on it; `print` them.
    note: a sentence on what was assumed; "" without.
    """

    course: Course
    diagnosis: Diagnosis
    watched: Watched
    found: tuple[Found, ...]
    trials: Trials | None = None
    note: str = ""

    @property
    def learns(self) -> bool | None:
        return self.course.learns

    @property
    def losses(self) -> Float[np.ndarray, " S"]:
        """The loss before each step."""
        return self.course.losses

    @property
    def alarms(self) -> tuple[Found, ...]:
        """The alarms of the rehearsal, in their order."""
        return tuple(self.watched.alarms)

    @property
    def advice(self) -> str:
        """The change to make: the one that makes it learn, or the advice on the worst finding.

        What a training has shown that learned the examples by heart needs no advice.
        """
        return next(iter(self._advised), "")

    @property
    def _advised(self) -> dict[str, bool]:
        """Advice, and whether a trial confirms it: what one does comes first."""
        seen = self.upheld
        if self.course.by_heart:
            seen = (*self._of_step, *self.diagnosis.verdict.findings)
        answer = None if self.trials is None else self.trials.answer
        if answer is not None:
            # Larger steps hide what is wrong with the end, the data or the parameters.
            seen = tuple(found for found in seen if answer.is_of_steps and _is_first(found))
        all_advice = [
            (found.advice, self.trials is None or self.trials.confirms(found.changes))
            for found in seen
            if found.advice and not self._is_in_vain(found)
        ]
        all_advice += [] if answer is None else [(answer.advice, True)]
        return dict(sorted(all_advice, key=lambda one: not one[1]))

    @property
    def _of_step(self) -> tuple[Found, ...]:
        """Faults of the user's own step, which are said even if it learns."""
        return tuple(found for found in self.found if found.rule in OF_STEP)

    @property
    def upheld(self) -> tuple[Found, ...]:
        """All that was found, without that whose changes were in vain while another one helps."""
        if self.trials is None or self.trials.answer is None:
            return self.found
        return tuple(found for found in self.found if not self._is_in_vain(found))

    def _is_in_vain(self, found: Found) -> bool:
        # What learns in part may need more steps than a trial has.
        in_vain = self.trials.in_vain if self.trials and not self.course.learns else ()
        return bool(found.changes) and {*in_vain}.issuperset(found.changes)

    @property
    def sentences(self) -> tuple[str, ...]:
        """Whether it learns, what was found, what to change, and how that was measured."""
        return self.ending(f"{TRY}, print checkup.diagnosis.cures.")

    def ending(self, to_try: str, where: str = "print checkup.trials") -> tuple[str, ...]:
        """Return the sentences, with another one where something can be cured.

        Args:
            to_try: says how the reader has cures tried.
            where: says where the changes are that were tried.
        """
        advised = self._advised
        confirmed = [text for text, is_confirmed in advised.items() if is_confirmed][:1]
        others = [text for text, is_confirmed in advised.items() if not is_confirmed][:1]
        advice = *confirmed, *map("Not confirmed by a trial: {}".format, others)
        first = (
            *map(str, self._of_step),
            str(self.course),
            *(self.trials.sentences(where) if self.trials else ()),
        )
        said = islice(self._told(), MOST - len(advice))
        needs_cure = self.diagnosis.verdict.can_be_cured and not self.course.by_heart
        last = *advice, to_try if needs_cure else "", self.note, self.course.end_text
        return tuple(filter(None, (*first, *said, *last)))

    def _told(self) -> Iterator[str]:
        """Yield what was found: of each rule the first sentence, and in how many other places."""
        told = [found for found in self.upheld if found.rule not in OF_STEP]
        counts = Counter(found.rule for found in told)
        firsts: dict[str, Found] = {}
        for found in told:
            firsts.setdefault(found.rule, found)
        for rule, found in firsts.items():
            if rule in ("rate", "no rate") and self.course.by_heart and is_usual(found):
                continue  # nothing to act on
            more = counts[rule] - 1
            yield f"{found} So it is in {counted(more, 'other place')}." if more else str(found)

    def __repr__(self) -> str:
        return "\n".join(self.sentences)

    def _repr_html_(self) -> str:
        return findings_as_html(self.sentences)


@measuring
def checkup(
    model: Model,
    optimizer: Any = None,
    xs: PyTree = None,
    ys: PyTree = None,
    *,
    loss: Any = None,
    step: Callable[..., Any] | None = None,
    steps: int = STEPS,
    each: str = "batch",
    cuts: Cuts = None,
    intended: Collection[str] = (),
    seconds: float = 0.0,
) -> Checkup:
    """Diagnose a network, and rehearse its training on a copy: can it learn one batch by heart?

    The copy takes some steps of the optimiser on the batches, in turn, in the mode that the model
    is in, and is watched. If it does not learn, changes are made on further copies and trained, and
    the one that makes it learn is told; `.trials` has all of them. If it learns in part, only those
    that findings and alarms name are tried, and told if it learns clearly better. The model, the
    optimiser, what they hold, and the random states of Python, NumPy and torch are then as they
    were. Ctrl-C and the clock end rehearsal and trials, and what was seen so far is told.

    For model, each and cuts see `jaxnn.gradient_flow`. A LightningModule takes its own step and
    optimiser, unless loss or step are given, and its data by xs; a `Trainer` of transformers has a
    loss, an optimiser and data of its own. Both are trained in training mode.

    Args:
        optimizer: of optax; of a module of PyTorch a `torch.optim.Optimizer` over its parameters,
            or a function of parameters that returns one. Adam with a step size of 0.001 if None.
        xs: a batch as there, with ys, or a list of such batches with a list of their ys, or
            without ys an iterable of pairs (xs, ys), such as a DataLoader, of which the first 8
            are taken.
        loss: (output, ys) -> the loss, see there; needed, but for a Network or a module with a loss
            of its own.
        step: a step of a training of your own, in place of the optimiser's, with all that is
            around it, such as clipping: in PyTorch step(model, optimizer, xs, ys) -> loss, in JAX
            step(params, state, xs, ys) -> (params, state, loss) of `optimizer.init(params)`.
        steps: of the optimiser.
        intended: names of rules and paths of arrays of which nothing is said, see `jaxnn.watch`.
        seconds: after which the clock ends the rehearsal, and of processor time for the changes,
            if that is more than they have anyway: 60 for the rehearsal; for the changes twice what
            that took, and 15 in PyTorch, 40 in JAX.

    Returns:
        Checkup: `print` it; `.learns`, `.losses`, `.found`, `.diagnosis`, `.alarms`, `.watched`,
            `.trials`.

    Raises:
        TypeError: no optimiser, a step that returns something else, or as `jaxnn.diagnose`.
        ValueError: no loss, no step, lists of different lengths, or as `jaxnn.diagnose`.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn, optax
        >>> def network(p, xs):
        ...     return jnp.tanh(xs @ p["a"]) @ p["b"]
        >>> def loss(output, ys):
        ...     return jnp.mean((output - ys) ** 2)
        >>> p, xs = {"a": jnp.eye(4), "b": jnp.ones((4, 1))}, jnp.linspace(-1, 1, 32).reshape(8, 4)
        >>> adam = optax.adam(0.1)
        >>> result = jaxnn.checkup((network, p), adam, xs, xs[:, :1], loss=loss, steps=20)
        >>> result.learns, len(result.losses)
        (True, 20)
    """
    check_outside_of_jit("checkup", model, xs, ys)
    is_own = loss is not None or step is not None
    with same_random_states(generator=getattr(xs, "generator", None)):  # a loader draws
        taken = None if is_own else taken_from(model, optimizer, xs, ys, MOST_BATCHES)
        model, optimizer, batches = taken or (model, optimizer, batches_of(xs, ys))
    xs, ys = batches[0]
    program, begun = Program.of(**locals()), time.process_time()
    kept = original_kept(program.but(xs=batches)) if program.of_torch else same_random_states()

    def learner(batch: Batch, optimizer: Any = optimizer) -> Learner:
        kind = TorchLearner if program.of_torch else JaxLearner
        made = kind(program.but(xs=batch.xs, ys=batch.ys, optimizer=optimizer))
        # Findings are those of the diagnosis.
        made.watched(max(1, steps // MEASUREMENTS), (*FINDINGS, *intended))
        made.watch.first = FIRST  # where a step that is too large shows
        return made

    with live(), kept, few_runs(), warnings.catch_warnings():
        warnings.simplefilter("ignore", TrainingWarning)  # alarms are in the answer
        diagnosis = diagnosed(program)
        if program.step is None and (setup := Setup(program, (*batches,))).tools.goes_uphill(setup):
            diagnosis = _knowing(diagnosis, uphill=True)
        first = learner(batches[0])
        constant = _constant_of(first, diagnosis, batches)
        most = max(seconds, REHEARSAL)
        course = rehearsed(first, batches, steps, constant, most)
        watched = first.watch.watched
        said = {v.rule for v in (*diagnosis.verdict.findings, *watched.alarms)}
        if np.isneginf(constant) and said.isdisjoint(WITHOUT_END):
            # A network may be unable to give such an answer, as a flow whose volume is in the loss.
            constant, course = np.nan, replace(course, constant=np.nan)
        trials = None
        if course.learns and course.is_whole and diagnosis.evidence is not None:
            data = diagnosis.evidence.data
            classes = 0 if data is None else data.classes
            tried = held_out_of(learner, batches, classes, steps, constant, most)
            diagnosis = _knowing(diagnosis, held_out=tried)
        meant = Intended.of(intended)
        found = found_in(diagnosis, watched.alarms, course)
        found = tuple(v for v in found if not meant.covers(v.rule, v.path))
        has_named = any(v.changes for v in found)
        if course.needs_trials or (course.in_part and course.is_whole and has_named):
            took = time.process_time() - begun
            seconds = max(seconds, WAIT * took, SECONDS[not program.of_torch])
            trials = tried_on(program, batches, course, found, seconds)
    note = "" if optimizer is not None else "No optimiser was given: Adam, with step size 0.001."
    return Checkup(course, diagnosis, watched, found, trials, note)


def tried_on(
    program: Program,
    batches: Sequence[Batch],
    course: Course,
    found: Sequence[Found],
    seconds: float,
) -> Trials:
    """Return what changes do to a program whose rehearsal shows that it does not learn.

    To one that learns in part those that are named, and no others: more of them would be tuning.
    """
    setup = Setup.of(program, batches)
    named = [name for v in found if course.learns or _is_first(v) for name in v.changes]
    hinted = [name for v in found for name in v.changes]
    reference = course.start if np.isnan(course.constant) else course.constant
    return raced(setup, reference, seconds, named, hinted, only_named=bool(course.learns))


def _is_first(found: Found) -> bool:
    """Tell what is said before the rate: of the end, the data, the parameters."""
    return found.rule in FINDINGS and FINDINGS[found.rule].rank < CUT


def _constant_of(learner: Learner, diagnosis: Diagnosis, batches: Sequence[Batch]) -> float:
    """Return the mean loss of the best constant answers to batches; nan if it is not known."""
    if any(found.rule == "inverted" for found in diagnosis.verdict.findings):
        return -np.inf
    if any(batch.ys is None for batch in batches):
        return np.nan
    end = None if diagnosis.evidence is None else diagnosis.evidence.end
    return float(np.mean([constant_answer(learner.trial(batch), end) for batch in batches]))


def _knowing(diagnosis: Diagnosis, **known: Any) -> Diagnosis:
    """Return a diagnosis with more evidence, if it has any."""
    evidence = diagnosis.evidence
    if evidence is None:
        return diagnosis
    more = replace(evidence, **known)
    return replace(diagnosis, evidence_of=lambda: more)


def batches_of(xs: PyTree, ys: PyTree) -> list[Batch]:
    """Return the batches: one, those of two lists, or the first of an iterable of pairs."""
    if isinstance(xs, list) and isinstance(ys, list):
        if len(xs) != len(ys) or not xs:
            raise ValueError(
                f"xs, ys: expected as many batches of both, got {len(xs)} and {len(ys)}"
            )
        return list(map(Batch, xs, ys))
    is_one = isinstance(xs, tuple | Mapping | str) or hasattr(xs, "shape")
    if ys is not None or is_one or not isinstance(xs, Iterable):
        return [Batch(xs, ys)]
    pairs = list(islice(xs, MOST_BATCHES))
    if not pairs or not all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in pairs):
        raise ValueError("xs: expected pairs (xs, ys) of an iterable without ys, got others")
    return [Batch(*pair) for pair in pairs]


def found_in(diagnosis: Diagnosis, alarms: Sequence[Found], course: Course) -> tuple[Found, ...]:
    """Return all findings and alarms, the worst first, each once."""
    verdict = diagnosis.verdict
    findings = [found for found in verdict.findings if not is_usual(found)]
    usual = [found for found in verdict.findings if is_usual(found)]
    # A step is not too large if the network learns with it, nor do steps end early.
    silent = {"update": course.learns, "schedule": course.by_heart}
    alarms = [a for a in alarms if not silent.get(a.rule)]
    seen = {found.rule for found in (*findings, *alarms)}
    shown = [a for a in alarms if a.rule not in ALARMS or not seen & ALARMS[a.rule].said_by]
    # What explains all else comes first, then what the training has shown.
    first = [found for found in findings if FINDINGS[found.rule].rank <= CUT]
    rest = [found for found in findings if FINDINGS[found.rule].rank > CUT]
    return (*first, *shown, *rest, *usual)
