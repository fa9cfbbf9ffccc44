"""The process of one side: it prepares a workload and answers requests, a line of JSON each.

`python -m experiments.bench.worker MODULE FUNCTION ARGUMENTS FOLDER [--once]`. A request is the
name of an answer. With `--once` it runs a repetition unasked and ends: the life of a fresh
process. Whatever a library prints goes to the error stream.
"""

import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple


class Workload(NamedTuple):
    """One side of a comparison, ready to run.

    run: one repetition, up to its last result.
    numbers: a few of the results, logarithms or of order 1. Ours may write its inputs into the
        folder for the peer to read. Both sides must give equal numbers.
    """

    run: Callable[[], object]
    numbers: Callable[[Path], Iterable[float]]

    def answer(self, request: str, folder: Path) -> list[float] | float:
        """Return the numbers, or the seconds of a repetition."""
        if request == "numbers":
            return [float(v) for v in self.numbers(folder)]
        begun = time.perf_counter()
        self.run()
        return time.perf_counter() - begun


def main(module: str, function: str, arguments: str, folder: str, *once: str) -> None:
    """Serve one workload until nobody asks any more."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(**answer: object) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    try:
        make = getattr(importlib.import_module(f"experiments.bench.{module}"), function)
        workload: Workload = make(**json.loads(arguments))
        if once:
            workload.run()
        say(ready=True)
        for line in [] if once else sys.stdin:
            say(answer=workload.answer(line.strip(), Path(folder)))
    except ModuleNotFoundError as error:
        from jaxnn.distribution import install_command  # not loaded beside what is measured

        needed = install_command("bench")
        say(error=f"{module} needs {error.name}, which is not installed; {needed}")
    except Exception as error:
        traceback.print_exc()
        say(error=f"{module}.{function}: {type(error).__name__}: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
