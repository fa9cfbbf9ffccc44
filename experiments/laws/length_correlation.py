"""Law 5: length q and correlation c follow maps, tangents grow by √χ, and order ends at χ = 1.

    q[l+1] = σ_w² E[σ(√q[l] g)²] + σ_b²   and   c[l+1] = (σ_w² E[σ(z) σ(z̃)] + σ_b²) / q[l+1]

q tends to q*, c to 1 in order (χ < 1) and to c* < 1 in chaos (χ > 1); a tangent vector, which is
the difference of two inputs very close to each other, grows by √χ a layer. Order becomes chaos
where σ_w crosses the critical value. A finite width shifts q[l] by `finite.spread`, the growth by
`finite.slope`, and so the critical σ_w by as much over the slope of ½ ln χ. Source: Poole et al.
2016, arXiv:1606.05340, sections 2 and 3.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import jaxnn
from experiments.laws.finite import slope, spread
from experiments.laws.law import Predicted, Setup, Told, mean_of
from experiments.laws.networks import (
    HiddenLayers,
    Start,
    draw,
    fixed_point,
    random_rows,
    square_network,
)
from jaxnn.theory import meanfield

ACTIVATION, SIGMA_B = "tanh", 0.3
SIGMA_W = (1.3, 2.5, 4.0)
NEAR = (-0.1, -0.05, 0.0, 0.05, 0.1)  # around the critical σ_w, where growth changes its sign
Q0, C0 = 1.0, 0.6  # mean square and correlation of the two inputs

EDGE = "σ_w where order becomes chaos"
LESS = 0.01  # of E[σ(z) σ(z̃)], for the change of c that it makes; with more, c stays 1 in order


def predict(setup: Setup) -> Told:
    """Predict by iterating the two maps; ½ ln χ(q*) with the bias of n; and the critical σ_w."""
    half = setup.layers // 2
    reason = "4 standard errors, and 2/n for the finite width"
    for sigma_w in SIGMA_W:
        series = f"σ_w = {sigma_w:g}"
        q, c = _maps(sigma_w, setup.layers)
        ensemble = HiddenLayers(ACTIVATION, sigma_w, SIGMA_B)
        late_q = float((q + spread(ensemble, q, setup.width).bias)[half:].mean())
        other_q, other_c = _maps(sigma_w, setup.layers, 1 - LESS)
        less_q, late_c, less_c = (float(v[half:].mean()) for v in (other_q, c, other_c))
        yield from [
            Predicted(f"{series}: q*", late_q).about(
                "E[σ(z)²]", (float(q[half:].mean()) - less_q) / LESS
            ),
            Predicted(f"{series}: c[l], late layers", late_c, 2 / setup.width, reason).about(
                "E[σ(z) σ(z̃)]", (late_c - less_c) / LESS
            ),
        ]
        yield _growth(f"{series}: growth of a tangent", sigma_w, setup)
    yield _edge(setup)


def _maps(sigma_w: float, layers: int, part: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """q[l] and c[l], each (layers,); with `part` of E[σ(z)²] in q, of E[σ(z) σ(z̃)] in c."""
    ensemble = HiddenLayers(ACTIVATION, sigma_w, SIGMA_B)
    q = meanfield.lengths(*ensemble, Q0, layers)

    def layer(c: jax.Array, q: jax.Array) -> tuple[jax.Array, jax.Array]:
        above, biases = meanfield.correlation_map(*ensemble, q, c), SIGMA_B**2 / q
        return jnp.minimum(biases + part * (above - biases), 1.0), c

    first = (sigma_w**2 * C0 * Q0 + SIGMA_B**2) / q[0]  # z[1] is linear in the input
    c = lax.scan(layer, first, q)[1]
    others = meanfield.lengths(ACTIVATION, sigma_w * math.sqrt(part), SIGMA_B, Q0, layers)
    return np.asarray(others), np.asarray(c)


def _start(sigma_w: float) -> Start:
    return fixed_point(HiddenLayers(ACTIVATION, sigma_w, SIGMA_B))


def _growth(case: str, sigma_w: float, setup: Setup) -> Predicted:
    """Predict a slope that is fitted to the late layers."""
    late = setup.layers - setup.layers // 2
    return slope(case, _start(sigma_w), setup.width, late, setup.seeds)


def _near() -> np.ndarray:
    """Values of σ_w around the critical one."""
    with jax.enable_x64(True):
        return float(meanfield.critical_sigma_w(ACTIVATION, SIGMA_B)) + np.array(NEAR)


def _edge(setup: Setup) -> Predicted:
    """Critical σ_w, at which a tangent neither grows nor shrinks: ½ ln χ being its bias."""
    low, _, critical, _, high = map(float, _near())
    start = _start(critical)
    rise = (_start(high).half_log_chi - _start(low).half_log_chi) / (high - low)
    growth = _growth("", critical, setup)
    value = critical - (growth.value - start.half_log_chi) / rise
    reason = "4 standard errors, and the next order in 1/n of the growth's bias"
    return Predicted(EDGE, value, growth.allowed / rise, reason).about("χ", -0.5 / rise)


def measure(setup: Setup, key: jax.Array) -> Told:
    """Send two inputs and a tangent through networks; each seed's draws serve every σ_w."""
    keys = jax.random.split(key, setup.seeds)
    layer, half = np.arange(1, setup.layers + 1), setup.layers // 2
    sigmas = np.array([*SIGMA_W, *_near()])
    q, c, log_tangent = (
        np.asarray(v, np.float64) for v in _paths(keys, sigmas, setup.width, setup.layers)
    )
    growth = np.array([np.polyfit(layer[half:], v[:, half:].T, 1)[0] for v in log_tangent])
    for i, sigma_w in enumerate(SIGMA_W):
        series = f"σ_w = {sigma_w:g}"
        yield f"{series}: q*", mean_of(q[i][:, half:].mean(axis=1))
        yield f"{series}: c[l], late layers", mean_of(c[i][:, half:].mean(axis=1))
        yield f"{series}: growth of a tangent", mean_of(growth[i])
    rise, height = np.polyfit(_near(), growth[len(SIGMA_W) :], 1)
    yield EDGE, mean_of(-height / rise)


@partial(jax.jit, static_argnames=("n", "layers"))
def _paths(
    keys: jax.Array, sigmas: jax.Array, n: int, layers: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """q[l], c[l] and ln of the length of a tangent vector, (σ_w, seeds, layers) each."""
    net = square_network(n, layers, ACTIVATION)

    def path(sigma_w: jax.Array, key: jax.Array) -> tuple[jax.Array, ...]:
        key_params, key_x, key_other, key_tangent = jax.random.split(key, 4)
        params = draw(net, key_params, sigma_w, SIGMA_B)
        x, other, along = (random_rows(k, 1, n)[0] for k in (key_x, key_other, key_tangent))
        y = C0 * x + math.sqrt(1 - C0**2) * other

        def hidden(x: jax.Array) -> jax.Array:
            first, run, _ = jaxnn.trace(net, params, x).z
            return jnp.concatenate([first[None], run])

        z, tangent = jax.jvp(hidden, (x,), (along,))
        z_y = hidden(y)
        length, length_y = (jnp.linalg.norm(v, axis=1) for v in (z, z_y))
        c = jnp.sum(z * z_y, axis=1) / (length * length_y)
        return length**2 / n, c, jnp.log(jnp.linalg.norm(tangent, axis=1))

    return lax.map(lambda sigma_w: lax.map(partial(path, sigma_w), keys), sigmas)


SOURCE = "Poole et al. 2016"
FULL = Setup(width=500, layers=40, seeds=20)
QUICK = Setup(width=200, layers=30, seeds=20)
