"""Cures: what to change in a Network whose gradient vanishes or explodes, with theory's rate."""

import contextlib
import logging
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ...network.activations import Activation
from ...network.blocks import DENSE, BatchNorm, Block, LayerNorm, Residual, RMSNorm
from ...network.lists import counted, one_if_equal
from ...texts import percent
from ...theory import meanfield
from ..formats.ranges import highest
from ..record.flow import Flow
from .rates import CLEAR, ERRATIC, TOO_FEW, UNCLEAR, Law, is_ill

log = logging.getLogger("jaxnn.flow")

# Fractions of the hidden units from which on a verdict warns of them. A unit of relu is off for
# half of the examples; with depth these grow alike, so that up to half are off for a whole batch.
MANY_DEAD, MANY_SATURATED = 0.6, 0.75
CRITICAL_WITHIN = 0.02  # of the critical σ_w, or within `CLEAR` standard errors
BLOWN_UP = 100  # times the critical σ_w: no scheme draws such weights
DRAW_AGAIN = "Draw them again; if training made them so, train with a smaller step."


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


@dataclass(frozen=True, kw_only=True)
class Cures:
    """The part of a `Verdict` that only a Network has; its fields are described there."""

    word: str
    layers: int
    repeated: float
    law: Law | None
    out: int | None
    broken: str = ""
    has_grown: bool = False
    activation: Activation | tuple[Activation, ...] | None = None
    hidden: Block | tuple[Block, ...] | None = None
    saturated: float = np.nan
    dead: float = np.nan
    all_dead: int | None = None
    sigma_w: float = np.nan
    sigma_w_error: float = np.nan
    sigma_b: float = np.nan
    critical_sigma_w: float | None = None
    unbiased_sigma_w: float | None = None

    @property
    def ill(self) -> bool:
        """True if it is vanishing, exploding or erratic, or a law of depth makes a thousand."""
        return is_ill(self.word, self.law, self.repeated)

    @property
    def is_short(self) -> bool:
        """True if two or three layers make ten, but not a hundred: that is no rate."""
        return self.word == UNCLEAR and self.layers <= TOO_FEW + 1

    @cached_property
    def remedies(self) -> tuple[Remedy, ...]:
        """Other networks that would keep the gradient where this one loses it, the best first.

        Empty unless the word is vanishing or exploding, where weights have blown up or nothing
        passes, and for what is no Network. Computed where it is first asked for: theory of infinite
        width, for an input of mean square 1, and for the effective σ_w where that matters and is
        known, else for σ_w = 1.
        """
        ill = self.out is not None or self.all_dead is not None or self._blown_up
        if ill or self.word == ERRATIC or not self.ill or self.activation is None:
            return ()
        log.debug("theory of what would help")
        known = np.isfinite(self.sigma_w) and self.sigma_w > 0
        of = (self.activation, self.sigma_w if known else 1.0, self.sigma_b)
        found = []
        if self.critical_sigma_w is not None and not self._is_at(self.critical_sigma_w):
            found.append(Remedy(f"weights with σ_w = {self.critical_sigma_w:.4g}", 0.0))
        if isinstance(self.hidden, RMSNorm | LayerNorm) and isinstance(self.activation, Activation):
            found.extend(self._critical_behind_norm)
        for block, name in (
            (Residual(scale=self.layers**-0.5), f"Residual(scale={self.layers}**-0.5)"),
            (Residual(RMSNorm()), "Residual(RMSNorm())"),
        ):
            if block != self.hidden:
                rate = predicted_rate(*of, self.layers, block)
                found.append(Remedy(f"hidden=jaxnn.{name}", rate))
        with contextlib.suppress(ValueError):  # too few layers for them
            meanfield.tailored_slope(self.layers)
            if isinstance(self.hidden, Block):
                found.append(
                    Remedy(f"units of jaxnn.theory.tailored_relu({self.layers}), σ_w = 1", 0.0)
                )
        return tuple(sorted(found, key=lambda remedy: abs(remedy.decades)))

    @property
    def _critical_behind_norm(self) -> tuple[Remedy, ...]:
        """The remedy of the critical σ_w behind this norm; empty if none exists or it is in use."""
        assert isinstance(self.activation, Activation)
        assert isinstance(self.hidden, Block)
        sigma_w = critical(self.activation, self.sigma_b, self.hidden)
        if sigma_w is None or self._is_at(sigma_w):
            return ()
        of = (self.activation, sigma_w, self.sigma_b)
        rate = predicted_rate(*of, self.layers, self.hidden)
        return (Remedy(f"weights with σ_w = {sigma_w:.4g}, critical behind this norm", rate),)

    def _is_at(self, sigma_w: float) -> bool:
        """Tell whether the estimated σ_w equals this one within its error."""
        error = 0.0 if np.isnan(self.sigma_w_error) else self.sigma_w_error
        return abs(self.sigma_w / sigma_w - 1) < max(CRITICAL_WITHIN, CLEAR * error / sigma_w)

    @property
    def advice(self) -> str:
        """The change to make, if any."""
        if self.broken == "parameters" or self.has_grown:
            return f"Weights or biases have blown up. {DRAW_AGAIN}"
        if self.broken:
            return ""
        if self.out is not None:
            return (
                f"Layer {self.out} makes them of finite numbers: look at what it computes, such as "
                "0/0, an exponential of a large number, a logarithm or a root at 0 or below."
            )
        if self.activation is None:
            return ""
        if self.all_dead is not None:
            return (
                f"Draw the weights of layer {self.all_dead} again, make the layers wider, or "
                f"choose an activation with a slope everywhere{self._instead}."
            )
        if self._blown_up:
            return (
                f"The weights have blown up: they act like σ_w = {self.sigma_w:.3g}, and σ_w = "
                f"{self.critical_sigma_w:.4g} makes χ = 1. {DRAW_AGAIN}"
            )
        if self.word == UNCLEAR and not self.is_short:
            return (
                "The factors of the layers scatter more than they add up; other draws of the "
                f"weights would tell. {self._advice_on_units}".strip()
            )
        if self.ill and self.word != ERRATIC:
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
            kinds.append(f"{counted(map(repr, hidden or ()))} between hidden layers")
        elif hidden != DENSE:
            kinds.append(f"{hidden!r} between hidden layers")
        return " and ".join(kinds)

    @property
    def _blown_up(self) -> bool:
        return bool(self.critical_sigma_w and self.sigma_w > BLOWN_UP * self.critical_sigma_w)

    @property
    def units_text(self) -> str:
        """Saturated and dead units, if there are many; empty if not, or if not known."""
        shares = (
            (self.saturated, MANY_SATURATED, "saturated"),
            (self.dead, MANY_DEAD, "dead"),
        )
        parts = [f"{percent(share)} are {what}" for share, many, what in shares if share >= many]
        return f"Of the hidden units {' and '.join(parts)}." if parts else ""

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


def of_network(flow: Flow, hidden: np.ndarray) -> dict[str, Any]:
    """Return what only a Network has: its units and weights, of its hidden layers."""
    net, units = flow.net, flow.units
    assert net is not None
    assert units is not None
    f = {name: np.asarray(v, np.float64) for name, v in vars(units).items()}
    sigma_b = float(np.sqrt(np.mean(f["mean_square_b"][hidden]))) if len(hidden) else 0.0
    sigma, block = _of_used(net.activation, hidden), _of_used(net.hidden, hidden[1:] - 1)
    norms = (RMSNorm, LayerNorm, BatchNorm)
    known = all(
        one == DENSE or (isinstance(one, norms) and one.inner == DENSE)
        for one in ([block] if isinstance(block, Block) else block)
    )
    plain = sigma if block == DENSE else None
    sigma_w, error = _effective_sigma_w(f, hidden) if known else (np.nan, np.nan)
    return {
        "activation": sigma,
        "hidden": block,
        "saturated": float(np.mean(f["saturated"][hidden])) if len(hidden) else 0.0,
        "dead": float(np.mean(f["dead"][hidden])) if len(hidden) else 0.0,
        "all_dead": highest(hidden, f["dead"][hidden] == 1),
        "sigma_w": sigma_w,
        "sigma_w_error": error,
        "sigma_b": sigma_b,
        "critical_sigma_w": critical(plain, sigma_b),
        "unbiased_sigma_w": critical(plain, 0.0),
    }


def _of_used(given: Any, places: np.ndarray) -> Any:
    """Return what all layers have, or of a list what those at these places have."""
    if isinstance(given, Activation | Block):
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


def critical(activation: Any, sigma_b: float, hidden: Block = DENSE) -> float | None:
    """Return the critical σ_w of an activation; None if there is none, or of none or several."""
    if not isinstance(activation, Activation):
        return None
    try:
        return float(meanfield.critical_sigma_w(activation, sigma_b, hidden=hidden))
    except ValueError:
        return None


def _effective_sigma_w(f: dict[str, np.ndarray], hidden: np.ndarray) -> tuple[float, float]:
    """σ_w from the signal alone, and its standard error over the layers.

    q[l+1] = σ_w² E[a[l]²] + σ_b²; a is σ(N(z)) behind a norm.
    """
    above, below = hidden[1:], hidden[:-1]
    square_a = f["mean_a"][below] ** 2 + f["var_a"][below]
    with np.errstate(all="ignore"):
        square = (f["mean_square_z"][above] - f["mean_square_b"][above]) / square_a
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
