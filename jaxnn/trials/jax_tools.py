"""Tools of JAX: a change is another program; numbers go through the program of the old one."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from ..arrays.compiled import few_runs
from ..chain.chain import Chain
from ..jaxpr.primitives import AFFINE, CASTS, MULTIPLYING, SHAPES, SUMS
from ..jaxpr.program import Flat, Instead
from ..models import as_network, is_pair, own_pytree
from ..patients.jax_patients import ChainPatient
from ..patients.patient import At
from ..patients.structure import Rebuilding, Remade, traced
from ..train.descent import ADAM, RATE, learned, trainee_of
from ..train.jax_learner import OtherOptimizer
from ..train.steps import check_optimizer
from .setup import Setup
from .tools import Tools

LINEAR = AFFINE | SUMS | SHAPES | CASTS  # what is no activation, such as a factor
WARM = 2  # steps, of which the first may be one of size 0
SMALL = 1e-3  # times a gradient: what tells an optimiser that normalises from one that does not


class JaxTools(Tools):
    turns_update = "optimizer = optax.chain(optimizer, optax.scale(-1.0))"

    def prediction(self, output: Any) -> Any:
        (v,) = jax.tree.leaves(output)
        return v

    def like(self, array: Any, numbers: np.ndarray) -> Any:
        return jnp.asarray(numbers, array.dtype)

    def numbers(self, v: Any) -> np.ndarray:
        return np.asarray(v)

    def log_softmax(self, v: Any, axis: int) -> Any:
        return jax.nn.log_softmax(v, axis)

    def softplus(self, v: Any) -> Any:
        return jax.nn.softplus(v)

    def picked(self, v: Any, classes: Any, axis: int) -> Any:
        places = jnp.expand_dims(jnp.asarray(classes).astype(int), axis)
        return jnp.take_along_axis(v, places, axis)

    def as_classes(self, v: Any) -> Any:
        return jnp.asarray(v).reshape(-1).astype(int)

    def ranks(self, v: Any, kinds: np.ndarray) -> Any:
        return jnp.searchsorted(jnp.asarray(kinds), jnp.asarray(v)).astype(v.dtype)

    def cheaply(self, setup: Setup) -> AbstractContextManager[None]:
        return few_runs()

    def headless(self, setup: Setup) -> Setup | None:
        patient = setup.patient
        if not isinstance(patient, ChainPatient):
            return None
        last = np.arange(len(patient.names)) == len(patient.names) - 1
        _, *link = next(link for link in patient._links if last[link[0]].any())
        if _logits(traced(*link)[0]) is None:
            return None
        written = ["# the forward pass without the activation after the last layer"]
        return setup.reformed(patient._rebuilt(Rebuilding(Headless, None), written, last))

    def with_adam(self, setup: Setup) -> Setup | None:
        return setup.but(times=1.0, optimizer=ADAM).saying(adam="optax.adam(1e-3)")

    def step_size(self, setup: Setup) -> float | None:
        optimizer = setup.program.optimizer
        if optimizer is None or optimizer is ADAM:
            return RATE
        # Adam takes equal steps for all gradients, descent steps in proportion to them; a clip of
        # all of them keeps their proportion, and the size of the step.
        one, small = _first_update(optimizer, [1.0, SMALL])
        (alone,) = _first_update(optimizer, [1.0])
        larger, _ = _first_update(optimizer, [10.0, 10 * SMALL])
        is_known = np.isclose(one, small, rtol=0.01) or np.isclose(larger, 10 * one, rtol=0.01)
        is_of_each = np.isclose(one, alone, rtol=0.01)  # no clip of all updates together
        return float(-one) if one < 0 and is_known and is_of_each else None

    def without_decay(self, setup: Setup) -> Setup | None:
        optimizer = setup.program.optimizer
        if optimizer is None or not _first_update(optimizer, [0.0], 1.0).any():
            return None
        return setup.but(optimizer=Undecayed(check_optimizer(optimizer)))

    def all_learning(self, setup: Setup) -> Setup | None:
        # An optimiser of a part leaves the others as they are, by updates of zero.
        optimizer = setup.program.optimizer
        if optimizer is None:
            return None
        floats = learned(trainee_of(setup.program).tree)
        ones = jax.tree.map(lambda v: np.ones([1] * v.ndim, v.dtype), floats)
        updates, _ = optimizer.update(ones, optimizer.init(ones), ones)
        moved = [bool(np.any(v)) for v in jax.tree.leaves(updates)]
        return None if all(moved) or not any(moved) else self.with_adam(setup)

    def goes_uphill(self, setup: Setup) -> bool:
        optimizer = setup.program.optimizer
        return optimizer is not None and bool(_first_update(optimizer, [1.0], steps=WARM)[0] > 0)

    def with_class_each(self, setup: Setup, classes: int) -> Setup | None:
        program, rng = setup.program, np.random.default_rng(1)
        net, own = program.network[0], own_pytree(program.model)
        last = {*net.paths[-1]} if isinstance(net, Chain) else set()

        axes: dict[str, int] = {}

        def wider(path: Any, v: Any) -> Any:
            name = jax.tree_util.keystr(path)
            if name not in last or 1 not in np.shape(v):
                return v
            axes[name] = axis = v.ndim - 1 - v.shape[::-1].index(1)
            shape = [classes if i == axis else n for i, n in enumerate(v.shape)]
            return jnp.asarray(rng.normal(size=shape) * (v.size**-0.5 * (v.ndim > 1)), v.dtype)

        tree = jax.tree_util.tree_map_with_path(wider, own)
        if not axes:
            return None
        model: Any = tree  # of layers, which take arrays of any width
        if is_pair(program.model) or callable(own):
            f = program.model[0] if is_pair(program.model) else lambda module, xs: module(xs)
            model = ClassEach(f, tuple(axes.items())), tree
        network = as_network(model, program.xs, each=program.each, cuts=program.cuts)
        return setup.but(model=model, network=network)

    def drawn(self, setup: Setup, variance: float = 1.0) -> Setup | None:
        patient, rng = setup.patient, np.random.default_rng(1)
        weights = patient.every_weight

        def drawn(_: Any, at: At) -> np.ndarray:
            v = patient.arrays[at]
            if at not in weights:
                return np.zeros_like(v)
            out = patient.axes(at)[1] if v.ndim > 1 else 0
            return np.asarray(rng.normal(size=v.shape) * (variance * v.shape[out] / v.size) ** 0.5)

        params = patient.redrawn(weights | patient.biases, drawn)
        return setup.reformed(patient, params)


@dataclass(frozen=True)
class ClassEach:
    """A function with one output, once for each class, with entries of its last arrays.

    So a module that knows its width, as of Linen, is not asked for another one.
    """

    f: Any
    axes: tuple[tuple[str, int], ...]  # by the paths of arrays, those of the classes

    def __call__(self, tree: PyTree, xs: PyTree) -> Any:
        axes, named = dict(self.axes), jax.tree_util.tree_leaves_with_path(tree)
        wide = {name: v for path, v in named if (name := jax.tree_util.keystr(path)) in axes}

        def output(entries: dict[str, Any]) -> Any:
            def filled(path: Any, v: Any) -> Any:
                name = jax.tree_util.keystr(path)
                return jnp.expand_dims(entries[name], axes[name]) if name in axes else v

            (v,) = jax.tree.leaves(self.f(jax.tree_util.tree_map_with_path(filled, tree), xs))
            return v[..., 0] if v.shape[-1:] == (1,) else v

        return jax.vmap(output, (axes,), -1)(wide)


class Undecayed(OtherOptimizer):
    """An optimiser that is shown parameters of 0, so that it shrinks none."""

    def updated(
        self, gradient: PyTree, state: PyTree, params: PyTree = None, **extra: Any
    ) -> tuple[Any, Any]:
        zeros = None if params is None else jax.tree.map(jnp.zeros_like, params)
        return self.optimizer.update(gradient, state, zeros, **extra)


def _first_update(
    optimizer: Any, gradient: list[float], parameter: float = 0.0, steps: int = 1
) -> np.ndarray:
    """Return what the last of some steps adds to parameters; nan if it takes more than these."""
    p = jnp.full(len(gradient), parameter, jnp.float32)
    try:
        state = optimizer.init(p)
        for _ in range(steps):
            updates, state = optimizer.update(jnp.asarray(gradient, jnp.float32), state, p)
        return np.asarray(updates, np.float64)
    except Exception:  # of an optimiser that knows the parameters by name
        return np.full(len(gradient), np.nan if any(gradient) else 0.0)


@dataclass(frozen=True)
class Headless(Remade):
    """The last layer, without what follows its product and its bias."""

    other: Any = None

    def instead(self, flat: Flat) -> Instead:
        logits, (output,) = _logits(flat), flat.outputs
        assert logits is not None
        made = flat.types[output]
        return {output: (logits, lambda v: v.reshape(made.shape).astype(made.dtype))}


def _logits(flat: Flat) -> int | None:
    """Return what enters the last activation; None if there is none that is known."""
    if len(flat.outputs) != 1:
        return None
    products = [step for step in flat.steps if step.eqn.primitive.name in MULTIPLYING]
    if not products:
        return None
    (v, *_more) = products[-1].outputs
    while True:
        users = [step for step in flat.steps if v in step.inputs]
        if len(users) != 1 or users[0].eqn.primitive.name not in SUMS | SHAPES | CASTS:
            break
        v = users[0].outputs[0]
    after = {v}
    for step in flat.steps:
        after.update(step.outputs if after & {*step.inputs} else ())
    bends = [s for s in flat.steps if after & {*s.inputs} and s.eqn.primitive.name not in LINEAR]
    is_same = not bends
    size, whole = (int(np.prod(flat.types[u].shape)) for u in (v, flat.outputs[0]))
    return None if is_same or size != whole else v
