"""jaxnn: a feed-forward network, its backpropagation by hand, and what depth does to gradients.

net = jaxnn.Network(sizes=(3, 4, 1), activation="sigmoid", task="binary")
params = jaxnn.init(net, jax.random.key(0))
value, gradient = jax.jit(jaxnn.backprop)(net, params, xs, ys)
"""

from . import loading  # noqa: F401, comes before all that imports JAX

# isort: split
from . import distribution, meanfield  # noqa: F401, warns of what the rest may be mixed with
from .activations import ACTIVATIONS, Activation, find_activation
from .backprop import Deltas, backprop, deltas, mean_loss
from .blocks import BatchNorm, Block, Dense, LayerNorm, PostNorm, Residual, RMSNorm
from .chain import Chain, Run, chain
from .chain_flow import ChainFlow
from .chain_verdict import ChainVerdict
from .chart import chart
from .divergence import NonFiniteError
from .fit import Fit, History, fit, split
from .flow import Flow, gradient_flow, log_norm
from .forward import Trace, forward, loss, trace
from .initializers import BIASES, WEIGHTS, gaussian, init, looks_linear, orthogonal
from .layers import Layer, stack, unstack
from .network import Network
from .pytorch import from_torch, torch_flow
from .scores import Scores, evaluate
from .spectrum import Spectrum, spectrum
from .tailored import tailored_relu
from .tasks import TASKS, Task, find_task
from .training import State, each_epoch, epoch, start, step
from .verdict import Verdict, verdict

__version__ = "0.2.0"

__all__ = [
    "ACTIVATIONS",
    "BIASES",
    "TASKS",
    "WEIGHTS",
    "Activation",
    "BatchNorm",
    "Block",
    "Chain",
    "ChainFlow",
    "ChainVerdict",
    "Deltas",
    "Dense",
    "Fit",
    "Flow",
    "History",
    "Layer",
    "LayerNorm",
    "Network",
    "NonFiniteError",
    "PostNorm",
    "RMSNorm",
    "Residual",
    "Run",
    "Scores",
    "Spectrum",
    "State",
    "Task",
    "Trace",
    "Verdict",
    "backprop",
    "chain",
    "chart",
    "deltas",
    "each_epoch",
    "epoch",
    "evaluate",
    "find_activation",
    "find_task",
    "fit",
    "forward",
    "from_torch",
    "gaussian",
    "gradient_flow",
    "init",
    "log_norm",
    "looks_linear",
    "loss",
    "mean_loss",
    "meanfield",
    "orthogonal",
    "spectrum",
    "split",
    "stack",
    "start",
    "step",
    "tailored_relu",
    "torch_flow",
    "trace",
    "unstack",
    "verdict",
]
