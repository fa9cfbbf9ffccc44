"""Networks of FlowJAX: normalising flows, whose output is a log density."""

from typing import Any

import jax
import paramax
from flowjax import flows
from flowjax.distributions import Normal


def flow(name: str, **options: Any) -> Any:
    drawn = getattr(flows, name)(jax.random.key(0), base_dist=Normal(jax.numpy.zeros(8)), **options)
    return lambda flow, x: paramax.unwrap(flow).log_prob(x)[None], drawn
