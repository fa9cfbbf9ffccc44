"""Theory beside a module of PyTorch: the flow of its wide twin, which torch runs too."""

from contextlib import AbstractContextManager

import jax
import jax.numpy as jnp
import numpy as np

from ...pytorch.call import Call
from ...pytorch.cuts import parameters_of
from ...pytorch.twin.replicas import Twin, TwinStates
from ...pytorch.zero_heads import drawn
from ..record.flow import Flow, Parameters
from ..record.layer_record import assemble
from .theory_flow import DRAWS, UNITS, averaged, replicas_for
from .torch_flow import in_dtype, layer_records, stacked, state_records


def theory_of_module(goal: float, measured: Flow, call: Call) -> Flow:
    """Return the theory of a module: the mean of flows of its wide twin, to a goal in decades."""
    twin = ModuleTwin(call, measured)

    def draws(count: int) -> Flow:
        flows = [twin.flow(count + i) for i in range(DRAWS)]
        together: Flow = jax.tree.map(lambda *v: np.stack(v), *flows)
        return together

    return averaged(goal, draws, twin.replicas)


class ModuleTwin:
    """The wide twin of a module, of so many units; NoTwinError if it has none."""

    def __init__(self, call: Call, measured: Flow, units: int = UNITS) -> None:
        widths = [v.shape[0] for v in call.module.parameters() if v.ndim > 1]  # outputs first
        self.replicas = replicas_for(widths, units)
        self.measured, self._parameters = measured, parameters_of(call.module)
        with self._drawn():
            self._twin = Twin(call, measured.names, self.replicas)

    def flow(self, seed: int) -> Flow:
        """Return the flow of a draw."""
        with self._drawn():
            return _flow_of(self._twin.draw(seed), self.measured)

    def _drawn(self) -> AbstractContextManager[None]:
        """Return what fills a head of zeros, as it was where the module was measured."""
        return drawn(self._parameters, self.measured.drawn)


def _flow_of(drawn: TwinStates, measured: Flow) -> Flow:
    values = [[v.reshape(len(v), -1) for v in parts] for parts in drawn.values]
    dtype = measured.log_delta.dtype
    known = np.arange(len(drawn.norm))[:, None] > 0  # Δ of the input is not asked for
    largest, norm = (np.where(known, v, np.nan) for v in (drawn.largest, drawn.norm))
    count = len(values)
    log_delta_input, layers = layer_records(
        in_dtype(dtype, (drawn.exponent.astype(np.int32), largest, np.square(norm))),
        stacked(dtype, [record.state for record in state_records(values, False)]),
        np.full(count, np.nan, dtype),
        np.zeros(count, bool),
        None,
        measured.dtype,
    )
    flow = assemble(
        layers,
        Parameters(jnp.zeros(0, dtype), jnp.zeros(0, dtype), (), (), (), ()),
        names=measured.names,
        sizes=measured.sizes,
        dtype=measured.dtype,
        log_delta_input=log_delta_input,
        is_of_torch=True,
    )
    in_numpy: Flow = jax.tree.map(np.asarray, flow)
    return in_numpy
