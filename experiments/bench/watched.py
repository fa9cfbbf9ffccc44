"""Steps of a network with Adam, in one scan, with a watch or without."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PyTree

import jaxnn
from experiments.bench.waiting import waited
from experiments.bench.workload import Workload
from jaxnn.train.alarms import ALARMS

ADAM = optax.adam(1e-3)


def training(
    network: Callable[[Any, Any], Any],
    loss: Callable[[Any, Any], Any],
    given: tuple[Any, Any, Any],
    steps: int,
    every: int,
) -> Workload:
    """Return a training of so many steps, all on one batch.

    Args:
        network: (params, xs) -> output.
        loss: (output, ys) -> a loss of each example.
        given: params, xs and ys.
        steps: of a repetition.
        every: steps from one measurement to the next; 0 without a watch.
    """
    params, xs, ys = given
    watch = None
    if every:
        net, _ = jaxnn.as_network((network, params), xs)
        watch = jaxnn.watch(net, loss=loss, every=every, ignore=tuple(ALARMS))

    def train_step(carry: PyTree, step: jax.Array) -> Any:
        params, opt_state = carry
        value, gradient = jax.value_and_grad(lambda p: loss(network(p, xs), ys).mean())(params)
        updates, opt_state = ADAM.update(gradient, opt_state, params)
        after = optax.apply_updates(params, updates)
        if watch is not None:
            watch(step, params, xs, ys, after=after)
        return (after, opt_state), value

    @jax.jit
    def train(params: PyTree) -> Any:
        return jax.lax.scan(train_step, (params, ADAM.init(params)), jnp.arange(steps))[1]

    def run() -> None:
        waited(train(params))
        if watch is not None:
            watch.flush()

    return Workload(run, lambda _: np.asarray(train(params)))
