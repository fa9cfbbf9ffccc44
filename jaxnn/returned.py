"""The contract: what a function of the user's own returns is what `jaxnn.diagnose` takes.

model, xs                  as a tuple; see `jaxnn.diagnose` for all that a model may be
model, xs, ys              for a jaxnn.Network, whose task has the loss
{"model": model, …}        the arguments of jaxnn.diagnose by their names
jaxnn.diagnose(…)          a Diagnosis that is already made
model, optimizer, xs, ys   for a checkup, and a diagnosis without the optimiser; in the dict
                           optimizer and steps
"""

import inspect
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from .diagnosis import Diagnosis, diagnose
from .rehearsal.checkup import Checkup, checkup
from .train.steps import Optimizer

NAMES = tuple(inspect.signature(diagnose).parameters)
OF_CHECKUP = tuple(inspect.signature(checkup).parameters)
EXPECTED = (
    "(model, xs), (model, xs, ys), a dict with the arguments of jaxnn.diagnose, or a "
    "jaxnn.Diagnosis"
)


def diagnosis_of(returned: Any, target: str, **options: Any) -> Diagnosis:
    """Diagnose a network, or return the diagnosis that the user's function has made."""
    if isinstance(returned, Diagnosis):
        return returned
    return diagnose(**options | arguments(returned, target))


def checkup_of(returned: Any, target: str, steps: int | None) -> Checkup:
    """Check up a network, or return the checkup that the user's function has made."""
    if isinstance(returned, Checkup):
        return returned
    given = {"optimizer": None} | arguments(returned, target, OF_CHECKUP)
    return checkup(**given | ({} if steps is None else {"steps": steps}))


def _has_optimizer(returned: Any) -> bool:
    """Tell (model, optimizer, xs) and (model, optimizer, xs, ys) from (model, xs, ys)."""
    if not isinstance(returned, tuple) or len(returned) not in (3, 4):
        return False
    second = returned[1]
    is_one = isinstance(second, Optimizer) or hasattr(second, "param_groups")
    return is_one or second is None or callable(second)  # a function that returns one


def arguments(returned: Any, target: str, names: tuple[str, ...] = NAMES) -> dict[str, Any]:
    """Return the arguments with these names in what the user's function has returned."""
    if isinstance(returned, Diagnosis):
        return {}
    if _has_optimizer(returned):
        model, optimizer, *data = returned
        returned = dict(zip(NAMES, (model, *data), strict=False)) | {"optimizer": optimizer}
    if isinstance(returned, tuple) and len(returned) in (2, 3):
        return dict(zip(NAMES, returned, strict=False))
    if not isinstance(returned, Mapping):
        got = type(returned).__name__
        got += f" of {len(returned)}" if isinstance(returned, tuple) else ""
        raise ValueError(f"{target}: expected it to return {EXPECTED}, got {got}")
    for name in returned:
        if name not in (*NAMES, *OF_CHECKUP):
            close = get_close_matches(str(name), names, 1)
            hint = f"; {close[0]} is meant?" if close else ""
            raise ValueError(
                f"{target}: expected a dict with {', '.join(names)} alone, got {name!r}{hint}"
            )
    missing = [name for name in ("model", "xs") if name not in returned]
    if missing:
        raise ValueError(
            f"{target}: expected a dict with model and xs, got no {', '.join(missing)}"
        )
    return {name: value for name, value in returned.items() if name in names}
