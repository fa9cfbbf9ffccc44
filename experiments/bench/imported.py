"""`import` of a package, and nothing else."""

import importlib

from experiments.bench.workload import Workload


def workload(package: str) -> Workload:
    """Return a workload that runs nothing; both sides agree on the version of JAX."""
    importlib.import_module(package)
    jax = importlib.import_module("jax")
    return Workload(lambda: None, lambda _: [*map(float, jax.__version__.split(".")[:2])])
