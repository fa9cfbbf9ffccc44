"""A Network as a chain: its layers as functions of their parameters, z′ = f(θ, b; z)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Array

from ..arrays.rows import ScaledRows, value_of
from ..network.activations import Activation
from ..network.blocks import Block
from ..network.network import Network
from ..network.params import Layer, LazyRun, is_run, layer_of, length
from ..passes.walk import kinds
from .chain import Chain, Run, from_layers


@dataclass(frozen=True)
class BlockLayer:
    """A layer of a Network, (θ, b), z -> z′; equal for equal layers."""

    block: Block
    sigma: Activation

    def __call__(self, layer: tuple[Array, Array], z: Array) -> Array:
        out, _ = self.block.forward(self.sigma, Layer(*layer), ScaledRows(z))
        return _plain(out)

    def with_rule(
        self, layer: tuple[Array, Array], z: Array
    ) -> tuple[Array, Callable[[Array], Array]]:
        """Return what comes out, and Δz′ -> Δz by hand: of saturated σ as exact as of others."""
        of = self.sigma, Layer(*layer), ScaledRows(z)
        out, extra = self.block.forward(*of)

        def rule(delta: Array) -> Array:
            return _plain(self.block.backward(*of, extra, ScaledRows(delta))[1])

        return _plain(out), rule


def _plain(v: ScaledRows) -> Array:
    rows: Array = v.m if v.e is None else value_of(v.m, v.e[:, None])
    return rows


def as_chain(net: Network, layers: Sequence[Any]) -> tuple[Chain, tuple[Any, ...]]:
    """Return a network as a chain, with its parameters; layers are counted as in the network."""
    functions = [BlockLayer(kind.block, kind.sigma) for kind in kinds(net)]
    listed: list[Any] = []
    for layer in layers:
        if not is_run(layer):
            listed.append((functions.pop(0), tuple(layer)))
            continue
        k = length(layer)
        of_run, functions = functions[:k], functions[k:]
        if len(set(of_run)) == 1:
            stored = layer.stored() if isinstance(layer, LazyRun) else layer
            listed.append(Run(of_run[0], tuple(stored), k))
        else:
            listed += [(f, tuple(layer_of(layer, j))) for j, f in enumerate(of_run)]
    return from_layers(listed)
