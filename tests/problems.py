"""Networks, batches and compiled programs that several test files share.

A program is compiled for a network's static part and the shapes: tests that draw their problems
here, and measure with the functions here, share it.
"""

import re
from contextlib import contextmanager
from dataclasses import MISSING, fields, replace
from functools import partial
from itertools import groupby

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn
from jaxnn.flow.formats.entries import OCTAVES, PARTS
from jaxnn.flow.measure.flow_of_net import flow_of_net

# An activation enters the passes through σ and σ′ alone, which test_activations.py checks for all
# of them. Three stand for the rest, and compile quickly: two that saturate, around ½ and 0, and
# one with a kink and zeros that is homogeneous.
FEW_ACTIVATIONS = ("sigmoid", "tanh", "relu")


def mostly_slow(names, cases, *usual):
    """Parametrise a test; all but the usual cases are slow."""
    rare = [pytest.param(*(v if "," in names else [v]), marks=pytest.mark.slow) for v in cases]
    return pytest.mark.parametrize(
        names, [v if v in usual else slow for v, slow in zip(cases, rare, strict=True)]
    )


each_activation = mostly_slow("activation", jaxnn.network.ACTIVATIONS, *FEW_ACTIVATIONS)


# A pre-norm network of a user's own


def norm(z):
    return z * jax.lax.rsqrt(jnp.mean(z**2, axis=-1, keepdims=True) + 1e-6)


def residual(p, xs):
    z = xs @ p["in"]
    for block in p["blocks"]:
        z = z + jax.nn.relu(norm(z) @ block["up"]) @ block["down"]
    return norm(z) @ p["out"]


@partial(jax.jit, static_argnames=("memory", "examples"))
def gradient_flow(net, params, xs, ys=None, *, examples=False, **options):
    """The inner measurement, without what is left of the examples unless it is asked for."""
    return flow_of_net(net, params, xs, ys, examples=examples, **options)


# Of a chain, likewise; it takes a loss of the user's own, which is no array.
chain_flow = partial(flow_of_net, examples=False)


def counts_by_exponent(entries):
    """Return the number of entries of each array by the exponent k, 2^k <= |x| < 2^(k+1)."""
    by_octave = np.asarray(entries.sums)[..., 0].reshape(-1, OCTAVES, PARTS).sum(axis=2)
    return [
        {int(top) - octave: float(count) for octave, count in enumerate(counts) if count > 0}
        for top, counts in zip(np.asarray(entries.top), by_octave, strict=True)
    ]


def filled_flow(net, values, **others):
    """Return a flow with one array in every field, and others where they are given."""
    values = np.asarray(values)  # whose parts compile nothing
    always = [v.name for v in fields(jaxnn.Flow) if not v.metadata and v.default is MISSING]
    flags = dict.fromkeys(("lost", "mixes", "linear"), np.zeros(len(values), bool))
    arrays = dict.fromkeys(always, values) | {"log_delta_example": values[:, None]} | flags
    arrays["log_delta_input"] = values[0]
    arrays["parameters"] = jaxnn.flow.Parameters(values[:0], values[:0], (), (), (), ())
    flow = jaxnn.Flow(
        **jax.device_put(arrays),
        units=jaxnn.flow.Units(**{v.name: jnp.asarray(values) for v in fields(jaxnn.flow.Units)}),
        names=("",) * len(values),
        sizes=net.sizes[1:],
        dtype=np.dtype("float32"),
        net=net,
    )
    return replaced(flow, **others)


def replaced(flow, **values):
    """Return the flow with some fields, or those of its units, replaced by arrays."""
    values = {name: jnp.asarray(v) for name, v in values.items()}
    own = {name: values.pop(name) for name in vars(flow.units or flow) if name in values}
    return replace(flow, units=flow.units and replace(flow.units, **own), **values)


def said(verdict):
    """Return the rule and the layer of each finding."""
    return [(found.rule, found.layer) for found in verdict.findings]


def by_layer(flow):
    """Return the fields of a Network's flow that have an entry for each layer."""
    theta, b = of_theta(flow)
    of_parameters = {"theta": theta, "b": b, "sizes": flow.parameters.log_size.reshape(-1, 2)}
    arrays = {
        v.name: getattr(flow, v.name)
        for v in fields(flow)
        if not v.metadata and v.name not in ("log_delta_input", "parameters", "units", "given")
    }
    return arrays | vars(flow.units) | of_parameters


def of_theta(flow):
    """Return ln of the norm of Δθ[l-1] alone, and of Δb[l-1]."""
    return flow.parameters.log_delta[..., ::2], flow.parameters.log_delta[..., 1::2]


def refusals(calls, names):
    """Return what is said to each call, a line of Python with these names.

    A class is said without its module.
    """
    said = {}
    for call in filter(None, map(str.strip, calls.splitlines())):
        try:
            eval(call, dict(names))
        except (TypeError, ValueError, OSError) as error:
            text = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"<class \1>", str(error))
            said[call] = f"{type(error).__name__}: {text}"
        else:
            said[call] = "is not refused"
    return said


@contextmanager
def as_users_have_jax():
    """JAX in float32, promotion allowed; a program is compiled anew where one of these differs."""
    with (
        jax.enable_x64(False),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
    ):
        yield


def optimised(f, **options):
    """`jax.jit` with users' optimisation whatever XLA_FLAGS says, for tests of bits and memory."""
    return jax.jit(f, compiler_options={"xla_backend_optimization_level": 3}, **options)


def numbers_of_heads(q, k, seen, by=1):
    """Largest logit, entropy, and its largest, of each head of (B, T, H, d); query by query.

    `seen` tells which keys a query sees, (T, T); a head of keys is for `by` of queries.
    """
    rows = []
    for head in range(q.shape[2]):
        numbers = []
        for b, t in np.ndindex(q.shape[:2]):
            keys = np.flatnonzero(seen[t])
            logits = k[b, keys, head // by * by] @ q[b, t, head] / q.shape[-1] ** 0.5
            p = np.exp(logits - logits.max())
            p = p[p > 0] / p.sum()
            numbers.append((logits.max(), -(p * np.log(p)).sum(), np.log(len(keys))))
        largest, entropy, most = np.array(numbers).T
        rows.append((largest.max(), entropy[most > 0].mean(), most[most > 0].mean()))
    return np.array(rows)


def gaussian(sigma_w):
    """Weights of variance σ_w² / fan_in."""
    return lambda rng, n, m: sigma_w / n**0.5 * rng.normal(size=(n, m))


def orthogonal(sigma_w):
    """σ_w times an orthogonal matrix; with more columns than rows, some of its rows."""

    def draw(rng, n, m):
        q = np.linalg.qr(rng.normal(size=(max(n, m), min(n, m))))[0]
        return sigma_w * (q if n >= m else q.T)

    return draw


def draw_layers(rng, sizes, weights, sigma_b=0.1, dtype=jnp.float64, stacked=False):
    """Parameters as `jaxnn.init` returns them, drawn by NumPy, which compiles nothing."""

    def layer(n, m):
        return jaxnn.network.Layer(weights(rng, n, m), sigma_b * rng.normal(size=m))

    params, top = [], len(sizes) - 2
    for (inside, n, m), stretch in groupby(
        (0 < i < top, *sizes[i : i + 2]) for i in range(top + 1)
    ):
        layers = [layer(n, m) for _ in stretch]
        if stacked and inside and n == m:
            layers = [jaxnn.network.Layer(*map(np.stack, zip(*layers, strict=True)))]
        params += layers
    return as_dtype(tuple(params), dtype)


def draw_batch(rng, net, batch, dtype=jnp.float64):
    """Examples, and their labels as rows of floats."""
    n_in, n_out = net.sizes[0], net.sizes[-1]
    ys = {
        "regression": lambda: rng.normal(size=(batch, n_out)),
        "binary": lambda: rng.integers(0, 2, (batch, n_out)),
        "multiclass": lambda: np.eye(n_out)[rng.integers(0, n_out, batch)],
    }[net.task.name]()
    return as_dtype((rng.normal(size=(batch, n_in)), ys), dtype)


def as_dtype(tree, dtype):
    """Every leaf as an array of JAX's in this dtype; converted by NumPy, which compiles nothing."""
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf).astype(dtype)), tree)


def log_norm(tree):
    """Ln of the norm of all floats of a pytree, also where their squares are no float64."""
    leaves = [v for v in jax.tree.leaves(tree) if v.dtype != jax.dtypes.float0]
    values = np.concatenate([np.ravel(np.float64(v)) for v in leaves])
    largest = np.max(np.abs(values), initial=0.0)
    if not 0 < largest < np.inf:
        return -np.inf if largest == 0 else np.log(largest)
    return np.log(largest) + np.log(np.linalg.norm(values / largest))


def barriers_stay():
    """Tell whether XLA computes again what stands after a barrier; that of JAX 0.10 does not.

    On a CPU it drops the barriers there, and then one of two equal computations.
    """

    def twice(x):
        return jnp.sin(x), jnp.sin(jax.lax.optimization_barrier(x))

    return jax.jit(twice).lower(jnp.ones(8)).compile().as_text().count(" sine(") == 2
