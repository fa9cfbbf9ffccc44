"""A network of JAX: its flow, and the same numbers by `jax.grad` of the plain function.

    arguments  ->  (f, params, xs)  ->  jaxnn.gradient_flow      ->  Δ of arrays, states and x
                                    ->  jax.grad of f itself     ->  Δ of each array of params, Δx
                                    ->  jax.grad of its layers   ->  Δ of each state, and of each
                                        one after the other          array in each layer

The loss is a random linear one, so that whatever is wrong with an output's gradient shows.
"""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

import jaxnn
from experiments.menagerie import of_layers
from jaxnn.flow.measure.flow_of_net import flow_of_net

Function = Callable[[PyTree, PyTree], PyTree]  # (params, xs) -> output
TINY = 1e-300  # instead of a division by zero


class Comparison(NamedTuple):
    """The numbers of a network next to plain gradients.

    layers: of the flow.
    arrays: of the parameters that have a gradient.
    compared: those of them whose Δ is of one layer, so that norms can be compared.
    states: those whose Δ is compared.
    difference: the largest relative one of a norm.
    where: the array with it.
    """

    layers: int
    arrays: int
    compared: int
    states: int
    difference: float
    where: str = ""
    dtype: str = "float64"
    unmeasured: int = 0


def compared(arguments: dict[str, Any], seed: int) -> Comparison:
    """Measure a network in float64, and compare it.

    Raises:
        Exception: whatever the library, or the network itself, ends in.
    """
    each, key = arguments.get("each", "batch"), jax.random.key(seed)
    dtype, f, params, xs = _widest(arguments["model"], arguments["xs"], each)
    if isinstance(params, list) and f is _applied:
        net, chained = jaxnn.as_network(params, each=each)
    else:
        net, chained = jaxnn.as_network((f, params), xs, each=each)
    flow = jax.jit(lambda p, xs: flow_of_net(net, p, xs, key, loss=linear_loss, examples=False))(
        chained, xs
    )
    norms = of_layers.plain(net, chained, xs, lambda output: linear_loss(output, key))
    # A package may cast what it is given to a narrower type of its own.
    narrowest = min(dtype, str(flow.dtype), key=lambda name: np.dtype(name).itemsize)
    return comparison(flow, *_plain(f, params, xs, each, key), norms, narrowest)


def _widest(model: object, xs: PyTree, each: str) -> tuple[str, Any, Any, Any]:
    """Return a network in float64, or in float32 if its own code does not take float64."""
    for dtype in ("float64", "float32"):
        cast, batch = _as_floats((model, xs), dtype)
        if isinstance(cast, list):
            f, params = _applied, cast
        else:
            f, params = cast if isinstance(cast, tuple) else (_called, cast)
        try:
            _check(f, params, batch, each)
        except Exception:
            if dtype == "float32":
                raise
        else:
            break
    return dtype, f, params, batch


def _check(f: Function, params: PyTree, xs: PyTree, each: str) -> None:
    """Trace a network; its arrays are traced too, since modules of NNX write into theirs."""
    leaves, structure = jax.tree.flatten(params)
    at = [i for i, v in enumerate(leaves) if isinstance(v, jax.Array | np.ndarray)]

    def traced(arrays: list[Any], xs: PyTree) -> Any:
        given = dict(zip(at, arrays, strict=True))
        filled = [given.get(i, v) for i, v in enumerate(leaves)]
        return jax.tree.leaves(_run(f, jax.tree.unflatten(structure, filled), xs, each))

    jax.eval_shape(traced, [leaves[i] for i in at], xs)


def _run(f: Function, params: PyTree, xs: PyTree, each: str) -> Any:
    return jax.vmap(lambda x: f(params, x))(xs) if each == "example" else f(params, xs)


def comparison(
    flow: jaxnn.Flow,
    plain: dict[str, float],
    plain_input: float,
    norms: of_layers.Norms,
    dtype: str,
) -> Comparison:
    """Compare a flow with plain gradients.

    Args:
        plain: the norm of Δ of each array of the user's pytree.
        plain_input: that of Δx; nan without floats.
        norms: of each layer.
        dtype: of all of these.
    """
    of_layer = np.exp(np.asarray(flow.log_theta))
    parts = _parts(flow.parameters)
    differences, arrays = {}, 0
    for name, norm in plain.items():
        own = [v for path, v in parts.items() if _is_of(path, name)]
        if not own and norm == 0.0:
            continue  # an array that is not used
        arrays += 1
        if all(len(layers) == 1 for layers in own):
            (deltas, layers) = np.reshape([v[0] for v in own], (-1, 2)).T
            least = max([TINY, *(rounding(dtype) * of_layer[layers.astype(int) - 1])])
            differences[name] = relative(math.hypot(*deltas), norm, least)
    compared = len(differences)
    if not math.isnan(plain_input):
        differences["input"] = relative(math.exp(float(flow.log_delta_input)), plain_input)
    differences |= _layer_by_layer(flow, norms, rounding(dtype))
    where, states = largest(differences), len(flow.names)
    return Comparison(states, arrays, compared, states, differences[where], where, dtype)


def _layer_by_layer(flow: jaxnn.Flow, norms: of_layers.Norms, part: float) -> dict[str, float]:
    """Return the difference of each state, of each of its streams, and of each layer's arrays.

    Those of streams and arrays below `part` of their layer's norm are relative to that.
    """
    names, differences = flow.names, {}

    def compare(
        what: str,
        layers: Sequence[int],
        logs: jax.typing.ArrayLike,
        plain: Sequence[float],
        least: np.ndarray,
    ) -> None:
        pairs = zip(layers, np.exp(np.asarray(logs)), plain, strict=True)
        for i, (layer, ours, norm) in enumerate(pairs, 1):
            name = f"{what} {i} of {names[layer - 1]}"
            differences[name] = relative(ours, norm, max(TINY, least[layer - 1]))

    layers = range(1, len(names) + 1)
    compare("state", layers, flow.log_delta, norms.states, np.zeros(len(names)))
    if flow.streams is not None:
        streams = [norm for of_state in norms.streams for norm in of_state]
        least = part * np.asarray(norms.states)
        compare("stream", flow.streams.layers, flow.streams.log_delta, streams, least)
    arrays = [norm for of_layer in norms.arrays for norm in of_layer]
    least, of = part * np.exp(np.asarray(flow.log_theta)), flow.parameters
    compare("array", of.layers, of.log_delta, arrays, least)
    return differences


def _parts(parameters: Any) -> dict[str, list[tuple[float, int]]]:
    """Return for each path in the user's pytree the norms of its Δ, each with its layer.

    An array that layers share has several: they are added as vectors, of which these are norms.
    """
    parts: dict[str, list[tuple[float, int]]] = {}
    deltas = np.exp(np.asarray(parameters.log_delta))
    for path, layer, delta in zip(parameters.paths, parameters.layers, deltas, strict=True):
        for part in path.split(" + "):
            parts.setdefault(part, []).append((float(delta), layer))
    return parts


def _is_of(path: str, name: str) -> bool:
    """Tell whether a path is that of an array, or of entries of it such as `w[3]`."""
    return (
        path.startswith(name) and re.fullmatch(r"(\[[\d:, …]+\])?", path[len(name) :]) is not None
    )


def relative(ours: float, plain: float, least: float = TINY) -> float:
    """Return a relative difference; of numbers below the least relative to that."""
    return abs(ours - plain) / max(ours, plain, least)


def largest(differences: dict[str, float]) -> str:
    """Return the name of the largest difference; one that is nan is larger than all."""
    numbers = {name: math.inf if math.isnan(v) else v for name, v in differences.items()}
    return max(numbers, key=numbers.__getitem__, default="")


def rounding(dtype: str) -> float:
    """Return the part of a layer's Δθ below which an array's is rounding, as a bias before a norm.

    Smaller norms are compared relative to this one, √eps.
    """
    return math.sqrt(np.finfo(dtype).eps)


def linear_loss(output: PyTree, key: jax.Array) -> jax.Array:
    """Return ⟨c, output⟩ with c normal."""
    leaves = [
        v for v in jax.tree.leaves(output) if jnp.issubdtype(jnp.result_type(v), jnp.floating)
    ]
    keys = jax.random.split(key, len(leaves))
    return jnp.sum(
        jnp.stack(
            [
                jnp.sum(jax.random.normal(k, v.shape, v.dtype) * v)
                for k, v in zip(keys, leaves, strict=True)
            ]
        )
    )


def _plain(
    f: Function, params: PyTree, xs: PyTree, each: str, key: jax.Array
) -> tuple[dict[str, float], float]:
    leaves, structure = jax.tree_util.tree_flatten_with_path(params)
    at = [i for i, (_, v) in enumerate(leaves) if isinstance(v, jax.Array | np.ndarray)]
    floats = [i for i in at if _is_float(leaves[i][1])]
    others = [i for i in at if not _is_float(leaves[i][1])]
    x_leaves, x_structure = jax.tree.flatten(xs)
    x_floats = [i for i, v in enumerate(x_leaves) if _is_float(v)]

    def loss(arrays: list[Any], x_arrays: list[Any], rest: list[Any]) -> Any:
        filled, x_filled = [v for _, v in leaves], list(x_leaves)
        for i, v in zip([*floats, *others], [*arrays, *rest], strict=True):
            filled[i] = v
        for i, v in zip(x_floats, x_arrays, strict=True):
            x_filled[i] = v
        p, x = jax.tree.unflatten(structure, filled), jax.tree.unflatten(x_structure, x_filled)
        return linear_loss(_run(f, p, x, each), key)

    arrays, rest = ([leaves[i][1] for i in numbers] for numbers in (floats, others))
    x_arrays = [x_leaves[i] for i in x_floats]
    grads, x_grads = jax.jit(jax.grad(loss, (0, 1)))(arrays, x_arrays, rest)
    names = [jax.tree_util.keystr(leaves[i][0]) for i in floats]
    norms = {n: float(np.linalg.norm(np.ravel(g))) for n, g in zip(names, grads, strict=True)}
    total = math.sqrt(sum(float(np.sum(np.abs(g) ** 2)) for g in x_grads)) if x_grads else math.nan
    return norms, total


def _is_float(v: object) -> bool:
    return isinstance(v, jax.Array | np.ndarray) and jnp.issubdtype(v.dtype, jnp.inexact)


def _as_floats(tree: PyTree, dtype: str) -> Any:
    return jax.tree.map(lambda v: jnp.asarray(v, dtype) if _is_float(v) else v, tree)


def _called(module: Callable[[PyTree], PyTree], xs: PyTree) -> Any:
    return module(xs)


def _applied(layers: list[Callable[[PyTree], PyTree]], xs: PyTree) -> Any:
    for layer in layers:
        xs = layer(xs)
    return xs
