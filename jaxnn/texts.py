"""A user's texts where they are shown: in a terminal, a picture or a page.

A terminal obeys some characters, XML has no place for some, and the engine that draws charts ends
its process over them; UTF-8 cannot hold half of a pair, and some turn the text or begin a line.
All these are shown as �.
"""

import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

T = TypeVar("T")

HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # controls, formats, halves of pairs, ends of lines
MOST_TOLD = 80  # characters of a value in an error message
MOST_OF_ERROR = 300  # characters of a message of another error
SHORT = 5  # characters of a text that no chart cuts
PLACE = re.compile(r"\d+(\.\d+)*")  # in a list, or in lists of lists
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
JOINERS = "\u200c\u200d"  # formats that Persian, Hindi and emoji are written with


def clean(text: str) -> str:
    r"""Return a text on one line, with � for each character that cannot be shown.

    Example:
        >>> clean("c\x1b[31mv"), clean("naïve, 東京　大阪, −½ ‖Δ‖")
        ('c�[31mv', 'naïve, 東京\u3000大阪, −½ ‖Δ‖')
    """
    if text.isprintable():
        return text
    return "".join(c if _shows(c) else "�" for c in text)


def counted(count: int, noun: str) -> str:
    """Return a count with its noun in the right number.

    Example:
        >>> counted(1, "row"), counted(2, "epoch"), counted(3, "class"), counted(0, "entry")
        ('1 row', '2 epochs', '3 classes', '0 entries')
    """
    if count == 1:
        return f"1 {noun}"
    if noun.endswith(("s", "x", "ch", "sh")) and not noun.endswith("och"):
        return f"{count} {noun}es"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{count} {noun[:-1]}ies"
    return f"{count} {noun}s"


def listed(texts: Iterable[str]) -> str:
    """Return texts as a list in a sentence.

    Example:
        >>> listed(["a"]), listed(["a", "b", "c"])
        ('a', 'a, b and c')
    """
    *first, last = texts
    return f"{', '.join(first)} and {last}" if first else last


def percent(share: float) -> str:
    """Return a share in per cent, rounded; 0 % is none of it, and 100 % is all.

    Example:
        >>> percent(0.0123), percent(2.8), percent(0.00041), percent(1.0)
        ('1.2 %', '280 %', '0.041 %', '100 %')
        >>> percent(0.999), percent(0.99999), percent(1e-9), percent(0.0)
        ('99.9 %', 'over 99.9 %', 'under 0.001 %', '0 %')
    """
    if share >= 1:
        return f"{100 * share:.0f} %"
    if share >= 0.9995:
        return "over 99.9 %"
    if 0 < share < 1e-5:
        return "under 0.001 %"
    return f"{100 * share:.{3 if share > 0.99 else 2}g} %"


def power_of_ten(log10: float) -> str:
    """Return a power of ten as people write it, rounded to a whole one.

    Example:
        >>> power_of_ten(-647.3), power_of_ten(float("-inf"))
        ('10⁻⁶⁴⁷', '0')
    """
    if log10 == -math.inf:
        return "0"
    return "10" + f"{log10:.0f}".translate(SUPERSCRIPTS)


def told(value: object) -> str:
    """Return what was given in an error message: on one line, an array by its type and shape.

    Example:
        >>> import numpy as np
        >>> told("x"), told(np.ones((2, 2))), len(told([1.5] * 100))
        ("'x'", 'an array of float64 of shape (2, 2)', 80)
    """
    dtype, shape = getattr(value, "dtype", None), getattr(value, "shape", ())
    if dtype is not None and isinstance(shape, tuple) and shape:
        return f"an array of {dtype} of shape {shape}"
    text = clean(" ".join(repr(value).split()))
    return text if len(text) <= MOST_TOLD else f"{text[: MOST_TOLD - 1]}…"


def in_words(error: BaseException) -> str:
    """Return an error on one line, its beginning if it is long."""
    text = clean(" ".join(str(error).split()))
    text = text if len(text) <= MOST_OF_ERROR else f"{text[: MOST_OF_ERROR - 1]}…"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def clean_lines(text: str) -> str:
    """Return a text whose lines are clean."""
    return "\n".join(map(clean, text.split("\n")))


def head_and_rest(sentence: str) -> tuple[str, str]:
    """Return a sentence up to its first comma, colon or end, and the rest of it.

    Example:
        >>> head_and_rest("Vanishing, -0.6 decades a layer.")
        ('Vanishing', ', -0.6 decades a layer.')
    """
    end = re.search(r"[,:;.](?=\s|$)", sentence)
    at = end.start() if end else len(sentence)
    return sentence[:at], sentence[at:]


def labels(names: Sequence[str]) -> list[str]:
    """Return the layers of a network in words: by their names, or numbered from 1.

    Example:
        >>> labels(["stem", "blocks.0", "7", "8.1"])
        ['stem', 'blocks.0', '[7]', '[8][1]']
        >>> labels(["relu", "relu", "", "head"])
        ['1 (relu)', '2 (relu)', '3', '4 (head)']
    """
    # A place in a list stands in brackets, so that nobody takes it for a number.
    if are_own(names):
        return [re.sub(r"\.?(\d+)", r"[\1]", v) if PLACE.fullmatch(v) else v for v in names]
    return [f"{number} ({name})" if name else str(number) for number, name in enumerate(names, 1)]


def are_own(names: Sequence[str]) -> bool:
    """Return true if each layer has a name that no other one has."""
    return len(set(names)) == len(names) and not {"", "<lambda>"} & set(names)


def label(layer: int, names: Sequence[str]) -> str:
    """Return a layer, counted from 1, in words; one above all names is a head of PyTorch."""
    return labels(names)[layer - 1] if layer <= len(names) else f"{layer} (above the last cut)"


def stretch_in_words(first: int, last: int, names: Sequence[str]) -> str:
    """Return the layers from one to another, counted from 1, in words.

    Example:
        >>> stretch_in_words(1, 2, ["stem", "0", "1"]), stretch_in_words(2, 2, ["relu", "relu"])
        ('layers stem to [0]', 'layer 2 (relu)')
        >>> stretch_in_words(1, 2, ["relu", "relu", "head", "head"])
        'layers 1 to 2'
    """
    if first == last:
        return clean(f"layer {label(first, names)}")
    ends = [label(n, names) for n in (first, last)] if are_own(names) else [first, last]
    return clean(f"layers {ends[0]} to {ends[1]}")


def _shows(character: str) -> bool:
    code = ord(character)
    no_character = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF  # as Unicode defines
    hidden = unicodedata.category(character) in HIDDEN and character not in JOINERS
    return not (hidden or no_character)


def drawable(value: T) -> T:
    """Return a specification of Vega-Lite, or a part, like `cleaned`, for the engine of charts.

    Example:
        >>> drawable(["👍", "👍 or more"])
        ['👍', '� or more']
    """
    # Vega cuts a label that is too wide between two halves of a pair, too, and the engine then
    # draws nothing: so characters that take a pair are shown in short texts alone.
    return cleaned(value, _without_pairs)


def _without_pairs(text: str) -> str:
    text = clean(text)
    if len(text) <= SHORT or text.isascii():
        return text
    return "".join(c if ord(c) < 0x10000 else "�" for c in text)


def cleaned(value: T, clean: Callable[[str], str] = clean) -> T:
    r"""Return a value with every text in it clean, and texts that differ still different.

    Example:
        >>> cleaned({"names": ["c\x1b", "c\x07", "c�", "d"]})
        {'names': ['c� (3)', 'c� (2)', 'c�', 'd']}
    """
    texts: set[str] = set()
    _collect(value, texts)
    # In order, so that a picture, its page and its table give a text the same name.
    changed = sorted(text for text in texts if clean(text) != text)
    if not changed:
        return value
    names: dict[str, str] = {}
    for text in changed:
        name, count = clean(text), 1
        while name in texts:
            count += 1
            name = f"{clean(text)} ({count})"
        names[text] = name
        texts.add(name)
    renamed: T = _renamed(value, names)
    return renamed


def _collect(value: Any, texts: set[str]) -> None:
    if type(value) is str:  # a text of a class of its own is markup
        texts.add(value)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            _collect(key, texts)
            _collect(inner, texts)
    elif isinstance(value, list | tuple):
        for inner in value:
            _collect(inner, texts)


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    if type(value) is str:
        return names.get(value, value)
    if isinstance(value, Mapping):
        return {_renamed(k, names): _renamed(v, names) for k, v in value.items()}
    if isinstance(value, list | tuple):
        parts = [_renamed(inner, names) for inner in value]
        if hasattr(value, "_make"):  # a named tuple
            return value._make(parts)
        return type(value)(parts)
    return value
