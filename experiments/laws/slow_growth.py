"""Law 32: powers and stretched exponentials of depth are told apart, with their constants.

Between layers that lose a part of the gradient each and layers that keep it are two laws of depth,

    a power                    ‖Δ[l]‖ ~ l^-c         χ[l] - 1 ~ 2c/l
    a stretched exponential    ‖Δ[l]‖ ~ e^(-c √l)    χ[l] - 1 ~ c/√l

Critical tanh has E tanh² = q - 2q² + …, so q ~ 1/(2l), χ = E tanh′² = 1 - 2q ~ 1 - 1/l, and the
power -½. An RMS norm in front of a residual branch divides by √q, q ~ l, and has ½. Where a bounded
unit stands instead, tanh(αz) or erf(αz), its slopes are what is left of the branch: with law 25

    tanh    E sech⁴(α√q g) ~ (4/3) / (α √(2πq)),       q ~ σ_w² l    c = (4/3) α σ_w / √(2π)
    erf     (4/π) E e^(-2α²z²) = (4/π) / √(1 + 4α²q)                 c = 2 α σ_w / π

and a residual network of tanh or erf is the case α = 1 (Alekseev 2026, arXiv:2604.11890, of
transformers with DyT and Derf). These constants are those of infinite depth; at L layers they are
up to a quarter larger in theory. So the word and the constant that the library's rule finds in the
mean curve of drawn networks are compared with those that it finds in that of
`jaxnn.theory.meanfield`, as the part that the curve has of that law. Of one network, as a verdict
has it, the constant of infinite depth is within two of the errors that the rule gives, in two of
three; but not where α is small, for α²q must be well above one.

Whole transformers have these laws too, with the mean over tokens and an MLP of relu behind each of
their functions; `norm_free.py` has their recursion, which `meanfield` has not, and the constants.

At n units the mean of ln ‖Δ‖ is lower, by 1/(2n) a layer without a skip and by 4/n of the whole
with one (`finite_width.py`), and the constant with it.
"""

import math
from typing import Any, NamedTuple

import jax
import numpy as np

import jaxnn
from experiments.laws import norm_free
from experiments.laws.dynamic_tanh import dyt
from experiments.laws.law import (
    Measured,
    Predicted,
    Setup,
    Told,
    mean_of,
)
from experiments.laws.networks import HiddenLayers, gradients
from experiments.laws.norm_free import derf
from jaxnn.flow.verdict.rates import POWER_LAW, SHAPES, STRETCHED, law_of
from jaxnn.network import find_activation
from jaxnn.theory import meanfield

LN10 = math.log(10)
WORDS = (POWER_LAW, STRETCHED)
WITHIN = 2.0  # errors of a network's constant
PART = 2 / 3  # of the networks, at least
REASON = "4 standard errors, and the bias of finite width"
REASON_DEPTH = "two of three, within 2 errors"


class Kind(NamedTuple):
    """Networks of one kind: of the library's blocks, or transformers if there is no block.

    word: the law that they follow.
    constant: that of infinite depth; None if a hundred layers are far from it.
    sigma: their units, or of transformers what stands for a norm; None is an RMS norm.
    """

    word: str
    constant: float | None
    sigma: jaxnn.network.Activation | None
    block: jaxnn.blocks.Block | None = None

    def in_theory(self, layers: int) -> np.ndarray:
        """Return ln ‖Δ‖ of each layer."""
        if self.block is None:
            return norm_free.in_theory(self.sigma, layers)
        of_kind = (self.sigma or "identity", 1.0, 0.0, 1.0, layers)
        return np.asarray(meanfield.log_delta(*of_kind, hidden=self.block), np.float64)

    def drawn(self, keys: jax.Array, setup: Setup) -> np.ndarray:
        """Return ln ‖Δ‖ of networks, (networks, layers)."""
        if self.block is None:
            return norm_free.log_delta(self.sigma, keys, setup.channels, setup.layers)
        of_kind = HiddenLayers(self.sigma or "identity", 1.0), setup.width, setup.layers
        return gradients(keys, *of_kind, block=self.block)[0][:, :-1]

    def bias(self, setup: Setup, growth: float) -> float:
        """Return that of the constant, over the constant, at a growth of so many nats."""
        if self.block is None:
            return 4.0 / setup.channels
        with_skip = isinstance(self.block, jaxnn.blocks.Residual)
        return 4.0 / setup.width if with_skip else setup.layers / 2 / growth / setup.width


def kinds() -> dict[str, Kind]:
    """Return the kinds by name."""
    residual, norm = jaxnn.blocks.Residual(), jaxnn.blocks.Residual(jaxnn.blocks.RMSNorm())
    tanh, erf = (find_activation(name) for name in ("tanh", "erf"))
    of_tanh, of_erf = 4 / 3 / math.sqrt(2 * math.pi), 2 / math.pi
    deep = norm_free.at_infinite_depth
    return {
        "critical tanh": Kind(POWER_LAW, -0.5, tanh, jaxnn.blocks.Dense()),
        "pre-norm": Kind(POWER_LAW, 0.5, None, norm),
        "residual tanh": Kind(STRETCHED, of_tanh, tanh, residual),
        "residual erf": Kind(STRETCHED, of_erf, erf, residual),
        "DyT, α = 2": Kind(STRETCHED, 2 * of_tanh, dyt(2.0), residual),
        "Derf, α = ½": Kind(STRETCHED, None, derf(0.5), residual),
        "pre-norm transformer": Kind(POWER_LAW, None, None),
        "DyT transformer, α = 1": Kind(STRETCHED, None, dyt(1.0)),
        "DyT transformer, α = 2": Kind(STRETCHED, deep(2 * of_tanh), dyt(2.0)),
        "Derf transformer, α = 1": Kind(STRETCHED, deep(of_erf), derf(1.0)),
    }


def law_in(log_delta: np.ndarray) -> Any:
    """Return the law that the library's rule finds in ln ‖Δ‖ of layers; None if none."""
    factors = (log_delta[:-1] - log_delta[1:]) / LN10
    return law_of(factors, np.arange(len(factors)), np.zeros(len(factors), int))


def law_in_theory(kind: Kind, setup: Setup) -> tuple[Any, np.ndarray]:
    """Return the law in theory's curve, and that curve, ln ‖Δ‖ of the layers."""
    log_delta = kind.in_theory(setup.layers)
    return law_in(log_delta), log_delta


def predict(setup: Setup) -> Told:
    """Predict words and constants by the rule on the theory's curve."""
    for name, kind in kinds().items():
        law, log_delta = law_in_theory(kind, setup)
        growth = abs(log_delta[0] - log_delta[-1])
        allowed = abs(law.constant) * kind.bias(setup, growth)
        yield Predicted(f"{name}: word", WORDS.index(kind.word), 0.0, "the word", 0.0)
        yield Predicted(f"{name}: constant", law.constant, allowed, REASON).about(
            "the constant", law.constant
        )
        if kind.constant is not None:
            yield Predicted(f"{name}: at infinite depth", PART, 0.0, REASON_DEPTH, 0.0, "≥")


def measure(setup: Setup, key: jax.Array) -> Told:
    """Find words and constants in drawn networks."""
    keys = jax.random.split(key, setup.seeds)
    for name, kind in kinds().items():
        log_delta = kind.drawn(keys, setup)
        law = law_in(log_delta.mean(axis=0))
        yield f"{name}: word", Measured(WORDS.index(law.word) if law else math.nan)
        with jax.enable_x64(True):
            of_theory, _ = law_in_theory(kind, setup)
        shape = SHAPES[of_theory.word](np.arange(setup.layers - 1) + 1 + of_theory.offset)
        factors = (log_delta[:, :-1] - log_delta[:, 1:]) / LN10
        yield f"{name}: constant", mean_of(factors @ shape / (shape @ shape))
        if kind.constant is not None:
            single = [law for law in map(law_in, log_delta) if law and law.word == kind.word]
            near = [abs(law.constant - kind.constant) < WITHIN * law.error for law in single]
            part = float(np.mean(near)) if near else math.nan
            yield f"{name}: at infinite depth", Measured(part)


SOURCE = "Schoenholz et al. 2017, Yang & Schoenholz 2017, Alekseev 2026; erf derived here"
# channels: of transformers, of as many blocks as others have layers.
FULL = Setup(width=300, layers=100, seeds=30, channels=128)
QUICK = Setup(width=150, layers=64, seeds=20, channels=64)
