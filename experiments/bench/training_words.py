"""Steps of a transformer over words with Adam, in one scan, with a watch or without."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxnn
from experiments.bench import transformer
from experiments.bench.waiting import waited
from experiments.bench.workload import Workload
from jaxnn.train.alarms import RULES

ADAM = optax.adam(1e-3)


def workload(
    blocks: int, width: int, tokens: int, batch: int, words: int, steps: int, every: int
) -> Workload:
    """Return a training of so many steps.

    Args:
        blocks: of the transformer.
        width: channels.
        tokens: of each example.
        batch: examples.
        words: of the vocabulary.
        steps: of a repetition.
        every: steps from one measurement to the next; 0 without a watch.
    """
    of = transformer.draw_over_words(blocks, width, tokens, batch, words, stacked=True)
    params, xs, ys = of
    watch = None
    if every:
        net, _ = jaxnn.from_function(transformer.logits, params, xs)
        watch = jaxnn.watch(net, loss=transformer.loss, every=every, ignore=tuple(RULES))

    def train_step(carry: Any, step: Any) -> Any:
        params, opt_state = carry
        value, gradient = jax.value_and_grad(
            lambda params: transformer.loss(transformer.logits(params, xs), ys).mean()
        )(params)
        updates, opt_state = ADAM.update(gradient, opt_state, params)
        after = optax.apply_updates(params, updates)
        if watch is not None:
            watch(step, params, xs, ys, after=after)
        return (after, opt_state), value

    @jax.jit
    def train(params: Any) -> Any:
        return jax.lax.scan(train_step, (params, ADAM.init(params)), jnp.arange(steps))[1]

    def run() -> None:
        waited(train(params))
        if watch is not None:
            watch.flush()

    def numbers(_: Path) -> list[float]:
        return [float(value) for value in np.asarray(train(params))]

    return Workload(run, numbers)
