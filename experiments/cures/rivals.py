"""The rivals: other packages' and papers' weights for the plain networks, judged as cures are.

`a plain network -> the rival's weights -> its flow -> rate, signal, what is left of the examples`
"""

import importlib.util
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

import jaxnn
from experiments.cures.columns import ANYINIT, LSUV
from experiments.cures.networks import ACTIVATIONS, NETWORKS
from jaxnn.curing.cures import Cure, judged
from jaxnn.curing.patients import OfJax, Patient
from jaxnn.curing.weights import orthogonal_like


def measured(name: str, settings: Any) -> Iterator[tuple[str, Cure]]:
    """Yield each rival's name with what it makes of a plain network; none of others."""
    if name not in ACTIVATIONS:
        return
    yield LSUV, by_lsuv(name, settings)
    if all(map(importlib.util.find_spec, ("anyinit", "torch"))):
        from experiments.cures import rivals_torch  # here, for the packages need not be there

        for mode in rivals_torch.MODES:
            yield ANYINIT, as_cure(rivals_torch.by_anyinit(name, settings, mode), mode)


def by_lsuv(name: str, settings: Any) -> Cure:
    """Return orthogonal matrices, each over the deviation of its outputs, the lowest first.

    Source: Mishkin & Matas 2016, arXiv:1511.06422.
    """
    key = jax.random.key(settings.seed)
    made, rng = NETWORKS[name](settings.depth, settings.width, key), np.random.default_rng(0)
    state, layers = made.xs, []
    for f, w in made.layers:
        q = orthogonal_like(rng, np.asarray(w, np.float64))
        q = np.asarray(q / np.std(np.asarray(state) @ q), np.float32)
        layers.append((f, q))
        state = f(q, state)
    net, params = jaxnn.from_layers(layers)
    cotangent = jax.random.normal(jax.random.fold_in(key, 2), made.xs.shape)
    options = {"loss": None, "cotangent": cotangent}
    return as_cure(OfJax(params, net, made.xs, None, options), "")


def as_cure(patient: Patient, advice: str) -> Cure:
    """Return a rival's network judged as a cure that leaves it as it is."""
    return judged(patient, "", advice, patient.params, None, theory=False)
