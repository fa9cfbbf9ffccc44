"""A cure: a change of a network, with its numbers and what to do with it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from ..flow.record.flow import Flow
from ..flow.verdict.rate_text import SPOKEN
from ..models import Model
from ..patients.patient import AnyNet, Params
from .race import Tried
from .setup import Attempt


@dataclass(frozen=True, eq=False, kw_only=True)
class Cure:
    """A change of a network, made and measured; numbers are nan if it could not be.

    kind: its name in the table of changes, see `jaxnn.trials.changes`.
    advice: what to write.
    works: whether the gradient, the signal and the examples are kept.
    reason: if not, why not; else empty.
    decades: the rate of the changed network, in decades a layer towards the input.
    repeated: of all layers that repeat, in decades.
    total: of the whole network, in decades.
    signal: by how many decades the root mean square of the state varies over them, but for the
        output of the network; of steps that share their weights over the later half.
    spread: log₁₀ of what differs between the examples at the top of them, relative to the state;
        nan of a single example.
    directions: in how many directions the examples differ at the top of them, `flow.rank`. Layers
        with singular values of one size, as those of orthogonal matrices, keep them; those of other
        matrices leave the few in which they are largest. nan of a single example.
    trained: a short training of it; None of a change that does not work, and without a loss.
    flow: as it was measured; None if it could not be.
    params: the parameters, in the user's own pytree, of PyTorch a state dict; of another structure
        those of `net`.
    attempt: the changed network.
    values: what the advice names, numbers as numbers, by the names that its change has for them.
    """

    kind: str
    advice: str
    works: bool = False
    reason: str = ""
    decades: float = np.nan
    repeated: float = np.nan
    total: float = np.nan
    signal: float = np.nan
    spread: float = np.nan
    directions: float = np.nan
    trained: Tried | None = None
    flow: Flow | None = field(default=None, repr=False)
    params: Params = field(default=None, repr=False)
    attempt: Attempt = field(default=Attempt(None), repr=False)
    values: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def is_named(self) -> bool:
        """True if it changes only what the verdict names, such as one array."""
        return self.attempt.is_named

    @property
    def factors(self) -> Float[np.ndarray, " L"] | None:
        """The factors on the weights of each layer; None of a change of structure."""
        return self.attempt.factors

    @property
    def net(self) -> AnyNet:
        """The network of `flow`; the user's own but for a change of structure, then a copy."""
        return None if self.attempt.patient is None else self.attempt.patient.network

    @cached_property
    def model(self) -> Model:
        """The changed network, as `jaxnn.diagnose` takes it and an optimiser trains it.

        Of a change of numbers the user's own pytree, pair or list, of PyTorch a copy of the module.
        Of a change of structure a callable of the same arguments, whose parameters are the user's
        own pytree: of a pair (f, params) another pair (g, params), of a module another module, a
        pytree with the arrays of the user's; of PyTorch a copy with hooks.

        Raises:
            ValueError: a change that could not be made.
        """
        if self.flow is None:
            raise ValueError(
                f"model: expected a change that could be made, got one where {self.reason}"
            )
        return self.attempt.patient.model(self.attempt.params)

    @cached_property
    def code(self) -> str:
        """The change as you would write it: lines that change your own network.

        Of numbers of a pair (f, params) they change `params`, of a list `layers`, of a module of
        Equinox, Flax NNX or PyTorch `model`; matrices are drawn anew. Of another structure they are
        lines of the forward pass, in JAX of z and a `layer`, in PyTorch a module and where it goes.
        They take jax, jnp, eqx and torch as they are usually imported. Empty if there is nothing to
        write, and of a Network.
        """
        return "" if self.flow is None else self.attempt.code

    def __str__(self) -> str:
        rate = self._rate_text
        if not rate:
            return f"{self.advice} No cure: {self.reason}."
        trained = "" if self.trained is None else f"; {self.trained}"
        no_cure = "" if self.works else f"; no cure, {self.reason}"
        return f"{self.advice} Measured: {rate}{trained}{no_cure}."

    @property
    def in_short(self) -> str:
        """Its kind and what came of it."""
        told = f"no cure, {self.reason}" if not self.works else "works"
        return f"{self.kind}: {told}" + f", {self._rate_text}" * bool(self._rate_text)

    @property
    def _rate_text(self) -> str:
        """The rate and what the layers do together; empty if there is no rate."""
        if not np.isfinite(self.decades):
            return ""
        text = f"{self.decades:+.2g} decades a layer, {self.repeated:+.2g} over all of them"
        apart = abs(self.total - self.repeated) >= SPOKEN
        return f"{text}, {self.total:+.2g} over the whole network" if apart else text
