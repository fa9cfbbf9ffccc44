"""The flow of any model: a network of ours, of the user's own, or a module of PyTorch.

model -> (net, params), which the walk measures, or a module, which torch runs -> Flow
"""

from dataclasses import replace
from typing import Any

from jaxtyping import PyTree

from ..arrays.compiled import measuring
from ..models import Cuts, Model, Program
from ..network.checks import Depth
from ..passes.walk import Memory
from .measure.flow_of_net import flow_of_program
from .measure.theory_flow import GOAL
from .measure.torch_flow import torch_flow
from .measure.torch_theory import theory_of_module
from .record.flow import Flow
from .record.loss import Loss


@measuring
def gradient_flow(
    model: Model,
    xs: PyTree,
    ys: PyTree = None,
    *,
    loss: Loss | None = None,
    cotangent: PyTree = None,
    each: str = "batch",
    cuts: Cuts = None,
    memory: Memory = "all",
    entries: bool = False,
    theory: bool = False,
    theory_error: float = GOAL,
) -> Flow:
    """Measure the size of every Δ, layer by layer, even far outside the range of the dtype.

    If σ is homogeneous (relu, leaky_relu, identity), the signal may leave the range too.

    Torch runs a module of PyTorch as it is, once, in the mode that it is in, and goes back two
    times or more; it runs it once more if parameters get no gradient. A training goes on as if
    nothing had been measured: parameters, their `.grad`, buffers, hooks and the random states of
    torch, NumPy and Python are left as they were, also after an error. Hooks that change gradients
    belong to the network, and see them scaled by powers of two, two times or more: those that
    `forward` puts on tensors, and backward hooks of modules and parameters. Such a hook whose code
    returns nothing is not called, and one that might, but does not, once. Not undone is what
    `forward` keeps in plain attributes, writes into parameters or into inputs after the first,
    draws from a generator of its own, or assigns in TorchScript; forward hooks are called as in any
    call.

    Args:
        model: a module of Equinox or Flax NNX, a pair (f, params) with f(params, xs), a list of
            layers or a dict of them by name, or a pair (net, params), see `jaxnn.as_network`; or a
            module of PyTorch, of a compiled one the module that was compiled is run.
        xs: B examples, a pytree of arrays with the examples first; of a Network (B, n[0]). Of a
            module of PyTorch what it is called with: a tensor, a tuple of arguments, or a dict of
            them by name, each a tensor, a dict of tensors, or a Data or Batch of torch_geometric.
            The examples come first in the first tensor, of a graph its nodes, and in the output of
            each cut: transformers need `batch_first=True`. A tensor that requires a gradient goes
            in as it is, so that a loss may take derivatives by it.
        ys: the labels, see `jaxnn.backprop`: the pass of a Network starts at the loss of the task.
            With a loss of your own they are what that takes, any pytree or None.
        loss: (output, ys) -> a loss for each example, (B,), or several, (B, …), whose mean is
            differentiated, or one number; without ys also of the output alone. All models but a
            Network need one, or a cotangent; for a Network it takes the place of the task's, and
            the output is ŷ. A function of its own each time compiles each time. Torch's own losses,
            such as `torch.nn.functional.cross_entropy`, are given the `logits` of an output that
            has them, or the first tensor in it. None, as well as no cotangent, for a module of
            PyTorch that returns its loss, alone, first, or as `loss` of the output.
        cotangent: instead, Δ of the output, a pytree like it; of a Network Δz[L] of the batch,
            (B, n[L]); of PyTorch a tensor like the output, or like its `logits` or first tensor.
            Laws of propagation hold cleanly only for one that does not depend on the forward pass.
        each: "example" if a module, function or layer takes one example, "whole" if there are no
            examples, see `jaxnn.as_network`.
        cuts: of a function or module of JAX, see `jaxnn.as_network`. Of PyTorch modules, their
            names, or patterns such as "transformer.h.*", whose * stands for what has no dot: those
            whose outputs are the states. If None, the longest ModuleList, ModuleDict or Sequential
            of equal blocks in which each leads to the next, wherever it lies, with lists that go on
            in it, such as stages, a decoder or a tower, and that holds half of the parameters, if
            one does. Of lists of lists, which are never called, the modules in the inner ones that
            everything passes through, or else those with a product. Children of a Sequential
            without parameters, such as activations, join the next one that has some. If there is no
            such list, the children of the module. The flow's first note says what was taken, and
            which shares of the parameters, without lookup tables, and of the products it holds.
        memory: "all" stores z of every layer, 4 B n bytes in float32; "sqrt" stores, of a run of k
            layers, the input of every √k-th and computes those between a second time. The results
            are the same, up to the order in which the compiler adds.
        entries: whether the exponents of all entries of Δ, states, parameters and their Δ are
            counted as well, for `flow.formats()`, `jaxnn.plan` and the verdict. Of PyTorch Δ of
            parameters is not.
        theory: whether `flow.theory` is measured as well, the flow of the network's wide twin for
            the same cotangent or loss, see `jaxnn.theory.wide`. That of a module of PyTorch is run
            by torch: products with its weights are draws, in replicas that run side by side.
        theory_error: of the gradient over the whole network in theory, in decades, or a thousandth
            of these if that is more; draws of the twin are repeated until it is known as well.

    Returns:
        Flow. Of PyTorch a layer for each call of a cut, in their order. `parameters` are all that a
        gradient comes to, by their names, once each, in the lowest layer that uses them; those
        above the last cut have the layer L + 1. `log_theta` is nan for a layer that shares one with
        another. `log_delta_input` belongs to the first tensor of the inputs; it is nan if that has
        no floats. `log_branch` of the first layer is nan, since its stream is no state. `mixes` is
        found where it matters, where exponents of their own make examples wrong. `linear` is True:
        what is found not to be linear is an error. Attention and routers are recognised in the
        operations of the pass up; a note names kernels that hand out no logits. Channels are on the
        last axis of a state, or on the first after the examples if its cut has convolutions, or
        norms of images, of as many channels.

        Of an output with several tensors the first is the state, and others too if the gradient
        would go around it otherwise, such as the c of an LSTMCell. A state that paths lead around,
        inside a skip connection or between the ends of a U-Net, has the gradient that torch has
        there. It is not scaled until the next state that everything passes through; what leaves the
        range before is nan in all layers from there down, `unmeasured`, which a note explains.
        Where states, the loss or Δ are nan or infinite, Δ is what plain backpropagation has.

    Raises:
        TypeError: something that is no model, or a module of TorchScript; as `jaxnn.backprop`.
        ValueError: as `jaxnn.as_network` and `jaxnn.backprop`; also unless exactly one of loss (of
            a Network, loss or ys) and cotangent is given, and, outside `jit`, if a state has left
            the range of the dtype; inside `jit` the size of every Δ is nan then. For a layer that
            cannot be measured, with its name and the reason. Of PyTorch, no cuts that could be
            chosen, or an unknown one; a cut that is not called, has an output without a gradient or
            without the examples first, or is not reached by the gradient; a gradient that something
            clips; a loss that is not a number, or one for each example; a cotangent that does not
            fit; parameters that are uninitialised or were made in inference mode.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> net = jaxnn.Network(sizes=(3, *[64] * 500, 1), activation="sigmoid", task="binary")
        >>> params = jaxnn.init(net, jax.random.key(0), stacked=True)
        >>> flow = jaxnn.gradient_flow((net, params), jnp.ones((2, 3)), jnp.array([0, 1]))
        >>> round(float(flow.log_delta[0] / jnp.log(10)) / 10)  # 10^-316 or so, in float32
        -32
        >>> def f(thetas, z):
        ...     for theta in thetas:
        ...         z = jnp.tanh(z @ theta)
        ...     return z
        >>> thetas = [jnp.eye(3) / 2] * 4
        >>> def log_delta(thetas, xs):
        ...     return jaxnn.gradient_flow((f, thetas), xs, cotangent=xs).log_delta
        >>> jax.jit(log_delta)(thetas, jnp.ones((2, 3))).shape
        (4,)

    Example (where torch is installed):
        >>> import jaxnn, torch  # doctest: +SKIP
        >>> block = torch.nn.TransformerEncoderLayer(
        ...     64, 4, 128, batch_first=True
        ... )  # doctest: +SKIP
        >>> model = torch.nn.TransformerEncoder(block, 4)  # doctest: +SKIP
        >>> xs, ys = torch.randn(2, 8, 16, 64)  # doctest: +SKIP
        >>> loss = torch.nn.functional.mse_loss  # doctest: +SKIP
        >>> flow = jaxnn.gradient_flow(model, xs, ys, loss=loss)  # doctest: +SKIP
        >>> flow.names[0], flow.log_delta.shape  # doctest: +SKIP
        ('layers.0', (4,))
    """
    return flow_of(
        Program.of(**locals()),
        memory=memory,
        entries=entries,
        theory=theory,
        theory_error=theory_error,
    )


def flow_of(program: Program, **options: Any) -> Flow:
    """Return the flow of a program, given the other arguments of `gradient_flow`."""
    return (_flow_of_module if program.of_torch else flow_of_program)(program, **options)


def _flow_of_module(
    program: Program,
    memory: Memory = "all",
    entries: bool = False,
    theory: bool = False,
    theory_error: float = GOAL,
) -> Flow:
    if memory != "all":
        raise ValueError(f"memory: expected all for a module of PyTorch, got {memory}")
    flow = torch_flow(program, entries)
    if not theory:
        return flow
    return replace(flow, theory=theory_of_module(theory_error, flow, program.call))


@measuring
def at_depths(
    model: Model,
    xs: PyTree,
    ys: PyTree = None,
    *,
    depth: Depth,
    loss: Loss | None = None,
    cotangent: PyTree = None,
    memory: Memory = "all",
    entries: bool = False,
) -> Flow:
    """Return the flow of a Network without its last hidden layers, of one depth or of several.

    For xs, ys, loss, cotangent, memory and entries see `jaxnn.gradient_flow`.

    Args:
        model: a pair (net, params) of a Network, whose params hold the layers in one run.
        depth: the number of hidden layers used, an integer or a traced integer; the last layers of
            the run are left out. Or a list of k of them: a flow of each, with one forward pass for
            all if memory is "all", since each network is the start of a deeper one.

    Returns:
        Flow. For k depths its arrays have an axis of k in front; `flow[i]` is that of depth i.

    Raises:
        ValueError, TypeError: as `jaxnn.gradient_flow`; a chain, or a depth without a run.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> net = jaxnn.Network(sizes=(3, *[8] * 9, 1), activation="tanh", task="binary")
        >>> params = jaxnn.init(net, jax.random.key(0), stacked=True)
        >>> data = jnp.ones((2, 3)), jnp.array([0, 1])
        >>> flows = jaxnn.flow.at_depths((net, params), *data, depth=[2, 4, 8])
        >>> flows.log_delta.shape, len(flows[0].names)
        ((3, 10), 10)
    """
    program = Program.of(**locals())
    return flow_of_program(program, depth=depth, memory=memory, entries=entries)
