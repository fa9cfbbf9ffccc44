"""Cures: what is tried, judged and ranked; `test_cures_advice.py` follows what they say."""

from functools import partial
from threading import Lock
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cure_lines import run

import jaxnn
from jaxnn import as_network
from jaxnn.chain.links import links
from jaxnn.chain.parameter_places import are_shared
from jaxnn.models import Program
from jaxnn.patients import hooks, remade, search, structure, units
from jaxnn.patients.code import of_modules
from jaxnn.patients.draws import JaxSource, OddError, delta_like, fan_in_gain, mirrored
from jaxnn.patients.weights import multiplied, redrawn
from jaxnn.pytorch.copies import copied
from jaxnn.pytorch.graphs import count_of_relu
from jaxnn.pytorch.graphs import graph_of as graph_of_torch
from jaxnn.recognition.branches import kernels_of
from jaxnn.trials import cures
from jaxnn.trials import layers as changes
from jaxnn.trials.cure import Cure
from jaxnn.trials.race import Tried
from jaxnn.trials.score import Score
from jaxnn.trials.setup import Attempt, Setup, patient_of

N, B = 12, 6


def dense(w, z):
    return jnp.tanh(z) @ w


def residual(p, z):
    return z + (jnp.tanh(z @ p["in"]) @ p["out"] + p["b"][None])


def drawn(rng, layers, sigma, n=N):
    return [sigma / n**0.5 * rng.normal(size=(n, n)) for _ in range(layers)]


def in_branches(rng, layers, sigma):
    return [
        {"in": w, "out": v, "b": np.zeros(N)}
        for w, v in zip(drawn(rng, layers, sigma), drawn(rng, layers, sigma), strict=True)
    ]


@pytest.mark.slow
def test_the_best_change_that_was_made_is_not_advised_again(rng):
    """Of branches that explode; the parameters are the user's own, changed."""
    layers = in_branches(rng, 16, 4.0)
    xs, c = rng.normal(size=(2, B, N))
    net, params = as_network([(residual, p) for p in layers])
    found = jaxnn.cures((net, params), xs, cotangent=c)
    works = [cure.works for cure in found]
    assert works == sorted(works, reverse=True)
    assert abs(found[0].decades) < search.GOOD
    cure = next(cure for cure in found if cure.kind == "scale")
    for s, (f, theirs), p in zip(cure.factors, cure.params, layers, strict=True):
        assert f is residual
        for name in ("in", "out"):
            np.testing.assert_allclose(theirs[name], s * p[name], rtol=1e-12)
    again = jaxnn.cures((net, net.params(found[0].params)), xs, cotangent=c)
    said = "Nothing was tried, for the gradient neither vanishes nor explodes."
    assert again.sentences[1:] == (said,)


@pytest.mark.slow
def test_a_norm_that_is_there_is_not_advised_again(rng):
    """It does not help, which is said once; in front of it another one changes nothing."""
    f = lambda w, z: jax.nn.sigmoid(z) @ w  # noqa: E731
    xs, c = rng.normal(size=(2, B, N))
    net, params = as_network([(f, w) for w in drawn(rng, 12, 1.0)])
    (norm,) = cures.tried_on(patient_of(Program((net, params), xs, cotangent=c)), kinds=("norm",))
    assert not norm.works
    taken = patient_of(Program((norm.net, norm.net.params(norm.params)), xs, cotangent=c))
    found = cures.tried_on(taken, kinds=("skip", "norm", "pre-norm"))
    assert [cure.kind for cure in found] == ["skip"]


@pytest.mark.slow
def test_two_hundred_sigmoid_layers_keep_the_gradient_and_lose_the_examples(rng):
    """At the scale that keeps the gradient; that is no cure, and the reason is said."""
    f = lambda w, z: jax.nn.sigmoid(z) @ w  # noqa: E731
    layers = [np.float32(w) for w in drawn(rng, 200, 1.0, 32)]
    xs, c = np.float32(rng.normal(size=(2, B, 32)))
    net, params = as_network([(f, w) for w in layers])
    found = cures.tried_on(patient_of(Program((net, params), xs, cotangent=c)), kinds=("scale",))
    assert not found
    assert abs(found[0].decades) < search.GOOD
    assert found[0].reason == "bfloat16 cannot tell examples apart at the top"


def convolution(w, z):
    of = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(z, w, (1, 1), "SAME", dimension_numbers=of)


def test_of_equal_rates_that_which_leaves_more_directions_is_the_better_cure():
    """Rates up to .005 are equal, then the next .005; √2 times as many directions are more."""

    def cure(kind, decades, directions, works=True, net="own"):
        numbers = {"decades": decades, "directions": directions}
        attempt = Attempt({}, patient=SimpleNamespace(network=net))
        return cures.Cure(kind=kind, advice="", works=works, attempt=attempt, **numbers)

    tried = [
        cure("no cure", 0.0, 9.0, works=False),
        cure("unknown", 0.0, np.nan),
        cure("one factor", 1e-4, 2.0),
        cure("another", -1e-3, 2.8),
        cure("orthogonal", 0.0049, 2.9),
        cure("skip", 0.0, 9.0, net="another"),
        cure("far", 0.0051, 9.0),
        cure("closed", np.nan, 9.0),
    ]
    assert [cure.kind for cure in cures.ranked(tried, "own")] == [
        *("orthogonal", "one factor", "another", "unknown"),
        *("skip", "far", "closed", "no cure"),
    ]


def test_a_cure_is_said_with_what_came_of_it(snapshot):
    """The sentence names layers beside the repeated ones from a factor of two on."""
    rate = {"decades": -0.012, "repeated": -0.24, "total": -0.53}
    made = (
        {"works": True, **rate},
        {"works": True, **rate, "total": -0.55},
        {
            "works": True,
            **rate,
            "trained": Tried(
                score=Score(0.4, "R² 0.40"),
                steps=300,
                losses=[0.5] * 300,
                setup=Setup(Program(None), (), 10.0),
            ),
        },
        {"works": False, **rate, "reason": "a state is exactly zero"},
        {"works": False, "reason": "a width is odd"},
    )
    said = [Cure(kind="scale", advice="Multiply by 2.", **values) for values in made]
    assert [(str(cure), cure.in_short) for cure in said] == snapshot


def test_steps_that_share_their_weights_are_told_from_layers(rng):
    step = lambda w, z, x: jnp.tanh(z @ w + x)  # noqa: E731
    w, xs = rng.normal(size=(N, N)), rng.normal(size=(4, B, N))
    tied = as_network([jaxnn.Run(step, w, 4, xs, tied=True)])
    own = as_network([(dense, v) for v in drawn(rng, 4, 1.0)])
    assert [are_shared(*made) for made in (tied, own)] == [True, False]


def graph_network(p, graph, around=lambda layer, h: layer(h)):
    h = graph["nodes"] @ p["in"]
    for theta in p["layers"]:
        h = around(lambda h, theta=theta: jnp.tanh(h) @ theta, h)
    return jnp.sum(h @ p["out"])


@pytest.mark.usefixtures("users_jax")
def test_some_layers_of_a_run_are_in_another_form(rng):
    """Each keeps its own arrays, where the run is split."""
    theta, xs = np.float32(rng.normal(size=(6, 4, 4)) / 2), np.float32(rng.normal(size=(3, 4)))
    layer = lambda theta, z: jnp.tanh(z) @ theta  # noqa: E731
    layers = [(layer, v) for v in theta]
    meant = (False, True, True, False, True, True)
    net, _ = as_network(layers)
    assert net.lengths == (6,)
    form = structure.Rebuilding(structure.Formed, changes.Around(0.5))
    expected = xs
    for v, is_meant in zip(theta, meant, strict=True):
        y = np.tanh(expected) @ v
        expected = expected + y / 2 if is_meant else y
    np.testing.assert_allclose(remade.Reformed(net, meant, form)(layers, xs), expected, rtol=1e-4)


@pytest.mark.usefixtures("users_jax")
def test_a_graph_whose_arrays_have_unlike_first_axes(rng):
    """It is one example, its label a float; in another form, too, and trained so."""
    p = {"in": rng.normal(size=(3, 4)), "layers": [*(rng.normal(size=(5, 4, 4)) / 9)]}
    p["out"] = np.ones((4, 1))
    graph = {"nodes": rng.normal(size=(5, 3)), "edges": rng.normal(size=(7, 2))}
    p, graph = jax.tree.map(np.float32, (p, graph))
    square = lambda output, y: (output - y) ** 2  # noqa: E731
    patient = patient_of(Program((graph_network, p), graph, 1.0, loss=square, each="whole"))
    assert patient.verdict.word == "vanishing"
    skip = patient.with_form(changes.Around(1 / 3))
    f, own = skip.model(skip.params)
    by_hand = partial(graph_network, around=lambda layer, h: h + layer(h) / 3)
    output, expected = (jax.jit(of)(own, graph) for of in (f, by_hand))
    np.testing.assert_allclose(output, expected, rtol=1e-5)
    setup = Setup.of(Attempt(skip.params, patient=skip).program)
    learner = setup.learner()
    losses = [learner.step(setup.batch(i)) for i in range(3)]
    assert losses[0] == pytest.approx(square(float(expected), 1.0), rel=1e-5)
    assert losses[-1] < losses[0]


def test_what_cannot_be_measured_says_why():
    class Broken:
        network = params = None

        def flow_of(self, params):
            raise ValueError("z[1]: expected numbers in range, got inf; make the float wider")

    cure = cures.judged(Broken(), "", "", Attempt({}))
    assert (cure.works, cure.reason) == (False, "z[1]: expected numbers in range, got inf")


def test_a_module_of_torch(torch, rng):
    """Its state dict, loaded, has the rate; the module itself is left as it was."""
    blocks = [torch.nn.Sequential(torch.nn.Linear(16, 16), torch.nn.Tanh()) for _ in range(16)]
    module = torch.nn.Sequential(*blocks).double()
    x, c = (torch.tensor(v) for v in rng.normal(size=(2, B, 16)))
    before = {name: v.clone() for name, v in module.state_dict().items()}
    found = jaxnn.cures(module, x, cotangent=c)
    assert found.verdict.word == "vanishing"
    assert found[0].works
    assert abs(found[0].decades) < 0.005
    assert "`*.0.weight`" in found[0].advice
    for name, v in module.state_dict().items():
        assert torch.equal(v, before[name])
    module.load_state_dict(found[0].params)
    again = jaxnn.verdict(jaxnn.gradient_flow(module, x, cotangent=c))
    assert again.decades == pytest.approx(found[0].decades, abs=1e-12)
    again = jaxnn.diagnose(module, x, cotangent=c)
    assert str(again.cures).endswith("neither vanishes nor explodes.")


def of_torch(torch, rng, layers):
    """A module of some blocks, and its inputs."""

    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down = torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)

        def forward(self, x):
            return self.down(torch.tanh(self.up(x))) - 1

    module = torch.nn.Sequential(*(Block() for _ in range(layers))).double()
    return module, torch.tensor(rng.normal(size=(B, 8)))


def test_kernels_and_relu_of_torch_are_found(torch):
    """A grouped convolution is left out; a transposed one has the axis of its inputs first."""
    nn = torch.nn
    module = nn.Sequential(
        nn.Conv2d(4, 6, 3), nn.ReLU(inplace=True), nn.Conv2d(6, 4, 3, groups=2), nn.ReLU(),
        nn.ConvTranspose2d(4, 2, 3), nn.Tanh(),
    )  # fmt: skip
    x = torch.randn(2, 4, 8, 8)
    assert kernels_of(graph_of_torch(module, x)) == {"0.weight": (1, 0), "4.weight": (0, 1)}
    assert count_of_relu(module, ["0", "1", "2", "3"], x) == 2
    assert count_of_relu(module, ["4", "5"], x) is None
    assert not module[0]._forward_hooks


FORMS = (
    changes.Around(0.5), changes.Around(norm=True), changes.Around(0.5, norm=True),
    changes.Around(0.5, norm=True, of_branch=True),
)  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_blocks_of_torch_with_a_skip_or_a_norm(torch, form, rng):
    """Hooks do what a block that has it does; the module itself stays as it was."""
    module, x = of_torch(torch, rng, 4)
    blocks = hooks.layers_of(module, list("0123"))
    assert hooks.keep_their_shape(module, blocks, x).all()
    wider = torch.nn.Sequential(module, torch.nn.Linear(x.shape[1], 2, dtype=x.dtype))
    keep = hooks.keep_their_shape(wider, hooks.layers_of(wider, ["0.0", "1"]), x)
    assert keep.tolist() == [True, False]
    made = hooks.with_form(module, blocks, form)
    z = x
    for block in module:
        z = formed(form, block, z)
    np.testing.assert_allclose(made(x).detach(), z.detach(), rtol=1e-12)
    assert not module[0]._forward_hooks
    assert not module[0]._forward_pre_hooks


def formed(form, layer, z):
    """What a layer with a form makes."""
    rms = (z.square().mean(tuple(range(1, z.ndim)), keepdim=True) + 1e-6).sqrt()
    out = layer(z / rms if form.norm else z.clone())
    branch = out - z / rms if form.of_branch else out
    return out if form.scale is None else z + 0.5 * branch


@pytest.mark.parametrize("form", FORMS[:3])
def test_layers_of_a_flat_sequential_of_torch(torch, form, rng):
    """An activation is of the layer above; one may stand in several places, and overwrite."""
    nn, sigma = torch.nn, torch.nn.ReLU(inplace=True)
    rows = [nn.Linear(8, 8), sigma, nn.Linear(8, 8), sigma, nn.Dropout(0.0), nn.Linear(8, 8), sigma]

    class Row(nn.Sequential):
        def __init__(self):  # so that no slice of it can be made
            super().__init__(*rows)

    module = nn.Sequential(Row(), nn.Linear(8, 3)).double()
    x, names = torch.tensor(rng.normal(size=(B, 8))), ["0.0", "0.2", "0.5", "1"]
    layers = hooks.layers_of(module, names)
    assert [layer.between for layer in layers] == [(), ("0.1",), ("0.3", "0.4"), ()]
    assert hooks.keep_their_shape(module, layers, x).tolist() == [True] * 3 + [False]
    z = x
    for layer in (rows[:1], rows[1:3], rows[3:6]):
        z = formed(form, nn.Sequential(*layer), z)
    expected = module[1](sigma(z)).detach()
    made = hooks.with_form(module, layers[:3], form)
    np.testing.assert_allclose(made(x).detach(), expected, rtol=1e-12)
    sigma.inplace = False  # as the lines of a patient say
    run("\n".join(of_modules(layers[:3], form.code("self.layer", 1))), model=module)
    np.testing.assert_allclose(module(x).detach(), expected, rtol=1e-5)


def test_modules_of_torch_with_other_units(torch, rng):
    """In place of activations that are modules, also of those that overwrite their input."""
    nn = torch.nn
    kinds = (nn.Tanh(), nn.ReLU(inplace=True), nn.GELU())
    module = nn.Sequential(*(nn.Sequential(nn.Linear(4, 4), sigma) for sigma in kinds)).double()
    x = torch.tensor(rng.normal(size=(B, 4)))
    before = module(x)
    sigma = SimpleNamespace(gain=1.2, slope=0.3)
    made = hooks.with_units(module, hooks.layers_of(module, ["0", "1", "2"]), sigma)
    z = x
    for layer, _ in module:
        z = 1.2 * nn.functional.leaky_relu(layer(z), 0.3)
    np.testing.assert_allclose(made(x).detach(), z.detach(), rtol=1e-12)
    np.testing.assert_array_equal(module(x).detach(), before.detach())
    plain = nn.Sequential(module[0], nn.Linear(4, 4))
    assert hooks.with_units(plain, hooks.layers_of(plain, ["0", "1"]), sigma) is None


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize("norm", ["weight_norm", "spectral_norm"])
def test_a_weight_that_a_forward_pass_has_made_is_copied(torch, norm):
    """As the older norms of weights hold it, of which a copy trains its own."""
    module = torch.nn.Sequential(getattr(torch.nn.utils, norm)(torch.nn.Linear(4, 4)))
    x = torch.randn(B, 4)
    made = copied(module)
    np.testing.assert_array_equal(made(x).detach(), module(x).detach())
    made(x).sum().backward()
    assert [p.grad is not None for p in made.parameters()] == [True] * len([*made.parameters()])
    assert all(p.grad is None for p in module.parameters())
    module[0].lock = Lock()
    with pytest.raises(ValueError, match=r"^model: expected a module that copy\.deepcopy copies"):
        copied(module)


# The program of a layer


FUNCTIONS = {
    "relu": (jax.nn.relu, True),
    "maximum": (lambda z: jnp.maximum(z, 0), True),
    "leaky_relu": (jax.nn.leaky_relu, False),
    "gelu": (jax.nn.gelu, False),
    "silu": (jax.nn.silu, False),
    "tanh": (jnp.tanh, False),
}
NONE = {
    "linear": lambda z: 2 * z + 1,
    "softmax": jax.nn.softmax,
    "norm": lambda z: (z - z.mean(-1, keepdims=True)) / jnp.sqrt(z.var(-1, keepdims=True) + 1e-5),
    "gate": lambda z: jax.nn.sigmoid(z) * z[:, ::-1],
}


@pytest.mark.parametrize("name", [*FUNCTIONS, *NONE])
@pytest.mark.parametrize("after", [False, True])
def test_the_units_of_a_layer(name, after, rng):
    """Found in the program, before a product or behind one, and replaced by another function."""
    sigma, is_relu = FUNCTIONS.get(name) or (NONE[name], None)
    f = (lambda w, z: sigma(z @ w)) if after else (lambda w, z: sigma(z) @ w)
    w, z = rng.normal(size=(N, N)), rng.normal(size=(B, N))
    net, params = as_network([(f, w)])
    ((_, link, arrays, state),) = links(net.for_batch(z), params, z)
    if is_relu is None:
        assert units.of_link(link, arrays, state) == 0
        return
    assert units.are_relu(link, arrays, state) == [is_relu]
    if name == "gelu":
        replaced = units.WithUnits(link, jnp.sin)(([jnp.asarray(w)],), jnp.asarray(z))
        np.testing.assert_allclose(replaced, np.sin(z @ w) if after else np.sin(z) @ w)


@pytest.fixture
def source():
    return JaxSource(0, 9)


def test_mirrored_matrices_make_relu_linear(rng, source):
    first, second = (mirrored(source, np.ones((8, 8))) for _ in range(2))
    u = rng.normal(size=(3, 4))
    out = np.maximum(np.concatenate([u, -u], axis=1), 0) @ first
    out = np.maximum(out, 0) @ second
    np.testing.assert_allclose(out[:, :4], u @ first[:4, :4] @ second[:4, :4], atol=1e-12)
    np.testing.assert_allclose(out[:, 4:], -out[:, :4])
    np.testing.assert_allclose(np.linalg.norm(out[:, :4], axis=1), np.linalg.norm(u, axis=1))
    np.testing.assert_array_equal(mirrored(source, np.array([1.0, 2, 3, 4])), [1, 2, -1, -2])


def test_units_come_in_pairs_only_where_the_width_is_even(rng, source):
    with pytest.raises(OddError):
        mirrored(source, np.ones((5, 5)))
    net, params = as_network([(dense, w) for w in drawn(rng, 3, 1.0, 4)])
    made = redrawn(net, params, {(1, 0), (2, 0)}, lambda v, at: mirrored(source, v))
    (_, first), (_, second), _ = net.user(made)
    np.testing.assert_array_equal(first, net.user(params)[0][1])
    np.testing.assert_array_equal(second[:2], -second[2:])


def test_kernels_are_drawn_with_the_gain_that_is_asked_for(source):
    """In their centre, which of four entries is the second; inputs are the last axis but one."""
    drawn = delta_like(source, np.ones((4, 3, 6, 5)), (2, 3), 1.5)
    np.testing.assert_allclose(np.linalg.svd(drawn[1, 1], compute_uv=False), 1.5)
    assert np.sum(drawn != 0) == 30
    assert fan_in_gain(delta_like(source, np.ones((4, 3, 6, 6)), (2, 3), 1.5), (2, 3)) == (
        pytest.approx(1.5)
    )
    assert np.isnan(fan_in_gain(drawn, (2, 3)))


def test_weights_that_layers_share_are_multiplied_by_the_mean_of_their_factors():
    """The geometric one, of the factors that are not 1; a matrix of a stack by its own."""
    step = lambda w, z: z @ w  # noqa: E731
    for layers, expected in (
        ([jaxnn.Run(step, np.ones((2, 2)), 3, tied=True)], [4.0]),
        ([(step, np.ones((2, 2)))] * 3, [2.0, 1.0, 8.0]),
    ):
        net, params = as_network(layers)
        made = multiplied(net, params, np.array([2.0, 1.0, 8.0]), {(i, 0) for i in range(3)})
        matrices = [v for v in jax.tree.leaves(net.user(made)) if np.ndim(v)]
        assert [v.max() for v in matrices] == pytest.approx(expected)


@pytest.mark.parametrize("drawn", [delta_like, mirrored])
def test_arrays_of_zeros_stay_as_they_are(drawn, rng):
    """As the biases of several heads, (heads, units), which Flax draws as zeros."""
    np.testing.assert_array_equal(drawn(rng, np.zeros((4, 6))), 0)


# The search


SEARCHES = {  # a rate, the factor that is found and how near, and the measurements at most
    **{
        f"at {at}": (lambda s, at=at: np.tanh(np.log(s / at)) * 0.4, at, 1e-3, 8)
        for at in (0.02, 0.7, 1.0001, 17.8)
    },
    # One product: log₁₀ of the factor says where it is, so one beyond the root, and the root.
    "a line": (lambda s: np.log10(s / 2.4), 2.4, 1e-3, 3),
    # Steps are halved where the signal leaves the range.
    "below an overflow": (lambda s: np.nan if s > 2.2 else 3 * np.log10(s / 2), 2, 1e-2, 14),
    # As after a batch norm; both ways are looked at.
    "no factor changes it": (lambda s: 0.06, 1, 0, 14),
    # As with skip connections: the nearest good factor is taken.
    "no root": (lambda s: 0.1 * s**2, 0.1016, 1e-3, 14),
    "nothing is known": (lambda s: np.nan, None, 0, 14),
    "some is known": (lambda s: np.nan if s > 0.2 else s - 0.1, 0.1, 1e-2, 14),
}


@pytest.mark.parametrize(("rate", "root", "rel", "most"), SEARCHES.values(), ids=SEARCHES)
def test_a_root_is_found_with_few_measurements(rate, root, rel, most):
    tried = []
    factor = search.root(lambda s: tried.append(s) or float(rate(s)), 1.0)
    assert factor is None or factor in tried  # so that its flow is known
    assert factor == (root and pytest.approx(root, rel=rel))
    assert len(tried) <= most


def test_factors_by_layer_are_corrected_one_by_one():
    """Each does s times its own size, and its neighbour's half besides."""
    own = np.array([0.3, 2.0, 5.0, 0.1])

    def excess(factors):
        return np.log(factors * own) + 0.3 * np.roll(np.log(factors * own), 1)

    meant = np.array([True, True, True, False])
    factors = search.by_layer(excess, np.array([1, 1, 1, 1 / 0.1]), meant)
    np.testing.assert_allclose(factors[:3], 1 / own[:3], rtol=0.05)
    assert factors[3] == 10


class Equal:
    """A patient whose layers each multiply the gradient by their own factor."""

    is_tied, params, weights = False, None, frozenset()
    by_one_factor = SimpleNamespace(factor=2.0)

    def __init__(self, own):
        self.own, self.layers = np.array(own), np.full(len(own), True)
        self.inside = np.arange(len(own)) > 0

    def factors(self, factor):
        return np.full(len(self.own), factor)

    def named(self, meant, one_each):
        return ""

    def multiplied(self, params, factors):
        return factors

    def measured(self, factors):
        """Return what is read of a flow: ln of what each layer does, and of the signal."""
        log = np.log(self.own * factors)
        return SimpleNamespace(
            log_gain=np.append(log[1:], np.nan), log_mean_square=2 * log.cumsum()
        )


@pytest.mark.parametrize(("own", "count"), [([0.5] * 6, 0), ([0.5, 0.5, 0.6, 0.4, 0.5, 0.5], 1)])
def test_factors_by_layer_that_are_those_of_a_change_before_are_left_out(own, count):
    """In equal layers every factor is the single factor, for the gradient and for the signal."""
    patient = Equal(own)
    setup = SimpleNamespace(patient=patient, attempted=lambda attempt, **words: attempt)
    made = [*changes.scale_by_layer(setup)]
    assert len(made) == count
    for attempt in made:
        np.testing.assert_allclose(attempt.factors[1:], 1 / np.array(own[1:]), rtol=0.01)


@pytest.mark.slow
def test_the_signal_is_that_between_layers(rng):
    """The output of sigmoid lies between 0 and 1, other states are products by large weights."""

    def f(layers, xs):
        for w in layers:
            xs = jax.nn.sigmoid(xs @ w)
        return xs

    xs, c = rng.normal(size=(2, B, N))
    net, params = jaxnn.as_network((f, drawn(rng, 12, 14.0)), xs)
    patient = patient_of(Program((net, params), xs, cotangent=c))
    cure = cures.judged(patient, "", "", Attempt(params, flow=patient.flow))
    logs = np.asarray(cure.flow.log_mean_square) / 2 / np.log(10)
    assert logs[-2] - logs[-1] > 1
    assert cure.signal == pytest.approx(np.ptp(logs[:-1]))
    assert "signal" not in cure.reason


@pytest.mark.slow
def test_a_skip_takes_a_smaller_share_where_one_over_the_root_leaves_a_rate(rng):
    """Without a loss alone, by which it is told what trains better; .005 decades a layer count."""

    def normed(w, z):
        z = z @ w
        return z / jnp.sqrt(jnp.mean(z**2, 0, keepdims=True)) + 0.3 * jnp.sin(3 * z)

    layers = [(normed, rng.normal(size=(12, 12)) / 2) for _ in range(8)]
    net, params = jaxnn.as_network(layers)
    xs, ys = rng.normal(size=(2, 12, 12))
    square = lambda output, ys: jnp.mean((output - ys) ** 2, 1)  # noqa: E731
    of_rate = cures.tried_on(patient_of(Program((net, params), xs, cotangent=ys)), kinds=("skip",))
    of_loss = cures.tried_on(
        patient_of(Program((net, params), xs, ys, loss=square)), kinds=("skip",)
    )
    assert {cure.values["by"] for cure in of_rate} == {"√8", "8"}
    assert {cure.values["by"] for cure in of_loss} == {"√8"}
    rates = {cure.values["by"]: abs(cure.decades) for cure in of_rate}
    assert 4 * rates["8"] < rates["√8"]
    assert rates["√8"] > 0.005
