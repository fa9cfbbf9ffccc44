"""Law 2: the mean singular value of a layer is 8σ/(3π), reduced by the slopes of its units.

An n × n matrix of independent entries of variance σ²/n has singular values from 0 to 2σ, on the
quarter circle, with the mean 8σ/(3π). So U(±1/√n), of variance 1/3n, gives 8/(3π√3) = 0.49, and
the normalised U(±√(6/(n+n′))) 0.85: the article's 0.5 and 0.8. The Jacobian of a hidden layer,
diag(σ′(z[l])) θ[l], has smaller ones: with t = σ′(√q g)² the function m(s) of its spectrum solves

    m = 1 / (s + E[t/(1 + t m)]),   and the mean is  2/π ∫ (1 - u² m(u²)) du  over u = 0 … ∞,

because √λ = 2/π ∫ λ/(λ + u²) du. For t = 1 that is 8/(3π) again. Sources: Glorot & Bengio 2010,
section 4.2.1; the equation for m is that of Silverstein & Bai 1995.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn.initializers import variance_scaling

import jaxnn
from experiments.laws.law import Predicted, Setup, Told, mean_of
from experiments.laws.networks import GAUSSIAN, random_rows, square_network
from jaxnn.network.params import Initializer
from jaxnn.theory.quadrature import expectation, solve

NODES = 48  # of the Gauss-Legendre rule for the integral over u: good to 1e-7
ACTIVATION = "tanh"
REASON = "4 standard errors, and (1 + l)/n of it for the finite width"


class Scheme(NamedTuple):
    """Weights of the variance σ_w²/n, and the function that draws them."""

    sigma_w: float
    draw: Initializer


SCHEMES = {
    "standard, U(±1/√n)": Scheme(math.sqrt(1 / 3), variance_scaling(1 / 3, "fan_in", "uniform")),
    "normalised, U(±√(6/2n))": Scheme(1.0, jax.nn.initializers.glorot_uniform()),
    "Gaussian, variance 1/n": Scheme(1.0, GAUSSIAN),
}


def predict(setup: Setup) -> Told:
    """Predict σ_w · 8/(3π) for θ[0]; for hidden layers, with their slopes along the length map."""
    for name, scheme in SCHEMES.items():
        q = jaxnn.theory.meanfield.lengths(ACTIVATION, scheme.sigma_w, 0.0, 1.0, setup.layers)
        slopes = [mean_singular_value(ACTIVATION, float(q_l)) for q_l in q]
        means = scheme.sigma_w * np.array([mean_singular_value("identity", 1.0), *slopes])
        for layer, value in enumerate(means.tolist()):
            allowed = value * (1 + layer) / setup.width
            predicted = Predicted(_case(name, layer), value, allowed, REASON)
            yield predicted.about("mean singular value")


def mean_singular_value(activation: str, q: float) -> float:
    """Return that of diag(σ′(z)) θ: z has mean square q, entries of θ variance 1/n."""
    x, w = np.polynomial.legendre.leggauss(NODES)
    angle = (1 + x) * np.pi / 4
    integrand = np.asarray(_integrand(activation, q, jnp.asarray(np.tan(angle))))
    return float(2 / np.pi * np.sum(np.pi / 4 * w * integrand / np.cos(angle) ** 2))


@partial(jax.jit, static_argnames="activation")
def _integrand(activation: str, q: float, u: jax.Array) -> jax.Array:
    """1 - u² m(u²) = m E[t/(1 + t m)], for each u."""

    def share(m: jax.Array) -> jax.Array:
        def t_over(f: jaxnn.network.Activation, z: jax.Array, g: jax.Array) -> jax.Array:
            t = jnp.square(f.prime(z))
            return t / (1 + t * m)

        return m * expectation(activation, q, t_over)

    def at(u: jax.Array) -> jax.Array:
        # v = u m lies between 0 and 1/u; there v ↦ u v + share(v/u) rises through 1.
        v = solve(lambda v: u * v + share(v / u) - 1, jnp.zeros_like(u), 1 / u)
        return share(v / u)

    return jax.lax.map(at, u)


def measure(setup: Setup, key: jax.Array) -> Told:
    """Measure singular values of θ[0] and of every layer's Jacobian, one network a seed."""
    keys = jax.random.split(key, setup.seeds)
    for name, scheme in SCHEMES.items():
        means = np.array([_means(k, setup.width, setup.layers, scheme.draw) for k in keys])
        for layer in range(means.shape[1]):
            yield _case(name, layer), mean_of(means[:, layer])


@partial(jax.jit, static_argnames=("n", "layers", "draw"))
def _means(key: jax.Array, n: int, layers: int, draw: Initializer) -> jax.Array:
    key_params, key_x = jax.random.split(key)
    net = square_network(n, layers, ACTIVATION)
    params = jaxnn.network.unstack(jaxnn.init(net, key_params, draw, stacked=True))
    z = jaxnn.trace(net, params, random_rows(key_x, 1, n)[0]).z
    primes = [sigma.prime(z_l) for sigma, z_l in zip(net.activations, z[:layers], strict=True)]
    slopes = jnp.stack([jnp.ones(n), *primes])
    thetas = jnp.stack([theta for theta, _ in params])

    def mean_of_layer(factors: tuple[jax.Array, jax.Array]) -> jax.Array:
        slope, theta = factors
        return jnp.mean(jnp.linalg.svd(slope[:, None] * theta, compute_uv=False))

    return jax.lax.map(mean_of_layer, (slopes, thetas))


def _case(scheme: str, layer: int) -> str:
    return f"{scheme}, " + (f"tanh layer {layer}" if layer else "weights alone")


SOURCE = "Glorot & Bengio 2010"
FULL = Setup(width=1000, layers=5, seeds=10)
QUICK = Setup(width=200, layers=2, seeds=6)
