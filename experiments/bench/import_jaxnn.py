"""`import jaxnn`, and nothing else."""

import jaxnn
from experiments.bench.import_jax import workload

__all__ = ["jaxnn", "workload"]
