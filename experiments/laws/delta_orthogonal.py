"""Law 23: 1000 delta-orthogonal convolutions keep a signal and its place; Gaussian ones blur it.

A delta-orthogonal kernel is zero but for its central tap, an orthogonal matrix. Each position then
has a plain orthogonal network of its own: ln ‖z[L]‖/‖z[0]‖ is 0 of a linear one, and of tanh with
q[0] = 1/L it is ½ ln q[L]/q[0], q′ = E[tanh(√q g)²], about -½ ln 3; so is that of the gradient,
½ Σ ln E[tanh′²] = -∫ q dl. n channels lie on a sphere, E z⁴ = 3 q² r with r = n/(n+2), and so q
falls by 2 r q² a layer: q[L]/q[0] = 1/(1 + 2r). What Δ has along z falls by 3 r q a layer, what it
has across by r q, and 1/n of a random Δ² is along: together (1 - 1/n)/(1+2r) + (1/n)/(1+2r)³.

A Gaussian kernel whose variance is spread evenly over 2k+1 taps mixes positions: what differs
between them, as a wave of frequency f of N in the mean square, is multiplied in each layer by

    λ = (1 + 2 Σ_{j ≤ k} cos(2π f j/N)) / (2k+1)

for E‖z′[α]‖² is the mean over α-k … α+k: exact for linear layers at any width. So depth keeps only
what is alike at all positions. Source: Xiao et al. 2018, arXiv:1806.05393.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import jaxnn
from experiments.laws.law import Predicted, Setup, Told, mean_of
from jaxnn.theory import meanfield

LINEAR, TANH = "linear", "tanh, q[0] = 1/L"
SPREAD, DELTA = "Gaussian, spread evenly", "delta-orthogonal"
PART = 0.8  # of the mean square, that the wave is at first
TAPS = 3


def slower(n: int) -> tuple[float, float]:
    """Return what n channels add to ln of length and of gradient: q falls more slowly."""
    across = 1 / (1 + 2 * n / (n + 2))
    gradient = (1 - 1 / n) * across + across**3 / n
    return 0.5 * math.log(3 * across), 0.5 * math.log(3 * gradient)


def faded(positions: int) -> float:
    """Return λ of the lowest frequency and three taps."""
    return (1 + 2 * math.cos(2 * math.pi / positions)) / TAPS


def predict(setup: Setup) -> Told:
    """Predict lengths and gradients over L layers, and what is left of a wave."""
    n, layers, (_, deep, _) = setup.width, setup.layers, setup.wave
    q = np.asarray(meanfield.lengths("tanh", 1.0, 0.0, 1 / layers, layers + 1))
    gradient = float(meanfield.log_delta("tanh", 1.0, 0.0, 1 / layers, layers + 1)[0])
    path = 0.5 * np.log(q / q[0])
    more_length, more_gradient = slower(n)
    rounding = layers * float(np.finfo(np.float32).eps)
    reason = "4 standard errors, 2/L of the steps, and rounding, L · 2⁻²³"
    allowed, curvature = 2 / layers + rounding, "curvature of tanh"
    fade = faded(setup.positions)
    left = PART * fade**deep
    ends = {"signal": float(path[-1]) + more_length, "gradient": gradient + more_gradient}
    for what in ends:
        yield Predicted(f"{LINEAR}: {what}", 0.0, rounding, "rounding, L · 2⁻²³", errors=0)
    for what, value in ends.items():
        yield Predicted(f"{TANH}: {what}", value, allowed, reason).about(curvature, -1 / 3)
    yield Predicted(f"{SPREAD}: wave", left).about("λ", deep * left)
    yield Predicted(f"{DELTA}: wave", PART, 1e-4, "rounding", errors=0)


def measure(setup: Setup, key: jax.Array) -> Told:
    """Send signals and cotangents through convolutions of JAX, on a ring of positions."""
    n, positions, layers = setup.width, setup.positions, setup.layers
    channels, deep, networks = setup.wave
    keys = jax.random.split(key, setup.seeds)
    for name, activation, q0 in ((LINEAR, "identity", 1.0), (TANH, "tanh", 1 / layers)):
        square, log_gradient = _through(
            keys, n, layers, activation, jnp.full(positions, q0), orthogonal=True
        )
        log_z = 0.5 * np.log(np.asarray(square, np.float64).mean(axis=2))
        along = log_z - log_z[:, :1]
        yield f"{name}: signal", mean_of(along[:, -1])
        yield f"{name}: gradient", mean_of(log_gradient)
    keys = jax.random.split(key, networks)
    wave = np.cos(2 * np.pi * np.arange(positions) / positions)
    for name, orthogonal in ((SPREAD, False), (DELTA, True)):
        of_kind = channels, deep, "identity", jnp.asarray(1 + PART * wave, float), orthogonal
        square = np.asarray(_through(keys, *of_kind)[0], np.float64)
        part = 2 * np.mean(square * wave, axis=2)
        yield f"{name}: wave", mean_of(part[:, -1])


def convolved(a: jax.Array, kernel: jax.Array) -> jax.Array:
    """Return a, (positions, n), convolved on a ring with a kernel, (taps, n, n)."""
    around = jnp.concatenate([a[-1:], a, a[:1]])
    return lax.conv_general_dilated(
        around[None], kernel, (1,), "VALID", dimension_numbers=("NWC", "WIO", "NWC")
    )[0]


def kernel_of(key: jax.Array, n: int, orthogonal: bool) -> jax.Array:
    """Draw a kernel, (taps, n, n): zero but for an orthogonal central tap, or Gaussian."""
    if not orthogonal:
        return jax.random.normal(key, (TAPS, n, n)) / math.sqrt(TAPS * n)
    tap = jaxnn.initializers.orthogonal(1.0)(key, (n, n))
    return jnp.zeros((TAPS, n, n)).at[TAPS // 2].set(tap)


@partial(jax.jit, static_argnames=("n", "layers", "activation", "orthogonal"))
def _through(
    keys: jax.Array, n: int, layers: int, activation: str, square: jax.Array, orthogonal: bool
) -> tuple[jax.Array, jax.Array]:
    """z² by layer and position, (seeds, L + 1, N), and ln ‖Δz[0]‖/‖Δz[L]‖, (seeds,).

    The inputs have a mean square of their own at each position.
    """
    sigma = jaxnn.network.find_activation(activation).sigma

    def one(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        of_kernels, of_input, of_delta = jax.random.split(key, 3)
        z = jax.random.normal(of_input, (len(square), n))
        z = z * jnp.sqrt(square[:, None] / jnp.mean(jnp.square(z), axis=1, keepdims=True))

        def layer(z: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
            above = convolved(sigma(z), kernel_of(key, n, orthogonal))
            return above, jnp.mean(jnp.square(above), axis=1)

        def up(z: jax.Array) -> tuple[jax.Array, jax.Array]:
            return lax.scan(layer, z, jax.random.split(of_kernels, layers))

        _, down, of_layers = jax.vjp(up, z, has_aux=True)
        delta = jax.random.normal(of_delta, z.shape)
        gradient = jnp.log(jnp.linalg.norm(down(delta)[0]) / jnp.linalg.norm(delta))
        return jnp.concatenate([square[None], of_layers]), gradient

    return lax.map(one, keys)


SOURCE = "Xiao et al. 2018"
# wave: channels, layers and networks of it.
FULL = Setup(width=48, positions=8, layers=1000, seeds=8, wave=(96, 12, 200))
QUICK = Setup(width=32, positions=8, layers=1000, seeds=4, wave=(48, 8, 150))
