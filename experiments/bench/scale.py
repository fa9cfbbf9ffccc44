"""A decoder of 64 billion parameters on 64 devices, on paper: types of arrays, nothing is run."""

from functools import partial

import jax
from jaxtyping import Array, PyTree

from experiments.bench import on_paper, transformer
from experiments.bench.workload import Workload
from jaxnn.passes.walk import Memory
from jaxnn.train import cost_of


def decoder(stack: PyTree, xs: Array) -> Array:
    """Return what blocks make of (B, T, n) tokens, as a scan."""
    return jax.lax.scan(lambda z, params: (transformer.block(params, z), None), xs, stack)[0]


def workload(memory: Memory, **sizes: int) -> Workload:
    """A repetition compiles a measurement; its memory is that beside its arguments, a device."""
    stack, xs = on_paper.types(**sizes)
    cost = partial(cost_of, (decoder, stack), xs, cotangent=xs, memory=memory)
    return Workload(cost, partial(on_paper.size, stack), memory=lambda: float(cost().temporary))
