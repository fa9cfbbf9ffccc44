"""Pre-LN and post-LN: where the norm stands decides what the first block of a transformer learns.

Blocks of Equinox with attention, as in a GPT, untouched. With the norm in front of attention and
MLP (pre-LN) the skip connection passes the gradient on, and it grows slowly towards the input. With
the norm behind each sum (post-LN) it keeps its size at the start of training, too; without skip and
norm it is gone after a few blocks.

    python -m pip install -e ".[charts]" equinox
    python examples/transformer.py
"""

import sys

import equinox as eqx
import jax
import jax.numpy as jnp

import jaxnn


class Block(eqx.Module):
    """Causal attention and an MLP over tokens (T, width)."""

    attention: eqx.nn.MultiheadAttention
    mlp: eqx.nn.MLP
    norms: tuple[eqx.nn.LayerNorm, eqx.nn.LayerNorm]
    kind: str = eqx.field(static=True)

    def __init__(self, kind: str, width: int, heads: int, key: jax.Array):
        one, two = jax.random.split(key)
        self.attention = eqx.nn.MultiheadAttention(heads, width, key=one)
        self.mlp = eqx.nn.MLP(width, width, 4 * width, 1, jax.nn.gelu, key=two)
        self.norms = (eqx.nn.LayerNorm(width), eqx.nn.LayerNorm(width))
        self.kind = kind

    def __call__(self, x: jax.Array) -> jax.Array:
        mask = jnp.tril(jnp.ones((len(x), len(x)), bool))
        branches = (lambda z: self.attention(z, z, z, mask), jax.vmap(self.mlp))
        for branch, norm in zip(branches, map(jax.vmap, self.norms), strict=True):
            if self.kind == "pre-LN":
                x = x + branch(norm(x))
            elif self.kind == "post-LN":
                x = norm(x + branch(x))
            else:
                x = branch(x)
        return x


def flows(blocks: int = 48, width: int = 64, tokens: int = 16, examples: int = 16) -> dict:
    """Return the flow of each kind of transformer, from a random cotangent at its output."""
    x, cotangent = jax.random.normal(jax.random.key(1), (2, examples, tokens, width))
    found = {}
    for kind in ("pre-LN", "post-LN", "neither"):
        keys = jax.random.split(jax.random.key(0), blocks)
        layers = [Block(kind, width, 4, key) for key in keys]
        net, params = jaxnn.as_network(layers, each="example")
        found[kind] = jaxnn.gradient_flow((net, params), x, cotangent=cotangent)
    return found


if __name__ == "__main__":
    measured = flows(blocks=6, width=16) if "--small" in sys.argv else flows()
    for kind, flow in measured.items():
        print(f"{kind}: {jaxnn.verdict(flow)}\n")
    jaxnn.chart(*measured.values(), names=[*measured]).save("transformer.html", inline=True)
