"""Is the loss after training told by the two exponents of law 33 before it?

    python -m experiments.laws.trained_tokens

Cowsik et al. 2024, arXiv:2403.02579, say so: that a deep transformer reaches a small test loss
where λ_angle and λ_gradient are near zero, both, and nowhere else. Here their blocks, 24 of them
with 32 channels, learn to name the digit of an image whose rows are tokens, and to repeat four
symbols that they have read, from 40 pairs of two scales: a of attention and s_A of the MLP. All
have the same numbers, steps, and Adam. Rows of what was measured already stay.

`scales -> exponents by the formula;  scales, task -> weights -> Adam -> test loss -> a row`
"""

import csv
import itertools
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import polars as pl
from jax import lax

from experiments.laws.collapsed import (
    LAYERS_OF,
    PUBLISHED,
    Strengths,
    in_theory,
    normed,
    scaled,
    weights_of,
)
from experiments.laws.training import digits

DATA = Path(__file__).parents[2] / "docs" / "data" / "trained_tokens.csv"
COLUMNS = ("task", "a", "s_A", "angle", "gradient", "loss")
CHANNELS, BLOCKS = 32, 24
OF_ATTENTION = (0.05, 0.1, 0.2, 0.35, 0.6)
OF_WEIGHTS = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
M = 0.5  # the strength of the MLP
STEPS, BATCH, RATE = 400, 32, 1e-3
TEST = 500  # examples
SYMBOLS, READ = 8, 4  # of the copy task


class Recall(NamedTuple):
    """Sequences: tokens (N, T, F), a class for each token (N, T), and which are asked for (T,)."""

    tokens: np.ndarray
    classes: np.ndarray
    asked: np.ndarray
    number: int


def rows_of_digits() -> Recall:
    """Return images as sequences of their rows; every token is to name the digit."""
    examples = digits()
    images = np.asarray(examples.x, np.float32).reshape(-1, 8, 8)
    classes = np.repeat(np.asarray(examples.y)[:, None], 8, axis=1)
    return Recall(images, classes, np.ones(8, np.float32), 10)


def copies() -> Recall:
    """Return random symbols and as many blanks, whose tokens are to repeat them."""
    rng = np.random.default_rng(0)
    symbols = rng.integers(0, SYMBOLS, (2000 + TEST, READ))
    blanks = np.full_like(symbols, SYMBOLS)
    one_hot = np.eye(SYMBOLS + 1, dtype=np.float32)[np.hstack([symbols, blanks])]
    asked = np.repeat(np.array([0, 1], np.float32), READ)
    return Recall(3 * one_hot, np.hstack([0 * symbols, symbols]), asked, SYMBOLS)


TASKS: Mapping[str, Callable[[], Recall]] = {"digits": rows_of_digits, "copy": copies}


def network(task: Recall, strengths: Strengths) -> Any:
    """Draw the parameters: of the blocks, stacked; of the embedding, the places and the output."""
    _, tokens, features = task.tokens.shape
    of_blocks, of_embedding, of_places, of_output = jax.random.split(jax.random.key(0), 4)
    keys = jax.random.split(of_blocks, BLOCKS)
    ends = {
        "embedding": jax.random.normal(of_embedding, (features, CHANNELS)) / features**0.5,
        "places": jax.random.normal(of_places, (tokens, CHANNELS)),
        "output": jax.random.normal(of_output, (CHANNELS, task.number)) / CHANNELS**0.5,
    }
    return jax.vmap(partial(weights_of, n=CHANNELS, s=strengths.s))(keys), ends


def loss_of(params: Any, strengths: Any, tokens: Any, classes: Any, asked: Any) -> jax.Array:
    """Return the mean cross-entropy of the tokens that are asked for."""
    blocks, ends = params

    def block(z: jax.Array, weights: Any) -> tuple[jax.Array, None]:
        for layer, of_layer in zip(LAYERS_OF[PUBLISHED], scaled(weights, strengths), strict=True):
            z = layer(of_layer, z)
        return z, None

    z, _ = lax.scan(block, tokens @ ends["embedding"] + ends["places"], blocks)
    logits = normed(z) @ ends["output"]
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, classes)
    return jnp.mean(losses @ asked) / jnp.sum(asked)


@jax.jit
def trained(params: Any, strengths: Any, task: Any, batches: jax.Array) -> jax.Array:
    """Train, and return the loss of the last `TEST` examples."""
    tokens, classes, asked = task
    adam = optax.adam(RATE)

    def step(state: Any, batch: jax.Array) -> tuple[Any, None]:
        params, moments = state
        given = strengths, tokens[batch], classes[batch], asked
        updates, moments = adam.update(jax.grad(loss_of)(params, *given), moments)
        return (optax.apply_updates(params, updates), moments), None

    (params, _), _ = lax.scan(step, (params, adam.init(params)), batches)
    return loss_of(params, strengths, tokens[-TEST:], classes[-TEST:], asked)


def rows(known: list[dict[str, str]]) -> Iterator[dict[str, str]]:
    """Yield a row a network, those that are known as they are."""
    there = {(row["task"], float(row["a"]), float(row["s_A"])): row for row in known}
    for name, make in TASKS.items():
        task = make()
        sizes = STEPS, BATCH
        batches = np.random.default_rng(1).integers(0, len(task.tokens) - TEST, sizes)
        for a, s in itertools.product(OF_ATTENTION, OF_WEIGHTS):
            row = there.get((name, a, s))
            if row is None:
                strengths = Strengths(a, M, s)
                with jax.enable_x64(True):
                    exponents = in_theory(PUBLISHED, strengths)[:2]
                loss = trained(network(task, strengths), strengths, task[:3], batches)
                numbers = (*exponents, float(loss))
                values = name, f"{a:g}", f"{s:g}", *(f"{v:.5g}" for v in numbers)
                row = dict(zip(COLUMNS, values, strict=True))
            yield row


def read() -> list[dict[str, str]]:
    """Return the rows that are stored."""
    return pl.read_csv(DATA, infer_schema=False).rows(named=True) if DATA.exists() else []


def main() -> None:
    """Measure, and store a row at a time."""
    known = read()
    with DATA.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in rows(known):
            writer.writerow(row)
            file.flush()


if __name__ == "__main__":
    main()
