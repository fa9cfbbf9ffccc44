"""Places where a network is cut: points between main steps, with the streams alive there.

    z = a @ θ      the first place after a product ends its layer,
    z = z + b      and a bias or a scale moves that end up;
    a = σ(z)       nothing else does, so that an activation belongs to the product above.

A stretch that is nearly the whole network, or too long for one layer, is cut further where the
fewest streams are alive: between the blocks of a U-Net. A scan that carries streams is a run.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import jax.numpy as jnp

from ..arrays.rows import in_bfloat16, is_float, is_narrow
from ..jaxpr.program import typed
from .dependence import LONGEST, MOST_IN_A_ROW, TracedNetwork
from .scan_runs import Scanned, scanned

MOST_STREAMS = 16  # alive at a place where it is cut, unless the user says otherwise

Stretch = tuple[int, int]  # main steps a … b


class Places:
    """The places at which a network may be cut, with so many streams at most, and the choice."""

    def __init__(self, network: TracedNetwork, most: int) -> None:
        self.network, self.most = network, most
        scans = ((i, scanned(network, i)) for i in range(len(network.main)))
        self.scans: dict[int, Scanned] = {i: run for i, run in scans if run is not None}
        self.runs = {i: run for i, run in self.scans.items() if self.streams(run.into) <= most}

    def streams(self, values: Sequence[int]) -> int:
        """The number of floats among values."""
        return len(self.network.floats(values))

    def run(self, a: int, b: int) -> Scanned | None:
        """Return the scan that main steps a … b are, if it is a run."""
        return self.runs.get(a) if b == a + 1 else None

    def stretches(self, *, checked: bool) -> list[Stretch]:
        """Cut, and return the stretches between the places; check that there are enough.

        Raises:
            ValueError: a function that cannot be cut, with what to hand over instead.
        """
        if not any(map(self.network.is_product, self.network.main)):
            raise ValueError(
                "f: found no product of xs with params; hand over the network's weights in params, "
                "none of them closed over"
            )
        stretches, depths = self._cut()
        if checked and not self._are_enough(stretches, depths):
            deepest = max(stretches, key=lambda stretch: depths[stretch])
            if not self._is_closed(*deepest):
                raise ValueError(f"f: {self._obstacle(depths[deepest], *deepest)}")
        return stretches

    def are_enough(self) -> bool:
        """Tell whether the network can be cut."""
        return self._are_enough(*self._cut())

    def _is_closed(self, a: int, b: int) -> bool:
        """Tell main steps of which one loop or call, that is no scan, has most products of all."""
        most = max(self.network.products(a, b), key=lambda step: step.products)
        whole = sum(step.products for step in self.network.main)
        # An ODE solver is one. It is measured as one layer, which the flow says.
        return most.scan is None and MOST_IN_A_ROW < most.products > whole / 2

    def _cut(self) -> tuple[list[Stretch], dict[Stretch, int]]:
        """Return the stretches between the places, with their products in a row."""
        network = self.network
        bounds = sorted({0, len(network.main), *self.runs, *(i + 1 for i in self.runs)})
        stretches = [part for a, b in pairwise(bounds) for part in self._parts(a, b, 1)]
        # The fewest streams come first, and more of them only where a stretch is still too long:
        # so the blocks of a residual network stay whole, and a U-Net is cut between its skips.
        whole = {*stretches}  # those that are not parts of longer ones
        closed = set[Stretch]()
        while True:
            depths = {stretch: in_a_row(network, *stretch) for stretch in stretches}
            too_long = [
                stretch
                for stretch in stretches
                if stretch not in closed and self._is_long(stretch, depths, stretch not in whole)
            ]
            if not too_long:
                break
            for stretch in too_long:
                parts = self._fewest(*stretch)
                if len(parts) == 1:
                    closed.add(stretch)
                at = stretches.index(stretch)
                stretches[at : at + 1] = parts
        return stretches, depths

    def _parts(self, a: int, b: int, count: int) -> list[Stretch]:
        """Cut main steps a … b between products, at the places with so many streams."""
        network, ends = self.network, [a]
        if self.run(a, b) is not None:
            return [(a, b)]
        # A layer ends at the first place after its product, but for its bias; where no place is
        # between two products, both are in one layer.
        end = None  # of the layer of the last product
        for i in [*(i for i in range(a + 1, b) if self._is_place(i, count)), b]:
            between = network.main[end or a : i]
            if any(map(network.is_product, between)):
                ends += [] if end is None else [end]
                end = i
            elif end is not None and network.is_bias(between):
                end = i
        return list(pairwise([*ends, b]))

    def _is_place(self, i: int, count: int) -> bool:
        """Tell a place with so many streams, but for outputs that no step takes."""
        alive = self.network.alive[i]
        needed = [v for v in alive if self.network.last[v] >= i]
        return (
            self.streams(needed) == count
            and self.streams([*alive]) <= max(count, self.most)
            and self.network.is_state(alive)
        )

    def _fewest(self, a: int, b: int) -> list[Stretch]:
        """Cut main steps a … b where the fewest streams are alive, if they can be cut."""
        for count in range(2, self.most + 1):
            parts = self._parts(a, b, count)
            if len(parts) > 1:
                return parts
        return [(a, b)]

    def _is_long(self, stretch: Stretch, depths: dict[Stretch, int], is_part: bool) -> bool:
        """Tell a stretch that has to be cut further; of what is cut already the parts are short."""
        if self.run(*stretch) is not None:
            return False
        depth = depths[stretch]
        if is_part:
            return depth > MOST_IN_A_ROW
        return depth > LONGEST or not self._is_enough(stretch, depths)

    def _is_enough(self, stretch: Stretch, depths: dict[Stretch, int]) -> bool:
        """Tell a stretch that may be a layer: not nearly the whole network."""
        depth, total = depths[stretch], sum(depths.values())
        if nested(self.network, *stretch):
            return 2 * depth < total
        return depth <= MOST_IN_A_ROW or 2 * depth <= total

    def _are_enough(self, stretches: list[Stretch], depths: dict[Stretch, int]) -> bool:
        """Tell layers of which none is nearly the whole network."""
        if len(stretches) == 1:
            return self.run(*stretches[0]) is not None or self._is_single(*stretches[0])
        return self._is_enough(max(stretches, key=lambda stretch: depths[stretch]), depths)

    def _is_single(self, a: int, b: int) -> bool:
        """Tell main steps with one product: a network of one layer."""
        step = self.network.products(a, b)[0]
        is_closed = step.scan is not None or step.eqn.primitive.name == "shard_map"
        return not is_closed and in_a_row(self.network, a, b) == 1

    def _enough(self) -> int | None:
        """Return the least number of streams with which the network can be cut; None if none is."""
        counts = {self.streams([*alive]) for alive in self.network.alive}
        counts.update(self.streams(run.into) for run in self.scans.values())
        for count in sorted(n for n in counts if n > self.most):
            places = Places(self.network, count)
            if places.are_enough():
                return count
        return None

    def _hindrance(self, values: Iterable[int]) -> str:
        """Say which of some streams can be in no state for its type; "" if none."""
        types = [self.network.flat.types[v] for v in values if v in self.network.streams]
        for t in types:
            if jnp.issubdtype(t.dtype, jnp.complexfloating):
                return (
                    f"expected real numbers between layers, got {t.dtype}; carry the real and the "
                    "imaginary part as two arrays"
                )
            if is_float(t) and is_narrow(t):
                return f"expected a state of {in_bfloat16(t)}, at the end of each layer"
        return ""

    def _obstacle(self, depth: int, a: int, b: int) -> str:
        """Say why main steps a … b cannot be cut, and what to hand over instead."""
        # The stretch is too long for one layer: no place in it has a state, or too many streams;
        # or it is one step, whose program may have a state within, as a scan has.
        network = self.network
        products = network.products(a, b)
        first, last, scan = products[0], products[-1], products[0].scan
        if depth > 1:
            inside = range(network.main.index(first) + 1, network.main.index(last) + 1)
            between = [network.alive[i] for i in inside]
            fewest = min(between, key=len)
            types = typed([network.flat.types[v] for v in sorted(fewest)])
            found = (
                f"found no place to cut between {first.location} and {last.location}, {depth} "
                "products in a row"
            )
            hindrances = [self._hindrance(values) for values in between]
            if all(hindrances):
                return f"{found}: {hindrances[0]}"
            found = f"{found}, where {types}"
            enough = self._enough()
            if enough is not None:
                return (
                    f"{found} are alive together, as skips are; with streams={enough} it is cut "
                    "there, or hand over a list of layers whose state holds what they need"
                )
            return (
                f"{found} has no examples along an axis; each='whole' measures the batch as one, "
                "or hand over a list of layers whose states have them"
            )
        if scan is not None:
            found = f"found one layer, a scan of {scan.k} steps at {first.location}"
            hindrance = self._hindrance((*first.inputs[scan.consts :], *first.outputs))
            if hindrance:
                return f"{found}: {hindrance}"
            run = self.scans.get(network.main.index(first))
            if run is not None:
                count = self.streams(run.into)
                return (
                    f"{found} whose state is of {count} arrays: what it carries, returns at each "
                    f"step, and passes on; with streams={count} its steps are layers"
                )
            usual = (
                "each='whole' measures the batch as one, or hand over a list with "
                "jaxnn.Run(body, params, k), whose state holds all that it carries"
            )
            return (
                f"{found}, which carries or returns what has no examples along an axis, or has "
                f"them along that of its steps; {first.way_out(usual)}"
            )
        return (
            f"found one layer, jax.shard_map at {first.location}; put shard_map around single "
            "layers, or hand over the function within it and measure inside of shard_map"
        )


def in_a_row(network: TracedNetwork, a: int, b: int) -> int:
    """Return the length of the longest chain of products, each fed by the one before."""
    return max(_heights(network, a, b).values(), default=0)


def _heights(network: TracedNetwork, a: int, b: int) -> dict[int, int]:
    """Return, for each value computed in main steps a … b, the longest chain of products below."""
    heights: dict[int, int] = {}
    for step in network.main[a:b]:
        below = max(heights.get(v, 0) for v in step.inputs)
        heights |= dict.fromkeys(step.outputs, below + network.is_product(step))
    return heights


def nested(network: TracedNetwork, a: int, b: int) -> bool:
    """Tell whether a skip over products lies within a longer one, as in a U-Net."""
    heights, skips = _heights(network, a, b), set[tuple[int, int]]()
    for step in network.main[a:b]:
        ends = [heights.get(v, 0) for v in network.dependent.intersection(step.inputs)]
        skips.add((min(ends), max(ends)))
    # A residual block, whatever is in its branch, has a skip from its first product to its last.
    return any(low < i < j < high for low, high in skips for i, j in skips)


def main_first(network: TracedNetwork, i: int, entering: set[int]) -> list[int]:
    """Return the streams alive before main step i, the one that the next product takes first."""
    alive = network.floats(network.alive[i] | entering)
    rest = sorted(network.alive[i] - {*alive})
    if len(alive) > 1:
        behind_it = {v: {v} for v in alive}
        for step in network.main[i:]:
            into = {u for v in step.inputs for u in behind_it.get(v, ())}
            if into and network.is_product(step):
                # Of several that it takes, the last made.
                main = max(into, key=network.age)
                alive = [main, *(v for v in alive if v != main)]
                break
            behind_it |= dict.fromkeys(step.outputs, into)
    # What is no float comes last.
    return [*alive, *rest]
