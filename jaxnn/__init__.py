"""jaxnn: a feed-forward network, its backpropagation by hand, and what depth does to gradients.

net = jaxnn.Network(sizes=(3, 4, 1), activation="sigmoid", task="binary")
params = jaxnn.init(net, jax.random.key(0))
value, gradient = jax.jit(jaxnn.backprop)(net, params, xs, ys)
"""

from typing import TYPE_CHECKING

from .cli import loading  # noqa: F401, comes before all that imports JAX

# isort: split
from . import distribution  # noqa: F401, warns of what the rest may be mixed with

# The top level: what people type. The rest lies in the modules listed first.
if TYPE_CHECKING:
    from . import blocks as blocks
    from . import errors as errors
    from . import flow as flow
    from . import initializers as initializers
    from . import network as network
    from . import passes as passes
    from . import scaling as scaling
    from . import theory as theory
    from . import train as train
    from . import watching as watching
    from .chain.chain import Run as Run
    from .diagnosis import Diagnosis as Diagnosis
    from .diagnosis import diagnose as diagnose
    from .flow.gradient_flow import gradient_flow as gradient_flow
    from .flow.jacobian.spectrum import spectrum as spectrum
    from .flow.record.flow import Flow as Flow
    from .flow.verdict.format_plan import Plan as Plan
    from .flow.verdict.format_plan import plan as plan
    from .flow.verdict.verdict import Verdict as Verdict
    from .flow.verdict.verdict import verdict as verdict
    from .flow.view.chart import chart as chart
    from .initializers import init as init
    from .models import as_network as as_network
    from .network.network import Network as Network
    from .passes.backprop import backprop as backprop
    from .passes.backprop import deltas as deltas
    from .passes.forward import forward as forward
    from .passes.forward import trace as trace
    from .rehearsal.checkup import Checkup as Checkup
    from .rehearsal.checkup import checkup as checkup
    from .scaling import scaling_check as scaling_check
    from .sweeps.frame import Sweep as Sweep
    from .sweeps.sweep import sweep as sweep
    from .train.fitting import fit as fit
    from .trials.cure import Cure as Cure
    from .trials.cures import Cures as Cures
    from .trials.cures import cures as cures
    from .watching.watch import Watch as Watch
    from .watching.watch import watch as watch
else:
    from .exports import on_demand

    __getattr__, __dir__, __all__ = on_demand(__name__)

__version__ = "0.3.0"
