"""jaxnn: a feed-forward network, its backpropagation by hand, and what depth does to gradients.

net = jaxnn.Network(sizes=(3, 4, 1), activation="sigmoid", task="binary")
params = jaxnn.init(net, jax.random.key(0))
value, gradient = jax.jit(jaxnn.backprop)(net, params, xs, ys)
"""

from . import meanfield
from .activations import ACTIVATIONS, Activation, find_activation
from .backprop import Deltas, backprop, deltas, mean_loss
from .flow import Flow, gradient_flow, log_norm
from .initializers import BIASES, WEIGHTS, gaussian, init, orthogonal
from .layers import Layer, stack, unstack
from .network import Network, Trace, forward, loss, trace
from .spectrum import Spectrum, spectrum
from .tasks import TASKS, Task, find_task
from .verdict import Verdict, verdict

__version__ = "0.1.0"

__all__ = [
    "ACTIVATIONS",
    "BIASES",
    "TASKS",
    "WEIGHTS",
    "Activation",
    "Deltas",
    "Flow",
    "Layer",
    "Network",
    "Spectrum",
    "Task",
    "Trace",
    "Verdict",
    "backprop",
    "deltas",
    "find_activation",
    "find_task",
    "forward",
    "gaussian",
    "gradient_flow",
    "init",
    "log_norm",
    "loss",
    "mean_loss",
    "meanfield",
    "orthogonal",
    "spectrum",
    "stack",
    "trace",
    "unstack",
    "verdict",
]
