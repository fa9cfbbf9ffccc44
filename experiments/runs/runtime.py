"""The ground that experiments run on: common options, devices, processes, versions."""

import contextlib
import dataclasses
import inspect
import math
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import tyro

import jaxnn
from experiments.runs import grid
from jaxnn.arrays.memory import cores
from jaxnn.cli import platforms
from jaxnn.cli.kept_programs import keep_programs

PACKAGES = (
    *("jax", "jaxlib", "optax", "safetensors", "skops", "numpy", "polars"),
    *("altair", "scikit-learn"),
)
FRAMEWORKS = ("torch", "equinox", "flax", "haiku", "keras")  # of a user's own networks

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(help_behavior_hint="")]
called = partial(tyro.conf.arg, help_behavior_hint="")  # an option that is None by default
Names = Annotated[tuple[str, ...], called()]  # an option that is empty by default
HOW = {"what": False}  # of options that do not change what is measured


class FailedError(Exception):
    """A result is not as it should be; all that was measured is in the folder."""


@dataclass(frozen=True)
class Options:
    """The folder of the results, and how the run is made."""

    out: Path = field(default=Path("runs"), metadata=HOW)
    """The folder for the results. The same command again goes on with a run that was stopped."""
    overwrite: Flag = field(default=False, metadata=HOW)
    """Replace a run that the folder already holds."""
    config: Annotated[Path | None, called(metavar="FILE.toml")] = field(default=None, metadata=HOW)
    """A TOML file with settings, by their names; what the command line says counts more."""
    dry_run: Flag = field(default=False, metadata=HOW)
    """Print what would be measured, as a config file, and what it would cost."""
    quiet: Flag = field(default=False, metadata=HOW)
    """No progress."""
    no_cache: Flag = field(default=False, metadata=HOW)
    """Compile anew, instead of storing compiled programs in the user's cache folder."""


def parsed(default: Any, prog: str, args: Sequence[str], question: str = "") -> Any:
    """Return settings like the default ones with what a command line says.

    Its help begins with the question and the fields of the class itself. Each base is a group below
    them, called as its class is: `DataOptions` is "data", and `Options` "output".
    """
    settings, values = type(default), vars(default)
    hidden = tyro.conf.Suppress, tyro.conf.Fixed
    parts: list[tuple[str, Any, None]] = []
    groups = {}
    for base in filter(dataclasses.is_dataclass, settings.__bases__):
        types = {each.name: each.type for each in dataclasses.fields(base)}
        group = base.__name__.removesuffix("Options").lower() or "output"
        groups[f"{group}_options"] = base(**{name: values[name] for name in types})
        parts += [(name, Annotated[kind, *hidden], None) for name, kind in types.items()]
        parts += [(f"{group}_options", Annotated[base, tyro.conf.arg(name=group)], None)]
    about = {"__doc__": f"{question}\n\n{inspect.cleandoc(settings.__doc__ or '')}".strip()}
    grouped = dataclasses.make_dataclass(
        settings.__name__, parts, bases=(settings,), namespace=about, frozen=True
    )
    flat = (tyro.conf.OmitArgPrefixes,)
    got = tyro.cli(grouped, prog=prog, default=grouped(**values, **groups), args=args, config=flat)
    chosen = dict(vars(got))
    for name in groups:
        chosen |= vars(chosen.pop(name))
    return settings(**chosen)


def start(options: Options) -> None:
    """Set JAX up, before anything is computed."""
    if jax.config.jax_disable_jit:
        raise ValueError("JAX_DISABLE_JIT: experiments compile their programs ahead; unset it")
    if not options.no_cache:
        keep_programs()
    _use_every_core()
    platforms.devices()


def _use_every_core() -> None:
    """Make a CPU device of each core: on two cores seeds side by side take half the time."""
    # If JAX runs already, as in a notebook or a test, its devices are fixed.
    with contextlib.suppress(RuntimeError):
        if "JAX_NUM_CPU_DEVICES" not in os.environ:
            jax.config.update("jax_num_cpu_devices", cores())  # type: ignore[no-untyped-call]


def check(settings: Any, several: Sequence[str] = ()) -> None:
    """Check that `several` have values, and the range of every number of settings with a `seed`.

    A whole number is at least 1, or the `least` of its field's metadata.
    """
    for name in several:
        if not getattr(settings, name):
            raise ValueError(f"{name}: expected at least one, got none")
    for each in dataclasses.fields(settings):
        value = getattr(settings, each.name)
        values = value if isinstance(value, tuple) else (value,)
        whole = [v for v in values if isinstance(v, int) and not isinstance(v, bool)]
        if each.name != "seed":
            grid.check_whole(each.name, whole, each.metadata.get("least", 1))
        if each.metadata.get("what", True):
            check_range(each.name, [v for v in values if isinstance(v, float)])
    if not 0 <= settings.seed < 2**31:
        raise ValueError(f"seed: expected an integer from 0 to 2^31 - 1, got {settings.seed}")
    if settings.seed + getattr(settings, "seeds", 1) > 2**31:
        raise ValueError(
            f"seeds: expected the last one below 2^31, got {settings.seeds} from {settings.seed}"
        )


def check_known(name: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Check that names are among those that are known."""
    listed = dict.fromkeys(known)
    for value in given:
        if value not in listed:
            raise ValueError(f"{name}: there is no {value!r}; choose one of {', '.join(listed)}")


def seeds_of(settings: Any) -> tuple[int, ...]:
    """Return the seeds of settings with a first one, `seed`, and their number, `seeds`."""
    return tuple(range(settings.seed, settings.seed + settings.seeds))


def check_only(settings: Any, names: Iterable[str], sentence: str) -> None:
    """Check that no other setting than these has another value than by default."""
    applying = {*names}
    others = [
        each.name
        for each in dataclasses.fields(settings)
        if each.name not in applying and getattr(settings, each.name) != each.default
    ]
    if others:
        raise ValueError(f"{', '.join(others)}: {sentence}")


def check_range(name: str, values: Iterable[float], dtype: str | None = None) -> None:
    """Check that a dtype holds finite numbers, by default the one that experiments compute in."""
    dtype = dtype or dtype_name()
    most = float(jax.numpy.finfo(dtype).max)  # type: ignore[no-untyped-call]
    for value in values:
        if most < abs(value) < math.inf:
            raise ValueError(
                f"{name}: expected numbers that {dtype} holds, up to {most:.3g}, got {value:g}"
            )


def provenance(started: datetime, **more: object) -> dict[str, Any]:
    """Return `more` and the machine and time of a run, as entries of run.json."""
    return {
        **more,
        "versions": versions(),
        "devices": devices(),
        "started": started.isoformat(timespec="seconds"),
        "seconds": round((datetime.now(UTC) - started).total_seconds(), 1),
    }


def versions() -> dict[str, str]:
    """Return the version of Python and of each package that a result may depend on."""
    numbers = {"python": platform.python_version(), "jaxnn": jaxnn.__version__}
    for package in PACKAGES:
        try:
            numbers[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # a checkout that was never installed
            numbers[package] = "not installed"
    return numbers


def frameworks() -> dict[str, list[str]]:
    """Return the versions of the frameworks that the user's code has imported, if any."""
    loaded = [(name, sys.modules[name]) for name in FRAMEWORKS if name in sys.modules]
    found = [f"{name} {getattr(module, '__version__', '?')}" for name, module in loaded]
    return {"frameworks": found} if found else {}


def devices() -> list[str]:
    """Return the devices that JAX computes on, such as 'cpu: cpu'."""
    return [f"{device.platform}: {device.device_kind}" for device in jax.devices()]


def dtype_name() -> str:
    """Return the floating dtype that experiments compute in: JAX's default."""
    return str(jax.numpy.result_type(float))


def log10_range(dtype: str) -> tuple[float, float]:
    """Return the range of a dtype: log₁₀ of its smallest normal and of its largest number."""
    info = jax.numpy.finfo(dtype)  # type: ignore[no-untyped-call]
    return float(np.log10(float(info.tiny))), float(np.log10(float(info.max)))
