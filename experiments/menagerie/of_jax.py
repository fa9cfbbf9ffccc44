"""A network of JAX: its flow, and the same numbers by `jax.grad` of the plain function.

    arguments  ->  (f, params, xs)  ->  jaxnn.gradient_flow      ->  Δ of arrays, states and x
                                    ->  jax.grad of f itself     ->  Δ of each array of params, Δx
                                    ->  jax.grad of its layers   ->  Δ of each state, and of each
                                        one after the other          array in each layer

    state[l] = f[l](params[l], state[l-1]) + 0   ->  Δ of each state: in that 0
                                                 ->  Δ of each array of each layer: in params[l]

Which states there are, and which part of an array's Δ is whose, only the chain's cut can say; the
numbers are those of one reverse pass of JAX through all layers, without exponents.
"""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

import jaxnn
from experiments.menagerie.comparison import TINY, NormComparison, Pair, largest, rounding
from jaxnn.arrays.rows import floats, with_floats
from jaxnn.chain.chain import as_one_example, decoded
from jaxnn.chain.state import counted
from jaxnn.flow.measure.flow_of_net import flow_of_net
from jaxnn.flow.measure.layer_vjp import with_flags

Function = Callable[[PyTree, PyTree], PyTree]  # (params, xs) -> output
Fill = Callable[[Sequence[Any]], PyTree]  # arrays, in the places of others


class Plain(NamedTuple):
    """The norms of Δ by plain gradients.

    arrays: of each array of the user's parameters, by its path.
    x: of the input; nan without floats.
    streams: of the arrays of each layer's state.
    of_layers: of each layer's parameters, in the order of `Flow.parameters`.
    """

    arrays: dict[str, float]
    x: float
    streams: list[list[float]]
    of_layers: list[list[float]]


def compared(arguments: dict[str, Any], seed: int) -> NormComparison:
    """Measure a network in float64, and compare it."""
    each, key = arguments.get("each", "batch"), jax.random.key(seed)
    dtype, f, params, xs = _widest(arguments["model"], arguments["xs"], each)
    model = params if f is _applied else (f, params)
    net, chained = jaxnn.as_network(model, *(() if f is _applied else (xs,)), each=each)
    flow = jax.jit(lambda p, xs: flow_of_net(net, p, xs, key, loss=linear_loss, examples=False))(
        chained, xs
    )
    plain = Plain(
        *_of_function(f, params, xs, each, key),
        *_of_layers(net, chained, xs, lambda output: linear_loss(output, key)),
    )
    # A package may cast what it is given to a narrower type of its own.
    narrowest = min(dtype, str(flow.dtype), key=lambda name: np.dtype(name).itemsize)
    return comparison(flow, plain, narrowest)


def comparison(flow: jaxnn.Flow, plain: Plain, dtype: str) -> NormComparison:
    """Compare a flow with plain gradients, all of them in this float."""
    arrays, pairs = _of_arrays(flow, plain.arrays, rounding(dtype))
    compared = len(pairs)
    if not math.isnan(plain.x):
        pairs.append(Pair("input", math.exp(float(flow.log_delta_input)), plain.x))
    pairs += _by_layer(flow, plain, rounding(dtype))
    worst, states = largest(pairs), len(flow.names)
    return NormComparison(states, arrays, compared, states, worst.difference, worst.name, dtype)


def linear_loss(output: PyTree, key: jax.Array) -> jax.Array:
    """Return ⟨c, output⟩ with c normal."""
    leaves = [v for v in jax.tree.leaves(output) if jnp.issubdtype(jnp.result_type(v), np.floating)]
    keys = jax.random.split(key, len(leaves))
    products = [
        jnp.sum(jax.random.normal(k, v.shape, v.dtype) * v)
        for k, v in zip(keys, leaves, strict=True)
    ]
    return jnp.sum(jnp.stack(products))


# The network in the widest float that it takes


def _widest(model: object, xs: PyTree, each: str) -> tuple[str, Any, Any, Any]:
    """Return a network in float64, or in float32 if its own code does not take float64."""
    for dtype in ("float64", "float32"):
        cast, batch = jax.tree.map(partial(_as_float, dtype), (model, xs))
        f, params = cast if isinstance(cast, tuple) else (_called, cast)
        f = _applied if isinstance(cast, list) else f
        arrays, filled = _opened(params)
        traced = partial(_leaves, f, filled, each)
        try:
            jax.eval_shape(traced, list(arrays.values()), batch)
        except Exception:
            if dtype == "float32":
                raise
        else:
            break
    return dtype, f, params, batch


def _as_float(dtype: str, v: Any) -> Any:
    return jnp.asarray(v, dtype) if _is_float(v) else v


def _leaves(f: Function, filled: Fill, each: str, arrays: list[Any], xs: PyTree) -> list[Any]:
    return jax.tree.leaves(_run(f, filled(arrays), xs, each))


def _opened(tree: PyTree) -> tuple[dict[str, Any], Fill]:
    """Return arrays by their paths, and what puts others in their places.

    All are traced, those that are no floats too: modules of NNX write into theirs.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
    at = [i for i, (_, v) in enumerate(leaves) if isinstance(v, jax.Array | np.ndarray)]

    def filled(arrays: Sequence[Any]) -> PyTree:
        given = dict(zip(at, arrays, strict=True))
        return jax.tree.unflatten(structure, [given.get(i, v) for i, (_, v) in enumerate(leaves)])

    return {jax.tree_util.keystr(leaves[i][0]): leaves[i][1] for i in at}, filled


def _run(f: Function, params: PyTree, xs: PyTree, each: str) -> Any:
    return jax.vmap(lambda x: f(params, x))(xs) if each == "example" else f(params, xs)


def _called(module: Callable[[PyTree], PyTree], xs: PyTree) -> Any:
    return module(xs)


def _applied(layers: list[Callable[[PyTree], PyTree]], xs: PyTree) -> Any:
    for layer in layers:
        xs = layer(xs)
    return xs


def _is_float(v: object) -> bool:
    return isinstance(v, jax.Array | np.ndarray) and jnp.issubdtype(v.dtype, jnp.inexact)


# Plain gradients


def _of_function(
    f: Function, params: PyTree, xs: PyTree, each: str, key: jax.Array
) -> tuple[dict[str, float], float]:
    """Return the norms of Δ of each array of the parameters, and of the input."""
    (arrays, filled), (of_xs, filled_xs) = _opened(params), _opened(xs)

    def loss(arrays: list[Any], of_xs: list[Any]) -> Any:
        return linear_loss(_run(f, filled(arrays), filled_xs(of_xs), each), key)

    gradient = jax.jit(jax.grad(loss, (0, 1), allow_int=True))
    grads, of_x = gradient(list(arrays.values()), list(of_xs.values()))
    norms = {n: _norm(g) for (n, v), g in zip(arrays.items(), grads, strict=True) if _is_float(v)}
    parts = [_norm(g) for v, g in zip(of_xs.values(), of_x, strict=True) if _is_float(v)]
    return norms, math.hypot(*parts) if parts else math.nan


def _of_layers(
    net: Any, params: PyTree, xs: PyTree, loss: Callable[[Any], jax.Array]
) -> tuple[list[list[float]], list[list[float]]]:
    """Return the norms of Δ of the states of a chain's layers, and of their parameters."""
    x = as_one_example(xs) if net.whole else xs
    layers = [*_links(net.for_batch(x), params)]

    def applied(trained: PyTree, zeros: Any, x: PyTree) -> tuple[Any, list[list[Any]]]:
        """Return the output, and the state of each layer; to those zeros are added, if given."""
        given, added, states = iter(trained), iter(zeros or ()), []
        for link, arrays, is_layer in layers:
            own = iter(next(given))
            filled = [
                [next(own) if is_trained else v for v, is_trained in zip(vs, flags, strict=True)]
                for vs, flags in with_flags(link, arrays)
            ]
            x = link(filled, x)
            if is_layer:
                counts = counted(x)
                streams = [v for v, c in zip(floats(x), counts, strict=True) if c]
                states.append(streams)
                if zeros:
                    streams = [v + z for v, z in zip(streams, next(added), strict=True)]
                after, merged = iter(streams), zip(floats(x), counts, strict=True)
                x = with_floats(x, [next(after) if c else v for v, c in merged])
        output = decoded(x)
        return jax.tree.map(lambda v: v[0], output) if net.whole else output, states

    def lost(trained: PyTree, zeros: Any, x: PyTree) -> jax.Array:
        return loss(applied(trained, zeros, x)[0])

    trained = [
        [
            v
            for vs, flags in with_flags(link, arrays)
            for v, is_trained in zip(vs, flags, strict=True)
            if is_trained
        ]
        for link, arrays, _ in layers
    ]
    _, states = jax.eval_shape(lambda trained, x: applied(trained, None, x), trained, x)
    zeros = jax.tree.map(lambda v: jnp.zeros(v.shape, v.dtype), states)
    of_arrays, of_streams = jax.jit(jax.grad(lost, (0, 1)))(trained, zeros, x)
    recorded = [vs for vs, (_, _, is_layer) in zip(of_arrays, layers, strict=True) if is_layer]
    streams, arrays = ([[_norm(v) for v in vs] for vs in both] for both in (of_streams, recorded))
    return streams, arrays


def _links(lowered: Any, params: PyTree) -> Iterator[tuple[Any, Any, bool]]:
    """Yield the links with their arrays, and whether each is a layer that is recorded."""
    for kind, k, entry in zip(lowered.kinds, lowered.lengths, params, strict=True):
        for weights in [entry.at(j) for j in range(k)] if k else [entry]:
            for link, arrays in zip(kind.links, weights.arrays, strict=True):
                yield link, arrays, not kind.between


def _norm(v: jax.typing.ArrayLike) -> float:
    return float(np.linalg.norm(np.ravel(v)))


# Pairs


def _of_arrays(flow: jaxnn.Flow, plain: dict[str, float], part: float) -> tuple[int, list[Pair]]:
    """Return how many arrays have a gradient, and a pair of each whose Δ is of one layer.

    An array that layers share has several norms: Δ adds up as vectors, of which these are norms.
    """
    parameters, of_layer = flow.parameters, np.exp(np.asarray(flow.log_theta))
    known: dict[str, list[tuple[float, int]]] = {}
    deltas = np.exp(np.asarray(parameters.log_delta))
    for path, layer, delta in zip(parameters.paths, parameters.layers, deltas, strict=True):
        for name in path.split(" + "):
            known.setdefault(name, []).append((float(delta), layer))
    arrays, pairs = 0, []
    for name, norm in plain.items():
        # The array, or entries of it such as `w[3]`.
        whole = re.compile(re.escape(name) + r"(\[[\d:, …]+\])?")
        own = [v for path, v in known.items() if whole.fullmatch(path)]
        if not own and norm == 0.0:
            continue  # an array that is not used
        arrays += 1
        if all(len(layers) == 1 for layers in own):
            least = max((part * of_layer[layer - 1] for ((_, layer),) in own), default=TINY)
            pairs.append(Pair(name, math.hypot(*(delta for ((delta, _),) in own)), norm, least))
    return arrays, pairs


def _by_layer(flow: jaxnn.Flow, plain: Plain, part: float) -> Iterator[Pair]:
    """Yield a pair of each state, of each of its streams, and of each layer's arrays.

    Those of streams and arrays below `part` of their layer's norm are relative to that.
    """
    states = [math.hypot(*norms) for norms in plain.streams]

    def pairs(
        what: str, layers: Sequence[int], log_delta: Any, norms: list[Any], least: np.ndarray
    ) -> Iterator[Pair]:
        deltas = np.exp(np.asarray(log_delta))
        for i, (layer, ours, norm) in enumerate(zip(layers, deltas, norms, strict=True), 1):
            name = f"{what} {i} of {flow.names[layer - 1]}"
            yield Pair(name, float(ours), norm, float(least[layer - 1]))

    layers, none = range(1, len(states) + 1), np.zeros(len(states))
    yield from pairs("state", layers, flow.log_delta, states, none)
    if flow.streams is not None:
        of, norms = flow.streams, [norm for of_state in plain.streams for norm in of_state]
        yield from pairs("stream", of.layers, of.log_delta, norms, part * np.array(states))
    norms = [norm for of_layer in plain.of_layers for norm in of_layer]
    least, parameters = part * np.exp(np.asarray(flow.log_theta)), flow.parameters
    yield from pairs("array", parameters.layers, parameters.log_delta, norms, least)
