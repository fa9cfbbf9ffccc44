"""The faults of mutants.py: what the operators make, whose tests see a line, what is well."""

import ast

import mutants
import pytest
from conftest import COLLECTED
from mutants import ALL, ROOMS
from operators import Source

CODE = '''"""A docstring of 1 + 1."""
from a import b

LEAST: float = 3.0
TINY = 1e-6


def f(x: int | None = None, *, deep: bool = True) -> int:
    """Return 2 + 2."""
    if x is None:
        raise ValueError(f"expected {1 + 1}")
    return helper(x)
'''


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("a < b", {"a > b"}),
        ("len(a) < b", {"len(a) <= b"}),
        ("n[:2] + m == (o)", {"n[:3] + m == (o)", "n[:2] - m == (o)", "n[:2] == (o)", "m == (o)"}
            | {"n[:2] + m != (o)"}),
        ("σ * x", {"σ / x", "σ", "x"}),
        ("a if not b else c", {"a if True else c", "a if False else c", "a if (b) else c"}),
        ("a and b", {"a or b", "((a))", "((b))"}),
        ("jnp.sum(x.T, axis=0)", {"(x.T)", "jnp.mean(x.T, axis=0)", "jnp.sum(x.T)"}
            | {"jnp.sum(x.T, axis=-1)", "jnp.sum(x.T, axis=1)", "jnp.sum(x, axis=0)"}),
        ("jnp.asarray(x)", set()),
        ("zip(a, b, strict=True)", set()),
        ("[v for v in a if v is None]", {"[v for v in a if True]"}
            | {"[v for v in a if v is not None]"}),
        ("'a' + f'{1}'", set()),
        ("-x", {"(x)"}),
        ("f(3, 16, 0.5, 1e-6)", {"f(4, 16, 0.5, 1e-6)", "f(3, 32, 0.5, 1e-6)"}
            | {"f(3, 16, 1.0, 1e-6)"}),
        ("x = x - y", {"pass", "x = x + y", "x = x"}),
        ("x += y", {"pass"}),
    ],
)  # fmt: skip
def test_an_operator_makes_a_slip_of_the_pen(code, expected):
    source = Source(code + "\n")
    assert {source.applied(change).strip() for change in source.changes()} == expected


def test_texts_annotations_and_tolerances_are_left_alone():
    source = Source(CODE)
    shown = [source.shown(change)[1] for change in source.changes()]
    assert shown == [
        "LEAST: float = 6.0",
        "def f(x: int | None = None, *, deep: bool = False) -> int:",
        "if True:",
        "if False:",
        "if x is not None:",
    ]


def test_each_formula_stands_once_in_its_file_and_each_room_has_files(pytestconfig):
    """And its test is there, with its parameters, if this run has collected that file."""
    errors, nodes = mutants.formulas(), pytestconfig.stash[COLLECTED]
    names, files = ({node.partition(v)[0] for node in nodes} for v in ("[", "::"))
    of_errors = {error.rounds[0][0] for error in errors}
    assert {v for v in of_errors if v.partition("::")[0] in files} <= nodes | names
    assert 50 <= len(errors) == len({error.name for error in errors})
    assert all(mutants.files_of(room) for room in ROOMS.values())
    assert len(ROOMS) == mutants.DAYS  # each has its day


@pytest.mark.parametrize("name", ROOMS)
def test_each_file_of_a_room_has_a_test_that_its_marker_takes(name):
    """Else pytest has nothing to run on an unchanged copy, and the room cannot be sampled."""
    for path in ROOMS[name].everything if ROOMS[name].marker != ALL else ():
        tree = ast.parse((mutants.ROOT / path).read_text(encoding="utf-8"))
        tests = [v for v in tree.body if getattr(v, "name", "").startswith("test_")]
        slow = [v for v in tests if "pytest.mark.slow" in map(ast.unparse, v.decorator_list)]
        assert len(slow) < len(tests), path
