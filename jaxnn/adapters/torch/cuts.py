"""PyTorch: which modules are cuts, as they are named or found among the lists of a module."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from .tensors import is_a, of_torch

NAMED = 8  # modules, at most, that an error message lists
LISTS = ("ModuleList", "Sequential")
COMPILED = "_orig_mod"  # the name that torch.compile puts between


class Blocks(NamedTuple):
    """The modules of a list, which may be the cuts.

    blocks: by name.
    kind: what most of them have in common; None of a module's children that are in no list.
    equal: the number of those that have.
    """

    blocks: dict[str, Any]
    kind: Any
    equal: int

    @property
    def are_leaves(self) -> bool:
        """True if no block contains modules."""
        return all(not list(block.children()) for block in self.blocks.values())

    def is_apart(self, names: Iterable[str]) -> bool:
        """Tell whether no block is one of these modules, holds one or lies in one."""
        return not any(
            a == b or a.startswith(f"{b}.") or b.startswith(f"{a}.")
            for a in self.blocks
            for b in names
        )


def named_cuts(module: Any, cuts: Any) -> tuple[dict[str, Any], bool]:
    """Return the cuts by name, and whether a pattern has chosen them.

    Raises:
        ValueError: none, or an unknown one.
    """
    known = modules_of(module)
    names = {id(m): name for name, m in known.items()}
    cuts = [cuts] if isinstance(cuts, str) or not isinstance(cuts, Iterable) else [*cuts]
    if not cuts:
        raise ValueError("cuts: expected at least one module, got none")
    chosen: dict[str, Any] = {}
    is_pattern = False
    for cut in cuts:
        name = _plain(cut) if isinstance(cut, str) else names.get(id(_opened(cut)))
        found = [] if name is None or name not in known else [name]
        if name is not None and not found:
            found = [each for each in known if each and _matches(each, name)]
            is_pattern = True
        if not found:
            got = repr(cut) if isinstance(cut, str) else f"a {type(cut).__name__}"
            raise ValueError(
                f"cuts: expected modules of {type(module).__name__}, or their names, such as "
                f"{listed(known)}, or patterns, such as 'layers.*', got {got}"
            )
        for each in found:
            chosen |= _called(each, known)
    return {name or type(module).__name__: cut for name, cut in chosen.items()}, is_pattern


def modules_of(module: Any) -> dict[str, Any]:
    """Return all modules by name, without what compilation puts into it."""
    return {_plain(name): _opened(m) for name, m in module.named_modules()}


def lists_in(module: Any) -> list[Blocks]:
    """Return the lists of blocks in a module, that with the most equal ones first.

    Of a Sequential, children without parameters, such as activations, join the next one that has
    some. Last come the children of the module itself, in the order of their definition.
    """
    known = modules_of(module)
    found = []
    for name, m in known.items():
        if any(is_a(m, kind) for kind in LISTS) and (blocks := _of_list(name, known)):
            kinds = [_kind(block) for block in blocks.values()]
            most = max(kinds, key=kinds.count)
            found.append((Blocks(blocks, most, kinds.count(most)), name.count(".") + bool(name)))
    found.sort(key=lambda each: (-each[0].equal, each[1]))
    rest = _only_children(module, known)
    return [blocks for blocks, _ in found] + ([Blocks(rest, None, 0)] if rest else [])


def listed(names: Iterable[str]) -> str:
    """Return names in words, the first of them if they are many."""
    names = [name for name in names if name]
    return ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "") or "no modules in it"


def _plain(name: str) -> str:
    return ".".join(part for part in name.split(".") if part != COMPILED)


def _opened(module: Any) -> Any:
    return getattr(module, COMPILED, module)


def _matches(name: str, pattern: str) -> bool:
    """Tell whether a name has the pattern, whose * stands for what has no dot."""
    parts, patterns = name.split("."), pattern.split(".")
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))


def _called(name: str, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return a module, or its children if it is a list, which is never called itself."""
    is_list = is_a(known[name], "ModuleList") or is_a(known[name], "ModuleDict")
    return _children(name, known) if is_list and not _runs(known[name]) else {name: known[name]}


def _runs(module: Any) -> bool:
    """Tell whether a subclass of a list has a forward of its own."""
    return any("forward" in vars(c) for c in type(module).__mro__ if not of_torch(c))


def _children(name: str, known: Mapping[str, Any]) -> dict[str, Any]:
    before = f"{name}." if name else ""
    return {
        each: m
        for each, m in known.items()
        if each and each.startswith(before) and "." not in each[len(before) :]
    }


def _of_list(name: str, known: Mapping[str, Any]) -> dict[str, Any]:
    children = _children(name, known)
    if not is_a(known[name], "Sequential"):
        return children
    trained = [each for each, m in children.items() if _trained(m)]
    every = list(children)
    trailing = every[every.index(trained[-1]) + 1 :] if trained else every
    return {each: children[each] for each in trained + (trailing if not name else [])}


def _only_children(module: Any, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the children with parameters of a module, or of the only one that it wraps."""
    name = ""
    while True:
        children = {k: m for k, m in _children(name, known).items() if _trained(m)}
        if len(children) != 1 or not _children(next(iter(children)), known):
            return children
        (name,) = children


def _trained(module: Any) -> bool:
    return next(module.parameters(), None) is not None


def _kind(module: Any) -> Any:
    """Return what equal blocks have in common: the class, of torch's containers what is inside."""
    if of_torch(type(module)) and is_a(module, "Sequential"):
        return tuple(_kind(child) for child in module.children())
    return type(module)
