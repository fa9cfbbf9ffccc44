"""Changes of a Network whose gradient vanishes or explodes, with the rate of theory."""

import contextlib
import logging
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np

from ...network.activations import Activation
from ...network.blocks import DENSE, BatchNorm, Block, LayerNorm, Residual, RMSNorm
from ...network.lists import counted, one_if_equal
from ...theory import meanfield
from ..formats.ranges import highest
from ..record.flow import Flow
from .rates import CLEAR, ERRATIC, UNCLEAR, Rate

log = logging.getLogger("jaxnn.flow")
T = TypeVar("T")

NORMS = (RMSNorm, LayerNorm, BatchNorm)

# Fractions of the hidden units from which on a verdict warns of them. A unit of relu is off for
# half of the examples; with depth these grow alike, so that up to half are off for a whole batch.
MANY_DEAD, MANY_SATURATED = 0.6, 0.75
CRITICAL_WITHIN = 0.02  # of the critical σ_w, or within `CLEAR` standard errors
BLOWN_UP = 100  # times the critical σ_w: no scheme draws such weights
DRAW_AGAIN = "Draw them again; if training made them so, train with a smaller step."


@dataclass(frozen=True)
class NetworkRemedy:
    """Another network, and the rate that theory says it would have."""

    change: str
    decades: float  # a layer, towards the input; 0 keeps the gradient

    def __str__(self) -> str:
        return f"In theory {self.decades:+.2g} decades a layer: {self.change}."


@dataclass(frozen=True)
class NetworkAdvice:
    """Units and weights of a Network, and changes of them.

    activation, hidden: lists where the layers that are used differ; what is said of σ_w at χ = 1 is
        then None.
    saturated, dead: fractions of the hidden units, as in `Units`.
    all_dead: the highest hidden layer whose units are all dead; or None.
    sigma_w: the effective σ_w of the weights, √((q[l+1] - σ_b²) / E[a[l]²]), geometric mean; nan
        where the blocks are neither the article's nor that after a norm.
    sigma_w_error: its standard error over the layers.
    sigma_b: the root mean square of the hidden biases.
    critical_sigma_w: the σ_w at which χ = 1 for this σ and σ_b; None if there is none, or where the
        blocks are not the article's.
    unbiased_sigma_w: the σ_w at which χ = 1 for this σ and σ_b = 0; None likewise.
    """

    rate: Rate
    activation: Activation | tuple[Activation, ...]
    hidden: Block | tuple[Block, ...]
    saturated: float
    dead: float
    all_dead: int | None
    sigma_w: float
    sigma_w_error: float
    sigma_b: float
    critical_sigma_w: float | None
    unbiased_sigma_w: float | None

    @classmethod
    def of(cls, flow: Flow, layers: np.ndarray, rate: Rate) -> "NetworkAdvice":
        """Return that of the hidden layers of a flow, counted from 0."""
        net, units = flow.net, flow.units
        assert net is not None
        assert units is not None
        known = {name: v for name, v in vars(units).items() if v is not None}
        numbers = {name: np.asarray(v, np.float64)[layers] for name, v in known.items()}

        def mean(name: str) -> float:
            return float(np.mean(numbers[name])) if len(layers) else 0.0

        sigma_b = mean("mean_square_b") ** 0.5
        sigma, block = of_layers(net.activation, layers), of_layers(net.hidden, layers[1:] - 1)
        is_known = all(
            one == DENSE or (isinstance(one, NORMS) and one.inner == DENSE)
            for one in ([block] if isinstance(block, Block) else block)
        )
        plain = sigma if block == DENSE else None
        sigma_w, error = _effective_sigma_w(numbers) if is_known else (np.nan, np.nan)
        return cls(
            rate,
            activation=sigma,
            hidden=block,
            saturated=mean("saturated"),
            dead=mean("dead"),
            all_dead=highest(layers, numbers["dead"] == 1),
            sigma_w=sigma_w,
            sigma_w_error=error,
            sigma_b=sigma_b,
            critical_sigma_w=critical(plain, sigma_b),
            unbiased_sigma_w=critical(plain, 0.0),
        )

    @cached_property
    def remedies(self) -> tuple[NetworkRemedy, ...]:
        """Other networks that would keep the gradient where this one loses it, the best first.

        Empty unless the word is vanishing or exploding, and where weights have blown up or nothing
        passes. Computed where it is first asked for: theory of infinite width, for an input of mean
        square 1, and for the effective σ_w where that matters and is known, else for σ_w = 1.
        """
        if self.all_dead or self.has_blown_up or self.rate.word == ERRATIC or not self.rate.ill:
            return ()
        log.debug("theory of what would help")
        layers, sigma_w = self.rate.layers, self.sigma_w if self.sigma_w > 0 else 1.0
        remedies = []
        if self.critical_sigma_w is not None and not self._is_at(self.critical_sigma_w):
            remedies.append(NetworkRemedy(f"weights with σ_w = {self.critical_sigma_w:.4g}", 0.0))
        if isinstance(self.hidden, RMSNorm | LayerNorm) and isinstance(self.activation, Activation):
            remedies += self._critical_behind_norm(self.activation, self.hidden)
        for block, name in (
            (Residual(scale=layers**-0.5), f"blocks.Residual(scale={layers}**-0.5)"),
            (Residual(RMSNorm()), "blocks.Residual(RMSNorm())"),
        ):
            if block != self.hidden:
                rate = predicted_rate(self.activation, sigma_w, self.sigma_b, layers, block)
                remedies.append(NetworkRemedy(f"hidden=jaxnn.{name}", rate))
        with contextlib.suppress(ValueError):  # too few layers for them
            meanfield.tailored_slope(layers)
            if isinstance(self.hidden, Block):
                change = f"units of jaxnn.theory.tailored_relu({layers}), σ_w = 1"
                remedies.append(NetworkRemedy(change, 0.0))
        return tuple(sorted(remedies, key=lambda remedy: abs(remedy.decades)))

    def _critical_behind_norm(self, activation: Activation, norm: Block) -> list[NetworkRemedy]:
        """Return the remedy of the critical σ_w after a norm; none if it is in use, or none is."""
        sigma_w = critical(activation, self.sigma_b, norm)
        if sigma_w is None or self._is_at(sigma_w):
            return []
        rate = predicted_rate(activation, sigma_w, self.sigma_b, self.rate.layers, norm)
        return [NetworkRemedy(f"weights with σ_w = {sigma_w:.4g}, critical after this norm", rate)]

    def _is_at(self, sigma_w: float) -> bool:
        """Tell whether the estimated σ_w equals this one within its error."""
        error = 0.0 if np.isnan(self.sigma_w_error) else self.sigma_w_error
        return abs(self.sigma_w / sigma_w - 1) < max(CRITICAL_WITHIN, CLEAR * error / sigma_w)

    @property
    def advice(self) -> str:
        """The change to make, if any."""
        if self.all_dead is not None:
            return (
                f"Draw the weights of layer {self.all_dead} again, make the layers wider, or "
                f"choose an activation with a slope everywhere{self._instead}."
            )
        if self.has_blown_up:
            return (
                f"The weights have blown up: they act like σ_w = {self.sigma_w:.3g}, and σ_w = "
                f"{self.critical_sigma_w:.4g} makes χ = 1. {DRAW_AGAIN}"
            )
        if self.rate.word == UNCLEAR and not self.rate.is_short:
            return (
                "The factors of the layers scatter more than they add up; other draws of the "
                f"weights would tell. {self._advice_on_units}".strip()
            )
        if self.rate.ill and self.rate.word != ERRATIC:
            return self._advice_on_weights
        return self._advice_on_units

    @property
    def _advice_on_weights(self) -> str:
        if self.hidden != DENSE or not isinstance(self.activation, Activation):
            return (
                f"With {self._kinds} the gradient has this rate; what follows says how others "
                "would do."
            )
        where = f"{self.activation.name} and σ_b = {self.sigma_b:.2g}"
        if self.critical_sigma_w is not None:
            if self._is_at(self.critical_sigma_w):
                return (
                    f"The weights are critical already, of std {self.sigma_w:.4g}/√fan_in; what is "
                    "left comes from the finite width: make the layers wider, or draw the weights "
                    "orthogonal."
                )
            return (
                f"Initialise with std {self.critical_sigma_w:.4g}/√fan_in (now "
                f"{self.sigma_w:.3g}/√fan_in): that makes χ = 1 for {where}."
            )
        none = f"No σ_w makes χ = 1 at a finite signal for {where} (now σ_w = {self.sigma_w:.3g}): "
        if self.unbiased_sigma_w is not None and self.sigma_b > 0:
            std = f"{self.unbiased_sigma_w:.4g}/√fan_in"
            return f"{none}set the biases to zero and initialise with std {std}."
        return f"{none}choose another activation."

    @property
    def _kinds(self) -> str:
        """The blocks between hidden layers, and the activations where they differ, in words."""
        sigma, hidden = self.activation, self.hidden
        kinds = [counted(one.name for one in sigma)] if isinstance(sigma, tuple) else []
        if not isinstance(hidden, Block):
            kinds.append(f"{counted(map(repr, hidden))} between hidden layers")
        elif hidden != DENSE:
            kinds.append(f"{hidden!r} between hidden layers")
        return " and ".join(kinds)

    @property
    def has_blown_up(self) -> bool:
        """True if the weights act like ones that no scheme draws."""
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


def of_layers(given: T | tuple[T, ...], places: np.ndarray) -> T | tuple[T, ...]:
    """Return what all layers have, or of a list what those at these places have."""
    if not isinstance(given, tuple):
        return given
    return one_if_equal(tuple(given[i] for i in places)) if len(places) else given[0]


def predicted_rate(
    activation: Activation | tuple[Activation, ...],
    sigma_w: float,
    sigma_b: float,
    layers: int,
    hidden: Block,
) -> float:
    """Decades a layer by theory, towards the input."""
    log_delta = meanfield.log_delta(activation, sigma_w, sigma_b, 1.0, layers, hidden=hidden)
    return float(np.asarray(log_delta)[0] / np.log(10)) / (layers - 1)


def critical(
    activation: Activation | tuple[Activation, ...] | None, sigma_b: float, hidden: Block = DENSE
) -> float | None:
    """Return the critical σ_w of an activation; None if there is none, or of none or several."""
    if not isinstance(activation, Activation):
        return None
    try:
        return float(meanfield.critical_sigma_w(activation, sigma_b, hidden=hidden))
    except ValueError:
        return None


def _effective_sigma_w(numbers: dict[str, np.ndarray]) -> tuple[float, float]:
    """Return σ_w by q[l+1] = σ_w² E[a[l]²] + σ_b², and its error; a is σ(N(z)) after a norm."""
    square_a = (numbers["mean_a"] ** 2 + numbers["var_a"])[:-1]
    with np.errstate(all="ignore"):
        square = (numbers["mean_square_z"] - numbers["mean_square_b"])[1:] / square_a
    # Numbers below it, or above its inverse, have no digits.
    tiny = float(np.finfo(np.float32).tiny)
    in_range = (square_a > tiny) & (square_a < 1 / tiny)
    square = square[in_range & (square > 0) & np.isfinite(square)]
    if not len(square):
        return np.nan, np.nan
    logs = 0.5 * np.log(square)
    sigma_w = float(np.exp(np.mean(logs)))
    few = len(logs) < 2
    return sigma_w, np.nan if few else sigma_w * float(np.std(logs, ddof=1) / np.sqrt(len(logs)))
