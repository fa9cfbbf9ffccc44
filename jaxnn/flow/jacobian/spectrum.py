"""Spectrum: singular values of the Jacobian between two layers of any network, at any depth.

    J = ∂state[j]/∂state[i] = F[i+1] ⋯ F[j]        row vectors: dstate[l] = dstate[l-1] F[l]

`stretches.py` has the products with each F, `arrays/singular_values.py` keeps the columns of J
apart by size where a state has few numbers, and `lanczos.py` finds the ends where it has many.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree

from ...arrays.arguments import check_integer
from ...arrays.compiled import compiled, measuring
from ...arrays.rows import ScaledRows, at_least_float32, is_float, renormalised
from ...arrays.singular_values import Columns, identity, log_singular_values, multiplied
from ...arrays.spread import vary_over, varying
from ...chain.chain import Chain, Lowered, check_examples, encoded
from ...chain.from_network import as_chain
from ...jaxpr.example_independence import keeps_apart
from ...models import Cuts, Model, Program
from ...network.checks import check_key, check_stored, check_x
from ...network.network import Network
from ...network.params import Stacked
from ...texts import label, told
from ..measure.chain_flow import check_params
from ..measure.layer_vjp import half_of
from ..measure.unrolled import unrolled
from .attention import AttentionSpectra, attention_spectra
from .lanczos import ends
from .stretches import Factor, Stretch, as_vector, fold, layers_between, through

FEW = 512  # numbers of a state, of which all singular values are found
STEPS = 64  # of Lanczos
Between = tuple[int, int]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Spectrum:
    """Singular values s of each example's Jacobian; logarithms are natural. `str` says the ends.

    log_singular_values: ln s of all n, descending, (B, n); -inf for s = 0. None by Lanczos.
    log_largest, log_smallest: the ends; the smallest by Lanczos is nan where it is not known.
    log_mean: ln of the mean of s²; -inf if all are 0.
    variance: of s² / (mean of s²); 0 if all are 0.
    log_largest_error, log_smallest_error, log_mean_error: errors of these logarithms, by Lanczos;
        0 where all singular values are found, but for rounding.
    attention: spectra of the attention matrices in these layers; None without any.
    between: the layers i and j.
    """

    log_largest: Float[Array, " B"]
    log_smallest: Float[Array, " B"]
    log_mean: Float[Array, " B"]
    variance: Float[Array, " B"]
    log_largest_error: Float[Array, " B"]
    log_smallest_error: Float[Array, " B"]
    log_mean_error: Float[Array, " B"]
    attention: AttentionSpectra | None
    between: Between = field(metadata={"static": True})
    log_singular_values: Float[Array, "B n"] | None = None

    def __str__(self) -> str:
        i, j = self.between
        logs = (self.log_largest, self.log_mean / 2, self.log_smallest)
        largest, mean, smallest = (_decades(np.mean(np.asarray(v))) for v in logs)
        text = (
            f"Singular values from layer {i} to layer {j}, log10, mean over examples: largest "
            f"{largest}, root mean square {mean}, smallest {smallest}."
        )
        if self.attention is None:
            return text
        heads = self.attention
        return (
            f"{text} Attention: the second singular value is {np.mean(heads.second):.2g} of the "
            f"largest, stable rank {np.mean(heads.rank):.3g}, mean of {len(heads.layers)} heads."
        )


def _decades(log: float) -> str:
    return "not known" if np.isnan(log) else f"{log / np.log(10):.3g}"


@measuring
def spectrum(
    model: Model,
    xs: PyTree,
    *,
    between: Between | None = None,
    each: str = "batch",
    cuts: Cuts = None,
    steps: int | None = None,
    key: Array | None = None,
) -> Spectrum:
    """Return the singular values of the Jacobian between two layers, for each example.

    Of a state of up to 512 numbers all of them, at any depth. ln s then has the error of changing
    each weight by the float's rounding of the largest in its row, no matter how small s is compared
    with the others; an SVD of J would have that rounding times the ratio of the largest s to this
    one. The error grows with the condition of the layers: for 300 Gaussian layers of 5 units it is
    1e-13 to 2e-12 in float64, 3e-5 to 1e-2 in float32. Those that vanish because of a narrow layer,
    dead units or zero weights are exactly zero; a layer that is singular by cancellation, not by
    zeros, gives a small s instead.

    Of larger states the ends, by Lanczos from products alone, and the mean square by random probes,
    each with its error. The smallest is found only where it is no less than the rounding of the
    largest, and apart from its neighbours; else it is nan.

    For model, each and cuts see `jaxnn.as_network`; with "whole" the Jacobian is that of the batch.

    Args:
        xs: B examples.
        between: (i, j), from what comes out of layer i to what comes out of layer j; 0 is xs, whose
            floats count then. From the first layer to the last by default. A state counts with
            all its streams; what rides along is held as it is.
        steps: of Lanczos, two products each, for a state of any size; by default 64, and all
            singular values where a state has no more than 512 numbers.
        key: of random vectors; that of seed 0 by default.

    Returns:
        Spectrum: logarithms (B, n), their ends and moments. The variance is relative to the square
            of the mean, as in Pennington, Schoenholz & Ganguli 2017 (arXiv:1711.04735): for m
            layers of a wide critical network 0 (linear, orthogonal), m (linear, Gaussian; relu,
            orthogonal) or 2m (relu, Gaussian).

    Raises:
        TypeError: something that is no model.
        ValueError: layers that are none, inputs without floats from layer 0 on, and, outside `jit`,
            examples that meet, as in batch norm, or a state that has left the range of its float.
            Inside `jit` the results are then nan.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> net = jaxnn.Network(sizes=(3, *[8] * 100, 8), activation="tanh", task="regression")
        >>> weights = jaxnn.initializers.orthogonal(0.1)
        >>> params = jaxnn.init(net, jax.random.key(0), weights, stacked=True)
        >>> s = jaxnn.spectrum((net, params), jnp.zeros((2, 3)))
        >>> s.log_singular_values.shape
        (2, 8)
        >>> print(s)  # 100 times a tenth
        Singular values from layer 1 to layer 101, log10, mean over examples: largest -100, root \
mean square -100, smallest -100.
    """
    if steps is not None:
        check_integer("steps", steps, 1)
    if key is not None:
        check_key(key)
    net, params = Program.of(model=model, xs=xs, each=each, cuts=cuts).network
    if isinstance(net, Network):
        layers = jax.tree.map(at_least_float32, check_stored(net, params))
        xs = at_least_float32(jnp.asarray(check_x(net, xs)))
        net, params = as_chain(net, layers)
    if not isinstance(net, Chain) or net.replicas:
        raise TypeError(f"model: expected a network, got {told(net)}")
    check_params(net, params)
    xs = net.state(xs)
    check_examples(xs)
    first, last = _checked(between, len(net.names))
    if not first and not any(map(is_float, jax.tree.leaves(xs))):
        raise ValueError(
            "between: expected layers from 1 on, for xs has no floats, got 0; as of tokens"
        )
    with jax.default_matmul_precision("highest"):
        measured = _measured(net.for_batch(xs), params, xs, (first, last), steps, key)
    found: Spectrum
    found, left, meets = measured
    _check(left, meets, net.names, first)
    return found


def _checked(between: Between | None, count: int) -> Between:
    if between is None:
        return min(1, count - 1), count
    try:
        first, last = (check_integer("between", number, 0, count) for number in between)
    except (TypeError, ValueError):
        first = last = 0
    if not first < last:
        raise ValueError(
            f"between: expected two numbers of 0 to {count}, the lower first, got {told(between)}"
        )
    return first, last


def _check(left: Array, meets: Array, names: Sequence[str], first: int) -> None:
    """Raise, outside `jit`, where a state has left its range or examples meet."""
    if isinstance(left, jax.core.Tracer):
        return
    for flags, says in ((np.asarray(left), _LEFT), (np.asarray(meets), _MEETS)):
        if flags.any():
            raise ValueError(says.format(label(first + 1 + int(np.argmax(flags)), names)))


_LEFT = (
    "layer {}: expected finite numbers, got inf or nan: the forward pass has left the range of its "
    "float; make the weights smaller or the float wider"
)
_MEETS = (
    "layer {}: expected examples that do not meet, each with a Jacobian of its own, got one that "
    'mixes them; with each="whole" it is that of the whole batch'
)


@compiled
def _measured(
    net: Lowered, params: PyTree, xs: PyTree, layers: Between, steps: int | None, key: Array | None
) -> tuple[Spectrum, Bool[Array, " l"], Bool[Array, " l"]]:
    """Return a spectrum; of each layer whether a state is not finite, and whether examples meet."""
    x = encoded(jax.tree.map(jnp.asarray, xs))
    parts = layers_between(unrolled(net, params, x, 1), x, *layers)
    for_reach, for_lanczos = jax.random.split(jax.random.key(0) if key is None else key)
    below = as_vector(parts[0].at(0).states[0])
    above, reached, left, meets = _up(parts, jax.random.normal(for_reach, below.shape, below.dtype))
    if steps is None and min(below.shape[1], above.shape[1]) <= FEW:
        values = _all_of(parts, reached, below, above)
    else:
        there, back = (partial(through, parts, downwards=downwards) for downwards in (False, True))
        if below.shape[1] > above.shape[1]:  # begin in the smaller space
            there, back, below = back, there, above
        values = ends(there, back, below, steps or STEPS, for_lanczos)
    is_known = ~(jnp.any(left) | jnp.any(meets))
    known = jax.tree.map(lambda v: jnp.where(is_known, v, jnp.nan), values)
    spectra = attention_spectra(parts, layers[0] + 1)
    return Spectrum(**known, attention=spectra, between=layers), left, meets


def _all_of(
    parts: Sequence[Stretch], reached: "Reached", below: Array, above: Array
) -> dict[str, Array]:
    """Return the fields of a spectrum of which all is found."""
    n = min(below.shape[1], above.shape[1])
    columns = _columns(parts, reached, above)
    logs, log_mean, variance = jax.vmap(lambda columns: log_singular_values(columns, n))(columns)
    names = ("log_largest_error", "log_smallest_error", "log_mean_error")
    errors = dict.fromkeys(names, jnp.zeros_like(log_mean))
    ends = {"log_largest": logs[:, 0], "log_smallest": logs[:, -1], "log_mean": log_mean}
    return {"log_singular_values": logs, **ends, "variance": variance, **errors}


Reached = list[Any]  # for each stretch of each link whether a change reaches the numbers below it


def _up(parts: Sequence[Stretch], tangent: Array) -> tuple[Array, Reached, Array, Array]:
    """Go up with a tangent; return it, what it reaches, and which layers are broken or mix."""

    def step(rows: ScaledRows, layers: list[Any]) -> tuple[ScaledRows, Any]:
        records = []
        for factor in (Factor.of(*layer) for layer in layers):
            finite = jnp.all(jnp.isfinite(factor.at)) & jnp.all(jnp.isfinite(factor.made))
            records.append((rows.m != 0, ~finite, _meets(factor)))
            rows = renormalised(ScaledRows(factor.up(rows.m), rows.e))
        reached, *flags = zip(*records, strict=True)
        return rows, (reached, tuple(map(jnp.stack, flags)))

    rows = renormalised(ScaledRows(tangent, jnp.zeros(len(tangent), jnp.int32)))
    reached: Reached = []
    of_layers: list[Any] = []
    for part in parts:
        rows, (of_part, flags) = fold(step, rows, part)
        reached.append(of_part)
        of_layers += [flags] if part.is_layer else []
    left, meets = (jnp.concatenate([v.ravel() for v in vs]) for vs in zip(*of_layers, strict=True))
    return rows.m, reached, left, meets


def _meets(factor: Factor) -> Array:
    """Tell whether examples meet in a layer: by its program, or Δ of half of them."""
    count = len(factor.made)
    if count == 1 or keeps_apart(lambda delta: [factor.down(delta[0])], [factor.made]):
        return jnp.array(False)
    probe = jnp.cos(jnp.arange(factor.made.size)).reshape(factor.made.shape)

    def reaches_others(half: np.ndarray) -> Array:
        below = factor.down(jnp.where(half[:, None], probe.astype(factor.made.dtype), 0))
        return jnp.any(jnp.where(half[:, None], 0, below) != 0)

    half = half_of(count)
    return reaches_others(half) | reaches_others(~half)


def _columns(parts: Sequence[Stretch], reached: Reached, above: Array) -> Columns:
    """Go down with all columns of J, kept apart by size, of each example."""

    def step(columns: Columns, layers: list[Any], reached: Any) -> tuple[Columns, None]:
        for layer, live in zip(reversed(layers), reversed(reached), strict=True):
            made = jax.vmap(Factor.of(*layer).down, in_axes=2, out_axes=2)(columns.w)
            columns = jax.vmap(multiplied)(jnp.where(live[:, :, None], made, 0), columns.e)
        return columns, None

    start = identity(above.shape[1], above.dtype)
    columns: Columns = jax.tree.map(
        lambda v: vary_over(jnp.broadcast_to(v, (len(above), *v.shape)), varying(above)), start
    )
    for part, live in zip(reversed(parts), reversed(reached), strict=True):
        count = part.layers // len(part.links)
        if isinstance(part.weights, Stacked) and count > 1:
            # The last repetition may leave fewer columns, and a loop's carry keeps its shape.
            top = jax.tree.map(lambda v: v[-1], live)
            columns, _ = fold(step, columns, part.at(count - 1), top)
            part, live = part.repeated(0, count - 1), jax.tree.map(lambda v: v[:-1], live)
        columns, _ = fold(step, columns, part, live, downwards=True)
    return columns
