"""Steps of a network with Adam, in one scan, with the guide's line of a watch or without."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PyTree

import jaxnn
from experiments.bench import resnet, transformer
from experiments.bench.waiting import waited
from experiments.bench.workload import Workload
from jaxnn.train.alarms import ALARMS

ADAM = optax.adam(1e-3)


def workload(network: str, steps: int, every: int, **sizes: int) -> Workload:
    """Return a training of so many steps, all on one batch.

    Args:
        network: a transformer over words, a ResNet, or an MLP.
        steps: of a repetition.
        every: steps from one measurement to the next; 0 without a watch. None is measured if it
            is larger than steps.
        **sizes: of the network and its batch.
    """
    if network == "resnet":
        (params, xs, ys), logits, loss = resnet.draw(**sizes), resnet.logits, resnet.loss
    elif network == "mlp":
        (params, xs, ys), logits, loss = _draw_mlp(**sizes), _mlp, _square_error
    else:
        params, xs, ys = transformer.draw_over_words(**sizes, stacked=True)
        logits, loss = transformer.logits, transformer.loss
    watch = None
    if every:
        net, _ = jaxnn.as_network((logits, params), xs)
        watch = jaxnn.watch(net, loss=loss, every=every, intended=tuple(ALARMS))

    def train_step(carry: PyTree, step: jax.Array) -> Any:
        params, opt_state = carry
        value, gradient = jax.value_and_grad(lambda p: loss(logits(p, xs), ys).mean())(params)
        updates, opt_state = ADAM.update(gradient, opt_state, params)
        after = optax.apply_updates(params, updates)
        if watch is not None:
            watch(step, params, xs, ys, after=after, value=value)
        return (after, opt_state), value

    @jax.jit
    def train(params: PyTree) -> Any:
        return jax.lax.scan(train_step, (params, ADAM.init(params)), jnp.arange(1, steps + 1))[1]

    def run() -> None:
        waited(train(params))
        if watch is not None:
            watch.flush()

    return Workload(run, lambda _: np.asarray(train(params)))


def _draw_mlp(layers: int, width: int, batch: int) -> tuple[list[np.ndarray], Any, Any]:
    """Draw the weights, xs and ys."""
    rng = np.random.default_rng(0)
    drawn = [rng.normal(size=(width, width)) / width**0.5 for _ in range(layers)]
    params = [theta.astype(np.float32) for theta in drawn]
    xs = rng.normal(size=(batch, width)).astype(np.float32)
    return params, xs, np.sin(xs)


def _mlp(params: PyTree, xs: jax.Array) -> jax.Array:
    for theta in params:
        xs = jnp.tanh(xs @ theta)
    return xs


def _square_error(output: jax.Array, ys: jax.Array) -> jax.Array:
    return jnp.mean((output - ys) ** 2, axis=-1)
