"""The command `jaxnn`: what it prints, every mistake in one sentence, and its exit codes."""

import importlib
import os
import platform
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from problems import mostly_slow

import jaxnn
from experiments.__main__ import command as experiments_command
from experiments.__main__ import main
from experiments.runs import runtime
from jaxnn.cli import command, contract, diagnosis, loading, printing
from jaxnn.distribution import install_command

pytestmark = pytest.mark.usefixtures("users_jax")

ROOT = Path(__file__).parent.parent
CODE = """
import numpy as np
import jax

import jaxnn


def layers(n=20):
    rng = np.random.default_rng(0)
    thetas = rng.normal(0, 0.5, (n, 4, 4)).astype(np.float32)
    xs = rng.normal(size=(3, 4)).astype(np.float32)
    return {"model": [(dense, theta) for theta in thetas], "xs": xs, "cotangent": xs}


def dense(theta, z):
    return jax.nn.sigmoid(z) @ theta


def raising():
    return 1 / 0


def too_large():
    raise MemoryError


def debugging():
    jax.config.update("jax_debug_nans", True)
    jax.numpy.zeros(()) / 0


def stopped():
    raise KeyboardInterrupt
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("users") / "mine.py"
    path.write_text(CODE)
    return path


def test_versions(capsys):
    assert command.main(["version"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"jaxnn {jaxnn.__version__}",
        f"jax {jax.__version__}",
        f"jaxlib {jax.lib.__version__}",
        f"Python {platform.python_version()}",
        f"devices {', '.join(map(str, jax.devices()))}",
    ]
    with pytest.raises(SystemExit) as end:
        command.main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"jaxnn {jaxnn.__version__}\n"


def test_a_run_has_the_version_of_the_code_that_runs(monkeypatch):
    """Not that of what is installed by this name, which may be another project's."""
    monkeypatch.setattr(jaxnn, "__version__", "7")
    assert runtime.versions()["jaxnn"] == "7"


def test_a_diagnosis(file, capsys):
    assert command.main(["diagnose", f"{file}:layers"]) == 0
    title, table, words = capsys.readouterr().out.split("\n\n", 2)
    assert title == (
        "layers() of mine.py, whose code was run: 20 layers, 3 examples, "
        "measured with your cotangent"
    )
    names = {}
    exec(CODE, names)
    given = names["layers"]()
    net, params = jaxnn.as_network(given["model"])
    flow = jaxnn.gradient_flow((net, params), given["xs"], cotangent=given["cotangent"])
    first, *_, last = flow.table()
    head, *lines = (line.split() for line in table.splitlines())
    assert head[0] == "layer"
    assert len(lines) == 13
    assert " ".join(lines[6]) == "… 8 more … … … …"
    shown = [float(line[2]) for line in (lines[0], lines[-1])]
    rms = [row["log10_delta_rms"] for row in (first, last)]
    np.testing.assert_allclose(shown, rms, atol=5.1e-4)
    assert jaxnn.verdict(flow).sentences[0] in words
    assert "--out page.html" in words
    said = f"To see what would help: jaxnn diagnose {file}:layers --cures.\n"
    assert said in words
    assert "jaxnn.cures" not in words
    assert ".cures" not in words


def test_who_tries_cures_is_not_told_how(file, monkeypatch, capsys):
    tried = SimpleNamespace(interrupted=False)
    monkeypatch.setattr(command, "_print_cures", lambda result: tried)
    assert command.main(["diagnose", f"{file}:layers", "--cures"]) == 0
    out = capsys.readouterr().out
    assert "\nVanishing, " in out
    assert "To see what" not in out


@pytest.mark.slow
def test_a_chart_is_drawn_where_it_is_asked_for(file, tmp_path, capsys, monkeypatch):
    """Measured once, for it is `jaxnn.chart` that draws."""
    saved, path = [], tmp_path / "mine.svg"
    monkeypatch.setattr("altair.VConcatChart.save", lambda self, *a: saved.append(a))
    assert command.main(["diagnose", f"{file}:layers", "--out", str(path)]) == 0
    assert saved == [(str(path),)]
    assert capsys.readouterr().out.endswith(f"\nThe chart is in {path}.\n")

    def full(self, *args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("altair.VConcatChart.save", full)
    assert command.main(["diagnose", f"{file}:layers", "--out", str(path)]) == 1
    expected = f"error: out: cannot write {path}: No space left on device\n"
    assert capsys.readouterr().err.endswith(f"\n{expected}")


def test_without_the_extra_a_sentence_says_how_to_get_charts(file, capsys, monkeypatch):
    monkeypatch.setattr(command, "_can_draw", lambda: False)
    assert command.main(["diagnose", f"{file}:layers"]) == 0
    assert capsys.readouterr().out.endswith(
        f"\nA page with charts: --out page.html, after: {install_command('charts')}\n"
    )
    assert command.main(["diagnose", f"{file}:raising", "--out", "a.svg"]) == 2  # runs nothing
    assert capsys.readouterr().err == (
        f"error: out: expected Altair and vl-convert to be installed; {install_command('charts')}\n"
    )


@pytest.mark.parametrize(
    ("args", "code", "sentence"),
    [
        (["diagnoze"], 2, "invalid choice: 'diagnoze'"),
        (["diagnose"], 2, "the following arguments are required: FILE.py:NAME; see jaxnn diagnose"),
        (["diagnose", "MINE"], 2, "network: expected FILE.py:NAME, a function in a file, got "),
        (["diagnose", "MINE:raising"], 2, "network: mine.py:20: ZeroDivisionError: division by"),
        (["diagnose", "MINE:dense"], 2, "a function without arguments, got one with more"),
        (["diagnose", "MINE:layers", "--seed", "x"], 2, "argument --seed: invalid int value: 'x'"),
        (["diagnose", "MINE:layers", "--seed", "-1"], 2, "seed: expected an integer from 0 to"),
        (["diagnose", "MINE:layers", "--seed", f"{10**23}"], 2, "seed: expected an integer from 0"),
        (["diagnose", "MINE:layers", "--memory", "x"], 2, "argument --memory: invalid choice: 'x'"),
        (["diagnose", "MINE:layers", "--out", "a.txt"], 2, "ends in .png, .svg, .pdf, .html"),
        (["diagnose", "MINE:layers", "--out", "no/a.svg"], 2, "a folder that is there, got no"),
        (["diagnose", "MINE:too_large"], 1, "memory: an allocation failed; make the network or"),
        (["diagnose", "MINE:stopped"], 130, "stopped"),
    ],
)  # fmt: skip
def test_mistakes_are_one_sentence(args, code, sentence, file, capsys):
    given = [word.replace("MINE", str(file)) for word in args]
    assert command.main(given) == code
    out, err = capsys.readouterr()
    assert out == ""
    *steps, last = err.splitlines()
    assert last.startswith("stopped" if code == 130 else "error: ")
    assert sentence in last
    assert all(step.startswith(("running mine.py", "measuring the")) for step in steps)


def test_the_settings_reach_the_measurement(file, monkeypatch):
    def diagnosed(code, memory, seed, entries, theory):
        raise ValueError(f"{code} {memory} {seed} {entries} {theory}")

    monkeypatch.setattr(contract, "diagnosed", diagnosed)
    said = []
    monkeypatch.setattr(command, "_say", lambda error, code: said.append(str(error)))
    options = ["--memory", "sqrt", "--seed", "5"]
    for flag in ("--entries", "--theory"):
        command.main(["diagnose", f"{file}:layers", *options, flag])
    assert said == ["mine.py:layers sqrt 5 True False", "mine.py:layers sqrt 5 False True"]


def test_a_machine_without_its_device_is_one_sentence(monkeypatch, capsys):
    def devices():
        raise RuntimeError("Unable to initialize backend 'tpu'\n more")

    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.setattr(jax, "devices", devices)
    assert command.main(["version"]) == 2
    expected = "error: devices: Unable to initialize backend 'tpu'\n"
    assert capsys.readouterr().err == expected


def test_a_platform_that_is_known_and_not_there_is_one_sentence(file, monkeypatch, capsys):
    """JAX fails by an assertion then, first in the user's code."""

    def devices():
        raise AssertionError

    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    monkeypatch.setattr(jax, "devices", devices)
    for args in (["diagnose", f"{file}:raising"], ["version"]):
        assert command.main(args) == 2
        assert capsys.readouterr().err.endswith(
            "error: JAX_PLATFORMS: there is no 'cuda' here; name another platform, such as cpu, or "
            "unset it\n"
        )
    assert main(["train", "--dry-run"]) == 2
    assert capsys.readouterr().err.startswith("error: JAX_PLATFORMS: there is no 'cuda' here")


def test_a_user_who_debugs_nan_is_told_that_they_are_measured(file, capsys):
    """From the environment, or by the user's own code while it is diagnosed."""
    sentence = "nan and inf are measured here; unset it, or do not set it by jax.config.update\n"
    with jax.debug_nans(True):
        assert command.main(["diagnose", f"{file}:raising"]) == 2
        assert capsys.readouterr().err == f"error: JAX_DEBUG_NANS: {sentence}"
    with jax.debug_infs(True):
        assert main(["train", "--dry-run"]) == 2
        assert capsys.readouterr().err == f"error: JAX_DEBUG_INFS: {sentence}"
    with jax.disable_jit():
        assert main(["train", "--dry-run"]) == 2
        assert capsys.readouterr().err.startswith("error: JAX_DISABLE_JIT: experiments compile")
    try:
        assert command.main(["diagnose", f"{file}:debugging"]) == 2
    finally:
        jax.config.update("jax_debug_nans", False)
    assert capsys.readouterr().err.endswith(f"\nerror: JAX_DEBUG_NANS: {sentence}")


@pytest.mark.parametrize(
    ("argv", "python", "expected"),
    [
        (["-m", "version"], ["python", "-W", "error", "-m", "jaxnn", "version"], True),
        (["-m"], ["python", "-mjaxnn"], True),
        (["-m", "jaxnn"], ["python", "-m", "experiments", "jaxnn"], False),
        (["/bin/jaxnn", "version"], ["python", "/bin/jaxnn", "version"], True),
        (["jaxnn.exe", "version"], ["python", "jaxnn.exe", "version"], True),
        (["-c"], ["python", "-c", "import jaxnn"], False),
        (["mine.py"], ["python", "mine.py"], False),
        ([], [], False),
    ],
)
def test_the_process_of_the_command_is_known_before_it_is_loaded(
    argv, python, expected, monkeypatch
):
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(sys, "orig_argv", python)
    assert loading.is_command() is expected


def test_a_malformed_variable_and_ctrl_c_while_loading_are_one_sentence(monkeypatch, capsys):
    def import_module(name):
        if name == "jax":
            raise ValueError("invalid truth value 'maybe' for environment 'JAX_ENABLE_X64'")
        raise AssertionError(name)

    ended = []
    monkeypatch.setattr(importlib, "import_module", import_module)
    monkeypatch.setattr(os, "_exit", ended.append)
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(SystemExit) as end:
            loading.load()
        assert end.value.code == 2
        assert capsys.readouterr().err == (
            "error: JAX: invalid truth value 'maybe' for environment 'JAX_ENABLE_X64'; mend that "
            "environment variable, or unset it\n"
        )
        signal.raise_signal(signal.SIGINT)
        assert (capsys.readouterr().err, ended) == ("stopped\n", [130])
        loading.loaded()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_folder_that_is_gone_is_one_sentence(tmp_path, monkeypatch, capsys):
    here = tmp_path / "gone"
    here.mkdir()
    monkeypatch.chdir(here)
    here.rmdir()
    assert main(["train", "--dry-run"]) == 2
    assert capsys.readouterr().err == (
        "error: the folder in which this is run is gone; go to another one\n"
    )


@mostly_slow("missing", ["tyro", "jax"], "jax")
def test_a_package_that_is_missing_is_one_sentence(missing):
    """Also JAX, without which nothing of jaxnn can be imported."""
    started = f"import runpy, sys; sys.modules['{missing}'] = None; "
    started += "runpy.run_module('experiments', run_name='__main__')"
    answer = subprocess.run(
        [sys.executable, "-c", started, "depth"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    sentence = 'expected to be installed; python -m pip install -e ".[experiments]"'
    assert answer.returncode == 2
    assert answer.stderr.endswith(f"\nerror: {missing}: {sentence}\n")


def test_a_package_that_an_experiment_misses_is_one_sentence(monkeypatch, capsys):
    def find(name):
        raise ModuleNotFoundError(name=missing)

    monkeypatch.setattr("experiments.__main__.find", find)
    monkeypatch.setattr("experiments.__main__.printing.prepare", lambda: None)  # keeps the streams
    monkeypatch.setattr(sys, "argv", ["experiments", "depth"])
    missing = "altair"  # which an experiment imports when it is chosen
    assert experiments_command() == 2
    sentence = f"expected to be installed; {install_command('experiments')}"
    assert capsys.readouterr().err == f"error: altair: {sentence}\n"
    missing = "experiments.nothing"  # a fault of ours
    with pytest.raises(ModuleNotFoundError):
        experiments_command()


def test_help_names_the_commands_and_says_that_code_is_run(capsys):
    assert command.main([]) == 2
    assert "python -m experiments --help" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(SystemExit):
        command.main(["diagnose", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "FILE.py:NAME Where is the gradient lost, and what would keep it? Run" in said
    assert "which is run here, with all of its file: name only code that you trust" in said


@pytest.mark.parametrize(
    ("column", "value", "text"),
    [
        ("log10_gain", None, "–"),
        ("log10_gain", float("nan"), "–"),
        ("log10_delta_rms", float("nan"), "no number"),
        ("log10_delta_rms", float("-inf"), "zero"),
        ("log10_theta", float("inf"), "infinite"),
        ("log10_theta", -1.23456, "-1.235"),
        ("rank", 1.23456, "1.235"),
        ("rank", 12345.6, "1.235e+04"),
    ],
)
def test_numbers_as_text(column, value, text):
    assert diagnosis.number(column, value) == text


def test_a_table_fits_into_a_terminal():
    name = "a_module_with_a_very_long_name\x1b[31m"
    rows = [{"layer": i + 1, "name": name, "log10_delta_rms": -i} for i in range(14)]
    lines = list(diagnosis.plain_table(rows))
    assert len(lines) == 14  # 6, a gap and 6 under their heads: 13 would be whole
    assert len({len(line) for line in lines}) == 1
    assert len(lines[0]) <= 80
    assert "\x1b" not in "".join(lines)
    assert len(list(diagnosis.plain_table(rows[:13]))) == 14


def test_sentences_wrap_between_words_where_there_is_a_terminal(monkeypatch):
    sentence = "Vanishing, -0.607 ± 0.0003 decades a layer towards the input."
    assert printing.wrapped(sentence) == sentence
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "20")
    lines = printing.wrapped(sentence).split("\n")
    assert " ".join(lines) == sentence
    assert max(map(len, lines)) <= 20


def test_the_console_command_is_this_one():
    with (ROOT / "pyproject.toml").open("rb") as settings:
        (entry,) = tomllib.load(settings)["project"]["scripts"].items()
    assert entry[0] == "jaxnn"
    module, _, name = entry[1].partition(":")
    assert getattr(importlib.import_module(module), name) is command.command


@pytest.mark.slow
def test_it_works_with_the_library_s_own_dependencies(file, tmp_path):
    """As a process of its own, where no package of an extra can be imported."""
    missing = ("altair", "vl_convert", "polars", "rich", "tyro", "experiments", "flax")
    script = (
        f"import sys, runpy\nsys.modules.update(dict.fromkeys({missing}))\n"
        "sys.argv[0] = 'jaxnn'\nrunpy.run_module('jaxnn', run_name='__main__')"
    )

    def run(*args):
        return subprocess.run(
            [sys.executable, "-c", script, *args],
            cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    answer = run("diagnose", f"{file}:layers")
    begin = f"Diagnosing {file}:{{}}: loading JAX\nrunning mine.py:{{}}\n"
    assert (answer.returncode, answer.stderr) == (0, begin.format("layers", "layers"))
    assert "Vanishing" in answer.stdout
    table = answer.stdout.split("\n\n")[1].splitlines()
    assert "log10 ||Delta||" in table[0]
    assert len(set(map(len, table))) == 1  # head and numbers stand below one another
    assert run("--version").stdout == f"jaxnn {jaxnn.__version__}\n"
    answer = run("diagnose", f"{file}:raising")
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr.startswith(begin.format("raising", "raising"))
    error = "error: network: mine.py:20: ZeroDivisionError: division by zero\n"
    assert answer.stderr.endswith(error)
