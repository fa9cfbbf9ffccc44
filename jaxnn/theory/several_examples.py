"""Finite width: the gradients of B examples that share weights, drawn without drawing the weights.

A batch sees of a layer's weights W (n′, n) only their products with B states and with B gradients.
With examples as columns, and A = σ(Z) = Q R (n, B) by QR decomposition:

    Z′ = Γ R + b              Γ = W Q: entries N(0, σ_w²/n), for Q depends on layers below alone
    WᵀΔ′ = Q Γᵀ Δ′ + (1 - Q Qᵀ) Ξ R′     Δ′ = Q′ R′, Ξ = Wᵀ Q′: entries N(0, σ_w²/n) again

The forward pass fixes W on what A spans; across that, W is as independent as it was, and so of Δ′.
This is the law of the batch itself, at any width, for any σ and phase: no order in 1/n is left out,
and z · Δ of each pair of examples is what it is. A draw takes about B/n of the time that weights
take. With a norm in front of a layer, σ takes N(Z), and Δ comes back through N. In NumPy, a loop
over layers for many draws at once: there is nothing to compile.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..arrays.compiled import Number, compiled
from ..network.activations import Activation
from ..network.blocks import Block, Dense, LayerNorm, PostNorm, Residual, RMSNorm
from . import meanfield
from .arguments import Blocks, Names, Numbers, Widths, check_path

DRAWS = 64
AT_ONCE = 2**23  # numbers of the states of as many draws as are followed together

Units = Float[np.ndarray, "draws n B"]
Logs = Float[np.ndarray, "draws B"]


class BatchBand(NamedTuple):
    """The effect of finite width on the gradients of a batch, for one draw of the weights, in nats.

    bias, sd, error: of ln ‖Δz[l]‖ of the whole batch, the root of a mean square over examples;
        error is the standard error of the bias, which is a mean over draws. (depth,) each.
        -inf and nan if Δz is zero in some draw, as in narrow layers of relu.
    mean_bias, mean_sd, mean_error: of the mean over examples of ln ‖Δz[l]‖ of each.
    """

    bias: np.ndarray
    sd: np.ndarray
    error: np.ndarray
    mean_bias: np.ndarray
    mean_sd: np.ndarray
    mean_error: np.ndarray


class Hidden(NamedTuple):
    """A hidden layer: its units and σ, and σ_w, σ_b and the block above it."""

    n: int
    activation: Activation
    sigma_w: float
    sigma_b: float
    block: Block


def batch_band(
    activation: Names,
    sigma_w: Numbers,
    sigma_b: Numbers,
    q0: Number,
    width: Widths,
    depth: int,
    batch: int,
    *,
    hidden: Blocks | None = None,
    c0: Number = 0.0,
    draws: int = DRAWS,
) -> BatchBand:
    """Return what `meanfield.log_delta` differs by for a batch at finite width, by layer.

    Behind RMSNorm and LayerNorm too, in front of a layer or of the branch of a Residual, of which
    `meanfield.log_delta_band` knows nothing.

    Of ln ‖Δz[l]‖ of all examples together, which is what a batch's flow has: a mean over examples
    grows towards the input where their gradients disperse, as in chaos, and not where they turn
    into one direction. And of the mean of ln ‖Δz[l]‖ of each example, whose bias is that of
    `meanfield.log_delta_band`. Arguments as there, and

    Args:
        batch: B, the number of examples. Inputs have the mean square q0 and the correlation c0;
            cotangents have independent random directions, and one size, at the last hidden layer.
        draws: of networks, at least 2; errors fall as the root of their number.

    Raises:
        ValueError: draws below 2, a c0 that B examples cannot have in common, and as
            `meanfield.log_delta_band`.

    Example:
        >>> import jaxnn
        >>> band = jaxnn.theory.batch_band("tanh", 2**0.5, 0.0, 1.0, 32, 24, 4)
        >>> band.bias[0] - band.mean_bias[0] > 3 * band.error[0]  # ln of a mean, mean of ln
        np.True_
    """
    of = check_path(
        activation=activation,
        sigma_w=sigma_w,
        sigma_b=sigma_b,
        q0=q0,
        width=width,
        depth=depth,
        batch=batch,
        hidden=hidden,
        c0=c0,
        draws=draws,
    )
    c0, q0 = float(of["c0"]), float(of["q0"])
    if draws < 2 or c0 < -1 / max(batch - 1, 1):
        raise ValueError(
            f"draws, c0: expected at least 2 draws, and a correlation from -1/(B-1) that {batch} "
            f"examples may have with each other, got {draws} and {c0:g}"
        )
    along = ("activation", "sigma_w", "sigma_b")
    path = (of[name] for name in (*along, "width", "depth", "hidden"))
    meanfield.banded_layers(*(*path, can_be_drawn))
    layers, rng = _layers(of), np.random.default_rng(0)
    w, b = (float(jnp.atleast_1d(of[name])[0]) for name in along[1:])
    parts = max(1, round(draws * batch * sum(layer.n for layer in layers) / AT_ONCE))
    logs = [
        _draw(layers, _first(layers[0].n, batch, len(part), w * q0**0.5, b, c0, rng), rng)
        for part in np.array_split(np.arange(draws), min(parts, draws))
    ]
    theory = meanfield.log_delta(*(of[n] for n in (*along, "q0", "depth")), hidden=of["hidden"])
    return _band(np.concatenate(logs), np.asarray(theory, np.float64))


def can_be_drawn(block: Block) -> bool:
    """Tell whether `batch_band` knows a kind of block.

    Example:
        >>> import jaxnn
        >>> from jaxnn.blocks import BatchNorm, Residual, RMSNorm
        >>> can_be_drawn(Residual(RMSNorm())), can_be_drawn(BatchNorm())
        (True, False)
    """
    if isinstance(block, PostNorm | Residual):
        return can_be_drawn(block.inner)
    inner = block.inner if isinstance(block, RMSNorm | LayerNorm) else block
    return isinstance(inner, Dense)


def _layers(of: dict[str, Any]) -> list[Hidden]:
    """Return the hidden layers of checked arguments; what is above the last does not count."""
    depth = of["depth"]

    def each(name: str) -> tuple[Any, ...]:
        value = of[name]
        return value if isinstance(value, tuple) else (value,) * depth

    def above(name: str) -> list[float]:
        values = np.broadcast_to(np.asarray(of[name], np.float64), depth)
        return [*values[1:].tolist(), float(values[-1])]

    blocks = (*each("hidden")[: depth - 1], each("hidden")[-1])
    own = each("width"), each("activation"), above("sigma_w"), above("sigma_b"), blocks
    return [Hidden(*layer) for layer in zip(*own, strict=True)]


def _first(
    n: int, batch: int, draws: int, scale: float, bias: float, c0: float, rng: np.random.Generator
) -> Units:
    """Return Z[1] of inputs of correlation c0."""
    x = rng.standard_normal((draws, n, batch))
    middle = x.mean(axis=2, keepdims=True)
    x = (1 - c0) ** 0.5 * (x - middle) + max(1 + (batch - 1) * c0, 0) ** 0.5 * middle
    z: Units = scale * x + bias * rng.standard_normal((draws, n, 1))
    return z


def _draw(
    layers: list[Hidden], z: Units, rng: np.random.Generator
) -> Float[np.ndarray, "draws depth B"]:
    """Return ln ‖Δz[l]‖² of each example of each draw, but for a constant."""
    saved = []
    for layer, above in pairwise(layers):
        taken, front = _in_front(layer.block, z)
        a, slopes = _units(layer.activation, taken)
        basis, r = np.linalg.qr(a)
        product = _normal(layer, (len(z), above.n, basis.shape[2]), rng)
        y = product @ r + layer.sigma_b * rng.standard_normal((len(z), above.n, 1))
        z, back = _around(layer.block, z, y)
        saved.append((layer, slopes, basis, product, back, front))
    delta = _units(layers[-1].activation, z)[1] * rng.standard_normal(z.shape)
    log_scale, logs = np.zeros((len(z), 1)), [_log_square(delta)]
    for layer, slopes, basis, product, back, front in reversed(saved):
        skipped, into = back(delta)
        r = np.linalg.qr(into, mode="r")
        free = _normal(layer, (len(z), layer.n, r.shape[1]), rng) @ r
        below = basis @ (product.mT @ into - basis.mT @ free) + free
        delta = skipped + front(slopes * below)
        size = np.sqrt(np.mean(delta**2, axis=(1, 2), keepdims=True))
        size[size == 0] = 1  # units that are all dead
        delta, log_scale = delta / size, log_scale + 2 * np.log(size[..., 0])
        logs.append(log_scale + _log_square(delta))
    return np.stack(logs[::-1], axis=1)


def _log_square(delta: Units) -> Logs:
    """Return ln ‖Δz‖² of each example, -inf for zero."""
    with np.errstate(divide="ignore"):
        logs: Logs = np.log(np.sum(delta**2, axis=1))
    return logs


def _units(activation: Activation, z: Units) -> tuple[Units, Units]:
    """Return σ(z) and σ′(z)."""
    with jax.enable_x64(True):
        a, slopes = map(np.asarray, _of_activation(activation, jnp.asarray(z)))
    return a, slopes


@compiled
def _of_activation(activation: Activation, z: Array) -> tuple[Array, Array]:
    return activation.sigma(z), activation.prime(z)


def _normal(layer: Hidden, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    return np.asarray(layer.sigma_w / layer.n**0.5 * rng.standard_normal(shape))


def _around(
    block: Block, z: Units, y: Units
) -> tuple[Units, Callable[[Units], tuple[Units | float, Units]]]:
    """Return Z′ of a block from Z and the product y of its layer; and from Δ′ those of Z and y."""
    if isinstance(block, Residual):
        above, back = _around(block.inner, z, y)
        c = block.scale

        def beside(delta: Units) -> tuple[Units, Units]:
            skipped, into = back(c * delta)
            return delta + skipped, into

        return z + c * above, beside
    if isinstance(block, PostNorm):
        inside, back = _around(block.inner, z, y)
        normed, below = _normed(inside, block.norm == "layer")
        return normed, lambda delta: back(below(delta))
    return y, lambda delta: (0.0, delta)


def _in_front(block: Block, z: Units) -> tuple[Units, Callable[[Units], Units]]:
    """Return what σ of a block takes, and the way back from its Δ to that of Z."""
    while isinstance(block, PostNorm | Residual):
        block = block.inner
    if isinstance(block, RMSNorm | LayerNorm):
        return _normed(z, isinstance(block, LayerNorm), block.eps)
    return z, lambda delta: delta


def _normed(z: Units, is_centred: bool, eps: float = 0.0) -> tuple[Units, Callable[[Units], Units]]:
    """Return N(z), and its way back."""

    def centred(v: Units) -> Units:
        return v - v.mean(axis=1, keepdims=True) if is_centred else v

    z = centred(z)
    size = np.sqrt(np.mean(z**2, axis=1, keepdims=True) + eps)
    size[size == 0] = 1  # of units that are all zero
    z = z / size

    def below(delta: Units) -> Units:
        along = np.mean(delta * z, axis=1, keepdims=True)
        return centred((delta - z * along) / size)

    return z, below


def _band(logs: Float[np.ndarray, "draws depth B"], theory: np.ndarray) -> BatchBand:
    """Return bias and deviation of draws of ln ‖Δz[l]‖² next to theory of infinite width."""
    whole = (np.logaddexp.reduce(logs, axis=2) - np.log(logs.shape[2])) / 2

    def band(v: Float[np.ndarray, "draws depth"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        with np.errstate(invalid="ignore"):  # of a gradient that is zero in some draw
            v = v - v[:, -1:]
            sd = np.std(v, axis=0, ddof=1)
        return np.mean(v, axis=0) - theory, sd, sd / len(v) ** 0.5

    return BatchBand(*band(whole), *band(np.mean(logs, axis=2) / 2))
