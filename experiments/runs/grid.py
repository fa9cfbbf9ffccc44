"""Grids: the values of a sweep, as a user writes them on the command line or in a TOML file.

A number stands for itself, `start:stop:step` for a range with its end, and
`start:stop:*factor` for one that grows by a factor: `1:1024:*2` is 1, 2, 4, …, 1024.
"""

import dataclasses
import math
import tomllib
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, get_args

import tomli_w

# More is a slip of the pen: values of one range, or cells of a grid; and a whole number, such as
# layers, units, examples or epochs.
MOST_VALUES, MOST = 100_000, 1_000_000


def numbers(name: str, texts: Iterable[str]) -> tuple[float, ...]:
    """Return the numbers that texts stand for, each once, in the order written.

    Example:
        >>> numbers("sigma_w", ["1:1.3:0.1", "2"])
        (1.0, 1.1, 1.2, 1.3, 2.0)
    """
    return tuple(dict.fromkeys(v for text in texts for v in _range(name, text)))


def integers(name: str, texts: Iterable[str]) -> tuple[int, ...]:
    """Return the integers, from 1 to MOST, that texts stand for; else like `numbers`.

    Example:
        >>> integers("depths", ["1:8:*2", "10"])
        (1, 2, 4, 8, 10)
    """
    values = numbers(name, texts)
    check_whole(name, values)
    return tuple(int(v) for v in values)


def check_whole(name: str, values: Iterable[float], least: int = 1) -> None:
    """Check that numbers are integers from `least` to MOST."""
    for value in values:
        large = abs(value) >= 1e15
        got = (
            f"{Decimal(value):.1e}" if large else f"{int(value) if value == int(value) else value}"
        )
        if value < least or (not large and value != int(value)):
            wanted = "positive integers" if least == 1 else f"integers from {least}"
            raise ValueError(f"{name}: expected {wanted}, got {got}")
        if value > MOST:
            raise ValueError(f"{name}: expected at most {MOST}, got {got}")


def check_cells(*axes: int) -> None:
    """Check that a grid is not too large, before it is made."""
    if math.prod(axes) > MOST_VALUES:
        raise ValueError(
            f"grid: expected at most {MOST_VALUES} cells, got {math.prod(axes)}; give fewer values"
        )


def _range(name: str, text: str) -> list[float]:
    start, *rest = text.split(":")
    stop, step = rest if len(rest) == 2 else (start, "1")
    grows = step.startswith("*")
    try:
        low, high, by = map(Decimal, (start, stop, step.removeprefix("*")))
    except InvalidOperation:
        low = high = by = Decimal("nan")
    finite = all(v.is_finite() and math.isfinite(float(v)) for v in (low, high, by))
    fits = len(rest) in (0, 2) and finite
    if not fits or high < low or by <= (1 if grows and rest else 0) or (grows and low <= 0):
        raise ValueError(
            f"{name}: expected a number, start:stop:step with step > 0 or start:stop:*factor with "
            f"factor > 1, got {text!r}"
        )
    values = [low]
    end = high + (high if grows else by) * Decimal("1e-9")  # a step such as 0.3333 is rounded
    while rest and (after := values[-1] * by if grows else values[-1] + by) <= end:
        values.append(after)
        if len(values) > MOST_VALUES:
            raise ValueError(f"{name}: expected at most {MOST_VALUES} values, got {text!r}")
    return [float(v) for v in values]


def read_config(path: Path, settings: type) -> dict[str, Any]:
    """Return the settings in a TOML file, by name; a single value is a list of one."""
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OSError(f"config: cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"config: {path} is no TOML file: {error}") from None
    fields = {field.name: field for field in described(settings)}
    values: dict[str, Any] = {}
    for name, value in entries.items():
        if name not in fields:
            raise ValueError(
                f"config: {path} has {name!r}, which is not one of {', '.join(fields)}; where to "
                "write is said on the command line alone"
            )
        values[name] = _value(path, fields[name], value)
    return values


def described(settings: Any) -> list[dataclasses.Field[Any]]:
    """Return the fields that determine what is measured, and so belong into a config file."""
    return [f for f in dataclasses.fields(settings) if f.metadata.get("what", True)]


def _value(path: Path, field: dataclasses.Field[Any], value: Any) -> Any:
    if isinstance(field.default, tuple):
        members = value if isinstance(value, list) else [value]
        if all(isinstance(v, (str, int, float)) and not isinstance(v, bool) for v in members):
            return tuple(str(v) for v in members)
        expected = "a number, a text or a list of them"
    else:
        kind: Any = field.type
        while inner := get_args(kind):  # the float of `Annotated[float | None, …]`
            kind = inner[0]
        if type(value) is kind or (kind is float and type(value) is int):
            return kind(value)
        expected = f"a value of type {kind.__name__}"
    raise ValueError(f"config: {path} has {field.name} = {value!r}; expected {expected}")


def as_dict(settings: Any) -> dict[str, Any]:
    """Return the settings that determine what is measured, by name."""
    return {field.name: getattr(settings, field.name) for field in described(settings)}


def to_toml(settings: Any, applying: Any = None) -> str:
    """Return the settings, those of `applying` alone if given, as the text of a config file."""
    names = as_dict(settings if applying is None else applying)
    given = ((k, v) for k, v in as_dict(settings).items() if k in names)
    values = ((k, list(v) if isinstance(v, tuple) else v) for k, v in given)
    return tomli_w.dumps({k: v for k, v in values if v is not None})
