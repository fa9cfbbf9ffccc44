"""The README's first command after the install, `python -m experiments depth`, to its last file."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from experiments.bench.workload import Workload


def workload(depths: list[int], width: int, seeds: int, kept: bool) -> Workload:
    """A repetition is the whole command, a process of its own, an empty cache or a kept one."""
    options = ["--depths", *depths, "--width", width, "--seeds", seeds, "--quiet"]

    def run() -> None:
        with tempfile.TemporaryDirectory() as name:
            environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "true"}
            environment |= {} if kept else {"XDG_CACHE_HOME": f"{name}/cache"}
            command = ["depth", *map(str, options), "--out", f"{name}/depth"]
            subprocess.run(
                [sys.executable, "-m", "experiments", *command], env=environment, check=True
            )

    def numbers(folder: Path) -> Iterable[float]:
        from experiments.bench import sweep  # here, for the command imports what it needs itself

        of_one = sweep.workload(depths, "sigmoid", width, 128, 1, "glorot_uniform")
        return of_one.numbers(folder)

    return Workload(run, numbers)
