"""The remedies: each an activation, an initialisation and a kind of block, by name.

All are drawn without biases. The relu networks share He's weights, σ_w² = 2, so that they differ in
their blocks alone: what a skip connection or a norm does shows next to the plain network.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

import jaxnn
from experiments.learning.kinds import BY_DEPTH, Kind
from experiments.learning.networks import Weights

Activation = str | jaxnn.network.Activation

# One scheme for all σ_w, and a factor: so one program draws for all of them.
PLAIN = Kind("dense")
GAUSSIAN = jaxnn.initializers.gaussian(1.0)
HE, GLOROT = Weights("He", GAUSSIAN, sqrt(2)), Weights("Glorot", GAUSSIAN)
ORTHOGONAL = Weights(
    "orthogonal", jaxnn.initializers.orthogonal(1.0)
)  # critical for tanh and tailored relu


@dataclass(frozen=True)
class Remedy:
    """A way to build a deep network, and the depths at which there is one.

    name: in charts and tables.
    sigma: an activation, or a function of the number of hidden layers that returns one.
    weights: how the weights are drawn; their factor is σ_w.
    kind: of the blocks between hidden layers.
    least: the fewest hidden layers.
    """

    name: str
    sigma: str | Callable[[int], jaxnn.network.Activation]
    weights: Weights
    kind: Kind = PLAIN
    least: int = 1

    def activation(self, depth: int) -> Activation:
        """Return σ in a network of so many hidden layers."""
        return self.sigma(depth) if callable(self.sigma) else self.sigma

    @property
    def same_at_every_depth(self) -> bool:
        """Tell whether a network is the start of each deeper one."""
        return not callable(self.sigma) and self.kind.scale != BY_DEPTH


REMEDIES = {
    "sigmoid": Remedy("plain sigmoid", "sigmoid", GLOROT),
    "relu": Remedy("plain relu, He", "relu", HE),
    "layer_norm": Remedy("layer norm", "relu", HE, Kind("layer_norm")),
    "batch_norm": Remedy("batch norm", "relu", HE, Kind("batch_norm")),
    "residual": Remedy("residual", "relu", HE, Kind("residual")),
    "residual_sqrt": Remedy("residual, 1/√L", "relu", HE, Kind("residual", BY_DEPTH)),
    "pre_norm": Remedy("pre-norm residual", "relu", HE, Kind("residual(layer_norm)")),
    # Below 13 layers even relu makes two inputs less alike than η = 0.9: there is no such slope.
    "tailored": Remedy("tailored relu", jaxnn.theory.tailored_relu, ORTHOGONAL, least=13),
    "orthogonal": Remedy("orthogonal tanh", "tanh", ORTHOGONAL),
}
