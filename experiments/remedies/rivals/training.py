"""Training side by side: seeds and step sizes of one network as one program.

`arrays of each seed, step sizes -> steps of Adam, batches by seed -> accuracy over all examples`
"""

import re
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import PyTree

from experiments.remedies.rivals.networks import Network, built, drawn
from experiments.remedies.rivals.rivals import CURE, PACKAGES, PLAIN, REMEDIES, Given, output
from jaxnn.curing.cure import Cure
from jaxnn.curing.cures import patient_of, tried_on
from jaxnn.models import Model, is_pair
from jaxnn.train.trainee import learned, whole_of

RATES = 3e-4, 1e-3, 3e-3, 1e-2
BATCH = 32
EXAMPLES = 256  # that remedies from data are made with; `jaxnn.cures` is given all
Data = tuple[np.ndarray, np.ndarray]
Points = tuple[int, ...]


class Outcome(NamedTuple):
    """What a remedy reaches.

    advice: the change, in words.
    accuracies: (seeds, step sizes, points).
    change: the kind of the first cure; "" of other remedies.
    """

    advice: str
    accuracies: np.ndarray
    change: str = ""


def reached(
    of: Network, remedy: str, seeds: range, data: Data, points: Points, seconds: float
) -> Outcome:
    """Train a network with a remedy."""
    if remedy == CURE:
        return _of_cure(of, seeds, data, points, seconds)
    forms, starts = zip(
        *(
            REMEDIES[remedy](Given(of, drawn(of, seed), *_first(data), np.random.default_rng(seed)))
            for seed in seeds
        ),
        strict=True,
    )
    of_package = f"by the package {remedy.lower()}" if remedy in PACKAGES else ""
    return Outcome(of_package, trained(_plain(of, forms[0]), starts, seeds, data, points))


@cache  # so that remedies of one form are one program
def _plain(of: Network, form: str) -> Callable[[PyTree, Any], Any]:
    return partial(output, of, form)


def _first(data: Data) -> Data:
    return data[0][:EXAMPLES], data[1][:EXAMPLES]


def rows_of(seed: int, steps: int, count: int) -> np.ndarray:
    """Return the examples of each step, (S, b)."""
    rng = np.random.default_rng(seed)
    epochs = -(-steps * BATCH // (count - count % BATCH))
    rows = [rng.permutation(count)[: count - count % BATCH] for _ in range(epochs)]
    return np.concatenate(rows).reshape(-1, BATCH)[:steps].astype(np.int32)


def trained(
    out: Callable[[PyTree, Any], Any],
    starts: tuple[PyTree, ...],
    seeds: range,
    data: Data,
    points: Points,
) -> np.ndarray:
    """Return accuracies of (seeds, step sizes, points).

    Args:
        out: (arrays, x) -> ŷ.
        starts: the arrays of each seed.
        seeds: of the batches.
        data: examples and labels.
        points: after how many steps.
    """
    rows = np.stack([rows_of(seed, points[-1], len(data[0])) for seed in seeds])
    stacked = jax.tree.map(lambda *each: jnp.stack(each), *starts)
    values = _side_by_side(out, points, stacked, rows, jnp.array(RATES), *data)
    return np.asarray(values, np.float64)


@partial(jax.jit, static_argnums=(0, 1))
def _side_by_side(
    out: Callable[[PyTree, Any], Any],
    points: Points,
    stacked: PyTree,
    rows: jax.Array,
    rates: jax.Array,
    x: jax.Array,
    y: jax.Array,
) -> jax.Array:
    def loss(floats: PyTree, rows: jax.Array) -> jax.Array:
        logits = out(floats, x[rows])
        return optax.softmax_cross_entropy_with_integer_labels(logits, y[rows]).mean()

    def one(floats: PyTree, rows: jax.Array, rate: jax.Array) -> jax.Array:
        adam = optax.adam(rate)

        def step(i: Any, carry: PyTree) -> PyTree:
            floats, state = carry
            updates, state = adam.update(jax.grad(loss)(floats, rows[i]), state)
            return optax.apply_updates(floats, updates), state

        carry, made = (floats, adam.init(floats)), []
        for before, after in zip((0, *points), points, strict=False):
            carry = lax.fori_loop(before, after, step, carry)
            made.append(jnp.mean(jnp.argmax(out(carry[0], x), axis=1) == y))
        return jnp.stack(made)

    return jax.vmap(jax.vmap(one, (None, None, 0)), (0, 0, None))(stacked, rows, rates)


def _of_cure(of: Network, seeds: range, data: Data, points: Points, seconds: float) -> Outcome:
    """Train what `jaxnn.cures` ranks first on the first seed, made anew on each.

    Where no change works, its user is left with the network as it is.
    """
    cures = list(_cures(of, seeds, data, seconds))
    if not cures:
        return reached(of, PLAIN, seeds, data, points, seconds)._replace(advice="none")
    models: list[Any] = [cure.model for cure in cures]
    if of.framework == "torch":
        from experiments.remedies.rivals import of_torch

        rows = [rows_of(seed, points[-1], len(data[0])) for seed in seeds]
        values = of_torch.trained(
            models[0],
            [model.state_dict() for model in models for _ in RATES],
            [*RATES] * len(seeds),
            np.repeat(np.stack(rows), len(RATES), 0),
            data,
            points,
        ).reshape(len(seeds), len(RATES), -1)
    else:
        f, tree = _as_function(models[0])
        starts = tuple(jax.tree.leaves(learned(_as_function(model)[1])) for model in models)
        values = trained(partial(_output, f, tree), starts, seeds, data, points)
    return Outcome(cures[0].advice, values, cures[0].kind)


Forward = Callable[[PyTree, Any], Any]


def _as_function(model: Model) -> tuple[Forward, PyTree]:
    """Return a cured network as (params, x) -> ŷ, and its params: a pair, a module or layers."""
    if is_pair(model):
        return model
    return (_called if callable(model) else _through), model


def _called(module: Callable[[Any], Any], x: Any) -> Any:
    return module(x)


def _through(layers: list[tuple[Forward, PyTree]], x: Any) -> Any:
    for f, params in layers:
        x = f(params, x)
    return x


def _output(f: Forward, tree: PyTree, leaves: list[Any], x: Any) -> Any:
    floats = jax.tree.unflatten(jax.tree.structure(learned(tree)), leaves)
    return f(whole_of(floats, tree), x)


def _cures(of: Network, seeds: range, data: Data, seconds: float) -> Iterator[Cure]:
    """Yield the first cure of the first seed, and the same change of the others; none if none."""
    first: Cure | None = None
    for seed in seeds:
        patient = patient_of(built(of, drawn(of, seed)), *_given(of, data), loss=_loss(of))
        if first is None:
            found = tried_on(patient, seconds=seconds)
            if not found:
                return
            first = found[0]
            yield first
        else:
            of_kind = tried_on(patient, kinds=(first.kind,)).tried
            same = [cure for cure in of_kind if _words(cure) == _words(first)]
            yield (same or of_kind)[0]


def _words(cure: Cure) -> str:
    """Return what a cure says without its numbers, which differ between seeds."""
    return re.sub(r"\d[\d.e+-]*", "", cure.advice)


def _given(of: Network, data: Data) -> tuple[Any, Any]:
    xs, ys = data
    if of.framework != "torch":
        return jnp.asarray(xs), jnp.asarray(ys)
    from experiments.remedies.rivals import of_torch

    return of_torch.given(xs, ys)


def _loss(of: Network) -> Any:
    if of.framework != "torch":
        return optax.softmax_cross_entropy_with_integer_labels
    from experiments.remedies.rivals import of_torch

    return of_torch.LOSS
