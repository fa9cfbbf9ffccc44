"""Law 29: wide networks of any kind have, layer by layer, the gradients of their wide twin.

Yang 2019, arXiv:1910.12478, and 2020, arXiv:2006.14548: at infinite width products with random
weights are Gaussian, on the way down with draws independent of those of the way up, whatever else
the network computes. `jaxnn.theory.wide` makes a network of that rule, the twin. Here it is told
from drawn networks of eight kinds, whose layers are of Flax, Haiku, Equinox and Keras, as they are:
the size of Δ at each layer relative to the last, and the size of each state, in decades,

    log10 root E‖Δ[l]‖²/‖Δ[L]‖²,    log10 root E mean z[l]²

with means over draws. The standard error is joint: S drawn networks differ from their mean as draws
of a twin of R replicas do, whose effective width is R times theirs, so of D draws of the twin with
standard deviation s it is

    s √(R/S + 1/D)

A twin of convolutions costs what they cost, R times. So theirs is of a network a quarter as wide,
with four times as many replicas, which is the same: their images do not depend on the width.

A rule whose mean squares are f times as large is the twin of weights √f times as large: the gain of
each number is measured so, with the same draws.
"""

from collections.abc import Mapping
from itertools import cycle
from typing import Any, NamedTuple

import jax
import numpy as np

import jaxnn
from experiments.laws.law import Measured, Predicted, Setup, Told
from experiments.laws.wide_networks import KINDS, Drawn, Kind

GRADIENTS, STATES = "Δ of layer", "state of layer"
ERRORS = 3.0
ROUNDING = 1e-5  # decades, of states that a norm makes equal
FACTOR = "the mean squares of products, {}"
REASON = "{:g} joint standard errors, and rounding"
LARGER = 1.1  # mean squares, of which the gain is measured
LN10 = float(np.log(10))
OF_NETWORKS, OF_TWINS, OF_COTANGENT, OF_WEIGHTS = range(4)  # by which keys differ


class Cut(NamedTuple):
    """A drawn network as the library cuts it, with the Δ that enters at its end."""

    drawn: Drawn
    net: Any
    params: Any
    cotangent: jax.Array


def cut(kind: Kind, setup: Setup) -> Cut:
    """Build a network, and cut it into layers."""
    drawn = kind.network(setup.width, setup.blocks)
    of_user, apply = drawn.params(jax.random.key(0)), drawn.apply
    if apply is None:
        net, params = jaxnn.as_network(of_user)
    else:
        net, params = jaxnn.as_network((apply, of_user), drawn.xs)

    def output(xs: jax.Array) -> jax.Array:
        if apply is not None:
            return apply(of_user, xs)
        for layer, own in of_user:
            xs = layer(own, xs)
        return xs

    out = jax.eval_shape(output, drawn.xs)
    cotangent = jax.random.normal(jax.random.key(OF_COTANGENT), out.shape, out.dtype)
    return Cut(drawn, net, params, cotangent)


def sizes_of(cut: Cut, net: Any, several: list[Any]) -> dict[str, np.ndarray]:
    """Measure a chain with each of several parameters: sizes in decades, (networks, layers)."""
    gradients, states = [], []
    for params in several:
        flow = jaxnn.gradient_flow((net, params), cut.drawn.xs, cotangent=cut.cotangent)
        log_delta = np.asarray(flow.log_delta, np.float64)
        gradients.append((log_delta - log_delta[-1]) / LN10)
        states.append(np.asarray(flow.log_mean_square, np.float64) / 2 / LN10)
    return {GRADIENTS: np.array(gradients)[:, :-1], STATES: np.array(states)}


def mean_size(decades: np.ndarray) -> np.ndarray:
    """Return the root mean square over networks, in decades."""
    return np.log10(np.mean(10.0 ** (2 * decades), axis=0)) / 2


def predict(setup: Setup, kinds: Mapping[str, Kind] = KINDS, errors: float = ERRORS) -> Told:
    """Predict the sizes of kinds of networks by draws of the twins of some.

    errors: joint ones, by which a measurement may differ.
    """
    with jax.enable_x64(False):  # the packages' own float
        for kind in setup.kinds:
            times = kinds[kind].narrower
            network = cut(kinds[kind], setup.but(width=setup.width // times))
            replicas = times * setup.replicas
            twin, _ = jaxnn.theory.wide((network.net, network.params), replicas=replicas)
            keys = jax.random.split(jax.random.key(OF_TWINS), setup.draws)
            of_seeds = [
                network.net.params(network.drawn.params(key))
                for key in jax.random.split(jax.random.key(OF_WEIGHTS), setup.seeds)
            ]
            larger = [
                jaxnn.theory.scale_weights(
                    (network.net, v), LARGER**0.5, weights=kinds[kind].weights
                )
                for v in of_seeds[: setup.gains]
            ]
            of_rule, of_larger = (
                sizes_of(network, twin, [*map(twin.with_key, cycle(several), of_draws)])
                for several, of_draws in ((of_seeds, keys), (larger, keys[: setup.gains]))
            )
            for name, draws in of_rule.items():
                values = mean_size(draws)
                scaled = of_larger[name] - draws[: setup.gains]
                gains = np.mean(scaled, axis=0) / np.log(LARGER)
                parts = setup.replicas / setup.seeds + 1 / setup.draws
                joint = np.std(draws, axis=0, ddof=1) * parts**0.5
                for i, value in enumerate(values.tolist()):
                    case = f"{kind}: {name} {i + 1}"
                    predicted = Predicted(case, value, ROUNDING, REASON.format(errors), errors)
                    yield predicted.about(FACTOR.format(kind), float(gains[i]), float(joint[i]))


def measure(setup: Setup, key: jax.Array, kinds: Mapping[str, Kind] = KINDS) -> Told:
    """Measure drawn networks of each kind."""
    for kind in setup.kinds:
        network = cut(kinds[kind], setup)
        keys = jax.random.split(jax.random.fold_in(key, OF_NETWORKS), setup.seeds)
        several = [network.net.params(network.drawn.params(key)) for key in keys]
        of_kind = sizes_of(network, network.net, several)
        for name, sizes in of_kind.items():
            errors = np.std(sizes, axis=0, ddof=1) / setup.seeds**0.5
            for i, mean in enumerate(mean_size(sizes).tolist()):
                one = Measured(mean, float(errors[i]), sizes[:, i])
                yield f"{kind}: {name} {i + 1}", one


SOURCE = "Yang 2019, 2020; the networks are of Flax, Haiku, Equinox and Keras"
# seeds: networks of each kind, and as many others whose twins predict; draws: of these twins
# together, of so many replicas each; gains: draws by which the gain is measured, seeds at most.
FULL = Setup(kinds=tuple(KINDS), width=512, blocks=2, seeds=12, draws=32, replicas=2, gains=2)
QUICK = FULL.but(kinds=("mixer",), width=128, seeds=8, draws=16, replicas=4)
NEEDS = tuple(dict.fromkeys(kind.package for kind in KINDS.values()))
