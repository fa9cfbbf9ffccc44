"""The cost of a measurement, before a job starts: compiled from shapes, nothing is run.

types of arrays, and how they are spread   ->   the compiled flow   ->   bytes and collectives
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
from jaxtyping import PyTree

from ..arrays.spread import ArrayOrType
from ..chain.parameter_handover import is_array
from ..flow.gradient_flow import gradient_flow
from ..models import Net
from ..network.checks import check_loss
from ..passes.walk import Memory, check_memory
from ..texts import counted

COLLECTIVES = "all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter"
UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


@dataclass(frozen=True)
class Cost:
    """Bytes that one run of a compiled program takes on each device, and its collectives.

    arguments: bytes of what goes in, parameters among them.
    results: bytes of what comes out.
    temporary: bytes beside both, at most at a time.
    collectives: by kind, how often the program exchanges arrays between devices; in a loop each
        counts once.
    """

    arguments: int
    results: int
    temporary: int
    collectives: dict[str, int]

    def __str__(self) -> str:
        exchanges = ", ".join(counted(n, kind) for kind, n in sorted(self.collectives.items()))
        return (
            f"On each device {_in_words(self.temporary)}, beside {_in_words(self.arguments)} that "
            f"go in and {_in_words(self.results)} that come out; {exchanges or 'no exchange'}."
        )


def cost_of(
    model: tuple[Callable[[Any, Any], Any], PyTree],
    xs: PyTree,
    ys: PyTree = None,
    *,
    loss: Callable[..., Any] | None = None,
    cotangent: PyTree = None,
    each: str = "batch",
    memory: Memory = "all",
) -> Cost:
    """Return what a measurement of a network's gradient flow costs, from shapes alone.

    Nothing is run and no array is made, so it can be asked on a laptop what a job on many devices
    will take. Arrays may be `jax.ShapeDtypeStruct`, with the sharding that they will have.

    For loss, each and memory see `jaxnn.gradient_flow`.

    Args:
        model: a pair (f, params) with f(params, xs), or (net, params); params may be types.
        xs: a batch, or its types.
        ys: labels, or their types.
        cotangent: Δ of the output, or its type.

    Raises:
        TypeError: another kind of model.
        ValueError: as `jaxnn.gradient_flow`.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> def decoder(stack, xs):
        ...     return jax.lax.scan(lambda z, w: (z + jnp.tanh(z @ w), None), xs, stack)[0]
        >>> stack = jax.ShapeDtypeStruct((80, 8192, 8192), jnp.bfloat16)  # 10 GiB, not allocated
        >>> xs = jax.ShapeDtypeStruct((64, 8192), jnp.bfloat16)
        >>> cost = jaxnn.train.cost_of((decoder, stack), xs, cotangent=xs)
        >>> print(cost.arguments / 2**30, cost.collectives)
        10.001953125 {}
    """
    if type(model) is not tuple or len(model) != 2:
        raise TypeError(
            f"model: expected a pair (f, params) or (net, params), got {type(model).__name__}; of "
            "a module hand over its function with its parameters"
        )
    f, params = model
    loss, memory = check_loss(loss), check_memory(memory)

    def flow(params: PyTree, xs: PyTree, ys: PyTree, cotangent: PyTree) -> Any:
        options: dict[str, Any] = {} if isinstance(f, Net) else {"each": each}
        return gradient_flow(
            (f, params), xs, ys, loss=loss, cotangent=cotangent, memory=memory, **options
        )

    lowered = jax.jit(flow).lower(*map(_types, (params, xs, ys, cotangent)))
    program: Any = lowered.compile()
    sizes = program.memory_analysis()
    kinds = re.findall(rf" ({COLLECTIVES})(?:-start)?\(", program.as_text())
    return Cost(
        sizes.argument_size_in_bytes,
        sizes.output_size_in_bytes,
        sizes.temp_size_in_bytes,
        dict(Counter(kinds)),
    )


def _types(tree: PyTree) -> Any:
    """Return the types of arrays in a pytree, spread as they are."""

    def of(v: ArrayOrType) -> Any:
        if not is_array(v):
            return v
        sharding = getattr(v, "sharding", None)
        return jax.ShapeDtypeStruct(  # type: ignore[no-untyped-call]
            v.shape, v.dtype, sharding=sharding
        )

    return jax.tree.map(of, tree)


def _in_words(count: float) -> str:
    """Return a number of bytes with a unit."""
    power = 0
    while count >= 1024 and power < len(UNITS) - 1:
        count, power = count / 1024, power + 1
    return f"{count:.3g} {UNITS[power]}"
