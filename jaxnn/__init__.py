"""jaxnn: a feed-forward network, its backpropagation by hand, and what depth does to gradients.

net = jaxnn.Network(sizes=(3, 4, 1), activation="sigmoid", task="binary")
params = jaxnn.init(net, jax.random.key(0))
value, gradient = jax.jit(jaxnn.backprop)(net, params, xs, ys)
"""

from .cli import loading  # noqa: F401, comes before all that imports JAX

# isort: split
from . import distribution  # noqa: F401, warns of what the rest may be mixed with

# isort: split
from . import blocks, errors, theory, train
from .adapters.layers import Chain, Run, from_function, from_layers
from .adapters.torch.conversion import from_torch
from .arrays.rows import log_norm
from .cli.diagnose import Diagnosis, diagnose
from .curing.cures import Cure, Cures, cures, torch_cures
from .flow.chart import chart
from .flow.flow import Flow, Parameters, Streams, Units
from .flow.measure import gradient_flow
from .flow.of_torch import torch_flow
from .flow.plan import Plan, plan
from .flow.positions import Positions
from .flow.recognised import AttentionHeads, Routers
from .flow.verdict import Verdict, verdict
from .network.activations import ACTIVATIONS, Activation, find_activation
from .network.blocks import BatchNorm, Block, Dense, LayerNorm, PostNorm, Residual, RMSNorm
from .network.initializers import BIASES, WEIGHTS, gaussian, init, looks_linear, orthogonal
from .network.network import Network
from .network.params import Layer, stack, unstack
from .network.tasks import TASKS, Task, find_task
from .passes.backprop import Deltas, backprop, deltas, mean_loss
from .passes.forward import Trace, forward, loss, trace
from .passes.spectrum import Spectrum, spectrum
from .theory.tailored import tailored_relu
from .train import evaluate, fit
from .train.watch import Watch, watch

__version__ = "0.2.0"

__all__ = [
    "ACTIVATIONS",
    "BIASES",
    "TASKS",
    "WEIGHTS",
    "Activation",
    "AttentionHeads",
    "BatchNorm",
    "Block",
    "Chain",
    "Cure",
    "Cures",
    "Deltas",
    "Dense",
    "Diagnosis",
    "Flow",
    "Layer",
    "LayerNorm",
    "Network",
    "Parameters",
    "Plan",
    "Positions",
    "PostNorm",
    "RMSNorm",
    "Residual",
    "Routers",
    "Run",
    "Spectrum",
    "Streams",
    "Task",
    "Trace",
    "Units",
    "Verdict",
    "Watch",
    "backprop",
    "blocks",
    "chart",
    "cures",
    "deltas",
    "diagnose",
    "errors",
    "evaluate",
    "find_activation",
    "find_task",
    "fit",
    "forward",
    "from_function",
    "from_layers",
    "from_torch",
    "gaussian",
    "gradient_flow",
    "init",
    "log_norm",
    "looks_linear",
    "loss",
    "mean_loss",
    "orthogonal",
    "plan",
    "spectrum",
    "stack",
    "tailored_relu",
    "theory",
    "torch_cures",
    "torch_flow",
    "trace",
    "train",
    "unstack",
    "verdict",
    "watch",
]
