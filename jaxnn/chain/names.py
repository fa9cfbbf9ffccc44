"""Names of layers that are cut out of a function: where their weights are in the user's pytree.

    ['params']['blocks_2']['Dense_0']['kernel']   ->  params, blocks_2, Dense_0, kernel
    of one layer what all its weights have in common, without "params":  blocks_2.Dense_0

Where a path has no word, modules that JAX knows of are a better name, and `[19]` is the next; a
layer without weights is named after the file and line of what it computes.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

PART = re.compile(r"\['(.*?)'\]|\.(\w+)|(\[.*?\])")
PLACES = re.compile(r"(\[.*?\])+")
HIDDEN = ("value", "raw_value")  # parts that Flax adds to the path of each array

Parts = tuple[str, ...]


def parts_of(path: str) -> Parts:
    """Return the parts of a path as `jax.tree_util.keystr` prints it; an index is `[2]`."""
    parts = tuple("".join(groups) for groups in PART.findall(path))
    if parts and parts[-1] in HIDDEN:
        parts = parts[:-1]
    return parts[1:] if parts[:1] == ("params",) and len(parts) > 1 else parts


def name_of_weights(weights: Sequence[Parts]) -> str:
    """Return the name of what holds weights; "" if they share nothing.

    Example:
        >>> name_of_weights([("blocks", "[2]", "w")]), name_of_weights([("[19]", "[0]")])
        ('blocks[2]', '[19][0]')
    """
    shared = common(weights)
    if not any(map(_is_word, shared)):
        shared = weights[-1] if weights else ()
    if shared and shared in weights and _is_word(shared[-1]) and any(map(_is_word, shared[:-1])):
        shared = shared[:-1]
    return joined(shared)


def is_place(name: str) -> bool:
    """Return true for the name of weights whose path has no word, as of an array in a list."""
    return PLACES.fullmatch(name) is not None


def common(sequences: Sequence[Parts]) -> Parts:
    """Return what sequences begin with in common."""
    equal = [len(set(parts)) == 1 for parts in zip(*sequences, strict=False)]
    return sequences[0][: [*equal, False].index(False)] if sequences else ()


def joined(parts: Iterable[str]) -> str:
    """Return parts as one name."""
    return "".join(f".{part}" if _is_word(part) else part for part in parts).removeprefix(".")


def numbered(names: Sequence[str]) -> list[str]:
    """Return names, each once: those that several layers have with a number behind."""
    counts, seen = Counter(names), Counter[str]()
    unique = []
    for name in names:
        seen[name] += 1
        unique.append(name if counts[name] == 1 else f"{name}#{seen[name]}")
    return unique


def module_in(weights: Sequence[Parts], patterns: Sequence[str]) -> Parts | None:
    """Return the module that weights are in, of those that patterns name; None if of none."""
    shared = common(weights)
    # A pattern is a name, or has `*` for a part of it: `encoderblock_*`, `blocks[*].mlp`, and with
    # points `blocks.*.mlp` too.
    for pattern in patterns:
        wanted = [part.strip("[]") for part in re.split(r"\.|(?=\[)", pattern) if part]
        head = shared[: len(wanted)]
        if len(head) == len(wanted) and all(
            fnmatchcase(part.strip("[]"), one) for part, one in zip(head, wanted, strict=True)
        ):
            return head
    return None


def _is_word(part: str) -> bool:
    return not part.startswith("[")
