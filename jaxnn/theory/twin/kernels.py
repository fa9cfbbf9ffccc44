"""Kernels of a network at infinite width, of its wide twin: that of its outputs, and its NTK.

    NNGP   K[a, b] = E f(a) f(b)                    over random weights, of one unit of the output f
    NTK    Θ[a, b] = E Σ_θ ∂f(a)/∂θ ∂f(b)/∂θ        over all parameters θ, as they are handed over

Means are over units, replicas r and draws of the twin. Down it goes a cotangent c[r, k] of random
signs, the same for all examples: the replicas, and the units k, of one parameter's Δ are then
independent, and the mean of Δ[a] · Δ[b], over all parameters, is R n Θ[a, b].

A reverse pass of all examples together adds up their Δ, and one of an example alone has draws that
are not those of the others. But a draw is linear where examples are scaled by numbers above zero
(`draws.py`): so the pass is repeated with each example doubled, and Δ[a] is what that adds.

Index legend: B examples, R replicas, n units of the output, D draws.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree
from numpy.typing import NDArray

from ...arrays.compiled import compiled, measuring
from ...arrays.rows import at_least_float32, can_be_learned, floats
from ...chain.apply import through
from ...chain.chain import Chain, check_examples
from ...models import Cuts, Model, Program
from ...texts import told
from .wide import REPLICAS, Wide, chain_of, twin_of

DRAWS = 64
TOLERANCE = 1e-2  # of Δ of all examples, between itself and the sum of those of each


@dataclass(frozen=True, eq=False)
class Kernels:
    """Kernels of a network at infinite width, (B, B) each, with their standard errors.

    nngp: covariance of an output over random weights, between examples.
    nngp_error: its standard error, of the draws.
    ntk: neural tangent kernel, in the parameters as they were handed over.
    ntk_error: its standard error.
    draws: of the twin.
    """

    nngp: NDArray[np.float64]
    nngp_error: NDArray[np.float64]
    ntk: NDArray[np.float64]
    ntk_error: NDArray[np.float64]
    draws: int

    def __str__(self) -> str:
        relative = (
            np.max(np.diagonal(error) / np.diagonal(kernel))
            for kernel, error in ((self.nngp, self.nngp_error), (self.ntk, self.ntk_error))
        )
        nngp, ntk = (f"{np.trace(v) / len(v):.3g}" for v in (self.nngp, self.ntk))
        nngp_error, ntk_error = (f"{100 * v:.1f} %" for v in relative)
        return (
            f"Kernels of {len(self.ntk)} examples at infinite width, mean of the diagonal: NNGP "
            f"{nngp} (to {nngp_error}), NTK {ntk} (to {ntk_error})."
        )


class _Draw(NamedTuple):
    """Kernels of one draw, and how far Δ of all examples is from the sum of those of each."""

    nngp: Float[Array, "B B"]
    ntk: Float[Array, "B B"]
    departure: Float[Array, ""]


@measuring
def kernels(
    model: Model,
    xs: PyTree,
    *,
    each: str = "batch",
    cuts: Cuts = None,
    draws: int = DRAWS,
    replicas: int = REPLICAS,
    key: Array | None = None,
) -> Kernels:
    """Return the NNGP and the NTK of any network: of infinitely many units, as its wide twin.

    They are of random weights of the sizes that these have, and of the parameters as they are: in
    the parametrisation of the NTK where the program divides its weights by √fan_in, else in the
    usual one, where the kernel grows with the width and is that of this width. Biases and gains
    count, as they are, and a bias that is zero has its part of the NTK.

    For model, each and cuts see `jaxnn.as_network`; the output is (B, n) or (B,). Units of the
    output should be alike, for the kernels are means over them.

    Args:
        xs: B examples.
        draws: D. The errors fall as 1/√D.
        replicas: of each draw; what a finite width changes falls as 1/(R width).
        key: of the draws; that of seed 0 by default.

    Raises:
        TypeError: something that is no model, or traced arrays.
        ValueError: an output of other axes, examples that meet, as in batch norm, fewer than two
            draws, or a layer without a twin.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> def network(params, xs):
        ...     hidden = jax.nn.relu(xs @ params["w"] / 2)
        ...     return hidden @ params["v"] / 8
        >>> signs = lambda i, *shape: jax.random.rademacher(jax.random.key(i), shape, jnp.float32)
        >>> params = {"w": signs(0, 4, 64), "v": signs(1, 64, 8)}
        >>> found = jaxnn.theory.kernels((network, params), jnp.ones((1, 4)), draws=16)
        >>> theory = 0.5, 1.0  # E relu(z)², and that again for the hidden weights; z of variance 1
        >>> bool(abs(found.nngp[0, 0] - theory[0]) < 4 * found.nngp_error[0, 0])
        True
        >>> bool(abs(found.ntk[0, 0] - theory[1]) < 4 * found.ntk_error[0, 0])
        True

    Source: Jacot et al. 2018, arXiv:1806.07572; of any architecture Yang 2020, arXiv:2006.14548.
    """
    if isinstance(draws, bool) or not isinstance(draws, int) or draws < 2:
        raise ValueError(f"draws: expected an integer of at least 2, got {told(draws)}")
    net, params, xs = chain_of(Program.of(**locals()), "a kernel")
    if net.whole:
        raise ValueError("each: expected batch or example, between which a kernel is, got whole")
    check_examples(xs)
    _check_apart(net, params, xs)
    twin = twin_of(net, params, replicas)
    nothing = [jnp.zeros(v.shape, v.dtype) for v in net.handover.pytree.types]
    arrays = net.handover.arrays(params, nothing)
    several: _Draw = _draws(twin, arrays, xs, draws, key)
    if np.max(np.asarray(several.departure)) > TOLERANCE:
        raise ValueError(_MEET.format("Δ of all is not the sum of those of each"))
    (nngp, nngp_error), (ntk, ntk_error) = map(_mean_and_error, (several.nngp, several.ntk))
    return Kernels(nngp, nngp_error, ntk, ntk_error, draws)


_MEET = (
    "xs: expected examples that do not meet, got a network in which {}, as with batch norm in "
    "training; use its running statistics"
)


def _check_apart(net: Chain, params: Sequence[Any], xs: PyTree) -> None:
    """Check that the first output stays where each example but the first becomes another one."""

    def exchanged(v: Any) -> Array:
        return jnp.concatenate([v[:1], jnp.roll(v, 1, axis=0)[1:]])

    lowered = net.for_batch(xs)
    first, other = (
        np.concatenate([np.ravel(v[0]) for v in floats(through(lowered, params, state)[0])])
        for state in (xs, jax.tree.map(exchanged, xs))
    )
    if np.abs(first - other).max(initial=0) > TOLERANCE * np.abs(first).max(initial=0):
        raise ValueError(_MEET.format("the output of one depends on others"))


def _mean_and_error(several: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    v = np.asarray(several, np.float64)
    return v.mean(axis=0), v.std(axis=0, ddof=1) / len(v) ** 0.5


@compiled
def _draws(twin: Wide, arrays: Sequence[Array], xs: PyTree, count: int, key: Array | None) -> _Draw:
    """Return the kernels of several draws, (D, B, B)."""

    def of(key: Array) -> _Draw:
        of_twin, of_signs = jax.random.split(key)
        learned = [v for v in arrays if can_be_learned(v)]
        output, pull = jax.vjp(lambda learned: _output(twin, arrays, learned, xs, of_twin), learned)
        return _of_draw(output, pull, of_signs)

    key = jax.random.key(0) if key is None else key
    several: _Draw = jax.lax.map(of, jax.random.split(key, count))
    return several


def _output(
    twin: Wide, arrays: Sequence[Array], learned: Sequence[Array], xs: PyTree, key: Array
) -> Array:
    """Return the output of the twin, (B, R, n), of the arrays of the user's pytree."""
    entries = iter(learned)
    whole = [next(entries) if can_be_learned(v) else v for v in arrays]
    params = twin.with_key(twin.real.handover.params(whole), key)

    def replicated(v: Array) -> Array:
        return jnp.broadcast_to(v[:, None], (len(v), twin.replicas, *v.shape[1:]))

    state = jax.tree.map(lambda v: replicated(jnp.asarray(v)), xs)
    outputs = floats(through(twin.for_batch(xs), params, state)[0])
    if len(outputs) != 1 or outputs[0].ndim not in (2, 3):
        shapes = ", ".join(str((*v.shape[:1], *v.shape[2:])) for v in outputs)
        raise ValueError(
            f"model: expected one output (B, n) or (B,), got {shapes}; hand over a function that "
            "pools its positions, or takes one of them"
        )
    return at_least_float32(outputs[0].reshape(*outputs[0].shape[:2], -1))


def _of_draw(output: Array, pull: Callable[[Array], tuple[list[Array]]], key: Array) -> _Draw:
    """Return the kernels of one draw, given its output and Δ of the parameters of a cotangent."""
    b, r, n = output.shape
    signs = jax.random.rademacher(key, (r, n), output.dtype)
    scales = jnp.concatenate([jnp.ones((1, b)), 1 + jnp.eye(b)]).astype(output.dtype)
    of_scales = jax.lax.map(lambda scale: pull(scale[:, None, None] * signs)[0], scales)
    ntk, off, size = jnp.zeros((b, b)), jnp.zeros(()), jnp.zeros(())
    for v in of_scales:
        together, *doubled = at_least_float32(v).reshape(b + 1, -1)
        of_examples = jnp.stack(doubled) - together
        ntk += of_examples @ of_examples.T
        off += jnp.sum(jnp.square(of_examples.sum(axis=0) - together))
        size += jnp.sum(jnp.square(together))
    nngp = jnp.einsum("ark,brk->ab", output, output)
    return _Draw(nngp / (r * n), ntk / (r * n), jnp.sqrt(off / jnp.where(size > 0, size, 1)))
