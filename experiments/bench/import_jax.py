"""`import jax`, and nothing else."""

from pathlib import Path

import jax

from experiments.bench.workload import Workload


def workload() -> Workload:
    """Return a workload that runs nothing; both sides agree on the version of JAX."""

    def numbers(_: Path) -> list[float]:
        return [float(part) for part in jax.__version__.split(".")[:2]]

    return Workload(lambda: None, numbers)
