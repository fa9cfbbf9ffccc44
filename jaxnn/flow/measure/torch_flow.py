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
    formats: bool = False,
) -> Flow:
    """Measure the gradient of a PyTorch module at every cut between its blocks.

    Torch runs the module as it is, once, in the mode that it is in, and goes back two times or
    more; it runs it once more if parameters get no gradient. A training goes on as if nothing had
    been measured: parameters, their `.grad`, buffers, hooks and the random states of torch, NumPy
    and Python are left as they were, also after an error.

    Backward hooks of modules and parameters are taken off meanwhile: the gradient is that without
    them. Hooks that `forward` puts on tensors belong to the network, and see gradients scaled by
    powers of two, two times or more. Not undone is what `forward` keeps in plain attributes, writes
    into parameters or into inputs after the first, draws from a generator of its own, or assigns in
    TorchScript; forward hooks are called as in any call.

    Args:
        module: a torch.nn.Module; of a compiled one the module that was compiled is run.
        inputs: what it is called with: a tensor, a tuple of arguments, or a dict of them by name,
            each a tensor, a dict of tensors, or a Data or Batch of torch_geometric. The examples
            come first in the first tensor, of a graph its nodes, and in the output of each cut:
            transformers need `batch_first=True`. A tensor that requires a gradient goes in as it
            is, so that a loss may take derivatives by it.
        ys: what the loss takes next to the output, such as labels.
        loss: (output, ys) -> a loss of each example, (B,), or several, (B, …), whose mean is
            differentiated, or one number; without ys also of the output alone;
            `torch.nn.functional.cross_entropy` is one. Torch's own ones are given the `logits` of
            an output that has them, or the first tensor in it. None, as well as no cotangent, for a
            module that returns its loss, alone, first, or as `loss` of the output.
        cotangent: instead, a tensor like the output, or like its `logits` or first tensor.
        cuts: modules, their names, or patterns such as "transformer.h.*", whose * stands for what
            has no dot: those whose outputs are the states. If None, the longest ModuleList,
            ModuleDict or Sequential of equal blocks in which each leads to the next, wherever it
            lies, with lists that go on in it, such as stages, or a decoder, and that holds half of
            the parameters, if one does. Of lists of lists, which are never called, the modules in
            the inner ones that everything passes through, or else those with a product. Children
            of a Sequential without parameters, such as activations, join the next one that has
            some. If there is no such list, the children of the module. The flow's first note says
            what was taken, and which share of the parameters it holds, without lookup tables.
        formats: whether the exponents of all entries of Δ, of the states and of the parameters are
            counted as well, for `flow.formats()`, `jaxnn.plan` and the verdict. Δ of parameters is
            not.

    Returns:
        Flow: a layer for each call of a cut, in their order. `parameters` are all that a gradient
        comes to, by their names, once each, in the lowest layer that uses them; those above the
        last cut have the layer L + 1. `log_theta` is nan for a layer that shares one with another.
        `log_delta_input` belongs to the first tensor of the inputs; it is nan if that has no
        floats. `log_branch` of the first layer is nan, since its stream is no state. `mixes` is
        found where it matters, where exponents of their own make examples wrong.
        `linear` is True: what is found not to be linear is an error. Attention and routers are
        recognised in the operations of the pass up; a note names kernels that hand out no logits.
        Channels are on the last axis of a state, or on the first after the examples if its cut has
        convolutions, or norms of images, of as many channels.

        Of an output with several tensors the first is the state, and others too if the gradient
        would go around it otherwise, such as the c of an LSTMCell. A state that paths lead around,
        inside a skip connection or between the ends of a U-Net, has the gradient that torch has
        there. It is not scaled until the next state that everything passes through; what leaves the
        range before is nan in all layers from there down, `unmeasured`, which a note explains.
        Where states, the loss or Δ are nan or infinite, Δ is what plain backpropagation has.

    Raises:
        TypeError: something that is no module of PyTorch, or one of TorchScript; both a loss and a
            cotangent, or none.
        ValueError: no cuts that could be chosen, or an unknown one; a cut that is not called, has
            an output without a gradient or without the examples first, or is not reached by the
            gradient; a gradient that something clips; a loss that is not a number, or one for each
            example; a cotangent that does not fit; parameters that are uninitialised or were made
            in inference mode.

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
    loss = check_loss(loss)
    module_measured = measured(
        module, inputs, ys, loss, cotangent, cuts, look_for(formats), heads_of
    )
    handed = {"xs": floats_of(inputs), "ys": floats_of(ys), "cotangent": floats_of(cotangent)}
    return flow_of_module(module_measured, handed, formats)
