"""Our side of every row: each function takes the arguments of its peer."""

from functools import cache, partial
from itertools import groupby
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

import jaxnn
from experiments.bench import inputs, transformer
from experiments.bench.of_jax import waited
from experiments.bench.worker import Workload
from experiments.learning import data, networks
from experiments.learning.networks import Draws, Initialisation, Networks
from experiments.runs import ahead, runtime
from jaxnn.flow.measure.flow_of_net import flow_of_net
from jaxnn.initializers import find_weights
from jaxnn.watching.alarms import ALARMS

CHECKED = 8  # hidden layers of the sweep's network whose numbers are compared


# Gradients by hand, and in block floating point


def _network(
    activation: str, stacked: bool = False, **of: Any
) -> tuple[jaxnn.Network, Any, Any, Any]:
    """Return a network, its parameters and a batch."""
    drawn, xs, ys = inputs.network(**of)
    params = [jaxnn.network.Layer(*map(jnp.asarray, pair)) for pair in drawn]
    sizes = (xs.shape[1], *(len(b) for _, b in drawn))
    net = jaxnn.Network(sizes, activation, "multiclass" if sizes[-1] > 1 else "binary")
    return net, jaxnn.network.stack(params) if stacked else params, jnp.asarray(xs), jnp.asarray(ys)


def gradient(calls: int, **of: Any) -> Workload:
    """Return steps of `jaxnn.backprop`; the network is a part of the program, as in the peers."""
    net, *arguments = _network(**of)
    step = partial(jax.jit(partial(jaxnn.backprop, net)), *arguments)

    def numbers(_: Path) -> list[float]:
        loss, layers = step()
        arrays = (v for layer in jaxnn.network.unstack(layers) for v in layer)
        return [float(loss), *inputs.in_short(arrays)]

    return Workload(waited(step, calls), numbers)


def flow(calls: int, **of: Any) -> Workload:
    """Return `jaxnn.gradient_flow` of a run of equal layers, compiled."""
    measured = jax.jit(flow_of_net, static_argnames="examples")
    once = partial(measured, *_network(**of), examples=False)
    return Workload(waited(once, calls), lambda _: np.asarray(once().parameters.log_delta))


def backprop(**of: Any) -> Workload:
    """Return the plain pass of `flow`'s network: `gradient`, in logarithms of norms."""
    plain = gradient(**of)
    return plain._replace(numbers=lambda folder: [*plain.numbers(folder)][1::2])


# The depth sweep


def sweep(
    depths: list[int], activation: str, weights: str, width: int, batch: int, seeds: int
) -> Workload:
    """Return a depth sweep as `experiments depth` measures it, its draws included."""
    runtime.start(runtime.Options(no_cache=True))
    dataset, scheme = data.load("breast_cancer"), Initialisation(weights, find_weights(weights))

    def room_of(depth: int) -> jaxnn.Network:
        return networks.roomy(dataset, width, activation, depth, batch, deepest=max(depths))

    def networks_of(net: jaxnn.Network, *in_room: int) -> Networks:
        seen = (batch, "float32", tuple(range(seeds)))
        return Networks(net, in_room, scheme, 0.0, *seen, deepest=max(depths))

    whole = [networks_of(net, *in_room) for net, in_room in groupby(depths, key=room_of)]

    def run() -> None:
        draws = Draws()
        with ahead.compiling():
            for each in whole:
                networks.prepare(dataset, each)
            for each in whole:
                networks.flows(draws, dataset, each)

    def numbers(folder: Path) -> list[float]:
        depth = min(CHECKED, max(depths))
        draws, checked = Draws(), networks_of(room_of(depth), depth)
        log_delta = networks.flows(draws, dataset, checked)[0]["log_delta"]
        of_first_seed, *_ = zip(*draws.of(dataset, checked), strict=True)
        params, xs, ys = jax.tree.map(lambda v: np.asarray(v)[0], of_first_seed)
        *hidden, last = jaxnn.network.unstack(params)
        inputs.write(folder, (*hidden[:depth], last), x=xs, y=ys)
        return list(log_delta[0] / np.log(10))

    return Workload(run, numbers)


# Verdicts


def verdict(stacked: bool, **sizes: int) -> Workload:
    """Return flow and verdict; the first repetition cuts the function into layers too."""
    params, xs, ys = transformer.draw_over_words(stacked=stacked, **sizes)

    @cache
    def net() -> tuple[Any, Any]:
        return jaxnn.as_network((transformer.logits, params), xs)

    def measured(params: PyTree, xs: Array, ys: Array) -> Any:
        return jaxnn.gradient_flow((net()[0], params), xs, ys, loss=transformer.loss)

    def numbers(_: Path) -> list[float]:
        of = measured(net()[1], xs, ys).parameters
        norms = dict(zip(of.paths, np.asarray(of.log_delta), strict=True))
        return [float(norms[path]) for path in sorted(norms)]

    return Workload(
        lambda: str(jaxnn.verdict(measured(net()[1], xs, ys))),
        numbers,
    )


def encoder(calls: int, **sizes: int) -> Workload:
    """Return the flow through PyTorch's TransformerEncoder."""
    from experiments.bench import of_torch

    model, xs, loss = of_torch.encoder(**sizes)
    once = partial(jaxnn.gradient_flow, model, xs, loss=lambda output, _: loss(output))
    return Workload(waited(once, calls), lambda _: np.asarray(once().log_delta))


# Training


def watched(network: str, steps: int, every: int, **sizes: int) -> Workload:
    """Return Adam's steps on one batch in a scan, with the guide's line of a watch.

    Nothing is measured if `every` is larger than `steps`; 0 is no watch.
    """
    import optax  # here, for a cold sweep has no use for it

    if network == "MLP":
        (params, xs, ys), output, loss = _draw_mlp(**sizes), _mlp, _square_error
    else:
        params, xs, ys = transformer.draw_over_words(**sizes, stacked=True)
        output, loss = transformer.logits, transformer.loss
    watch, adam = None, optax.adam(1e-3)
    if every:
        net, _ = jaxnn.as_network((output, params), xs)
        watch = jaxnn.watch(net, loss=loss, every=every, intended=tuple(ALARMS))

    def train_step(carry: PyTree, step: Array) -> Any:
        params, opt_state = carry
        value, gradient = jax.value_and_grad(lambda p: loss(output(p, xs), ys).mean())(params)
        updates, opt_state = adam.update(gradient, opt_state, params)
        after = optax.apply_updates(params, updates)
        if watch is not None:
            watch(step, params, xs, ys, after=after, value=value)
        return (after, opt_state), value

    @jax.jit
    def train(params: PyTree) -> Any:
        return jax.lax.scan(train_step, (params, adam.init(params)), jnp.arange(1, steps + 1))[1]

    def run() -> None:
        jax.block_until_ready(train(params))  # type: ignore[no-untyped-call]
        if watch is not None:
            watch.flush()

    return Workload(run, lambda _: np.asarray(train(params)))


def unwatched(every: int, **of: Any) -> Workload:
    """Return `watched` without a watch."""
    del every
    return watched(every=0, **of)


def _draw_mlp(layers: int, width: int, batch: int, **others: int) -> tuple[Any, Any, Any]:
    del others
    params, xs, _ = inputs.network([width, width], layers - 1, width, batch)
    return [theta for theta, _ in params], xs, np.sin(xs)


def _mlp(params: PyTree, xs: Array) -> Array:
    for theta in params:
        xs = jnp.tanh(xs @ theta)
    return xs


def _square_error(output: Array, ys: Array) -> Array:
    return jnp.mean((output - ys) ** 2, axis=-1)
