"""Initialisers: the distributions that the first θ and b are drawn from.

The schemes are those of `jax.nn.initializers`. Here a name, a number or a callable becomes one of
them, the two families used by the theory get names of their own, and `init` draws the parameters of
a network.
θ[i] has shape (n[i], n[i+1]), so fan_in = n[i] and fan_out = n[i+1].
"""

import math
import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.nn import initializers
from jax.typing import DTypeLike
from jaxtyping import Array, Key

from .arrays import memory
from .arrays.compiled import Numbers, compiled
from .network.checks import check_key
from .network.lists import check_count, each, is_list
from .network.network import Network
from .network.params import Draw, Initializer, Layer, LazyRun, Params, unstack
from .texts import told

__all__ = ["BIASES", "WEIGHTS", "gaussian", "looks_linear", "orthogonal"]


def __dir__() -> list[str]:
    return __all__


# (variance times fan, fan)
_FANS = {
    **dict.fromkeys(("glorot", "xavier"), (1.0, "fan_avg")),
    **dict.fromkeys(("he", "kaiming"), (2.0, "fan_in")),
    "lecun": (1.0, "fan_in"),
}
_Distribution = Literal["uniform", "normal", "truncated_normal"]
_DISTRIBUTIONS: dict[str, _Distribution] = {"uniform": "uniform", "normal": "truncated_normal"}
# Schemes for matrices, for any shape, and constants, by their names in jax.nn.initializers.
_FAN_SCHEMES = {
    f"{scheme}_{kind}": (*fan, distribution)
    for scheme, fan in _FANS.items()
    for kind, distribution in _DISTRIBUTIONS.items()
}
_PLAIN_SCHEMES = ("normal", "uniform", "truncated_normal")
_CONSTANTS = ("zeros", "ones")

WEIGHTS = (*_FAN_SCHEMES, "orthogonal", *_PLAIN_SCHEMES, *_CONSTANTS)
BIASES = (*_CONSTANTS, *_PLAIN_SCHEMES)

Weights = str | Initializer
Biases = str | float | int | Initializer

_HINTS = {
    "constant": "; it needs a value: give the callable jax.nn.initializers.constant(value)",
    "variance_scaling": "; it needs arguments: give the callable "
    "jax.nn.initializers.variance_scaling(scale, mode, distribution)",
    "delta_orthogonal": "; that one is for convolutions: use orthogonal",
}


def init(
    net: Network,
    key: Key[Array, ""],
    weights: Weights | Sequence[Weights] = "glorot_uniform",
    biases: Biases | Sequence[Biases] | Numbers = "zeros",
    dtype: DTypeLike | None = None,
    *,
    stacked: bool = False,
    lazy: bool = False,
) -> Params:
    """Draw the parameters ((θ[0], b[0]), …, (θ[L-1], b[L-1])).

    Args:
        key: from `jax.random.key(seed)`. Layer i draws from `fold_in(key, i)`, so its numbers do
            not depend on the number of layers.
        weights: the name of a scheme of `jax.nn.initializers`, a callable (key, shape, dtype) of
            that form, `jaxnn.initializers.gaussian(sigma_w)`,
            `jaxnn.initializers.orthogonal(sigma_w)` or `jaxnn.initializers.looks_linear(sigma_w)`;
            or a list of them, one for each of the L layers of weights.
        biases: a name, a callable, or a number: normal with that standard deviation σ_b; or a list
            of L of them.
        dtype: floating dtype of all parameters, and so of the passes with them; by default
            JAX's default float. 16-bit parameters are drawn in float32 and rounded.
        stacked: return the same numbers as runs, see `jaxnn.network.stack`.
        lazy: True stores runs as a key, from which a layer is drawn again whenever it is used:
            for networks too deep for the memory. `forward`, `trace`, `loss` and `gradient_flow`
            accept such parameters. Hidden layers of one width that are drawn from different
            distributions are several runs then.

    Returns:
        A tuple of L Layers, θ[i] of shape (n[i], n[i+1]), b[i] of shape (n[i+1],).

    Raises:
        ValueError: an unknown name, a list of another length, or a callable that returns another
            shape.
        TypeError: a dtype that is not floating, or a key that is none.

    Example:
        >>> import jax, jaxnn
        >>> net = jaxnn.Network(sizes=(3, 4, 1), activation="sigmoid", task="binary")
        >>> [(theta.shape, b.shape) for theta, b in jaxnn.init(net, jax.random.key(0))]
        [((3, 4), (4,)), ((4, 1), (1,))]
    """
    dtype = jnp.result_type(float) if dtype is None else jnp.dtype(dtype)
    if not jnp.issubdtype(dtype, jnp.floating) or dtype.itemsize < 2:
        raise TypeError(
            f"dtype: expected a floating dtype of 16 bits or more, such as float32, got {dtype}"
        )
    layers = len(net.sizes) - 1
    if not (lazy or isinstance(key, jax.core.Tracer)):
        needed = dtype.itemsize * sum(n * (m + 1) for m, n in pairwise(net.sizes))
        memory.check(needed, "sizes", "this network")
    schemes = (
        _each_scheme("weights", weights, find_weights, layers),
        _each_scheme("biases", biases, find_biases, layers),
    )
    runs = _draw_runs(net, check_key(key), *schemes, dtype, lazy)
    return runs if stacked or lazy else unstack(runs)


@compiled
def _draw_runs(
    net: Network,
    key: Array,
    weights: tuple[Initializer, ...],
    biases: tuple[Initializer, ...],
    dtype: jnp.dtype,
    lazy: bool,
) -> Params:
    """The parameters with runs: XLA would take minutes to compile 200 layers drawn one by one."""
    shapes = list(pairwise(net.sizes))
    top = len(shapes) - 1

    def draw(i: int) -> Draw:
        scheme = weights[i]
        if isinstance(scheme, _Orthogonal):
            scheme = replace(scheme, first=i == 0, last=i == top)
        return Draw(scheme, biases[i], shapes[i], dtype)

    layers: list[Layer | LazyRun] = []
    for (_, square), stretch in groupby(
        range(top + 1), key=lambda i: (shapes[i], 0 < i < top and shapes[i][0] == shapes[i][1])
    ):
        if not square:
            layers += [draw(i)(jax.random.fold_in(key, i)) for i in stretch]
            continue
        runs = []
        for of_one_kind, places in groupby(stretch, key=draw):
            first, *others = places
            runs.append(LazyRun(key, of_one_kind, first, 1 + len(others)))
        if lazy:
            layers += runs
        else:
            stored = [run.stored() for run in runs]
            layers.append(Layer(*map(jnp.concatenate, zip(*stored, strict=True))))
    return tuple(layers)


def _each_scheme(
    what: str, given: Any, find: Callable[[Any], Initializer], layers: int
) -> tuple[Initializer, ...]:
    """Return the initialiser of each layer of weights, given one for all or a list."""
    if callable(given) or not is_list(given):
        return (find(given),) * layers
    check_count(what, given, layers, "layer of weights")
    return each(what, given, find)


def gaussian(sigma_w: float) -> Initializer:
    """Normal weights of variance σ_w² / fan_in, the convention of mean-field theory.

    Args:
        sigma_w: σ_w >= 0, without unit.

    Raises:
        ValueError: σ_w is negative, nan or infinite.

    Example:
        >>> import jax, jaxnn
        >>> theta = jaxnn.initializers.gaussian(1.5)(jax.random.key(0), (1000, 500))
        >>> round(float(theta.var()) * 1000, 2)  # σ_w² = 2.25
        2.25

    Source: Poole et al. 2016, arXiv:1606.05340, section 2.
    """
    return _ByFan(_scale("sigma_w", sigma_w) ** 2, "fan_in", "normal")


def orthogonal(sigma_w: float = 1.0) -> Initializer:
    """σ_w times a uniformly drawn orthogonal matrix.

    θᵀθ = σ_w² I, or θθᵀ = σ_w² I where θ is wider than high; so an entry has the variance
    σ_w² / max(fan_in, fan_out), which for a square θ is that of `gaussian(sigma_w)`.

    Args:
        sigma_w: σ_w >= 0, without unit.

    Raises:
        ValueError: σ_w is negative, nan or infinite.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> theta = jaxnn.initializers.orthogonal(2.0)(jax.random.key(0), (3, 3))
        >>> bool(jnp.allclose(theta.T @ theta, 4 * jnp.eye(3), atol=1e-5))
        True

    Source: Saxe et al. 2014, arXiv:1312.6120, section 3.
    """
    return _Orthogonal(_scale("sigma_w", sigma_w))


def looks_linear(sigma_w: float = 1.0) -> Initializer:
    """Weights that make a relu network of even hidden widths linear at initialisation.

    θ = [[W, -W], [-W, W]] between hidden layers, [W, -W] in the first, [W; -W] in the last, W of
    `orthogonal(sigma_w)`. Units are pairs z, -z, and relu(z) - relu(-z) = z: without biases, the
    network is the product of its W, and ‖Δz‖ is multiplied by σ_w in every layer, for any input.
    Called without `init`, it draws a layer between hidden ones.

    Args:
        sigma_w: σ_w >= 0, without unit.

    Raises:
        ValueError: σ_w is negative, nan or infinite; or, when drawn, a hidden width is odd.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> net = jaxnn.Network((2, 4, 4, 1), "relu", "regression")
        >>> params = jaxnn.init(net, jax.random.key(0), jaxnn.initializers.looks_linear())
        >>> one, minus_two = (jaxnn.forward(net, params, x * jnp.ones(2)) for x in (1.0, -2.0))
        >>> bool(jnp.allclose(minus_two, -2 * one, rtol=1e-5))
        True

    Source: Balduzzi et al. 2017, arXiv:1702.08591.
    """
    return _Orthogonal(_scale("sigma_w", sigma_w), is_mirrored=True)


def find_weights(weights: Weights) -> Initializer:
    """Return the initialiser of θ of a name; a callable is returned as it is."""
    if callable(weights):
        return weights
    if not isinstance(weights, str):
        raise TypeError(
            "weights: expected a name or a callable (key, shape, dtype) -> array, such as "
            f"jaxnn.initializers.gaussian(1.5), got {told(weights)}"
        )
    return _by_name("weights", weights, WEIGHTS)


def find_biases(biases: Biases) -> Initializer:
    """Return the initialiser of b of a name or of σ_b, the standard deviation; a callable stays."""
    if callable(biases):
        return biases
    if isinstance(biases, numbers.Real) and not isinstance(biases, bool):
        return _Plain("normal", _scale("biases", biases))
    if not isinstance(biases, str):
        raise TypeError(
            "biases: expected a name, a number (the standard deviation σ_b) or a callable "
            f"(key, shape, dtype) -> array, got {told(biases)}"
        )
    return _by_name("biases", biases, BIASES)


def _by_name(what: str, name: str, known: tuple[str, ...]) -> Initializer:
    if name not in known:
        raise ValueError(
            f"{what}: there is no {name!r}{_HINTS.get(name, '')}; choose one of {', '.join(known)}"
        )
    if name in _CONSTANTS:
        constant: Initializer = getattr(initializers, name)
        return constant
    if name == "orthogonal":
        return orthogonal()
    return _ByFan(*_FAN_SCHEMES[name]) if name in _FAN_SCHEMES else _Plain(name)


# Schemes are static under `jit`, and compared by their fields: one with the same numbers, made anew
# or in another process, is not compiled anew. All but the orthogonal one draw their entries as one
# row, the same numbers as in a matrix: XLA compiles that in half the time, and in a fifth for some
# ten columns, a loop that it unrolls.


@dataclass(frozen=True)
class _ByFan:
    """Entries of variance scale / fan, with shape (…, fan_in, fan_out)."""

    scale: float
    fan: str
    distribution: _Distribution

    def __str__(self) -> str:
        return f"{self.distribution}, {self.scale:.4g}/{self.fan}"

    @compiled
    def __call__(self, key: Array, shape: tuple[int, ...], dtype: DTypeLike = float) -> Array:
        fan_in, fan_out = _fans(shape)
        units = {"fan_in": fan_in, "fan_avg": (fan_in + fan_out) / 2}[self.fan]
        # A row of matrices of one entry, whose fan is 1.
        scale = self.scale / units
        # The variance is rounded to the dtype, whose range ends at the square root of σ_w's.
        fits = scale == 0 or _fits(scale, dtype)
        variance = scale if fits else 1.0
        row = initializers.variance_scaling(variance, "fan_in", self.distribution, batch_axis=0)
        drawn = row(key, (math.prod(shape), 1, 1), dtype).reshape(shape)
        return drawn if fits else math.sqrt(scale) * drawn


def _fits(number: float, dtype: DTypeLike) -> bool:
    """Tell whether a dtype holds a positive number as a normal one."""
    limits = jnp.finfo(jax.dtypes.canonicalize_dtype(dtype))  # type: ignore[no-untyped-call]
    return float(limits.tiny) <= number <= float(limits.max)


@dataclass(frozen=True)
class _Plain:
    """Entries of one distribution by its name, for any shape; of standard deviation `scale`."""

    name: str
    scale: float | None = None

    @compiled
    def __call__(self, key: Array, shape: tuple[int, ...], dtype: DTypeLike = float) -> Array:
        scheme: Callable[..., Initializer] = getattr(initializers, self.name)
        row = scheme() if self.scale is None else scheme(self.scale)
        return row(key, (math.prod(shape),), dtype).reshape(shape)


@dataclass(frozen=True)
class _Orthogonal:
    """σ_w times orthogonal matrices, or mirrored ones, which look linear after a relu."""

    sigma_w: float
    is_mirrored: bool = False
    first: bool = False  # of a network's layers, which `init` knows; these are mirrored once
    last: bool = False

    def __str__(self) -> str:
        return f"{'looks linear' if self.is_mirrored else 'orthogonal'}, {self.sigma_w:.4g}"

    @compiled
    def __call__(self, key: Array, shape: tuple[int, ...], dtype: DTypeLike = float) -> Array:
        fans, parts = _fans(shape), [1, 1]
        if self.is_mirrored:
            parts = [1 if self.first else 2, 1 if self.last else 2]
        (n_in, odd_in), (n_out, odd_out) = map(divmod, fans, parts)
        if odd_in or odd_out:
            raise ValueError(
                "weights: looks-linear units are pairs, so hidden layers need an even width, got "
                f"θ of shape {shape}"
            )
        w = initializers.orthogonal(self.sigma_w)(key, (*shape[:-2], n_in, n_out), dtype)
        top = w if parts[1] == 1 else jnp.concatenate([w, -w], axis=-1)
        return top if parts[0] == 1 else jnp.concatenate([top, -top], axis=-2)


def _fans(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return fan_in and fan_out of matrices."""
    if len(shape) < 2:
        raise ValueError(
            f"shape: expected (…, fan_in, fan_out), got {shape}; a vector such as a bias has no "
            "fan_in"
        )
    return shape[-2:]


def _scale(what: str, sigma: numbers.Real | float) -> float:
    sigma = float(sigma)
    if not (math.isfinite(sigma) and sigma >= 0):
        raise ValueError(f"{what}: expected a finite standard deviation >= 0, got {sigma:g}")
    return sigma
