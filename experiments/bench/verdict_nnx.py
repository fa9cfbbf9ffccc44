"""From a Flax module of many blocks to a verdict and a chart, by `jaxnn.as_network`."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import jaxnn
from experiments.bench import blocks_nnx
from experiments.bench.workload import Workload


def workload(kind: str, layers: int, width: int, tokens: int, batch: int) -> Workload:
    """A repetition measures the gradient, and writes what it shows."""
    model, xs, ys = blocks_nnx.draw(kind, layers, width, tokens, batch)

    def flow() -> Any:
        net, params = jaxnn.as_network(list(model.blocks))
        return jaxnn.gradient_flow((net, params), xs, ys, loss=blocks_nnx.loss)

    def run() -> None:
        measured = flow()
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "verdict.txt").write_text(str(jaxnn.verdict(measured)), encoding="utf-8")
            jaxnn.chart(measured).save(f"{folder}/flow.svg")

    return Workload(run, lambda _: np.asarray(flow().log_delta))
