"""The command line: python -m experiments NAME [OPTIONS].

An experiment is a module with `Settings`, `prepare(settings) -> plan` and `run(plan, store) ->
finished`; its plan says `what` it is, and its module the `FILES` it leaves; `show` and `predict`
read what they have left. Whatever the user got wrong shows while preparing, before any file
is written, and becomes one sentence and exit code 2; a disk or a partner that fails while running,
or a result that is not as it should be, becomes one sentence and exit code 1. Anything else is a
fault of ours and keeps its traceback.
"""

import argparse
import logging
import os
import signal
import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Union

# Read when LAPACK is loaded, so it comes first. LAPACK's threads wait for one another by spinning:
# on a busy machine a product of factors of 100 units then takes 20 s in the place of 40 ms.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
if __name__ == "__main__":  # Ctrl-C while all of this is loaded is no error of ours
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import tyro
from rich.console import Console
from rich.logging import RichHandler

from experiments import predict, show
from experiments.bench import experiment as bench
from experiments.depth import experiment as depth
from experiments.laws import experiment as laws
from experiments.peers import experiment as peers
from experiments.runs import grid, runtime, signals
from experiments.runs.store import Store
from experiments.spectrum import experiment as spectrum
from experiments.train import experiment as train
from experiments.trainability import experiment as trainability

EXPERIMENTS: dict[str, ModuleType] = {
    "depth": depth,
    "spectrum": spectrum,
    "train": train,
    "trainability": trainability,
    "laws": laws,
    "peers": peers,
    "bench": bench,
}
READERS: dict[str, ModuleType] = {"show": show, "predict": predict}

USER_MISTAKE, FAILED = 2, 1


def main(args: list[str] | None = None) -> int:
    """Runs one experiment and returns the exit code."""
    try:
        settings = read(sys.argv[1:] if args is None else args)
        reader = next((r for r in READERS.values() if type(settings) is r.Settings), None)
        if reader is not None:
            return _read(reader, reader.prepare(settings))
        _log(settings.quiet)
        experiment = next(e for e in EXPERIMENTS.values() if type(settings) is e.Settings)
        runtime.start(settings)
        plan = experiment.prepare(settings)
        if settings.dry_run:
            print(grid.to_toml(settings), f"# {plan.estimate()}", sep="\n")
            return 0
        store = None
        if runtime.is_main():
            store = Store(settings.out, plan.what, experiment.FILES, settings.overwrite)
    except (ValueError, TypeError, OSError) as mistake:
        return _say(mistake, USER_MISTAKE)
    except KeyboardInterrupt:
        return signals.INTERRUPTED
    try:
        finished = experiment.run(plan, store)
    except (OSError, runtime.FailedError) as failure:
        return _say(failure, FAILED)
    except KeyboardInterrupt:  # when the cells were done
        finished = False
    finally:
        if store is not None:
            store.close()
    if not finished and store is not None:
        print(signals.GOES_ON, file=sys.stderr)
    return 0 if finished else signals.INTERRUPTED


def _read(reader: ModuleType, prepared: Any) -> int:
    try:
        reader.run(prepared)
    except OSError as failure:
        return _say(failure, FAILED)
    return 0


def read(args: list[str]) -> Any:
    """The settings that the command line and a config file name.

    Raises:
        ValueError, OSError: a config file that is not one.
    """
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--config", type=Path)
    config = early.parse_known_args(args)[0].config
    commands: list[Any] = []
    for name, experiment in (EXPERIMENTS | READERS).items():
        chosen = name in args[:1] and config is not None
        found = grid.read_config(config, experiment.Settings) if chosen else {}
        default = tyro.conf.subcommand(name, default=experiment.Settings(**found))
        commands.append(Annotated[experiment.Settings, default])
    any_of_them: Any = Union[tuple(commands)]  # noqa: UP007
    return tyro.cli(
        any_of_them,
        prog="python -m experiments",
        description="Why do gradients vanish or explode in this network?",
        args=args,
    )


def _log(quiet: bool) -> None:
    """What is logged stands above the live view, or between the lines where there is none."""
    console = Console(stderr=True)
    above = RichHandler(console=console, show_time=False, show_path=False)
    logging.basicConfig(
        format="%(message)s", handlers=[above if console.is_terminal else logging.StreamHandler()]
    )
    logging.getLogger("jaxnn").setLevel(logging.WARNING if quiet else logging.INFO)


def _say(error: Exception, code: int) -> int:
    print(f"error: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    runtime.leave(main())
