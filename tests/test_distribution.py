"""The distribution: its name, the command that adds an extra, and another project's files."""

import ast
import os
import pydoc
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import warnings
from pathlib import Path
from types import SimpleNamespace

import mutants
import pytest
from conftest import DAYS, SLOW_EXAMPLES, is_due

from jaxnn import distribution

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FOLDERS = ("jaxnn", "experiments", "examples", "docs", "tests", ".github")
ENDINGS = {".py", ".md", ".yml", ".toml", ".cff", ".css", ".json"}
# On the package index this name is another project's. A word that installs, then requirements and
# options, then the name: on one line, strings of Python joined.
WORD = r"""[\s"'`\\]"""
BY_NAME = re.compile(
    r"\b(?:pip3?|pipx|uvx?|poetry|pdm|conda|mamba|pixi|rye|hatch)\b[^\n;&|]*\b(?:install|add)\b"
    rf"[^\n;&|]*?{WORD}jaxnn(?=[\[=<>~!@]|{WORD}|$)"
    r"|\bjaxnn(?:\[[a-z]+\]|\s*(?:[=~!]=|>=))",
    re.MULTILINE,
)
BETWEEN_STRINGS = re.compile(r"""(["'])\s*\n\s*[frb]?(["'])""")


def texts():
    """Every text of the repository that a person wrote, by its name."""
    paths = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")]
    paths += [*ROOT.glob("*.*"), *ROOT.glob(".ci/*"), *ROOT.glob(".pre-commit*")]
    for path in paths:
        if path.is_file() and (path.suffix in ENDINGS or path.parent.name == ".ci"):
            text = path.read_text(encoding="utf-8")
            yield path.relative_to(ROOT).as_posix(), BETWEEN_STRINGS.sub("", text)


def test_no_text_installs_what_has_another_project_s_name():
    installer = "pip install "
    for line in ('"jaxnn[charts]" torch', "-U torch jaxnn", "jaxnn==0.2.0", "'jaxnn' # it"):
        assert BY_NAME.search(installer + line), line
    for line in ('-e ".[x]" && jaxnn', "jaxnn-flow", '"jaxnn-flow[x] @ file:///a"', "jaxnn_flow"):
        assert not BY_NAME.search(installer + line), line
    read = dict(texts())
    assert {"README.md", "jaxnn/flow/view/chart.py", "docs/get-started.md"} <= read.keys()
    del read["tests/test_distribution.py"]
    assert {name: found[0] for name, text in read.items() if (found := BY_NAME.search(text))} == {}


def test_extras_are_those_of_the_distribution_s_own_name():
    assert PROJECT["name"] == distribution.DISTRIBUTION
    extras = PROJECT["optional-dependencies"]
    own = [need for needs in extras.values() for need in needs if need.startswith("jaxnn")]
    assert {*own} == {f"{distribution.DISTRIBUTION}[experiments]"}
    assert {name: tuple(extras[name]) for name in distribution.EXTRAS} == distribution.EXTRAS


@pytest.mark.parametrize("path", sorted(ROOT.glob("examples/*.py")), ids=lambda path: path.name)
def test_an_example_says_how_to_install(path):
    text = path.read_text(encoding="utf-8")
    lines = ast.get_docstring(ast.parse(text)).splitlines()
    (i,) = [i for i, line in enumerate(lines) if "install" in line]
    ours = '-e ".[charts]"' if "chart" in text else "-e ."
    command, runs = (ours if "import jaxnn" in text else "jax"), f"examples/{path.name}"
    if "python -m experiments" in text:  # with networks of a file
        command = '-e ".[experiments]"'
        runs = runs if "__main__" in text else f"-m experiments cures {runs}"
    assert lines[i].startswith(f"    python -m pip install {command}")
    assert lines[i + 1].partition(":")[0] == f"    python {runs}"


# The command that adds an extra

PACKAGES = ["altair>=5.5", "vl-convert-python>=1.8"]


def words(extra="charts"):
    """The words of the command, as a shell reads them, without those that every one has."""
    python, *more = shlex.split(distribution.install_command(extra))
    assert (python, more[:3]) == ("python", ["-m", "pip", "install"])
    return more[3:]


@pytest.mark.parametrize("folder", ["flow", "my flow", 'a "$HOME" `flow`'])
def test_a_checkout_is_installed_where_it_is(folder, tmp_path, monkeypatch):
    checkout = tmp_path / folder
    (checkout / "jaxnn").mkdir(parents=True)
    shutil.copy(ROOT / "pyproject.toml", checkout)
    monkeypatch.setattr(distribution, "PACKAGE", checkout / "jaxnn")
    assert words("experiments") == ["-e", f"{checkout}[experiments]"]
    (tmp_path / "link").symlink_to(checkout)
    for here in (checkout, tmp_path / "link"):
        monkeypatch.chdir(here)
        assert words() == ["-e", ".[charts]"]


def test_elsewhere_the_packages_are_installed(tmp_path, monkeypatch):
    loose = tmp_path / "loose" / "jaxnn"
    loose.mkdir(parents=True)
    monkeypatch.setattr(distribution, "PACKAGE", loose)
    assert words() == PACKAGES
    (loose.parent / "pyproject.toml").write_text('[project]\nname = "mine"\n')
    assert words() == PACKAGES
    assert distribution.install_command("bench") == (
        'in a checkout of jaxnn: python -m pip install -e ".[bench]"'
    )


# Another project's files


def other(folder, record):
    """The metadata of a distribution `jaxnn`, and its files."""
    info = folder / "jaxnn-0.2.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: jaxnn\nVersion: 0.2.0\n")
    (info / "RECORD").write_text("".join(f"{name},,\n" for name in record))


def test_another_project_s_files_are_warned_of_before_they_are_read(tmp_path):
    """Here the copy of ours lacks what another project may have written over."""
    site = tmp_path / "site-packages"
    other(site, ["jaxnn-0.2.0.dist-info/RECORD", "jaxnn/__init__.py", "jaxnn/layers/__init__.py"])
    (site / "jaxnn" / "cli").mkdir(parents=True)
    for name in (
        "__init__.py",
        "cli/__init__.py",
        "cli/loading.py",
        "distribution.py",
        "exports.py",
    ):
        shutil.copy(ROOT / "jaxnn" / name, site / "jaxnn" / name)
    (tmp_path / "mine.py").write_text("import sys\nimport jaxnn\njaxnn.backprop\n")
    answer = subprocess.run(
        [sys.executable, "mine.py"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    warning, *_, error = answer.stderr.splitlines()
    assert re.search(
        r"mine\.py:2: UserWarning: jaxnn: the distribution jaxnn of another project is installed "
        r"too, in \S+/site-packages, and its files may be mixed with those of jaxnn-flow; "
        r"uninstall both \(python -m pip uninstall jaxnn jaxnn-flow\) and install jaxnn-flow "
        r"again$",
        warning,
    )
    assert answer.stderr.count("UserWarning") == 1
    assert error == "ModuleNotFoundError: No module named 'jaxnn.passes'"


@pytest.mark.parametrize("record", [None, ["_editable_impl_jaxnn.pth", "../../../bin/jaxnn"]])
def test_metadata_that_claims_no_file_of_ours_is_no_warning(record, tmp_path, monkeypatch):
    """Such as an editable installation of a checkout from before the distribution had its name."""
    if record is not None:
        other(tmp_path, record)
    monkeypatch.syspath_prepend(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        distribution.warn_of_others()


def test_the_gate_comes_before_a_release():
    """Each job of the release waits for the gate, itself or through another one."""
    workflows = ROOT / ".github" / "workflows"
    gate = (workflows / "gate.yml").read_text(encoding="utf-8")
    assert re.search(r"^on:\n(?:  .*\n)*  workflow_call:", gate, re.MULTILINE)
    assert re.search(r"^      - run: bash \.ci/run ", gate, re.MULTILINE)
    release = (workflows / "release.yml").read_text(encoding="utf-8").partition("\njobs:\n")[2]
    jobs = dict(re.findall(r"^  (\w+):\n((?:    .*\n|\n)+)", release, re.MULTILINE))
    assert {"gate", "build", "wheel", "site"} == jobs.keys()
    called = "    uses: ./.github/workflows/gate.yml\n    with:\n      share: all\n\n"
    assert jobs["gate"] == called
    for name in jobs.keys() - {"gate"}:
        while name != "gate":
            (name,) = re.findall(r"^    needs: (\w+)$", jobs[name], re.MULTILINE)


def test_a_slow_test_is_due_once_in_a_fortnight_and_any_other_daily():
    """All cases of a function on the same day; no day is left empty."""

    def due(name, *marks):
        marked = dict.fromkeys(marks, True)
        item = SimpleNamespace(nodeid=f"tests/test_x.py::{name}", get_closest_marker=marked.get)
        return [day for day in range(338, 366) if is_due(item, day)]

    assert due("test_quick") == list(range(338, 366))
    days = [due(f"test_{i}[{case}]", "slow") for i in range(90) for case in "ab"]
    assert days[::2] == days[1::2]
    assert all(second == first + DAYS for first, second in days)
    assert len({first % DAYS for first, _ in days}) == DAYS == mutants.DAYS


def test_slow_examples_are_there():
    """One that has moved would run every time."""
    assert all(map(pydoc.locate, SLOW_EXAMPLES))
