# %% [markdown]
# # Pre-norm or post-norm?
#
# A transformer has a skip connection around each of its branches, and a
# normalisation either *before* the branch, $x + f(N(x))$, or *after* the sum,
# $N(x + f(x))$. Deep networks of the first kind are known to be easier to
# train. We measure what the two do to the signal going forward and to the
# gradient going back, in Equinox modules that know nothing of `jaxnn`.

# %%
import equinox as eqx
import jax
import jax.numpy as jnp

import jaxnn

WIDTH, BLOCKS, EXAMPLES, LN10 = 32, 256, 16, 2.302585


class Block(eqx.Module):
    """An MLP with a skip and a norm, for one example (WIDTH,)."""

    up: jax.Array
    down: jax.Array
    norm: eqx.nn.LayerNorm
    kind: str = eqx.field(static=True)

    def __init__(self, kind, key):
        self.up, self.down = (
            jax.random.normal(key, (2, WIDTH, WIDTH)) / WIDTH**0.5
        )
        self.norm = eqx.nn.LayerNorm(WIDTH)
        self.kind = kind

    def branch(self, x):
        return jax.nn.gelu(x @ self.up) @ self.down

    def __call__(self, x):
        if self.kind == "pre-norm":
            return x + self.branch(self.norm(x))
        if self.kind == "post-norm":
            return self.norm(x + self.branch(x))
        return self.branch(x)  # neither skip nor norm


# %% [markdown]
# ## A chain of layers
#
# `jaxnn.as_network` takes a list of layers, whatever they are made of. Between
# two of them the gradient carries an exponent, so that nothing is lost however
# small it gets; equal layers become one loop, so 256 blocks compile as fast as
# eight. The gradient that enters at the output is random, and the same for all
# three networks: we ask what the *network* does to it. A decade, in the
# verdicts, is a factor of ten.

# %%
xs, cotangent = jax.random.normal(jax.random.key(1), (2, EXAMPLES, WIDTH))
flows = {}
for kind in ("pre-norm", "post-norm", "neither"):
    keys = jax.random.split(jax.random.key(0), BLOCKS)
    net, params = jaxnn.as_network(
        [Block(kind, key) for key in keys], each="example"
    )
    flows[kind] = jaxnn.gradient_flow((net, params), xs, cotangent=cotangent)
    print(f"{kind}: {jaxnn.verdict(flows[kind]).sentences[0]}")

# %% [markdown]
# With neither, each block multiplies state and gradient by a small factor, and
# the product of these factors vanishes: in float32 the state is zero from block
# 120 up. Only zeros enter there, so no parameter gets a gradient. We leave that
# network out of the picture, since its curve would hide the others.

# %%
assert jaxnn.verdict(flows["neither"]).decades < -0.2
flows.pop("neither")
jaxnn.chart(*flows.values(), names=[*flows])

# %% [markdown]
# ## The gradient: a power of the depth, not an exponential
#
# With a skip both networks pass the gradient on. With the norm before the
# branch it grows towards the input, over 256 blocks by a little more than a
# factor of ten, which the verdict calls a power law of depth. The state is a
# sum to which each block adds a branch of the same size. So its mean square
# grows in proportion to the depth, and each new branch is a smaller part of
# it: the factor of block $l$ is one plus something like $1/l$, and the product
# of such factors is a power of the depth.

# %%
pre, post = flows["pre-norm"], flows["post-norm"]
for kind, flow in flows.items():
    for low, high in ((0, 16), (16, 64), (64, 255)):
        rate = float(flow.log_gain[low:high].mean()) / LN10
        print(
            f"{kind}, blocks {low + 1} to {high}: {rate:+.4f} decades a block"
        )
rates = [
    float(pre.log_gain[low:high].mean())
    for low, high in ((0, 16), (16, 64), (64, 255))
]
assert rates[0] > 3 * rates[1] > 9 * rates[2] > 0
growth = float(pre.log_mean_square[255] - pre.log_mean_square[63])
print(f"from block 64 to 256 the mean square grows {jnp.exp(growth):.1f} times")
assert 2 < jnp.exp(growth) < 6

# %% [markdown]
# With the norm after the sum the state keeps one size. Each block counts as
# much as the one before; whatever its factor is, it does not approach one.
#
# ## The examples: what post-norm forgets
#
# A gradient of the right size teaches nothing if all examples have become
# alike. In each post-norm block the sum is scaled down again, and with it what
# came through the skip: after many blocks little is left of the input, and
# what the random branches do to all examples alike takes its place. The third
# panel shows it, and so does the *effective rank* of what differs between the
# 16 examples: the number of directions in which they still differ.

# %%
for block in (1, 16, 64, 256):
    ranks = {
        kind: round(float(flow.rank[block - 1]), 1)
        for kind, flow in flows.items()
    }
    print(f"above block {block:3}: effective rank {ranks}")
assert pre.rank[-1] > 4 > 2 > post.rank[-1]
assert pre.log_spread[-1] > post.log_spread[-1] + 0.5

# %% [markdown]
# So in blocks like these the place of the norm matters less for the initial
# size of the gradient than for how much of the input arrives at the top. Your
# network may differ, so measure it: put your own modules into the list. The
# folder `examples/` asks the same question of attention, convolutions and an
# LSTM, and [your own network](../your-network.md) has a recipe for each
# library.
