"""Cases: what was wrong with a program, what its fix was, and what is to be said of it.

The tables are files, one for JAX and one for PyTorch. Their expectations stand before the rules
are written that they ask for; nothing reads a sentence. Each case serves one of four purposes, its
part: rules are written on it, it scores them, or it scores them blindly: its expectations were
written by somebody who had not read the rules, and its programs were not asked before. Once the
blind ones have been scored, and rules are changed by what was missed, they are no longer blind.
"""

import csv
import importlib
import importlib.util
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from experiments.casebook.program import CaseProgram
from jaxnn.flow.verdict.findings import FINDINGS
from jaxnn.watching.alarms import ALARMS

TABLES = ("cases_jax.csv", "cases_torch.csv")
PARTS = WRITE, SCORE, SCORED, BLIND = "write", "score", "scored", "blind"
SEEN = (WRITE, SCORE, SCORED)  # which authors of rules look at; a blind one seen is none
PROGRAMS = ILL, CURED = "ill", "cured"
# The package of each framework.
PACKAGES = {"jax": "jax", "linen": "flax", "nnx": "flax"}
PACKAGES |= {name: name for name in ("equinox", "keras", "torch")}
FAULTS = {
    "data": "inputs: their size, order or information",
    "targets": "targets that the output or the loss does not fit",
    "end": "the last activation and the loss do not fit each other",
    "loss": "the loss itself",
    "init": "how parameters start",
    "layers": "activations, widths, norms and dropout between",
    "frozen": "parameters that do not learn",
    "step": "the optimiser and the size of its steps",
    "loop": "the loop around them",
    "format": "number formats",
}
REFUSED = "refused"  # by an error of diagnose or watch, before anything is measured
SOURCES = {  # beginnings of the sources of cases, and of the ids in sources.csv
    "so-": "stackoverflow.com/questions/",
    "gh-": "github.com/",
    "tdc-": "github.com/thedeepchecker/thedeepchecker ",
    "humb-": "github.com/dlfaults/dnn-auto-fl-empirical-assesment ",
}
# Places of what is no layer: where the data come in, and what the loss is of.
INPUTS, OUTPUT = PLACES = ("inputs", "output")
OF_INPUTS = frozenset(["inputs", "constant", "sorted", "order", "given"])
OF_OUTPUT = frozenset(
    [
        *("targets", "labels", "twice", "oneunit", "overbatch", "relulogits"),
        *("mixes", "negative", "endless", "inverted", "unlabelled", "loss", "output", REFUSED),
    ]
)


@dataclass(frozen=True)
class Case:
    """A case.

    name: of the function that makes its program.
    file: of programs/, without its ending; its first word is the framework.
    part: one of `PARTS`, what the case serves.
    source: where the fault was met, see `SOURCES`, with the end of its id in sources.csv; "common"
        if it is in none of the benchmarks.
    fault: one of `FAULTS`.
    wrong: what is wrong, in words.
    fix: what was done about it, in words, as published.
    causes: rules that name the cause; any of them will do.
    symptoms: rules that name what follows from it, which may be said as well.
    advice: rules whose advice is the published fix.
    place: "inputs", "output" or a part of the path of a parameter array; "" where there is none.
    changes: of `jaxnn.trials`, any of which makes it learn, or "other", none of these, as `fix`
        says; none if nobody has said which.

    In a table, names stand with a space between them; the space in a name is "_": equal_layers.
    """

    name: str
    file: str
    part: str
    source: str
    fault: str
    wrong: str
    fix: str
    causes: frozenset[str]
    symptoms: frozenset[str]
    advice: frozenset[str]
    place: str
    changes: frozenset[str]

    @property
    def framework(self) -> str:
        """One of `PACKAGES`."""
        return self.file.partition("_")[0]

    @property
    def is_installed(self) -> bool:
        """True if the package of its framework can be imported."""
        return importlib.util.find_spec(PACKAGES[self.framework]) is not None

    def program(self, is_cured: bool) -> CaseProgram:
        """Return a new program, ill or cured."""
        module = importlib.import_module(f"experiments.casebook.programs.{self.file}")
        program: CaseProgram = getattr(module, self.name)(is_cured)
        return program


def vocabulary() -> frozenset[str]:
    """Return the names of all rules that may be expected."""
    return frozenset({REFUSED} | FINDINGS.keys() | ALARMS.keys())


@cache
def cases() -> tuple[Case, ...]:
    """Return all cases, in the order of their tables.

    Raises:
        ValueError: a row that is no case, or a name that is there twice.
    """
    listed = tuple(case for name in TABLES for case in _of_table(Path(__file__).with_name(name)))
    names = [case.name for case in listed]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"casebook: expected names that differ, got {', '.join(twice)} twice")
    return listed


def _of_table(path: Path) -> list[Case]:
    expected = [field.name for field in fields(Case)]
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames != expected:
            raise ValueError(f"{path.name}: expected columns {expected}, got {reader.fieldnames}")
        rows = list(reader)
    sets = ("causes", "symptoms", "advice", "changes")
    return [Case(**row | {name: _names(row[name]) for name in sets}) for row in rows]


def _names(cell: str) -> frozenset[Any]:
    return frozenset(name.replace("_", " ") for name in cell.split())
