"""What a network computes is said once: of equal networks JAX and PyTorch say and cure the same."""

import ast
import pathlib
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import norm

import jaxnn
from jaxnn.chain.links import links
from jaxnn.jaxpr.numpy_programs import OPERATIONS
from jaxnn.jaxpr.primitives import PRIMITIVES
from jaxnn.patients.links import graph_of
from jaxnn.pytorch.aten import OPERATIONS as OF_TORCH
from jaxnn.pytorch.graphs import graph_of as graph_of_torch
from jaxnn.recognition.branches import branches_of, is_post_norm

B, N, L = 6, 8, 6


def branch(f, p, z):
    return f.relu(z @ p[0]) @ p[1]


def attention(f, p, z):
    q, k, v = (z @ p[i] for i in (2, 3, 0))
    return f.softmax(q @ k.swapaxes(-1, -2) / N**0.5) @ v @ p[1]


# A layer in both frameworks, the std of its weights, the arrays that its branches end with, and
# whether a norm is behind their sums.
LAYERS = {
    "plain": (branch, 0.7, [], False),
    "skip": (lambda f, p, z: z + branch(f, p, z), 2.0, [{1}], False),
    "bias": (lambda f, p, z: branch(f, p, f.norm(z)) + p[2][None] + z, 1.0, [{1, 2}], False),
    "transposed": (lambda f, p, z: z + f.relu(z @ p[0]) @ p[1].swapaxes(0, 1), 1.0, [{1}], False),
    "pre-norm": (lambda f, p, z: z + branch(f, p, f.norm(z)), 1.4, [{1}], False),
    "post-norm": (lambda f, p, z: f.norm(z + branch(f, p, z)), 1.4, [{1}], True),
    "both": (
        lambda f, p, z: (u := z + branch(f, p, z)) + branch(f, p[2:], u),
        1,
        [{1}, {3}],
        False,
    ),
    "attention": (lambda f, p, z: z + attention(f, p, f.norm(z)), 1.0, [{1}], False),
    "no skip": (lambda f, p, z: branch(f, p, z) - 1, 0.7, [], False),
    "a gate": (lambda f, p, z: z * branch(f, p, z), 0.7, [], False),
    "no product": (lambda f, p, z: (v := z @ p[0]) + v * f.relu(v), 1.0, [], False),
}
OF_JAX = SimpleNamespace(relu=jax.nn.relu, softmax=jax.nn.softmax, norm=norm)


def of_jax(layer, weights):
    return [(lambda p, z: layer(OF_JAX, p, z), [*map(jnp.asarray, w)]) for w in weights]


def of_torch(torch, layer, weights):
    functions = torch.nn.functional
    names = SimpleNamespace(
        relu=torch.relu,
        softmax=lambda v: functions.softmax(v, -1),
        norm=lambda v: functions.rms_norm(v, v.shape[-1:], eps=1e-6),
    )

    class Block(torch.nn.Module):
        def __init__(self, w):
            super().__init__()
            self.p = torch.nn.ParameterList(map(torch.tensor, w))

        def forward(self, z):
            return layer(names, [*self.p], z)

    return torch.nn.Sequential(*map(Block, weights))


def drawn(rng, name, count):
    arrays = {"bias": 3, "both": 4, "attention": 4}.get(name, 2)
    return rng.normal(size=(count, arrays, N, N)) * LAYERS[name][1] / N**0.5


# Tables of names of operations; the twin of torch runs torch, and has names of its own.
TABLES = {"jaxpr/primitives.py", "jaxpr/numpy_programs.py", "pytorch/aten.py"}
TABLES |= {
    "pytorch/dispatch.py",
    "pytorch/twin/places.py",
    "pytorch/twin/products.py",
    "theory/twin/origins.py",
}
ROOMS = ("graph", "recognition", "jaxpr", "pytorch", "chain", "theory/twin", "flow/measure")


def test_names_of_operations_are_in_tables_alone():
    """Those that are no word of English: of JAX's primitives, and of what PyTorch knows."""
    names = {name for name in (*PRIMITIVES, *OPERATIONS, *OF_TORCH) if "_" in name}
    library = pathlib.Path(jaxnn.__file__).parent
    for path in (path for room in ROOMS for path in (library / room).rglob("*.py")):
        place = path.relative_to(library).as_posix()
        if place not in TABLES:
            nodes = ast.walk(ast.parse(path.read_text("utf8")))
            texts = {node.value for node in nodes if isinstance(node, ast.Constant)}
            assert not {v for v in texts if v in names or str(v).endswith("Backward0")}, place


@pytest.mark.parametrize("name", LAYERS)
def test_branches_of_a_layer_of_jax(name, rng):
    layer, _, expected, is_post = LAYERS[name]
    net, params = jaxnn.as_network(of_jax(layer, drawn(rng, name, 1)))
    state = jax.eval_shape(net.state, np.zeros((B, N, N)))
    ((_, *link),) = links(net.for_batch(state), params, state)
    assert branches_of(graph_of(*link)) == expected
    assert is_post_norm(graph_of(*link, is_repeated=True)) == is_post


@pytest.mark.parametrize("name", LAYERS)
def test_branches_of_modules_of_torch(torch, name, rng):
    layer, _, expected, is_post = LAYERS[name]
    graph = graph_of_torch(
        of_torch(torch, layer, drawn(rng, name, 2)), torch.zeros(B, N, N).double()
    )
    assert branches_of(graph) == [
        {f"{block}.p.{i}" for i in arrays} for block in range(2) for arrays in expected
    ]
    assert is_post_norm(graph) == is_post


def both(torch, name, rng):
    """Equal networks of JAX and of torch, with what goes in and a cotangent."""
    weights, (x, c) = drawn(rng, name, L), rng.normal(size=(2, B, N, N))
    yield of_jax(LAYERS[name][0], weights), x, c
    yield of_torch(torch, LAYERS[name][0], weights), torch.tensor(x), torch.tensor(c)


@pytest.mark.parametrize("name", ["plain", "skip", "pre-norm", "post-norm", "both", "attention"])
def test_equal_networks_of_both_frameworks_have_equal_flows_and_findings(torch, name, rng):
    ours, theirs = (
        jaxnn.diagnose(network, x, cotangent=c) for network, x, c in both(torch, name, rng)
    )
    *sentences, of_layers = map(str, theirs.verdict.sentences)
    assert sentences == [*map(str, ours.verdict.sentences)]
    assert of_layers.startswith("The layers are 0 to 5, with 100 %")
    for field, value in vars(ours.flow).items():
        if field.startswith(("log_delta", "log_largest", "log_gain", "log_mean", "log_spread")) or (
            field in ("log_theta", "lost", "mixes", "linear", "cosine", "rank", "sizes")
        ):
            np.testing.assert_allclose(
                getattr(theirs.flow, field), value, atol=1e-12, err_msg=field
            )
    if name == "attention":
        for field in ("largest_logit", "entropy", "most_entropy"):
            heads = (getattr(one.flow.attention, field) for one in (theirs, ours))
            np.testing.assert_allclose(*heads, rtol=1e-5)


def test_equal_networks_of_both_frameworks_have_equal_cures(torch, rng):
    ours, theirs = (
        jaxnn.cures(network, x, cotangent=c) for network, x, c in both(torch, "plain", rng)
    )
    assert ours.verdict.word == theirs.verdict.word == "vanishing"
    for one, other in zip(ours, theirs, strict=True):
        assert (one.kind, one.works) == (other.kind, other.works)
        if one.factors is not None and "orthogonal" not in one.advice:  # which is drawn
            np.testing.assert_allclose(one.factors, other.factors, rtol=1e-6)
            np.testing.assert_allclose(one.total, other.total, rtol=1e-6, atol=1e-9)
