"""Fields of a Network's flow by name: its own, those of its units, of θ and b alone, a mean."""

import jax
import jax.numpy as jnp

import jaxnn

OF_EXAMPLES = "log_delta_mean"
PARAMETERS = {"log_delta_theta": 0, "log_delta_b": 1}  # θ and b take turns


def field(flow: jaxnn.Flow, name: str) -> jax.Array:
    """Return a field: one of `jaxnn.Flow`, of its units, or log_delta_theta or log_delta_b.

    Or log_delta_mean: the mean of log_delta_example over the examples that have a gradient; -inf if
    none has.
    """
    if name == OF_EXAMPLES:
        has_some = ~jnp.isneginf(flow.log_delta_example)
        mean = jnp.mean(flow.log_delta_example, axis=-1, where=has_some)
        return jnp.where(jnp.any(has_some, axis=-1), mean, -jnp.inf)
    if name in PARAMETERS:
        return flow.parameters.log_delta[..., PARAMETERS[name] :: 2]
    return getattr(flow if hasattr(flow, name) else flow.units, name)
