"""Law 30: a finite width lowers ln ‖Δz‖ of an example, and in chaos that of a batch less.

Of one example, and so of the mean of ln ‖Δz‖ over examples, `jaxnn/theory/one_example.py` has the
bias in closed form, to first order in 1/n. Of ln ‖Δz‖ of B examples together, the logarithm of a
mean, it is the law of a batch, drawn without weights in `jaxnn/theory/several_examples.py`, with an
error of its own. Both are derivations, made here; that the slopes of units alone fluctuate is Hanin
& Nica 2018, arXiv:1812.05994. In chaos the gradients of examples disperse, and their mean square
makes up for most of the bias; in order they turn into one direction, and it does not.

σ_w is a multiple of the one with χ = 1 at q = 1: below it gradients vanish, and above it most of
them explode. Where mean squares stray too far for the closed form it is nan, and the law is drawn
for one example too. Cotangents at the output have random directions.
"""

import math
from functools import cache
from typing import NamedTuple

import jax
import numpy as np

from experiments.laws.finite import NEXT
from experiments.laws.law import Predicted, Setup, Told, mean_of
from experiments.laws.networks import HiddenLayers, gradients
from jaxnn.network.activations import ACTIVATIONS
from jaxnn.theory import batch_band, meanfield
from jaxnn.theory.several_examples import BatchBand

ORDER, CRITICAL, CHAOS = 0.8, 1.0, 1.3  # σ_w over that with χ = 1 at q = 1
SIGMA_B, Q0 = 0.1, 1.0


class Case(NamedTuple):
    """Networks of one kind."""

    activation: str
    factor: float
    width: int
    batch: int

    @property
    def name(self) -> str:
        """Activation, phase, width and batch."""
        phase = {ORDER: "below", CRITICAL: "at", CHAOS: "above"}[self.factor]
        return f"{self.activation}, {phase}, n = {self.width}, B = {self.batch}"


@cache
def ensemble_of(activation: str, factor: float) -> HiddenLayers:
    """Return σ_w as a multiple of that with χ = 1 at q = 1."""
    with jax.enable_x64(True):
        sigma_w = factor / math.sqrt(float(meanfield.chi(activation, 1.0, 1.0)))
    return HiddenLayers(activation, sigma_w, SIGMA_B)


def predict(setup: Setup) -> Told:
    """Predict ln ‖Δz[1]‖ - ln ‖Δz[last]‖, the mean over examples and that of all together."""
    for case in setup.cases:
        of, n = (*ensemble_of(case.activation, case.factor), Q0), case.width
        drawn = batch_band(*of, n, setup.layers, case.batch, draws=setup.draws)
        infinite = float(meanfield.log_delta(*of, setup.layers)[0])
        closed = meanfield.log_delta_band(*of, n, setup.layers)
        yield _of_one(case.name, infinite, float(closed.bias[0]), drawn, setup, n)
        deviation = math.hypot(drawn.sd[0] / math.sqrt(setup.networks), drawn.error[0])
        value, more = infinite + float(drawn.bias[0]), float(drawn.bias[0] - drawn.mean_bias[0])
        yield Predicted(f"{case.name}, together", value, 0.0, "4 joint standard errors").about(
            "what a batch adds", more, deviation
        )


def _of_one(
    name: str, infinite: float, bias: float, drawn: BatchBand, setup: Setup, n: int
) -> Predicted:
    """Return the mean over examples, in closed form if that is known."""
    deviation = float(drawn.mean_sd[0]) / math.sqrt(setup.networks)
    allowed, reason = NEXT / n * abs(bias), f"4 predicted errors, and {NEXT:g}/n of the bias"
    if math.isnan(bias):
        bias, allowed, reason = float(drawn.mean_bias[0]), 0.0, "4 joint standard errors"
        deviation = math.hypot(deviation, float(drawn.mean_error[0]))
    predicted = Predicted(f"{name}, one by one", infinite + bias, allowed, reason)
    return predicted.about("bias of an example", bias, deviation)


def measure(setup: Setup, key: jax.Array) -> Told:
    """Measure the gradients of all examples of drawn networks."""
    layers = setup.layers
    for place, case in enumerate(setup.cases):
        ensemble = ensemble_of(case.activation, case.factor)
        keys = jax.random.split(jax.random.fold_in(key, place), setup.networks)
        of_case, fields = (ensemble, case.width, layers, Q0, case.batch), ("log_delta_example",)
        logs = gradients(keys, *of_case, fields=fields)[0][:, :layers]
        one = np.mean(logs, axis=2)
        together = np.logaddexp.reduce(2 * logs, axis=2) / 2
        one, together = (v - v[:, -1:] for v in (one, together))
        yield f"{case.name}, one by one", mean_of(one[:, 0])
        yield f"{case.name}, together", mean_of(together[:, 0])


def _every() -> tuple[Case, ...]:
    """All activations in three phases; some at other widths and with more examples."""
    phases = (ORDER, CRITICAL, CHAOS)
    cases = [Case(name, factor, 64, 8) for name in ACTIVATIONS for factor in phases]
    cases += [
        Case(*kind, n, 8) for kind in (("tanh", CHAOS), ("relu", CRITICAL)) for n in (32, 128, 256)
    ]
    return (*cases, *(Case("tanh", factor, 64, 64) for factor in (ORDER, CHAOS)))


SOURCE = "derived here from Hanin & Nica 2018"
# draws: of the law of a batch.
FULL = Setup(cases=_every(), layers=32, networks=150, draws=250)
QUICK = Setup(
    cases=(
        *(Case("tanh", factor, 32, 8) for factor in (ORDER, CRITICAL, CHAOS)),
        Case("relu", CRITICAL, 32, 8),
        Case("tanh", CHAOS, 32, 64),
    ),
    layers=32,
    networks=200,
    draws=400,
)
COARSE = tuple(
    (factor, "it is a small part of what is measured: of ln ‖Δz‖ an error of 1 % is seen")
    for factor in ("bias of an example", "what a batch adds")
)
