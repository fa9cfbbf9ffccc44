"""Law 24: a gradient changes by √χ a step in time; a gate's bias brings χ towards 1.

z′ = tanh(z) θ + ξ, with inputs ξ of variance σ_x² that are new in each step, has the q* and χ of a
plain network whose σ_b is σ_x: at the critical σ_w a gradient survives. With a gate u = sigmoid(k)
before each unit, h′ = u h + (1-u) x, k = h θ + ξ + b and x of variance 1,

    q = E[u²] q + E[(1-u)²]    k ~ N(b, σ_w² q + σ_x²)    χ = E[u²] + σ_w² E[(u (1-u))²] (q + 1)

so that b moves χ towards 1 for every σ_w. Theory draws θ anew in each step. That makes no
difference without gates, where what goes down is independent of the slopes; nor with gates that see
the inputs alone (σ_w = 0), where E‖Δ‖² is exact at any width. Gates that see h remember: k of
neighbouring steps is alike, and so is u. There one θ for all steps, which is shown and not
compared, decays more slowly than theory says. Source: Chen, Pennington & Schoenholz 2018,
arXiv:1806.05394.

Without gates the mean of ln ‖Δ‖ has the bias of `finite.slope`; with gates ln E‖Δ‖² is compared.
"""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from experiments.laws.finite import slope
from experiments.laws.law import (
    Predicted,
    Setup,
    Told,
    log_mean_of,
    mean_of,
)
from experiments.laws.networks import HiddenLayers, Start, fixed_point, random_rows
from jaxnn.theory import meanfield

SIGMA_X = math.sqrt(0.05)
ORDER, CRITICAL, CHAOS = "σ_w = 1", "critical σ_w", "σ_w = 1.8"
GATES = {  # σ_w, b
    "gates see inputs, b = 2": (0.0, 2.0),
    "gates see h too, b = 2": (1.5, 2.0),
    "gates see h too, b = 0": (1.5, 0.0),
}
SIGMA_GATE = 1.0  # σ_x in k
NODES = np.linspace(-8, 8, 401)  # of a Gaussian, for smooth functions exact
DENSITY = np.exp(-(NODES**2) / 2) / np.sum(np.exp(-(NODES**2) / 2))


def starts() -> dict[str, Start]:
    """Return networks without gates, as plain ones whose σ_b is σ_x."""
    with jax.enable_x64(True):
        critical = float(meanfield.critical_sigma_w("tanh", SIGMA_X))
    sigmas = {ORDER: 1.0, CRITICAL: critical, CHAOS: 1.8}
    return {name: fixed_point(HiddenLayers("tanh", v, SIGMA_X)) for name, v in sigmas.items()}


def gate(sigma_w: float, b: float) -> tuple[float, float]:
    """Return the fixed point q of a gated network, and χ there."""
    q, before = 1.0, 0.0
    while abs(q - before) > 1e-13:
        u = 1 / (1 + np.exp(-b - math.sqrt(sigma_w**2 * q + SIGMA_GATE**2) * NODES))
        before, q = q, float((DENSITY @ (1 - u) ** 2) / (1 - DENSITY @ u**2))
    moved = sigma_w**2 * (DENSITY @ (u * (1 - u)) ** 2) * (q + 1)
    return q, float(DENSITY @ u**2 + moved)


def predict(setup: Setup) -> Told:
    """Predict ½ ln χ without gates, and T ln χ with them."""
    n, steps, seeds = setup.width, setup.steps, setup.seeds
    for name, start in starts().items():
        reason = "4 standard errors, and the next order in 1/n of the bias"
        rate = slope(f"{name}: nats a step", start, n, steps, seeds)
        yield rate._replace(reason=reason, deviation=None)
    for name, (sigma_w, b) in GATES.items():
        log_chi = math.log(gate(sigma_w, b)[1])
        allowed = steps / n if sigma_w else 0.0
        reason = "4 standard errors, and 1/n a step where gates see h"
        yield Predicted(f"{name}: ln E‖Δ‖²", steps * log_chi, allowed, reason).about(
            "χ of gates", float(steps)
        )


def measure(setup: Setup, key: jax.Array) -> Told:
    """Run networks forward from q*, and a random cotangent back through time."""
    n, steps, seeds = setup.width, setup.steps, setup.seeds
    keys = jax.random.split(key, seeds)

    def logs_of(step: Any, of_kind: tuple[float, ...], *, same: bool) -> np.ndarray:
        return np.asarray(_passes(keys, n, steps, step, of_kind, same), np.float64)

    for name, start in starts().items():
        of_kind = (start.ensemble.sigma_w, 0.0, start.q)
        log_delta = logs_of(_tanh, of_kind, same=True)
        yield f"{name}: nats a step", mean_of(log_delta[:, -1] / steps)
    for name, (sigma_w, b) in GATES.items():
        of_kind = (sigma_w, b, gate(sigma_w, b)[0])
        log_square = 2 * logs_of(_gated, of_kind, same=not sigma_w)
        yield f"{name}: ln E‖Δ‖²", log_mean_of(log_square[:, -1])


def _tanh(z: jax.Array, theta: jax.Array, b: jax.Array, key: jax.Array) -> jax.Array:
    return jnp.tanh(z) @ theta + b + SIGMA_X * jax.random.normal(key, z.shape)


def _gated(h: jax.Array, theta: jax.Array, b: jax.Array, key: jax.Array) -> jax.Array:
    of_gate, of_input = jax.random.normal(key, (2, *h.shape))
    u = jax.nn.sigmoid(h @ theta + SIGMA_GATE * of_gate + b)
    return u * h + (1 - u) * of_input


@partial(jax.jit, static_argnames=("n", "steps", "step", "same"))
def _passes(
    keys: jax.Array, n: int, steps: int, step: Any, of_kind: tuple[jax.Array, ...], same: bool
) -> jax.Array:
    """Ln ‖Δ‖ after so many steps back, of every network."""
    sigma_w, b, q = of_kind

    def one(key: jax.Array) -> jax.Array:
        of_weights, of_inputs, of_start, of_delta = jax.random.split(key, 4)
        inputs = jax.random.split(of_inputs, steps)

        def after(z: jax.Array, t: jax.Array) -> jax.Array:
            of_step = jax.random.fold_in(of_weights, 0 if same else t)
            theta = sigma_w / math.sqrt(n) * jax.random.normal(of_step, (n, n))
            return step(z, theta, b, inputs[t])

        def forward(z: jax.Array, t: jax.Array) -> tuple[jax.Array, jax.Array]:
            return after(z, t), z

        def back(delta: jax.Array, at: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            z, t = at
            below = jax.vjp(partial(after, t=t), z)[1](delta)[0]
            return below, jnp.log(jnp.linalg.norm(below))

        time = jnp.arange(steps)
        zs = lax.scan(forward, jnp.sqrt(q) * jax.random.normal(of_start, (n,)), time)[1]
        delta = random_rows(of_delta, 1, n, 1 / n)[0]
        logs = lax.scan(back, delta, (zs, time), reverse=True)[1]
        return jnp.append(logs, 0.0)[::-1]

    return lax.map(one, keys)


SOURCE = "Chen, Pennington & Schoenholz 2018"
FULL = Setup(width=300, steps=40, seeds=40)
QUICK = Setup(width=150, steps=20, seeds=40)
