"""Recurrences of a flow: Δ of what enters a module with steps of its own, and of its states.

Δ[t]      falls towards the first step if the gradient vanishes through time
"""

from dataclasses import dataclass, field

import jax
from jaxtyping import Array, Float


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Recurrences:
    """Numbers of the steps of recurrent modules of PyTorch, one call after the other.

    log_delta: ln of the norm of Δ of what enters at each step, over the batch, through this call
        alone; -inf where none comes, nan where it has left the range.
    log_delta_states: likewise of the hidden states after each step, of all layers and directions,
        of an LSTM h and c; nan of a module whose steps one by one do not make its output, as with
        dropout between layers or projections.
    counts: of each call its steps; static.
    names: of the modules; static.
    both_ways: whether they are bidirectional; static.
    gates: the entries of its biases for the gates that keep its state, first and last + 1; None
        without such biases; static.
    """

    log_delta: Float[Array, "*v T"]
    log_delta_states: Float[Array, "*v T"]
    counts: tuple[int, ...] = field(metadata={"static": True})
    names: tuple[str, ...] = field(metadata={"static": True})
    both_ways: tuple[bool, ...] = field(metadata={"static": True})
    gates: tuple[tuple[int, int] | None, ...] = field(metadata={"static": True})

    def of(self, call: int) -> "Recurrences":
        """Return the steps of one call, counted from 0."""
        start, count = sum(self.counts[:call]), self.counts[call]
        one, steps = slice(call, call + 1), slice(start, start + count)
        return Recurrences(
            self.log_delta[..., steps],
            self.log_delta_states[..., steps],
            (count,),
            self.names[one],
            self.both_ways[one],
            self.gates[one],
        )
