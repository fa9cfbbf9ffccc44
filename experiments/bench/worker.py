"""The process of one side: it prepares a workload and answers requests, a line of JSON each.

`python -m experiments.bench.worker MODULE ARGUMENTS FOLDER [--once]`. A request is a word, the
answer an object: for `run` the seconds of a repetition, for `numbers`, `floor` and `memory` those
of the `Workload`; the first line has the seconds of imports and preparation. With `--once` it runs
a repetition unasked and ends: the life of a fresh process. Whatever a library prints goes to the
error stream.
"""

import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.bench.workload import Workload

Say = Callable[..., None]


def main(module: str, arguments: str, folder: str, *once: str) -> None:
    """Serve one workload until nobody asks any more."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(**answer: object) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    try:
        _serve(say, module, json.loads(arguments), Path(folder), bool(once))
    except ModuleNotFoundError as error:
        from jaxnn.distribution import install_command  # not loaded beside what is measured

        needed = install_command("bench")
        say(error=f"{module} needs {error.name}, which is not installed; {needed}")
    except Exception as error:
        traceback.print_exc()
        say(error=f"{module}: {type(error).__name__}: {error}")


def _serve(say: Say, module: str, arguments: dict[str, Any], folder: Path, once: bool) -> None:
    started = time.perf_counter()
    side = importlib.import_module(f"experiments.bench.{module}")
    imported = time.perf_counter() - started
    workload: Workload = side.workload(**arguments)
    if once:
        workload.run()
        say(ended=True)
        return
    say(imported=imported, prepared=time.perf_counter() - started - imported)
    for line in sys.stdin:
        say(**ANSWERS[line.strip()](workload, folder))


def _run(workload: Workload, _: Path) -> dict[str, Any]:
    started = time.perf_counter()
    workload.run()
    return {"seconds": time.perf_counter() - started}


def _numbers(workload: Workload, folder: Path) -> dict[str, Any]:
    return {"numbers": [float(v) for v in workload.numbers(folder)]}


def _floor(workload: Workload, _: Path) -> dict[str, Any]:
    return {} if workload.floor is None else workload.floor()._asdict()


def _memory(workload: Workload, _: Path) -> dict[str, Any]:
    return {} if workload.memory is None else {"bytes": workload.memory()}


ANSWERS: dict[str, Callable[[Workload, Path], dict[str, Any]]] = {
    "run": _run,
    "numbers": _numbers,
    "floor": _floor,
    "memory": _memory,
}

if __name__ == "__main__":
    main(*sys.argv[1:])
