"""Optimisers by name: those of optax that treat every entry of a parameter by itself.

Left out are optimisers that look at a parameter as a whole (lamb, lars, fromage, novograd, sm3,
adafactor): a run of equal layers is one parameter here, and their steps would differ from those of
the same layers one by one. Left out too are those that need more than a gradient.
"""

from functools import cache

import optax

from jaxnn.train.steps import Optimizer

# By their names in optax, and one of our own: sgd with the usual momentum.
NAMES = (
    *("sgd", "momentum", "rmsprop", "adam", "adamw", "adamax", "adamaxw", "adabelief", "amsgrad"),
    *("nadam", "nadamw", "radam", "adan", "yogi", "adagrad", "adadelta", "lion", "sign_sgd"),
    *("rprop", "optimistic_gradient_descent"),
)
USUAL_MOMENTUM = 0.9


@cache
def make(name: str, rate: float) -> Optimizer:
    """Return the optimiser of that name.

    Equal arguments give the same object: under `jit` it is static, and compared by identity.

    Raises:
        ValueError: an unknown name.

    Example:
        >>> import jax.numpy as jnp
        >>> sgd = make("sgd", 0.5)
        >>> sgd.update(jnp.ones(1), sgd.init(jnp.ones(1)))[0]
        Array([-0.5], dtype=float32)
    """
    if name not in NAMES:
        raise ValueError(f"optimizer: there is no {name!r}; choose one of {', '.join(NAMES)}")
    if name == "momentum":
        return optax.sgd(rate, momentum=USUAL_MOMENTUM)
    made: Optimizer = getattr(optax, name)(learning_rate=rate)
    return made
