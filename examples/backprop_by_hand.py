"""Backpropagation by hand: a network, its gradient and its training in plain jax.numpy.

Read it from top to bottom: a few lines of prose, then the code that they describe. The symbols are
those of docs/article.md. Examples are rows: x has shape (B, 3) for a batch of B. The weights θ[l]
have shape (n[l], n[l+1]), and Δv is the derivative of the loss with respect to v.

    python -m pip install jax
    python examples/backprop_by_hand.py
"""

from itertools import pairwise

import jax
import jax.numpy as jnp


# 1. Forward. Layer l multiplies its rows by θ[l-1], adds b[l-1], and bends each number by σ:
#
#        a[0] = x,    z[l] = a[l-1] θ[l-1] + b[l-1],    a[l] = σ(z[l]),    l = 1 … L
#
# The last one, a[L], is the prediction ŷ. Every z and a is stored, for the way back needs them;
# there is no z[0], and None takes its place so that z[l] in code is z[l] in the formula.
def sigmoid(z):
    return 1 / (1 + jnp.exp(-z))


def forward(params, x):
    z, a = [None], [x]
    for theta, b in params:
        z.append(a[-1] @ theta + b)
        a.append(sigmoid(z[-1]))
    return z, a


# Weights are random and small: uniform within ±√(6 / (n[l] + n[l+1])), as Glorot proposed. Biases
# are zero. The article's network has 3 inputs, 4 hidden units and 1 output.
def draw(key, sizes):
    params = []
    for rows, columns in pairwise(sizes):
        key, used = jax.random.split(key)
        bound = (6 / (rows + columns)) ** 0.5
        theta = jax.random.uniform(used, (rows, columns), minval=-bound, maxval=bound)
        params.append((theta, jnp.zeros(columns)))
    return params


params = draw(jax.random.key(0), (3, 4, 1))
x, y = jnp.array([[0.5, -1.0, 2.0]]), jnp.array([[1.0]])
z, a = forward(params, x)
hidden = " ".join(f"{unit:.3f}" for unit in a[1][0])
print(f"forward: a[1] = {hidden}, prediction {a[2][0, 0]:.3f} for the label 1")


# 2. Loss. The task is binary: y is 0 or 1, and ŷ is the probability of 1. The loss of an example is
# the surprise at its label, -y ln ŷ - (1 - y) ln(1 - ŷ), and that of a batch is the mean.
def loss(params, x, y):
    y_hat = forward(params, x)[1][-1]
    return jnp.mean(jnp.sum(-y * jnp.log(y_hat) - (1 - y) * jnp.log(1 - y_hat), axis=1))


# 3. Backward, the top. The loss has the slope Δŷ = -y/ŷ + (1 - y)/(1 - ŷ), and the sigmoid has the
# slope σ′(z) = σ(z) (1 - σ(z)), here ŷ (1 - ŷ). In their product everything cancels but
#
#        Δz[L] = ŷ - y
#
# Two other tasks change the last layer and the loss. Regression: ŷ = z[L], loss ½ Σ (ŷ - y)².
# Multiclass: ŷ = softmax(z[L]), loss -Σ y ln ŷ, y a row with a 1 at its class. The slopes differ,
# but Δz[L] is ŷ - y in all three, so nothing below changes.
def sigmoid_prime(z):
    return sigmoid(z) * (1 - sigmoid(z))


# 4. Backward, every other layer. The error Δz[l+1] goes back through the same weights, transposed,
# and then through the slope of each unit. This one line is backpropagation:
#
#        Δz[l] = (Δz[l+1] θ[l]ᵀ) ⊙ σ′(z[l]),    l = L-1 … 1
#
# θ[l] reaches the loss only through z[l+1] = a[l] θ[l] + b[l], in which it is multiplied by a[l]:
#
#        Δθ[l] = a[l]ᵀ Δz[l+1],    Δb[l] = Δz[l+1], summed over the rows
#
# The loss of a batch is a mean, so each row has the weight 1/B.
def deltas(params, z, a, y):
    top = len(params)
    delta_z = [None] * (top + 1)
    delta_z[top] = (a[top] - y) / len(y)
    for layer in range(top - 1, 0, -1):
        theta, _ = params[layer]
        delta_z[layer] = (delta_z[layer + 1] @ theta.T) * sigmoid_prime(z[layer])
    return delta_z


def backprop(params, x, y):
    z, a = forward(params, x)
    pairs = zip(a[:-1], deltas(params, z, a, y)[1:], strict=True)  # a[l] with Δz[l+1]
    return [(below.T @ delta, delta.sum(axis=0)) for below, delta in pairs]


# 5. Is it right? JAX can differentiate the loss by itself, knowing nothing of these formulas.
gradient, by_jax = backprop(params, x, y), jax.grad(loss)(params, x, y)
difference = max(
    jnp.max(jnp.abs(ours - theirs))
    for ours, theirs in zip(jax.tree.leaves(gradient), jax.tree.leaves(by_jax), strict=True)
)
print(f"gradient by hand and by jax.grad: they differ by at most {difference:.0e}")


# 6. Training. Each step takes a multiple of the gradient away from the parameters. The examples are
# 64 random points; the label says whether the three coordinates add up to more than 0.
def step(params, x, y, rate=3.0):
    return [
        (theta - rate * delta_theta, b - rate * delta_b)
        for (theta, b), (delta_theta, delta_b) in zip(params, backprop(params, x, y), strict=True)
    ]


xs = jax.random.normal(jax.random.key(1), (64, 3))
ys = (xs.sum(axis=1, keepdims=True) > 0).astype(float)
for number in range(101):
    if number % 25 == 0:
        print(f"training: after {number:3} steps the loss is {loss(params, xs, ys):.3f}")
    params = step(params, xs, ys)


# 7. Depth. Insert the recursion into itself, and the error of layer l is a product with one factor,
# a matrix, for each layer above it:
#
#        Δz[l] = Δz[L] · θ[L-1]ᵀ diag σ′(z[L-1]) · … · θ[l]ᵀ diag σ′(z[l])
#
# σ′ is at most 1/4, and Glorot's weights keep the length of a row about as it is. So each factor
# shortens the error to about a quarter, and the product vanishes exponentially: the first layers of
# a deep sigmoid network learn nothing. Factors that lengthen the error would let it explode.
deep = draw(jax.random.key(2), (3, *[64] * 29, 1))  # L = 30 layers of weights
z, a = forward(deep, xs)
largest = [jnp.max(jnp.abs(delta)) for delta in deltas(deep, z, a, ys)[1:]]
for layer in (30, 25, 20, 15, 10, 5, 1):
    print(f"30 layers: the largest number of delta_z[{layer:2}] is {largest[layer - 1]:.0e}")
print(f"each layer leaves {(largest[0] / largest[28]) ** (1 / 28):.2f} of it to the one below")

# The library jaxnn measures this in other networks too, also where no float has a number for it,
# and says what cures it: docs/any-depth.md, docs/cures.md.
