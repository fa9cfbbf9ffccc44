"""Networks of eight kinds whose layers are those of Flax, Haiku, Equinox and Keras.

    kind, width -> f(params, xs), a function that draws params, xs

Each is written as users of its package do, with the package's own initialisers, and without any
help for `jaxnn.as_network`, which cuts it into layers; but the recurrent one is a list of them,
whose layers are whole recurrences. What is not a
layer of a package is a skip connection or a choice between experts. Packages are imported where a
network is built, for they need not be installed.
"""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

if TYPE_CHECKING:
    from flax import linen

EXAMPLES, TOKENS, HEADS = 2, 8, 8
PIXELS, CLASSES = 16, 10
EXPERTS = 4
PATCHES = 64  # of a mixer: units of half of its products, and rows of the others


class Drawn(NamedTuple):
    """A network: what it computes, parameters of a random key, and an example batch.

    apply: (params, xs) -> the output; None if the parameters are a list of layers.
    """

    apply: Callable[[Any, jax.Array], Any] | None
    params: Callable[[jax.Array], Any]
    xs: jax.Array


class Kind(NamedTuple):
    """A kind of network, of a package that has its layers.

    network: (units, blocks) -> the network; blocks are of two layers, as of attention and an MLP.
    weights: which parameters products are with, as for `jaxnn.theory.scale_weights`.
    narrower: by how much the network of a twin is; 1 if inputs depend on the width.
    """

    package: str
    network: Callable[[int, int], Drawn]
    weights: str | None = None
    narrower: int = 1


def inputs(*shape: int) -> jax.Array:
    """Draw an example batch, always the same."""
    return jax.random.normal(jax.random.key(0), shape, jnp.float32)


def _of_linen(model: "linen.Module", xs: jax.Array) -> Drawn:
    return Drawn(model.apply, lambda key: model.init(key, xs), xs)


def pre_norm(n: int, blocks: int) -> Drawn:
    """A transformer with a norm in front of each branch, of `flax.linen`."""
    from flax import linen as nn

    class Transformer(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> Any:
            for _ in range(blocks):
                x = x + nn.MultiHeadDotProductAttention(HEADS)(nn.LayerNorm()(x))
                x = x + nn.Dense(n)(nn.gelu(nn.Dense(2 * n)(nn.LayerNorm()(x))))
            return x

    return _of_linen(Transformer(), inputs(EXAMPLES, TOKENS, n))


def experts(n: int, blocks: int) -> Drawn:
    """Pre-norm blocks of experts, of which each token takes the two best, of `flax.linen`."""
    from flax import linen as nn

    class Expert(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> Any:
            return nn.Dense(n)(nn.relu(nn.Dense(n)(x)))

    class Experts(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> Any:
            several = nn.vmap(
                Expert,
                in_axes=None,
                axis_size=EXPERTS,
                variable_axes={"params": 0},
                split_rngs={"params": True},
            )
            for _ in range(2 * blocks):
                z = nn.LayerNorm()(x)
                logits = nn.Dense(EXPERTS, use_bias=False)(z)
                least = jax.lax.top_k(logits, 2)[0][..., -1:]
                gates = nn.softmax(jnp.where(logits < least, -jnp.inf, logits))
                x = x + jnp.einsum("ebtn,bte->btn", several()(z), gates)
            return x

    return _of_linen(Experts(), inputs(EXAMPLES, TOKENS, n))


def gru(n: int, blocks: int) -> Drawn:
    """Recurrent layers on each other, of `flax.linen`: RNN of GRUCell."""
    from flax import linen as nn

    model, xs = nn.RNN(nn.GRUCell(n)), inputs(EXAMPLES, TOKENS, n)

    def params(key: jax.Array) -> Any:
        return [(model.apply, model.init(key, xs)) for key in jax.random.split(key, 2 * blocks)]

    return Drawn(None, params, xs)


def batch_norm(n: int, blocks: int) -> Drawn:
    """Convolutions with batch norms and skip connections, `haiku.nets.ResNet`."""
    import haiku as hk

    def network(xs: jax.Array) -> Any:
        model = hk.nets.ResNet(
            (1,) * 4,
            CLASSES,
            bottleneck=False,
            channels_per_group=(n,) * 4,
            strides=(1, 2, 1, 1),
            initial_conv_config={"output_channels": n},
            logits_config={"w_init": hk.initializers.VarianceScaling()},  # instead of zeros
        )
        return model(xs, is_training=True)

    model = hk.without_apply_rng(hk.transform_with_state(network))
    xs = inputs(4 * EXAMPLES, PIXELS, PIXELS, 3)
    state = model.init(jax.random.key(0), xs)[1]
    return Drawn(
        lambda params, xs: model.apply(params, state, xs)[0], lambda key: model.init(key, xs)[0], xs
    )


def no_norm(n: int, blocks: int) -> Drawn:
    """A transformer without norms, of `equinox.nn`."""
    import equinox as eqx

    def params(key: jax.Array) -> Any:
        keys = jax.random.split(key, (blocks, 2))
        return [
            (
                eqx.nn.MultiheadAttention(HEADS, n, dtype=jnp.float32, key=a),
                eqx.nn.MLP(n, n, 2 * n, 1, jax.nn.gelu, dtype=jnp.float32, key=b),
            )
            for a, b in keys
        ]

    def apply(params: PyTree, xs: jax.Array) -> Any:
        def one(x: jax.Array) -> Any:
            for attend, mlp in params:
                x = x + attend(x, x, x)
                x = x + jax.vmap(mlp)(x)
            return x

        return jax.vmap(one)(xs)

    return Drawn(apply, params, inputs(EXAMPLES, TOKENS, n))


def mixer(n: int, blocks: int) -> Drawn:
    """An MLP-Mixer, of `equinox.nn`."""
    import equinox as eqx

    def params(key: jax.Array) -> Any:
        def branch(units: int, key: jax.Array) -> Any:
            norm = eqx.nn.LayerNorm((PATCHES, n), dtype=jnp.float32)
            of = (units, units, 2 * units, 1, jax.nn.gelu)
            return norm, eqx.nn.MLP(*of, dtype=jnp.float32, key=key)

        keys = jax.random.split(key, (blocks, 2))
        return [(branch(PATCHES, a), branch(n, b)) for a, b in keys]

    def apply(params: PyTree, xs: jax.Array) -> Any:
        def one(x: jax.Array) -> Any:  # (patches, channels)
            for (norm, mix), (other, mlp) in params:
                x = x + jax.vmap(mix)(norm(x).T).T
                x = x + jax.vmap(mlp)(other(x))
            return x

        return jax.vmap(one)(xs)

    return Drawn(apply, params, inputs(1, PATCHES, n))


def _of_keras(build: Callable[[Any], Any], n: int) -> Drawn:
    """Return a network of Keras, of which a key draws another with the same layers."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras

    def model(seed: int) -> Any:
        keras.utils.set_random_seed(seed)
        first = keras.Input((TOKENS, n))
        return keras.Model(first, build(first))

    def params(key: jax.Array) -> Any:
        seed = int(np.asarray(jax.random.bits(key, (), jnp.uint32)) >> 1)
        return [variable.value for variable in model(seed).trainable_variables]

    one = model(0)
    fixed = [variable.value for variable in one.non_trainable_variables]

    def apply(params: PyTree, xs: jax.Array) -> Any:
        return one.stateless_call(params, fixed, xs)[0]

    return Drawn(apply, params, inputs(EXAMPLES, TOKENS, n))


def post_norm(n: int, blocks: int) -> Drawn:
    """A transformer with a norm after each skip connection, of `keras.layers`."""

    def build(x: jax.Array) -> Any:
        from keras import layers

        for _ in range(blocks):
            attended = layers.MultiHeadAttention(HEADS, n // HEADS)(x, x)
            x = layers.LayerNormalization()(x + attended)
            hidden = layers.Dense(2 * n, "gelu")(x)
            x = layers.LayerNormalization()(x + layers.Dense(n)(hidden))
        return x

    return _of_keras(build, n)


def grouped_queries(n: int, blocks: int) -> Drawn:
    """A decoder with grouped queries, gates and RMS norms, of `keras.layers`."""

    def build(x: jax.Array) -> Any:
        from keras import layers

        for _ in range(blocks):
            z = layers.RMSNormalization()(x)
            attend = layers.GroupQueryAttention(n // HEADS, HEADS, HEADS // 4)
            x = x + attend(z, z, use_causal_mask=True)
            z = layers.RMSNormalization()(x)
            gated = layers.Dense(2 * n, "silu")(z) * layers.Dense(2 * n)(z)
            x = x + layers.Dense(n)(gated)
        return x

    return _of_keras(build, n)


KINDS = {
    "pre-norm": Kind("flax", pre_norm),
    "post-norm": Kind("keras", post_norm),
    "no norm": Kind("equinox", no_norm),
    "grouped queries": Kind("keras", grouped_queries),
    "convolutions, batch norm": Kind("haiku", batch_norm, "*.w", narrower=4),
    "GRU": Kind("flax", gru),
    "mixer": Kind("equinox", mixer),
    "experts": Kind("flax", experts),
}
