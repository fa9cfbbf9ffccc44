"""`python -m jaxnn`, which is the command `jaxnn`."""

import sys

from .cli.command import command

if __name__ == "__main__":
    sys.exit(command())
