"""How repetitions of a compiled JAX function are run: its calls return before it has."""

from collections.abc import Callable
from typing import Any

import jax


def repeated(once: Callable[[], Any], calls: int) -> None:
    """So many calls, each waited for."""
    for _ in range(calls):
        waited(once())


def waited(value: Any) -> None:
    """Until it is computed."""
    jax.block_until_ready(value)  # type: ignore[no-untyped-call]
