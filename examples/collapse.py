"""A sigmoid MLP that collapses: it loses its examples going up before its gradient coming down.

Plain JAX, no framework. With sigmoid and Glorot weights every layer brings examples closer together
and the gradient down by the same factor. But examples are lost to rounding after ten layers of
float32, the gradient only after sixty: no format with a wider range helps such a network.

    python -m pip install -e ".[charts]"
    python examples/collapse.py
"""

import sys

import jax
import jax.numpy as jnp

import jaxnn


def layer(theta: jax.Array, z: jax.Array) -> jax.Array:
    """One layer, from z to z."""
    return jax.nn.sigmoid(z) @ theta


def flows(layers: int = 100, width: int = 64, examples: int = 32) -> dict:
    """Return the flows of sigmoid weights of variance 1/n, and of tanh at its critical point."""
    glorot = jax.nn.initializers.glorot_normal()
    keys = jax.random.split(jax.random.key(0), layers)
    x, ys = jax.random.normal(jax.random.key(1), (2, examples, width))

    def loss(z: jax.Array, ys: jax.Array) -> jax.Array:
        return 0.5 * jnp.sum((z - ys) ** 2, axis=-1)

    thetas = [glorot(key, (width, width)) for key in keys]
    found = {}
    for name, f in (("sigmoid", layer), ("tanh", lambda theta, z: jnp.tanh(z) @ theta)):
        net, params = jaxnn.as_network([(f, theta) for theta in thetas])
        found[name] = jaxnn.gradient_flow((net, params), x, ys, loss=loss)
    return found


if __name__ == "__main__":
    measured = flows(layers=10, width=8) if "--small" in sys.argv else flows()
    for kind, flow in measured.items():
        print(f"{kind}: {jaxnn.verdict(flow)}\n")
    jaxnn.chart(*measured.values(), names=[*measured]).save("collapse.html", inline=True)
