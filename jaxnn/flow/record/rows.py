"""Arrays as rows of a record: each as one row, with an exponent of its own."""

import jax.numpy as jnp
from jaxtyping import Array

from ...arrays.rows import ScaledRows, as_reals, at_least_float32


def as_rows(arrays: list[Array], exponents: list[Array], dtype: jnp.dtype) -> list[ScaledRows]:
    """Return arrays times 2^exponent, each as one row."""
    return [
        ScaledRows(at_least_float32(v).astype(dtype), e)
        for v, e in zip(arrays, exponents, strict=True)
    ]


def rows_of_arrays(arrays: list[Array], dtype: jnp.dtype) -> list[ScaledRows]:
    """Return parameter arrays, each as one row."""
    return as_rows(list(map(as_reals, arrays)), [jnp.zeros((), jnp.int32)] * len(arrays), dtype)
