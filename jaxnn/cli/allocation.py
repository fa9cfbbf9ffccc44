"""Memory: one error message for an allocation that failed."""

import re

from ..arrays.memory import gigabytes

EXHAUSTED = re.compile("RESOURCE_EXHAUSTED|[Oo]ut of memory")
BYTES = re.compile(r"allocat\w+ (\d+) bytes")


def exhausted(error: BaseException) -> bool:
    """Tell whether an error is of an allocation that failed."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and EXHAUSTED.search(str(error)) is not None
    )


def sentence(error: BaseException, smaller: str) -> str | None:
    """Return the error message for an allocation that failed; None if the error is another one."""
    if not exhausted(error):
        return None
    size = BYTES.search(str(error))
    asked_for = f" of {gigabytes(float(size[1]))}" if size else ""
    return f"memory: an allocation{asked_for} failed; make {smaller} smaller"
