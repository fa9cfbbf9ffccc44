"""Experiments of the user's own: FILE.py:NAME, where NAME holds an `Experiment` in a file.

`FILE.py:NAME -> the file is run, once -> its Experiment, under that name -> closed at the end`

Every line of the file runs with the rights of the user. A command that names it is trust enough; a
folder that names it in its run.json is not, for it may come from anywhere.
"""

import traceback
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, get_type_hints

from experiments.runs import runtime
from experiments.runs.experiment import Experiment
from jaxnn.cli import source
from jaxnn.cli.source import UserCode

SETTING = "experiment"
HERE = Path(__file__).resolve().parents[1]  # code that is not the user's, as that of jaxnn

_found: dict[UserCode, Experiment[Any, Any]] = {}
_imported = ExitStack()


def is_named(text: object) -> bool:
    """Tell whether a text names an experiment in a file, and not one of this repository."""
    return isinstance(text, str) and (text.endswith(source.ENDING) or ".py:" in text)


def read(text: str | None, setting: str = SETTING, *words: str) -> UserCode:
    """Return the source that FILE.py:NAME names, as `jaxnn.cli.source.read`."""
    code = source.read(text, setting, *words)
    return code._replace(ours=(*code.ours, HERE))


def find(text: str) -> Experiment[Any, Any]:
    """Run a file, and return the experiment that it holds; until `close` it stays imported."""
    code = read(text, SETTING, "an Experiment in a file", "")
    if code not in _found:
        module = _imported.enter_context(source.imported(code))
        with source.running(code, module):
            _found[code] = _checked(code.value(_experiments, "experiments"), code)
    return _found[code]


def _experiments(names: dict[str, Any]) -> list[str]:
    return [name for name, value in names.items() if isinstance(value, Experiment)]


def _checked(found: object, code: UserCode) -> Experiment[Any, Any]:
    wanted = f"{SETTING}: expected {code} to be an Experiment"
    if not isinstance(found, Experiment):
        raise ValueError(f"{wanted}, got {type(found).__name__}")
    settings = found.settings
    if not (isinstance(settings, type) and issubclass(settings, runtime.Options)):
        raise ValueError(f"{wanted} whose settings are a subclass of Options, got {settings!r}")
    get_type_hints(settings)  # which the command line is made from
    try:
        settings()
    except TypeError as error:
        raise ValueError(f"{wanted} whose settings all have defaults: {error}") from None
    return replace(found, name=str(code), own=code)


def close() -> None:
    """Forget the experiments that were found, their modules and their folders."""
    _found.clear()
    _imported.close()


def in_words(error: BaseException, preparing: bool = False) -> str | None:
    """Return the sentence on an error of the code of an experiment in a file, with its line.

    None if it is of other code, or its text is all there is to say: that of errors of this program
    on settings and files, and of a `raise` of the user's own in `prepare`.
    """
    if not _found or isinstance(error, runtime.FailedError):
        return None
    code = [*_found][-1]
    if isinstance(error, ValueError | OSError) and source.arose_in(error, code.ours):
        return None
    frames = traceback.extract_tb(error.__traceback__)
    if preparing and frames and (frames[-1].line or "").startswith("raise "):
        return None
    return source.in_words(error, code)


def changed(experiment: Experiment[Any, Any], says: dict[str, Any]) -> str:
    """Return a sentence if the file of a run's experiment has changed since; else nothing."""
    code = experiment.own
    if code is None or says["what"].get("experiment_sha256") == code.checksum:
        return ""
    return f"{code.path.name} has changed since this run."
