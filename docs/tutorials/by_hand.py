# %% [markdown]
# # The 3-4-1 network by hand, number by number
#
# Three inputs, four hidden units, one output: small enough to follow every
# number from the input to the loss and back. We compute each formula of [the
# article](../article.md) with NumPy, in the same order and with the same names,
# and compare with `jaxnn` at the end. [The page to play
# with](../play/index.html) shows a network of this shape.

# %%
from itertools import pairwise

import jax
import numpy as np

import jaxnn

# In double precision we may compare to the last digits.
jax.config.update("jax_enable_x64", True)

x, y = np.array([0.5, -1.0, 2.0]), 1
theta = [
    np.array(
        [[0.2, -0.4, 0.5, 0.1], [0.7, 0.3, -0.2, 0.6], [-0.5, 0.4, 0.1, 0.8]]
    ),
    np.array([[0.9], [-0.6], [0.4], [-1.1]]),
]
b = [np.array([0.1, 0.0, -0.2, 0.0]), np.array([0.3])]


# %% [markdown]
# ## Up: from the input to the loss
#
# A layer multiplies its row of inputs by a matrix, adds a bias, and bends each
# number with $\sigma(z) = 1 / (1 + e^{-z})$:
#
# $$ z^{[1]} = x\,\theta^{[0]} + b^{[0]}, \qquad a^{[1]} = \sigma(z^{[1]}) $$
#
# Row vectors make the shapes read from left to right: (3) times (3, 4) is (4).


# %%
def sigma(z):
    return 1 / (1 + np.exp(-z))


z1 = x @ theta[0] + b[0]
a1 = sigma(z1)
print("z[1] =", z1.round(4))
print("a[1] =", a1.round(4))
# The first one in full:
assert np.isclose(z1[0], 0.5 * 0.2 - 1.0 * 0.7 + 2.0 * -0.5 + 0.1)

# %% [markdown]
# The second layer does the same with $a^{[1]}$. Its one output is the
# probability that $y = 1$, and the loss is the surprise at the true label:
#
# $$ L = -y \ln \hat y - (1 - y) \ln (1 - \hat y) $$

# %%
z2 = a1 @ theta[1] + b[1]
y_hat = sigma(z2)
loss = -y * np.log(y_hat) - (1 - y) * np.log(1 - y_hat)
print("z[2] =", z2.round(4), "  ŷ =", y_hat.round(4), "  loss =", loss.round(4))
assert np.isclose(loss[0], -np.log(y_hat[0]))  # for y = 1

# %% [markdown]
# ## Down: from the loss to the first weight
#
# $\Delta v$ is short for $\partial L / \partial v$: how much the loss grows
# for a unit more of $v$. The chain rule takes one step at a time, from the
# top. Two of these steps cancel beautifully: the slope of the loss has $\hat y
# (1 - \hat y)$ below the line, the slope of the sigmoid has it above, and what
# stays is the error.
#
# $$ \Delta z^{[2]} = \Delta a^{[2]}\, \sigma'(z^{[2]}) = \hat y - y $$

# %%
delta_a2 = -y / y_hat + (1 - y) / (1 - y_hat)
delta_z2 = delta_a2 * y_hat * (1 - y_hat)
print("Δa[2] =", delta_a2.round(4), "  Δz[2] =", delta_z2.round(4))
assert np.allclose(delta_z2, y_hat - y)

# %% [markdown]
# A weight $\theta_{jk}$ reaches the loss through $z_k$ alone, and multiplies
# $a_j$ there. So its gradient is the product of what comes in from below and
# what comes back from above: an outer product.
#
# $$ \Delta\theta^{[1]} = (a^{[1]})^{T} \Delta z^{[2]}, \qquad
# \Delta b^{[1]} = \Delta z^{[2]} $$
#
# To go on, the error passes back through the same weights, transposed, and
# through the slope of each unit:
#
# $$ \Delta a^{[1]} = \Delta z^{[2]} (\theta^{[1]})^{T}, \qquad
# \Delta z^{[1]} = \Delta a^{[1]} \odot a^{[1]} (1 - a^{[1]}) $$

# %%
delta_theta1 = np.outer(a1, delta_z2)
delta_a1 = delta_z2 @ theta[1].T
slope = a1 * (1 - a1)
delta_z1 = delta_a1 * slope
delta_theta0 = np.outer(x, delta_z1)
print("Δa[1] =", delta_a1.round(4))
print("σ′(z[1]) =", slope.round(4), "  never above 1/4")
print("Δz[1] =", delta_z1.round(4))
print("Δθ[0] =", delta_theta0.round(4), sep="\n")
assert slope.max() <= 0.25

# %% [markdown]
# ## The same from jaxnn
#
# `jaxnn.trace` returns every $z$ and $a$, `jaxnn.deltas` every $\Delta$. They
# are written by hand too, formula by formula, for any number of layers.

# %%
net = jaxnn.Network(sizes=(3, 4, 1), activation="sigmoid", task="binary")
params = tuple(zip(theta, b, strict=True))
deltas = jaxnn.deltas(net, params, x, y)
for ours, by_hand in (
    (deltas.z[1], delta_z2),
    (deltas.a[1], delta_a1),
    (deltas.z[0], delta_z1),
    (deltas.theta[0], delta_theta0),
    (deltas.theta[1], delta_theta1),
    (deltas.b[0], delta_z1),
):
    np.testing.assert_allclose(ours, by_hand, rtol=1e-12)

# %% [markdown]
# ## Is it true?
#
# A gradient can be checked without any theory: change one weight a little,
# and see how the loss changes.

# %%
little = 1e-6
more, less = (theta[0].copy() for _ in range(2))
more[2, 3] += little
less[2, 3] -= little


def loss_with(first):
    return float(jaxnn.passes.loss(net, ((first, b[0]), params[1]), x, y))


slope_seen = (loss_with(more) - loss_with(less)) / (2 * little)
print(f"seen {slope_seen:.8f}, by the formula {delta_theta0[2, 3]:.8f}")
assert abs(slope_seen - delta_theta0[2, 3]) < 1e-8

# %% [markdown]
# ## One factor a layer
#
# Look again at the backward pass: each layer has multiplied the error by a
# weight and by a slope. In a deeper network this happens at every layer, so
# the gradient of the first layer is a *product* with one factor for each. The
# slope of a sigmoid is at most 1/4. How much of the error is left after eight
# hidden layers of four units?

# %%
deep = jaxnn.Network(
    sizes=(3, *[4] * 8, 1), activation="sigmoid", task="binary"
)
params = jaxnn.init(deep, jax.random.key(0))
norms = [
    float(np.linalg.norm(delta)) for delta in jaxnn.deltas(deep, params, x, y).z
]
for layer in range(9, 0, -1):
    factor = (
        ""
        if layer == 9
        else f"  = {norms[layer - 1] / norms[layer]:.3f} times the one above"
    )
    print(f"‖Δz[{layer}]‖ = {norms[layer - 1]:.1e}{factor}")
assert norms[0] < 1e-3 * norms[-1]
assert all(low < 0.5 * high for low, high in pairwise(norms))

# %% [markdown]
# Every factor is well below one, so the product shrinks with each layer: the
# gradient *vanishes*. With factors above one it would *explode*. How fast, in
# which networks, and what cures it: the [next tutorial](mlp_does_not_train.md)
# starts from there.
