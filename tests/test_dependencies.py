"""What is imported is declared, what is declared is imported, and versions are said alike."""

import ast
import functools
import re
import sys
import tomllib
from pathlib import Path

from experiments.menagerie.catalogue import PACKAGES

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Distributions whose name is not that of their package, with hyphens.
DISTRIBUTIONS = {
    "haiku": "dm-haiku",
    "open_clip": "open-clip-torch",
    "sklearn": "scikit-learn",
    "vl_convert": "vl-convert-python",
}
# Used by tests that do not import it: the hook of types, workers, what pandas reads Parquet with.
UNIMPORTED = {"beartype", "pytest-xdist", "pyarrow", "syrupy"}
# Each is run by a process of the benchmark, with packages that need not be installed.
PEERS = ("_torch.py", "_equinox.py", "_nnx.py")


def declared(extra=None):
    """The distributions of an extra, or of the library alone, without extras named in it."""
    needs = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    return {name for name, _ in map(parted, needs) if not name.startswith("jaxnn")}


def parted(requirement):
    """The name of a distribution, and the versions that are asked for."""
    name, versions = re.fullmatch(r"([\w-]+)(?:\[\w+\])?(.*)", requirement).groups()
    return name, versions


def imports(nodes):
    """The distributions imported below some nodes, but for Python's own and ours."""
    for node in nodes:
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module]
        for package in (name.partition(".")[0] for name in names):
            if package not in sys.stdlib_module_names and package not in OURS:
                yield DISTRIBUTIONS.get(package, package.replace("_", "-"))


OURS = {"jaxnn", "experiments"}
OURS |= {path.stem for folder in ("tests", "docs") for path in (ROOT / folder).glob("*.py")}


class Running(ast.NodeTransformer):
    """What a program runs, without what is imported for type checkers alone."""

    def visit_If(self, node):
        if ast.unparse(node.test) == "TYPE_CHECKING":
            return node.orelse
        return self.generic_visit(node)


def statements(node, inside=False):
    """Yield the statements below a node, each with whether it is inside of a function."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt | ast.excepthandler | ast.match_case):
            yield child, inside
            yield from statements(child, inside or isinstance(child, ast.FunctionDef))


@functools.cache
def names_in(path):
    """All that a file imports, and what its functions import only if they are called.

    Its tree is not stored: with hundreds of them Python's collector would take most of the time.
    """
    text = path.read_text(encoding="utf-8")
    tree = Running().visit(ast.parse(text)) if "TYPE_CHECKING" in text else ast.parse(text)
    nodes = [*statements(tree)]
    return {*imports(v for v, _ in nodes)}, {*imports(v for v, inside in nodes if inside)}


def imported(*paths):
    return set().union(*(names_in(path)[0] for path in paths))


LIBRARY = [*(ROOT / "jaxnn").rglob("*.py")]
EXPERIMENTS = [*(ROOT / "experiments").rglob("*.py")]
MENAGERIE = [*(ROOT / "experiments" / "menagerie").rglob("*.py")]
LAWS = ROOT / "experiments" / "laws"
OF_PACKAGES = [LAWS / "one_draw.py", LAWS / "wide_networks.py"]  # kinds may be left out
CASEBOOK = [*(ROOT / "experiments" / "casebook" / "programs").glob("*.py")]
PEER_FILES = [path for path in {*EXPERIMENTS} - {*MENAGERIE} if path.name.endswith(PEERS)]
PEER_FILES += CASEBOOK
TESTS = [*(ROOT / "tests").glob("*.py")]


def test_the_library_needs_what_it_imports_and_nothing_else():
    lazily = set().union(*(names_in(path)[1] for path in LIBRARY))
    assert imported(*LIBRARY) - declared("charts") == declared()
    assert lazily - declared() == declared("charts")


def test_experiments_need_what_they_import_and_nothing_else():
    own = imported(*{*EXPERIMENTS} - {*PEER_FILES} - {*MENAGERIE} - {*OF_PACKAGES})
    assert PEER_FILES
    assert own - declared() == declared("experiments")
    assert imported(*OF_PACKAGES) - declared() - declared("experiments") <= declared("bench")


def test_the_benchmark_s_peers_are_its_extra():
    known = declared() | declared("experiments")
    of_tests = imported(*TESTS) - known - declared("test")  # skipped where they are not installed
    assert (imported(*PEER_FILES, *OF_PACKAGES) - known) | of_tests == declared("bench")


def test_the_menagerie_s_packages_are_its_extra():
    known = declared() | declared("experiments")
    in_tables = {DISTRIBUTIONS.get(name, name.replace("_", "-")) for name in PACKAGES.values()}
    assert (imported(*MENAGERIE) | in_tables) - known == declared("menagerie")


def test_tests_need_what_they_import_and_nothing_else():
    pages = [*(ROOT / "docs").rglob("*.md")]
    blocks = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    of_pages = set(re.findall(r"^import (\w+)$", blocks, re.MULTILINE))
    known = declared() | declared("experiments")
    assert imported(*TESTS) - known - declared("bench") <= declared("test")
    assert declared("test") <= imported(*TESTS) | of_pages | UNIMPORTED


def test_a_distribution_has_one_least_version():
    extras = PROJECT["optional-dependencies"].values()
    versions = {}
    for name, version in map(parted, [*PROJECT["dependencies"], *(v for e in extras for v in e)]):
        if not name.startswith("jaxnn"):
            versions.setdefault(name, set()).add(version)
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}
    assert all(re.match(r">=\d", *found) for found in versions.values())


def test_least_versions_are_those_that_texts_and_the_gate_name():
    texts = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "docs/get-started.md")]
    named = [re.findall(r"Python (3\.\d+) or newer", path.read_text("utf-8")) for path in texts]
    least = PROJECT["requires-python"].removeprefix(">=")
    assert all(named)
    assert {version for versions in named for version in versions} == {least}

    jax = dict(map(parted, PROJECT["dependencies"]))["jax"].removeprefix(">=")
    gate = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert f"fresh oldest {least}\n" in gate
    assert f"'jax=={jax}.0\\n" in gate

    names = {"jax": "JAX", "numpy": "NumPy", "scipy": "SciPy"}
    alone = sorted(names.get(name, name) for name in declared())
    started = texts[2].read_text(encoding="utf-8")
    (sentence,) = re.findall(r"The library alone needs ([^;.:]+)[;.:]", started)
    assert sorted(re.split(", | and ", sentence)) == alone
