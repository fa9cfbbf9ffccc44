"""The command line: python -m experiments NAME [OPTIONS].

NAME is an experiment (`experiments/__init__.py`) or FILE.py:NAME, one of the user's own, or `show`,
`predict` or `watch`, which read what a run has left. A user's mistake shows while preparing, before
any file is written, and becomes one sentence and exit code 2; a disk that fails while running,
memory that ends, or a result that is not as it should be, becomes one sentence and exit
code 1; Ctrl-C is exit code 130. An error in an experiment of the user's own is one sentence too,
with its file and line. Anything else is a fault of ours and keeps its traceback.
"""

import argparse
import errno
import importlib.util
import logging
import os
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from experiments import EXPERIMENTS, READERS, announcement, find
from jaxnn.distribution import install_command

USER_MISTAKE, FAILED = 2, 1
USAGE = """usage: python -m experiments NAME [OPTIONS], or NAME --help for its options

Why do gradients vanish or explode in this network?

{}

Exit codes: 0 done, 1 failed while running, 2 a mistake in the command, 130 stopped."""


def _missing(error: ModuleNotFoundError) -> str:
    """Return a sentence on a package that is not installed; a fault of ours keeps its traceback."""
    if error.name is None or error.name.partition(".")[0] in ("experiments", "jaxnn"):
        raise error
    return f"error: {error.name}: expected to be installed; {install_command('experiments')}"


def _announce() -> None:
    """Say at once what goes on: what is imported below takes seconds."""
    words = announcement(sys.argv[1:])
    if words and sys.stderr is not None:
        with suppress(OSError, ValueError):
            print(clean_lines(words), file=sys.stderr, flush=True)


try:
    from jaxnn.texts import clean_lines

    if __name__ == "__main__":
        _announce()
    from experiments.pages import engine
    from experiments.runs import signals

    # Read when LAPACK is loaded, so it comes first. LAPACK's threads wait for one another by
    # spinning: on a busy machine a product of factors of 100 units then took 20 s, not 40 ms.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if __name__ == "__main__":
        signals.end_at_once()  # Ctrl-C while all of this is loaded is no error of ours
        nothing_drawn = {"--help", "-h", "--dry-run"} & set(sys.argv)
        if not nothing_drawn and any(n in EXPERIMENTS or ".py:" in n for n in sys.argv[1:2]):
            engine.start()
        import polars  # noqa: F401, takes the signals for itself

        signals.end_at_once()
        try:
            import jax

            # Checks of a user's own code, which the packages here do not pass (optax, for one).
            jax.config.update("jax_numpy_dtype_promotion", "standard")  # type: ignore[no-untyped-call]
            jax.config.update("jax_transfer_guard", "allow")  # type: ignore[no-untyped-call]
        except ValueError as mistake:  # in a variable of the environment
            remedy = "mend that environment variable, or unset it"  # as the command jaxnn says
            print(f"error: JAX: {mistake}; {remedy}", file=sys.stderr)
            sys.exit(USER_MISTAKE)

    from rich.console import Console
    from rich.logging import RichHandler

    from experiments.runs import grid, own, runtime
    from experiments.runs.experiment import Experiment, Plan, run
    from experiments.runs.store import Store
    from jaxnn.arrays import memory
    from jaxnn.cli import allocation, printing
except ModuleNotFoundError as missing:
    if __name__ != "__main__":
        raise
    print(_missing(missing), file=sys.stderr)
    sys.exit(USER_MISTAKE)


def main(args: list[str] | None = None) -> int:
    """Run one command and return the exit code."""
    try:
        return _run(sys.argv[1:] if args is None else args)
    finally:
        own.close()


def _run(args: list[str]) -> int:
    try:
        Path.cwd()
    except FileNotFoundError:
        return _say("the folder in which this is run is gone; go to another one", USER_MISTAKE)
    try:
        command, settings = read(args)
        if command in READERS:
            return _read(_reader(command), settings)
        _log(settings.quiet)
        _check_drawable()
        experiment = find(command)
        runtime.start(settings)
        plan = experiment.prepare(settings)
        if settings.dry_run:
            print(
                grid.to_toml(settings, plan.settings), clean_lines(f"# {plan.estimate()}"), sep="\n"
            )
            return 0
        memory.check(plan.work.bytes, plan.work.smaller)
        store = experiment.open(plan)
    except (ValueError, TypeError, OSError) as mistake:
        return _say(own.in_words(mistake, preparing=True) or mistake, USER_MISTAKE)
    except runtime.FailedError as failure:
        return _say(failure, FAILED)
    except KeyboardInterrupt:
        return signals.INTERRUPTED
    except Exception as error:
        return _say(_of_own_code(error), USER_MISTAKE)
    return _measured(experiment, plan, store)


def _measured(experiment: Experiment[Any, Any], plan: Plan, store: Store) -> int:
    """Run an experiment that is prepared; close its folder, and return the exit code."""
    try:
        if __name__ == "__main__":
            signals.end_at_once(signals.GOES_ON)
        finished = run(experiment, plan, store)
    except (OSError, runtime.FailedError) as failure:
        return _say(own.in_words(failure) or failure, FAILED)
    except (MemoryError, RuntimeError) as failure:
        sentence = allocation.sentence(failure, plan.work.smaller)
        return _say(sentence or _of_own_code(failure), FAILED)
    except KeyboardInterrupt:  # when the cells were done
        finished = False
    except Exception as error:
        return _say(_of_own_code(error), FAILED)
    finally:
        store.close()
    if not finished:
        print(signals.GOES_ON, file=sys.stderr)
    return 0 if finished else signals.INTERRUPTED


def _check_drawable() -> None:
    """Raise before the measurement if a package is missing that is imported after it."""
    for name in ("altair", "jinja2", "vl_convert"):
        if importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(name=name)


def _of_own_code(error: Exception) -> str:
    """Return the sentence on an error of an experiment of the user's own; raise any other again."""
    if (sentence := own.in_words(error)) is None:
        raise error
    return sentence


def _reader(name: str) -> ModuleType:
    return importlib.import_module(f"experiments.{name}")


def _read(reader: ModuleType, settings: Any) -> int:
    prepared = reader.prepare(settings)
    try:
        reader.run(prepared)
    except OSError as failure:
        return _say(own.in_words(failure) or failure, FAILED)
    return 0


def read(args: list[str]) -> tuple[str, Any]:
    """Return the command and its settings, from the command line and a config file."""
    name, *options = args or ["--help"]
    if name in ("--help", "-h"):
        known = EXPERIMENTS | READERS | {"FILE.py:NAME": "an experiment of your own"}
        print(USAGE.format("\n".join(f"  {name:13} {words}" for name, words in known.items())))
        raise SystemExit(0)
    if name not in EXPERIMENTS | READERS and not own.is_named(name):
        names = ", ".join(EXPERIMENTS | READERS)
        raise ValueError(f"there is no {name!r}; expected one of {names}, or FILE.py:NAME")
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--config", type=Path)
    early.add_argument("--out")
    given = early.parse_known_args(options)[0]
    if given.out == "":  # as a path it would be the folder in which the command is given
        wanted = "a file" if name == "predict" else "a folder"
        raise ValueError(f"out: expected {wanted}, got an empty name")
    question = (EXPERIMENTS | READERS).get(name, "").capitalize()
    if name in READERS:
        default = _reader(name).Settings()
    else:
        experiment = find(name)
        question = question or experiment.question
        values = {} if given.config is None else grid.read_config(given.config, experiment.settings)
        default = experiment.with_defaults(**values)
    return name, runtime.parsed(default, f"python -m experiments {name}", options, question)


class LogFormatter(logging.Formatter):
    """Lines that a terminal does not obey, with the names of a user's files."""

    def format(self, record: logging.LogRecord) -> str:
        return clean_lines(super().format(record))


def _log(quiet: bool) -> None:
    """Log above the live view in a terminal, else between its lines."""
    console = Console(stderr=True)
    above = RichHandler(console=console, show_time=False, show_path=False)
    handler = above if console.is_terminal else logging.StreamHandler()
    handler.setFormatter(LogFormatter("%(message)s"))
    log = logging.getLogger("jaxnn")
    if __name__ == "__main__":  # some packages have made a handler of their own
        log.addHandler(handler)
        log.propagate = False
    else:
        logging.basicConfig(handlers=[handler])
    log.setLevel(logging.WARNING if quiet else logging.INFO)


def _say(error: Exception | str, code: int) -> int:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        error, code = printing.dropped(error), FAILED  # those of files are sentences already
    print(f"error: {clean_lines(str(error))}", file=sys.stderr)
    return code


def command() -> int:
    """Run the command of this process and return the exit code; its streams take everything."""
    try:
        printing.prepare()
        with printing.piped():
            return main()
    except SystemExit as end:  # --help, and what tyro says of a mistake
        return end.code if isinstance(end.code, int) else 0
    except ModuleNotFoundError as missing:  # by an experiment, which imports what it alone needs
        print(_missing(missing), file=sys.stderr)
        return USER_MISTAKE
    except OSError as failure:
        return _say(failure, FAILED)


if __name__ == "__main__":
    sys.exit(command())
