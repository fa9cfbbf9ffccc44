"""Import JAX for the command `jaxnn`, with one-line messages for bad variables and for Ctrl-C.

The import takes a second and comes before the command's own code. If jaxnn is imported as a
library, nothing is done here, and exceptions reach the caller.
"""

import contextlib
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

USER_MISTAKE, INTERRUPTED = 2, 130
COMMAND = "jaxnn"  # and the package
DOES = {"diagnose": "Diagnosing", "checkup": "Checking up"}  # with a network, by subcommand
REMEDY = "mend that environment variable, or unset it"


def is_command() -> bool:
    """Tell whether this process was started as `jaxnn` or as `python -m jaxnn`."""
    if sys.argv[:1] == ["-m"]:  # while Python imports the package of a module that it shall run
        return sys.orig_argv[-len(sys.argv)].removeprefix("-m") == COMMAND
    return bool(sys.argv) and Path(sys.argv[0]).stem == COMMAND


def load() -> None:
    """Import JAX; until `loaded` is called, Ctrl-C prints "stopped" and ends the process."""
    signal.signal(signal.SIGINT, _stop)
    announce(sys.argv[1:])
    try:
        importlib.import_module("jax")
    except ValueError as mistake:
        print(f"error: JAX: {mistake}; {REMEDY}", file=sys.stderr)
        sys.exit(USER_MISTAKE)


def announce(args: Sequence[str]) -> None:
    """Say on standard error what the command does, if it has a network, which takes a while."""
    does, networks = DOES.get("".join(args[:1])), [arg for arg in args[1:] if ":" in arg]
    if does and networks and not {"-h", "--help"} & {*args} and sys.stderr is not None:
        from ..texts import clean  # here: `jaxnn` first looks for files of another project

        with contextlib.suppress(OSError, ValueError):
            print(f"{does} {clean(networks[0])}: loading JAX", file=sys.stderr, flush=True)


def loaded() -> None:
    """Let Ctrl-C raise KeyboardInterrupt again."""
    if signal.getsignal(signal.SIGINT) is _stop:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _stop(*_: object) -> None:
    print("stopped", file=sys.stderr, flush=True)
    os._exit(INTERRUPTED)  # an exception might be taken by a package that is being imported


if is_command():
    load()
