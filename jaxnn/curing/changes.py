"""Changes of a network: what may cure it, one entry each of one table.

    patient -> a rule sees -> what it needs is there -> Attempt: parameters, or another network

Of changes that are equally good the first in the table comes first.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ..flow.formats.ranges import COMMON
from ..flow.record.flow import Flow
from ..flow.verdict.verdict import Verdict
from ..rules import Rules, Sight
from ..texts import clean, listed
from ..theory.tailored import tailored_relu
from . import search
from .draws import OddError, delta_like, mirrored
from .held_formats import held_by
from .patient import Form, Leaky, Params, Patient, PerLayer, State
from .words import to_digits

SAME = 0.005  # decades a layer: rates are told apart by more
ROUTERS = 0.1, 10.0  # sizes that a router is tried with
ONE_SIZE = 1.5  # times the smallest: weights that are drawn with one gain
EPS = 1e-6  # of a mean square
CANCELLED = (
    "it learns no more, for what follows cancels its size, as weights over their sum or experts "
    "that are equal do; take the softmax over all experts before some are selected, or draw them "
    "apart"
)

CURES: Rules[Patient] = Rules()


class Attempt(NamedTuple):
    """A changed network."""

    params: Params | None  # None if there are none, with the reason
    factors: PerLayer | None = None  # on the weights of each layer
    flow: Flow | None = None  # if it was measured already
    patient: Patient | None = None  # with another structure
    reason: str | Callable[[Verdict], str] = ""  # why it is no cure whatever is measured
    # leaves the layers that make signal and examples alone, which then do not count
    is_named: bool = False


def made(attempt: Attempt, layer: int | None = None, path: str = "", **words: Any) -> Sight:
    """Return an attempt as what a rule sees, with what its sentence names."""
    return Sight(layer, path, {"attempt": attempt, **words})


# Parameters


@CURES.rule("branch scale", says="Multiply the last arrays of each branch, {arrays}, by {why}.")
def branch_scale(patient: Patient) -> Iterator[Sight]:
    """The last arrays of each branch times 1/√(branches), 0, or DeepNorm's β²/α before a norm."""
    only, count = set().union(*patient.branches), len(patient.branches)
    if not count:
        return
    tried = [(count**-0.5, f"1/√{count}, for there are {count} branches")]
    if patient.is_post_norm:  # with N layers of two branches α = (2N)^¼ and β = (8N)^-¼
        factor = to_digits(count**-0.75 / 2)
        tried.append((factor, f"{factor:g}, which is β²/α of DeepNorm for {count} branches"))
    closed = "0, so that each branch starts closed (as ReZero, SkipInit and Fixup have it)"
    for factor, why in (*tried, (0.0, closed)):
        factors = patient.factors(factor)
        params = patient.multiplied(patient.params, factors, only)
        yield made(Attempt(params, factors), arrays=patient.named(only), why=why)


@CURES.rule("scale", says="Multiply the weights {weights} by {factor:g}{then}.")
def scale(patient: Patient) -> Iterator[Sight]:
    """One factor on all weights of the layers that repeat, at which the rate is zero."""
    scaled = patient.by_one_factor
    factor = scaled.factor
    if factor != 1:
        std = _root_mean_square(patient.gains(patient.weights))
        then = f": std {std * factor:.3g}/√fan_in, now {std:.3g}/√fan_in" if std == std else ""
        weights = patient.named(patient.weights)
        attempt = Attempt(scaled.params, scaled.factors, scaled.flow)
        yield made(attempt, weights=weights, factor=factor, then=then)


@CURES.rule(
    "scale by layer",
    says="Multiply the weights {weights} by {numbers}, a factor for each layer from the lowest up, "
    "{what}.",
)
def scale_by_layer(patient: Patient) -> Iterator[Sight]:
    """A factor for each layer, to keep the gradient, the signal (as LSUV does), or both.

    Left out are factors that are those of a change before, or of the single factor, to within what
    rates are told apart by.
    """
    if patient.is_tied:
        return
    start = patient.factors(patient.by_one_factor.factor)
    before = [start]
    for gradient, signal, what in (
        (1.0, 0.0, "to keep the gradient"),
        (0.0, 1.0, "to keep the signal (as LSUV does)"),
        (0.5, 0.5, "between those that keep gradient and signal"),
    ):
        excess = partial(_excess, patient, gradient, signal)
        exact = search.by_layer(excess, start, patient.layers)
        factors = np.array([to_digits(factor) for factor in exact])
        if any(np.abs(np.log10(factors / other)).max() < SAME for other in before):
            continue
        before.append(factors)
        params = patient.multiplied(patient.params, factors)
        of_layers = tuple(factors[patient.layers].tolist())
        yield made(
            Attempt(params, factors),
            weights=patient.named(patient.weights, one_each=True),
            factors=of_layers,
            numbers=listed([f"{factor:g}" for factor in of_layers]),
            what=what,
        )


def _excess(patient: Patient, gradient: float, signal: float, factors: PerLayer) -> PerLayer | None:
    """Return ln of what each layer multiplies gradient and signal by, in their shares, if known."""
    flow = patient.measured(patient.multiplied(patient.params, factors))
    if flow is None:
        return None
    of_gradient = np.asarray(flow.log_gain, np.float64)[:-1]
    log = np.asarray(flow.log_mean_square, np.float64) / 2
    with np.errstate(invalid="ignore"):  # a signal beyond its range
        both = np.append(np.nan, gradient * of_gradient + signal * np.diff(log))
    return np.where(patient.inside & np.isfinite(both), both, np.nan)


@CURES.rule("orthogonal", says="Draw the weights {weights} {kind} with {size}.", usual=True)
def orthogonal(patient: Patient) -> Iterator[Sight]:
    """Orthogonal matrices, delta-orthogonal kernels too, of the size at which the rate is zero.

    They have one gain if they are square and of one size, else each as many times its own size.
    """
    meant = patient.matrices
    if not meant:
        return
    gains, rng = patient.gains(meant), np.random.default_rng(patient.seed)
    one_size = np.isfinite(gains).all() and gains.max() < ONE_SIZE * gains.min()
    std = _root_mean_square(gains) if one_size else 1.0
    drawn = patient.redrawn(
        meant, lambda v, axes: delta_like(rng, v, axes, std if one_size else None)
    )
    factor, params, _, flow = patient.scaled(drawn, patient.by_one_factor.factor, meant, std)
    gain = to_digits(factor * std)
    kernels = "delta-orthogonal, 0 but for an orthogonal matrix in a kernel's centre,"
    yield made(
        Attempt(params, flow=flow),
        weights=patient.named(meant),
        kind=kernels if meant & patient.kernels.keys() else "orthogonal",
        size=f"gain {gain:g} (std {gain:.3g}/√fan_in; now {std:.3g}/√fan_in)"
        if one_size
        else f"{gain:g} times the root mean square that each of them has now",
    )


def _root_mean_square(values: Float[np.ndarray, " n"]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


@CURES.rule(
    "looks-linear",
    says="Draw the weights {weights} as [[W, -W], [-W, W]]{centre}, with orthogonal W of gain 1"
    "{biases}.",
    unless=("branch scale",),
)
def looks_linear(patient: Patient) -> Iterator[Sight]:
    """Mirrored orthogonal matrices, `[[W, -W], [-W, W]]`, where layers are of relu.

    Then relu(z) - relu(-z) = z makes the layers linear; their vectors are mirrored likewise, and
    kernels of convolutions in their centre.

    Source: Balduzzi et al. 2017, arXiv:1702.08591.
    """
    if patient.is_tied or not patient.is_of_relu:
        return
    rng, meant = np.random.default_rng(patient.seed), patient.weights | patient.vectors
    try:
        attempt = Attempt(patient.redrawn(meant, partial(mirrored, rng)))
    except OddError:
        attempt = Attempt(None, reason="its units are pairs, and a width is odd")
    centre = ", in the centre of kernels" if patient.kernels else ""
    biases = patient.named(patient.vectors) if patient.vectors else ""
    if biases:
        biases = f", and make the biases {biases} [b, -b], where b is their first half"
    yield made(attempt, weights=patient.named(patient.weights), centre=centre, biases=biases)


# Structure


@dataclass(frozen=True)
class AddedSkip:
    """A skip around a layer: z + scale · f(z)."""

    scale: float

    def into(self, state: State) -> State:
        return state

    def out(self, state: State, y: State) -> State:
        return state + self.scale * y

    def code(self, layer: str, first: int) -> str:
        del first
        return f"z + {self.scale:.6g} * {layer}(z)"


@dataclass(frozen=True)
class AddedNorm:
    """A norm in front of a layer: f(z / rms), over all axes but that of examples."""

    def into(self, state: State) -> State:
        square = (state * state).mean(axis=tuple(range(1, state.ndim)), keepdims=True)
        return state * (square + EPS) ** -0.5

    def out(self, state: State, y: State) -> State:
        return y

    def code(self, layer: str, first: int) -> str:
        return f"{layer}({self._normed(first)})"

    def _normed(self, first: int) -> str:
        axes = f"tuple(range({first}, z.ndim))"
        return f"z * ((z * z).mean(axis={axes}, keepdims=True) + {EPS}) ** -0.5"


@dataclass(frozen=True)
class PreNorm(AddedSkip):
    """A skip around a layer with a norm in front: z + scale · f(z / rms)."""

    def into(self, state: State) -> State:
        return AddedNorm().into(state)

    def code(self, layer: str, first: int) -> str:
        return f"z + {self.scale:.6g} * {AddedNorm().code(layer, first)}"


@dataclass(frozen=True)
class BranchNorm(AddedNorm):
    """A norm in front of the branches f of a layer z + f(z): z + scale · f(z / rms)."""

    scale: float

    def out(self, state: State, y: State) -> State:
        return state + self.scale * (y - self.into(state))

    def code(self, layer: str, first: int) -> str:
        return f"z + {self.scale:.6g} * ({layer}(n := {self._normed(first)}) - n)"


def _formed(patient: Patient, form: Form, **words: Any) -> Iterator[Sight]:
    """Yield the network with its equal layers in another form."""
    other = patient.with_form(form)
    if other is not None and other.in_range:
        attempt = Attempt(other.params, flow=other.flow, patient=other)
        yield made(attempt, where=patient.rebuildable_names, **words)


def _with_shares(patient: Patient, form: Callable[[float], Form]) -> Iterator[Sight]:
    """Yield the network with 1/√(layers) of each layer, or 1/(layers), as a form takes it."""
    count = _count(patient)
    for share, by in ((count**-0.5, f"√{count}"), (1 / count, f"{count}")) if count else ():
        sights = [*_formed(patient, form(share), by=by)]
        yield from sights
        attempts: list[Attempt] = [sight.values["attempt"] for sight in sights]
        rates = [a.patient.decades(a.flow) for a in attempts if a.patient and a.flow]
        # The smaller share, which leaves next to nothing of a layer, is for rates that are left,
        # where no loss judges.
        is_kept = all(abs(rate) <= SAME for rate in rates)
        if is_kept or patient.has_loss:
            return


def _count(patient: Patient) -> int:
    """Return the number of layers whose structure may change."""
    return 0 if patient.is_tied else int(patient.rebuildable.sum())


@CURES.rule(
    "skip",
    says="Put a skip around each of {where}: z + f(z) / {by}.",
    unless=("branch scale",),
    usual=True,
)
def skip(patient: Patient) -> Iterator[Sight]:
    """A skip around each layer that repeats, with 1/√(layers) on the layer, or 1/(layers).

    Around each module where its layers do not keep the shape of their state.
    """
    return _with_shares(patient.blocks, AddedSkip)


@CURES.rule(
    "norm",
    says="Put a norm in front of each of {where}: f(z / rms(z)), with the root mean square over "
    "all numbers of an example.",
    unless=("branch scale",),
)
def norm(patient: Patient) -> Iterator[Sight]:
    """A norm in front of each layer that repeats."""
    blocks = patient.blocks
    return _formed(blocks, AddedNorm()) if _count(blocks) else iter(())


@CURES.rule(
    "pre-norm",
    says="Put a norm in front of each of {where}, and a skip around both: z + f(z / rms(z)) / "
    "{by}. The rms is the root mean square over all numbers of an example.",
    unless=("branch scale",),
    usual=True,
)
def pre_norm(patient: Patient) -> Iterator[Sight]:
    """A skip around each layer that repeats and a norm in front, with such a share of the layer."""
    return _with_shares(patient.blocks, PreNorm)


@CURES.rule(
    "branch norm",
    says="Put a norm in front of the branches f of each of {where}: z + f(z / rms(z)) / {by}. "
    "The rms is the root mean square over all numbers of an example.",
    usual=True,
)
def branch_norm(patient: Patient) -> Iterator[Sight]:
    """A norm in front of the branches of each layer that repeats, and such a share of them."""
    if patient.branches and not patient.is_post_norm:
        yield from _with_shares(patient, BranchNorm)


@CURES.rule(
    "units",
    says="Replace the activation in {where} by {gain:.6g} · LeakyReLU({slope:.6g}), which is "
    "tailored to {count} layers, and multiply the weights {weights} by {factor:g}.",
    unless=("branch scale",),
)
def tailored_units(patient: Patient) -> Iterator[Sight]:
    """Units that are tailored to the number of layers, with the factor that they need.

    Source: Zhang et al. 2022, arXiv:2203.08120.
    """
    count = _count(patient)
    sigma = _tailored(count)
    other = None if sigma is None else patient.with_units(sigma)
    if sigma is None or other is None or not other.in_range:
        return
    only = {at for at in other.every_weight if patient.layers[other.numbers[at[0]]]}
    factor, params, _, flow = other.scaled(other.params, only=only)
    yield made(
        Attempt(params, flow=flow, patient=other),
        count=count,
        gain=sigma.gain,
        slope=sigma.slope,
        where=patient.rebuildable_names,
        weights=patient.named(patient.weights),
        factor=factor,
    )


def _tailored(count: int) -> Leaky | None:
    """Return the leaky relu that is tailored to a number of layers; None of too few."""
    try:
        sigma: Any = tailored_relu(count).sigma if count else None
    except ValueError:
        return None
    return sigma  # type: ignore[no-any-return]


# Routers and number formats


@CURES.rule(
    "router", says="Multiply the router `{path}` of layer {name} by {factor:g}.", mends="router"
)
def router(patient: Patient) -> Iterator[Sight]:
    """A tenth and ten times the size of each router that does not learn."""
    for layer, path in _starved(patient.verdict):
        only = {
            at for at in patient.weights if (at[0] + 1, clean(patient.path(at))) == (layer, path)
        }
        for factor in ROUTERS if only else ():
            factors = np.full(len(patient.flow.names), factor)
            params = patient.multiplied(patient.params, factors, only)
            attempt = Attempt(params, factors, reason=partial(_is_still_starved, (layer, path)))
            yield made(attempt, layer, path, factor=factor)


def _is_still_starved(place: tuple[int, str], changed: Verdict) -> str:
    return CANCELLED if place in _starved(changed) else ""


def _starved(verdict: Verdict) -> set[tuple[int, str]]:
    """Return layer and path of each router that does not learn."""
    routers = (f for f in verdict.findings if f.rule == "router" and f.values["decades"])
    return {(f.layer, f.path) for f in routers if f.layer is not None}


@CURES.rule("numbers", says="Keep the weights, and take formats that hold what is left: {formats}.")
def formats(patient: Patient) -> Iterator[Sight]:
    """The formats that hold the gradient as it is, if a common one loses it."""
    verdict = patient.verdict
    is_in_range = verdict.out is None and verdict.undefined is None
    if is_in_range and any(verdict.lost[name] is not None for name in COMMON):
        reason = "numbers are kept, and the gradient is as it was"
        attempt = Attempt(patient.params, flow=patient.flow, reason=reason)
        yield made(attempt, formats="; ".join(held_by(patient.flow)))
