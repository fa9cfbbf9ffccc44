"""A network of JAX: its flow, and the same numbers by `jax.grad` of the plain function.

    arguments  ->  (f, params, xs)  ->  jaxnn.gradient_flow   ->  Δ of each array of params, Δx
                                    ->  jax.grad of f itself  ->  Δ of each array of params, Δx

The loss is a random linear one, so that whatever is wrong with an output's gradient shows.
"""

import itertools
import math
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxnn


ROUNDING = (
    1e-9  # of Δθ of the layer: an array with less is compared with this, as a bias before a norm
)


class Comparison(NamedTuple):
    """A network's numbers beside plain gradients.

    layers: of the flow.
    arrays: of the parameters that have a gradient.
    compared: those of them whose Δ is of one layer, so that norms can be compared.
    difference: the largest relative one of a norm.
    where: the array with it.
    """

    layers: int
    arrays: int
    compared: int
    difference: float
    where: str = ""
    dtype: str = "float64"
    unmeasured: int = 0


def compared(arguments: dict[str, Any]) -> Comparison:
    """Measure a network in float64, and compare it.

    Args:
        arguments: of `jaxnn.diagnose`.

    Raises:
        Exception: whatever the library, or the network itself, ends in.
    """
    each, key = arguments.get("each", "batch"), jax.random.key(0)
    dtype, f, params, xs = _widest(arguments["model"], arguments["xs"], each)
    if isinstance(params, list) and f is _applied:
        net, chained = jaxnn.from_layers(params, each=each)
    else:
        net, chained = jaxnn.from_function(f, params, xs, each=each)
    flow = jax.jit(
        lambda p, xs: jaxnn.gradient_flow(net, p, xs, key, loss=linear_loss, examples=False)
    )(chained, xs)
    plain, plain_input = _plain(f, params, xs, each, key)
    return _compared(flow, plain, plain_input)._replace(dtype=dtype)


def _widest(model: Any, xs: Any, each: str) -> tuple[str, Any, Any, Any]:
    """Return a network in float64, or in float32 if its own code does not take float64."""
    for dtype in ("float64", "float32"):
        cast, batch = _as_floats((model, xs), dtype)
        if isinstance(cast, list):
            f, params = _applied, cast
        else:
            f, params = cast if isinstance(cast, tuple) else (_called, cast)
        try:
            # A copy, since the state of Equinox is of one use.
            copy = jax.tree.unflatten(*jax.tree.flatten(params)[::-1])
            jax.eval_shape(lambda xs: _run(f, copy, xs, each), batch)  # noqa: B023
        except Exception:
            if dtype == "float32":
                raise
        else:
            break
    return dtype, f, params, batch


def _run(f: Any, params: Any, xs: Any, each: str) -> Any:
    return jax.vmap(lambda x: f(params, x))(xs) if each == "example" else f(params, xs)


def _compared(flow: Any, plain: dict[str, float], plain_input: float) -> Comparison:
    parameters = flow.parameters
    parts: dict[str, list[tuple[float, int]]] = {}
    for path, layer, log_delta in zip(
        parameters.paths, parameters.layers, np.asarray(parameters.log_delta), strict=True
    ):
        for part in path.split(" + "):
            parts.setdefault(part, []).append((math.exp(float(log_delta)), layer))
    of_layer = np.exp(np.asarray(flow.log_theta))
    differences, used, of_several = {}, 0, 0
    for name, norm in plain.items():
        own = [
            v
            for p, v in parts.items()
            if p == name or (p.startswith(name) and _is_index(p[len(name) :]))
        ]
        if not own and norm == 0.0:
            continue
        used += 1
        if any(len(v) > 1 for v in own):
            of_several += 1  # the parts of Δ are added as vectors, of which the flow has the norms
            continue
        ours = math.hypot(*(v[0][0] for v in own))
        least = ROUNDING * max([float(of_layer[v[0][1] - 1]) for v in own], default=0.0)
        differences[name] = abs(ours - norm) / max(norm, ours, least)
    compared = len(differences)
    if not math.isnan(plain_input):
        ours = math.exp(float(flow.log_delta_input))
        differences["input"] = abs(ours - plain_input) / max(ours, plain_input, 1e-300)
    where = max(
        differences,
        key=lambda k: differences[k] if differences[k] == differences[k] else math.inf,
        default="",
    )
    return Comparison(len(flow.names), used, compared, differences.get(where, math.nan), where)


def _is_index(text: str) -> bool:
    return re.fullmatch(r"\[[\d:, …]+\]", text) is not None


def linear_loss(output: Any, key: jax.Array) -> jax.Array:
    """Return ⟨c, output⟩ / B with c normal."""
    leaves = [
        v for v in jax.tree.leaves(output) if jnp.issubdtype(jnp.result_type(v), jnp.floating)
    ]
    keys = jax.random.split(key, len(leaves))
    return sum(
        jnp.sum(jax.random.normal(k, v.shape, v.dtype) * v)
        for k, v in zip(keys, leaves, strict=True)
    )


def _plain(f: Any, params: Any, xs: Any, each: str, key: Any) -> tuple[dict[str, float], float]:
    leaves, structure = jax.tree_util.tree_flatten_with_path(params)
    floats = [i for i, (_, v) in enumerate(leaves) if _is_float(v)]
    x_leaves, x_structure = jax.tree.flatten(xs)
    x_floats = [i for i, v in enumerate(x_leaves) if _is_float(v)]

    def loss(arrays: list[Any], x_arrays: list[Any]) -> Any:
        filled, x_filled = [v for _, v in leaves], list(x_leaves)
        for i, v in zip(floats, arrays, strict=True):
            filled[i] = v
        for i, v in zip(x_floats, x_arrays, strict=True):
            x_filled[i] = v
        p, x = jax.tree.unflatten(structure, filled), jax.tree.unflatten(x_structure, x_filled)
        return linear_loss(_run(f, p, x, each), key)

    arrays, x_arrays = [leaves[i][1] for i in floats], [x_leaves[i] for i in x_floats]
    grads, x_grads = jax.jit(jax.grad(loss, (0, 1)))(arrays, x_arrays)
    norms = {
        jax.tree_util.keystr(leaves[i][0]): float(np.linalg.norm(np.ravel(g)))
        for i, g in zip(floats, grads, strict=True)
    }
    total = math.sqrt(sum(float(np.sum(np.abs(g) ** 2)) for g in x_grads)) if x_grads else math.nan
    return norms, total


def _is_float(v: Any) -> bool:
    return isinstance(v, jax.Array | np.ndarray) and jnp.issubdtype(v.dtype, jnp.inexact)


def _as_floats(tree: Any, dtype: str) -> Any:
    return jax.tree.map(lambda v: jnp.asarray(v, dtype) if _is_float(v) else v, tree)


def _called(module: Any, xs: Any) -> Any:
    return module(xs)


def _applied(layers: Any, xs: Any) -> Any:
    for layer in layers:
        xs = layer(xs)
    return xs
