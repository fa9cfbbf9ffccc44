"""Activations: σ and its derivative σ′ side by side, each written by hand.

An activation acts on every entry of z alone, so one unary function and its derivative say
everything about it: the forward pass needs σ(z), the backward pass σ′(z), and nothing else does.

Three rules hold for every entry of the table:

* σ′ is accurate relative to its own size, also where σ saturates. The article's a (1 - a) is
  σ(z) σ(-z); written that way it keeps the tail that 1 - a rounds to zero, and the tail decides
  whether a gradient has vanished or only become small.
* ±inf gives the limit (sin has none and gives nan), nan stays nan, and the result has the dtype of
  z. Products like z · σ(z) would be inf · 0 there; a finite substitute for z avoids that.
* At a kink σ′ has the value of JAX's own derivative; `kinks` lists those points. The `where`s are
  written so that automatic differentiation of σ agrees: `maximum(z, 0)` would give ½ at 0.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ..arrays.rows import ScaledRows
from ..texts import told

POINTS = np.linspace(-4, 4, 64, dtype=np.float32)  # none of them near a kink at an integer
WRONG = 0.01  # a difference of slopes that is no rounding

Elementwise = Callable[[Float[Array, "..."]], Float[Array, "..."]]


@jax.tree_util.register_static
@dataclass(frozen=True)
class Activation:
    """An activation function σ with its derivative σ′.

    Args:
        name: its name in tables and charts.
        sigma: z -> σ(z), entry by entry; keeps shape and dtype.
        prime: z -> σ′(z) = dσ/dz, entry by entry; keeps shape and dtype. Derived from σ if it is
            left out; if not, a network compares it with what is derived.
        kinks: the points where σ′ jumps; there `prime` gives one of the two one-sided values.
        homogeneous: whether σ(cz) = c σ(z) for every c > 0; a signal is then measured beyond the
            range of a float too.
        increasing: whether σ′ >= 0 for every z; |σ′| is then σ′ itself.
        surrogate: whether `prime` is meant to differ from σ′, as that of a step function is.

    Hashable and static under `jax.jit`. Two are equal if their fields are, so make your own once,
    at module level: with a new lambda in each call, each call compiles again.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> cube = jaxnn.network.Activation("cube", sigma=lambda z: z**3)
        >>> float(cube.prime(jnp.array(2.0)))
        12.0
        >>> net = jaxnn.Network(sizes=(3, 4, 1), activation=cube, task="regression")
        >>> jaxnn.forward(net, jaxnn.init(net, jax.random.key(0)), jnp.ones(3)).shape
        (1,)
    """

    name: str
    sigma: Elementwise
    prime: Elementwise = None  # type: ignore[assignment]  # is derived then
    kinks: tuple[float, ...] = ()
    homogeneous: bool = False
    increasing: bool = False
    surrogate: bool = False

    def __post_init__(self) -> None:
        if self.prime is None:
            object.__setattr__(self, "prime", DerivedSlope(self.sigma))


@dataclass(frozen=True)
class DerivedSlope:
    """σ′ of a σ that acts on every entry alone, by automatic differentiation."""

    sigma: Elementwise

    def __call__(self, z: Float[Array, "..."]) -> Float[Array, "..."]:
        slope: Array = jax.jvp(self.sigma, (z,), (jnp.ones_like(z),))[1]
        return slope


def _largest(z: Array) -> float:
    return float(jnp.finfo(z.dtype).max)  # type: ignore[no-untyped-call]


def _finite(z: Array) -> Array:
    """Replace ±inf by the largest finite floats; nan stays."""
    return jnp.clip(z, -_largest(z), _largest(z))


def _above(z: Array) -> Array:
    """Replace -inf by the lowest finite float; inf and nan stay."""
    return jnp.maximum(z, -_largest(z))


# σ(z) = z


def identity(z: Array) -> Array:
    return z


def _identity_prime(z: Array) -> Array:
    return jnp.where(jnp.isnan(z), z, jnp.ones_like(z))


# σ(z) = 1 / (1 + e^-z);  σ′ = σ(z) (1 - σ(z)) = σ(z) σ(-z) = e / (1 + e)² with e = e^-|z|


def _sigmoid_prime(z: Array) -> Array:
    e = jnp.exp(-jnp.abs(z))
    return e / jnp.square(1 + e)


# σ(z) = tanh z;  σ′ = 1 - tanh² z = sech² z = 4 e / (1 + e)² with e = e^-2|z|


def _tanh_prime(z: Array) -> Array:
    return 4 * _sigmoid_prime(2 * z)


# σ(z) = max(z, 0);  σ′ = 1 for z > 0, else 0


def _relu(z: Array) -> Array:
    return jnp.where(z <= 0, 0, z)


def _step(z: Array, inside: Array, low: float = 0.0) -> Array:
    """1 where `inside` holds, else `low`, in z's dtype; nan where z is nan."""
    one = jnp.ones_like(z)
    return jnp.where(jnp.isnan(z), z, jnp.where(inside, one, low * one))


def _relu_prime(z: Array) -> Array:
    return _step(z, z > 0)


# σ(z) = z for z >= 0, else 0.01 z

LEAKY_SLOPE = 0.01


def _leaky_relu(z: Array) -> Array:
    return jnp.where(z >= 0, z, LEAKY_SLOPE * z)


def _leaky_relu_prime(z: Array) -> Array:
    return _step(z, z >= 0, LEAKY_SLOPE)


# σ(z) = z for z > 0, else e^z - 1;  σ′ = 1 for z > 0, else e^z


def _below(z: Array) -> Array:
    """min(z, 0), so that exp cannot overflow."""
    return jnp.where(z > 0, 0, z)


def _elu(z: Array) -> Array:
    return jnp.where(z > 0, z, jnp.expm1(_below(z)))


def _elu_prime(z: Array) -> Array:
    return jnp.exp(_below(z))


# σ(z) = λ z for z > 0, else λ α (e^z - 1): Klambauer et al. 2017, arXiv:1706.02515, eqs 2 and 14

SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946


def _selu(z: Array) -> Array:
    return SELU_SCALE * jnp.where(z > 0, z, SELU_ALPHA * jnp.expm1(_below(z)))


def _selu_prime(z: Array) -> Array:
    return SELU_SCALE * jnp.where(z > 0, 1, SELU_ALPHA * jnp.exp(_below(z)))


# σ(z) = ln(1 + e^z) = max(z, 0) + ln(1 + e^-|z|);  σ′ = 1 / (1 + e^-z)


def _softplus(z: Array) -> Array:
    return jnp.logaddexp(z, 0)


# σ(z) = z / (1 + |z|);  σ′ = 1 / (1 + |z|)²


def _softsign(z: Array) -> Array:
    z = _finite(z)
    return z / (1 + jnp.abs(z))


def _softsign_prime(z: Array) -> Array:
    return jnp.square(1 / (1 + jnp.abs(z)))


# σ(z) = z s(z) with s the sigmoid;  σ′ = s(z) (1 + z s(-z))


def _silu(z: Array) -> Array:
    return _above(z) * lax.logistic(z)


def _silu_prime(z: Array) -> Array:
    return lax.logistic(z) * (1 + _finite(z) * lax.logistic(-z))


# σ(z) = z Φ(z) with Φ(z) = ½ erfc(-z/√2);  σ′ = Φ(z) + z φ(z), φ = Φ′: arXiv:1606.08415, section 2


def _normal_cdf(z: Array) -> Array:
    return 0.5 * lax.erfc(-math.sqrt(0.5) * z)


def _gelu(z: Array) -> Array:
    return _above(z) * _normal_cdf(z)


def _gelu_prime(z: Array) -> Array:
    density = math.sqrt(0.5 / math.pi) * jnp.exp(-0.5 * jnp.square(z))
    return _normal_cdf(z) + _finite(z) * density


# σ(z) = ½ z (1 + tanh u) with u = √(2/π) (z + 0.044715 z³);  σ′ = ½ (1 + tanh u) + ½ z u′ sech² u
# Beyond |z| = 30 sech² u is below every float, while z u′ may leave the range: hence the clip.

GELU_CUBIC = 0.044715


def _gelu_tanh_u(z: Array) -> Array:
    return math.sqrt(2 / math.pi) * z * (1 + GELU_CUBIC * jnp.square(z))


def _gelu_tanh(z: Array) -> Array:
    # ½ (1 + tanh u) = sigmoid(2u), which keeps the left tail that 1 + tanh u rounds to zero.
    return _above(z) * lax.logistic(2 * _gelu_tanh_u(z))


def _gelu_tanh_prime(z: Array) -> Array:
    z = jnp.clip(z, -30, 30)
    u = _gelu_tanh_u(z)
    u_prime = math.sqrt(2 / math.pi) * (1 + 3 * GELU_CUBIC * jnp.square(z))
    return lax.logistic(2 * u) + 0.5 * z * u_prime * _tanh_prime(u)


# σ(z) = z tanh(softplus z);  σ′ = tanh(softplus z) + z sech²(softplus z) s(z): arXiv:1908.08681


def _mish(z: Array) -> Array:
    return _above(z) * jnp.tanh(_softplus(z))


def _mish_prime(z: Array) -> Array:
    p = _softplus(z)
    return jnp.tanh(p) + _finite(z) * (_tanh_prime(p) * lax.logistic(z))


# σ(z) = erf z;  σ′ = 2/√π e^-z²


def _erf_prime(z: Array) -> Array:
    return 2 / math.sqrt(math.pi) * jnp.exp(-jnp.square(z))


# σ(z) = min(max(z, -1), 1);  σ′ = 1 for -1 <= z <= 1, else 0


def _hard_tanh(z: Array) -> Array:
    return jnp.where(z > 1, 1, jnp.where(z < -1, -1, z))


def _hard_tanh_prime(z: Array) -> Array:
    return _step(z, jnp.abs(z) <= 1)


# σ(z) = min(max(z, 0), 6);  σ′ = 1 for 0 < z < 6, else 0


def _relu6(z: Array) -> Array:
    return jnp.where(z <= 0, 0, jnp.where(z >= 6, 6, z))


def _relu6_prime(z: Array) -> Array:
    return _step(z, (z > 0) & (z < 6))


ACTIVATIONS: dict[str, Activation] = {
    activation.name: activation
    for activation in (
        Activation("identity", identity, _identity_prime, homogeneous=True, increasing=True),
        Activation("sigmoid", lax.logistic, _sigmoid_prime, increasing=True),
        Activation("tanh", lax.tanh, _tanh_prime, increasing=True),
        Activation("relu", _relu, _relu_prime, kinks=(0.0,), homogeneous=True, increasing=True),
        Activation(
            "leaky_relu",
            _leaky_relu,
            _leaky_relu_prime,
            kinks=(0.0,),
            homogeneous=True,
            increasing=True,
        ),
        Activation("elu", _elu, _elu_prime, increasing=True),
        Activation("selu", _selu, _selu_prime, kinks=(0.0,), increasing=True),
        Activation("softplus", _softplus, lax.logistic, increasing=True),
        Activation("softsign", _softsign, _softsign_prime, increasing=True),
        Activation("silu", _silu, _silu_prime),
        Activation("gelu", _gelu, _gelu_prime),
        Activation("gelu_tanh", _gelu_tanh, _gelu_tanh_prime),
        Activation("mish", _mish, _mish_prime),
        Activation("erf", lax.erf, _erf_prime, increasing=True),
        Activation("sin", lax.sin, lax.cos),
        Activation("hard_tanh", _hard_tanh, _hard_tanh_prime, kinks=(-1.0, 1.0), increasing=True),
        Activation("relu6", _relu6, _relu6_prime, kinks=(0.0, 6.0), increasing=True),
    )
}


def find_activation(activation: str | Activation) -> Activation:
    """Return the activation of a name; an Activation is returned as it is.

    Raises:
        ValueError: the name is not in `ACTIVATIONS`; the message lists those that are.
        TypeError: it is neither a name nor an Activation.

    Example:
        >>> import jax, jaxnn
        >>> float(jaxnn.network.find_activation("tanh").prime(jax.numpy.zeros(())))
        1.0
    """
    if isinstance(activation, Activation):
        return activation
    if not isinstance(activation, str):
        raise TypeError(
            f"activation: expected a name or a jaxnn.network.Activation, got {told(activation)}; "
            "make one with jaxnn.network.Activation(name, sigma)"
        )
    if activation not in ACTIVATIONS:
        raise ValueError(
            f"activation: there is no {activation!r}; choose one of {', '.join(ACTIVATIONS)}"
        )
    return ACTIVATIONS[activation]


def check_slope(activation: Activation) -> None:
    """Raise ValueError unless σ′ is what automatic differentiation makes of σ, away from kinks."""
    is_ours = ACTIVATIONS.get(activation.name) == activation
    if not (is_ours or activation.surrogate or isinstance(activation.prime, DerivedSlope)):
        _check_slope(activation)


@lru_cache(maxsize=64)
def _check_slope(activation: Activation) -> None:
    with jax.ensure_compile_time_eval():
        z = jnp.asarray(POINTS)
        given, derived = activation.prime(z), DerivedSlope(activation.sigma)(z)
        off = jnp.abs(given - derived) / (jnp.abs(derived) + 1)
        worst = int(jnp.argmax(jnp.nan_to_num(off)))
        if off[worst] > WRONG:
            raise ValueError(
                f"prime: expected σ′ of {activation.name!r}, {derived[worst]:.4g} at z = "
                f"{z[worst]:.3g}, got {given[worst]:.4g}; leave it out to have it derived, or say "
                "surrogate=True if another slope is meant"
            )


def apply_activation(sigma: Activation, v: ScaledRows) -> ScaledRows:
    """Return σ(v) of rows, (B, n); with exponents σ(m) 2^e.

    Only a homogeneous σ, such as relu, is given rows with exponents on the way up.

    Example:
        >>> import jax.numpy as jnp, jaxnn
        >>> from jaxnn.blocks import ScaledRows, apply_activation
        >>> relu = jaxnn.network.find_activation("relu")
        >>> print(apply_activation(relu, ScaledRows(jnp.array([[-1.0, 2.0]]))).m)
        [[0. 2.]]
    """
    return v._replace(m=sigma.sigma(v.m))
