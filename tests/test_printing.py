"""Printing at any width, in any encoding, into any pipe."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from experiments.pages import tables
from jaxnn.cli import printing

ROOT = Path(__file__).parent.parent
HELP = [sys.executable, "-m", "experiments", "--help"]
LINES = ("Δz[1] of a long line, " * 8).strip(), "a short one"


def printed(width, terminal, f, *arguments):
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)
    f(*arguments, console)
    return console.file.getvalue()


def wide():
    heads = [f"column {i}" for i in range(9)]
    table = tables.table("a title", "", *heads)
    table.add_row("a name of several words", *[f"{-1.234567e-89:g}"] * 9)
    return table


def test_names_that_may_wrap_do_so_in_a_terminal():
    table = tables.table("a title", "", "one", "two")
    table.columns[0].no_wrap = False
    table.add_row("a name of several words in a table", "-1.23457e-89", "-1.23457e-89")
    lines = printed(50, True, tables.printed, table).splitlines()
    assert max(map(len, lines)) <= 50
    assert "\n".join(lines).count("-1.23457e-89") == 2
    assert len(printed(50, False, tables.printed, table).splitlines()) == len(lines) - 1


@pytest.mark.parametrize("terminal", [False, True])
def test_tables_cut_no_number(terminal):
    text = printed(40, terminal, tables.printed, wide())
    assert text.count("-1.23457e-89") == 9
    assert "…" not in text


def test_sentences_wrap_between_words_in_a_terminal():
    lines = printed(40, True, tables.sentences, LINES).splitlines()
    assert max(map(len, lines)) <= 40
    assert " ".join(line.strip() for line in lines).split() == " ".join(LINES).split()
    assert printed(40, False, tables.sentences, LINES).splitlines() == list(LINES)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8"])
def test_what_an_encoding_has_not_is_spelled(encoding, monkeypatch, tmp_path):
    path = tmp_path / "printed"
    with path.open("w", encoding=encoding) as file, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", file)
        printing.prepare()
        print("σ_w = 1 ± ½, ŷ ≤ 10⁻³, 東")
        sys.stdout.flush()
    text = path.read_text(encoding=encoding).strip()
    own = {"utf-8": "σ_w = 1 ± ½, ŷ ≤ 10⁻³, 東", "ascii": "sigma_w = 1 +- 1/2, y <= 10-3, ?"}
    assert text == own.get(encoding, "sigma_w = 1 ± ½, y <= 10-³, ?")


def run(**options):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    environment |= options.pop("env", {})
    return subprocess.run(
        HELP, env=environment, stderr=subprocess.PIPE, text=True, check=False, **options
    )


def test_a_reader_that_closes_its_pipe_ends_nothing(monkeypatch):
    """As `head` does; print says so by an error, rich by SystemExit."""
    with contextlib.ExitStack() as stack:
        for name in ("stdout", "stderr"):
            ours, theirs = os.pipe()
            stream = stack.enter_context(os.fdopen(theirs, "w", encoding="utf-8"))
            monkeypatch.setattr(sys, name, stream)
            os.close(ours)
        printing.prepare()
        with printing.piped():
            tables.sentences(LINES * 100, Console())
            print("σ" * 100_000, flush=True)
            print("σ", file=sys.stderr, flush=True)
        monkeypatch.undo()


@pytest.mark.slow
def test_a_pipe_that_nobody_reads():
    ours, theirs = os.pipe()
    os.close(ours)
    answer = run(stdout=theirs)
    os.close(theirs)
    assert (answer.returncode, answer.stderr) == (0, "")


@pytest.mark.slow
def test_a_closed_stdout():
    command = " ".join(HELP)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    answer = subprocess.run(
        ["sh", "-c", f"{command} >&-"], env=environment, capture_output=True, text=True, check=False
    )
    sentence = "error: stdout: expected an open stream, got a closed one; >/dev/null drops it\n"
    assert (answer.returncode, answer.stderr) == (1, sentence)
