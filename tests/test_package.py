"""The package as a whole: exports, and what it imports."""

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import jaxnn

ROOT = Path(__file__).parent.parent
MODULES = sorted(name for name in jaxnn.__all__ if inspect.ismodule(getattr(jaxnn, name)))
PLACES = ("jaxnn", *(f"jaxnn.{name}" for name in MODULES), "jaxnn.chain")
EXPORTS = [(place, name) for place in PLACES for name in importlib.import_module(place).__all__]


@pytest.mark.parametrize(("place", "name"), EXPORTS)
def test_every_export_has_a_docstring(place, name):
    value = getattr(sys.modules[place], name)
    if isinstance(value, dict | tuple):  # a table of names
        return
    text = inspect.getdoc(value)
    assert text
    if inspect.isfunction(value):
        assert ">>>" in text, "an example that runs"
        assert "Raises:" in text or place == "jaxnn.blocks"


LAZY = (
    "jaxnn",
    "jaxnn.blocks",
    "jaxnn.flow",
    "jaxnn.theory",
    "jaxnn.train",
    "jaxnn.watching",
)  # import on demand


@pytest.mark.parametrize("place", LAZY)
def test_a_package_has_the_names_that_its_block_for_type_checkers_lists(place):
    package = sys.modules[place]
    text = Path(package.__file__).read_text(encoding="utf-8")
    listed = re.findall(r"^    from \S+ import (\w+) as \1$", text, re.MULTILINE)
    assert sorted(listed) == sorted(package.__all__) == sorted(dir(package))
    with pytest.raises(AttributeError, match=rf"^module '{place}' has no attribute 'nothing'$"):
        package.nothing  # noqa: B018


@pytest.mark.parametrize("place", [*PLACES, "jaxnn.theory.meanfield"])
def test_what_a_prompt_completes_is_public(place):
    module = importlib.import_module(place)
    assert dir(module) == sorted(module.__all__)


@pytest.mark.parametrize("place", PLACES)
def test_the_list_of_exports_is_complete(place):
    exports, names = sys.modules[place].__all__, vars(sys.modules[place])
    assert sorted(exports, key=lambda n: (not n.isupper(), not n[0].isupper(), n)) == exports
    if place in (
        "jaxnn.initializers",
        "jaxnn.scaling",
        *LAZY,
    ):  # with much of their own
        return
    public = {n for n, v in names.items() if not n.startswith("_") and not inspect.ismodule(v)}
    if place == "jaxnn.errors":  # a module with imports of its own
        public = {
            n for n in public if isinstance(names[n], type) and n.endswith(("Error", "Warning"))
        }
    assert public == set(exports)


def test_users_find_a_name_at_one_place():
    rooms = [{*sys.modules[place].__all__} for place in PLACES]
    times = Counter(name for room in rooms for name in room)
    assert {name for name, count in times.items() if count > 1} == {"fit"}
    assert jaxnn.fit is jaxnn.train.fit


def test_the_top_level_is_what_people_type():
    assert len(jaxnn.__all__) <= 42
    assert (ROOT / "jaxnn" / "py.typed").exists()


def test_no_export_shadows_a_module():
    """Else `import jaxnn.fit` gives a function or a module, by what was imported before."""
    for place in (jaxnn, jaxnn.train):
        modules = {m.name for m in pkgutil.iter_modules(place.__path__)}
        for name in modules & {*place.__all__}:
            assert inspect.ismodule(getattr(place, name)), f"{place.__name__}.{name}"


def test_errors_stand_in_one_place():
    # Each is caught in its own room: `jaxpr.scan_params`, `patients.weights`, `watching.reading`,
    # `pytorch.twin.lockstep` or `pytorch.module_passes`.
    inside = {"MixedLayersError", "OddError", "DamagedError", "_CutError", "_OthersError"}
    inside |= {"NoLayersError"}
    for path in {*(ROOT / "jaxnn").rglob("*.py")} - {ROOT / "jaxnn" / "errors.py"}:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and node.name not in inside:
                assert not node.name.endswith("Error"), f"{path}: {node.name}"
    for name in jaxnn.errors.__all__:
        error = getattr(jaxnn.errors, name)
        assert issubclass(error, ValueError | ArithmeticError | UserWarning)


def test_the_reverse_pass_is_written_by_hand():
    """Nothing is differentiated but a user's own layers, and tangents on their way up."""
    by_jax = (
        "evidence/jax_trial.py",  # the slope of a user's own loss
        "evidence/torch_trial.py",
        "flow/jacobian/stretches.py",
        "flow/measure/layer_vjp.py",
        "flow/record/loss.py",
        "flow/record/example_spread.py",
        "jaxpr/program.py",
        "network/activations.py",  # the slope of a user's own σ
        "pytorch/backward_hooks.py",  # shows which of the user's hooks act
        "pytorch/backward_passes.py",
        "pytorch/custom_functions.py",
        "pytorch/recurrent.py",
        "pytorch/unrolled.py",  # steps of torch's own modules
        "train/descent.py",  # trains a user's own network
        "train/torch_learner.py",  # likewise, by torch
        "watching/torch_watch.py",  # reads what torch has made
    )
    own = {ROOT / "jaxnn" / name for name in by_jax}
    for path in {*(ROOT / "jaxnn").rglob("*.py")} - own:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                assert node.attr not in ("grad", "value_and_grad", "vjp", "jvp", "linearize")


def test_importing_jaxnn_imports_no_more_than_it_needs():
    """Modules load on demand: neither JAX itself, nor later what only measurements need."""
    code = """
import sys, jaxnn
rooms = {"jax", "jaxnn.network", "jaxnn.flow", "jaxnn.chain", "jaxnn.patients", "jaxnn.theory"}
rooms |= {"optax", "chex", "sklearn", "polars", "torch"}
print(rooms & {*sys.modules})
jaxnn.backprop
print(sorted(rooms & {*sys.modules}))
"""
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.splitlines() == ["set()", "['jax', 'jaxnn.network']"]


@pytest.mark.slow
def test_the_first_chart_imports_no_diagnosis_and_no_cures():
    """Networks of ours need neither; 1,321 modules at this writing, 1,811 with them."""
    code = """
import sys, experiments.__main__, experiments.depth.experiment
print({"jaxnn.diagnosis", "jaxnn.patients", "scipy.optimize"} & {*sys.modules}, len(sys.modules))
"""
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    unneeded, count = answer.stdout.rsplit(maxsplit=1)
    assert unneeded == "set()"
    assert int(count) < 1_500


@pytest.mark.slow
def test_any_module_of_the_library_can_be_imported_first():
    code = """
import importlib, sys
import jaxnn
from pathlib import Path
root = Path(jaxnn.__file__).parent
files = [path.relative_to(root).with_suffix("") for path in root.rglob("*.py")]
for module in [".".join(path.parts) for path in files if path.name[:2] != "__"]:
    for name in [name for name in sys.modules if name.partition(".")[0] == "jaxnn"]:
        del sys.modules[name]
    importlib.import_module(f"jaxnn.{module}")
"""
    subprocess.run([sys.executable, "-c", code], check=True)
