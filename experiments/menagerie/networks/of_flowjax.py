"""Networks of FlowJAX: normalising flows, whose output is a log density or a sample."""

import jax
import paramax
from flowjax import flows
from flowjax.distributions import Normal
from jaxtyping import PyTree

from experiments.menagerie import inputs

KEY, BASE = jax.random.key(0), Normal(jax.numpy.zeros(8))


def arguments(flow: PyTree, xs: inputs.Batch) -> inputs.Arguments:
    f = lambda flow, x: paramax.unwrap(flow).log_prob(x)[None]
    return {"model": (f, flow), "xs": xs, "each": "example"}


NETWORKS: inputs.Networks = {
    "coupling": (
        "coupling_flow",
        lambda: flows.coupling_flow(KEY, base_dist=BASE, flow_layers=4, nn_width=8),
        inputs.vectors,
    ),
    "masked_autoregressive": (
        "masked_autoregressive_flow",
        lambda: flows.masked_autoregressive_flow(KEY, base_dist=BASE, flow_layers=4, nn_width=8),
        inputs.vectors,
    ),
    "block_neural": (
        "block_neural_autoregressive_flow",
        lambda: flows.block_neural_autoregressive_flow(
            KEY, base_dist=BASE, nn_block_dim=2, flow_layers=2, invert=False
        ),
        inputs.vectors,
    ),
    "planar": (
        "planar_flow",
        lambda: flows.planar_flow(KEY, base_dist=BASE, flow_layers=4, width_size=8, depth=1),
        inputs.vectors,
    ),
    "triangular_spline": (
        "triangular_spline_flow",
        lambda: flows.triangular_spline_flow(KEY, base_dist=BASE, flow_layers=2),
        inputs.vectors,
    ),
}
