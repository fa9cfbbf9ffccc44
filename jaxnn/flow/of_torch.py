"""The flow of a module of PyTorch, which torch itself runs: `adapters/torch/hooks.py` has how."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..adapters.torch.module import measured
from ..arrays.compiled import compiled
from .chain import smallest_of, state_record
from .flow import Flow, Parameters
from .record import DeltaRecord, StateRecord, flow_of


def torch_flow(
    module: Any,
    inputs: Any,
    ys: Any = None,
    *,
    loss: Any = None,
    cotangent: Any = None,
    cuts: Any = None,
) -> Flow:
    """Return what happens to a gradient in a module of PyTorch, from cut to cut.

    Torch runs the module as it is, once, in the mode that it is in, and goes back two times or
    more. A training goes on as if nothing had been measured: parameters, their `.grad`, buffers,
    hooks and the random states of torch, NumPy and Python are left as they were, also after an
    error.

    Backward hooks of modules are taken off meanwhile: the gradient is that without them. Hooks that
    `forward` puts on tensors belong to the network, and see gradients scaled by powers of two, two
    times or more. Not undone is what `forward` keeps in plain attributes, writes into parameters or
    into inputs after the first, draws from a generator of its own, or assigns in TorchScript;
    forward hooks are called as in any call.

    Args:
        module: a torch.nn.Module.
        inputs: what it is called with: a tensor, a tuple of arguments, or a dict of them by name.
            The examples come first in the first tensor and in the output of each cut: transformers
            need `batch_first=True`.
        ys: what the loss takes next to the output, such as labels.
        loss: (output, ys) -> a loss of each example, (B,), whose mean is differentiated, or one
            number; `torch.nn.functional.cross_entropy` is one.
        cotangent: instead, a tensor like the output, or like the first tensor in it.
        cuts: modules, or their names: those whose outputs are the states. Everything has to pass
            through each of them in torch's graph: whole blocks, not what is inside a skip
            connection. Of an output with several tensors the first one is the state. If None, the
            children of a Sequential, where those without parameters, such as activations, join the
            next one that has some; or the children of `module.layers`, as of a TransformerEncoder.

    Returns:
        Flow: a layer for each call of a cut, in their order. There are no `parameters`, and
        `log_theta` is nan: Δθ is a sum over examples, which have different powers of two
        here. `log_delta_input` belongs to the first tensor of the inputs; it is nan if that has no
        floats, or enters at each step of a recurrent network. `mixes` is found where it matters,
        where exponents of their own make examples wrong. `linear` is True: what is found not to be
        linear is an error.

    Raises:
        TypeError: something that is no module of PyTorch, or not one of a loss and a cotangent.
        ValueError: no cuts that could be chosen, or an unknown one; a cut that is not called, has
            an output without a gradient or without the examples first, or is not reached by the
            gradient; one that something goes around, by name, whatever the numbers are; a gradient
            that something clips; a state that is inf or nan; a loss that is not a number, or
            one for each example, or a cotangent that does not fit.

    Example (where torch is installed):
        >>> import jaxnn
        >>> import torch  # doctest: +SKIP
        >>> block = torch.nn.TransformerEncoderLayer(
        ...     64, 4, 128, batch_first=True
        ... )  # doctest: +SKIP
        >>> model = torch.nn.TransformerEncoder(block, 4)  # doctest: +SKIP
        >>> xs, ys = torch.randn(2, 8, 16, 64)  # doctest: +SKIP
        >>> loss = torch.nn.functional.mse_loss  # doctest: +SKIP
        >>> flow = jaxnn.torch_flow(model, xs, ys, loss=loss)  # doctest: +SKIP
        >>> flow.names[0], flow.log_delta.shape  # doctest: +SKIP
        ('layers.0', (4,))
    """
    states, values, found, mixes = measured(module, inputs, ys, loss, cotangent, cuts)
    dtypes = [state.dtype for state in states]
    double = any(d.itemsize == 8 for d in dtypes)
    dtype = jax.dtypes.canonicalize_dtype(np.float64 if double else np.float32)

    def wide(v: np.ndarray) -> np.ndarray:
        return v.astype(dtype) if np.issubdtype(v.dtype, np.floating) else v

    records = dict(_records(values))
    delta: Any = found.exponent.astype(np.int32), wide(found.largest), wide(np.square(found.norm))
    return _flow(
        DeltaRecord(*delta),
        jax.tree.map(lambda *v: wide(np.stack(v)), *(records[i] for i in range(len(states)))),
        found.reached[0],
        mixes,
        smallest_of(dtypes),
        tuple(state.cut for state in states),
        tuple(int(np.prod(state.shape[1:])) for state in states),
    )


@compiled
def _flow(
    delta: DeltaRecord,
    state: StateRecord,
    has_input: Any,
    mixes: Any,
    dtype: Any,
    names: tuple[str, ...],
    sizes: tuple[int, ...],
) -> Flow:
    """Return the flow; row 0 of Δ is the input, if there is Δ of it."""
    every = delta.fields()
    fields = {name: v[1:] for name, v in every.items()} | state.fields()
    none = jnp.zeros(0, fields["log_delta"].dtype)
    return flow_of(
        fields,
        dtype,
        log_delta_input=jnp.where(has_input, every["log_delta"][0], jnp.nan),
        log_theta=jnp.full(len(mixes), jnp.nan, none.dtype),
        mixes=mixes,
        linear=jnp.ones(len(mixes), bool),
        parameters=Parameters(none, none, (), (), ()),
        names=names,
        sizes=sizes,
    )


def _records(values: list[np.ndarray]) -> Iterator[tuple[int, StateRecord]]:
    """Yield the index of each state and its record, computed for states of one shape together.

    States without numbers are skipped: they raise an error later.
    """
    alike: dict[Any, list[int]] = {}
    for i, v in enumerate(values):
        if v.ndim and v.size:
            alike.setdefault((v.shape, v.dtype), []).append(i)
    for (_, dtype), numbers in alike.items():
        wide = jax.dtypes.canonicalize_dtype(np.float64 if dtype.itemsize == 8 else np.float32)
        together = jax.device_get(_records_of(np.stack([values[i] for i in numbers]), wide))
        for place, i in enumerate(numbers):
            yield i, jax.tree.map(lambda v, place=place: v[place], together)


@compiled
def _records_of(values: Any, dtype: Any) -> StateRecord:
    """Return the records of states of one shape, one after the other."""
    records: StateRecord = jax.lax.map(lambda v: state_record([v], dtype, True), values)
    return records
