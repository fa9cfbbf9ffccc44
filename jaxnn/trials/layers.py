"""Changes of the layers that repeat: their weights, and their structure.

    setup -> its patient -> what a change needs is there -> Attempt: parameters, or another network

Of changes that are equally good the first in the table comes first.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from ..flow.verdict.verdict import Verdict
from ..patients import search
from ..patients.draws import ONE_SIZE, OddError, delta_like, mirrored
from ..patients.patient import Form, Leaky, Patient, PerLayer, State
from ..patients.words import to_digits
from ..texts import clean, listed
from ..theory.tailored import tailored_relu
from .changes import LATER, change
from .setup import Attempt, Setup

cure = partial(change, cures=True)

HE = 2.0  # variance of weights times the number of inputs, in front of relu
MOST_FACTORS = 12  # in a sentence
SAME = 0.005  # decades a layer: rates are told apart by more
ROUTERS = 0.1, 10.0  # sizes that a router is tried with
EPS = 1e-6  # of a mean square
CANCELLED = (
    "it learns no more, for what follows cancels its size, as weights over their sum or experts "
    "that are equal do; take the softmax over all experts before some are selected, or draw them "
    "apart"
)

# Parameters


@cure(
    "branch scale",
    "Multiply the last arrays of each branch, {arrays}, by {why}.",
    says="the last arrays of each branch, {arrays}, multiplied by {why}",
    rank=LATER,
)
def branch_scale(setup: Setup) -> Iterator[Setup]:
    """The last arrays of each branch times 1/√(branches), 0, or DeepNorm's β²/α before a norm."""
    patient = setup.patient
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
        yield setup.attempted(Attempt(params, factors), arrays=patient.named(only), why=why)


@cure(
    "scale",
    "Multiply the weights {weights} by {factor:g}{then}.",
    says="the weights {weights} multiplied by {factor:g}",
    rank=LATER,
)
def scale(setup: Setup) -> Iterator[Setup]:
    """One factor on all weights of the layers that repeat, at which the rate is zero."""
    patient = setup.patient
    scaled = patient.by_one_factor
    factor = scaled.factor
    if factor != 1:
        std = _root_mean_square(patient.gains(patient.weights))
        then = f": std {std * factor:.3g}/√fan_in, now {std:.3g}/√fan_in" if std == std else ""
        weights = patient.named(patient.weights)
        attempt = Attempt(scaled.params, scaled.factors, scaled.flow)
        yield setup.attempted(attempt, weights=weights, factor=factor, then=then)


@cure(
    "scale by layer",
    "Multiply the weights {weights} by {numbers}, a factor for each layer from the lowest up, "
    "{what}.",
    says="a factor for each layer on the weights {weights}, {what}",
    rank=LATER,
)
def scale_by_layer(setup: Setup) -> Iterator[Setup]:
    """A factor for each layer, to keep the gradient, the signal (as LSUV does), or both.

    Left out are factors that are those of a change before, or of the single factor, to within what
    rates are told apart by.
    """
    patient = setup.patient
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
        yield setup.attempted(
            Attempt(params, factors),
            weights=patient.named(patient.weights, one_each=True),
            factors=of_layers,
            numbers=_few_of([f"{factor:g}" for factor in of_layers]),
            what=what,
        )


def _few_of(factors: Sequence[str]) -> str:
    """Return factors in a sentence, of many the first ones and the last."""
    if len(factors) <= MOST_FACTORS:
        return listed(factors)
    return f"{', '.join(factors[:3])}, …, {factors[-1]} (all {len(factors)}: `.factors`)"


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


@cure(
    "orthogonal",
    "Draw the weights {weights} {kind} with {size}.",
    says="the weights {weights} drawn {kind} with {size}",
    rank=LATER,
    usual=True,
)
def orthogonal(setup: Setup) -> Iterator[Setup]:
    """Orthogonal matrices, delta-orthogonal kernels too, of the size at which the rate is zero.

    They have one gain if they are square and of one size, else each as many times its own size.
    """
    patient = setup.patient
    meant = patient.matrices
    if not meant:
        return
    gains = patient.gains(meant)
    one_size = np.isfinite(gains).all() and gains.max() < ONE_SIZE * gains.min()
    std = _root_mean_square(gains) if one_size else 1.0
    gain = std if one_size else None
    drawn = patient.redrawn(
        meant, lambda source, at: delta_like(source, patient.arrays[at], patient.axes(at), gain)
    )
    factor, params, _, flow = patient.scaled(drawn, patient.by_one_factor.factor, meant, std)
    gain = to_digits(factor * std)
    kernels = "delta-orthogonal, 0 but for an orthogonal matrix in a kernel's centre,"
    yield setup.attempted(
        Attempt(params, flow=flow),
        weights=patient.named(meant),
        kind=kernels if meant & patient.kernels.keys() else "orthogonal",
        size=f"gain {gain:g} (std {gain:.3g}/√fan_in; now {std:.3g}/√fan_in)"
        if one_size
        else f"{gain:g} times the root mean square that each of them has now",
    )


def _root_mean_square(values: Float[np.ndarray, " n"]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


@cure(
    "looks-linear",
    "Draw the weights {weights} as [[W, -W], [-W, W]]{centre}, with orthogonal W of gain 1"
    "{biases}.",
    says="looks-linear weights {weights}",
    rank=LATER,
    unless="branch scale",
)
def looks_linear(setup: Setup) -> Iterator[Setup]:
    """Mirrored orthogonal matrices, `[[W, -W], [-W, W]]`, where layers are of relu.

    Then relu(z) - relu(-z) = z makes the layers linear; their vectors are mirrored likewise, and
    kernels of convolutions in their centre.

    Source: Balduzzi et al. 2017, arXiv:1702.08591.
    """
    patient = setup.patient
    if patient.is_tied or not patient.is_of_relu:
        return
    meant = patient.weights | patient.vectors
    try:
        attempt = Attempt(
            patient.redrawn(
                meant, lambda source, at: mirrored(source, patient.arrays[at], patient.axes(at))
            )
        )
    except OddError:
        attempt = Attempt(None, reason="its units are pairs, and a width is odd")
    centre = ", in the centre of kernels" if patient.kernels else ""
    biases = patient.named(patient.vectors) if patient.vectors else ""
    if biases:
        biases = f", and make the biases {biases} [b, -b], where b is their first half"
    yield setup.attempted(
        attempt, weights=patient.named(patient.weights), centre=centre, biases=biases
    )


# Structure


@dataclass(frozen=True)
class Around:
    """A skip around a layer f, a norm in front of it, or both: z + scale · f(z / rms).

    scale: of the layer beside a skip; None without one.
    norm: whether f is given z / rms, over all axes but that of examples.
    of_branch: whether f is n + g(n), of which the branch g alone is taken.
    """

    scale: float | None = None
    norm: bool = False
    of_branch: bool = False

    def into(self, state: State) -> State:
        if not self.norm:
            return state
        square = (state * state).mean(axis=tuple(range(1, state.ndim)), keepdims=True)
        return state * (square + EPS) ** -0.5

    def out(self, state: State, y: State) -> State:
        if self.scale is None:
            return y
        return state + self.scale * (y - self.into(state) if self.of_branch else y)

    def code(self, layer: str, first: int) -> str:
        axes = f"tuple(range({first}, z.ndim))"
        given = f"z * ((z * z).mean(axis={axes}, keepdims=True) + {EPS}) ** -0.5"
        made = f"{layer}({given if self.norm else 'z'})"
        if self.of_branch:
            made = f"({layer}(n := {given}) - n)"
        return made if self.scale is None else f"z + {self.scale:.6g} * {made}"


def _formed(setup: Setup, patient: Patient, form: Form, **words: Any) -> Iterator[Setup]:
    """Yield the network of a patient with its equal layers in another form."""
    other = patient.with_form(form)
    if other is not None:
        attempt = Attempt(other.params, patient=other)
        yield setup.attempted(attempt, where=patient.rebuildable_names, **words)


def _with_shares(setup: Setup, patient: Patient, form: Callable[[float], Form]) -> Iterator[Setup]:
    """Yield a network with 1/√(layers) of each layer, or 1/(layers), as a form takes it."""
    count = _count(patient)
    for share, by in ((count**-0.5, f"√{count}"), (1 / count, f"{count}")) if count else ():
        made = [*_formed(setup, patient, form(share), by=by)]
        yield from made
        # The smaller share, which leaves next to nothing of a layer, is for rates that are left,
        # where no loss judges.
        if patient.has_loss:
            return
        others = [one.attempt.patient for one in made if one.attempt is not None]
        rates = [other.decades(other.flow) for other in others if other.in_range]
        if all(abs(rate) <= SAME for rate in rates):
            return


def _count(patient: Patient) -> int:
    """Return the number of layers whose structure may change."""
    return 0 if patient.is_tied else int(patient.rebuildable.sum())


@cure(
    "skip",
    "Put a skip around each of {where}: z + f(z) / {by}.",
    says="a skip around each layer",
    unless="branch scale",
    usual=True,
)
def skip(setup: Setup) -> Iterator[Setup]:
    """A skip around each layer that repeats, with 1/√(layers) on the layer, or 1/(layers).

    Around each module where its layers do not keep the shape of their state.
    """
    return _with_shares(setup, setup.patient.blocks, Around)


@cure(
    "norm",
    "Put a norm in front of each of {where}: f(z / rms(z)), with the root mean square over "
    "all numbers of an example.",
    says="a norm in front of each layer",
    unless="branch scale",
)
def norm(setup: Setup) -> Iterator[Setup]:
    """A norm in front of each layer that repeats."""
    blocks = setup.patient.blocks
    return _formed(setup, blocks, Around(norm=True)) if _count(blocks) else iter(())


@cure(
    "pre-norm",
    "Put a norm in front of each of {where}, and a skip around both: z + f(z / rms(z)) / "
    "{by}. The rms is the root mean square over all numbers of an example.",
    says="a skip around each layer and a norm in front",
    unless="branch scale",
    usual=True,
)
def pre_norm(setup: Setup) -> Iterator[Setup]:
    """A skip around each layer that repeats and a norm in front, with such a share of the layer."""
    return _with_shares(setup, setup.patient.blocks, partial(Around, norm=True))


@cure(
    "branch norm",
    "Put a norm in front of the branches f of each of {where}: z + f(z / rms(z)) / {by}. "
    "The rms is the root mean square over all numbers of an example.",
    says="a norm in front of the branches of each layer",
    usual=True,
)
def branch_norm(setup: Setup) -> Iterator[Setup]:
    """A norm in front of the branches of each layer that repeats, and such a share of them."""
    patient = setup.patient
    if patient.branches and not patient.is_post_norm:
        yield from _with_shares(setup, patient, partial(Around, norm=True, of_branch=True))


@cure(
    "units",
    "Replace the activation in {where} by {gain:.6g} · LeakyReLU({slope:.6g}), which is "
    "tailored to {count} layers, and multiply the weights {weights} by {factor:g}.",
    says="a leaky relu that is tailored to {count} layers as the activation",
    rank=LATER,
    unless="branch scale",
)
def tailored_units(setup: Setup) -> Iterator[Setup]:
    """Units that are tailored to the number of layers, with the factor that they need.

    Source: Zhang et al. 2022, arXiv:2203.08120.
    """
    patient = setup.patient
    count = _count(patient)
    sigma = _tailored(count)
    other = None if sigma is None else patient.with_units(sigma)
    if sigma is None or other is None or not other.in_range:
        return
    only = {at for at in other.every_weight if patient.layers[other.numbers[at[0]]]}
    factor, params, _, flow = other.scaled(other.params, only=only)
    yield setup.attempted(
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


@dataclass(frozen=True)
class _Relu:
    gain = 1.0
    slope = 0.0

    def __call__(self, z: Any) -> Any:
        return jax.nn.relu(z)


@change(
    "relu",
    "Use relu between the layers, and draw the weights with a variance of 2 / (number of inputs).",
    says="relu as the activation, and He initialisation",
)
def relu(setup: Setup) -> Setup | None:
    """Relu with weights of He's size."""
    drawn = setup.tools.drawn(setup, HE) or setup
    return drawn.reformed(drawn.patient.with_units(_Relu(), everywhere=True))


# Routers


@cure(
    "router",
    "Multiply the router `{path}` of layer {name} by {factor:g}.",
    says="the router `{path}` multiplied by {factor:g}",
    mends="router",
)
def router(setup: Setup) -> Iterator[Setup]:
    """A tenth and ten times the size of each router that does not learn."""
    patient = setup.patient
    for layer, path in _starved(patient.verdict):
        only = {
            at for at in patient.weights if (at[0] + 1, clean(patient.path(at))) == (layer, path)
        }
        for factor in ROUTERS if only else ():
            factors = np.full(len(patient.flow.names), factor)
            params = patient.multiplied(patient.params, factors, only)
            attempt = Attempt(params, factors, reason=partial(_is_still_starved, (layer, path)))
            yield setup.attempted(attempt, name=patient.label(layer), path=path, factor=factor)


def _is_still_starved(place: tuple[int, str], changed: Verdict) -> str:
    return CANCELLED if place in _starved(changed) else ""


def _starved(verdict: Verdict) -> set[tuple[int, str]]:
    """Return layer and path of each router that does not learn."""
    routers = (f for f in verdict.findings if f.rule == "router" and f.values["decades"])
    return {(f.layer, f.path) for f in routers if f.layer is not None}
