"""Experiments on jaxnn, run from a checkout: python -m experiments NAME.

An experiment is a folder here and an entry in this list; nothing else names it. Its modules are
imported where it is asked for: the process of a benchmark's peer imports this package too. One of
the user's own is in a file, FILE.py:NAME (`runs/own.py`).
"""

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.runs.experiment import Experiment

EXPERIMENTS = {  # by name, with the question
    "depth": "how does the size of a gradient change with depth?",
    "train": "how is the gradient while a network trains on a table?",
    "cures": "what cures a gradient that vanishes or explodes?",
    "laws": "do the laws of signals and gradients hold?",
    "menagerie": "are networks of other packages measured exactly?",
    "casebook": "is it said what is wrong with programs that do not train?",
    "bench": "how long does it take, next to what people would use instead?",
}
READERS = {  # what reads the results
    "show": "what did a run find?",
    "predict": "what does a trained network predict?",
    "watch": "what happens while a network trains?",
}


def announcement(args: Sequence[str]) -> str:
    """Return what a command is about to answer; empty if it is quiet, or over at once.

    Example:
        >>> announcement(["laws", "--quick"])
        'laws: do the laws of signals and gradients hold? Loading JAX'
    """
    name, *others = [*args, ""]
    if {"--quiet", "--help", "-h", "--dry-run"} & {*others}:
        return ""
    if ".py:" in name:
        return f"{name}: loading JAX, then this file"
    question = (EXPERIMENTS | READERS).get(name)
    return f"{name}: {question} Loading JAX" if question else ""


def find(name: str) -> "Experiment[Any, Any]":
    """Return the experiment of that name, one of `EXPERIMENTS` or FILE.py:NAME, whose file is run.

    Raises:
        ValueError: one sentence on a mistake in the file.
    """
    if name not in EXPERIMENTS:
        return importlib.import_module("experiments.runs.own").find(name)
    return importlib.import_module(f"experiments.{name}.experiment").EXPERIMENT
