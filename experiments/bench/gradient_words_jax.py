"""The gradient of a transformer over words as a JAX user writes it: `jax.value_and_grad`."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from experiments.bench import transformer
from experiments.bench.waiting import waited
from experiments.bench.workload import Workload, bytes_of


def workload(
    blocks: int, width: int, tokens: int, batch: int, words: int, stacked: bool
) -> Workload:
    """Return the peer of `verdict_words.py`."""
    params, xs, ys = transformer.draw_over_words(blocks, width, tokens, batch, words, stacked)

    @jax.jit
    @jax.value_and_grad
    def gradient(params: PyTree, xs: jax.Array, ys: jax.Array) -> Any:
        return transformer.loss(transformer.logits(params, xs), ys).mean()

    def numbers(_: Path) -> list[float]:
        norms: dict[str, float] = {}
        for path, v in jax.tree_util.tree_leaves_with_path(gradient(params, xs, ys)[1]):
            name, rows = jax.tree_util.keystr(path), np.asarray(v, np.float64)
            parts = {name: rows}
            if stacked and "blocks" in name:
                parts = {f"{name}[{i}]": row for i, row in enumerate(rows)}
            norms |= {name: float(np.log(np.linalg.norm(row))) for name, row in parts.items()}
        return [norms[name] for name in sorted(norms)]

    def memory() -> float:
        return bytes_of(gradient.lower(params, xs, ys).compile())

    return Workload(lambda: waited(gradient(params, xs, ys)), numbers, memory=memory)
