"""A kind of block: the formulas of one layer, forward and backward, over rows.

    z[i+1] = f(θ[i], b[i], z[i])        forward, with z[i] what goes in and z[i+1] what comes out
    Δ(θ[i], b[i]), Δz[i]                backward, from z[i], Δz[i+1] and what forward saved

A layer carries z, not a: σ belongs to the layer that takes a = σ(z) in. So the output layer is like
any other, and Δz is what travels. In the first layer σ is the identity.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Array, Float, PyTree

from ...arrays.rows import ScaledRows
from ..activations import Activation
from ..params import Layer


class Gradient(NamedTuple):
    """Δθ and Δb of a layer, summed over the rows, and Δa, the Δ of what θ multiplies.

    theta: Δθ, (n_in, n_out); of `outer`.
    b: Δb, (n_out,); of `sum_rows`.
    a: Δa, (B, n_in); a `matmul` with θᵀ.
    """

    theta: ScaledRows
    b: ScaledRows
    a: ScaledRows


@runtime_checkable
class Block(Protocol):
    """A kind of block; one of your own is a class with these methods, frozen and hashable.

    It calculates with the operations of `jaxnn.blocks`; examples/own_block.py writes one from
    scratch. A block whose rows meet, such as a batch norm, also has `rows_meet = True`, one that
    adds to z `is_skip = True`, and one with a theory of infinite width, for
    `jaxnn.theory.meanfield`, the methods of `jaxnn.blocks.Theory`. In all methods sigma is the
    activation, layer has the θ (n_in, n_out) and b (n_out,) of one layer, and z are the rows that
    go into it, (B, n_in).
    """

    def forward(self, sigma: Activation, layer: Layer, z: ScaledRows) -> tuple[ScaledRows, Any]:
        """Return z[i+1], (B, n_out), and a pytree of arrays saved for `backward`, or None.

        Save only what would take long to compute again from z, which is saved anyway.
        """

    def backward(
        self, sigma: Activation, layer: Layer, z: ScaledRows, saved: PyTree, delta: ScaledRows
    ) -> tuple[Gradient, ScaledRows]:
        """Return the layer's Gradient, and Δz[i].

        Args:
            layer: θ and b.
            z: z[i], (B, n_in).
            saved: the second result of `forward`.
            delta: Δz[i+1], (B, n_out).
        """

    def preactivation(self, z: ScaledRows) -> ScaledRows:
        """Return what σ is taken of, (B, n_in): σ of it is a, which θ multiplies."""


def slope(sigma: Activation, z: ScaledRows) -> Float[Array, "B n"]:
    """Return σ′(z) of rows as an array (B, n); of a homogeneous σ exponents do not matter to it.

    Example:
        >>> import jax.numpy as jnp, jaxnn
        >>> from jaxnn.blocks import ScaledRows, slope
        >>> relu = jaxnn.network.find_activation("relu")
        >>> print(slope(relu, ScaledRows(jnp.array([[-1.0, 2.0]]))))
        [[0. 1.]]
    """
    return sigma.prime(z.m)


def rows_meet(block: object) -> bool:
    """Tell whether what a block does to an example depends on the others of its batch."""
    inner = getattr(block, "inner", None)
    return getattr(block, "rows_meet", False) or (inner is not None and rows_meet(inner))
