"""The gradient of each block of a Flax module by `nnx.perturb` and `nnx.capture`, with a chart."""

import tempfile

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from flax import nnx
from jaxtyping import PyTree

from experiments.bench import blocks_nnx
from experiments.bench.workload import Workload

mpl.use("Agg")
import matplotlib.pyplot as plt


def workload(kind: str, layers: int, width: int, tokens: int, batch: int) -> Workload:
    """Return the peer of `verdict_nnx.py`."""
    model, xs, ys = blocks_nnx.draw(kind, layers, width, tokens, batch)

    @nnx.jit
    def log_norms(
        model: blocks_nnx.Deep, perturbations: PyTree, xs: jax.Array, ys: jax.Array
    ) -> jax.Array:
        def loss(model: blocks_nnx.Deep, perturbations: PyTree) -> jax.Array:
            output, _ = nnx.capture(model, nnx.Intermediate, init=perturbations)(xs)
            return blocks_nnx.loss(output, ys).mean()

        _, by_delta = nnx.grad(loss, argnums=(0, 1))(model, perturbations)
        return jnp.stack([jnp.log(jnp.linalg.norm(delta)) for delta in jax.tree.leaves(by_delta)])

    def measured() -> np.ndarray:
        _, perturbations = nnx.capture(model, nnx.Perturbation)(xs)
        return np.asarray(log_norms(model, perturbations, xs, ys))

    def run() -> None:
        logs = measured() / np.log(10)
        slope = np.polyfit(np.arange(layers), logs, 1)[0]
        with tempfile.TemporaryDirectory() as folder:
            figure, axes = plt.subplots()
            axes.plot(np.arange(1, layers + 1), logs)
            axes.set(xlabel="layer", ylabel="log₁₀ ‖Δ‖", title=f"{slope:.3g} decades a layer")
            figure.savefig(f"{folder}/flow.svg")
            plt.close(figure)

    return Workload(run, lambda _: measured())
