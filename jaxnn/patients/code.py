"""Code: a change as a person would write it for the network at hand, in a few lines.

    arrays before and after -> an edit each -> those of one kind in one loop -> lines

An edit is read off the numbers, whichever rule made them; a `Dialect` writes it.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

from ..graph.steps import Axes
from .draws import Normal
from .hooks import Layer
from .patient import At, Form, Leaky
from .words import STAR, split_by_number, template, to_digits

CLOSE = 1e-4  # of an array, relative to its size
INDENT = " " * 4
AT_RANDOM = frozenset(("orthogonal", "delta", "mirrored", "mirrored delta", "normal"))  # verbs
ENDS = 3  # operations at either end of a layer that are written
PYTHON = {  # what users write of JAX's primitives
    "dot_general": "@",
    "conv_general_dilated": "convolution",
    "add": "+",
    "sub": "-",
    "mul": "*",
    "div": "/",
    "integer_pow": "**",
    "max": "maximum",
    "logistic": "sigmoid",
    "reduce_sum": "sum",
}


class Edit(NamedTuple):
    """A change of one array: what is done to it, and by how much."""

    verb: str  # multiply, fill, part, orthogonal, mirrored, delta, mirrored delta, halves or normal
    amount: float  # the factor, constant, gain or standard deviation
    part: tuple[int, int] | None = None  # the entries that get the constant; None of all


def edit_of(old: np.ndarray, new: np.ndarray, axes: Axes) -> Edit:
    """Return what makes an array of another one."""
    if new.ndim < 2 and np.ptp(new) == 0:
        return Edit("fill", float(new.flat[0]))
    size = float(np.max(np.abs(new), initial=0.0))
    square = float(np.sum(np.square(old)))
    factor = float(np.sum(old * new)) / square if square else 0.0
    if square and np.abs(new - factor * old).max() <= CLOSE * size:
        return Edit("multiply", factor)
    if np.ptp(new) == 0:
        return Edit("fill", float(new.flat[0]))
    changed = np.flatnonzero(new != old)
    if new.ndim == 1 and len(changed) < len(new) and np.ptp(new[changed]) == 0:
        return Edit("part", float(new[changed[0]]), (int(changed[0]), int(changed[-1]) + 1))
    half = len(new) // 2
    if new.ndim == 1 and np.allclose(new[half:], -new[:half]) and (new[:half] == old[:half]).all():
        return Edit("halves", 1.0)
    return _drawn(new, axes)


def _drawn(new: np.ndarray, axes: Axes) -> Edit:
    """Return how an array was drawn: orthogonal, mirrored, or with independent entries."""
    centre = tuple(
        slice(None) if i in axes or new.ndim == 2 else (n - 1) // 2 for i, n in enumerate(new.shape)
    )
    matrix = np.asarray(new[centre], np.float64)
    if matrix.ndim == 2 and np.count_nonzero(new) == np.count_nonzero(matrix):
        values = np.linalg.svd(matrix, compute_uv=False)
        if np.ptp(values) <= CLOSE * values[0]:
            return Edit("orthogonal" if new.ndim == 2 else "delta", float(values[0]))
        half = [n // 2 for n in matrix.shape]
        if np.allclose(matrix[: half[0], : half[1]], -matrix[half[0] :, : half[1]]):
            return Edit("mirrored" if new.ndim == 2 else "mirrored delta", 1.0)
    return Edit("normal", to_digits(float(np.sqrt(np.mean(np.square(new)))), 2))


# Loops over edits


class Loop(NamedTuple):
    """The values of i in a loop, and what is done in it: names with i, edits; no values if once."""

    values: tuple[int, ...]
    body: list[tuple[str, list[Edit]]]


def loops(edits: Mapping[str, Edit]) -> list[Loop]:
    """Return edits by the paths of their arrays as loops over the number in which these differ."""
    groups: dict[tuple[object, ...], list[tuple[str, Edit]]] = {}
    for path, edit in edits.items():
        groups.setdefault((template(path), edit.verb, edit.part), []).append((path, edit))
    made: list[Loop] = []
    for group in groups.values():
        for values, name, of_name in split_by_number(group):
            # What is drawn has a loop of its own: its order is the same whatever the amounts are.
            is_drawn = of_name[0].verb in AT_RANDOM
            alike = (loop for loop in made if values and loop.values == values)
            known = None if is_drawn else next(alike, None)
            if known is None:
                made.append(Loop(values, [(name, of_name)]))
            else:
                known.body.append((name, of_name))
    return made


# Dialects


class Dialect(ABC):
    """The way a framework writes edits: as lines of code that somebody would type there."""

    def lines(self, edits: Mapping[str, Edit]) -> list[str]:
        """Return the lines of edits by the paths of their arrays."""
        written: list[str] = []
        for loop in loops(edits):
            written += self.of_loop(loop)
        return written

    @abstractmethod
    def of_loop(self, loop: Loop) -> list[str]:
        """Return the lines of one loop."""


class InPlace(Dialect):
    """Lists and dicts of JAX arrays, of this name: each edit is an assignment to an entry."""

    def __init__(self, name: str, leaves: Iterable[str] = ()):
        self.name = name
        self.leaves = {template(leaf) for leaf in leaves}  # others are entries of a stack

    def of_loop(self, loop: Loop) -> list[str]:
        values, body = loop
        amounts = [[_number(edit.amount) for edit in edits] for _, edits in body]
        is_same = all(len({*of_name}) == 1 for of_name in amounts)
        is_one = len({*map(tuple, amounts)}) == 1
        if not is_same and not is_one:  # a loop for each
            return [line for one in body for line in self.of_loop(Loop(values, [one]))]
        lines = []
        for (name, (edit, *_)), of_name in zip(body, amounts, strict=True):
            lines += self.assigned(name, edit, of_name[0] if is_same else "a")
        if not values:
            return lines
        return [_over(values, None if is_same else amounts[0]), *(INDENT + line for line in lines)]

    def assigned(self, name: str, edit: Edit, amount: str) -> list[str]:
        """Return the lines that change one array."""
        t = self.name + _indexed(name)
        stack, _, entry = t.removesuffix("]").rpartition("[")
        if self.leaves and template(name) not in self.leaves:
            return [f"{stack} = {stack}.at[{entry}].set({_value(edit, t, amount)})"]
        if re.fullmatch(r"\[[\d*]+\]\[1\]", name):  # of a layer (f, array), which is a tuple
            return [f"{stack} = ({stack}[0], {_value(edit, t, amount)})"]
        return _set(edit, t, amount)


class OfNnx(InPlace):
    """Lines that assign to the variables of a module of Flax NNX."""

    def assigned(self, name: str, edit: Edit, amount: str) -> list[str]:
        return _set(edit, f"model{_indexed(name).removesuffix('.value')}[...]", amount)


class OfLeaves(InPlace):
    """Lines that change the leaves of a pytree that cannot be changed, and put it together."""

    def __init__(self, name: str, paths: Iterable[str]):
        self.tree, self.paths = name, [*paths]
        super().__init__("leaves", ["[0]"])

    def lines(self, edits: Mapping[str, Edit]) -> list[str]:
        lines = super().lines({self._leaf(path): edit for path, edit in edits.items()})
        first = f"leaves, tree = jax.tree.flatten({self.tree})"
        return [first, *lines, f"{self.tree} = jax.tree.unflatten(tree, leaves)"] if lines else []

    def _leaf(self, path: str) -> str:
        """Return the path of an array among the leaves; of an entry of a stack with its index."""
        number = max(
            (i for i, leaf in enumerate(self.paths) if path.startswith(leaf)),
            key=lambda i: len(self.paths[i]),
        )
        return f"[{number}]{path.removeprefix(self.paths[number])}"


class OfEquinox(Dialect):
    """Lines that make a module of Equinox, or a pytree with some, anew with other arrays."""

    def __init__(self, name: str):
        self.name = name

    def of_loop(self, loop: Loop) -> list[str]:
        lines = []
        for name, edits in loop.body:
            each = f" {_over(loop.values).removesuffix(':')}" if loop.values else ""
            amounts = [_number(edit.amount) for edit in edits]
            is_same = len({*amounts}) == 1
            value = _value(edits[0], "w", amounts[0] if is_same else "a", inputs_last=True)
            pairs = f"w in where({self.name})"
            if not is_same:
                pairs = f"w, a in zip(where({self.name}), {_listed(amounts)})"
            lines.append(f"where = lambda m: [m{_indexed(name)}{each}]")
            lines.append(f"{self.name} = eqx.tree_at(where, {self.name}, [{value} for {pairs}])")
        return lines


class OfTorch(InPlace):
    """Lines that change the parameters of a module of PyTorch in place."""

    def lines(self, edits: Mapping[str, Edit]) -> list[str]:
        lines = super().lines(edits)
        return ["with torch.no_grad():", *(INDENT + line for line in lines)] if lines else []

    def assigned(self, name: str, edit: Edit, amount: str) -> list[str]:
        t = f"model.get_parameter({of_name(name)})"
        orthogonal = "torch.nn.init.orthogonal_"
        centre = "(..., *[(n - 1) // 2 for n in p.shape[2:]])"
        p, w = f"p = {t}", f"w = {orthogonal}(p.new_empty([n // 2 for n in p.shape[:2]]))"
        mirrored = "torch.cat([torch.cat([w, -w], 1), torch.cat([-w, w], 1)])"
        return {
            "delta": [p, f"p.zero_()[{centre}] = {orthogonal}(p.new_empty(p.shape[:2]), {amount})"],
            "mirrored": [p, w, f"p.copy_({mirrored})"],
            "mirrored delta": [p, w, f"p.zero_()[{centre}] = {mirrored}"],
            "halves": [p, "p[len(p) // 2 :] = -p[: len(p) // 2]"],
            "multiply": [f"{t}.mul_({amount})"],
            "fill": [f"{t}.fill_({amount})"],
            "part": [f"{t}[{_part(edit)}] = {amount}"],
            "orthogonal": [f"{orthogonal}({t}, {amount})"],
            "normal": [f"torch.nn.init.normal_({t}, std={amount})"],
        }[edit.verb]


def _set(edit: Edit, t: str, amount: str) -> list[str]:
    return [f"{t} *= {amount}" if edit.verb == "multiply" else f"{t} = {_value(edit, t, amount)}"]


def _value(edit: Edit, t: str, amount: str, inputs_last: bool = False) -> str:
    """Return an array of JAX after an edit, in Python, given how it is named there."""
    init = "jax.nn.initializers"
    units, centre = f"{t}.shape[-2:]", f"tuple((n - 1) // 2 for n in {t}.shape[:-2])"
    if inputs_last:  # kernels (out, in, …)
        units, centre = f"{t}.shape[:2]", f"(..., *[(n - 1) // 2 for n in {t}.shape[2:]])"
    matrix = f"{init}.orthogonal({amount})(next(keys), {units})"
    half = f"{init}.orthogonal()(next(keys), [n // 2 for n in {units}])"
    mirrored = f"jnp.kron(jnp.array([[1.0, -1], [-1, 1]]), {half})"
    return {
        "multiply": f"{amount} * {t}",
        "fill": f"jnp.full_like({t}, {amount})",
        "part": f"{t}.at[{_part(edit)}].set({amount})",
        "orthogonal": f"{init}.orthogonal({amount})(next(keys), {t}.shape).astype({t}.dtype)",
        "delta": f"jnp.zeros_like({t}).at[{centre}].set({matrix})",
        "mirrored": f"{mirrored}.astype({t}.dtype)",
        "mirrored delta": f"jnp.zeros_like({t}).at[{centre}].set({mirrored})",
        "halves": f"jnp.concatenate([{t}[: len({t}) // 2], -{t}[: len({t}) // 2]])",
        "normal": f"{amount} * jax.random.normal(next(keys), {t}.shape).astype({t}.dtype)",
    }[edit.verb]


def _part(edit: Edit) -> str:
    return ":".join(map(str, edit.part or ()))


def _number(value: float) -> str:
    return f"{value:.6g}"


def of_layers(form: Form, where: str, inside: Sequence[str], takes_one: bool) -> list[str]:
    """Return the lines of a forward pass in JAX in which layers have another form."""
    # inside: the primitives of such a layer, which tell where it begins and ends.
    inside = [PYTHON.get(name, name) for name in inside]
    few = [*inside[:ENDS], "...", *inside[-ENDS:]] if len(inside) > 2 * ENDS else inside
    return [
        f"# for {where}, each of {', '.join(few)},",
        "# z = layer(z) becomes",
        f"z = {form.code('layer', int(not takes_one))}",
    ]


def of_units(sigma: Leaky, where: str) -> list[str]:
    """Return the lines of units in JAX."""
    return [
        f"sigma = lambda z: {sigma.gain:.6g} * jax.nn.leaky_relu(z, {sigma.slope:.6g})",
        f"# in {where} write sigma(z) where the activation is",
    ]


def of_modules(layers: Sequence[Layer], forward: str, holds: bool = True) -> list[str]:
    """Return the lines that put a module of PyTorch around, or in place of, each of some layers."""
    # forward: what it returns, of z and, if it holds the layer, self.layer.
    made = f"Changed({'model.get_submodule(NAME)' if holds else ''})"
    lines = ["class Changed(torch.nn.Module):"]
    if holds:
        lines += [f"{INDENT}def __init__(self, layer):", f"{INDENT * 2}super().__init__()"]
        lines += [f"{INDENT * 2}self.layer = layer"]
    lines += [f"{INDENT}def forward(self, z):", f"{INDENT * 2}return {forward}"]
    names = [layer.name for layer in layers if not layer.between]
    for values, body in loops(dict.fromkeys(names, Edit("fill", 0.0))):
        lines += [_over(values)] if values else []
        for name, _ in body:
            written = f"model.set_submodule(NAME, {made})".replace("NAME", of_name(name))
            lines.append(INDENT * bool(values) + written)
    rows: dict[tuple[str, int], list[int]] = {}
    for layer in layers:
        if layer.between:
            holder, count = layer.name.rpartition(".")[0], len(layer.between)
            rows.setdefault((holder, count), []).append(layer.place)
    for (holder, count), places in rows.items():
        # What a layer holds beside its last module leaves its place to an identity.
        lines.append(f"row = model.get_submodule({of_name(holder)})" if holder else "row = model")
        lines += [
            _over(tuple(places)),
            f"{INDENT}row[i] = Changed(torch.nn.Sequential(*list(row)[i - {count} : i + 1]))",
            f"{INDENT}for j in range(i - {count}, i):",
            f"{INDENT * 2}row[j] = torch.nn.Identity()",
        ]
    return lines


def _over(values: tuple[int, ...], amounts: list[str] | None = None) -> str:
    """Return the line of a loop, over amounts as well if they differ."""
    is_range = values == tuple(range(values[0], values[-1] + 1))
    bounds = f"{values[0]}, {values[-1] + 1}" if values[0] else f"{values[-1] + 1}"
    numbers = f"range({bounds})" if is_range else f"[{', '.join(map(str, values))}]"
    if amounts is None:
        return f"for i in {numbers}:"
    return f"for i, a in zip({numbers}, {_listed(amounts)}):"


def _listed(amounts: Sequence[str]) -> str:
    """Return a list in Python; of amounts that follow each other and are equal, one and the count.

    Example:
        >>> _listed(["1.5", "2", "2", "2", "1"])
        '[1.5, *[2] * 3, 1]'
    """
    runs = [[*run] for _, run in groupby(amounts)]
    parts = [f"*[{run[0]}] * {len(run)}" if len(run) > 2 else ", ".join(run) for run in runs]
    return f"[{', '.join(parts)}]"


def of_name(name: str) -> str:
    """Return a name as Python has it, with i for a *."""
    text = name.replace(STAR, "{i}")
    return f'f"{text}"' if STAR in name else f'"{text}"'


def _indexed(path: str) -> str:
    """Return the path of a pytree as Python has it, with i for a *; in a text as an f-string."""
    text = re.sub(r"'([^']*)'", lambda m: of_name(m[1]), path)
    return text.replace(STAR, "i")


def edits_between(
    before: Mapping[At, np.ndarray],
    after: Mapping[At, np.ndarray],
    path: Callable[[At], str],
    axes: Callable[[At], Axes],
    normal: Mapping[At, Normal],
) -> dict[str, Edit]:
    """Return the edits of the arrays that differ, by their paths."""
    return {
        path(at): _normal(v, normal.get(at)) or edit_of(before[at], v, axes(at))
        for at, v in sorted(after.items())
        if v.size and not np.array_equal(before[at], v)
    }


def _normal(new: np.ndarray, drawn: Normal | None) -> Edit | None:
    """Return the standard deviation that an array was drawn with, which is not read off it."""
    is_drawn = drawn is not None and np.allclose(new, drawn.array, rtol=CLOSE)
    return Edit("normal", drawn.std) if drawn and is_drawn else None


def seeded(lines: Sequence[str], edits: Mapping[str, Edit], seed: int, of_torch: bool) -> list[str]:
    """Return lines behind one that sets the random state, if they draw."""
    count = sum(edit.verb in AT_RANDOM for edit in edits.values())
    of_jax = f"keys = iter(jax.random.split(jax.random.key({seed}), {count}))"
    first = f"torch.manual_seed({seed})" if of_torch else of_jax
    return [*[first] * bool(count), *lines]
