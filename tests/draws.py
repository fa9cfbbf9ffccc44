"""Networks that are well or ill for known reasons, drawn in numbers, to count a verdict's errors.

`family, width, depth -> networks of several seeds -> flows -> words -> docs/data/verdicts.csv`

Well or ill is decided by many draws, never by a verdict: ill are networks that change the gradient
of their equal layers by more than a factor of ten in the mean over draws, by four times as much as
that differs from draw to draw. `python tests/draws.py` writes the table of the page on verdicts.
"""

import csv
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxnn

SEEDS = 10  # of each width and depth
TABLE = Path(__file__).parents[1] / "docs" / "data" / "verdicts.csv"
BATCH, TOKENS, HEADS, WORDS = 16, 8, 4, 50


class Family(NamedTuple):
    """Networks of one kind: `flows(width, depth, keys)` returns the flow of each key."""

    name: str
    ill: bool
    of: tuple[tuple[int, int], ...]  # widths and depths
    flows: Callable[[int, int, Any], Any]


def mlp(activation: str, draw: Any, hidden: Any, width: int, depth: int, keys: Any) -> Any:
    """Return the flows of Networks of `depth` hidden layers, with labels of two classes.

    A draw is (key, shape) -> weights; a hidden block that is a function is one of the depth.
    """
    block = hidden(depth) if callable(hidden) else hidden
    net = jaxnn.Network((width, *[width] * depth, 1), activation, "binary", hidden=block)

    def flow(key: Any) -> Any:
        k = jax.random.split(key, 5)
        shapes = ((width, width), (depth - 1, width, width), (width, 1))
        layers = [
            jaxnn.network.Layer(draw(each, shape), jnp.zeros((*shape[:-2], shape[-1])))
            for each, shape in zip(k[:3], shapes, strict=True)
        ]
        xs = jax.random.normal(k[3], (BATCH, width))
        ys = jax.random.bernoulli(k[4], 0.5, (BATCH,)).astype(int)
        return jaxnn.gradient_flow((net, tuple(layers)), xs, ys)

    return jax.jit(partial(jax.lax.map, flow))(keys)


def gaussian(sigma_w: float) -> Any:
    """Return a draw of weights of variance σ_w² / fan_in."""
    return lambda key, shape: sigma_w * jax.random.normal(key, shape) / shape[-2] ** 0.5


def orthogonal(key: Any, shape: tuple[int, ...]) -> Any:
    """Return orthogonal weights, for each matrix its own."""
    draw = partial(jax.nn.initializers.orthogonal(), shape=shape[-2:])
    return draw(key) if len(shape) == 2 else jax.vmap(draw)(jax.random.split(key, shape[0]))


def uniform(key: Any, shape: tuple[int, ...]) -> Any:
    """Return the weights of torch.nn.Linear: uniform within ±1/√fan_in."""
    limit = shape[-2] ** -0.5
    return jax.random.uniform(key, shape, minval=-limit, maxval=limit)


def norm(z: Any) -> Any:
    """Return a layer norm without parameters."""
    return jax.nn.standardize(z, axis=-1)


def attention(p: Any, z: Any) -> Any:
    """Return causal self-attention over tokens."""
    examples, tokens, width = z.shape
    q, k, v = (
        (z @ p[name]).reshape(examples, tokens, HEADS, width // HEADS) for name in ("q", "k", "v")
    )
    out = jax.nn.dot_product_attention(q, k, v, is_causal=True)
    return out.reshape(z.shape) @ p["out"]


def block(p: Any, z: Any) -> Any:
    """Return what comes out of a block with the norms in front."""
    z = z + attention(p, norm(z))
    return z + jax.nn.gelu(norm(z) @ p["up"]) @ p["down"]


def rms(z: Any) -> Any:
    """Return an RMSNorm without parameters."""
    return z * jax.lax.rsqrt(jnp.mean(jnp.square(z), axis=-1, keepdims=True) + 1e-6)


def rotated(x: Any) -> Any:
    """Return rotary positions: pairs of features turned by an angle that grows with the token."""
    left, right = jnp.split(x, 2, axis=-1)
    rates = 10000.0 ** -(np.arange(left.shape[-1]) / left.shape[-1])
    angles = np.float32(np.arange(x.shape[1])[:, None, None] * rates)
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    return jnp.concatenate([left * cos - right * sin, left * sin + right * cos], axis=-1)


def llama_block(p: Any, z: Any) -> Any:
    """Return what comes out of a block of a llama: two heads of queries for one of keys."""
    examples, tokens, width = z.shape
    h = rms(z) * p["norm1"]
    q, k, v = ((h @ p[name]).reshape(examples, tokens, -1, width // HEADS) for name in "qkv")
    out = jax.nn.dot_product_attention(rotated(q), rotated(k), v, is_causal=True)
    z = z + out.reshape(z.shape) @ p["out"]
    h = rms(z) * p["norm2"]
    return z + (jax.nn.silu(h @ p["gate"]) * (h @ p["up"])) @ p["down"]


def vit_block(p: Any, z: Any) -> Any:
    """Return what comes out of a block of a ViT: queries, keys and values of one product."""
    h = norm(z) * p["norm1"]
    q, k, v = jnp.moveaxis((h @ p["qkv"]).reshape(*h.shape[:2], 3, HEADS, -1), (2, 3), (0, 2))
    out = jax.nn.softmax(q @ k.swapaxes(-1, -2) / k.shape[-1] ** 0.5, axis=-1) @ v
    z = z + out.swapaxes(1, 2).reshape(z.shape) @ p["out"]
    h = norm(z) * p["norm2"]
    return z + jax.nn.gelu(h @ p["up"]) @ p["down"]


def of_llama_block(rng: Any, width: int, std: Any = None) -> dict[str, Any]:
    """Draw the parameters of a block of a llama."""
    shapes = {"q": (width, width), "k": (width, width // 2), "v": (width, width // 2)}
    return _of_block(rng, shapes | {"gate": (width, 2 * width)}, width, std)


def of_vit_block(rng: Any, width: int, std: Any = None) -> dict[str, Any]:
    """Draw the parameters of a block of a ViT."""
    return _of_block(rng, {"qkv": (width, 3 * width)}, width, std)


def _of_block(rng: Any, shapes: dict[str, Any], width: int, std: Any) -> dict[str, Any]:
    shapes |= {"out": (width, width), "up": (width, 2 * width), "down": (2 * width, width)}
    gains = dict.fromkeys(("norm1", "norm2"), np.ones(width, np.float32))
    return gains | {name: normal(rng, n, std or n[0] ** -0.5) for name, n in shapes.items()}


def of_block(rng: Any, width: int, std: Any = None) -> dict[str, Any]:
    """Draw the parameters of a block, of a standard deviation or of 1/√fan_in."""
    shapes = dict.fromkeys(("q", "k", "v", "out"), (width, width))
    shapes |= {"up": (width, 4 * width), "down": (4 * width, width)}
    return {name: normal(rng, shape, std or shape[0] ** -0.5) for name, shape in shapes.items()}


def normal(rng: Any, shape: tuple[int, ...], std: float) -> Any:
    """Draw normal numbers of a standard deviation."""
    return np.float32(std * rng.normal(size=shape))


def embed(p: Any, words: Any) -> Any:
    """Return the embeddings of words and positions."""
    return p["words"][words] + p["places"]


def pre_norm(width: int, depth: int, keys: Any) -> Any:
    """Return the flows of blocks with the norms in front, on standard normal tokens."""

    def layers(rng: Any) -> list[Any]:
        return [(block, of_block(rng, width)) for _ in range(depth)]

    return _chains(layers, lambda rng: normal(rng, (BATCH, TOKENS, width), 1.0), width, keys)


def gpt(width: int, depth: int, keys: Any) -> Any:
    """Return the flows of GPT-2's shape and initialisation: embeddings, blocks, norm, head."""

    def layers(rng: Any) -> list[Any]:
        tables = {"words": (WORDS, width), "places": (TOKENS, width)}
        return [
            (embed, {name: normal(rng, shape, 0.02) for name, shape in tables.items()}),
            *((block, of_block(rng, width, 0.02)) for _ in range(depth)),
            (scaled_norm, np.ones(width, np.float32)),
            (product, normal(rng, (width, WORDS), 0.02)),
        ]

    return _chains(layers, lambda rng: rng.integers(0, WORDS, (BATCH, TOKENS)), WORDS, keys)


def scaled_rms(scale: Any, z: Any) -> Any:
    """Return an RMSNorm times a scale for each channel."""
    return rms(z) * scale


def patches(p: Any, z: Any) -> Any:
    """Return the embeddings of patches, a token of the class in front of them."""
    first = jnp.broadcast_to(p["class"], (len(z), 1, p["class"].shape[-1]))
    return jnp.concatenate([first, z @ p["patch"]], axis=1) + p["places"]


def of_class(theta: Any, z: Any) -> Any:
    """Return z θ of the first token."""
    return z[:, :1] @ theta


def llama(width: int, depth: int, keys: Any) -> Any:
    """Return the flows of the shape and initialisation of a llama."""

    def layers(rng: Any) -> list[Any]:
        return [
            (words, normal(rng, (WORDS, width), 0.02)),
            *((llama_block, of_llama_block(rng, width, 0.02)) for _ in range(depth)),
            (scaled_rms, np.ones(width, np.float32)),
            (product, normal(rng, (width, WORDS), 0.02)),
        ]

    return _chains(layers, lambda rng: rng.integers(0, WORDS, (BATCH, TOKENS)), WORDS, keys)


def words(table: Any, xs: Any) -> Any:
    """Return the embeddings of words."""
    return table[xs]


def vit(width: int, depth: int, keys: Any) -> Any:
    """Return the flows of a ViT of drawn weights, on standard normal patches."""

    def layers(rng: Any) -> list[Any]:
        first = {
            "class": normal(rng, (1, 1, width), 1.0),
            "patch": normal(rng, (2 * width, width), (2 * width) ** -0.5),
            "places": normal(rng, (TOKENS + 1, width), 0.1),
        }
        return [
            (patches, first),
            *((vit_block, of_vit_block(rng, width)) for _ in range(depth)),
            (scaled_norm, np.ones(width, np.float32)),
            (of_class, normal(rng, (width, width), width**-0.5)),
        ]

    return _chains(layers, lambda rng: normal(rng, (BATCH, TOKENS, 2 * width), 1.0), width, keys)


def scaled_norm(scale: Any, z: Any) -> Any:
    """Return a layer norm times a scale for each channel."""
    return norm(z) * scale


def product(theta: Any, z: Any) -> Any:
    """Return z θ."""
    return z @ theta


def linear(output: Any, ys: Any) -> Any:
    """Return a loss whose gradient is ys, of the mean over the examples; of one token their sum."""
    return jnp.sum(output * ys, axis=(1, 2))


def _chains(layers: Any, xs: Any, width: int, keys: Any) -> Any:
    """Return the flow of each key: compiled once, then one after the other."""
    rngs = [np.random.default_rng(numbers) for numbers in np.asarray(jax.random.key_data(keys))]
    net, _ = jaxnn.as_network(layers(np.random.default_rng(0)))

    @jax.jit
    def flow(params: Any, xs: Any, ys: Any) -> Any:
        return jaxnn.gradient_flow((net, params), xs, ys, loss=linear)

    flows = [
        flow(net.params(layers(rng)), xs(rng), normal(rng, (BATCH, TOKENS, width), 1.0))
        for rng in rngs
    ]
    return jax.tree.map(lambda *v: jnp.stack(v), *flows)


def relu_layer(theta: Any, z: Any) -> Any:
    """Return relu(z θ)."""
    return jax.nn.relu(z @ theta)


def pyramid(std: Any, width: int, depth: int, keys: Any) -> Any:
    """Return the flows of relu layers of six widths, each 1.5 times the last, `depth` in all.

    The weights are of a standard deviation, or He's. More than half of the layers repeat.
    """
    widths = [width, *np.repeat([round(width * 1.5**i) for i in range(6)], depth // 6)]

    def layers(rng: Any) -> list[Any]:
        return [
            (relu_layer, normal(rng, (int(n), int(m)), std or (2 / n) ** 0.5))
            for n, m in pairwise(widths)
        ]

    def xs(rng: Any) -> Any:
        return normal(rng, (BATCH, TOKENS, width), 1.0)

    return _chains(layers, xs, int(widths[-1]), keys)


def by_root_of_depth(depth: int) -> Any:
    """Return a residual block whose branch is scaled by 1/√L."""
    return jaxnn.blocks.Residual(scale=depth**-0.5)


DENSE, HE = jaxnn.blocks.Dense(), gaussian(2**0.5)
FAMILIES = (
    Family(
        "relu, He",
        False,
        ((64, 8), (64, 24), (128, 32), (256, 48)),
        partial(mlp, "relu", HE, DENSE),
    ),
    Family(
        "tanh, orthogonal",
        False,
        ((32, 10), (64, 30), (64, 60), (128, 100)),
        partial(mlp, "tanh", orthogonal, DENSE),
    ),
    Family(
        "tanh, critical",
        False,
        ((128, 100), (64, 60), (64, 100), (128, 200)),
        partial(mlp, "tanh", gaussian(1.0), DENSE),
    ),
    Family("pre-norm transformer", False, ((16, 4), (32, 12), (64, 48), (16, 200)), pre_norm),
    Family(
        "residual, branch / √L",
        False,
        ((32, 16), (64, 32), (64, 64), (128, 128)),
        partial(mlp, "relu", HE, by_root_of_depth),
    ),
    Family("GPT-2's shape", False, ((16, 2), (32, 6), (32, 12), (64, 24)), gpt),
    Family("llama-like", False, ((16, 2), (32, 6), (32, 12), (64, 24)), llama),
    Family("ViT", False, ((16, 2), (32, 6), (32, 12), (64, 24)), vit),
    Family(
        "relu, He, six widths",
        False,
        ((16, 18), (16, 24), (32, 18), (32, 30)),
        partial(pyramid, None),
    ),
    Family(
        "relu, six widths, std 0.1",
        True,
        ((16, 18), (16, 24), (32, 18), (32, 30)),
        partial(pyramid, 0.1),
    ),
    Family(
        "sigmoid, Glorot",
        True,
        ((64, 5), (64, 12), (64, 30), (128, 60)),
        partial(mlp, "sigmoid", gaussian(1.0), DENSE),
    ),
    Family(
        "tanh, σ_w = 0.8",
        True,
        ((64, 20), (64, 32), (128, 32), (128, 64)),
        partial(mlp, "tanh", gaussian(0.8), DENSE),
    ),
    Family(
        "tanh, σ_w = 3",
        True,
        ((64, 12), (64, 24), (128, 32), (128, 64)),
        partial(mlp, "tanh", gaussian(3.0), DENSE),
    ),
    Family(
        "relu, torch.nn.Linear's",
        True,
        ((64, 5), (64, 8), (64, 16), (128, 40)),
        partial(mlp, "relu", uniform, DENSE),
    ),
    Family(
        "residual, branch × 1",
        True,
        ((32, 32), (32, 64), (64, 64), (128, 64)),
        partial(mlp, "relu", HE, jaxnn.blocks.Residual()),
    ),
    Family(
        "residual tanh, branch × 1",
        True,
        ((32, 250), (64, 250), (64, 500), (32, 1000)),
        partial(mlp, "tanh", gaussian(1.0), jaxnn.blocks.Residual()),
    ),
    Family(
        "post-norm, tanh, σ_w = 3",
        True,
        ((64, 64), (64, 128), (64, 192), (128, 128)),
        partial(mlp, "tanh", gaussian(3.0), jaxnn.blocks.PostNorm()),
    ),
)


def totals(flows: Any) -> Any:
    """Return log₁₀ of what the equal layers of each network multiply the gradient by.

    Of layers of several widths all count.
    """
    log = np.asarray(flows.log_delta, np.float64) / np.log(10)
    if flows.net is not None:
        first = int(flows.net.blocks[1] == jaxnn.blocks.PostNorm())  # layer 1 is behind no norm
        return log[:, first] - log[:, -2]  # the hidden layers
    if all(name.endswith(relu_layer.__name__) for name in flows.names):
        return log[:, 0] - log[:, -1]
    equal = [i for i, name in enumerate(flows.names) if name.endswith(block.__name__)]
    return log[:, equal[0]] - log[:, equal[-1]]


def judged(flows: Any) -> list[tuple[str, bool]]:
    """Return the word for each network, and whether its verdict calls it ill."""
    verdicts = map(jaxnn.verdict, flows)
    return [(v.word, v.ill) for v in verdicts]


def row(family: Family, seeds: int = SEEDS) -> dict[str, Any]:
    """Return a family's row of the table."""
    found: Counter[tuple[str, bool]] = Counter()
    means = []
    for width, depth in family.of:
        keys = jax.random.split(jax.random.key(width + depth), seeds)
        flows = family.flows(width, depth, keys)
        total = totals(flows)
        mean, sd = float(np.mean(total)), float(np.std(total, ddof=1))
        if family.ill and not abs(mean) > max(1, 4 * sd):
            raise ValueError(f"{family.name}, {width} x {depth}: {mean:.2g} ± {sd:.2g} is not ill")
        means.append(mean)
        found.update(judged(flows))
    words: Counter[str] = Counter()
    for (word, _), number in found.items():
        words[word] += number
    wrong = sum(number for (_, ill), number in found.items() if ill != family.ill)
    return {
        "networks": family.name,
        "are": "ill" if family.ill else "well",
        "layers": f"{min(d for _, d in family.of)} to {max(d for _, d in family.of)}",
        "decades": f"{min(means):+.2g} to {max(means):+.2g}",
        "drawn": sum(found.values()),
        "words": ", ".join(f"{word} {n}" for word, n in words.most_common()),
        "wrong": wrong,
    }


def main() -> None:
    """Write the table."""
    rows = []
    for family in FAMILIES:
        rows.append(row(family))
        print(*rows[-1].values(), sep=" | ", flush=True)
    with TABLE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
