"""One call for any network: the flow of the calls behind it, and the recipes of the site."""

import re
from collections import Counter
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from problems import as_users_have_jax, draw_batch, draw_layers, gaussian, mostly_slow

import jaxnn

N = 4


def square(out, ys):
    return jnp.sum(jnp.square(out - ys), axis=1)


def assert_is(diagnosis, flow, words):
    np.testing.assert_allclose(diagnosis.flow.log_delta, flow.log_delta, rtol=1e-6)
    assert diagnosis.flow.names == flow.names
    assert str(diagnosis) == f"{jaxnn.verdict(flow)}\nMeasured with {words}."
    assert diagnosis.verdict.word == jaxnn.verdict(flow).word


@mostly_slow("each", ["batch", "example"], "batch")
def test_a_function_and_layers(rng, each):
    theta, xs, ys = rng.normal(size=(3, N, N)), *rng.normal(size=(2, 5, N))
    layers = [(lambda p, z: jnp.tanh(z) @ p, v) for v in theta]

    def f(params, z):
        for p in params:
            z = jnp.tanh(z) @ p
        return z

    for model, made in (
        (layers, jaxnn.as_network(layers, each=each)),
        ((f, theta), jaxnn.as_network((f, theta), xs, each=each)),
    ):
        flow = jaxnn.gradient_flow(made, xs, ys, loss=square)
        found = jaxnn.diagnose(model, xs, ys, loss=square, each=each)
        assert_is(found, flow, "your loss")


@pytest.mark.slow
def test_a_network_with_labels_and_a_notebook(rng):
    net = jaxnn.Network((N, N, N, 1), "tanh", "binary")
    params, (xs, ys) = draw_layers(rng, net.sizes, gaussian(1.0)), draw_batch(rng, net, 5)
    found = jaxnn.diagnose((net, params), xs, ys)
    assert_is(found, jaxnn.gradient_flow((net, params), xs, ys), "the loss of the task")
    page = found._repr_html_()
    assert "<p>" in page
    assert "<svg" in page


@pytest.mark.slow
def test_modules_of_frameworks(rng, key, users_jax):
    xs, ys = np.float32(rng.normal(size=(2, 5, N)))
    model = eqx.nn.MLP(N, N, N, 3, jnp.tanh, key=jax.random.key(0))
    found = jaxnn.diagnose(model, xs, ys, loss=square, each="example")
    assert len(found.flow.names) == 4
    assert found.flow.parameters.paths[:2] == (".layers[0].weight", ".layers[0].bias")
    rngs = nnx.Rngs(0)
    model = nnx.Sequential(nnx.Linear(N, N, rngs=rngs), jnp.tanh, nnx.Linear(N, 2, rngs=rngs))
    assert "a random linear loss of seed 3" in str(jaxnn.diagnose(model, xs, seed=3))


@pytest.mark.slow
def test_a_softmax_that_large_inputs_saturate_is_measured_in_float64(torch):
    torch.manual_seed(1)
    nn = torch.nn
    xs, ys = 200 * torch.randn(64, 4) + 200, torch.arange(64) % 3
    model = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 3), nn.Softmax(dim=1))
    with pytest.raises(ValueError, match="grow in proportion"):
        jaxnn.gradient_flow(model, xs, ys, loss=nn.CrossEntropyLoss())
    found = jaxnn.diagnose(model, xs, ys, loss=nn.CrossEntropyLoss())
    assert found.note.startswith("Measured on a copy in float64. In its own float: cut 3: expected")
    assert model[0].weight.dtype == torch.float32
    assert [one.rule for one in found.verdict.findings[:2]] == ["twice", "inputs"]


def test_what_is_no_network_is_one_sentence():
    for model in (3, jnp.tanh, "a", np.ones(3)):
        with pytest.raises(TypeError, match=r"^model: expected a module .* got "):
            jaxnn.diagnose(model, np.ones((2, 3)))


# The recipes of the site, next to `jax.grad` of the same function


PAGE = Path(__file__).parent.parent / "docs" / "guides" / "recipes.md"
RECIPES = {  # headings, and the number of networks below each
    "Batch statistics": 1,
    "Dropout with rngs": 1,
    "axis_name": 1,
    "Encoder and decoder": 1,
    "U-Net": 1,
    "A recurrent network with a head": 2,
    "Mixture of experts": 1,
}


def run(text, scope):
    """Run the blocks of a part of the page."""
    for block in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        exec(compile(block, PAGE.name, "exec"), scope)


@pytest.fixture(scope="module")
def networks():
    """By heading the networks that the page hands over, (f, params, xs), in float32."""
    introduction, *sections = re.split(
        r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    shared, handed_over = {}, {}
    right = {name: getattr(jaxnn, name) for name in ("as_network", "diagnose")}

    def recorded(function, networks):
        def call(model, xs):
            networks.append((*model, xs))
            return function(model, xs)

        return call

    with as_users_have_jax(), pytest.MonkeyPatch.context() as patch:
        run(introduction, shared)
        for section in sections:
            heading = section.partition("\n")[0]
            handed_over[heading] = []
            for name, function in right.items():
                patch.setattr(jaxnn, name, recorded(function, handed_over[heading]))
            # A scope of its own, where its functions find what they name when they are called.
            run(section, {**shared})
    return handed_over


@pytest.mark.slow
def test_every_recipe_is_measured_here(networks):
    assert {heading: len(of) for heading, of in networks.items() if of} == RECIPES


@pytest.mark.slow
@pytest.mark.parametrize(
    ("heading", "number"), [(heading, i) for heading, n in RECIPES.items() for i in range(n)]
)
@pytest.mark.usefixtures("users_jax")
def test_a_recipe_has_the_numbers_of_plain_gradients(heading, number, networks):
    f, params, xs = networks[heading][number]
    rng = np.random.default_rng(0)
    out = jax.eval_shape(f, params, xs)
    cotangent = rng.normal(size=out.shape).astype(out.dtype)

    def lost(params, xs):
        return (f(params, xs) * cotangent).sum()

    grads, of_input = jax.jit(jax.grad(lost, (0, 1)))(params, xs)
    net, chained = jaxnn.as_network((f, params), xs)
    flow = jaxnn.gradient_flow((net, chained), xs, cotangent=cotangent)
    assert np.exp(flow.log_delta_input) == pytest.approx(norm(of_input), rel=1e-4)
    plain = {jax.tree_util.keystr(path): norm(v) for path, v in jax.tree.leaves_with_path(grads)}
    ours = dict(zip(flow.parameters.paths, np.exp(flow.parameters.log_delta), strict=True))
    # Of an array that several layers share, such as those of a cell, each has a part. And Δ of what
    # a norm takes away again, such as a bias in front of it, is rounding.
    own = [path for path, n in Counter(flow.parameters.paths).items() if n == 1]
    rounding = 1e-5 * max(plain.values())
    assert own
    for path in own:
        assert ours[path] == pytest.approx(plain[path], rel=1e-4, abs=rounding), path


def norm(tree):
    """The norm of all arrays of a pytree together."""
    return float(
        np.sqrt(sum(np.sum(np.square(v, dtype=np.float64)) for v in jax.tree.leaves(tree)))
    )
