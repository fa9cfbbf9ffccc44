"""jaxnn: a feed-forward network, its backpropagation by hand, and what depth does to gradients.

net = jaxnn.Network(sizes=(3, 4, 1), activation="sigmoid", task="binary")
params = jaxnn.init(net, jax.random.key(0))
value, gradient = jax.jit(jaxnn.backprop)(net, params, xs, ys)
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING

from .cli import loading  # noqa: F401, comes before all that imports JAX

# isort: split
from . import distribution  # noqa: F401, warns of what the rest may be mixed with

# Each name is imported where it is first asked for: all of them take a third as long as JAX, of
# which few need much. Type checkers and the reference read the first list, Python the second.
if TYPE_CHECKING:
    from . import blocks, errors, theory, train
    from .arrays.rows import log_norm
    from .chain.chain import Chain, Run, from_function, from_layers
    from .curing.cures import Cure, Cures, cures, torch_cures
    from .diagnosis import Diagnosis, diagnose
    from .flow.measure.gradient_flow import gradient_flow
    from .flow.measure.torch_flow import torch_flow
    from .flow.record.flow import Flow, Parameters, Streams, Units
    from .flow.record.heads import AttentionHeads, Routers
    from .flow.record.positions import Positions
    from .flow.verdict.comparison import Comparison, compare
    from .flow.verdict.format_plan import Plan, plan
    from .flow.verdict.verdict import Verdict, verdict
    from .flow.view.chart import chart
    from .network.activations import ACTIVATIONS, Activation, find_activation
    from .network.blocks import BatchNorm, Block, Dense, LayerNorm, PostNorm, Residual, RMSNorm
    from .network.initializers import BIASES, WEIGHTS, gaussian, init, looks_linear, orthogonal
    from .network.network import Network
    from .network.params import Layer, stack, unstack
    from .network.tasks import TASKS, Task, find_task
    from .passes.backprop import Deltas, backprop, deltas, mean_loss
    from .passes.forward import Trace, forward, loss, trace
    from .passes.spectrum import Spectrum, spectrum
    from .pytorch.conversion import from_torch
    from .theory.tailored import tailored_relu
    from .train import evaluate, fit
    from .train.torch_watch import TorchWatch, torch_watch
    from .train.watch import Watch, watch
    from .train.widths import WidthCheck, width_check
else:
    _MODULES = {
        "chain.chain": "Chain Run from_function from_layers",
        "pytorch.conversion": "from_torch",
        "arrays.rows": "log_norm",
        "diagnosis": "Diagnosis diagnose",
        "curing.cures": "Cure Cures cures torch_cures",
        "flow.view.chart": "chart",
        "flow.verdict.comparison": "Comparison compare",
        "flow.record.flow": "Flow Parameters Streams Units",
        "flow.measure.gradient_flow": "gradient_flow",
        "flow.measure.torch_flow": "torch_flow",
        "flow.verdict.format_plan": "Plan plan",
        "flow.record.positions": "Positions",
        "flow.record.heads": "AttentionHeads Routers",
        "flow.verdict.verdict": "Verdict verdict",
        "network.activations": "ACTIVATIONS Activation find_activation",
        "network.blocks": "BatchNorm Block Dense LayerNorm PostNorm Residual RMSNorm",
        "network.initializers": "BIASES WEIGHTS gaussian init looks_linear orthogonal",
        "network.network": "Network",
        "network.params": "Layer stack unstack",
        "network.tasks": "TASKS Task find_task",
        "passes.backprop": "Deltas backprop deltas mean_loss",
        "passes.forward": "Trace forward loss trace",
        "passes.spectrum": "Spectrum spectrum",
        "theory.tailored": "tailored_relu",
        "train": "evaluate fit",
        "train.torch_watch": "TorchWatch torch_watch",
        "train.watch": "Watch watch",
        "train.widths": "WidthCheck width_check",
    }
    _PLACES = {name: module for module, names in _MODULES.items() for name in names.split()}

    def _imported(module):
        """Import a module; JAX draws random numbers of NumPy's then, and those are the user's."""
        random = sys.modules.get("numpy.random") if "jax" not in sys.modules else None
        state = random and random.get_state()
        try:
            return import_module(f".{module}", __name__)
        finally:
            if random:
                random.set_state(state)

    def __getattr__(name):
        if name in ("blocks", "errors", "theory", "train"):
            return _imported(name)
        if name not in _PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(_imported(_PLACES[name]), name)
        return value

    def __dir__():
        return sorted({*globals(), *__all__})


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
    "Comparison",
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
    "TorchWatch",
    "Trace",
    "Units",
    "Verdict",
    "Watch",
    "WidthCheck",
    "backprop",
    "blocks",
    "chart",
    "compare",
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
    "torch_watch",
    "trace",
    "train",
    "unstack",
    "verdict",
    "watch",
    "width_check",
]
