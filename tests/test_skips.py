"""Skip connections around a layer: where they are recognised, and what branches add to a stream."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import norm

import jaxnn
from experiments.casebook import said
from experiments.casebook.programs.jax_steps import dying_branch
from jaxnn.chain.state import LayerState
from jaxnn.recognition.skips import Skip, skip_of
from jaxnn.recognition.step_graph import Graph

N = 3


def branch(p, z):
    return jnp.tanh(norm(z) @ p) @ p


# The layer, how many arrays its state has, and its skip connection.
LAYERS = {
    "pre-norm": (lambda p, z: z + branch(p, z), 1, Skip(0, 0)),
    "two branches": (lambda p, z: z + branch(p, z) + branch(p, z + branch(p, z)), 1, Skip(0, 0)),
    "the stream last": (lambda p, z: branch(p, z) + z.reshape(-1).reshape(z.shape), 1, Skip(0, 0)),
    "another array's": (lambda p, s: (branch(p, s[0]) + s[1], s[0] @ p), 2, Skip(1, 0)),
    "the second sum": (lambda p, s: (branch(p, s[0]), s[1] + s[0] @ p), 2, Skip(1, 1)),
    "remat": (jax.remat(lambda p, z: z + branch(p, z)), 1, Skip(0, 0)),
    "post-norm": (lambda p, z: norm(z + branch(p, z)), 1, None),
    "none": (branch, 1, None),
    "a factor of the stream": (lambda p, z: 0.5 * z + branch(p, z), 1, None),
    "a bias": (lambda p, z: z + p[:1], 1, None),
    "twice the stream": (lambda p, z: z + z, 1, None),
    "nothing added": (lambda p, z: z, 1, None),
    "either is the stream": (lambda p, s: (s[0] + s[1] + branch(p, s[0]), s[1]), 2, None),
    "another size": (lambda p, z: z[:, :1] + branch(p, z), 1, None),
}


@pytest.mark.parametrize(("layer", "arrays", "expected"), LAYERS.values(), ids=LAYERS)
def test_a_skip_is_a_sum_of_an_array_as_it_came_in_and_of_what_is_made_of_the_state(
    layer, arrays, expected
):
    z = jnp.zeros((4, N))
    state = z if arrays == 1 else (z,) * arrays
    closed = jax.make_jaxpr(layer)(jnp.zeros((N, N)), state)
    assert skip_of(Graph.of(closed, state), state) == expected


def test_of_a_function_that_is_cut_before_the_sum_the_main_array_is_the_branch():
    def layer(p, s):
        z = s.streams[1] + s.streams[0]
        return LayerState((branch(p, z), z))

    z = jnp.zeros((4, N))
    closed = jax.make_jaxpr(layer)(jnp.zeros((N, N)), LayerState((z, z)))
    graph = Graph.of(closed, LayerState((z, z)))
    assert skip_of(graph, LayerState((z, z))) == Skip(1, 1)
    assert skip_of(graph, (z, z)) is None  # of layers of a user's own, where none is the main one


def by_hand(layers, z):
    """‖f(z) - z‖ / ‖z‖ of each layer."""
    sizes = []
    for layer in layers:
        above = layer(z)
        sizes.append(float(np.linalg.norm(above - z) / np.linalg.norm(z)))
        z = above
    return sizes


@pytest.mark.slow
def test_what_branches_add_is_that_of_the_states_in_a_list_and_in_a_scan(rng):
    sizes = np.array([1.0, 0.3, 0.0])[:, None, None]
    up, down = (jnp.asarray(rng.normal(size=(3, N, N)) * sizes) for _ in range(2))
    first, last, xs = (jnp.asarray(rng.normal(size=of)) for of in ((2, N), (N, 1), (5, 2)))

    def layer(z, block):
        return z + jnp.tanh(norm(z) @ block[0]) @ block[1]

    def in_a_list(p, xs):
        z = xs @ p["in"]
        for block in p["blocks"]:
            z = layer(z, block)
        return norm(z) @ p["out"]

    def in_a_scan(p, xs):
        z = xs @ p["in"]
        z, _ = jax.lax.scan(lambda z, block: (layer(z, block), None), z, p["blocks"])
        return norm(z) @ p["out"]

    each = [*zip(up, down, strict=True)]
    expected = by_hand([lambda z, block=block: layer(z, block) for block in each], xs @ first)
    for f, blocks in ((in_a_list, each), (in_a_scan, (up, down))):
        net, params = jaxnn.as_network((f, {"in": first, "blocks": blocks, "out": last}), xs)
        flow = jaxnn.gradient_flow((net, params), xs, cotangent=jnp.ones((5, 1)))
        assert np.exp(flow.log_branch[1:4]) == pytest.approx(expected, rel=1e-9)
        assert np.isneginf(flow.log_branch[3])  # a branch of zeros
        assert np.isnan(flow.log_branch[jnp.array([0, 4])]).all()
        column = [row["log10_branch"] for row in flow.table()]
        assert column[1:3] == pytest.approx(np.log10(expected[:2]))
        assert "gradient/2 blocks.0/log10_branch" in flow.scalars()


@pytest.mark.slow
@pytest.mark.parametrize(("activation", "stacked"), [("tanh", False), ("relu", True)])
def test_what_residual_blocks_add_is_that_of_their_states(rng, activation, stacked):
    hidden = (jaxnn.blocks.Residual(scale=0.5), jaxnn.blocks.Dense(), jaxnn.blocks.Residual())
    net = jaxnn.Network((2, *[N] * 4, 1), activation, "binary", hidden=hidden)
    params = jaxnn.init(net, jax.random.key(0), stacked=stacked)
    each = jaxnn.init(net, jax.random.key(0))
    xs = jnp.asarray(rng.normal(size=(6, 2)))
    flow = jaxnn.gradient_flow((net, params), xs, jnp.arange(6) % 2)
    sigma = {"tanh": jnp.tanh, "relu": jax.nn.relu}[activation]
    z, expected = xs @ each[0].theta + each[0].b[None], [np.nan]
    for layer, block in zip(each[1:-1], hidden, strict=True):
        change = sigma(z) @ layer.theta + layer.b[None]
        is_residual = isinstance(block, jaxnn.blocks.Residual)
        above = z + block.scale * change if is_residual else change
        size = np.linalg.norm(above - z) / np.linalg.norm(z)
        expected.append(float(np.log(size)) if is_residual else np.nan)
        z = above
    assert flow.log_branch == pytest.approx([*expected, np.nan], rel=1e-6, nan_ok=True)


def test_a_block_of_ones_own_that_says_so_is_a_skip(light):
    names = ("forward", "backward", "preactivation")
    own = type("Own", (), {v: staticmethod(getattr(jaxnn.blocks.Residual(), v)) for v in names})()
    own.is_skip = True
    net = jaxnn.Network((N,) * 4, "tanh", "regression", hidden=own)
    params = jaxnn.init(net, jax.random.key(0))
    flow = jaxnn.gradient_flow((net, params), *jnp.ones((2, 3, N)))
    assert np.isfinite(flow.log_branch[1])
    with pytest.raises(ValueError, match="z grows with depth"):
        jaxnn.theory.meanfield.fixed_point("tanh", 1.0, 0.1, hidden=own)


def test_what_branches_of_a_module_of_torch_add_is_that_of_its_states(torch):
    class Block(torch.nn.Module):
        def __init__(self, way):
            super().__init__()
            self.inner, self.way = torch.nn.Linear(N, N), way

        def forward(self, z):
            return self.way(z, torch.tanh(self.inner(z)))

    bias = torch.nn.Parameter(torch.ones(N).double())
    ways = (
        lambda z, f: z + f,
        lambda z, f: z + f,
        lambda z, f: torch.add(f, z, alpha=2),
        lambda z, f: f + z.clone(),
        lambda z, f: torch.relu(z + f),
        lambda z, f: f,
        lambda z, f: z + 0 * f,
        lambda z, f: z + bias[:1],
    )
    torch.manual_seed(0)
    model = torch.nn.Sequential(*map(Block, ways), torch.nn.Linear(N, 1)).double()
    xs = torch.randn(4, N).double()
    flow = jaxnn.gradient_flow(model, xs, torch.zeros(4, 1), loss=torch.nn.functional.mse_loss)
    layers = [lambda z, f=f: f(torch.as_tensor(z)).detach().numpy() for f in model[:-1]]
    sizes = by_hand(layers, xs.numpy())
    log = np.asarray(flow.log_branch)
    assert np.exp(log[[0, 1, 3]]) == pytest.approx([sizes[i] for i in (0, 1, 3)], rel=1e-5)
    assert np.isneginf(log[6])
    # Twice the stream; a unit behind the sum; no sum; a bias.
    assert np.isnan(log[[2, 4, 5, 7, 8]]).all()


@pytest.mark.slow
@pytest.mark.usefixtures("users_jax")
def test_a_branch_that_dies_in_a_training_gives_an_alarm_that_names_its_layer():
    program = replace(dying_branch(is_cured=False), steps=101)
    alarms = {one.rule: one.layer for one in said.answer(program).said if one.step >= 0}
    assert alarms["branch"] == 4
