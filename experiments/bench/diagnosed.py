"""A diagnosis of a small network, as somebody calls and reads it who has just written that."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

import jaxnn
from experiments.bench.networks import NETWORKS, loss
from experiments.bench.workload import Workload


def workload(network: str, **sizes: int) -> Workload:
    """A repetition diagnoses it, with functions that are written anew and other parameters."""
    net = NETWORKS[network](**sizes)
    factors = iter(range(1, 1000))

    def diagnosis(params: Any) -> Any:
        ys = np.zeros_like(net.xs)
        return jaxnn.diagnose(
            net.model(params), net.xs, ys, loss=lambda *v: loss(*v), each=net.each
        )

    def run() -> str:
        factor = 1 + next(factors) / 1000
        return str(
            diagnosis(jax.tree.map(lambda v: np.asarray(v) * np.float32(factor), net.params))
        )

    def numbers(_: Path) -> list[float]:
        return [float(diagnosis(net.params).flow.log_delta_input)]

    return Workload(run, numbers)
