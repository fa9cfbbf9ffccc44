"""The default depth sweep in PyTorch, eager with hooks, its panels drawn by Matplotlib."""

import tempfile
from itertools import product
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from experiments.bench import sweep_torch
from experiments.bench.workload import Workload

mpl.use("Agg")
import matplotlib.pyplot as plt

CASES = tuple(product(("sigmoid", "tanh", "relu"), ("glorot_uniform", "he_normal")))


def workload(depths: list[int], width: int, seeds: int, kept: bool) -> Workload:
    """Return the peer of `first_command.py`; it has no programs to keep."""
    assert not kept
    sweeps = {
        (activation, weights): sweep_torch.workload(depths, activation, width, 128, seeds, weights)
        for activation, weights in CASES
    }

    def run() -> None:
        curves = {}
        for case, sweep in sweeps.items():
            norms: Any = sweep.run()
            by_depth = [norms[i * seeds : (i + 1) * seeds] for i in range(len(depths))]
            curves[case] = [np.median(np.asarray(each), axis=0) for each in by_depth]
        with tempfile.TemporaryDirectory() as folder:
            draw(depths, curves, Path(folder))

    return Workload(run, sweeps["sigmoid", "glorot_uniform"].numbers)


def draw(depths: list[int], curves: dict[tuple[str, str], list[np.ndarray]], folder: Path) -> None:
    """Draw ‖Δz[1]‖ against depth, and below it ‖Δz[l]‖ by layer for each activation."""
    figure = plt.figure(figsize=(8, 8), layout="constrained")
    above, *below = (
        figure.add_subplot(2, 1, 1),
        *(figure.add_subplot(2, 3, 4 + i) for i in range(3)),
    )
    for (activation, weights), curve in curves.items():
        above.plot(depths, [layers[0] for layers in curve], label=f"{activation}, {weights}")
        panel = below[("sigmoid", "tanh", "relu").index(activation)]
        panel.plot(np.arange(1, len(curve[-1]) + 1), curve[-1], label=weights)
        panel.set(title=activation, xlabel="layer")
    above.set(xscale="log", xlabel="hidden layers", ylabel="log₁₀ ‖Δz[1]‖")
    above.legend()
    for ending in ("png", "svg", "pdf"):
        figure.savefig(folder / f"gradients.{ending}", dpi=200)
    plt.close(figure)
