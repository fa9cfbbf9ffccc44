"""The package as a whole: exports, and what it imports."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import jaxnn

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", jaxnn.__all__)
def test_every_export_has_a_docstring(name):
    value = getattr(jaxnn, name)
    if isinstance(value, dict | tuple):  # a table of names
        return
    text = inspect.getdoc(value)
    assert text
    if inspect.isfunction(value):
        assert ">>>" in text, "an example that runs"
        assert "Raises:" in text or name == "log_norm"


def test_the_list_of_exports_is_complete():
    assert (
        sorted(jaxnn.__all__, key=lambda n: (not n.isupper(), not n[0].isupper(), n))
        == jaxnn.__all__
    )
    public = {
        n for n, v in vars(jaxnn).items() if not n.startswith("_") and not inspect.ismodule(v)
    }
    assert public | {"meanfield"} == set(jaxnn.__all__)
    assert (ROOT / "jaxnn" / "py.typed").exists()


def imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is None:
            yield from ("." * node.level + alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + node.module


def test_the_library_imports_little():
    """In which direction the rooms import is a contract of import-linter, in pyproject.toml."""
    allowed = set(sys.stdlib_module_names) | {
        *("jax", "jaxtyping", "numpy", "altair", "vl_convert")
    }
    for path in (ROOT / "jaxnn").rglob("*.py"):
        for name in imported(path):
            assert name.startswith(".") or name.partition(".")[0] in allowed, f"{path}: {name}"


def test_the_reverse_pass_is_written_by_hand():
    """Nothing is differentiated but a user's own layers, and tangents on their way up."""
    by_jax = (
        "flow/chain.py",
        "flow/loss.py",
        "flow/examples.py",
        "adapters/program.py",
        "adapters/torch/module.py",
    )
    own = {ROOT / "jaxnn" / name for name in by_jax}
    for path in {*(ROOT / "jaxnn").rglob("*.py")} - own:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                assert node.attr not in ("grad", "value_and_grad", "vjp", "jvp", "linearize")


def test_importing_jaxnn_imports_no_more_than_it_needs():
    others = {"optax", "chex", "sklearn", "polars", "torch"}
    code = f"import sys, jaxnn; print({others} & set(sys.modules))"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "set()"
