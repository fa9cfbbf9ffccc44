"""The band of a network: what one draw of its weights differs by from another, at its own width.

    params  ->  the same with random signs, draw by draw  ->  flows  ->  mean and sd of ln ‖Δ‖

A random sign before each entry of a weight is another draw of weights of the same sizes. So the
mean has all that a finite width does to it, whatever the network is made of, where formulas know
plain layers and skip connections only.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from ...arrays.compiled import compiled
from ...chain.chain import Chain
from ...chain.parameter_places import ArrayPlace, changed
from ...models import Cuts, Model, Program
from ...network.network import Network
from ...texts import told
from ...theory.twin.wide import check_net, check_untraced
from ..measure.flow_of_net import flow_of_net
from ..measure.torch_flow import torch_flow
from ..record.flow import Flow
from ..record.loss import Loss
from .of_torch import TorchModel

DRAWS = 16


class DrawnBand(NamedTuple):
    """ln ‖Δstate[l]‖ - ln ‖Δstate[L]‖ of networks whose weights are drawn anew, in nats.

    log_delta: the mean over draws, (L,).
    sd: the standard deviation of one draw, (L,).
    error: the standard error of the mean, (L,).
    """

    log_delta: np.ndarray
    sd: np.ndarray
    error: np.ndarray


def drawn_band(
    model: Model,
    xs: PyTree,
    ys: Any = None,
    *,
    loss: Loss | None = None,
    cotangent: Any = None,
    each: str = "batch",
    cuts: Cuts = None,
    draws: int = DRAWS,
    key: Any = None,
) -> DrawnBand:
    """Return mean and deviation of the gradient over draws of the weights, in any network.

    Each draw has the weights' sizes, entry by entry, with random signs; biases, gains and other
    arrays of one axis stay. The mean differs from theory of infinite width by the bias of a finite
    one, some L/n, and a network within two or three `sd` of it is like a random one. For plain
    layers and skip connections `jaxnn.theory.meanfield.log_delta_band` has formulas.

    For model, xs, ys, loss, cotangent, each and cuts see `jaxnn.gradient_flow`.

    Args:
        draws: networks, at least two; each takes one flow, by the program of the network's own.
        key: of the signs; that of seed 0 by default, and none of PyTorch.

    Raises:
        TypeError: something that is no model, or traced arrays.
        ValueError: draws that are no integer of at least 2; and as `jaxnn.gradient_flow`.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> relu = lambda w, z: jax.nn.relu(z) @ w
        >>> keys = jax.random.split(jax.random.key(0), 21)
        >>> layers = [(relu, jax.random.normal(k, (32, 32)) / 4) for k in keys[1:]]
        >>> xs = jax.random.normal(keys[0], (1, 32))
        >>> band = jaxnn.theory.drawn_band(layers, xs, cotangent=xs)
        >>> bool(0.5 < band.sd[0] < 1.5)  # √(19 · 5/(4 · 32)) = 0.86
        True
    """
    if isinstance(draws, bool) or not isinstance(draws, int) or draws < 2:
        raise ValueError(f"draws: expected an integer of at least 2, got {told(draws)}")
    program = Program.of(**locals())
    if program.of_torch:
        flows = _flows_of_module(TorchModel(program, key), draws)
    else:
        net, params = program.network
        check_net(net)
        check_untraced("the band of draws", params, xs)
        keys = jax.random.split(jax.random.key(0) if key is None else key, draws)
        given = {"loss": program.loss, "cotangent": cotangent}
        flows = (flow_of_net(net, _drawn(net, params, k), xs, ys, **given) for k in keys)
    log_deltas = (np.asarray(flow.log_delta, np.float64) for flow in flows)
    logs = [log_delta - log_delta[-1] for log_delta in log_deltas]
    sd = np.std(logs, axis=0, ddof=1)
    return DrawnBand(np.mean(logs, axis=0), sd, sd / draws**0.5)


def _flows_of_module(model: TorchModel, draws: int) -> Iterator[Flow]:
    """Yield the flows of a module with other signs each time."""
    for seed in range(draws):
        with model.with_signs(seed):
            yield torch_flow(model.program)


@compiled
def _drawn(net: Network | Chain, params: Any, key: Array) -> Any:
    """Return parameters with random signs of all weights; shared ones share theirs."""

    def flipped(v: Any, place: ArrayPlace) -> Any:
        key_of_place = jax.random.fold_in(jax.random.fold_in(key, place.layers[0]), place.number)
        return jnp.asarray(v) * jax.random.rademacher(key_of_place, jnp.shape(v), v.dtype)

    return changed(net, params, flipped)
