"""The flow of a module of PyTorch, which torch itself runs: `pytorch/hooks.py` has how."""

from typing import Any

from ...network.checks import check_loss
from ...pytorch.module import measured
from ..record.flow import Flow
from .torch_record import floats_of, flow_of_module, heads_of, look_for


def torch_flow(
    module: Any,
    inputs: Any,
    ys: Any = None,
    *,
    loss: Any = None,
    cotangent: Any = None,
    cuts: Any = None,
    entries: bool = False,
) -> Flow:
    """Return the flow of a module of PyTorch, at every cut between its blocks."""
    loss = check_loss(loss)
    module_measured = measured(
        module, inputs, ys, loss, cotangent, cuts, look_for(entries), heads_of
    )
    handed = {"xs": floats_of(inputs), "ys": floats_of(ys), "cotangent": floats_of(cotangent)}
    return flow_of_module(module_measured, handed, entries)
