"""The command line: python -m experiments NAME [OPTIONS].

An experiment is a module with `Settings`, `prepare(settings) -> plan` and `run(plan) -> finished`.
Whatever the user got wrong shows while preparing, before any file is written, and becomes one
sentence and exit code 2; a disk that fails while running becomes one sentence and exit code 1.
Anything else is a fault of ours and keeps its traceback.
"""

import os
import sys
from types import ModuleType

# Read when LAPACK is loaded, so it comes first. LAPACK's threads wait for one another by spinning:
# on a busy machine a product of factors of 100 units then takes 20 s in the place of 40 ms.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import tyro

from experiments import depth, spectrum

EXPERIMENTS: dict[str, ModuleType] = {"depth": depth, "spectrum": spectrum}

USER_MISTAKE, FAILED, INTERRUPTED = 2, 1, 130


def main(args: list[str] | None = None) -> int:
    """Runs one experiment and returns the exit code."""
    settings = tyro.extras.subcommand_cli_from_dict(
        {name: experiment.Settings for name, experiment in EXPERIMENTS.items()},
        prog="python -m experiments",
        description="Why do gradients vanish or explode in this network?",
        args=args,
    )
    experiment = next(e for e in EXPERIMENTS.values() if type(settings) is e.Settings)
    try:
        plan = experiment.prepare(settings)
    except (ValueError, TypeError, OSError) as mistake:
        return _say(mistake, USER_MISTAKE)
    try:
        finished = experiment.run(plan)
    except OSError as failure:
        return _say(failure, FAILED)
    return 0 if finished else INTERRUPTED


def _say(error: Exception, code: int) -> int:
    print(f"error: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
