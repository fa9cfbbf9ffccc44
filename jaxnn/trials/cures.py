"""Cures: what would keep the gradient of a network, each change made and measured on it.

setup -> table of changes -> each measured: rate, signal, what is left of the examples
-> judged -> those that work trained, if there is a loss -> ranked
"""

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import PyTree

from ..arrays.arguments import check_outside_of_jit
from ..flow.formats.ranges import indistinguishable_in
from ..flow.record.flow import Flow
from ..flow.record.loss import Loss
from ..flow.verdict.findings import FINDINGS, is_usual
from ..flow.verdict.rates import DECADES, LN10
from ..flow.verdict.verdict import Verdict, verdict
from ..flow.view.table import findings_as_html
from ..models import Cuts, Model, Program
from ..patients.patient import AnyNet, Patient
from ..progress import LASTING, live
from ..texts import counted, listed
from ..train.steps import check_optimizer
from ..train.torch_learner import check_factory
from .causes import with_usual_weights
from .changes import CHANGES, ordered
from .cure import Cure
from .layers import SAME
from .race import SECONDS_OF_CURES, Tried, as_rank, halved
from .setup import Attempt, Setup, patient_of

log = logging.getLogger("jaxnn.trials")

MOST_NAMED = 3  # causes, one behind the other
USE = "cures[0].code has the lines to write, cures[0].model the changed network."
MORE = 2**0.5  # times as many directions are told apart
ALMOST = 0.1  # of a factor: factors that differ by less are one line
SIGNAL = 1.0  # decades that the signal may change by over all repeated layers


class CureLine(NamedTuple):
    """A line on some changes, and whether they work."""

    text: str
    works: bool


@dataclass(frozen=True, eq=False)
class Cures:
    """Changes of a network that were tried, the best first; those that work come before the rest.

    With a loss the best is what trains best: of all after 30 steps the better half, of these after
    100 steps the better half again, and of these after 300 steps the one whose loss has the least
    mean on the way. Compared are results of the same number of steps alone.

    Without, of those that keep the rate equally well, within .005 decades a layer, a change of
    parameters comes before one of structure, and of each the one that leaves √2 times as many
    directions: the same mean size in a few of them trains worse. Of equal ones the smaller change
    comes first.

    verdict: on the network as it is.
    tried: all of them.
    unchanged: the training of the network as it is, to compare with; None if nothing was trained.
    interrupted: whether Ctrl-C ended the search, which then has what it had measured.
    """

    verdict: Verdict
    tried: tuple[Cure, ...]
    unchanged: Tried | None = None
    interrupted: bool = False

    def __getitem__(self, i: int) -> Cure:
        try:
            return self.tried[i]
        except IndexError:
            said = f"expected a number below {len(self)}" if len(self) else " ".join(self.sentences)
            raise IndexError(f"cures[{i}]: {said}") from None

    def __len__(self) -> int:
        return len(self.tried)

    def __bool__(self) -> bool:
        return any(cure.works for cure in self.tried)

    def __iter__(self) -> Iterator[Cure]:
        return iter(self.tried)

    @property
    def sentences(self) -> tuple[str, ...]:
        """The rate before, a line for each change that works, and one for the others."""
        if self.verdict.broken:
            worst = self.verdict.findings[0]
            return tuple(filter(None, (worst.text, worst.advice, "Nothing was tried.")))
        if not self.tried and not self.interrupted:
            return (self.verdict.rate_text, *_without_changes(self.verdict))
        none = "No change that was tried keeps gradient, signal and examples."
        first = (none,) if self.verdict.can_be_cured and not self else ()
        before = () if self.unchanged is None else (f"As it is, {self.unchanged}{self._worse}.",)
        last = ("It was stopped: more would have been tried.",) if self.interrupted else ()
        of_changes = (line.text for line in self.lines)
        use = (USE,) if self else ()
        return (self.verdict.rate_text, *before, *first, *of_changes, *use, *last)

    @property
    def _worse(self) -> str:
        """That the best change trains no better than the network as it is; empty if it does."""
        if not self or self.unchanged is None or not (best := self.tried[0].trained):
            return ""
        is_better = as_rank(best.mean) < as_rank(self.unchanged.mean)
        return "" if is_better or not best.steps else ": no change trains better"

    @property
    def lines(self) -> tuple[CureLine, ...]:
        """A line for each change that works, and one for the others."""
        return tuple(lines(self.tried, "In vain: " if self._worse else "Best: "))

    def __repr__(self) -> str:
        working = sum(cure.works for cure in self.tried)
        return f"Cures: {working} of {len(self)} that were tried work; print(cures) says which"

    def __str__(self) -> str:
        return "\n".join(self.sentences)

    def _repr_html_(self) -> str:
        return findings_as_html(list(self.sentences))


def lines(tried: Sequence[Cure], first: str = "Best: ") -> Iterator[CureLine]:
    """Yield a line for each group of cures that work, the best first, and one for the others."""
    for number, (cure, *others) in enumerate(_groups(cure for cure in tried if cure.works)):
        yield CureLine(f"{'Or: ' if number else first}{cure}{_alike(others)}", True)
    in_vain: dict[str, list[str]] = {}
    for cure in tried:
        if not cure.works:
            in_vain.setdefault(cure.reason, []).append(cure.kind)
    if in_vain:
        texts = [f"{listed(dict.fromkeys(kinds))} ({why})" for why, kinds in in_vain.items()]
        yield CureLine(f"In vain: {'; '.join(texts)}.", False)


def _groups(working: Iterable[Cure]) -> Iterable[list[Cure]]:
    """Return cures, those together whose factors on the weights are almost those of the first."""
    groups: dict[Cure, list[Cure]] = {}
    for cure in working:
        first = next((first for first in groups if _are_alike(first, cure)), cure)
        groups.setdefault(first, []).append(cure)
    return groups.values()


def _are_alike(cure: Cure, other: Cure) -> bool:
    """Tell whether both are factors, which differ by a tenth at most."""
    pair = cure.factors, other.factors
    if pair[0] is None or pair[1] is None or not (pair[0] > 0).all() or not (pair[1] > 0).all():
        return False
    same_arrays = (cure.kind == "branch scale") == (other.kind == "branch scale")
    return same_arrays and float(np.abs(np.log(pair[0] / pair[1])).max()) <= np.log1p(ALMOST)


def _alike(others: Sequence[Cure]) -> str:
    """Return how many cures are left out for one, as a sentence."""
    if not others:
        return ""
    verb = "does" if len(others) == 1 else "do"
    return f" So {verb} {counted(len(others), 'change')} whose factors differ by a tenth at most."


def _without_changes(verdict: Verdict) -> Iterator[str]:
    """Yield why nothing was tried, and what the verdict finds all the same."""
    left = [found for found in verdict.findings if not is_usual(found)]
    if left:
        yield "Nothing was tried: no change of numbers or structure takes away what was found."
        for found in left:
            yield found.text
        yield from filter(None, [verdict.advice])
    elif verdict.word == "unknown":
        yield "Nothing was tried, for there is no rate."
    else:
        yield "Nothing was tried, for the gradient neither vanishes nor explodes."


def cures(
    model: Model,
    xs: PyTree,
    ys: PyTree = None,
    *,
    loss: Loss | None = None,
    cotangent: PyTree = None,
    each: str = "batch",
    cuts: Cuts = None,
    seed: int = 0,
    seconds: float = SECONDS_OF_CURES,
    optimizer: Any = None,
) -> Cures:
    """Try changes that could keep the gradient of a network, and measure each of them on it.

    Tried are the changes that the guide of rules lists: first what the verdict names, such as one
    array, then factors, orthogonal and mirrored weights, skips, norms and units of the layers that
    repeat; where layers share their weights, what is one for all. With a loss skips, norms and
    orthogonal matrices are tried with all weights at a std of 1/√fan_in too, if they are of another
    size. A change works if those layers change the gradient by less than ten and the signal by less
    than ten, and bfloat16 tells the examples apart at the top of them.

    With a loss each change that works is trained on a copy, for 30, 100 or 300 steps on the
    examples given, the better ones for longer; the first is that with the least loss on the way.

    For model, xs, ys, loss, cotangent, each and cuts see `jaxnn.gradient_flow`. Of a module of
    PyTorch, branches, norms, kernels and relu are recognised in torch's graph; tailored units take
    the place of activations that are modules. Afterwards it has its own parameters again.

    Args:
        seed: of orthogonal matrices.
        seconds: of the processor, for all trainings. A round that they do not suffice for counts
            for no change; if that is the first one, changes are ranked by their rates. Of 0 nothing
            is trained.
        optimizer: of optax, or of a module of PyTorch a function of parameters that returns one of
            `torch.optim`; each change has the best of .3, 1, 3 and 10 times its steps. Adam with
            step sizes from .0003 to .01 if None.

    Returns:
        Cures: `cures[0]` is the best, `cures[0].params` are its parameters in the form of the
        model: the pytree of a pair (f, params), the list of layers, the module of JAX; of PyTorch a
        state dict for `module.load_state_dict`. `print(cures)` says what each does. Empty if
        nothing vanishes or explodes and all routers learn.

    Raises:
        ValueError, TypeError: as `jaxnn.gradient_flow`; no optimiser, of
            PyTorch no function of parameters.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> keys = jax.random.split(jax.random.key(0), 20)
        >>> def block(w, z):
        ...     return jnp.tanh(z) @ w
        >>> layers = [(block, jax.random.normal(key, (32, 32)) / 12) for key in keys]
        >>> xs, c = jax.random.normal(jax.random.key(1), (2, 8, 32))
        >>> found = jaxnn.cures(layers, xs, cotangent=c)
        >>> found.verdict.word, found[0].works, abs(found[0].decades) < 0.005
        ('vanishing', True, True)
        >>> found[0].params[0][1].shape
        (32, 32)
    """
    program = Program.of(**locals())
    check_outside_of_jit("cures", model, xs, ys, cotangent)
    patient = patient_of(program, seed)
    if optimizer is not None:
        optimizer = (
            check_factory(optimizer, model) if program.of_torch else check_optimizer(optimizer)
        )
    with live():
        return tried_on(patient, seconds=seconds, optimizer=optimizer)


def tried_on(
    patient: Patient,
    kinds: Collection[str] = (),
    seconds: float = 0.0,
    optimizer: Any = None,
) -> Cures:
    """Return what changes do to a patient, the best first; to one that is well few are made."""
    tried: list[Cure] = []
    interrupted = False
    try:
        for cure in _each_tried(patient, kinds or [one.name for one in ordered(True)]):
            log.log(LASTING, "tried: %s", cure.in_short)
            tried += [] if _is_known(cure, patient, tried) else [cure]
    except KeyboardInterrupt:
        interrupted, seconds = True, 0.0
    order = ranked(tried, patient.network)
    unchanged, measured, stopped = trained(patient, order, seconds, optimizer)
    return Cures(patient.verdict, tuple(measured), unchanged, interrupted or stopped)


def _each_tried(patient: Patient, kinds: Collection[str], left: int = MOST_NAMED) -> Iterator[Cure]:
    """Yield the changes that are made, measured; if one of the named cause works, no others."""
    if not _may_change(patient):
        kinds = [kind for kind in kinds if CHANGES[kind].mends]
    for cure in _made(patient, kinds):
        attempt = cure.attempt
        yield cure
        if cure.is_named and cure.works:
            return
        flow = cure.flow if cure.is_named and left else None
        if flow is not None and not attempt.refusal(verdict(flow)):
            # Of a network that is ill without the named cause too, what is left is changed.
            is_other = attempt.patient is not patient
            mended = attempt.patient if is_other else patient.with_params(attempt.params)
            for more in _each_tried(mended, kinds, left - 1):
                yield replace(more, advice=f"{cure.advice} {more.advice}")
            return
    if left and _may_change(patient):
        usual = with_usual_weights(patient) if patient.has_loss else None
        if usual is not None:
            for cure in _made(usual[0], [kind for kind in kinds if CHANGES[kind].usual]):
                yield replace(cure, advice=f"{usual[1]} {cure.advice}")


def _made(patient: Patient, kinds: Collection[str]) -> Iterator[Cure]:
    """Yield changes of some kinds, measured; what excludes one is looked for, too."""
    setup, done = Setup.on(patient), set[str]()
    asked = {*kinds}.union(*(CHANGES[kind].unless for kind in kinds))
    for change in ordered(cures=True):
        if change.name in asked and not change.unless & done:
            for made in change.made(setup):
                done.add(change.name)
                if change.name in kinds and made.attempt and made.attempt.patient.in_range:
                    advice = change.advises.format(**made.words)
                    yield judged(patient, change.name, advice, made.attempt, made.words)


def _may_change(patient: Patient) -> bool:
    """Tell whether changes of many layers are tried: what is ill, or makes all states alike."""
    if patient.verdict.broken:
        return False
    of_layers = patient.verdict.can_be_cured and patient.verdict.inside is None
    return of_layers or any(FINDINGS[found.rule].alike for found in patient.verdict.findings)


def ranked(tried: list[Cure], net: AnyNet) -> list[Cure]:
    """Return changes of a network, the best first; see `Cures`."""
    smallest = (cure.directions for cure in tried if cure.works and cure.directions > 0)
    return sorted(tried, key=partial(_place, net, next(smallest, np.nan)))


def _place(net: AnyNet, directions: float, cure: Cure) -> tuple[bool, bool, float, bool, float]:
    """Return what changes are sorted by, given the directions that the smallest of them leaves."""
    rate = np.inf if np.isnan(cure.decades) else float(np.ceil(abs(cure.decades) / SAME))
    with np.errstate(divide="ignore", invalid="ignore"):
        times = np.log(cure.directions / directions) / np.log(MORE)
    steps = float(np.trunc(times)) if np.isfinite(times) else -np.inf
    return not cure.works, not cure.is_named, max(rate, 1.0), cure.net is not net, -steps


def trained(
    patient: Patient, tried: list[Cure], seconds: float, optimizer: Any
) -> tuple[Tried | None, list[Cure], bool]:
    """Return what the network and its changes reach, the best first; True if Ctrl-C ended it."""
    working = [cure for cure in tried if cure.works]
    if not working or seconds <= 0 or not patient.has_loss:
        return None, tried, False
    as_it_is = Attempt(patient.params, patient=patient)
    attempts = as_it_is, *(cure.attempt for cure in working)
    (unchanged, *reached), stopped = halved(attempts, seconds, optimizer)
    known = sorted(zip(working, reached, strict=True), key=lambda pair: pair[1].place)
    best_first = [replace(cure, trained=how) for cure, how in known]
    return unchanged, [*best_first, *(cure for cure in tried if not cure.works)], stopped


# What a change did


def judged(
    patient: Patient,
    kind: str,
    advice: str,
    attempt: Attempt,
    values: Mapping[str, Any] = MappingProxyType({}),
) -> Cure:
    """Return a change as it is measured."""
    changed = attempt.patient or patient
    attempt = attempt._replace(patient=changed)
    cure = partial(Cure, kind=kind, advice=advice, attempt=attempt, values=values)
    if attempt.params is None:
        return cure(reason=str(attempt.reason))
    try:
        flow = attempt.flow or (changed.flow if attempt.params is changed.params else None)
        if flow is None:
            flow = changed.flow_of(attempt.params)
    except ValueError as error:  # such as of a signal that leaves its range
        return cure(reason=str(error).partition(";")[0])
    result, top, signal = verdict(flow), _top(changed), _signal(changed, flow)
    reasons = [*filter(None, _reasons(patient, changed, attempt.is_named, flow, result))]
    refusal = attempt.refusal(result)
    return cure(
        works=not (reasons or refusal),
        reason=refusal or " and ".join(reasons),
        decades=result.decades,
        repeated=float(result.repeated),
        total=float(result.total),
        signal=signal,
        spread=np.nan if flow.log_spread is None else float(flow.log_spread[top]) / LN10,
        directions=np.nan if flow.rank is None else float(flow.rank[top]),
        flow=flow,
        params=changed.user(attempt.params),
    )


def _reasons(
    patient: Patient, changed: Patient, is_named: bool, flow: Flow, result: Verdict
) -> Iterator[str]:
    """Yield why a change is no cure; empty texts if it is. One of what is named leaves the rest."""
    yield _of_gradient(changed, result)
    if not is_named:
        yield _of_signal(_signal(changed, flow))
        yield _merged(flow, _top(changed))
        were_alike = patient.verdict.equal_positions is not None
        if were_alike and result.equal_positions is not None:
            yield "all positions of an example are still equal"


def _top(patient: Patient) -> int:
    """Return the highest layer whose weights are changed, from 0; without any the highest."""
    changed = np.flatnonzero(patient.layers)
    return int(changed[-1]) if len(changed) else len(patient.layers) - 1


def _of_gradient(patient: Patient, result: Verdict) -> str:
    """Return why a gradient is not kept; empty if it is."""
    if result.zero is not None:
        return f"the gradient is exactly zero from layer {result.label(result.zero)} down"
    if not patient.inside.any():  # nothing repeats
        return "the gradient still changes" if result.ill else ""
    changes = [result.decades * patient.inside.sum(), result.repeated]
    if int(patient.inside.sum()) == len(result.names) - 1:  # all layers were changed
        changes.append(result.total)
    if not np.isfinite(changes).all():
        return "the gradient has no rate"
    is_kept = not result.ill and np.abs(changes).max() < DECADES
    return "" if is_kept else "the gradient still changes"


def _signal(patient: Patient, flow: Flow) -> float:
    """Return by how many decades the signal varies over the layers that were changed."""
    count = len(patient.layers)
    # The network's output is no state between layers: it may have passed through σ, others not yet.
    between = patient.layers & (np.arange(count) < max(count - 1, 1))
    if patient.is_tied:
        # The state of steps that share their weights starts at zero: theirs is the later half's.
        between[: np.flatnonzero(between)[: int(between.sum()) // 2].max(initial=-1) + 1] = False
    sizes = np.asarray(flow.log_mean_square, np.float64)[between] / 2 / LN10
    return float(np.ptp(sizes)) if len(sizes) else 0.0


def _of_signal(decades: float) -> str:
    """Return why a signal is not kept; empty if it is."""
    if not np.isfinite(decades):
        return "a state is exactly zero"
    return "" if decades < SIGNAL else f"the signal changes by {decades:.2g} decades"


def _merged(flow: Flow, top: int) -> str:
    """Return why the examples are not kept below or at a layer; empty if they are."""
    if flow.log_spread is None or flow.log_delta_example.shape[-1] < 2:
        return ""
    spread = np.asarray(flow.log_spread, np.float64)[: top + 1]
    is_kept = indistinguishable_in("bfloat16", np.arange(top + 1), spread) is None
    return "" if is_kept else "bfloat16 cannot tell examples apart at the top"


def _is_known(cure: Cure, patient: Patient, tried: Sequence[Cure]) -> bool:
    """Tell whether a change does what one that was tried before does, or the network itself."""
    if cure.flow is None or cure.is_named:
        return False
    # A norm in front of a norm changes nothing; orthogonal matrices of one size are the same
    # whatever the weights were, so numbers are compared with those of their kind.
    is_structure = cure.net is not patient.network
    alike = [
        c
        for c in tried
        if not c.is_named
        and (c.net is not patient.network if is_structure else c.kind == cure.kind)
    ]
    flows = [c.flow for c in alike if c.flow is not None]
    before = [patient.flow, patient.blocks.flow, *flows] if is_structure else flows
    before = [flow for flow in before if len(flow.names) == len(cure.flow.names)]
    # Δ of the arrays tells branches apart that hardly change the state.
    now, *others = (  # of networks that are cut into as many layers
        np.asarray([flow.log_gain, flow.log_theta], np.float64) for flow in (cure.flow, *before)
    )
    close = partial(np.allclose, now, rtol=0, atol=SAME * LN10 / 10, equal_nan=True)
    return any(map(close, others))
