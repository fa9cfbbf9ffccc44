"""Programs in plain JAX whose layers or parameters are at fault."""

from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from experiments.casebook import data
from experiments.casebook.program import CaseProgram
from experiments.casebook.programs import jax_digits as digits
from experiments.casebook.programs.jax_parts import (
    Params,
    binary,
    classes,
    classified,
    dense,
    mlp,
    squares,
)


def features_behind_stop_gradient(is_cured: bool) -> CaseProgram:
    """A stop_gradient that stayed, below it features as they were drawn."""
    xs, ys = data.circles()
    stop = (lambda z: z) if is_cured else jax.lax.stop_gradient

    def network(params: Params, xs: Array) -> Array:
        z = stop(jnp.tanh(xs @ params["features"]["w"] + params["features"]["b"]))
        return jax.nn.sigmoid(z @ params["head"]["w"] + params["head"]["b"])

    drawn = dense((2, 4, 1))
    params = {"features": drawn["layer1"], "head": drawn["layer2"]}
    return CaseProgram((network, params), xs, ys, binary, optax.adam(0.1), data.accuracy, steps=100)


def label_that_no_layer_has(is_cured: bool) -> CaseProgram:
    """An optimiser for what is named hidden; the layers are named layer."""
    known = "layer" if is_cured else "layer3"

    def labels(params: Params) -> Any:
        return jax.tree_util.tree_map_with_path(
            lambda path, _: "train" if str(path[0].key).startswith(known) else "rest", params
        )

    of_label = {"train": optax.adam(3e-3), "rest": optax.set_to_zero()}
    optimizer = optax.multi_transform(of_label, labels)
    return classified(data.digits(), (mlp, dense((64, 32, 32, 10))), optimizer)


def logits_not_divided(is_cured: bool) -> CaseProgram:
    """Attention over letters, its logits not divided and from weights drawn too large."""
    xs, ys, letters = data.text()
    width, length = 32, xs.shape[1]
    keys = jax.random.split(jax.random.key(0), 6)
    draw = lambda key, n, m: jax.random.normal(key, (n, m)) / n**0.5
    params = {
        "letters": jax.random.normal(keys[0], (letters, width)),
        "places": jax.random.normal(keys[1], (length, width)),
        **{name: draw(key, width, width) for name, key in zip("qkv", keys[2:5], strict=True)},
        "head": draw(keys[5], width, letters),
    }
    scale = width**-0.5 if is_cured else 10.0

    def network(params: Params, xs: Array) -> Array:
        z = params["letters"][xs] + params["places"]
        q, k, v = (z @ params[name] for name in "qkv")
        logits = scale * jnp.einsum("bqd,bkd->bqk", q, k)
        seen = jnp.tril(jnp.ones((length, length), bool))
        weights = jax.nn.softmax(jnp.where(seen, logits, -1e9), axis=-1)
        return (z + jnp.einsum("bqk,bkd->bqd", weights, v)) @ params["head"]

    def loss(output: Array, ys: Array) -> Array:
        return jnp.mean(classes(output, ys), axis=-1)

    return CaseProgram((network, params), xs, ys, loss, optax.adam(3e-3), data.accuracy)


def weights_times_eight(is_cured: bool) -> CaseProgram:
    """All weights eight times too large."""
    return digits.training(
        (digits.mlp, digits.start_of_mlp(1.0 if is_cured else 8.0)), optax.lion(3e-4)
    )


def dead_router(is_cured: bool) -> CaseProgram:
    """One expert takes all, and softmax hands nothing down to the router."""
    params = digits.start_of_experts()
    if not is_cured:
        params["bias"] = params["bias"].at[0].set(20.0)
    return digits.training((digits.mixture, params))


def zeroed_branch(is_cured: bool) -> CaseProgram:
    """A block whose weights are zero, both of them."""
    params = digits.start_of_residual()
    if not is_cured:
        params["blocks"][1] = {k: jnp.zeros_like(v) for k, v in params["blocks"][1].items()}
    return digits.training((digits.residual, params), optax.adamw(2e-3, weight_decay=0.1))


def batch_norm_of_one(is_cured: bool) -> CaseProgram:
    """Batch norm over batches of one example."""
    return digits.training(
        (digits.batch_norm_mlp, digits.start_of_mlp()), batch=64 if is_cured else 1
    )


def distance_of_a_pair_to_itself(is_cured: bool) -> CaseProgram:
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
    return CaseProgram(model, xs, ys, contrastive, optax.adam(3e-3), score, steps=150, every=10)


def attention_without_skips(is_cured: bool) -> CaseProgram:
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
    return classified((xs, ys), model, optax.adam(1e-3), steps=200, every=20)


def degrees_multiplied(is_cured: bool) -> CaseProgram:
    """A graph of pixels whose neighbours are multiplied by their number, not divided by it."""
    images, ys = data.digits()
    rows, columns = np.divmod(np.arange(64), 8)
    is_near = np.maximum(abs(rows[:, None] - rows), abs(columns[:, None] - columns)) <= 1
    near, degrees = is_near.astype(np.float32), is_near.sum(axis=1).astype(np.float32)
    near = near / np.sqrt(degrees[:, None] * degrees) if is_cured else degrees[:, None] * near
    places = np.broadcast_to(np.stack([rows, columns], axis=1) / 4 - 1, (len(images), 64, 2))
    xs = np.concatenate([images[:, :, None], places], axis=-1).astype(np.float32)
    params: dict[str, Any] = dense((3, 16, 16, 8)) | {"head": dense((512, 10), seed=1)["layer1"]}

    def network(params: Params, xs: Array) -> Array:
        z = xs
        for name in ("layer1", "layer2", "layer3"):
            z = jax.nn.relu(jnp.asarray(near) @ z @ params[name]["w"] + params[name]["b"])
        return z.reshape(len(xs), -1) @ params["head"]["w"] + params["head"]["b"]

    return classified((xs, ys), (network, params), optax.adam(3e-3), steps=150, every=10)


def relu_behind_two_derivatives(is_cured: bool) -> CaseProgram:
    """An equation for the second derivative of a network of relu, whose slope never changes."""
    xs = np.random.default_rng(0).uniform(size=(512, 1)).astype(np.float32)
    ys = -np.sin(2 * np.pi * xs[:, 0])
    activation = jnp.tanh if is_cured else jax.nn.relu

    def curvature(params: Params, xs: Array) -> Array:
        """Return u″, where u is the network minus the line through its ends."""

        def network(x: Array) -> Array:
            return mlp(params, x[None, None], activation)[0, 0]

        return jax.vmap(jax.grad(jax.grad(network)))(xs[:, 0])[:, None]

    model = (curvature, dense((1, 32, 32, 1)))
    given = model, xs, ys, squares, optax.adam(1e-2), data.explained
    return CaseProgram(*given, batch=64, steps=200, every=10)


def spread_by_whole_numbers(is_cured: bool) -> CaseProgram:
    """Weights drawn with a spread of 1 // n, which is 0."""
    keys = jax.random.split(jax.random.key(0), 3)
    params = {}
    for i, (key, (n, m)) in enumerate(zip(keys, pairwise((64, 32, 16, 10)), strict=True)):
        spread = 1.0 / n if is_cured else 1 // n
        params[f"layer{i}"] = {"w": spread * jax.random.normal(key, (n, m)), "b": jnp.zeros(m)}
    model = (lambda params, xs: mlp(params, xs, jnp.tanh), params)
    return classified(data.digits(), model, optax.adam(1e-2), steps=120)


def branches_at_full_size(is_cured: bool) -> CaseProgram:
    """Twenty-four residual blocks without a norm, whose branches are as large as what they join."""
    blocks = {f"block{i}": dense((32, 32, 32), seed=i) for i in range(24)}
    scale = {"scale": jnp.zeros(())} if is_cured else {}
    params: dict[str, Any] = {
        "first": dense((64, 32))["layer1"],
        **{name: block | scale for name, block in blocks.items()},
        "last": dense((32, 10))["layer1"],
    }

    def network(params: Params, xs: Array) -> Array:
        z = xs @ params["first"]["w"] + params["first"]["b"]
        for name in blocks:
            block = params[name]
            inner = jax.nn.relu(jax.nn.relu(z) @ block["layer1"]["w"] + block["layer1"]["b"])
            branch = inner @ block["layer2"]["w"] + block["layer2"]["b"]
            z = z + (block["scale"] * branch if is_cured else branch)
        return jax.nn.relu(z) @ params["last"]["w"] + params["last"]["b"]

    return classified(data.digits(), (network, params), optax.sgd(0.05), steps=120)


def gate_of_two_zero_layers(is_cured: bool) -> CaseProgram:
    """A gate for what is said of an image, of two layers of zeros with a relu between."""
    images, labels = data.digits()
    chance = np.random.default_rng(0)
    said = np.where(chance.random(len(labels)) < 0.5, labels, chance.integers(0, 10, len(labels)))
    xs = np.concatenate([images, np.eye(10)[said]], axis=1).astype(np.float32)
    params = {
        "seen": dense((64, 32))["layer1"],
        "fused": dense((74, 32), seed=1)["layer1"],
        "gate": dense((32, 32, 32), seed=2, scale=0.0),
        "head": dense((32, 32, 2), seed=3),
    }
    if is_cured:
        params["gate"]["layer1"] = dense((32, 32), seed=4)["layer1"]

    def network(params: Params, xs: Array) -> Array:
        fused = jax.nn.relu(xs @ params["fused"]["w"] + params["fused"]["b"])
        seen = jax.nn.relu(xs[:, :64] @ params["seen"]["w"] + params["seen"]["b"])
        return mlp(params["head"], seen + jnp.tanh(mlp(params["gate"], fused)) * fused)

    ys = (said == labels).astype(np.int32)
    return classified((xs, ys), (network, params), optax.adam(3e-3), steps=300, every=20)


def fans_of_the_wrong_axes(is_cured: bool) -> CaseProgram:
    """Convolutions whose fan is counted without their channels, so that weights are too large."""
    keys = jax.random.split(jax.random.key(0), 7)
    params: dict[str, Any] = {}
    for i, key in enumerate(keys[:-1]):
        shape = (3, 3, 16 if i else 1, 16)
        fan = np.prod(shape[:-1] if is_cured else shape[:2])
        params[f"layer{i}"] = (2 / fan) ** 0.5 * jax.random.normal(key, shape)
    params["head"] = dense((256, 10))["layer1"]

    def network(params: Params, xs: Array) -> Array:
        z = xs.reshape(-1, 8, 8, 1)
        for i in range(6):
            strides = (2, 2) if i == 2 else (1, 1)
            layout = ("NHWC", "HWIO", "NHWC")
            z = jax.lax.conv_general_dilated(
                z, params[f"layer{i}"], strides, "SAME", dimension_numbers=layout
            )
            z = jax.nn.relu(z)
        return z.reshape(len(z), -1) @ params["head"]["w"] + params["head"]["b"]

    return classified(data.digits(), (network, params), optax.sgd(0.02, momentum=0.9), steps=80)
