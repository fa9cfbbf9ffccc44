"""The rooms of the experiments: which stand where, and in which direction they import."""

import ast
from pathlib import Path

import pytest

from experiments import EXPERIMENTS, find
from experiments.__main__ import READERS

ROOT = Path(__file__).parent.parent
# What each shared room may import; an experiment may import all of them, and itself.
BELOW = {"pages": {"pages"}, "runs": {"pages", "runs"}, "learning": {"pages", "runs", "learning"}}


def imported(path):
    """The packages of experiments that a file imports, and whether it imports their root."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            modules = [node.module]
        for module in modules:
            top, *rest = module.split(".")
            if top == "experiments":
                yield rest[0] if rest else "experiments"


def test_every_folder_is_an_experiment_or_is_shared():
    folders = {path.parent.name for path in ROOT.glob("experiments/*/__init__.py")}
    files = {path.stem for path in ROOT.glob("experiments/*.py")}
    assert folders | files == {*EXPERIMENTS, *BELOW, *READERS, "__init__", "__main__"}
    assert not folders & files
    assert [find(name).name for name in EXPERIMENTS] == list(EXPERIMENTS)


@pytest.mark.parametrize("room", [*EXPERIMENTS, *BELOW, "watch"])
def test_imports_run_downwards_and_no_experiment_imports_another(room):
    allowed = BELOW.get(room, {*BELOW, room})
    for path in ROOT.glob(f"experiments/{room}/**/*.py"):
        assert set(imported(path)) <= allowed, path
