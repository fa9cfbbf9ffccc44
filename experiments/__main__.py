"""The command line: python -m experiments NAME [OPTIONS].

An experiment is prepared, then run. Whatever the user got wrong shows while preparing, before any
file is written, and becomes one sentence and exit code 2; a disk that fails while running becomes
one sentence and exit code 1. Anything else is a fault of ours and keeps its traceback.
"""

import sys

import tyro

from experiments import depth

USER_MISTAKE, FAILED, INTERRUPTED = 2, 1, 130


def main(args: list[str] | None = None) -> int:
    """Runs one experiment and returns the exit code."""
    settings: depth.Settings = tyro.extras.subcommand_cli_from_dict(
        {"depth": depth.Settings},
        prog="python -m experiments",
        description="Why do gradients vanish or explode in this network?",
        args=args,
    )
    try:
        plan = depth.prepare(settings)
    except (ValueError, TypeError, OSError) as mistake:
        return _say(mistake, USER_MISTAKE)
    try:
        finished = depth.run(plan)
    except OSError as failure:
        return _say(failure, FAILED)
    return 0 if finished else INTERRUPTED


def _say(error: Exception, code: int) -> int:
    print(f"error: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
