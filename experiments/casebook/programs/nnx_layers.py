"""Programs in Flax NNX whose layers or parameters are at fault."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array

from experiments.casebook import data
from experiments.casebook.program import CaseProgram
from experiments.casebook.programs.nnx_parts import classified, mlp


def kernels_of_a_tenth(is_cured: bool) -> CaseProgram:
    """All weights 0.1, so that the units of a layer are one."""
    drawn, same = nnx.initializers.lecun_normal(), nnx.initializers.constant(0.1)
    model = mlp((64, 32, 32, 10), kernel_init=drawn if is_cured else same)
    return classified(data.digits(), model, optax.adam(3e-3))


def hidden_layer_of_zeros(is_cured: bool) -> CaseProgram:
    """A hidden layer whose weights and biases are zero."""
    model = mlp((64, 32, 32, 10))
    if not is_cured:
        hidden = model.layers[2]
        hidden.kernel[...] = jnp.zeros_like(hidden.kernel[...])
    return classified(data.digits(), model, optax.sgd(0.1))


def one_unit_between(is_cured: bool) -> CaseProgram:
    """A layer of one unit that all ten classes must pass."""
    model = mlp((64, 32, 32 if is_cured else 1, 32, 10), nnx.tanh)
    return classified(data.digits(), model, optax.adam(1e-2))


def first_of_forty_steps(is_cured: bool) -> CaseProgram:
    """A recurrent cell over 40 steps whose weights shrink what it remembers."""
    xs = np.random.default_rng(0).normal(size=(256, 40, 4)).astype(np.float32)
    xs[:, 1:] /= 10
    ys = (xs[:, 0, 0] > 0).astype(np.int32)

    class Recurrent(nnx.Module):
        def __init__(self, rngs: nnx.Rngs):
            self.inner = nnx.Param(jnp.eye(16) * (1.0 if is_cured else 0.3))
            self.outer = nnx.Linear(4, 16, rngs=rngs)
            self.head = nnx.Linear(16, 2, rngs=rngs)

        def __call__(self, x: Array) -> Array:
            def one(z: Array, x: Array) -> tuple[Array, None]:
                return jnp.tanh(z @ self.inner[...] + self.outer(x)), None

            start = jnp.zeros((len(x), 16))
            return self.head(jax.lax.scan(one, start, jnp.swapaxes(x, 0, 1))[0])

    model = Recurrent(nnx.Rngs(0))
    return classified((xs, ys), model, optax.adam(3e-3), steps=100, every=10)


class Quantised(nnx.Module):
    """An autoencoder whose code is the nearest of the vectors of a book."""

    def __init__(self, is_book_learned: bool, rngs: nnx.Rngs):
        self.is_book_learned = is_book_learned
        self.encoder = nnx.Sequential(
            nnx.Linear(64, 64, rngs=rngs), nnx.relu, nnx.Linear(64, 32, rngs=rngs)
        )
        self.book = nnx.Param(0.1 * jax.random.normal(rngs.params(), (32, 4)))
        self.decoder = nnx.Sequential(
            nnx.Linear(32, 64, rngs=rngs), nnx.relu, nnx.Linear(64, 64, rngs=rngs)
        )

    def __call__(self, xs: Array) -> Array:
        """Return images, codes and what stands for them in the book, side by side."""
        codes = self.encoder(xs).reshape(len(xs), 8, 4)
        squares = jnp.sum((codes[:, :, None] - self.book[...]) ** 2, axis=-1)
        nearest = self.book[...][jnp.argmin(squares, axis=-1)]
        passed = codes + jax.lax.stop_gradient(nearest - codes)
        chosen = nearest if self.is_book_learned else passed
        flat = lambda z: z.reshape(len(xs), 32)
        return jnp.concatenate([self.decoder(flat(passed)), flat(codes), flat(chosen)], axis=1)


def book_of_codes_at_rest(is_cured: bool) -> CaseProgram:
    """The loss of the book's vectors computed from what was passed on in their place."""
    xs, _ = data.digits()
    stop = jax.lax.stop_gradient

    def loss(output: Array, ys: Array) -> Array:
        images, codes, chosen = jnp.split(output, [64, 96], axis=1)
        squares = jnp.mean((images - ys) ** 2, axis=1)
        book = jnp.mean((chosen - stop(codes)) ** 2, axis=1)
        return squares + book + 0.25 * jnp.mean((codes - stop(chosen)) ** 2, axis=1)

    model = Quantised(is_cured, nnx.Rngs(0))
    score = lambda output, ys: data.explained(np.asarray(output)[:, :64], ys)
    return CaseProgram(model, xs, xs, loss, optax.adam(3e-3), score, steps=250, every=25)


def groups_of_one_key(is_cured: bool) -> CaseProgram:
    """Sixteen groups of units, all drawn with the same key."""
    keys = jax.random.split(jax.random.key(0), 16)
    keys = keys if is_cured else jnp.broadcast_to(keys[:1], keys.shape)

    class Groups(nnx.Module):
        def __init__(self) -> None:
            self.inner = nnx.Param(jax.vmap(lambda key: jax.random.normal(key, (64, 2)) / 8)(keys))
            self.outer = nnx.Param(jax.vmap(lambda key: jax.random.normal(key, (2, 10)) / 6)(keys))

        def __call__(self, xs: Array) -> Array:
            hidden = nnx.relu(jnp.einsum("bi,gij->bgj", xs, self.inner[...]))
            return jnp.einsum("bgj,gjk->bk", hidden, self.outer[...])

    return classified(data.digits(), Groups(), optax.adam(3e-3), steps=100)


def norms_scaled_by_zero(is_cured: bool) -> CaseProgram:
    """Norms whose scales start at 0, and no way around them."""
    rngs = nnx.Rngs(0)
    start = nnx.initializers.ones if is_cured else nnx.initializers.zeros
    layers = []
    for n, m in pairwise((64, 32, 32)):
        layers += [
            nnx.Linear(n, m, rngs=rngs), nnx.LayerNorm(m, scale_init=start, rngs=rngs), nnx.relu
        ]  # fmt: skip
    model = nnx.Sequential(*layers, nnx.Linear(32, 10, rngs=rngs))
    return classified(data.digits(), model, optax.sgd(0.1))


class Cloud(nnx.Module):
    """Points with their darkness, layers for each, and the largest of them along an axis."""

    def __init__(self, axis: int, rngs: nnx.Rngs):
        self.axis = axis
        self.inner = nnx.Sequential(
            nnx.Linear(3, 64, rngs=rngs), nnx.relu, nnx.Linear(64, 128, rngs=rngs), nnx.relu
        )
        self.head = nnx.Sequential(
            nnx.Linear(128, 64, rngs=rngs), nnx.relu, nnx.Linear(64, 10, rngs=rngs)
        )

    def __call__(self, xs: Array) -> Array:
        pooled = jnp.max(self.inner(xs), axis=self.axis, keepdims=True)
        return self.head(jnp.broadcast_to(pooled, (*xs.shape[:2], 128)))[:, 0]


def largest_of_the_batch(is_cured: bool) -> CaseProgram:
    """Sets of points whose largest features are taken over the examples, not over the points."""
    images, ys = data.digits()
    darkest = np.argsort(-images, axis=1)[:, :24]
    dark = np.take_along_axis(images, darkest, axis=1)
    xs = np.stack([darkest // 8 / 4 - 1, darkest % 8 / 4 - 1, dark], axis=-1).astype(np.float32)
    model = Cloud(1 if is_cured else 0, nnx.Rngs(0))
    return classified((xs, ys), model, optax.adam(3e-3), steps=150, every=10)


def gates_of_relu_at_zero(is_cured: bool) -> CaseProgram:
    """Sums of all layers, weighed by a relu of weights that are zero, which has no slope there."""
    draw = nnx.initializers.lecun_normal() if is_cured else nnx.initializers.zeros

    class Gated(nnx.Module):
        def __init__(self, rngs: nnx.Rngs):
            sizes = pairwise((64, 32, 32, 32))
            self.layers = nnx.List([nnx.Linear(n, m, rngs=rngs) for n, m in sizes])
            self.gates = nnx.Linear(64, 3, use_bias=False, kernel_init=draw, rngs=rngs)
            self.head = nnx.Linear(32, 10, rngs=rngs)

        def __call__(self, x: Array) -> Array:
            gates, states, z = nnx.relu(self.gates(x)), [], x
            for layer in self.layers:
                z = nnx.gelu(layer(z))
                states.append(z)
            return self.head(jnp.einsum("bk,kbn->bn", gates, jnp.stack(states)))

    return classified(data.digits(), Gated(nnx.Rngs(0)), optax.adam(3e-3), steps=100)
