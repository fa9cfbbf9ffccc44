"""Cures: what would keep the gradient of a network, each change made and measured on it.

flow -> the layers that repeat, ill -> changes of weights, branches, structure
change -> flow -> rate, signal, what is left of the examples -> ranked
"""

from collections import Counter
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..chain.chain import Chain
from ..flow.formats.ranges import COMMON, indistinguishable_in
from ..flow.record.flow import Flow
from ..flow.verdict.findings import UNLEARNED
from ..flow.verdict.rates import DECADES, LN10
from ..flow.verdict.verdict import SPOKEN, Verdict, verdict
from ..flow.view.table import findings_as_html
from ..network.network import Network
from ..texts import clean
from . import search
from .numbers import held_by
from .patients import KINDS, OfJax, OfTorch, Patient, Places, tailored
from .weights import OddError
from .words import listed, names_in_words, numbers_in_words, to_digits

ODD = object()  # parameters that there are not
SAME = 0.005  # decades a layer: rates are told apart by more
MORE = 2**0.5  # times as many directions are told apart
SIGNAL = 1.0  # decades that the signal may change by over all repeated layers
SMALL_STEP = 0.01  # from which on Adam's first step raises the loss; a fifth of it trains
ROUTERS = 0.1, 10.0  # sizes that a router is tried with
CANCELLED = (
    "it learns no more, for what follows cancels its size, as weights over their sum or experts "
    "that are equal do; take the softmax over all experts before some are selected, or draw them "
    "apart"
)
ONE_SIZE = 1.5  # times the smallest: weights that are drawn with one gain


@dataclass(frozen=True, eq=False)
class Cure:
    """A change of a network, made and measured.

    kind: scale, scale by layer, orthogonal, looks-linear, branch scale, skip, norm, units, router
        or numbers.
    advice: what to write.
    works: whether the gradient, the signal and the examples are kept.
    reason: if not, why not; else empty.
    decades: the rate of the changed network, in decades a layer towards the input.
    repeated: of all layers that repeat, in decades.
    total: of the whole network, in decades.
    signal: by how many decades the root mean square of the state varies over them, but for the
        output of the network.
    spread: log₁₀ of what differs between the examples at the top of them, relative to the state;
        nan of a single example.
    directions: in how many directions the examples differ at the top of them, `flow.rank`. Layers
        with singular values of one size, as those of orthogonal matrices, keep them; those of other
        matrices leave the few in which they are largest. nan of a single example.
    theory: the rate of the wide twin, in decades a layer; nan if it was not asked for.
    step: the step size from which on the first step of Adam raises the loss of the examples, to a
        factor of two, up to .1; inf if none does. What trains best is a fifth of it or less. nan of
        a change that does not work, without a loss, of a Network and of PyTorch.
    factors: on the weights of each layer, (L,); None of a change of structure.
    flow: as it was measured; None if it could not be.
    net: of `flow`; the user's own but for a change of structure, of a module of PyTorch then a copy
        with hooks.
    params: the parameters, in the user's own pytree, of PyTorch a state dict; of another structure
        those of `net`.
    """

    kind: str
    advice: str
    works: bool
    reason: str
    decades: float
    repeated: float
    total: float
    signal: float
    spread: float
    directions: float
    theory: float
    step: float
    factors: np.ndarray | None = field(repr=False)
    flow: Flow | None = field(repr=False)
    net: Any = field(repr=False)
    params: Any = field(repr=False)

    def __str__(self) -> str:
        rate = self._rate_text
        if not rate:
            return f"{self.advice} No cure: {self.reason}."
        return f"{self.advice} Measured: {rate}{'' if self.works else f'; no cure, {self.reason}'}."

    @property
    def _rate_text(self) -> str:
        """The rate and what the layers do together; empty if there is no rate."""
        if not np.isfinite(self.decades):
            return ""
        theory = f" (in theory {self.theory:+.2g})" if np.isfinite(self.theory) else ""
        text = f"{self.decades:+.2g} decades a layer{theory}, {self.repeated:+.2g} over all of them"
        apart = abs(self.total - self.repeated) >= SPOKEN
        return f"{text}, {self.total:+.2g} over the whole network" if apart else text


@dataclass(frozen=True, eq=False)
class Cures:
    """Changes of a network that were tried, the best first; those that work come before the rest.

    Of those that keep the rate equally well, within .005 decades a layer, a change of parameters
    comes before one of structure, and of each the one that leaves √2 times as many directions: the
    same mean size in a few of them trains worse. Of equal ones the smaller change comes first.

    verdict: on the network as it is.
    tried: all of them.
    """

    verdict: Verdict
    tried: tuple[Cure, ...]

    def __getitem__(self, i: int) -> Cure:
        return self.tried[i]

    def __len__(self) -> int:
        return len(self.tried)

    def __bool__(self) -> bool:
        return any(cure.works for cure in self.tried)

    def __iter__(self) -> Iterator[Cure]:
        return iter(self.tried)

    @property
    def sentences(self) -> tuple[str, ...]:
        """The rate before, then a sentence for each change, the best first."""
        if self.verdict.broken:
            return (self.verdict.findings[0].text, "Nothing was tried.")
        if not self.tried:
            unknown = self.verdict.word == "unknown"
            why = "there is no rate" if unknown else "the gradient neither vanishes nor explodes"
            return (self.verdict.rate_text, f"Nothing was tried, for {why}.")
        none = "No change that was tried keeps gradient, signal and examples."
        first = (none,) if self.verdict.can_be_cured and not self else ()
        return (self.verdict.rate_text, *first, *map(str, self.tried))

    def __str__(self) -> str:
        return "\n".join(self.sentences)

    def _repr_html_(self) -> str:
        return findings_as_html(list(self.sentences))


def cures(
    net: Network | Chain,
    params: Any,
    xs: Any,
    ys: Any = None,
    *,
    loss: Any = None,
    cotangent: Any = None,
    like: Any = None,
    seed: int = 0,
    theory: bool = False,
) -> Cures:
    """Try changes that could keep the gradient of a network, and measure each of them on it.

    Tried are, on the layers that repeat: one factor on all weights, the root of the measured rate;
    factors for each layer that keep the gradient, the signal (LSUV) or both; orthogonal matrices
    and delta-orthogonal kernels with one factor. Where layers add to their state, factors
    1/√(branches) and 0 on the last product of each branch, as its program has it, and DeepNorm's
    where a norm follows the sum; elsewhere looks-linear weights where the activation is relu, a
    skip around each layer, a norm in front, or `jaxnn.theory.tailored_relu` in place of the
    activation; nothing of that, and no factors for each layer, where layers share their weights, as
    the steps of a recurrent network do.
    A router that does not learn is tried with another size, in any network. Where a number format
    loses the gradient, 16-bit formats that hold it are said too, which is no cure; `jaxnn.plan`
    chooses by all entries, of 8 bits too. A change works if those layers change the gradient by
    less than ten and the signal by less than ten, and bfloat16 tells the examples apart at the top
    of them.

    Args:
        net: the network, or a chain of the user's own layers.
        params: its parameters.
        xs: the examples.
        ys: as for `jaxnn.gradient_flow`.
        loss: likewise.
        cotangent: likewise.
        like: the user's pytree, if it holds arrays that no layer has; see `Chain.user`.
        seed: of orthogonal matrices.
        theory: whether the wide twin of each changed network is measured as well, see
            `jaxnn.theory.wide`; that takes several times as long.

    Returns:
        Cures: `cures[0]` is the best, `cures[0].params` are its parameters in the user's pytree,
        `print(cures)` says what each does. Empty if nothing vanishes or explodes and all routers
        learn.

    Raises:
        ValueError, TypeError: as `jaxnn.gradient_flow`.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> keys = jax.random.split(jax.random.key(0), 20)
        >>> def block(w, z):
        ...     return jnp.tanh(z) @ w
        >>> layers = [(block, jax.random.normal(key, (32, 32)) / 12) for key in keys]
        >>> xs, c = jax.random.normal(jax.random.key(1), (2, 8, 32))
        >>> net, params = jaxnn.from_layers(layers)
        >>> found = jaxnn.cures(net, params, xs, cotangent=c)
        >>> found.verdict.word, found[0].works, abs(found[0].decades) < 0.005
        ('vanishing', True, True)
        >>> found[0].params[0][1].shape
        (32, 32)
    """
    options = {"loss": loss, "cotangent": cotangent}
    return tried_on(OfJax(params, net, xs, ys, options, like), seed, theory)


def torch_cures(
    module: Any,
    inputs: Any,
    ys: Any = None,
    *,
    loss: Any = None,
    cotangent: Any = None,
    cuts: Any = None,
    seed: int = 0,
) -> Cures:
    """Try changes that could keep the gradient of a PyTorch module, and measure each on it.

    As `jaxnn.cures`, with branches, norms, kernels and relu recognised in torch's graph; tailored
    units take the place of activations that are modules of torch. Afterwards the module has its own
    parameters again.

    Args:
        module: the module.
        inputs: as for `jaxnn.torch_flow`.
        ys: likewise.
        loss: likewise.
        cotangent: likewise.
        cuts: likewise.
        seed: of orthogonal matrices.

    Returns:
        Cures, the best first; `cures[0].params` is a state dict for `module.load_state_dict`.

    Raises:
        ValueError, TypeError: as `jaxnn.torch_flow`.

    Example:
        >>> import torch, jaxnn  # doctest: +SKIP
        >>> layers = [torch.nn.Sequential(torch.nn.Linear(32, 32), torch.nn.Tanh())
        ...           for _ in range(20)]  # doctest: +SKIP
        >>> module = torch.nn.Sequential(*layers)  # doctest: +SKIP
        >>> found = jaxnn.torch_cures(module, torch.randn(8, 32), cotangent=torch.randn(8, 32))
        ... # doctest: +SKIP
        >>> module.load_state_dict(found[0].params)  # doctest: +SKIP
    """
    options = {"loss": loss, "cotangent": cotangent, "cuts": cuts}
    own = dict(module.named_parameters())
    return tried_on(OfTorch(own, module, inputs, ys, options), seed)


def tried_on(
    patient: Patient, seed: int, theory: bool = False, kinds: Container[str] = KINDS
) -> Cures:
    """Return what changes of some kinds do to a patient that is ill; nothing is tried on others."""
    before = verdict(patient.flow)
    routers = _routers(patient, before) if "router" in kinds else []
    if not before.can_be_cured:
        return Cures(before, tuple(routers))
    changes = _changes(patient, seed, kinds)
    each = (
        _refused(change) if change.params is ODD else change.judged(theory) for change in changes
    )
    tried = [cure for cure in each if not _changes_nothing(cure, patient)]
    tried += routers + (_numbers(patient, before) if "numbers" in kinds else [])
    return Cures(before, tuple(ranked(tried, patient.network)))


def ranked(tried: list[Cure], net: Any) -> list[Cure]:
    """Return changes of a network, the best first; see `Cures`."""
    smallest = (cure.directions for cure in tried if cure.works and cure.directions > 0)
    return sorted(tried, key=partial(_place, net, next(smallest, np.nan)))


def _place(net: Any, directions: float, cure: Cure) -> tuple[bool, float, bool, float]:
    """Return what changes of a network are sorted by; equal ones stay as they were tried.

    Args:
        net: the network.
        directions: that the smallest change leaves.
        cure: the change.
    """
    rate = np.inf if np.isnan(cure.decades) else float(np.ceil(abs(cure.decades) / SAME))
    with np.errstate(divide="ignore", invalid="ignore"):
        times = np.log(cure.directions / directions) / np.log(MORE)
    steps = float(np.trunc(times)) if np.isfinite(times) else -np.inf
    return not cure.works, max(rate, 1.0), cure.net is not net, -steps


# What is tried


@dataclass(frozen=True)
class Changed:
    """A change: of which network, its kind, what to write, the parameters and their factors.

    flow: if it was measured already.
    """

    patient: Patient
    kind: str
    advice: str
    params: Any
    factors: np.ndarray | None = None
    flow: Flow | None = None

    def judged(self, theory: bool) -> Cure:
        """Return it as it is measured, with the wide twin if that is asked for."""
        of = self.patient, self.kind, self.advice, self.params, self.factors
        return judged(*of, theory, None if theory else self.flow)


def _changes(patient: Patient, seed: int, kinds: Container[str]) -> Iterator[Changed]:
    """Yield changes, the smallest first."""
    of_branches = patient.branches()
    if of_branches and "branch scale" in kinds:
        yield from _of_branches(patient, of_branches)
    by_layer = "scale by layer" in kinds and not patient.is_tied
    scaled = _root(patient, patient.params) if by_layer or "scale" in kinds else None
    factor = 1.0 if scaled is None else scaled.factor
    if scaled is not None and factor != 1 and "scale" in kinds:
        advice = f"Multiply the weights {_named(patient, patient.weights)} by {factor:g}"
        std = _root_mean_square(patient.stds(patient.weights))
        then = f": std {std * factor:.3g}/√fan_in, now {std:.3g}/√fan_in" if std == std else ""
        yield Changed(
            patient, "scale", f"{advice}{then}.", scaled.params, scaled.factors, scaled.flow
        )
    if by_layer:
        yield from _by_layer(patient, patient.factors(factor), "scale" in kinds)
    if "orthogonal" in kinds and patient.matrices:
        yield _orthogonal(patient, seed, factor)
    if not of_branches and not patient.is_tied:
        yield from _looks_linear(patient, seed) if "looks-linear" in kinds else ()
        yield from _restructured(patient, kinds)


def _looks_linear(patient: Patient, seed: int) -> Iterator[Changed]:
    """Yield mirrored weights, where layers are of relu; without parameters if widths are odd."""
    try:
        made = patient.looks_linear(seed)
    except OddError:
        made = ODD
    if made is not None:
        where = ", in the centre of kernels" if patient.kernels else ""
        advice = (
            f"Draw the weights {_named(patient, patient.weights)} as [[W, -W], [-W, W]]{where}, "
            "with orthogonal W of gain 1"
        )
        if patient.vectors:
            biases = _named(patient, patient.vectors)
            advice += f", and make the biases {biases} [b, -b], where b is their first half"
        yield Changed(patient, "looks-linear", f"{advice}.", made)


def _orthogonal(patient: Patient, seed: int, start: float) -> Changed:
    """Return orthogonal weights of the size at which the rate is zero, searched from a factor.

    They have one gain if they are square and of one size, else each as many times its own size.
    """
    meant = patient.matrices
    stds = patient.stds(meant)
    one_size = np.isfinite(stds).all() and stds.max() < ONE_SIZE * stds.min()
    std = _root_mean_square(stds) if one_size else 1.0
    drawn = patient.orthogonal(seed, std if one_size else None)
    scaled = _root(patient, drawn, start, meant, std) or _Scaled(1.0, drawn)
    gain = to_digits(scaled.factor * std)
    kind = "orthogonal"
    if meant & {*patient.kernels}:
        kind = "delta-orthogonal, 0 but for an orthogonal matrix in a kernel's centre,"
    advice = f"Draw the weights {_named(patient, meant)} {kind}" + (
        f" with gain {gain:g} (std {gain:.3g}/√fan_in; now {std:.3g}/√fan_in)."
        if one_size
        else f" with {gain:g} times the root mean square that each of them has now."
    )
    return Changed(patient, "orthogonal", advice, scaled.params, None, scaled.flow)


def _root_mean_square(stds: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(stds))))


def _restructured(patient: Patient, kinds: Container[str]) -> Iterator[Changed]:
    """Yield other structures; of other units with the factor on the weights that they need."""
    for kind, where, changed, other, layers in patient.restructured(kinds):
        advice = {
            "skip": f"Put a skip around each of {where}: z + f(z) / √{changed}.",
            "norm": f"Put a norm in front of each of {where}: f(z / rms(z)), with the root mean "
            "square over all numbers of an example.",
        }.get(kind)
        if advice is not None:
            yield Changed(other, kind, advice, other.params, None, other.flow)
            continue
        only = {at for at in other.every_weight if patient.layers[layers[at[0]]]}
        scaled = _root(other, other.params, only=only) or _Scaled(1.0, other.params)
        (leaky,) = tailored(changed)
        advice = (
            f"Put `jaxnn.theory.tailored_relu({changed})`, which is {leaky.gain:.6g} times "
            f"leaky_relu(z, {leaky.slope:.6g}), in place of the activation in {where}, and "
            f"multiply the weights {_named(patient, patient.weights)} by {scaled.factor:g}."
        )
        yield Changed(other, kind, advice, scaled.params, None, scaled.flow)


class _Scaled(NamedTuple):
    """Weights times one factor, with the factors on each layer, (L,), and their flow."""

    factor: float
    params: Any
    factors: np.ndarray | None = None
    flow: Flow | None = None


def _root(
    patient: Patient,
    params: Any,
    start: float = 1.0,
    only: Places | None = None,
    unit: float = 1.0,
) -> _Scaled | None:
    """Return weights times the factor at which the rate is zero; None if no rate is known.

    Args:
        patient: the network.
        params: those that are multiplied.
        start: the first factor.
        only: the arrays that are; by default the weights of the layers that repeat.
        unit: what is said of a factor is the product with it, to so many digits that it is exact.
    """
    tried: dict[float, _Scaled] = {}

    def rate(factor: float) -> float:
        factors = patient.factors(factor) if only is None else np.full(len(patient.layers), factor)
        changed = patient.multiplied(params, factors, only)
        as_it_is = factor == 1 and params is patient.params
        flow = patient.flow if as_it_is else patient.measured(changed)
        tried[factor] = _Scaled(factor, changed, factors, flow)
        return np.nan if flow is None else patient.decades(flow)

    factor = search.root(rate, start)
    if factor is None:
        return None
    factor = to_digits(factor * unit) / unit
    if factor not in tried:
        rate(factor)
    return tried[factor]


def _by_layer(patient: Patient, start: np.ndarray, is_tried: bool) -> Iterator[Changed]:
    """Yield a factor for each layer: by the gradient, by the signal, by both.

    Left out are factors that are those of a change before, to within what rates are told apart by.

    Args:
        patient: the network.
        start: the one factor that the search begins at, on each layer, (L,).
        is_tried: whether that is a change before.
    """
    before = [start] if is_tried else []

    def excess_of(gradient: float, signal: float) -> Callable[[np.ndarray], np.ndarray | None]:
        def excess(factors: np.ndarray) -> np.ndarray | None:
            flow = patient.measured(patient.multiplied(patient.params, factors))
            if flow is None:
                return None
            of_gradient = np.asarray(flow.log_gain, np.float64)[:-1]
            log = np.asarray(flow.log_mean_square, np.float64) / 2
            with np.errstate(invalid="ignore"):  # a signal beyond its range
                both = np.append(np.nan, gradient * of_gradient + signal * np.diff(log))
            return np.where(patient.inside & np.isfinite(both), both, np.nan)

        return excess

    for gradient, signal, what in (
        (1.0, 0.0, "to keep the gradient"),
        (0.0, 1.0, "to keep the signal (as LSUV does)"),
        (0.5, 0.5, "between those that keep gradient and signal"),
    ):
        exact = search.by_layer(excess_of(gradient, signal), start, patient.layers)
        factors = np.array([to_digits(factor) for factor in exact])
        if any(np.abs(np.log10(factors / other)).max() < SAME for other in before):
            continue
        before.append(factors)
        each = listed([f"{factor:g}" for factor in factors[patient.layers]])
        advice = (
            f"Multiply the weights {_named(patient, patient.weights, True)} by {each}, a factor "
            f"for each layer from the lowest up, {what}."
        )
        changed = patient.multiplied(patient.params, factors)
        yield Changed(patient, "scale by layer", advice, changed, factors)


def _of_branches(patient: Patient, found: dict[int, list[set[int]]]) -> Iterator[Changed]:
    only = {(layer, number) for layer, of in found.items() for one in of for number in one}
    count = sum(map(len, found.values()))
    named = _named(patient, only)
    tried = [
        (count**-0.5, f"1/√{count}, for there are {count} branches"),
        (0.0, "0, so that each branch starts closed (as ReZero, SkipInit and Fixup have it)"),
    ]
    if patient.is_post_norm:  # with N layers of two branches α = (2N)^¼ and β = (8N)^-¼
        factor = to_digits(count**-0.75 / 2)
        why = f"{factor:g}, which is β²/α of DeepNorm for {count} branches"
        tried.insert(1, (factor, why))
    for factor, why in tried:
        factors = patient.factors(factor)
        advice = f"Multiply the last arrays of each branch, {named}, by {why}."
        changed = patient.multiplied(patient.params, factors, only)
        yield Changed(patient, "branch scale", advice, changed, factors)


# What a change did


def judged(
    patient: Patient,
    kind: str,
    advice: str,
    params: Any,
    factors: np.ndarray | None,
    theory: bool,
    flow: Flow | None = None,
) -> Cure:
    """Return a change as it is measured.

    Args:
        patient: the network, of the structure that the change gives it.
        kind: of the change.
        advice: what to write.
        params: the changed ones.
        factors: on the weights of each layer, (L,), if it is that.
        theory: whether the wide twin is measured as well.
        flow: if it was measured already.
    """
    flow, net = flow or patient.measured(params, theory), patient.network
    if flow is None:
        reason, none = "the signal leaves the range of its dtype", (np.nan,) * 8
        return Cure(kind, advice, False, reason, *none, factors, None, net, None)
    found = verdict(flow)
    top = int(np.flatnonzero(patient.layers)[-1])
    # The network's output is no state between layers: it may have passed through σ, others not yet.
    between = patient.layers & (np.arange(len(patient.layers)) < max(len(patient.layers) - 1, 1))
    signal = float(np.ptp(np.asarray(flow.log_mean_square, np.float64)[between] / 2 / LN10))
    spread = np.nan if flow.log_spread is None else float(flow.log_spread[top]) / LN10
    reasons = [*filter(None, (_of_gradient(patient, found), _of_signal(signal)))]
    if _merged(flow, top):
        reasons.append("bfloat16 cannot tell examples apart at the top")
    step = np.nan if reasons else patient.step(params)
    if step <= SMALL_STEP:
        advice += (
            f" Adam's first step raises the loss from a step size of {step:.2g} on: take a smaller "
            f"one, such as {step / 5:.1g}."
        )
    return Cure(
        kind,
        advice,
        not reasons,
        " and ".join(reasons),
        found.decades,
        float(found.repeated),
        float(found.total),
        signal,
        spread,
        np.nan if flow.rank is None else float(flow.rank[top]),
        np.nan if flow.theory is None else float(verdict(flow.theory).decades),
        step,
        factors,
        flow,
        net,
        patient.user(params),
    )


def _of_gradient(patient: Patient, found: Verdict) -> str:
    """Return why a gradient is not kept; empty if it is."""
    if found.zero is not None:
        return f"the gradient is exactly zero from layer {found.label(found.zero)} down"
    whole = int(patient.inside.sum()) == len(found.names) - 1  # all layers were changed
    changes = np.array(
        [
            found.decades * patient.inside.sum(),
            found.repeated,
            *((found.total,) if whole else ()),
        ]
    )
    if not np.isfinite(changes).all():
        return "the gradient has no rate"
    return "the gradient still changes" if found.ill or abs(changes).max() >= DECADES else ""


def _of_signal(decades: float) -> str:
    """Return why a signal is not kept; empty if it is."""
    if not np.isfinite(decades):
        return "a state is exactly zero"
    return "" if decades < SIGNAL else f"the signal changes by {decades:.2g} decades"


def _merged(flow: Flow, top: int) -> bool:
    """Tell whether bfloat16 has lost what differs between examples below or at a layer."""
    if flow.log_spread is None or flow.log_delta_example.shape[-1] < 2:
        return False
    spread = np.asarray(flow.log_spread, np.float64)[: top + 1]
    return indistinguishable_in("bfloat16", np.arange(top + 1), spread) is not None


def _changes_nothing(cure: Cure, patient: Patient) -> bool:
    """Tell whether a change of structure changes nothing, as a norm in front of another one."""
    if cure.flow is None or cure.net is patient.network:
        return False
    now, before = (np.asarray(flow.log_gain, np.float64) for flow in (cure.flow, patient.flow))
    return bool(np.allclose(now, before, rtol=0, atol=SAME * LN10 / 10, equal_nan=True))


def _refused(change: Changed) -> Cure:
    """Return a change that there is not, of units in pairs whose number is odd."""
    reason, none = "its units are pairs, and a width is odd", (np.nan,) * 8
    return Cure(change.kind, change.advice, False, reason, *none, None, None, None, None)


def _routers(patient: Patient, before: Verdict) -> list[Cure]:
    """Return a tenth and ten times the size of each router that does not learn, as measured."""
    found = []
    for layer, path in _starved(before):
        only = {
            at for at in patient.weights if (at[0] + 1, clean(patient.path(*at))) == (layer, path)
        }
        for factor in ROUTERS if only else ():
            factors = np.full(len(patient.flow.names), factor)
            changed = patient.multiplied(patient.params, factors, only)
            advice = f"Multiply the router `{path}` of layer {before.label(layer)} by {factor:g}."
            cure = judged(patient, "router", advice, changed, factors, False)
            if cure.flow is not None and (layer, path) in _starved(verdict(cure.flow)):
                cure = replace(cure, works=False, reason=CANCELLED)
            found.append(cure)
    return found


def _starved(of: Verdict) -> set[tuple[int, str]]:
    """Return layer and path of each router that does not learn."""
    routers = (f for f in of.findings if f.kind == "router" and UNLEARNED in f.text)
    return {(f.layer, f.path) for f in routers if f.layer is not None}


def _numbers(patient: Patient, before: Verdict) -> list[Cure]:
    """Return the formats that hold the gradient as it is, if a common one loses it."""
    out_of_range = before.out is not None or before.undefined is not None
    if out_of_range or all(before.lost[name] is None for name in COMMON):
        return []
    held = "; ".join(held_by(patient.flow))
    advice = f"Keep the weights, and take formats that hold what is left: {held}."
    kept = judged(patient, "numbers", advice, patient.params, None, False, patient.flow)
    reason = "numbers are kept, and the gradient is as it was"
    return [replace(kept, works=False, reason=reason)]


# In words


def _named(patient: Patient, meant: Places, one_each: bool = False) -> str:
    """Return some arrays by their layers and names; those of a Network by their layers.

    Args:
        patient: the network.
        meant: the arrays.
        one_each: whether a name with a * is to stand for one array of each layer.
    """
    numbers = numbers_in_words(layer + 1 for layer, _ in meant)
    of = f"of layers {numbers}" if len({layer for layer, _ in meant}) > 1 else f"of layer {numbers}"
    groups: dict[int, list[str]] = {}
    before: Counter[int] = Counter()  # arrays of each layer
    for at in sorted(meant):
        groups.setdefault(before[at[0]] * one_each, []).append(patient.path(*at))
        before[at[0]] += 1
    if not all(map(all, groups.values())):
        return of
    known = patient.flow.parameters.paths
    return f"{of} ({', '.join(names_in_words(names, known) for names in groups.values())})"
