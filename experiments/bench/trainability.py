"""One network of the map of trainability, trained as `experiments trainability` trains it."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import jax
import numpy as np

import jaxnn
from experiments.bench import inputs, rates
from experiments.bench.gradient import flops
from experiments.bench.workload import Floor, Workload
from experiments.learning import data, descent
from experiments.learning.descent import Descent, Training
from experiments.runs import runtime

RATE, MOMENTUM = 1e-3, 0.9  # those of the experiment, and of the peer
CHECKED = 20  # steps after which both sides are compared


def workload(
    depth: int, width: int, steps: int, batch: int, sigma_w_squared: float, sigma_b_squared: float
) -> Workload:
    """SGD with momentum on the digits; drawing included."""
    runtime.start(runtime.Options(no_cache=True))
    digits = data.load("digits")
    training = Training(
        net=descent.roomy(digits, width, "tanh", depth),
        depth=depth,
        sigma_w=(sigma_w_squared**0.5,),
        sigma_b=sigma_b_squared**0.5,
        seed=0,
        descent=Descent(RATE, MOMENTUM, batch),
        steps=steps,
    )

    def run() -> jaxnn.train.Scores:
        return descent.trained(digits, training)

    def numbers(folder: Path) -> list[float]:
        """Loss and accuracy after a few steps, from the same weights and batches.

        Later on rounding grows: after 300 steps of 150 layers it decides what is learnt.
        """
        few = replace(training, steps=min(steps, CHECKED))
        (sigma_w,) = training.sigma_w
        drawn = descent.drawn(training.net, training.seed, sigma_w, training.sigma_b)
        *hidden, last = jaxnn.network.unstack(drawn)
        inputs.write(folder, (*hidden[:depth], last), rows=descent.batches(digits, few))
        return [float(score[0]) for score in descent.trained(digits, few)]

    def floor() -> Floor:
        sizes = [digits.x.shape[1], *[width] * depth, digits.n_out]
        drawn = float(sum(n * m for n, m in pairwise(sizes)))
        draw = jax.nn.initializers.normal()
        return Floor(
            steps * flops(sizes, batch),
            rates.products(batch, width, width),
            drawn,
            rates.randoms(lambda key: draw(key, (width, width), np.float32)),
        )

    return Workload(run, numbers, floor)
