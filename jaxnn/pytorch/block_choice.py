"""PyTorch: which of a module's lists of blocks are its layers, and which parameters these hold.

list of equal blocks, each of which leads to the next, the largest lists first
  -> with the lists that it goes on in           stages, a decoder
  -> with other such chains beside it            towers
  -> if it is few of the parameters, with the modules around that all passes through
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from .autograd_gates import Survey, survey
from .cuts import (
    Blocks,
    CutOptions,
    are_apart,
    is_never_called,
    lies_in,
    listed,
    modules_of,
    touching,
)
from .hooks import CutState, numbered
from .module_calls import MultiplyAdds
from .tensors import is_a, of_torch
from .types import GradientEdge, Module, Tensor

MOST = 0.5  # of the parameters: layers that hold less are not the network
SIDE = 0.1  # of them: layers that hold less stand beside the network


class Coverage(NamedTuple):
    """Contents of the layers that were found in a module of PyTorch."""

    share: float  # of the parameters, without lookup tables
    products: float  # the share of the multiplications and additions of one pass up
    outside: str  # the module that holds most of the other parameters, by name; "" if none does
    cuts: str  # as `cuts=` takes them, the blocks of a list among the others; "" without any


class Shares:
    """Shares of modules in the parameters of a network, without lookup tables."""

    def __init__(self, module: Module) -> None:
        self.known = modules_of(module)
        tables = [
            m.weight for m in self.known.values() if is_a(m, "Embedding") or is_a(m, "EmbeddingBag")
        ]
        head = max((tuple(p.shape) for p in tables), key=np.prod, default=None)
        without = {id(p) for p in tables}
        self.sizes = {
            id(p): p.numel()
            for p in module.parameters()
            if id(p) not in without and tuple(p.shape) != head
        }

    def of(self, names: Iterable[str]) -> float:
        """Return the share of modules."""
        inside = {id(p) for name in names for p in self.known[name].parameters()}
        total = sum(self.sizes.values())
        return sum(self.sizes.get(path, 0) for path in inside) / total if total else 1.0

    def largest_apart(self, names: Iterable[str]) -> str:
        """Return the module with most parameters that neither holds one of these nor lies in it."""
        touches = touching(names)
        apart = [name for name in self.known if name and not touches(name)]
        return max(apart, key=lambda name: self.of([name]), default="")


class BlockChain(NamedTuple):
    """Blocks that follow each other, and what lies where among them.

    items: the items of lists, or the modules, that these states come from, by modules.
    passed: the share of the states that everything passes through, a tower by itself. A list that
        is never called itself says nothing of what it returns, so skips may lead around its items.
    """

    items: Mapping[str, str]
    states: list[CutState]
    taken: Survey
    passed: float
    coverage: Coverage | None = None

    @property
    def is_in_a_row(self) -> bool:
        """True if each state leads to the one below it without passing another."""
        return all((at, at - 1) in self.taken.links for at in range(2, len(self.states) + 1))

    @property
    def is_stream(self) -> bool:
        """True if everything passes through most states."""
        return self.passed > 1 / 2

    @property
    def layers(self) -> set[str]:
        """The items that states come from."""
        return {self.items[state.cut] for state in self.states}


def reached_states(
    states: list[CutState], top: GradientEdge, bottom: GradientEdge | None, strict: bool
) -> tuple[list[CutState], Survey]:
    """Return the states that the gradient comes to, and what lies where among them."""
    taken = survey(top, states, bottom)
    if strict:
        for state, is_reached in zip(numbered(states), taken.reached, strict=True):
            if not is_reached:
                raise ValueError(
                    f"cut {state.name}: expected the gradient to pass through it, and it does not; "
                    "leave it out of cuts"
                )
    elif not all(taken.reached):
        states = [state for state, at in zip(states, taken.reached, strict=True) if at]
        taken = survey(top, states, bottom)
    return states, taken


def check_batch(state: CutState, x: Tensor) -> None:
    """Check that a state has the examples first."""
    if not _is_batch(state, x):
        raise ValueError(
            f"cut {state.name}: expected an output with the examples first, as in the inputs, "
            f"{tuple(x.shape)}, got shape {state.parts[0].shape}; transformers and recurrent "
            "networks need batch_first=True"
        )


class NoLayersError(ValueError):
    """No layers are found in a module."""


def chain_of_blocks(
    module: Module,
    options: CutOptions,
    states: list[CutState],
    x: Tensor,
    products: MultiplyAdds,
    top: GradientEdge,
    bottom: GradientEdge | None,
) -> BlockChain:
    """Return the blocks that are the layers of a module, of those that it may be cut at.

    If most of them are inside skip connections or branches, another list or the children of the
    module are taken instead where more of them are not, unless one of these holds most of the
    parameters.
    """
    search = _Search(module, options, states, x, top, bottom)
    found = search.best()
    if found is None:
        if search.unfit:
            check_batch(search.unfit[0], x)
        inside = dict(module.named_children())
        out = (
            f"; it has {listed(inside)}"
            if inside
            else ". It holds none: write it of layers that are modules, a recurrent network of "
            "nn.LSTM(…, num_layers=1) one after the other, or of an nn.LSTMCell called in a loop"
        )
        raise NoLayersError(
            f"cuts: expected them for a {type(module).__name__}, in which no list of blocks is "
            f"found that the gradient passes through: modules, or their names{out}"
        )
    return found._replace(coverage=search.coverage(found, products))


class _Search:
    """The lists of a module as chains of blocks."""

    def __init__(
        self,
        module: Module,
        options: CutOptions,
        states: list[CutState],
        x: Tensor,
        top: GradientEdge,
        bottom: GradientEdge | None,
    ) -> None:
        self.shares = Shares(module)
        self.options, self.states, self.x = options, states, x
        self.edges = top, bottom
        self.unfit: list[CutState] = []

    def best(self) -> BlockChain | None:
        """Return the layers; None if no list and no children have states."""
        found: BlockChain | None = None
        tried = set[Any]()
        for option in self.options.lists:
            is_enough = found is not None and self.share(found) >= MOST
            if option.kind in tried or (is_enough and option.equal < 2):
                continue
            chain = self.longest(option)
            if chain is not None:
                tried.add(option.kind)
                found = self.better(self.completed(self.with_towers(chain)), found)
                if self.share(found) >= MOST and found.is_stream:
                    return found
        children = self.chain({name: name for name in self.options.children})
        if children is None and found is None:  # some may make weights of parameters alone
            others = {state.cut for state in self.unfit if not self.is_of_inputs(state)}
            children = self.chain({n: n for n in self.options.children if n not in others})
        return found if children is None else self.better(children, found)

    def is_of_inputs(self, state: CutState) -> bool:
        """Tell a state that depends on the inputs, as far as a gradient shows."""
        states, taken = reached_states([state], *self.edges, strict=False)
        return not states or self.edges[1] is None or (1, 0) in taken.links

    def share(self, chain: BlockChain) -> float:
        return self.shares.of(chain.layers)

    def better(self, chain: BlockChain, found: BlockChain | None) -> BlockChain:
        """Return one of two chains: that with most of the parameters, or on the stream."""
        if found is None:
            return chain
        share, before = self.share(chain), self.share(found)
        around = [{at for at in chain.layers if lies_in(layer, at)} for layer in found.layers]
        # A chain whose blocks, or one of them, hold all the blocks of another is coarser; one with
        # what lies in the blocks of another is finer.
        is_coarse = found.is_stream and all(around) and len(chain.states) < len(found.states)
        if before >= SIDE and (is_coarse or set.intersection(*around)):
            return found
        if before < MOST or share < MOST:
            return chain if share > before else found
        is_finer = any(
            layer != at and lies_in(layer, at) for layer in chain.layers for at in found.layers
        )
        is_around = found.is_stream or is_finer or chain.passed <= found.passed
        return found if is_around else chain

    def longest(self, option: Blocks, taken: Iterable[str] = ()) -> BlockChain | None:
        """Return the chain of a list with those that it goes on in; None if it is none."""
        found = self.chain(option.items)
        if found is None or not found.is_in_a_row:
            return None
        kinds = {option.kind}
        for other in sorted(
            self.options.lists, key=lambda o: (o.kind != option.kind, o.name.count("."))
        ):
            is_further = other.is_list and (other.equal > 1 or other.is_beside(found.items))
            goes_on = other.kind in kinds or is_further
            if goes_on and other.are_leaves == option.are_leaves and other.is_apart(taken):
                longer = self.in_a_row(found, other.items)
                if longer is not None:
                    found = longer
                    kinds.add(other.kind)
        found = self.in_a_row(found, self.kin(found)) or found
        return found if len(found.states) > 1 else None

    def in_a_row(self, found: BlockChain, items: Mapping[str, str]) -> BlockChain | None:
        """Return a chain with more items that it goes on in; None if it does not."""
        if not items or not are_apart(items, found.items):
            return None
        both = self.chain({**found.items, **items})
        is_longer = both is not None and len(both.states) > len(found.states)
        return both if both is not None and is_longer and both.is_in_a_row else None

    def kin(self, found: BlockChain) -> dict[str, str]:
        """Return the modules around a chain of the classes of its blocks, as between stages."""
        known = self.shares.known
        blocks = [known[state.cut] for state in found.states]
        classes = {type(m) for m in blocks if list(m.children()) and not of_torch(type(m))}
        around = self.options.around.items()
        return {
            name: name
            for name, m in around
            if type(m) in classes and are_apart([name], found.items)
        }

    def with_towers(self, found: BlockChain) -> BlockChain:
        """Return a chain with those next to it, such as a tower of texts and of images."""
        are_leaves = self.has_leaves(found)
        for other in self.options.lists:
            is_large = self.shares.of(other.blocks) >= SIDE
            if is_large and other.are_leaves == are_leaves and other.is_apart(found.items):
                tower = self.longest(other, found.items)
                both = self.chain({**found.items, **tower.items}) if tower else None
                # Each is a stream, with a part of the parameters that is no trifle.
                if tower and both and tower.is_stream:
                    sizes = len(found.states), len(tower.states)
                    passed = np.average([found.passed, tower.passed], weights=sizes)
                    found = both._replace(passed=float(passed))
        return found

    def completed(self, found: BlockChain) -> BlockChain:
        """Return a stream with the modules around it that everything passes through."""
        # Around blocks with most of the parameters, what a first layer and a head do is no block.
        if not found.is_stream or (self.share(found) >= MOST and not self.has_leaves(found)):
            return found
        around: dict[str, str] = {}
        for name, m in self.options.around.items():
            has_product = any(p.ndim > 1 for p in m.parameters())
            if has_product and are_apart([name], [*found.items, *around]):
                around[name] = name
        every = self.chain({**found.items, **around}) if around else None
        if every is None:
            return found
        passed = {s.cut for s, gate in zip(every.states, every.taken.gates, strict=True) if gate}
        more = self.chain({**found.items, **{name: name for name in around if name in passed}})
        is_more = more is not None and self.share(more) > self.share(found)
        return more if more is not None and is_more and more.is_stream else found

    def has_leaves(self, chain: BlockChain) -> bool:
        """Tell whether layers contain no modules."""
        return all(not list(self.shares.known[layer].children()) for layer in chain.layers)

    def chain(self, items: Mapping[str, str]) -> BlockChain | None:
        """Return the states of some lists; None if there are none."""
        states = [s for s in self.states if s.cut in items and not self.is_packed(s)]
        self.unfit += [state for state in states if not _is_batch(state, self.x)]
        if not states or not all(_is_batch(state, self.x) for state in states):
            return None
        states, taken = reached_states(states, *self.edges, strict=False)
        chosen = self.on_the_way(states, taken, items)
        if len(chosen) < len(states):
            states, taken = reached_states(chosen, *self.edges, strict=False)
        if not states:
            return None
        is_seen = all(items[state.cut] == state.cut for state in states)
        return BlockChain(items, states, taken, sum(taken.gates) / len(states) if is_seen else 1.0)

    def is_packed(self, state: CutState) -> bool:
        """Tell what a recurrent module returns of a packed sequence: steps of all examples."""
        return is_a(self.shares.known[state.cut], "RNNBase") and len(state.parts[0].shape) == 2

    def on_the_way(
        self, states: list[CutState], taken: Survey, items: Mapping[str, str]
    ) -> list[CutState]:
        """Return of items of several modules those that everything passes, or with a product."""
        if not any(items[state.cut] != state.cut for state in states):
            return states
        around = {
            _key(state, items) for state, gate in zip(states, taken.gates, strict=True) if not gate
        }
        passed = [state for state in states if _key(state, items) not in around]
        if len({items[state.cut] for state in passed}) == len({items[s.cut] for s in states}) > 1:
            return passed
        known = self.shares.known
        return [state for state in states if any(p.ndim > 1 for p in known[state.cut].parameters())]

    def coverage(self, chain: BlockChain, products: MultiplyAdds) -> Coverage:
        """Return what the layers hold, and what else may be measured."""
        layers = chain.layers
        others = [
            option
            for option in self.options.lists
            if option.name and option.is_apart(layers) and self.chain(option.items) is not None
        ]
        most = max(others, key=lambda other: self.shares.of(other.blocks), default=None)
        outside = self.shares.largest_apart(layers)
        shares = self.shares.of(layers), products.share(layers)
        return Coverage(*shares, outside, self.as_cuts(most))

    def as_cuts(self, option: Blocks | None) -> str:
        """Return a list as `cuts=` takes its blocks; "" of none."""
        if option is None:
            return ""
        return option.name + ("" if is_never_called(self.shares.known[option.name]) else ".*")


def _key(state: CutState, items: Mapping[str, str]) -> str:
    """Return the place of a module in its item."""
    return state.cut.removeprefix(items[state.cut])


def _is_batch(state: CutState, x: Tensor) -> bool:
    shape = state.parts[0].shape
    return bool(shape) and shape[0] == len(x) and 0 not in shape
