"""The contract: what a function of the user's own returns is what `jaxnn.diagnose` takes.

    model, xs                  as a tuple; see `jaxnn.diagnose` for all that a model may be
    model, xs, ys              for a jaxnn.Network, whose task has the loss
    {"model": model, "xs": xs, "ys": ys, "loss": loss, …}
                               the arguments of jaxnn.diagnose by their names; "net" and "params",
                               or "f" and "params", may stand for the model that is this pair
    jaxnn.diagnose(…)          a Diagnosis that is already made

`FILE.py:NAME -> what it returns -> arguments -> jaxnn.diagnose -> Diagnosis`
"""

import inspect
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from ..diagnosis import Diagnosis, diagnose
from ..passes.walk import Memory
from . import allocation, source
from .source import Source

SMALLER = "the network or its batch"
NAMES = tuple(inspect.signature(diagnose).parameters)
EXPECTED = (
    "(model, xs), (model, xs, ys), a dict with the arguments of jaxnn.diagnose, or a "
    "jaxnn.Diagnosis"
)


def diagnosed(
    code: Source, memory: Memory, seed: int, entries: bool = False, theory: bool = False
) -> Diagnosis:
    """Run the user's code and diagnose the network that its function returns.

    Args:
        code: the function.
        memory: as in `jaxnn.diagnose`.
        seed: of the random loss, if the function returns none.
        entries: as in `jaxnn.diagnose`.
        theory: as in `jaxnn.diagnose`.

    Raises:
        ValueError, TypeError: one sentence on a mistake, with the file and line of the user's code.
        MemoryError: one sentence, for an allocation that failed.
    """
    with source.running(code):
        try:
            return diagnosis_of(code.function()(), f"{code}()", memory, seed, entries, theory)
        except (MemoryError, RuntimeError) as error:
            sentence = allocation.sentence(error, SMALLER)
            if sentence is None:
                raise
    raise MemoryError(sentence)


def diagnosis_of(
    returned: Any,
    target: str,
    memory: Memory,
    seed: int,
    entries: bool = False,
    theory: bool = False,
) -> Diagnosis:
    """Diagnose a network, or return the diagnosis that the user's function has made.

    Args:
        returned: what the user's function has returned.
        of: the name of that function.
        memory: as in `jaxnn.diagnose`, unless the function says another.
        seed: likewise.
        entries: likewise.
        theory: likewise.

    Raises:
        ValueError, TypeError: one sentence on what was returned, or what the user's code raises.
    """
    if isinstance(returned, Diagnosis):
        return returned
    options = {"memory": memory, "seed": seed, "entries": entries, "theory": theory}
    return diagnose(**options | arguments(returned, target))


def arguments(returned: Any, target: str) -> dict[str, Any]:
    """Return the arguments of `jaxnn.diagnose` in what the user's function has returned.

    A diagnosis that is already made has none.

    Raises:
        ValueError: one sentence.
    """
    if isinstance(returned, Diagnosis):
        return {}
    if isinstance(returned, tuple) and len(returned) in (2, 3):
        return dict(zip(NAMES, returned, strict=False))
    if not isinstance(returned, Mapping):
        got = type(returned).__name__
        got += f" of {len(returned)}" if isinstance(returned, tuple) else ""
        raise ValueError(f"{target}: expected it to return {EXPECTED}, got {got}")
    given = dict(returned)
    pair = [name for name in ("model", "net", "f", "params") if name in given]
    if pair in (["net", "params"], ["f", "params"]):
        given["model"] = tuple(given.pop(name) for name in pair)
    elif pair not in ([], ["model"]):
        raise ValueError(
            f"{target}: expected a dict with model, or instead with net and params, or f and "
            f"params, got {', '.join(pair)}"
        )
    for name in given:
        if name not in NAMES:
            close = get_close_matches(str(name), NAMES, 1)
            hint = f"; {close[0]} is meant?" if close else ""
            raise ValueError(
                f"{target}: expected a dict with {', '.join(NAMES)} alone, got {name!r}{hint}"
            )
    missing = [name for name in ("model", "xs") if name not in given]
    if missing:
        raise ValueError(
            f"{target}: expected a dict with model and xs, got no {', '.join(missing)}"
        )
    return given
