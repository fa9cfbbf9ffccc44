# %% [markdown]
# # Theory of your own network
#
# Mean-field theory says what the gradient of a *random, very wide* network
# does, layer by layer. On paper it exists for some kinds of blocks. Here we
# take a transformer that nobody has worked out and put its theory next to the
# measurement. Then we make some weights depend on others, as training does, and
# see from which layer down the two part. At the end theory says by how much to
# scale the weights of a network that vanishes.

# %%
import jax
import jax.numpy as jnp

import jaxnn

WIDTH, HEADS, TOKENS, BLOCKS, LN10 = 48, 4, 8, 12, 2.302585


def norm(z):
    return (z - z.mean(-1, keepdims=True)) / (z.std(-1, keepdims=True) + 1e-5)


def block(p, z):
    q, k, v = (norm(z) @ p[name] for name in "qkv")
    q, k, v = (x.reshape(*x.shape[:2], HEADS, -1) for x in (q, k, v))
    scores = jnp.einsum("bihd,bjhd->bhij", q, k) / (WIDTH // HEADS) ** 0.5
    mixed = jnp.einsum("bhij,bjhd->bihd", jax.nn.softmax(scores), v)
    z = z + mixed.reshape(z.shape) @ p["o"]
    return z + jax.nn.gelu(norm(z) @ p["up"]) @ p["down"]


def draw(key):
    square, wide = (WIDTH, WIDTH), (WIDTH, 2 * WIDTH)
    shapes = dict.fromkeys("qkvo", square) | {"up": wide, "down": wide[::-1]}
    keys = jax.random.split(key, len(shapes))
    return {
        name: jax.random.normal(k, shape) / shape[0] ** 0.5
        for k, (name, shape) in zip(keys, shapes.items(), strict=True)
    }


keys = jax.random.split(jax.random.key(0), BLOCKS)
net, params = jaxnn.from_layers([(block, draw(key)) for key in keys])
# 4 examples
xs, cotangent = jax.random.normal(jax.random.key(1), (2, 4, TOKENS, WIDTH))

# %% [markdown]
# ## One rule
#
# Theory of infinite width is one rule: the result of a product with random
# weights is Gaussian, the same for every unit, with the covariance between
# examples and tokens that such a product has on average; and the way down uses
# draws of its own. All else, the norms, the softmax, the skips, acts on these
# Gaussians as it stands. `jaxnn` applies the rule to the program of *your*
# network. The result is its *wide twin*, and theory is the twin's gradient.

# %%
flow = jaxnn.gradient_flow(net, params, xs, cotangent=cotangent, theory=True)
theory = flow.theory
for block_number in (1, 4, 8, 12):
    measured, expected, error = (
        float(v[block_number - 1]) / LN10
        for v in (flow.log_delta, theory.log_delta, theory.errors.log_delta)
    )
    print(
        f"block {block_number}: measured {measured:.3f}, "
        f"in theory {expected:.3f} ± {error:.3f}"
    )
apart = jnp.abs(flow.log_delta - theory.log_delta).max() / LN10
assert apart < 0.15
jaxnn.chart(flow)

# %% [markdown]
# The dashed line is theory. One network of 48 units is off by some hundredths
# of a decade. Another one, drawn again, would be off in another direction.
#
# ## What is not random
#
# Theory knows of the weights only how large they are. We take twelve layers of
# gelu, with weights as PyTorch draws them by default. Then, among the lower
# eight, every second layer gets the transpose of the weights below it. All
# sizes stay as they were, but pairs of layers are now correlated. Training
# correlates weights, too.


# %%
def plain(w, z):
    return jax.nn.gelu(z @ w)


weights = [jax.random.uniform(k, (48, 48), minval=-1) / 48**0.5 for k in keys]
plain_net, plain_params = jaxnn.from_layers([(plain, w) for w in weights])
pairs = [*weights]
for i in (1, 3, 5, 7):
    pairs[i] = weights[i - 1].T
rows, delta = xs[:, 0], cotangent[:, 0]
correlated = jaxnn.gradient_flow(
    plain_net,
    plain_net.params([(plain, w) for w in pairs]),
    rows,
    cotangent=delta,
    theory=True,
)
print(jaxnn.verdict(correlated))
assert "Follows theory down to layer 7" in str(jaxnn.verdict(correlated))
jaxnn.chart(correlated)

# %% [markdown]
# The upper layers follow their theory. Below them the gradient shrinks less
# than theory says: a matrix and its transpose send it back into its direction.
# For a trained network of your own the same sentence says from which layer
# down, and by how much, training has made it differ from random weights of its
# sizes.
#
# ## A factor on the weights
#
# With its first weights the network loses half a decade in each layer. The rate
# of the twin is a function of the size of the weights. Its root is the size at
# which gradients neither grow nor vanish. No formula is needed for that, only
# the twin.

# %%
found = jaxnn.theory.critical_scale(plain_net, plain_params, rows)
print(found)
better = jaxnn.theory.scale_weights(plain_net, plain_params, found.factor)
decades = []
for own in (plain_params, better):
    own_flow = jaxnn.gradient_flow(plain_net, own, rows, cotangent=delta)
    decades.append(float(own_flow.log_delta[0] - own_flow.log_delta[-1]) / LN10)
print(f"over all layers {decades[0]:+.2f} decades, then {decades[1]:+.2f}")
assert decades[0] < -5 < -0.5 < decades[1] < 0.5

# %% [markdown]
# The factor was found on the twin, and it holds for the network. Where there is
# no such factor, as behind norms, `critical_scale` says why. More on the twin,
# and what has none: [your own network](../your-network.md).
