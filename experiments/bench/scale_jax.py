"""The gradient of `scale.py`'s decoder: jitted `jax.vjp` with `jax.checkpoint` around a block."""

from functools import partial
from typing import Any

import jax
from jaxtyping import Array, PyTree

from experiments.bench import on_paper, transformer
from experiments.bench.workload import Workload


def workload(memory: str, **sizes: int) -> Workload:
    """A repetition compiles the gradient; its memory is that beside its arguments, a device."""
    del memory
    stack, xs = on_paper.types(**sizes)
    block = jax.checkpoint(transformer.block)

    def forward(stack: PyTree, xs: Array) -> Any:
        return jax.lax.scan(lambda z, params: (block(params, z), None), xs, stack)[0]

    def gradient(stack: PyTree, xs: Array, cotangent: Array) -> Any:
        return jax.vjp(forward, stack, xs)[1](cotangent)

    program = partial(jax.jit(gradient).lower, stack, xs, xs)

    def temporary() -> float:
        sizes: Any = program().compile().memory_analysis()
        return float(sizes.temp_size_in_bytes)

    return Workload(lambda: program().compile(), partial(on_paper.size, stack), memory=temporary)
