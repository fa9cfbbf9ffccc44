"""Once blind programs in plain JAX."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from experiments.casebook import data
from experiments.casebook.program import Program
from experiments.casebook.programs.jax_plain import Params, classes, dense, mlp


def distance_of_a_pair_to_itself(is_cured: bool) -> Program:
    """Twins of a network, and the root of a square that is 0 for a pair of the same image."""
    images, labels = data.digits()
    generator = np.random.default_rng(0)
    others = generator.permutation(len(images))
    alike = generator.permutation(len(images))[: len(images) // 2]
    by_label = [np.flatnonzero(labels == label) for label in range(10)]
    others[alike] = [generator.choice(by_label[labels[i]]) for i in alike]
    others[::20] = np.arange(len(images))[::20]
    xs = np.stack([images, images[others]], axis=1)
    ys = (labels == labels[others]).astype(np.float32)

    def distance(params: Params, xs: Array) -> Array:
        one, other = mlp(params, xs[:, 0]), mlp(params, xs[:, 1])
        square = jnp.sum((one - other) ** 2, axis=-1)
        return jnp.sqrt(square + 1e-6) if is_cured else jnp.sqrt(square)

    def contrastive(output: Array, ys: Array) -> Array:
        return ys * output**2 + (1 - ys) * jax.nn.relu(1 - output) ** 2

    def score(output: Array, ys: Array) -> float:
        return float(np.mean((np.asarray(output) < 0.5) == (np.asarray(ys) == 1)))

    model = (distance, dense((64, 32, 8), scale=0.5))
    return Program(model, xs, ys, contrastive, optax.adam(3e-3), score, steps=150, every=10)


def masked_is_not_frozen(is_cured: bool) -> Program:
    """A mask of the optimiser, outside of which gradients are added as they are."""
    xs, ys = data.digits()
    params = dense((64, 32, 32, 10))
    is_frozen = {name: name == "layer1" for name in params}
    is_trained = {name: not frozen for name, frozen in is_frozen.items()}
    optimizer = optax.masked(optax.sgd(0.1), is_trained)
    if is_cured:
        optimizer = optax.chain(optimizer, optax.masked(optax.set_to_zero(), is_frozen))
    return Program((mlp, params), xs, ys, classes, optimizer, data.accuracy, steps=100)


def labels_from_one_to_ten(is_cured: bool) -> Program:
    """Labels 1 to 10 for ten columns from 0 on: the last class has none."""
    xs, ys = data.digits()
    first = 0 if is_cured else 1

    def cross_entropy(output: Array, ys: Array) -> Array:
        return optax.softmax_cross_entropy(output, jax.nn.one_hot(ys, 10))

    model, ys = (mlp, dense((64, 32, 10))), ys + first
    return Program(model, xs, ys, cross_entropy, optax.adam(3e-3), data.accuracy, steps=120)


def rates_of_large_columns(is_cured: bool) -> Program:
    """Counts whose expectation is the exponential of a sum of columns up to 1680."""
    columns, _ = data.wine(is_scaled=is_cured)
    measured, _ = data.wine()
    xs = np.delete(columns, 9, axis=1)
    ys = np.random.default_rng(0).poisson(np.exp(1 + 0.7 * measured[:, 9])).astype(np.float32)

    def poisson(output: Array, ys: Array) -> Array:
        return jnp.exp(output[:, 0]) - ys * output[:, 0]

    score = lambda output, ys: data.explained(np.exp(np.minimum(np.asarray(output), 20.0)), ys)
    model = [(mlp, dense((12, 1), scale=0.1))]
    return Program(model, xs, ys, poisson, optax.sgd(0.01), score, steps=150, every=10)


def attention_without_skips(is_cured: bool) -> Program:
    """Eight layers of attention with no way around them, after which all letters are alike."""
    xs, ys, letters = data.text(12)
    xs, ys = xs[::3], ys[::3, -1]
    size, depth = 32, 8
    keys = jax.random.split(jax.random.key(0), 4 * depth + 3)
    draw = lambda key, n, m: jax.random.normal(key, (n, m)) / n**0.5
    layers = [
        {name: draw(keys[4 * i + j], size, size) for j, name in enumerate(("q", "k", "v", "o"))}
        for i in range(depth)
    ]
    params: dict[str, Any] = {
        "letters": jax.random.normal(keys[-1], (letters, size)),
        "places": jax.random.normal(keys[-2], (12, size)),
        "layers": layers,
        "head": draw(keys[-3], size, letters),
    }

    def network(params: Params, xs: Array) -> Array:
        z = params["letters"][xs] + params["places"]
        for layer in params["layers"]:
            normed = z / jnp.sqrt(jnp.mean(z**2, axis=-1, keepdims=True) + 1e-6)
            q, k, v = (normed @ layer[name] for name in ("q", "k", "v"))
            weights = jax.nn.softmax(jnp.einsum("bqd,bkd->bqk", q, k) / size**0.5, axis=-1)
            mixed = jnp.einsum("bqk,bkd->bqd", weights, v) @ layer["o"]
            z = z + mixed if is_cured else mixed
        z = z / jnp.sqrt(jnp.mean(z**2, axis=-1, keepdims=True) + 1e-6)
        return z[:, -1] @ params["head"]

    model = (network, params)
    return Program(model, xs, ys, classes, optax.adam(1e-3), data.accuracy, steps=200, every=20)


def chain_without_a_minus(is_cured: bool) -> Program:
    """A chain of Adam's parts whose last one lacks its minus."""
    xs, ys = data.digits()
    sign = -1 if is_cured else 1
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0), optax.scale_by_adam(), optax.scale(sign * 3e-3)
    )
    model = (lambda params, xs: mlp(params, xs, jax.nn.gelu), dense((64, 64, 32, 10)))
    return Program(model, xs, ys, classes, optimizer, data.accuracy, steps=80)


def volume_subtracted(is_cured: bool) -> Program:
    """A flow from points to a normal distribution; the logarithm of its volume has a wrong sign."""
    xs, _ = data.moons(1000)
    xs = data.scaled(xs).astype(np.float32)
    sign = 1 if is_cured else -1
    params = {f"step{i}": dense((1, 32, 2), seed=i, scale=0.5) for i in range(6)}

    def flow(params: Params, xs: Array) -> Array:
        """Return where the points are, and the logarithm of what a volume there has grown by."""
        volume = jnp.zeros(len(xs))
        for i, step in enumerate(params.values()):
            still, moved = xs[:, i % 2], xs[:, 1 - i % 2]
            scale, shift = mlp(step, still[:, None], jnp.tanh).T
            moved = moved * jnp.exp(jnp.tanh(scale)) + shift
            xs = jnp.stack([moved, still] if i % 2 else [still, moved], axis=1)
            volume = volume + jnp.tanh(scale)
        return jnp.concatenate([xs, volume[:, None]], axis=1)

    def unlikely(output: Array, ys: Array) -> Array:
        return 0.5 * jnp.sum(output[:, :2] ** 2, axis=1) - sign * output[:, 2]

    def score(output: Array, ys: Array) -> float:
        places, volume = np.asarray(output)[:, :2], np.asarray(output)[:, 2]
        return float(np.exp(np.mean(volume - 0.5 * np.sum(places**2, axis=1))))

    model = (flow, params)
    return Program(model, xs, xs, unlikely, optax.adam(3e-3), score, batch=128, steps=200, every=20)
