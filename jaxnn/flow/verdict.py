"""Verdict: a flow in words: vanishing, exploding or steady, where it is lost, what to change.

The gradient of an early layer is a product of one factor for each layer. The verdict is about these
factors, g[l] = log₁₀ ‖Δ[l]‖ - log₁₀ ‖Δ[l+1]‖, of a Network those of the hidden layers. Their mean
is the rate in decades per layer; since they are nearly independent, its standard error is
sd(g) / √count.
"""

import contextlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..network.activations import Activation
from ..network.blocks import DENSE, BatchNorm, Block, LayerNorm, Residual, RMSNorm
from ..network.lists import counted, one_if_equal
from ..texts import cleaned, label
from ..theory import meanfield
from .flow import Flow
from .formats import (
    FORMATS,
    UNCLEAR,
    examples_in_words,
    highest,
    indistinguishable_in,
    loss_in_words,
    lost_in,
    not_finite,
    rate_of,
    tells_apart,
    word_of,
)
from .table import assert_one, sentences_as_html

# Fractions of the hidden units from which on a verdict warns of them: a unit of relu is off for
# half of the examples, so that only dead ones count there.
MANY_DEAD, MANY_SATURATED = 0.1, 0.75
CRITICAL_WITHIN = 0.02  # of the critical σ_w
BLOWN_UP = 100  # times the critical σ_w: no scheme draws such weights


@dataclass(frozen=True)
class Remedy:
    """Another network, and the rate that theory says it would have.

    change: what to change.
    decades: the rate in decades a layer towards the input; 0 keeps the gradient.
    """

    change: str
    decades: float

    def __str__(self) -> str:
        return f"In theory {self.decades:+.2g} decades a layer: {self.change}."


@dataclass(frozen=True)
class Verdict:
    """The verdict on a flow; `str` returns it in sentences. Layers are counted from 1.

    word: vanishing, exploding or steady; not distinguishable from steady where the rate is below
        two of its standard errors; unknown without two layers, of a Network hidden ones, whose
        gradients are neither zero nor infinite.
    decades: the rate, in decades per layer towards the input, below 0 if gradients vanish.
    standard_error: of the rate; nan for a single factor.
    layers: the number of layers that the rate is over, of a Network the hidden ones.
    names: of all layers.
    steepest: the layer that changes the size of the gradient most, from what it returns to what
        goes into it, and by how many decades; None unless one stands out.
    zero: the layer from which down Δ is exactly zero, every path being cut; or None.
    undefined: the layer from which down Δ is not a finite number, whatever the format; or None.
    lost: for each of `FORMATS` the layer from which down plain backpropagation in that format has
        no number for Δ, its largest entry being outside the normal numbers; or None.
    indistinguishable: for each of `FORMATS` as coarse as the states or coarser, but for those of 8
        bits, the layer from which up what differs between examples is rounding, not input; or None.
        Empty unless the flow was measured with examples=True and has several.
    out: the first layer whose state is not a finite number; or None.
    activation, hidden: of a Network; None for others, and what follows is nan or None too. Lists
        where the layers that are used differ; what is said of σ_w at χ = 1 is then None.
    saturated, dead: fractions of the hidden units, as in `Units`.
    all_dead: the highest hidden layer whose units are all dead; or None.
    sigma_w: the effective σ_w of the weights, √((q[l+1] - σ_b²) / E[a[l]²]), geometric mean; nan
        where the blocks are neither the article's nor that behind a norm.
    sigma_b: the root mean square of the hidden biases.
    critical_sigma_w: the σ_w at which χ = 1 for this σ and σ_b; None if there is none, or where the
        blocks are not the article's.
    unbiased_sigma_w: the σ_w at which χ = 1 for this σ and σ_b = 0; None likewise.
    """

    word: str
    decades: float
    standard_error: float
    layers: int
    names: tuple[str, ...]
    steepest: tuple[int, float] | None
    zero: int | None
    undefined: int | None
    lost: dict[str, int | None]
    indistinguishable: dict[str, int | None]
    out: int | None
    activation: Activation | tuple[Activation, ...] | None = None
    hidden: Block | tuple[Block, ...] | None = None
    saturated: float = np.nan
    dead: float = np.nan
    all_dead: int | None = None
    sigma_w: float = np.nan
    sigma_b: float = np.nan
    critical_sigma_w: float | None = None
    unbiased_sigma_w: float | None = None

    def _repr_html_(self) -> str:
        return sentences_as_html(str(self))

    def __str__(self) -> str:
        return "\n".join((" ".join(self.sentences), *map(str, self.remedies)))

    @property
    def sentences(self) -> tuple[str, ...]:
        """The verdict, one finding after the other; the remedies are apart."""
        found = (
            *(self.rate_text, self.turn_text, self.loss_text),
            *(self.examples_text, self.units_text, self.advice),
        )
        return tuple(filter(None, found))

    def label(self, layer: int) -> str:
        """Return a layer in words."""
        return label(layer, self.names[layer - 1])

    def _label(self, layer: int | None) -> str | None:
        return None if layer is None else self.label(layer)

    @cached_property
    def remedies(self) -> tuple["Remedy", ...]:
        """Other networks that would keep the gradient where this one loses it, the best first.

        Empty unless the word is vanishing or exploding, where weights have blown up or nothing
        passes, and for what is no Network. Computed where it is first asked for: theory of infinite
        width, for an input of mean square 1, and for the effective σ_w where that matters and is
        known, else for σ_w = 1.
        """
        ill = self.out is not None or self.all_dead is not None or self._blown_up
        if ill or self.word not in ("vanishing", "exploding") or self.activation is None:
            return ()
        known = np.isfinite(self.sigma_w) and self.sigma_w > 0
        of = (self.activation, self.sigma_w if known else 1.0, self.sigma_b)
        found = []
        if self.critical_sigma_w is not None:
            found.append(Remedy(f"weights with σ_w = {self.critical_sigma_w:.4g}", 0.0))
        if isinstance(self.hidden, RMSNorm | LayerNorm) and isinstance(self.activation, Activation):
            found.extend(self._critical_behind_norm)
        for block, name in (
            (Residual(scale=self.layers**-0.5), "Residual(scale=1 / √L)"),
            (Residual(RMSNorm()), "Residual(RMSNorm())"),
        ):
            if block != self.hidden:
                rate = _predicted_rate(*of, self.layers, block)
                found.append(Remedy(f"hidden=jaxnn.{name}", rate))
        with contextlib.suppress(ValueError):  # too few layers for them
            meanfield.tailored_slope(self.layers)
            if isinstance(self.hidden, Block):
                found.append(Remedy(f"units of jaxnn.tailored_relu({self.layers}), σ_w = 1", 0.0))
        return tuple(sorted(found, key=lambda remedy: abs(remedy.decades)))

    @property
    def _critical_behind_norm(self) -> tuple["Remedy", ...]:
        """The remedy of the critical σ_w behind this norm; empty if none exists or it is in use."""
        assert isinstance(self.activation, Activation)
        assert isinstance(self.hidden, Block)
        sigma_w = _critical(self.activation, self.sigma_b, self.hidden)
        if sigma_w is None or abs(self.sigma_w / sigma_w - 1) < CRITICAL_WITHIN:
            return ()
        of = (self.activation, sigma_w, self.sigma_b)
        rate = _predicted_rate(*of, self.layers, self.hidden)
        return (Remedy(f"weights with σ_w = {sigma_w:.4g}, critical behind this norm", rate),)

    @property
    def rate_text(self) -> str:
        """The word and the rate."""
        hidden = "" if self.activation is None else "hidden "
        if self.layers < 2:
            there = "there is one" if self.layers else "there are none"
            return f"No rate: it takes two {hidden}layers, and {there}."
        if self.word == "unknown":
            return f"No rate: it takes two {hidden}layers with a gradient that is a number."
        error = "" if np.isnan(self.standard_error) else f" ± {self.standard_error:.1g}"
        return (
            f"{self.word.capitalize()}, {self.decades:+.3g}{error} decades a layer towards the "
            f"input, over {self.layers} {hidden}layers."
        )

    @property
    def turn_text(self) -> str:
        """The layer that changes the gradient most, if one stands out."""
        if self.steepest is None:
            return ""
        layer, decades = self.steepest
        return f"Layer {self.label(layer)} changes it most, by {decades:+.2g} decades."

    @property
    def loss_text(self) -> str:
        """The layers in which the gradient is zero or lost."""
        lost = {name: self._label(layer) for name, layer in self.lost.items()}
        delta = "Δ" if self.activation is None else "Δz"
        return loss_in_words(delta, lost, self._label(self.zero), self._label(self.undefined))

    @property
    def examples_text(self) -> str:
        """The layers in which examples are no longer told apart; empty if that is not known."""
        return examples_in_words(self.indistinguishable, self.lost, self.label, self._count)

    @property
    def _count(self) -> int:
        """The number of layers, of a Network the used ones."""
        return self.layers + (self.activation is not None)

    @property
    def units_text(self) -> str:
        """Saturated and dead units, and a layer that nothing passes; empty if not known."""
        if self.activation is None:
            return ""
        units = f"Of the hidden units {self.saturated:.1%} are saturated, {self.dead:.1%} dead"
        return units + ("." if self.all_dead is None else f", all of layer {self.all_dead}.")

    @property
    def advice(self) -> str:
        """The change to make, if any."""
        now = f"they act like σ_w = {self.sigma_w:.3g}"
        blown_up = "Draw them again; if training made them so, train with a smaller step."
        if self.out is not None:
            return (
                f"The signal is not a finite number from layer {self.label(self.out)} on: weights "
                f"or biases have blown up. {blown_up}"
            )
        if self.activation is None:
            return ""
        if self.all_dead is not None:
            return (
                f"Nothing passes layer {self.all_dead}: draw its weights again, make the layers "
                f"wider, or choose an activation with a slope everywhere{self._instead}."
            )
        if self.word == "unknown" and (self.layers > 1 or self.zero or self.undefined):
            return "Look for dead units, zero weights and signals out of range first."
        if self._blown_up:
            return (
                f"The weights have blown up: {now}, and σ_w = {self.critical_sigma_w:.4g} makes "
                f"χ = 1. {blown_up}"
            )
        if self.word == UNCLEAR:
            return (
                "The factors of the layers scatter more than they add up; other draws of the "
                f"weights would tell. {self._advice_on_units}".strip()
            )
        if self.word in ("steady", "unknown"):
            return self._advice_on_units or "Nothing needs to change."
        if self.hidden != DENSE or isinstance(self.activation, tuple):
            return (
                f"With {self._kinds} the gradient has this rate; what follows says how others "
                "would do."
            )
        name = self.activation.name
        if self.critical_sigma_w is not None:
            if abs(self.sigma_w / self.critical_sigma_w - 1) < CRITICAL_WITHIN:
                return (
                    f"The weights are critical already ({now}); what is left comes from the finite "
                    "width: make the layers wider, or draw the weights orthogonal."
                )
            return (
                f"Draw the weights with σ_w = {self.critical_sigma_w:.4g}, of variance "
                f"σ_w²/fan_in: for {name} and σ_b = {self.sigma_b:.2g} that makes χ = 1; "
                f"now {now}."
            )
        none = (
            f"No σ_w makes χ = 1 at a finite signal for {name} and σ_b = {self.sigma_b:.2g} (now "
            f"{now}): "
        )
        if self.unbiased_sigma_w is not None and self.sigma_b > 0:
            return f"{none}set the biases to zero and σ_w = {self.unbiased_sigma_w:.4g}."
        return f"{none}choose another activation."

    @property
    def _kinds(self) -> str:
        """The blocks between hidden layers, and the activations where they differ, in words."""
        sigma, hidden = self.activation, self.hidden
        kinds = [counted(one.name for one in sigma)] if isinstance(sigma, tuple) else []
        if not isinstance(hidden, Block):
            kinds.append(f"{counted(map(repr, hidden or ()))} between hidden layers")
        elif hidden != DENSE:
            kinds.append(f"{hidden!r} between hidden layers")
        return " and ".join(kinds)

    @property
    def _blown_up(self) -> bool:
        return bool(self.critical_sigma_w and self.sigma_w > BLOWN_UP * self.critical_sigma_w)

    @property
    def _advice_on_units(self) -> str:
        """The advice on units that pass little on; empty if none is needed."""
        if self.dead >= MANY_DEAD:
            return (
                "The size of the gradient needs no change, but dead units pass nothing on and "
                "learn nothing from this batch: look at more examples, and if they stay dead, "
                f"choose an activation with a slope everywhere{self._instead}."
            )
        if self.saturated >= MANY_SATURATED:
            return (
                "The size of the gradient needs no change, but it reaches few units: the rest are "
                "saturated, and smaller weights or biases would bring them back."
            )
        return ""

    @property
    def _instead(self) -> str:
        sigma = self.activation
        leaky = isinstance(sigma, Activation) and sigma.name == "leaky_relu"
        return "" if leaky else ", such as leaky_relu"


def verdict(flow: Flow) -> Verdict:
    """Judge the gradient of one network: its rate, where it is lost, and what to change.

    Args:
        flow: of `jaxnn.gradient_flow`, of one network, and with known values (outside `jit`).

    Returns:
        Verdict; `print` it to read it in sentences.

    Raises:
        TypeError: a traced flow, or one of several networks.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> net = jaxnn.Network(sizes=(64, *[64] * 100, 1), activation="sigmoid", task="binary")
        >>> params = jaxnn.init(net, jax.random.key(0), stacked=True)
        >>> flow = jax.jit(jaxnn.gradient_flow)(net, params, jnp.ones((2, 64)), jnp.array([0, 1]))
        >>> print(verdict(flow))  # doctest: +ELLIPSIS
        Vanishing, -0.6... ± 0.00... decades a layer towards the input, over 100 hidden layers. ...

    Source: the formats' ranges are those of IEEE 754, bfloat16 and OCP's 8-bit floats.
    """
    assert_one(flow)
    log_delta, log_gain, log_largest, log_mean_square = (
        np.asarray(v, np.float64)
        for v in (flow.log_delta, flow.log_gain, flow.log_largest, flow.log_mean_square)
    )
    out = ~(log_mean_square < np.inf)  # nan too
    used = np.arange(len(out))
    if flow.units is not None and not out[-1]:  # else a layer whose biases are nan counts too
        used = np.flatnonzero(~np.isnan(flow.units.mean_square_b))  # what `depth` leaves out is nan
    judged = used if flow.net is None else used[:-1]
    rate, error = rate_of(log_gain[judged[:-1]])
    log_spread = np.asarray(flow.log_spread if known_apart(flow) else (), np.float64)
    return Verdict(
        word=word_of(rate, len(judged), error),
        decades=rate,
        standard_error=error,
        layers=len(judged),
        names=cleaned(flow.names),
        steepest=_steepest(log_gain[judged[:-1]] / np.log(10), judged),
        zero=highest(used, np.isneginf(log_delta[used])),
        undefined=not_finite(used, log_largest[used]),
        lost={name: lost_in(name, used, log_largest[used]) for name in FORMATS},
        indistinguishable={
            name: indistinguishable_in(name, used, log_spread)
            for name in FORMATS
            if len(log_spread) and tells_apart(name, flow.dtype)
        },
        out=int(used[np.argmax(out[used])]) + 1 if out[used].any() else None,
        **({} if flow.net is None else _of_network(flow, judged)),
    )


def known_apart(flow: Flow) -> bool:
    """Tell whether a flow says what is left of its examples."""
    return flow.log_spread is not None and flow.log_delta_example.shape[1] > 1


def _of_network(flow: Flow, hidden: np.ndarray) -> dict[str, Any]:
    """Return what only a Network has: its units and weights, of its hidden layers."""
    net, units = flow.net, flow.units
    assert net is not None
    assert units is not None
    f = {name: np.asarray(v, np.float64) for name, v in vars(units).items()}
    sigma_b = float(np.sqrt(np.mean(f["mean_square_b"][hidden]))) if len(hidden) else 0.0
    sigma, block = _of_used(net.activation, hidden), _of_used(net.hidden, hidden[1:] - 1)
    norms = (RMSNorm, LayerNorm, BatchNorm)
    sigma_w_counts = all(
        one == DENSE or (isinstance(one, norms) and one.inner == DENSE)
        for one in ([block] if isinstance(block, Block) else block)
    )
    plain = sigma if block == DENSE else None
    return {
        "activation": sigma,
        "hidden": block,
        "saturated": float(np.mean(f["saturated"][hidden])) if len(hidden) else 0.0,
        "dead": float(np.mean(f["dead"][hidden])) if len(hidden) else 0.0,
        "all_dead": highest(hidden, f["dead"][hidden] == 1),
        "sigma_w": _effective_sigma_w(f, hidden) if sigma_w_counts else np.nan,
        "sigma_b": sigma_b,
        "critical_sigma_w": _critical(plain, sigma_b),
        "unbiased_sigma_w": _critical(plain, 0.0),
    }


def _of_used(given: Any, places: np.ndarray) -> Any:
    """Return what all layers have, or of a list what those at these places have."""
    if isinstance(given, Activation | Block):
        return given
    return one_if_equal(tuple(given[i] for i in places)) if len(places) else given[0]


def _steepest(decades: np.ndarray, layers: np.ndarray) -> tuple[int, float] | None:
    """Return the layer that changes Δ most, and by how much, if it stands out from the others.

    Args:
        decades: the factors g of layers, but for the last.
        layers: their places, and that of the last.
    """
    finite = np.flatnonzero(np.isfinite(decades))
    if len(finite) < 3:
        return None
    off = np.abs(decades[finite] - np.median(decades[finite]))
    most = np.argmax(np.abs(decades[finite]))  # not what is farthest from the others: that may be 1
    if off[most] < max(0.5, 6 * np.median(off)):
        return None
    # The factor between two states is the effect of the layer above.
    return int(layers[finite[most] + 1]) + 1, float(decades[finite[most]])


def _predicted_rate(
    activation: Activation | tuple[Activation, ...],
    sigma_w: float,
    sigma_b: float,
    layers: int,
    hidden: Block,
) -> float:
    """Decades a layer by theory, towards the input."""
    log_delta = meanfield.log_delta(activation, sigma_w, sigma_b, 1.0, layers, hidden=hidden)
    return float(log_delta[0] / np.log(10)) / (layers - 1)


def _effective_sigma_w(f: dict[str, np.ndarray], hidden: np.ndarray) -> float:
    """σ_w from the signal alone: q[l+1] = σ_w² E[a[l]²] + σ_b²; a is σ(N(z)) behind a norm."""
    above, below = hidden[1:], hidden[:-1]
    square_a = f["mean_a"][below] ** 2 + f["var_a"][below]
    with np.errstate(all="ignore"):
        square = (f["mean_square_z"][above] - f["mean_square_b"][above]) / square_a
    tiny = float(
        np.finfo(np.float32).tiny
    )  # numbers below it, or above its inverse, have no digits
    in_range = (square_a > tiny) & (square_a < 1 / tiny)
    square = square[in_range & (square > 0) & np.isfinite(square)]
    return float(np.exp(0.5 * np.mean(np.log(square)))) if len(square) else np.nan


def _critical(activation: Any, sigma_b: float, hidden: Block = DENSE) -> float | None:
    """Return the critical σ_w of an activation; None if there is none, or of none or several."""
    if not isinstance(activation, Activation):
        return None
    try:
        return float(meanfield.critical_sigma_w(activation, sigma_b, hidden=hidden))
    except ValueError:
        return None
