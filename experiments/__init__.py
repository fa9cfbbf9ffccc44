"""Experiments on jaxnn, run from a checkout: python -m experiments NAME.

An experiment is a folder here and an entry in this list; nothing else names it. Its modules are
imported where it is asked for: the process of a benchmark's peer imports this package too. One of
the user's own is in a file, FILE.py:NAME (`runs/own.py`).
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.runs.experiment import Experiment

EXPERIMENTS = (
    "diagnose",
    "depth",
    "spectrum",
    "train",
    "trainability",
    "remedies",
    "cures",
    "laws",
    "peers",
    "menagerie",
    "casebook",
    "bench",
)


def find(name: str) -> "Experiment[Any, Any]":
    """Return the experiment of that name, one of `EXPERIMENTS` or FILE.py:NAME, whose file is run.

    Raises:
        ValueError: one sentence on a mistake in the file.
    """
    if name not in EXPERIMENTS:
        return importlib.import_module("experiments.runs.own").find(name)
    return importlib.import_module(f"experiments.{name}.experiment").EXPERIMENT
