"""Experiments on jaxnn, run from a checkout: python -m experiments NAME.

An experiment is a folder here and an entry in this list; nothing else names it. Its modules are
imported where it is asked for: the process of a benchmark's peer imports this package too.
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
    "laws",
    "peers",
    "bench",
)


def find(name: str) -> "Experiment[Any, Any]":
    """Return the experiment of that name, one of `EXPERIMENTS`."""
    experiment: Experiment[Any, Any] = importlib.import_module(
        f"experiments.{name}.experiment"
    ).EXPERIMENT
    return experiment
