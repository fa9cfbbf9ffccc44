"""Networks of FlowJAX: normalising flows, whose output is a log density or a sample."""

from typing import Any

import jax
import paramax
from flowjax import flows
from flowjax.distributions import Normal

from experiments.menagerie import inputs

KEY, BASE = jax.random.key(0), Normal(jax.numpy.zeros(8))


def _log_density(flow: Any) -> dict[str, Any]:
    f = lambda flow, x: paramax.unwrap(flow).log_prob(x)[None]
    return {"model": (f, flow), "xs": inputs.vectors(), "each": "example"}


def coupling() -> dict[str, Any]:
    """coupling_flow."""
    return _log_density(flows.coupling_flow(KEY, base_dist=BASE, flow_layers=4, nn_width=8))


def masked_autoregressive() -> dict[str, Any]:
    """masked_autoregressive_flow."""
    return _log_density(
        flows.masked_autoregressive_flow(KEY, base_dist=BASE, flow_layers=4, nn_width=8)
    )


def block_neural() -> dict[str, Any]:
    """block_neural_autoregressive_flow."""
    return _log_density(
        flows.block_neural_autoregressive_flow(
            KEY, base_dist=BASE, nn_block_dim=2, flow_layers=2, invert=False
        )
    )


def planar() -> dict[str, Any]:
    """planar_flow."""
    return _log_density(
        flows.planar_flow(KEY, base_dist=BASE, flow_layers=4, width_size=8, depth=1)
    )


def triangular_spline() -> dict[str, Any]:
    """triangular_spline_flow."""
    return _log_density(flows.triangular_spline_flow(KEY, base_dist=BASE, flow_layers=2))
