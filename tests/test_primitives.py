"""The table of primitives, entry by entry, against what JAX makes of small random arrays."""

import re
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from problems import mostly_slow

from jaxnn.jaxpr.interpreter import bound
from jaxnn.jaxpr.primitives import ENTRYWISE, ONCE, ONE, OPAQUE, PRIMITIVES, SUM, PrimitiveCall
from jaxnn.jaxpr.program import Flat, TracedStep, evaluated

RNG = np.random.default_rng(0)
HERE = jax.device_put(np.zeros(2), jax.devices()[0]).sharding
# Names that other versions of JAX than this one give to a primitive, or have none of.
OF_VERSIONS = {"copy_p", "log2", "ragged_dot", "ragged_dot_general", "stop_gradient", "stack"}


def some(*shape, of=0.1, to=0.9):
    return RNG.uniform(of, to, shape)


def wide(*shape):
    return some(*shape, of=-9, to=9)


def whole(*shape, to=9):
    return RNG.integers(0, to, shape).astype(np.int32)


def matrices(*shape):
    return some(*shape) + 3 * np.eye(*shape[-2:])


def each(f, operands, *options):
    """A case for each option, which is the last argument of a function."""
    return [(lambda *v, option=option: f(*v, option), operands) for option in options]


def windows(f, start, v, padding):
    return lax.reduce_window(v, start, f, (1, 2), (1, 2), padding)


def folded(a, b):  # no function that JAX has a primitive for
    return a * b + b


def scattered(v, at, u, method):
    return getattr(v.at[:, at], method)(u)


def convolved(image, kernel, numbers):
    dimensions = (numbers, "WIO", numbers)
    return lax.conv_general_dilated(image, kernel, (1,), "SAME", dimension_numbers=dimensions)


def unary(f, v=None):
    return [(f, [some(3, 4) if v is None else v])]


def binary(f, v=some):
    """An operand against another one, against a number, and against one entry along an axis."""
    sides = (v(3, 4), v(3, 4)), (v(3, 4), v(1, 4)), (v(1, 4), v(3, 4)), (v(3, 1), v(3, 4))
    return [(f, [*both]) for both in sides]


PADDINGS = "VALID", ((0, 0), (1, 1))
SCATTERS = {"": "set", "-add": "add", "-mul": "multiply", "-min": "min", "-max": "max"}
UNARY = """
    abs acos asin asinh atan atanh bessel_i0e bessel_i1e cbrt cos cosh digamma erf erf_inv erfc exp
    exp2 expm1 lgamma log log1p logistic neg rsqrt sin sinh sqrt square stop_gradient tan tanh
""".split()  # noqa: SIM905
RAGGED = [(lax.ragged_dot, [some(3, 4), some(2, 4, 5), np.array([1, 2], np.int32)])]
CASES = {
    **{name: unary(getattr(lax, name)) for name in UNARY},
    **{name: unary(getattr(lax, name), wide(3, 4)) for name in ("ceil", "floor", "round", "sign")},
    "acosh": unary(lax.acosh, some(3, 4, of=1, to=2)),
    "log2": unary(jnp.log2),
    "is_finite": unary(lax.is_finite, np.array([[1.0, np.inf], [np.nan, 2], [3, 4]])),
    "integer_pow": unary(lambda v: lax.integer_pow(v, 3)),
    "reduce_precision": unary(lambda v: lax.reduce_precision(v, 5, 2)),
    **{name: unary(getattr(lax, name), some(3, 4) + 1j * some(3, 4)) for name in ("imag", "real")},
    "conj": unary(lax.conj, some(3, 4) + 1j * some(3, 4)),
    "not": unary(lax.bitwise_not, whole(3, 4)),
    **{name: binary(getattr(lax, name)) for name in ("add", "sub", "mul", "div", "atan2", "pow")},
    **{name: binary(getattr(lax, name)) for name in ("nextafter", "rem")},
    **{name: binary(getattr(lax, name), wide) for name in ("max", "min", "ge", "gt", "le", "lt")},
    **{name: binary(getattr(lax, name), lambda *s: whole(*s, to=2)) for name in ("eq", "ne")},
    **{name: binary(getattr(lax, f"bitwise_{name}"), whole) for name in ("and", "or", "xor")},
    "complex": [(lax.complex, [some(3, 4), some(3, 4)])],
    "add_any": [(lambda v: jax.vjp(lambda v: (v, v), v)[1]((v, 2 * v)), [some(3, 4)])],
    "clamp": [(lax.clamp, [0.0, wide(3, 4), 2.0]), (lax.clamp, [wide(3, 4) for _ in range(3)])],
    "select_n": [
        (lax.select_n, [some(3, 4) > 0.5, some(3, 4), some(3, 4)]),
        (lax.select_n, [np.array(True), some(3, 4), some(3, 4)]),
    ],
    "convert_element_type": unary(lambda v: v.astype(jnp.float32)),
    "copy": unary(jnp.copy),
    "copy_p": unary(jnp.copy),
    "sharding_constraint": unary(lambda v: lax.with_sharding_constraint(v, HERE)),
    "broadcast_in_dim": [
        case
        for axes, shape in (((0, 2), (3, 4)), ((1, 2), (2, 4)), ((0, 2), (1, 4)))
        for case in each(lambda v, at: lax.broadcast_in_dim(v, (3, 2, 4), at), [some(*shape)], axes)
    ],
    "reshape": each(lax.reshape, [some(3, 4, 5)], (3, 20), (3, 2, 2, 5), (12, 5), (60,), (3, 5, 4)),
    "transpose": each(lax.transpose, [some(3, 4, 5)], (0, 2, 1), (1, 2, 0), (2, 1, 0)),
    "squeeze": each(lax.squeeze, [some(3, 1, 4)], (1,)),
    "rev": each(lax.rev, [some(3, 4)], (0,), (1,)),
    "slice": each(
        lambda v, places: lax.slice(v, *places),
        [some(5, 4)],
        *(((1, 0), (4, 4)), ((0, 1), (5, 3)), ((1, 0), (5, 4), (2, 1))),
    ),
    "split": each(lambda v, axis: lax.split(v, (1, 2), axis), [some(3, 3, 2)], 0, 1),
    "concatenate": each(lambda v, u, axis: lax.concatenate((v, u), axis), [some(3, 4)] * 2, 0, 1),
    "stack": each(lambda v, u, axis: jnp.stack((v, u), axis), [some(3, 4)] * 2, 0, 1),
    "tile": each(lax.tile, [some(3, 4)], (1, 2)),
    "pad": each(
        lax.pad,
        [some(3, 4), 0.5],
        *(((0, 0, 0), (1, 0, 0)), ((1, -1, 0), (0, 0, 0)), ((0, 0, 1), (0, 0, 0))),
    ),
    "dynamic_slice": each(
        lambda v, i, j, sizes: lax.dynamic_slice(v, (i, j), sizes),
        [some(3, 4), np.int32(0), np.int32(1)],
        *((3, 2), (2, 4)),
    ),
    "dynamic_update_slice": [
        (
            lambda v, u, i, j: lax.dynamic_update_slice(v, u, (i, j)),
            [some(3, 4), u, np.int32(0), np.int32(1)],
        )
        for u in (some(3, 2), some(2, 4))
    ],
    **{
        f"reduce_{name}": each(getattr(lax, f"reduce_{name}"), [some(3, 4, 5)], (1,), (0, 2))
        for name in ("sum", "max", "min", "prod")
    },
    **{
        f"reduce_{name}": each(getattr(lax, f"reduce_{name}"), [some(3, 4, 5) > 0.5], (1,))
        for name in ("and", "or")
    },
    "reduce_xor": each(lax.reduce_xor, [whole(3, 4, 5)], (1,)),
    "argmax": each(lambda v, axis: lax.argmax(v, axis, np.int32), [some(3, 4)], 0, 1),
    "argmin": each(lambda v, axis: lax.argmin(v, axis, np.int32), [some(3, 4)], 0, 1),
    "reduce": each(lambda v, axes: lax.reduce(v, 0.0, folded, axes), [some(3, 4)], (1,)),
    **{
        name: each(getattr(lax, name), [some(3, 4)], 0, 1)
        for name in ("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp")
    },
    "sort": each(lambda v, u, axis: lax.sort((v, u), dimension=axis), [some(3, 4)] * 2, 0, 1),
    "top_k": each(lax.top_k, [some(3, 4)], 2),
    "approx_top_k": each(lambda v, axis: lax.approx_max_k(v, 2, axis), [some(3, 4)], 0, 1),
    "fft": each(lambda v, sizes: lax.fft(v, "FFT", sizes), [some(3, 4) + 0j], (4,)),
    "reduce_window_sum": each(partial(windows, lax.add, 0.0), [some(3, 4)], *PADDINGS),
    "reduce_window_max": each(partial(windows, lax.max, -np.inf), [some(3, 4)], *PADDINGS),
    "reduce_window_min": each(partial(windows, lax.min, np.inf), [some(3, 4)], *PADDINGS),
    "reduce_window": each(partial(windows, folded, 0.0), [some(3, 4)], *PADDINGS),
    "select_and_scatter_add": [
        (
            lambda d, v: jax.vjp(lambda v: windows(lax.max, -np.inf, v, "VALID"), v)[1](d),
            [some(3, 2), some(3, 4)],
        )
    ],
    "cholesky": unary(partial(lax.linalg.cholesky, symmetrize_input=False), matrices(3, 4, 4)),
    "eigh": unary(partial(lax.linalg.eigh, symmetrize_input=False), matrices(3, 4, 4)),
    "householder_product": [(lax.linalg.householder_product, [some(3, 4, 2), some(3, 2)])],
    **{
        name: unary(getattr(lax.linalg, name), matrices(3, 4, 4))
        for name in ("lu", "qr", "schur", "svd")
    },
    "triangular_solve": [
        (
            partial(lax.linalg.triangular_solve, left_side=True, lower=True),
            [matrices(3, 4, 4), some(3, 4, 2)],
        )
    ],
    "gather": [
        (lambda v, i: v[:, i], [some(3, 4), whole(2, to=4)]),  # windows: of each row some columns
        (lambda v, i: v[i], [some(3, 4), whole(2, 5, to=3)]),  # rows of a table
        (jax.vmap(lambda v, i: v[i]), [some(3, 4), whole(3, 2, to=4)]),  # of each row its own
    ],
    **{
        f"scatter{name}": [
            *each(scattered, [some(3, 4), whole(2, to=4), some(3, 2)], method),
            (
                jax.vmap(partial(scattered, method=method)),
                [some(3, 1, 4), whole(3, 2, to=4), some(3, 1, 2)],
            ),
        ]
        for name, method in SCATTERS.items()
    },
    "dot_general": [
        case
        for formula, left, right in (
            ("ij,jk->ik", (3, 4), (4, 5)),
            ("hij,jk->hik", (2, 3, 4), (4, 5)),
            ("bij,bjk->bik", (3, 4, 2), (3, 2, 5)),
            ("ijb,bj->bi", (4, 2, 3), (3, 2)),
            ("j,kj->k", (4,), (3, 4)),
        )
        for case in each(lambda a, b, f: jnp.einsum(f, a, b), [some(*left), some(*right)], formula)
    ],
    "conv_general_dilated": [
        case
        for image, numbers in (((3, 6, 4), "NWC"), ((4, 6, 3), "CWN"))
        for case in each(convolved, [some(*image), some(2, 4, 5)], numbers)
    ],
    "ragged_dot": RAGGED,
    "ragged_dot_general": RAGGED,
}


def taken_apart(name, f, operands):
    """The step of a primitive in a function of arrays, what goes into it, and its call."""
    flat = Flat(jax.make_jaxpr(f)(*operands))
    steps = [step for step in flat.steps if step.eqn.primitive.name == name]
    if not steps:
        return None
    values = flat.constants | dict(zip(flat.inputs, operands, strict=True))
    before = flat.steps[: flat.steps.index(steps[0])]
    inputs = evaluated(steps[0].inputs, before, values)
    return steps[0], flat.call(steps[0]), [*map(np.asarray, inputs)]


def drawn(v):
    """Other numbers like those of an array."""
    if v.dtype == bool:
        return ~v
    if v.dtype.kind == "i":
        return RNG.integers(0, v.max(initial=0) + 1, v.shape).astype(v.dtype)
    return (v * RNG.uniform(0.5, 0.9, v.shape)).astype(v.dtype)


def replaced(inputs, i, v):
    return [v if j == i else u for j, u in enumerate(inputs)]


def perturbed(call, rule, inputs):
    """Inputs of which one has other numbers in an entry along an axis that the table lets stay.

    Yields:
        the inputs, the axis of the outputs that it is, and the entry.
    """
    for i, axes in enumerate(rule.moves(call)):
        for a, to in enumerate(axes):
            for entry in {0, inputs[i].shape[a] - 1} if to is not None else ():
                v, at = inputs[i].copy(), (slice(None),) * a + (entry,)
                v[at] = drawn(inputs[i])[at]
                yield replaced(inputs, i, v), to, entry


def terms(rule, inputs):
    """Pairs of inputs: others, and the sum of those with these, in what the table calls linear."""
    linear = range(len(inputs))[rule.operands]
    for together in {SUM: [linear], ONE: [[i] for i in linear]}.get(rule.linear, []):
        other = [drawn(v) if i in together else v for i, v in enumerate(inputs)]
        both = enumerate(zip(inputs, other, strict=True))
        yield other, [v + u if i in together else v for i, (v, u) in both]


def numbered(inputs):
    """Inputs whose numbers are all different."""
    ends = np.cumsum([v.size for v in inputs])
    return [
        np.arange(n - v.size, n).reshape(v.shape).astype(v.dtype)
        for n, v in zip(ends, inputs, strict=True)
    ]


def of_one_entry(rule, call, inputs, row):
    """Inputs for a stack of one entry; None if it is not made of entries."""
    rows = rule.entry(call, (row,))
    if rows is None:
        return None
    return [v if own is None else v[own[0] :][:1] for v, own in zip(inputs, rows, strict=True)]


class Trial(NamedTuple):
    """A case of a primitive: variants of its inputs, and entries of these for one of its output."""

    step: TracedStep
    call: PrimitiveCall
    inputs: list
    perturbations: list
    sums: list
    singles: list

    @classmethod
    def of(cls, name, f, operands):
        found = taken_apart(name, f, operands)
        if found is None:
            return None
        rule, (_, call, inputs) = PRIMITIVES[name], found
        rows = range(call.out[0] if call.out else 0)
        singles = [of_one_entry(rule, call, inputs, row) for row in rows]
        perturbations, sums = [*perturbed(call, rule, inputs)], [*terms(rule, inputs)]
        return cls(*found, perturbations, sums, [] if any(v is None for v in singles) else singles)

    def variants(self):
        of_sums = [v for pair in self.sums for v in pair]
        inputs = [
            self.inputs,
            numbered(self.inputs),
            *(v for v, *_ in self.perturbations),
            *of_sums,
        ]
        return [*map(np.stack, zip(*inputs, strict=True))], [
            *map(np.stack, zip(*self.singles, strict=True))
        ]

    def outputs(self, variants, singles):
        """What the primitive makes of all variants, and of stacks of one entry."""
        eqn, rule = self.step.eqn, self.step.rule
        of_one = eqn.replace(params={**rule.of_one(self.call.params)})
        return (
            lax.map(lambda v: bound(eqn, v), variants),
            lax.map(lambda v: bound(of_one, v), singles) if singles else [],
        )


# Of the many that act entry by entry, and are alike but for their name, two are tried by default.
ALIKE = {*UNARY, "atan2", "pow", "nextafter", "rem", "max", "min", "sub", "and", "or", "xor"}
ALIKE |= {"ge", "gt", "le", "lt", "eq", "ne"}
OF_JAX = PRIMITIVES.keys() - {OPAQUE, ENTRYWISE}  # these are what torch does, as test_graph has it
QUICK = [name for name in PRIMITIVES if name in OF_JAX and name not in ALIKE - {"tanh", "max"}]
NAMES = [*QUICK, *(name for name in PRIMITIVES if name in OF_JAX and name not in QUICK)]
TOGETHER = 12  # primitives whose trials are one program, which compiles faster than one each


@cache
def tried_together(i):
    """The trials of some primitives, each with what its variants make, and its stacks of one."""
    trials = {
        name: [trial for case in CASES[name] if (trial := Trial.of(name, *case)) is not None]
        for name in NAMES[i * TOGETHER : (i + 1) * TOGETHER]
    }
    given = {name: [trial.variants() for trial in of_name] for name, of_name in trials.items()}
    run = jax.jit(
        lambda given: {
            name: [t.outputs(*v) for t, v in zip(of_name, given[name], strict=True)]
            for name, of_name in trials.items()
        }
    )
    made = jax.tree.map(np.asarray, run(given))
    return {name: [*zip(trials[name], made[name], strict=True)] for name in trials}


@mostly_slow("name", NAMES, *QUICK)
def test_an_entry_of_the_table_is_what_its_primitive_does(name):
    rule, trials = PRIMITIVES[name], tried_together(NAMES.index(name) // TOGETHER)[name]
    assert trials or name in OF_VERSIONS
    for trial, (made, entries) in trials:
        count = 2 + len(trial.perturbations)
        for v in made:
            for (_, axis, entry), out in zip(trial.perturbations, v[2:count], strict=True):
                np.testing.assert_array_equal(*(np.delete(w, entry, axis) for w in (v[0], out)))
            for other, total in zip(v[count::2], v[count + 1 :: 2], strict=True):
                np.testing.assert_allclose(v[0] + other, total, rtol=1e-6, atol=1e-12)
        if rule.holds:
            held = np.concatenate([v[1].ravel() for v in made])
            assert {*held} <= {*range(sum(v.size for v in trial.inputs))}
            assert rule.holds != ONCE or len(np.unique(held)) == held.size
        for v, of_entries in zip(made, entries, strict=False):
            np.testing.assert_allclose(of_entries[:, 0], v[0], rtol=1e-12)
    by_entries = any(trial.singles for trial, _ in trials)
    assert by_entries or name.startswith("ragged_dot") or name in OF_VERSIONS


def test_every_entry_of_the_table_has_a_case():
    assert CASES.keys() == OF_JAX


def test_a_primitive_is_added_as_contributors_are_told():
    told = Path(__file__).parents[1].joinpath("CONTRIBUTING.md").read_text()
    (block,) = re.findall(r"### … a primitive.*?```python\n(.*?)```", told, re.DOTALL)
    before = {**PRIMITIVES}
    try:
        exec(block, {})
    finally:
        added = PRIMITIVES.keys() - before
        for name in added:
            del PRIMITIVES[name]
    assert added
