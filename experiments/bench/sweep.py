"""A depth sweep as `experiments depth` measures it: one network, all depths, some seeds.

For every depth and seed a network is sent forward and back, and for every layer ‖Δz[l]‖ is
measured, with all else that the experiment records. A network is the start of a deeper one: weights
are drawn once, for the deepest. Both programs are compiled at the same time.
"""

from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.nn import initializers

import jaxnn
from experiments.bench import inputs, rates
from experiments.bench.workload import Floor, Workload
from experiments.learning import data, networks
from experiments.learning.networks import Draws, Networks, Weights
from experiments.runs import ahead, runtime
from jaxnn.initializers import find_weights

CHECKED = 8  # hidden layers of the network whose numbers are compared, if the sweep has as many


def workload(
    depths: list[int], activation: str, width: int, batch: int, seeds: int, weights: str
) -> Workload:
    """A repetition is the whole sweep, its draws included."""
    runtime.start(runtime.Options(no_cache=True))
    dataset = data.load("breast_cancer")
    scheme = Weights(weights, find_weights(weights))

    def room_of(depth: int) -> jaxnn.Network:
        return networks.roomy(dataset, width, activation, depth, batch, deepest=max(depths))

    def networks_of(net: jaxnn.Network, *in_room: int) -> Networks:
        seen = (batch, "float32", tuple(range(seeds)))
        return Networks(net, in_room, scheme, 0.0, *seen, deepest=max(depths))

    sweep = [networks_of(net, *in_room) for net, in_room in groupby(depths, key=room_of)]

    def run() -> None:
        draws = Draws()
        with ahead.compiling():
            for each in sweep:
                networks.prepare(dataset, each)
            for each in sweep:
                networks.flows(draws, dataset, each)

    def numbers(folder: Path) -> list[float]:
        depth = min(CHECKED, max(depths))
        draws, checked = Draws(), networks_of(room_of(depth), depth)
        log_delta = networks.flows(draws, dataset, checked)[0]["log_delta"]
        params, xs, ys = _first(draws.of(dataset, checked), checked.depth)
        inputs.write(folder, params, x=xs, y=ys)
        return list(log_delta[0] / np.log(10))

    def floor() -> Floor:
        return _floor(sweep, width, batch, seeds, weights)

    return Workload(run, numbers, floor)


def _first(draw: networks.Draw, depth: int) -> tuple[Any, Any, Any]:
    """Return weights and batch of the first seed, of the layers in use."""
    first_round, *_ = zip(*draw, strict=True)
    params, xs, ys = jax.tree.map(lambda v: np.asarray(v)[0], first_round)
    *hidden, last = jaxnn.network.unstack(params)
    return (*hidden[:depth], last), xs, ys


def _floor(sweep: list[Networks], width: int, batch: int, seeds: int, weights: str) -> Floor:
    """The products of all layers, and the weights of the deepest network, for every seed."""
    flops = sum(networks.work(each).flops for each in sweep)
    deepest = max(sweep, key=lambda each: each.depth)
    sizes = deepest.net.sizes[: 1 + deepest.depth] + deepest.net.sizes[-1:]
    drawn = seeds * sum(n * m for n, m in pairwise(sizes))
    scheme = initializers.uniform() if "uniform" in weights else initializers.normal()
    rate = rates.randoms(lambda key: scheme(key, (width, width), np.float32), seeds)
    # The faster of both ways to use the cores.
    products = max(rates.products(batch, width, width, at_once) for at_once in {1, seeds})
    return Floor(flops, products, float(drawn), rate)
