"""PyTorch: which modules are cuts, as they are named or found among the lists of a module.

    blocks = ModuleList([Block, Block])                    a layer each
    blocks = ModuleList([ModuleList([Attention, MLP])])    an item each, whose modules are looked at

A list that is never called itself says nothing of what it returns: of such an item the modules
that everything passes through are layers, or if there are none, those with a product.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, NamedTuple

from .tensors import is_a, of_torch
from .types import Cuts, Module

NAMED = 8  # modules, at most, that an error message lists
LISTS = ("ModuleList", "ModuleDict", "Sequential")
COMPILED = "_orig_mod"  # the name that torch.compile puts between
PARALLEL = ("DistributedDataParallel", "DataParallel")  # each holds one module, as `module`


class Blocks(NamedTuple):
    """The modules of a list, which may be the cuts."""

    name: str  # of the list
    blocks: dict[str, Any]
    kind: Any  # what most of them have in common
    equal: int  # the number of those that have
    is_list: bool  # one of torch's, and not a module with equal children

    @property
    def items(self) -> dict[str, str]:
        """The item of the list that each block is, or lies in."""
        depth = self.name.count(".") + 2 if self.name else 1
        return {block: ".".join(block.split(".")[:depth]) for block in self.blocks}

    @property
    def are_leaves(self) -> bool:
        """True if no block contains modules."""
        return all(not list(block.children()) for block in self.blocks.values())

    def is_apart(self, names: Iterable[str]) -> bool:
        """Tell whether no block is one of these modules, holds one or lies in one."""
        return are_apart(self.blocks, names)

    def is_beside(self, names: Iterable[str]) -> bool:
        """Tell whether a list of lists holds this one and one with these modules."""
        holder, _, last = self.name.rpartition(".")
        depth = self.name.count(".") + 1
        return last.isdigit() and any(
            name.count(".") >= depth and name.split(".")[: depth - 1] == holder.split(".")
            for name in names
        )


class CutOptions(NamedTuple):
    """Candidates for the layers of a module."""

    lists: list[Blocks]  # of blocks, in the order in which they are tried
    around: dict[str, Any]  # modules with parameters that lie in no block, from outside in, by name
    children: dict[str, Any]  # of the module itself that have parameters

    @property
    def modules(self) -> dict[str, Any]:
        """All of them by name."""
        blocks = {name: m for option in self.lists for name, m in option.blocks.items()}
        return {**blocks, **self.around, **self.children}


class Modules(dict[str, Any]):
    """Modules by name."""

    @cached_property
    def children(self) -> dict[str, dict[str, Any]]:
        """For each name, the modules directly below it, by their own names."""
        below: dict[str, dict[str, Any]] = {name: {} for name in self}
        for name, m in self.items():
            if name:
                below.setdefault(name.rpartition(".")[0], {})[name] = m
        return below


def lies_in(name: str, other: str) -> bool:
    """Tell whether a module is another one or lies in it."""
    return f"{name}.".startswith(f"{other}.")


def are_apart(names: Iterable[str], others: Iterable[str]) -> bool:
    """Tell whether no module is one of the others, holds one or lies in one."""
    return not any(map(touching(others), names))


def touching(others: Iterable[str]) -> Callable[[str], bool]:
    """Return what tells whether a module is one of the others, holds one or lies in one."""
    inside = {*others}
    holders = {holder for other in inside for holder in holders_of(other)}
    return lambda name: name in holders or not inside.isdisjoint(holders_of(name))


def holders_of(name: str) -> list[str]:
    """Return the names of a module and of all that it lies in, but for the whole."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)]


def named_cuts(module: Module, cuts: Cuts) -> tuple[dict[str, Any], bool]:
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
        name = plain_name(cut) if isinstance(cut, str) else names.get(id(unwrapped(cut)))
        found = [] if name is None or name not in known else [name]
        if name is not None and not found:
            found = [path for path in known if path and _matches(path, name)]
            is_pattern = True
        if not found:
            got = repr(cut) if isinstance(cut, str) else f"a {type(cut).__name__}"
            raise ValueError(
                f"cuts: expected modules of {type(module).__name__}, or their names, such as "
                f"{listed(known)}, or patterns, such as 'layers.*', got {got}"
            )
        for path in found:
            chosen |= _called(path, known)
    return {name or type(module).__name__: cut for name, cut in chosen.items()}, is_pattern


def modules_of(module: Module) -> Modules:
    """Return all modules by name, without what compilation puts into it."""
    return Modules((plain_name(name), unwrapped(m)) for name, m in module.named_modules())


def parameters_of(module: Module) -> dict[str, Any]:
    """Return all parameters by name, as `modules_of` has modules."""
    return {plain_name(name): p for name, p in unwrapped(module).named_parameters()}


def unwrapped(module: Module) -> Any:
    """Return a module without what compiles it, or spreads it over devices."""
    while True:
        if COMPILED in getattr(module, "_modules", ()):
            module = getattr(module, COMPILED)
        elif any(is_a(module, kind) for kind in PARALLEL):
            module = module.module
        else:
            return module


def options_in(module: Module) -> CutOptions:
    """Return what may be the layers of a module.

    Lists come first, those with the most equal blocks before others, then modules that contain
    equal ones alone, outside of these blocks. Blocks are equal within a list, and if they contain
    modules, in all lists together: so stages come after their blocks. Of a Sequential, children
    without a product, such as activations and norms, join the next one that has one.
    """
    known = modules_of(module)
    lists, families = list[Blocks](), list[Blocks]()
    for name, m in known.items():
        if any(is_a(m, kind) for kind in LISTS):
            lists += _alike(name, _of_list(name, known), is_list=True)
        else:
            families += _alike(name, _family(name, known), is_list=False)
    blocks = _blocks_of(lists)
    families = [f for f in families if not any(lies_in(f.name, block) for block in blocks)]
    options = [*_most_equal_first(lists), *_most_equal_first(families)]
    return CutOptions(options, _around(_blocks_of(options), known), _only_children(known))


def _alike(name: str, blocks: dict[str, Any], is_list: bool) -> Iterator[Blocks]:
    """Yield modules as a list, unless there are none."""
    if blocks:
        kinds = [_kind(block) for block in blocks.values()]
        most = max(kinds, key=kinds.count)
        yield Blocks(name, blocks, most, kinds.count(most), is_list)


def _blocks_of(lists: Iterable[Blocks]) -> set[str]:
    """Return the blocks of lists that contain modules."""
    return {name for option in lists if not option.are_leaves for name in option.blocks}


def _most_equal_first(lists: list[Blocks]) -> list[Blocks]:
    total = Counter[tuple[Any, str]]()

    def group(option: Blocks) -> tuple[Any, str]:
        return option.kind, option.name if option.are_leaves else ""

    for option in lists:
        total[group(option)] += option.equal

    def place(option: Blocks) -> tuple[int, ...]:
        depth = option.name.count(".") + bool(option.name)
        return -total[group(option)], option.are_leaves, -option.equal, depth

    return sorted(lists, key=place)


def _family(name: str, known: Modules) -> dict[str, Any]:
    """Return the children of a module that are its stages or blocks: two or more of one class."""
    children = {child: m for child, m in known.children[name].items() if _trained(m)}
    kinds = {type(m) for m in children.values()}
    are_blocks = len(children) > 1 and len(kinds) == 1 and not any(map(of_torch, kinds))
    return children if are_blocks else {}


def _around(blocks: set[str], known: Modules) -> dict[str, Any]:
    """Return the modules with parameters that lie in none of these blocks, from outside in."""
    found: dict[str, Any] = {}
    waiting = [""]
    while waiting:
        for name, m in known.children[waiting.pop()].items():
            if not _trained(m):
                continue
            if not is_never_called(m):
                found[name] = m
            if name not in blocks and any(lies_in(block, name) for block in blocks):
                waiting.append(name)
    return found


def listed(names: Iterable[str]) -> str:
    """Return names in words, the first of them if they are many."""
    names = [name for name in names if name]
    return ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "") or "no modules in it"


def plain_name(name: str) -> str:
    """Return a name without what compilation puts into it."""
    if COMPILED not in name:
        return name
    return ".".join(part for part in name.split(".") if part != COMPILED)


def _matches(name: str, pattern: str) -> bool:
    """Tell whether a name has the pattern, whose * stands for what has no dot."""
    parts, patterns = name.split("."), pattern.split(".")
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))


def _called(name: str, known: Modules) -> dict[str, Any]:
    """Return a module, or what is in it if it is a list, which is never called itself."""
    if not is_never_called(known[name]):
        return {name: known[name]}
    inside: dict[str, Any] = {}
    for child in known.children[name]:
        inside |= _called(child, known)
    return inside


def is_never_called(module: Module) -> bool:
    """Tell lists, but for a subclass with a forward of its own."""
    is_list = is_a(module, "ModuleList") or is_a(module, "ModuleDict")
    return is_list and not any(
        "forward" in vars(c) for c in type(module).__mro__ if not of_torch(c)
    )


def _of_list(name: str, known: Modules) -> dict[str, Any]:
    """Return the blocks of a list; none of a dict of modules that are unlike each other."""
    children = known.children[name]
    if not is_a(known[name], "Sequential"):
        if len(children) > 1 and all(map(is_never_called, children.values())):
            return _called(name, known)
        kinds = {_kind(child) for child in children.values()}
        is_loose = is_a(known[name], "ModuleDict") and is_never_called(known[name])
        return {} if is_loose and len(kinds) > 1 else children
    trained = [path for path, m in children.items() if _trained(m)]
    products = [path for path in trained if any(p.ndim > 1 for p in children[path].parameters())]
    trained, every = products or trained, list(children)
    trailing = every[every.index(trained[-1]) + 1 :] if trained else every
    return {path: children[path] for path in trained + (trailing if not name else [])}


def _only_children(known: Modules) -> dict[str, Any]:
    """Return the children with parameters of a module, or of the only one that it wraps."""
    name = ""
    while True:
        children = {k: m for k, m in known.children[name].items() if _trained(m)}
        if len(children) != 1 or not known.children[next(iter(children))]:
            return children
        (name,) = children


def _trained(module: Module) -> bool:
    return next(module.parameters(), None) is not None


def _kind(module: Module) -> Any:
    """Return what equal blocks have in common: the class, of torch's containers what is inside."""
    if of_torch(type(module)) and is_a(module, "Sequential"):
        return tuple(_kind(child) for child in module.children())
    return type(module)
