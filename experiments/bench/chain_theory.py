"""A chain of transformer blocks with its theory beside it: `jaxnn.gradient_flow(…, theory=True)`.

Its peer is the network's own flow, the same without theory.
"""

from typing import Any

import jax
import numpy as np

import jaxnn
from experiments.bench import transformer
from experiments.bench.waiting import repeated
from experiments.bench.workload import Workload


def workload(
    layers: int, width: int, tokens: int, batch: int, calls: int, theory: bool
) -> Workload:
    """Return the flow from a cotangent of the output, with or without theory."""
    drawn = transformer.draw(layers, width, tokens, batch)
    weights, x, c = transformer.parted(jax.tree.map(jax.numpy.asarray, drawn))
    net, params = jaxnn.as_network([jaxnn.Run(transformer.block, weights, layers)])

    def once() -> Any:
        return jaxnn.gradient_flow((net, params), x, cotangent=c, theory=theory)

    return Workload(lambda: repeated(once, calls), lambda _: np.asarray(once().log_theta))
