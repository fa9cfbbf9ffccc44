"""The remedies known: other weights, or a norm and a skip, of a network from its own numbers.

Each takes a network, its arrays, examples and a generator, and returns the form of its layers and
arrays.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.remedies.rivals.networks import (
    GAINS,
    LIKE_RELU,
    Network,
    Params,
    as_list,
    block,
    dense,
    head,
)

EPS = 1e-6
PLAIN, NORM, RESIDUAL = "as it is", "with a norm", "residual with a norm"


class Given(NamedTuple):
    """A network with its arrays, some examples with labels, and a generator."""

    of: Network
    params: Params
    xs: np.ndarray
    ys: np.ndarray
    rng: np.random.Generator


def output(of: Network, form: str, params: Params, x: Any) -> Any:
    """Return ŷ of a network whose layers have a form."""
    z = dense(params["first"], x)

    def layer(z: Any, p: Params) -> tuple[Any, None]:
        if form == PLAIN:
            return block(of, p, z), None
        y = dense(p, of.sigma(_normed(z)))
        return (z + y if form == RESIDUAL or of.skip else y), None

    z, _ = jax.lax.scan(layer, z, params["blocks"])
    return head(of, params["head"], z if form == PLAIN else _normed(z))


def _normed(z: Any) -> Any:
    centred = z - z.mean(axis=-1, keepdims=True)
    return centred / jnp.sqrt(jnp.mean(centred**2, axis=-1, keepdims=True) + EPS)


Remedy = Callable[[Given], tuple[str, Params]]


def _redrawn(given: Given, draw: Callable[[int, int], np.ndarray]) -> Params:
    """Return arrays with other weights, and biases of 0."""
    first, *blocks, last = (
        {"w": np.float32(draw(*p["w"].shape)), "b": np.zeros_like(p["b"])}
        for p in as_list(given.params)
    )
    return {
        "first": first,
        "blocks": {name: np.stack([p[name] for p in blocks]) for name in ("w", "b")},
        "head": last,
    }


def _he(given: Given) -> Params:
    return _redrawn(given, lambda n, m: given.rng.normal(size=(n, m)) * (2 / n) ** 0.5)


def _glorot(given: Given) -> Params:
    return _redrawn(
        given, lambda n, m: given.rng.uniform(-1, 1, size=(n, m)) * (6 / (n + m)) ** 0.5
    )


def _orthogonal_matrix(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    q = np.linalg.qr(rng.normal(size=(max(n, m), min(n, m))))[0]
    return q if n >= m else q.T


def _orthogonal(given: Given, gain: float) -> Params:
    return _redrawn(given, lambda n, m: gain * _orthogonal_matrix(given.rng, n, m))


def _lsuv(given: Given) -> Params:
    """Orthogonal matrices, each divided by the deviation of its outputs, from below."""
    of, z, made = given.of, given.xs, []
    for i, p in enumerate(as_list(given.params)):
        q = _orthogonal_matrix(given.rng, *p["w"].shape)
        out = (z if i == 0 else np.asarray(of.sigma(z))) @ q
        size = max(float(out.std()), 1e-8)
        made.append({"w": np.float32(q / size), "b": np.zeros_like(p["b"])})
        is_inner = 0 < i < of.depth + 1
        z = np.asarray(z + out / size if of.skip and is_inner else out / size, np.float32)
    first, *blocks, last = made
    stacked = {name: np.stack([p[name] for p in blocks]) for name in ("w", "b")}
    return {"first": first, "blocks": stacked, "head": last}


def _of_package(name: str) -> Remedy:
    def remedy(given: Given) -> tuple[str, Params]:
        from experiments.remedies.rivals import of_torch

        make = getattr(of_torch, name)
        return PLAIN, make(given.of, as_list(given.params), given.xs, given.ys)

    return remedy


REMEDIES: dict[str, Remedy] = {
    PLAIN: lambda given: (PLAIN, given.params),
    "He": lambda given: (PLAIN, _he(given)),
    "Glorot": lambda given: (PLAIN, _glorot(given)),
    "orthogonal": lambda given: (PLAIN, _orthogonal(given, 1.0)),
    "orthogonal with gain": lambda given: (
        PLAIN,
        _orthogonal(given, GAINS.get(given.of.units, LIKE_RELU)),
    ),
    "LSUV": lambda given: (PLAIN, _lsuv(given)),
    "anyinit": _of_package("anyinit"),
    "GradInit": _of_package("gradinit"),
    NORM: lambda given: (NORM, _he(given)),
    RESIDUAL: lambda given: (RESIDUAL, _he(given)),
}
PACKAGES = "anyinit", "GradInit"
CURE = "first cure"
