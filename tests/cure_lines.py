"""Lines of cures, run as they stand, and what they make compared with the changed model."""

import copy
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np


def run(code, **names):
    """Return the names that lines define, given some."""
    names |= {"jax": jax, "jnp": jnp, "eqx": eqx, "torch": sys.modules.get("torch")}
    exec(code, names)
    return names


def holders(model):
    """A copy of what lines change of a pair, list or module, by the name that it has in them."""
    is_pair = isinstance(model, tuple)
    own = model[1] if is_pair else model
    if hasattr(own, "parameters"):
        own = copy.deepcopy(own)
    else:
        own = jax.tree.map(lambda v: v.copy() if isinstance(v, np.ndarray) else v, own)
    return {"params" if is_pair else "model" if callable(model) else "layers": own}


def changed_by_lines(code, model, **names):
    """A model of the user's as lines change a copy of it."""
    ((variable, own),) = holders(model).items()
    made = run(code, **{variable: own}, **names)[variable]
    return (model[0], made) if isinstance(model, tuple) else made


def arrays_of(model):
    if hasattr(model, "parameters"):
        return [p.detach().double().numpy() for p in model.parameters()]
    leaves = jax.tree.leaves(model[1] if isinstance(model, tuple) else model)
    return [np.asarray(v, float) for v in leaves if eqx.is_inexact_array_like(v)]


def assert_lines_make(cure, model):
    """Lines make the arrays of the changed model, those that are drawn too."""
    made = changed_by_lines(cure.code, model, z=jnp.ones((2, 2)), layer=lambda z: z)
    for v, expected in zip(arrays_of(made), arrays_of(cure.model), strict=True):
        size = np.sqrt(np.mean(np.square(expected)))
        message = f"{cure.advice}\n{cure.code}"
        np.testing.assert_allclose(v, expected, 1e-4, 1e-4 * size, err_msg=message)
