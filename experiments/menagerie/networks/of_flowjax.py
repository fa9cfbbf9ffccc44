"""Networks of FlowJAX: normalising flows, whose output is a log density."""

from collections.abc import Callable
from typing import Any

import jax
import paramax
from flowjax import flows as flows
from flowjax.distributions import Normal


def flow(build: Callable[..., Any], **options: Any) -> Any:
    drawn = build(jax.random.key(0), base_dist=Normal(jax.numpy.zeros(8)), **options)
    return lambda flow, x: paramax.unwrap(flow).log_prob(x)[None], drawn
