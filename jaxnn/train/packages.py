"""Packages of trainers and trackers, imported where a user asks for one."""

import importlib
from typing import Any


def imported(function: str, *names: str) -> Any:
    """Return the first package of these that is installed.

    Raises:
        ImportError: none is.
    """
    for name in names:
        try:
            return importlib.import_module(name)
        except ImportError as error:
            if error.name is None or not name.startswith(error.name):  # broken, not missing
                raise
    package = names[0].partition(".")[0]
    raise ImportError(
        f"jaxnn.train.{function}: expected {package} to be installed; "
        f"python -m pip install {package}"
    )
