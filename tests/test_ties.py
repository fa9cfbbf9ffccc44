"""Weights that layers share: one draw for all of them, or a refusal that names them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn
from jaxnn.chain.apply import applied

pytestmark = pytest.mark.usefixtures("users_jax")

N, REPLICAS, EXAMPLES = 4, 6, 2
RANDOM = np.random.default_rng(0)
W, V = RANDOM.normal(size=(2, N, N)).astype(np.float32)
STACK = RANDOM.normal(size=(3, N, N)).astype(np.float32)


def _with(f):
    """Return a layer that puts what f makes of the last one in front of all states before."""
    return lambda w, states: (f(w, states[0]), *states)


def _minus(f):
    """Return a layer that takes what f makes of the input from the last state."""
    return lambda w, states: states[0] - f(w, states[-1])


def _times(w, z):
    return z @ w


def _several(stack, z):
    for w in stack:
        z = z @ w
    return z


def _pairs(w, z):
    """Return relu(z) W - relu(-z) W, which is z W."""
    both = jnp.concatenate([jax.nn.relu(z), jax.nn.relu(-z)], axis=-1)
    return both @ jnp.concatenate([w, -w])


def _once(z):
    return (z,)


def _twice(z):
    return (z, z)


def _step(w, states):
    return (states[0] @ w, states[1])


def _turned_step(w, states):
    return (states[0] @ w.T, states[1])


RUN = jaxnn.Run(_step, STACK, 3)
TIED = jaxnn.Run(_step, W, 3, tied=True)
# Lists of layers whose output is 0 if a weight that several have is one matrix.
TIES = {
    "two layers": [_once, (_with(_times), W), (_minus(_times), W)],
    "a part of it": [_once, (_with(_times), W), (_minus(lambda w, z: z @ w[0]), np.stack([W, V]))],
    "positive and negative parts": [_once, (_with(_times), W), (_minus(_pairs), W)],
    "steps that share it": [_twice, TIED, (lambda w, s: s[0] - s[1] @ w @ w @ w, W)],
    "steps that have a part each": [
        _twice,
        RUN,
        (lambda stack, s: s[0] - _several(stack, s[1]), STACK),
    ],
    "steps that go through a stack twice": [
        _twice,
        *((_step, w) for w in [*STACK, *STACK]),
        (lambda stack, s: s[0] - _several([*stack, *stack], s[1]), [*STACK]),
    ],
}
TIES["transposes that come back in reverse order"] = [
    _twice,
    *((_step, w) for w in STACK),
    *((_turned_step, w) for w in STACK[::-1]),
    (lambda w, s: s[0] - _several([*w, *(v.T for v in w[::-1])], s[1]), [*STACK]),
]
TIES["a part of it"][1] = (_with(lambda w, z: z @ w[0]), TIES["a part of it"][2][1])


def _entries(layers, xs):
    """Return the draws that products of a twin's layers share, layer by layer."""
    twin, _ = jaxnn.theory.wide(layers, replicas=REPLICAS)
    links = [link for kind in twin.for_batch(xs).kinds for link in kind.links]
    return [[] if link.ties is None else [*link.ties.value.values()] for link in links]


def _xs():
    return RANDOM.normal(size=(EXAMPLES, N)).astype(np.float32)


def test_products_of_layers_that_have_one_draw():
    """Numbers of arrays, of the steps of a run by how much further on they are."""
    *_, up, last = _entries(TIES["steps that go through a stack twice"], _xs())
    ((_, shifts),) = up[0].shifts
    assert shifts.tolist() == [0, 16, 32, 0, 16]  # of the first layer, which `_twice` joins, none
    assert len(last) == 6
    assert {entry.root for entry in [*up, *last]} == {up[0].root}
    one, other = _entries(TIES["positive and negative parts"], _xs())
    assert one[0].places.tolist() * 2 == other[0].places.tolist()
    down = _entries([(_times, W), (lambda w, z: jnp.tanh(z) @ w.T, W)], _xs())
    assert [entry.turned for (entry,) in down] == [False, True]
    back = _entries(TIES["transposes that come back in reverse order"], _xs())
    turned = [entry.turned for entries in back for entry in entries]
    assert turned == [False, False, True, *[False] * 3, *[True] * 3]
    assert _entries([(_times, W), (_times, V)], _xs()) == [[]]  # of a run


def test_weights_of_layers_that_have_no_twin_together_are_refused_by_name():
    refused = {
        r"\['a'\].* and .* made of one parameter": {
            "a": (_times, W),
            "b": (lambda w, z: z @ jnp.abs(w), W),
        },
        r"the weight \['a'\]\[1\] of shape \(4, 4\) in products that sum over other axes": {
            "a": (lambda w, z: z @ jnp.concatenate([w, w.T], axis=1), W),
            "b": (lambda w, z: z[:, :N] @ w, W),
        },
    }
    for reason, layers in refused.items():
        with pytest.raises(
            jaxnn.errors.NoTwinError, match=f"layers that share parameters: .*{reason}"
        ):
            _entries(layers, _xs())


@pytest.mark.slow
def test_layers_have_one_draw_of_a_weight():
    xs = _xs()
    replicated = np.broadcast_to(xs[:, None], (EXAMPLES, REPLICAS, N))
    nets = {name: jaxnn.theory.wide(layers, replicas=REPLICAS) for name, layers in TIES.items()}

    @jax.jit
    def every(params):
        return {name: applied(nets[name][0], params[name], replicated)[0] for name in nets}

    for name, made in every({name: params for name, (_, params) in nets.items()}).items():
        assert np.abs(made).max() < 1e-4, name
