"""Law 3: in 30 relu layers with Xavier weights Δz shrinks by 2^-½ a layer, and training stalls.

E[σ′(z)²] = ½ for relu, so χ = σ_w²/2. Weights of variance 2/fan_in (He) keep the size of Δz; with
1/fan_in (Xavier, where fan_in = fan_out) it shrinks by 2^-½ a layer, 2^-15 over 30 of them, and
the signal on its way up by as much: the network does not leave its start. Source: He et al. 2015,
arXiv:1502.01852, section 2.2 and figure 3.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

import jaxnn
from experiments.laws.finite import slope
from experiments.laws.law import Predicted, Relation, Setup, Told, mean_of
from experiments.laws.networks import HiddenLayers, Params, draw, fixed_point, slope_down
from experiments.laws.training import TrainingSet, accuracies, classifier, digits
from experiments.learning.descent import DescentRule
from jaxnn.flow.measure.flow_of_net import flow_of_net

KINDS = {"He": HiddenLayers("relu", math.sqrt(2)), "Xavier": HiddenLayers("relu", 1.0)}
TRAINED, STALLED = 0.95, 0.30  # training accuracy that counts as either; chance is 0.10
SENT_BACK = 64  # examples from which a gradient is measured before training
DESCENT = DescentRule(rate=0.01, momentum=0.0, batch=128)


def predict(setup: Setup) -> Told:
    """Predict ½ ln χ with the bias of n a layer, and on which side of two bounds training ends."""
    bounds: dict[str, tuple[float, Relation]] = {"He": (TRAINED, "≥"), "Xavier": (STALLED, "≤")}
    for name, ensemble in KINDS.items():
        start, case = fixed_point(ensemble), f"{name}: slope of ln ‖Δz‖"
        yield slope(case, start, setup.width, setup.layers, setup.draws)
        bound, relation = bounds[name]
        yield Predicted(f"{name}: accuracy", bound, 0.0, "a bound: no tolerance", 0, relation)


def measure(setup: Setup, key: jax.Array) -> Told:
    """Measure the slope before training, from a random cotangent, and the accuracy after it."""
    examples = digits()
    net = classifier(setup.width, setup.layers, "relu")
    training = DESCENT, setup.steps, setup.looks
    for name, ensemble in KINDS.items():
        profiles, learned = [], []
        for place, seed in enumerate(jax.random.split(key, setup.draws)):
            key_params, key_u, key_batches = jax.random.split(seed, 3)
            params = draw(net, key_params, *ensemble[1:])
            profiles.append(np.asarray(_profile(net, params, examples, key_u))[:-1])
            if place < setup.seeds:
                learned.append(accuracies(net, params, examples, key_batches, *training))
        profile, accuracy = np.array(profiles, np.float64), np.array(learned, np.float64)
        yield f"{name}: slope of ln ‖Δz‖", mean_of(slope_down(profile))
        yield f"{name}: accuracy", mean_of(accuracy[:, -1])


@jax.jit
def _profile(
    net: jaxnn.Network, params: Params, examples: TrainingSet, key: jax.Array
) -> jax.Array:
    """Mean of ln ‖Δz[l]‖ over examples, (layers + 1,), from a random cotangent."""
    u = jax.random.normal(key, (SENT_BACK, net.sizes[-1]))
    flow = flow_of_net(net, params, examples.x[:SENT_BACK], cotangent=u, examples=False)
    return jnp.mean(flow.log_delta_example, axis=1)


SOURCE = "He et al. 2015"
# seeds: networks that are trained; draws: whose slope is measured, these and more.
FULL = Setup(width=100, layers=30, steps=1500, looks=15, seeds=3, draws=60)
# As many steps: before, a spike of the loss may undo for a while what was learned.
QUICK = Setup(width=100, layers=30, steps=1500, looks=15, seeds=1, draws=30)
