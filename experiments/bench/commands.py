"""Whole processes; nothing is imported here, for each imports what it needs itself."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

from experiments.bench.worker import Workload


def depth(depths: list[int], width: int, seeds: int) -> Workload:
    """Return `python -m experiments depth`, the README's first command, to its last file.

    Its folder of compiled programs is empty.
    """
    options = ["--depths", *depths, "--width", width, "--seeds", seeds, "--quiet"]

    def run() -> None:
        with tempfile.TemporaryDirectory() as name:
            environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "true"}
            environment |= {"XDG_CACHE_HOME": f"{name}/cache"}
            command = ["depth", *map(str, options), "--out", f"{name}/depth"]
            subprocess.run(
                [sys.executable, "-m", "experiments", *command], env=environment, check=True
            )

    def numbers(folder: Path) -> Iterable[float]:
        sweep = import_module("experiments.bench.ours").sweep
        of_one: Workload = sweep(depths, "sigmoid", "glorot_uniform", width, 128, 1)
        return of_one.numbers(folder)

    return Workload(run, numbers)
