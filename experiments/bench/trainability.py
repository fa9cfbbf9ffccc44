"""One network of the map of trainability, trained as `experiments trainability` trains it."""

from itertools import pairwise
from pathlib import Path

import jax
import numpy as np

import jaxnn
from experiments.bench import inputs, rates
from experiments.bench.gradient import flops
from experiments.bench.workload import Floor, Workload
from experiments.runs import runtime
from experiments.trainability import experiment as experiment
from jaxnn.training import order


def workload(
    depth: int, width: int, steps: int, batch: int, sigma_w_squared: float, sigma_b_squared: float
) -> Workload:
    """SGD with momentum on the digits; drawing included.

    Args:
        depth: hidden layers.
        width: units in each.
        steps: of training.
        batch: examples in a step.
        sigma_w_squared: σ_w² of the weights.
        sigma_b_squared: σ_b² of the biases.
    """
    runtime.start(runtime.Options(no_cache=True))
    settings = experiment.Settings(
        depths=(str(depth),),
        sigma_w_squared=(str(sigma_w_squared),),
        sigma_b_squared=sigma_b_squared,
        width=width,
        steps=steps,
        batch=batch,
    )
    plan = experiment.prepare(settings)
    digits = plan.dataset

    def run() -> object:
        return experiment.measure(plan, plan.cells[0])

    def numbers(folder: Path) -> list[float]:
        """Loss and accuracy after the training, from the weights and batches of the cell."""
        keys = jax.random.split(jax.random.key(settings.seed))
        net = experiment.roomy(plan, depth)
        drawn = jaxnn.unstack(jaxnn.init(net, keys[0], jaxnn.gaussian(1.0), 1.0, stacked=True))
        sigma_w, sigma_b = plan.sigma_w[0], sigma_b_squared**0.5
        params = [(theta * sigma_w, b * sigma_b) for theta, b in (*drawn[:depth], drawn[-1])]
        per_epoch = len(digits.x) // batch
        rows = [
            np.asarray(order(keys[1], epoch, len(digits.x)))[: per_epoch * batch]
            for epoch in range(-(-steps // per_epoch))
        ]
        batches = np.concatenate(rows).reshape(-1, batch)[:steps]
        inputs.write(folder, params, rows=batches)
        row = experiment.measure(plan, plan.cells[0])
        return [row["loss"][0], row["accuracy"][0]]

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
