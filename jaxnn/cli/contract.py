"""Networks in files of the user's own: run, and given to `jaxnn.diagnose` or `jaxnn.checkup`.

`FILE.py:NAME -> what it returns, see jaxnn/returned.py -> Diagnosis or Checkup`
"""

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from ..diagnosis import Diagnosis
from ..rehearsal.checkup import Checkup
from ..returned import checkup_of, diagnosis_of
from . import allocation, source
from .source import UserCode

log = logging.getLogger("jaxnn.cli")

T = TypeVar("T")

SMALLER = "the network or its batch"


def diagnosed(code: UserCode, **options: Any) -> Diagnosis:
    """Run the user's code and diagnose the network that it returns; a mistake is one sentence."""
    return _run(code, lambda made: diagnosis_of(made, f"{code}()", **options))


def checked_up(code: UserCode, steps: int | None) -> Checkup:
    """Run the user's code and check up the network that it returns, likewise."""
    return _run(code, lambda made: checkup_of(made, f"{code}()", steps))


def _run(code: UserCode, made_of: Callable[[Any], T]) -> T:
    """Run the user's code, and return what is made of what its function returns."""
    log.debug("running %s", code)
    with source.running(code):
        try:
            return made_of(code.function()())
        except (MemoryError, RuntimeError) as error:
            sentence = allocation.sentence(error, SMALLER)
            if sentence is None:
                raise
    raise MemoryError(sentence)
