"""A kind of block of your own: a layer behind a constant gate, its reverse rule and its theory.

    z[l+1] = g z[l] + (1 - g) f(z[l]),    f(z) = σ(z) θ + b,    0 <= g <= 1

Read it from top to bottom. A block is a class that is frozen and has three methods, and five more
if it shall have a theory; the rest of jaxnn then takes it like its own. Everything used here is in
the reference. Examples are rows, Δv is the derivative of the loss with respect to v.

    python -m pip install -e .
    python examples/own_block.py
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

import jaxnn
from jaxnn.blocks import (
    Gradient,
    apply_activation,
    matmul,
    outer,
    plus,
    scaled,
    shifted,
    slope,
    sum_rows,
)


@dataclass(frozen=True)
class ConstantGate:
    """z′ = g z + (1 - g) (σ(z) θ + b)."""

    g: float = 0.9

    # 1. Forward. z are rows with an exponent each, which the operations of jaxnn.blocks take care
    # of: what is written with them goes on where a float ends. The second result is whatever the
    # way back would compute again at some cost; here it is nothing.
    def forward(self, sigma, layer, z):
        f = shifted(matmul(apply_activation(sigma, z), layer.theta), layer.b)
        return plus(scaled(z, self.g), scaled(f, 1 - self.g)), None

    # 2. Backward. delta is Δz′. Of it f has Δf = (1 - g) Δz′, and with a = σ(z)
    #
    #        Δθ = aᵀ Δf,    Δb = Σ Δf over the rows,    Δa = Δf θᵀ,    Δz = g Δz′ + Δa ∘ σ′(z)
    def backward(self, sigma, layer, z, saved, delta):
        a, delta_f = apply_activation(sigma, z), scaled(delta, 1 - self.g)
        delta_a = matmul(delta_f, layer.theta.T)
        gradient = Gradient(outer(a, delta_f), sum_rows(delta_f), delta_a)
        return gradient, plus(scaled(delta, self.g), scaled(delta_a, slope(sigma, z)))

    # What σ is taken of, from which saturated and dead units are counted.
    def preactivation(self, z):
        return z

    # 3. Theory. In the limit of infinite width f(z) is Gaussian and independent of z, so that
    # squares add: q = E z² becomes g² q + (1 - g)² (σ_w² E σ(z)² + σ_b²), a covariance q c of two
    # inputs likewise, and E‖Δz‖² = (g² + (1 - g)² σ_w² E σ′(z)²) E‖Δz′‖². The ensemble has the
    # expectations. skip_gain is what of z comes through as it is.
    def length(self, ensemble, q):
        f = ensemble.sigma_w**2 * ensemble.square(q) + ensemble.sigma_b**2
        return self.g**2 * q + (1 - self.g) ** 2 * f

    def covariance(self, ensemble, q, c):
        f = ensemble.sigma_w**2 * ensemble.product(q, c) + ensemble.sigma_b**2
        return self.g**2 * q * c + (1 - self.g) ** 2 * f

    def factor(self, ensemble, q, c):
        return self.g**2 + (1 - self.g) ** 2 * ensemble.sigma_w**2 * ensemble.slope_square(q)

    def tangent(self, ensemble, q, c):
        return self.g**2 + (1 - self.g) ** 2 * ensemble.sigma_w**2 * ensemble.slope_product(q, c)

    def skip_gain(self, ensemble, q):
        return self.g


# 4. Is the reverse rule right? The same network in plain JAX, whose derivative JAX finds itself,
# answers that, up to rounding.
def plain_loss(params, xs, ys, sigma, g):
    (theta, b), *between, (theta_out, b_out) = params
    z = xs @ theta + b
    for theta, b in between:
        z = g * z + (1 - g) * (sigma(z) @ theta + b)
    z = sigma(z) @ theta_out + b_out
    return jnp.mean(jnp.sum((z - ys) ** 2, axis=1) / 2)


def largest_difference(ours, theirs):
    """Return the largest |difference| of two gradients, relative to the largest entry."""
    ours, theirs = (
        jnp.concatenate([jnp.ravel(v) for v in jax.tree.leaves(t)]) for t in (ours, theirs)
    )
    return jnp.max(jnp.abs(ours - theirs)) / jnp.max(jnp.abs(theirs))


def data(key, net, batch=16):
    of_params, of_xs, of_ys = jax.random.split(key, 3)
    params = jaxnn.init(net, of_params, weights=jaxnn.initializers.gaussian(1.2), biases=0.3)
    xs = jax.random.normal(of_xs, (batch, net.sizes[0]))
    return params, xs, jax.random.normal(of_ys, (batch, net.sizes[-1]))


def check():
    net = jaxnn.Network((4, *[8] * 5, 2), "tanh", "regression", hidden=ConstantGate(0.7))
    params, xs, ys = data(jax.random.key(0), net)
    _, gradient = jaxnn.backprop(net, params, xs, ys)
    return largest_difference(gradient, jax.grad(plain_loss)(params, xs, ys, jnp.tanh, 0.7))


# 5. What does the gate do to a gradient? In each layer g of it goes past the weights, and some
# through them. At g = ½ it is smaller by about 10^76 after 500 layers of relu units, and so is the
# signal, which float32 has no numbers for; both are measured like any others. Theory stands next to
# the mean over eight draws of a network. It is that of infinite width: at width n the mean of the
# logarithm lies below it, by a part that grows as depth / n.
def decades(g, depth, width=128, draws=8):
    """Return the measured and the predicted log₁₀ of ‖Δz[1]‖ / ‖Δz[depth]‖ for relu, σ_w = √2."""
    net = jaxnn.Network((16, *[width] * depth, 2), "relu", "regression", hidden=ConstantGate(g))
    xs, cotangent = jax.random.normal(jax.random.key(1), (4, 16)), jnp.ones((4, 2))

    def measured(key):
        params = jaxnn.init(net, key, weights="he_normal", stacked=True)
        delta = jaxnn.gradient_flow((net, params), xs, cotangent=cotangent).log_delta
        return (delta[0] - delta[depth - 1]) / jnp.log(10)

    predicted = jaxnn.theory.meanfield.log_delta("relu", 2**0.5, 0.0, 1.0, depth, hidden=net.hidden)
    keys = jax.random.split(jax.random.key(2), draws)
    return jax.lax.map(measured, keys), predicted[0] / jnp.log(10)


if __name__ == "__main__":
    print(f"the reverse rule against jax.grad: {check():.1e} of the largest entry")
    for g, depth in ((0.5, 500), (0.9, 50), (0.99, 50)):
        measured, predicted = decades(g, depth)
        print(
            f"g = {g}, {depth} layers: {jnp.mean(measured):.2f} decades from the last to the "
            f"first, in theory {predicted:.2f}"
        )
