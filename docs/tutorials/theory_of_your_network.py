# %% [markdown]
# # Theory of your own network
#
# Mean-field theory predicts the gradient of a *random, very wide* network,
# layer by layer. On paper it exists only for some kinds of blocks. Here we take
# a transformer for which nobody has worked it out, and compare its theory with
# a measurement. Then we make some weights depend on others, as training does,
# and see below which layer the two disagree. Finally, for a network whose
# gradient vanishes, theory tells by which factor to scale the weights. A decade
# is a factor of ten.

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
net, params = jaxnn.as_network([(block, draw(key)) for key in keys])
# 4 examples
xs, cotangent = jax.random.normal(jax.random.key(1), (2, 4, TOKENS, WIDTH))

# %% [markdown]
# ## One rule
#
# The theory of infinite width is one rule: the result of a product with random
# weights is Gaussian, with the same distribution for every unit, and with the
# covariance between examples and tokens that such a product has on average; the
# backward pass uses draws of its own. Everything else, such as norms, softmax
# and skips, acts on these Gaussians unchanged. `jaxnn` applies the rule to the
# program of *your* network. The theory is the gradient of the result.

# %%
flow = jaxnn.gradient_flow((net, params), xs, cotangent=cotangent, theory=True)
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
# The dashed line is theory. The numbers above are of four examples together,
# the chart is of one: √4, or 0.3 decades, less. A network of 48 units deviates
# by some hundredths of a decade; another draw would deviate in another
# direction.
#
# ## What is not random
#
# Theory knows only the size of the weights. We take twelve layers
# of gelu with PyTorch's default weights. Then, among the lower eight, every
# second layer gets the transpose of the weights below it. All sizes stay the
# same, but pairs of layers are now correlated, as they also become in training.


# %%
def plain(w, z):
    return jax.nn.gelu(z @ w)


weights = [jax.random.uniform(k, (48, 48), minval=-1) / 48**0.5 for k in keys]
plain_net, plain_params = jaxnn.as_network([(plain, w) for w in weights])
pairs = [*weights]
for i in (1, 3, 5, 7):
    pairs[i] = weights[i - 1].T
rows, delta = xs[:, 0], cotangent[:, 0]
correlated = jaxnn.gradient_flow(
    (plain_net, plain_net.params([(plain, w) for w in pairs])),
    rows,
    cotangent=delta,
    theory=True,
)
print(jaxnn.verdict(correlated))
assert "Follows theory down to layer 3" in str(jaxnn.verdict(correlated))
jaxnn.chart(correlated)

# %% [markdown]
# The upper layers follow the theory. Below them the gradient shrinks less than
# predicted, because a transpose partly undoes what the matrix did. For a
# trained network the same sentence says below which layer, and by how much,
# training has made it differ from random weights of the same sizes.
#
# ## A factor on the weights
#
# With its original weights the network loses half a decade in each layer. The
# rate in theory is a function of the size of the weights, and its root is the
# size at which gradients neither grow nor vanish. Finding it needs no formula.

# %%
found = jaxnn.theory.critical_scale((plain_net, plain_params), rows)
print(found)
better = jaxnn.theory.scale_weights((plain_net, plain_params), found.factor)
decades = []
for own in (plain_params, better):
    own_flow = jaxnn.gradient_flow((plain_net, own), rows, cotangent=delta)
    decades.append(float(own_flow.log_delta[0] - own_flow.log_delta[-1]) / LN10)
print(f"over all layers {decades[0]:+.2f} decades, then {decades[1]:+.2f}")
assert decades[0] < -5 < -0.5 < decades[1] < 0.5

# %% [markdown]
# The factor was found in theory, and it works for the network. If no such
# factor exists, as after norms, `critical_scale` says why. More on theory,
# and on programs that have none: [your own
# network](../your-network.md).
