"""Fields of a Network's flow by name, among them those of its units and of θ and b alone."""

import jax

import jaxnn

PARAMETERS = {"log_delta_theta": 0, "log_delta_b": 1}  # θ and b take turns


def field(flow: jaxnn.Flow, name: str) -> jax.Array:
    """Return a field: one of `jaxnn.Flow`, of its units, or log_delta_theta or log_delta_b."""
    if name in PARAMETERS:
        return flow.parameters.log_delta[..., PARAMETERS[name] :: 2]
    return getattr(flow if hasattr(flow, name) else flow.units, name)
