"""Hooks: what PyTorch passes down through cuts, each example brought near 1 by a power of two.

    at cut l, for each example    g -> g 2^-k[l],   2^k[l] <= max |g| < 2^(k[l]+1)
    so that there                 Δ[l] = g 2^(k[l+1] + … + k[L])

A cut is a module whose output is a state: everything passes through it. A hook on that tensor
rescales the gradient and passes it on, so that torch goes on from there in the middle of its range.
That is exact, since a reverse pass is linear.

Whether it was a cut is read from torch's graph, whatever the numbers are: no path may lead around
it to what is below. What a graph cannot tell is compared, on one forward pass, so that dropout is
the same. Where plain backpropagation has normal numbers, it is the judge. Where it has none, there
is a second scaling by other powers of two, drawn for each cut and example: what does not depend on
them is right. It depends on them where examples meet, and where something clips a gradient. These
are told apart by a gradient that is zero for every second example; where those come out non-zero,
examples are brought to one common exponent.

Torch is not imported here: everything is a method of what is handed over, or stands among the
modules that the user has imported.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from ...arrays.rows import LN2, ZERO_EXPONENT, in_bfloat16, is_narrow

POWERS = 3  # the second scaling is by 2, 4, …, 2^POWERS more: float16 has room for little else


class State(NamedTuple):
    """The output of one call of a cut; states[l - 1] is state l.

    cut: the name of the module.
    name: that, with a number if it is called several times.
    edge: the place of the output in torch's graph, before anything changes it in place.
    """

    cut: str
    name: str
    edge: Any
    shape: tuple[int, ...]
    dtype: Any


class Run:
    """Records of one forward pass and of the passes down from it, filled by hooks."""

    def __init__(self) -> None:
        self.states: list[State] = []
        self.values: list[np.ndarray] = []  # of the states
        self.open = True
        self.going: Pass | None = None
        self.handles: list[Any] = []

    @contextmanager
    def hooked(self, chosen: Mapping[str, Any]) -> Iterator[None]:
        """Put hooks on the cuts, and take them off in the end."""
        try:
            for name, cut in chosen.items():
                self.handles.append(cut.register_forward_hook(partial(self._up, name)))
            yield
        finally:
            for handle in self.handles:
                handle.remove()

    def closed(self) -> list[State]:
        """Return the states, after which calls of cuts count no more.

        Checkpointed layers are called again on the way down.
        """
        self.open = False
        times = Counter(state.cut for state in self.states)
        so_far: Counter[str] = Counter()
        for i, state in enumerate(self.states):
            if times[state.cut] > 1:
                self.states[i] = state._replace(name=f"{state.cut} {so_far[state.cut]}")
                so_far[state.cut] += 1
        return self.states

    @contextmanager
    def going_down(self, going: "Pass") -> Iterator["Pass"]:
        """Let a pass see the gradients that arrive at the cuts."""
        self.going = going
        try:
            yield going
        finally:
            self.going = None

    def _up(self, name: str, module: Any, args: Any, output: Any) -> None:
        if not self.open:
            return
        tensor = first_tensor(output)
        if tensor is None or not tensor.is_floating_point() or not tensor.requires_grad:
            got = (
                type(output).__name__ if tensor is None else f"{name_of_dtype(tensor)} without one"
            )
            raise ValueError(
                f"cut {name}: expected an output of floats with a gradient, got {got}; let its "
                "parameters, or the inputs, require a gradient, or leave it out of cuts"
            )
        edge = sys.modules["torch"].autograd.graph.get_gradient_edge(tensor)
        dtype = jnp.dtype(name_of_dtype(tensor))
        state = State(name, name, edge, tuple(tensor.shape), dtype)
        if is_narrow(state):
            raise ValueError(f"cut {name}: expected an output of {in_bfloat16(state)}")
        self.states.append(state)
        self.values.append(numbers_of(tensor).astype(dtype))  # a copy: it may be changed in place
        self.handles.append(tensor.register_hook(partial(self._down, len(self.states))))

    def _down(self, layer: int, grad: Any) -> Any:
        return None if self.going is None else self.going.through(layer, grad)


# The graph


def check_paths(top: Any, states: list[State], bottom: Any) -> bool:
    """Check that every path from the top to a state passes through the cuts above it.

    An edge of torch's graph is (node, number of its output). The search goes from the top to the
    highest cut, from there to the next, and so on. If it meets anything lower, something goes
    around that cut, also if what flows there is zero. What led nowhere once is not entered again:
    the whole is linear in the graph.

    top: the edge of the loss, or of an output with a cotangent.
    bottom: the edge of the input; None if it has no gradient.

    Returns:
        Whether that is true of the input too: it may enter at each step of a recurrent network.

    Raises:
        ValueError: something goes around a cut, or nothing passes through it, with its name.
    """
    edges = [tuple(edge[:2]) for edge in (bottom or (None, -1), *(s.edge for s in states))]
    layers = {edge: layer for layer, edge in enumerate(edges)}  # a cut may return what comes in
    names = ["the input", *(state.name for state in states)]
    entered: set[Any] = set()
    going, is_whole = [tuple(top[:2])], True
    for layer in range(len(states), 0, -1):
        met = _met(going, layers, entered)
        if layers[edges[layer]] not in met:
            raise ValueError(
                f"cut {names[layer]}: expected the gradient to pass through it, from the loss to "
                f"the first cut, {names[1]}, and it does not; leave it out of cuts"
            )
        around = max(met - {layers[edges[layer]]}, default=None)
        if around == 0 and states[0].name != states[0].cut:
            is_whole = False  # the input of a recurrent network goes around its steps
        elif around is not None:
            raise ValueError(
                f"cut {names[layer]}: expected everything to pass through it, but a path of the "
                f"gradient reaches {names[around]} around it, as a skip connection does; cut at "
                "whole blocks, in which such paths begin and end, and leave this one out of cuts"
            )
        if edges[layer - 1] != edges[layer]:
            going = list(edges[layer][0].next_functions)
        else:
            going = [edges[layer]]
    return is_whole


def _met(going: list[Any], layers: Mapping[Any, int], entered: set[Any]) -> set[int]:
    """Return which states the paths from these edges meet first, and add the nodes between."""
    met = set()
    while going:
        edge = going.pop()
        if edge in layers:
            met.add(layers[edge])
        elif edge[0] is not None and edge[0] not in entered:
            entered.add(edge[0])
            going += edge[0].next_functions
    return met


# (cut, the exponents of what has come, the sizes of Δ there) -> those to multiply it by
Rule = Callable[[int, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


class Pass:
    """One reverse pass. State 0 is the input; Δ of an example is m 2^exponent.

    rule: returns by which power of two each example is multiplied; None for plain backpropagation.
    probe: whether every second example is made zero at each cut, to see where it comes back.
    """

    def __init__(self, states: list[State], rule: Rule | None, probe: bool) -> None:
        examples = states[0].shape[0]
        of = (len(states) + 1, examples)
        self.rule, self.probe = rule, probe
        self.total = np.zeros(examples, np.int64)  # Δ = what arrives × 2^total
        self.exponent = np.full(of, ZERO_EXPONENT, np.int64)
        self.largest, self.norm = np.zeros(of), np.zeros(of)
        self.reached = np.zeros(len(states) + 1, bool)
        self.met = np.zeros(len(states) + 2, bool)

    def arrived(self, layer: int, grad: Any) -> tuple[np.ndarray, Any]:
        """Record Δ of a state; return exponents k, and rows × 2^-k with max |entry| in [1, 2)."""
        rows = (grad.float() if grad.element_size() < 4 else grad).reshape(len(grad), -1)
        # Large temporaries cost more than what is computed, and abs() would be one.
        largest = np.maximum(numbers_of(rows.amax(1)), -numbers_of(rows.amin(1))).astype(np.float64)
        most = _highest_exponent(grad) - 1 - POWERS
        k = np.maximum(np.minimum(np.frexp(largest)[1] - 1, most), -most)
        k = np.where(np.isfinite(largest) & (largest > 0), k, 0).astype(np.int64)
        unit = np.ldexp(1.0, -k)
        m = rows * rows.new_tensor(unit)[:, None]
        self.exponent[layer] = np.where(largest == 0, ZERO_EXPONENT, self.total + k)
        self.largest[layer], self.norm[layer] = largest * unit, numbers_of(m.norm(dim=1))
        self.reached[layer] = True
        if self.probe:
            self.met[layer + 1] = np.any(largest[1::2] != 0)
        return k, m

    def through(self, layer: int, grad: Any) -> Any:
        """Note Δ of a state, and return what is passed on; None for what has come."""
        k, m = self.arrived(layer, grad)
        if self.rule is None:
            return None
        by = self.rule(layer, k, self.total, self.exponent[layer])
        self.total = self.total - by
        if not self.probe and np.array_equal(by, -k):
            return m.reshape(grad.shape).to(grad.dtype)
        # Where examples meet, one that is zero may have a power beyond the range.
        factors = np.ldexp(1.0, np.minimum(by, _highest_exponent(grad)))
        if self.probe:
            factors[1::2] = 0
        return grad * grad.new_tensor(factors).reshape(-1, *[1] * (grad.ndim - 1))

    @property
    def log(self) -> np.ndarray:
        """Return ln ‖Δ‖ of each state and example."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.norm) + self.exponent * LN2)


def rescaled(mixes: np.ndarray, more: np.ndarray) -> Rule:
    """Return the rule that brings each example near 1, or all to one exponent where they meet.

    more: the power of two for each cut and example by which it is more than that.
    """

    def by(layer: int, k: np.ndarray, total: np.ndarray, exponent: np.ndarray) -> np.ndarray:
        if mixes[layer]:
            return np.asarray(total - np.max(exponent) + more[layer, 0])
        return np.asarray(-k + more[layer])

    return by


def drawn_powers(of: tuple[int, int]) -> np.ndarray:
    """Draw a power of two for each (state, example): none is 0, and none is its neighbour's.

    They are the same in each call, so that no network is accepted by luck.
    """
    steps = np.random.default_rng(0).integers(1, POWERS, of)
    return np.asarray(1 + np.cumsum(steps, axis=1) % POWERS)


def agreed(down: Callable[..., Pass], states: list[State]) -> tuple[Pass, np.ndarray]:
    """Return a rescaled pass that is right, and for each state whether examples meet below it.

    Raises:
        ValueError: there is none, with the name of the cut.
    """
    plain = down()
    none = np.zeros_like(plain.exponent)
    mixes = np.zeros(len(states) + 1, bool)
    found = down(rescaled(mixes, none))
    wrong = _wrong(down, states, plain, found, mixes)
    if wrong is not None:
        mixes = down(rescaled(np.ones_like(mixes), none), probe=True).met[:-1]
        if mixes.any():
            found = down(rescaled(mixes, none))
            wrong = _wrong(down, states, plain, found, mixes)
    if wrong is not None:
        names = ["the input", *(state.name for state in states)]
        raise ValueError(
            f"cut {names[min(wrong + 1, len(states))]}: expected the gradient below it to grow in "
            f"proportion to that above, but at {names[wrong]} it depends on how that is scaled, as "
            f"if something clipped it, or it left the range of {states[0].dtype} on the way; take "
            "clipping out, or measure in a wider float"
        )
    return found, mixes[1:]


def _wrong(
    down: Callable[..., Pass],
    states: list[State],
    plain: Pass,
    found: Pass,
    mixes: np.ndarray,
) -> int | None:
    """Return the highest state at which a rescaled pass is not right; None if it is."""
    infos = [jnp.finfo(state.dtype) for state in states]  # type: ignore[no-untyped-call]
    tolerance = max(float(info.eps) for info in infos) ** 0.5
    # Plain numbers are taken where entries smaller by an eps are normal too, here and above.
    lowest = max(int(info.minexp) + int(info.nmant) for info in infos)
    normal = (plain.exponent >= lowest) & np.isfinite(plain.norm)
    known = np.logical_and.accumulate((normal | (plain.log == found.log))[::-1])[::-1]
    off = _differ(plain.log, found.log, tolerance) & known
    if not known.all():
        second = down(rescaled(mixes, drawn_powers(found.exponent.shape)))
        off |= _differ(second.log, found.log, tolerance)
    where = np.flatnonzero(off.any(axis=1))
    return int(where[-1]) if len(where) else None


def _differ(a: np.ndarray, b: np.ndarray, tolerance: float) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.asarray(~((np.abs(a - b) <= tolerance) | (a == b) | (np.isnan(a) & np.isnan(b))))


# Tensors


def is_tensor(value: Any) -> bool:
    """Tell torch's tensors by a method of theirs."""
    return hasattr(value, "register_hook")


def tensors_in(value: Any) -> Iterator[Any]:
    """Yield the tensors in a tuple, list or dict, or the one that is given."""
    if is_tensor(value):
        yield value
    elif isinstance(value, Mapping):
        yield from tensors_in(list(value.values()))
    elif isinstance(value, tuple | list):
        for part in value:
            yield from tensors_in(part)


def first_tensor(value: Any) -> Any:
    """Return the first tensor in a tuple, list or dict; None if there is none."""
    return next(tensors_in(value), None)


def name_of_dtype(tensor: Any) -> str:
    """Return the name that NumPy and JAX have for a dtype of torch."""
    return str(tensor.dtype).removeprefix("torch.")


def _highest_exponent(tensor: Any) -> int:
    return int(jnp.finfo(name_of_dtype(tensor)).maxexp) - 1  # type: ignore[no-untyped-call]


def numbers_of(tensor: Any) -> np.ndarray:
    """Return a tensor's numbers, in its memory where that can be; 16-bit floats as float32."""
    tensor = tensor.detach()
    if tensor.element_size() < 4:
        tensor = tensor.float()
    return np.asarray(tensor.cpu().numpy())


def is_a(module: Any, name: str) -> bool:
    """Tell a module of torch.nn, or of a subclass, by the name of its class."""
    return any(c.__name__ == name and of_torch(c) for c in type(module).__mro__)


def of_torch(kind: type) -> bool:
    """Tell torch's own classes of modules."""
    return kind.__module__.startswith("torch.nn.")
