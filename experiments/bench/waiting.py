"""Calls of compiled JAX functions that are waited for: they return before they have computed."""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import PyTree


def repeated(once: Callable[[], Any], calls: int) -> None:
    """Call `calls` times, and wait for each."""
    for _ in range(calls):
        waited(once())


def waited(value: PyTree) -> None:
    """Wait until a value is computed."""
    jax.block_until_ready(value)  # type: ignore[no-untyped-call]
