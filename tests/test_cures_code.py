"""Cured models and the code of cures: both make the cure, and a cured model trains."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cure_lines import arrays_of, assert_lines_make, changed_by_lines, holders, run
from flax import linen, nnx
from peers import need

import jaxnn
from jaxnn.models import Program
from jaxnn.patients.code import Edit, InPlace, OfTorch, edit_of, loops
from jaxnn.patients.draws import delta_like, mirrored
from jaxnn.trials.cure import Cure
from jaxnn.trials.cures import patient_of, tried_on

N, B, LAYERS = 32, 6, 14  # the fewest layers that units are tailored to
OF_NUMBERS = "scale", "scale by layer", "orthogonal", "looks-linear"
OF_STRUCTURE = "skip", "norm", "pre-norm", "units"
MOST_LINES = 10
MORE_LINES = 4  # of weights that are brought to the usual size before


def relu_of_a_third(z):
    return jax.nn.relu(z / 3)


class Forward(NamedTuple):
    """The forward pass of all: layers dense(relu(z / 3)), from the start on in another form."""

    around: Callable = lambda layer, z: layer(z)
    sigma: Callable = relu_of_a_third

    def __call__(self, denses, z, start=0):
        for i, dense in enumerate(denses):
            z = self.one(dense, z, is_changed=i >= start)
        return z

    def one(self, dense, z, is_changed):
        sigma = self.sigma if is_changed else relu_of_a_third
        layer = lambda z: dense(sigma(z))  # noqa: E731
        return self.around(layer, z) if is_changed else layer(z)


def of_nnx(forward):
    class Model(nnx.Module):
        def __init__(self):
            rngs = nnx.Rngs(0)
            self.first = nnx.Linear(N, N, rngs=rngs)
            self.blocks = nnx.List([nnx.Linear(N, N, rngs=rngs) for _ in range(LAYERS - 1)])

        def __call__(self, z):
            return forward([self.first, *self.blocks], z, start=1)

    return Model()


def of_linen(forward):
    class Model(linen.Module):
        @linen.compact
        def __call__(self, z):
            return forward([linen.Dense(N) for _ in range(LAYERS)], z)

    return Model().apply, Model().init(jax.random.key(0), jnp.ones((B, N)))


def of_haiku(forward):
    need("haiku")
    import haiku as hk

    def network(z):
        return forward([hk.Linear(N) for _ in range(LAYERS)], z, start=1)

    transformed = hk.without_apply_rng(hk.transform(network))
    return transformed.apply, transformed.init(jax.random.key(0), jnp.ones((B, N)))


def of_keras(forward):
    os.environ.setdefault("KERAS_BACKEND", "jax")
    need("keras")
    import keras

    class Block(keras.layers.Layer):
        def __init__(self, number):
            super().__init__(name=f"block_{number}")
            self.dense, self.number = keras.layers.Dense(N), number

        def call(self, z):
            return forward.one(self.dense, z, is_changed=self.number > 0)

    keras.utils.clear_session()  # else the first layer has a number in its name, too
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((N,)), *map(Block, range(LAYERS))])
    call = lambda params, xs: model.stateless_call(params, [], xs)[0]  # noqa: E731
    return call, [variable.value for variable in model.trainable_variables]


class OfEquinox(eqx.Module):
    linears: list[eqx.nn.Linear]
    forward: Forward = eqx.field(static=True)

    def __call__(self, z):
        return self.forward(self.linears, z)


def of_equinox(forward):
    keys = jax.random.split(jax.random.key(0), LAYERS)
    return OfEquinox([eqx.nn.Linear(N, N, key=key) for key in keys], forward)


def of_equinox_in_batches(forward):
    return (lambda model, xs: jax.vmap(model)(xs)), of_equinox(forward)


def layer(w, z):
    return relu_of_a_third(z) @ w


def matrices():
    return [jax.random.normal(k, (N, N)) / 9 for k in jax.random.split(jax.random.key(0), LAYERS)]


def of_functions(forward):
    def plain(params, z):
        return forward([lambda z, w=w: z @ w for w in params["layers"]], z)

    return plain, {"layers": matrices()}


def of_tuples(forward):
    def plain(params, z):
        return forward([lambda z, p=p: z @ p[0] + p[1][None] for p in params], z)

    return plain, [(w, jnp.zeros(N)) for w in matrices()]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Frozen:
    stack: jax.Array


def scanned(params, z):
    return jax.lax.scan(lambda z, w: (layer(w, z), None), z, params.stack)[0]


# Of frameworks, whose structure is changed too, and of other pytrees.
FRAMEWORKS = {
    "nnx": of_nnx,
    "linen": of_linen,
    "haiku": of_haiku,
    "keras": of_keras,
    "equinox": of_equinox,
    "plain": of_functions,
}
MODELS = FRAMEWORKS | {
    "equinox in batches": of_equinox_in_batches,
    "tuples": of_tuples,
    "frozen stack": lambda _: (scanned, Frozen(jnp.stack(matrices()))),
    "stack": lambda _: (lambda p, z: scanned(Frozen(*p), z), [jnp.stack(matrices())]),
    "list": lambda _: [(layer, w) for w in matrices()],
}


def assert_same_flow(cure, flow):
    """The lines of a cure make the numbers of its model, drawn ones too."""
    most = MOST_LINES + MORE_LINES * ("to a std of" in cure.advice)
    assert len(cure.code.splitlines()) <= most, cure.code
    expected, got = (np.asarray(f.log_delta) for f in (cure.flow, flow))
    np.testing.assert_allclose(got, expected, rtol=0, atol=0.01)


def options_of(name):
    return {"each": "example"} if name == "equinox" else {}


def assert_is_cured(cure, xs, options):
    """The model that comes back is measured as the cure was."""
    flow = jaxnn.diagnose(cure.model, xs, **options).flow
    expected, got = (np.asarray(f.log_delta) for f in (cure.flow, flow))
    np.testing.assert_allclose(got[: len(expected)], expected, rtol=0, atol=1e-4)


def assert_trains(model, xs, each="batch"):
    """An optimiser takes the parameters as they are: those of a pair, or the module itself."""
    is_pair = isinstance(model, tuple)
    arrays, rest = eqx.partition(model[1] if is_pair else model, eqx.is_inexact_array)

    def loss(arrays):
        params = eqx.combine(arrays, rest)
        f = partial(model[0], params) if is_pair else params
        return jnp.mean((jax.vmap(f) if each == "example" else f)(xs) ** 2)

    optimizer = optax.adam(1e-2)
    state, losses, step = optimizer.init(arrays), [], jax.jit(jax.value_and_grad(loss))
    for _ in range(4):
        value, gradient = step(arrays)
        updates, state = optimizer.update(gradient, state)
        arrays = optax.apply_updates(arrays, updates)
        losses.append(float(value))
    assert losses == sorted(losses, reverse=True)


def square(output, ys):
    return ((output - ys) ** 2).mean(-1)


def large(model):
    """The model, or its pytree, all weights and biases three times as large."""
    return jax.tree.map(lambda v: 3 * v if eqx.is_inexact_array(v) else v, model)


@pytest.mark.slow
@pytest.mark.usefixtures("users_jax")
@pytest.mark.parametrize("name", MODELS)
def test_code_of_numbers_makes_the_cure(name, rng):
    """Also of numbers that come before a change: with a loss, of weights that are too large."""
    model, options = large(MODELS[name](Forward())), options_of(name)
    xs, ys = np.float32(rng.normal(size=(2, B, N)))
    options |= {"ys": ys, "loss": square}
    found = tried_on(patient_of(Program(model, xs, **options)), kinds=(*OF_NUMBERS, "skip"))
    assert {cure.kind for cure in found} >= {"scale", "orthogonal"}
    assert any("to a std of 1/√fan_in" in cure.advice for cure in found)
    scaled = next(cure for cure in found if cure.kind == "scale")
    assert jax.tree.structure(scaled.model) == jax.tree.structure(model)
    for cure in found:
        assert_lines_make(cure, model)
        assert_is_cured(cure, xs, options)
        if cure.net is found[0].net:
            cured = changed_by_lines(cure.code, model)
            assert_same_flow(cure, jaxnn.diagnose(cured, xs, **options).flow)


@pytest.mark.slow
@pytest.mark.usefixtures("users_jax")
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_code_of_structure_is_a_line_of_the_forward_pass(name, rng):
    build = FRAMEWORKS[name]
    xs, c = np.float32(rng.normal(size=(2, B, N)))
    options = {"cotangent": c} | options_of(name)
    found = tried_on(patient_of(Program(build(Forward()), xs, **options)), kinds=OF_STRUCTURE)
    assert {cure.kind for cure in found} == {*OF_STRUCTURE}
    skip = next(cure for cure in found if cure.kind == "skip")
    assert_trains(skip.model, xs[:3], **options_of(name))  # another batch
    for cure in found:
        assert_is_cured(cure, xs, options)
        comment, *_, last = cure.code.splitlines()
        names = run(cure.code, z=jnp.ones((B, N)), layer=lambda z: z, **holders(build(Forward())))
        form = (
            Forward(sigma=names["sigma"])
            if "sigma" in names
            else Forward(lambda layer, z, last=last: run(last, z=z, layer=layer)["z"])
        )
        assert "sigma" in names or "each of /, maximum, @" in comment
        changed = changed_by_lines(cure.code, build(form), z=jnp.ones((B, N)), layer=lambda z: z)
        assert_same_flow(cure, jaxnn.diagnose(changed, xs, **options).flow)


@pytest.mark.slow
def test_code_of_torch_makes_the_cure(torch, rng):
    torch.manual_seed(0)
    linear, relu = torch.nn.Linear, torch.nn.ReLU
    blocks = [torch.nn.Sequential(linear(N, N), relu()) for _ in range(LAYERS)]
    module = torch.nn.Sequential(*blocks)
    module.append(linear(N, 4))
    xs, ys = (torch.tensor(rng.normal(size=(B, n)), dtype=torch.float32) for n in (N, 4))
    kinds, options = (*OF_NUMBERS, *OF_STRUCTURE), {"ys": ys, "loss": square}
    before = {name: v.clone() for name, v in module.state_dict().items()}
    found = tried_on(patient_of(Program(module, xs, **options)), kinds=kinds)
    assert {cure.kind for cure in found} >= {*OF_STRUCTURE, "scale", "orthogonal"}
    assert any(f"`{LAYERS}.weight` by" in cure.advice for cure in found)  # the head's factor
    for cure in found:
        assert_lines_make(cure, module)
        cured = changed_by_lines(cure.code, module)
        assert_same_flow(cure, jaxnn.gradient_flow(cured, xs, **options))
        flow = jaxnn.gradient_flow(cure.model, xs, **options)
        np.testing.assert_allclose(flow.log_delta, cure.flow.log_delta, atol=1e-4)
        assert type(cure.model) is type(module)
        assert cure.model is not module
    assert all(torch.equal(v, before[name]) for name, v in module.state_dict().items())


def assert_lines_draw(model, xs, cotangent, seed=3):
    """Lines draw the arrays of the patient, whatever is drawn, one after the other."""
    patient = patient_of(Program(model, xs, cotangent=cotangent), seed)
    units = {at: (patient.arrays[at], patient.axes(at)) for at in patient.every_weight}
    for draw in (
        lambda source, at: delta_like(source, *units[at], 1.5),
        lambda source, at: mirrored(source, *units[at]),
        lambda source, at: source.normal(units[at][0].shape, 1 / 3),
    ):
        params = patient.redrawn(units.keys(), draw)
        made = arrays_of(changed_by_lines(patient.code(params), model))
        expected = arrays_of(patient.model(params))
        assert len({float(np.abs(v).sum()) for v in expected}) >= len(units)
        for v, other in zip(made, expected, strict=True):
            np.testing.assert_allclose(v, other, rtol=1e-5, atol=1e-6)


def convolved(p, z):
    for block in p["convs"]:
        for name, padding in (("a", "SAME"), ("b", "VALID")):
            layout = ("NHWC", "HWIO", "NHWC")
            z = jax.lax.conv_general_dilated(z, block[name], (1, 1), padding, None, None, layout)
    return z.reshape(2, -1) @ p["m"] @ p["n"]


@pytest.mark.usefixtures("users_jax")
def test_what_is_drawn_is_what_its_lines_draw():
    """Matrices and kernels, with more inputs than outputs too."""
    shapes = {"a": (3, 3, 4, 6), "b": (3, 3, 6, 4)}
    convs = [{k: jnp.ones(shape) for k, shape in shapes.items()} for _ in range(2)]
    params = {"convs": convs, "m": jnp.ones((16, 6)), "n": jnp.ones((6, 2))}
    assert_lines_draw((convolved, params), jnp.zeros((2, 6, 6, 4)), jnp.ones((2, 2)))


def test_what_is_drawn_is_what_its_lines_draw_in_torch(torch):
    """Also of names that differ in a number alone, where matrices follow kernels."""
    nn = torch.nn
    convs = (nn.Conv2d(*n, 3, padding=p) for n, p in [((4, 6), 1), ((6, 4), 0)] * 2)
    module = nn.Sequential(*convs, nn.Flatten(), nn.Linear(16, 6), nn.Linear(6, 2))
    assert_lines_draw(module, torch.zeros(2, 4, 6, 6), torch.ones(2, 2))


def test_a_change_that_could_not_be_made_has_no_model():
    cure = Cure(kind="looks-linear", advice="Draw it.", reason="a width is odd")
    with pytest.raises(ValueError, match="could be made, got one where a width is odd"):
        _ = cure.model


def test_edits_are_read_off_the_numbers(rng):
    v, b = rng.normal(size=(6, 6)), rng.normal(size=8)
    q = np.linalg.qr(v)[0]
    w = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    kernel = np.zeros((3, 3, 6, 6))
    kernel[1, 1] = 2 * q
    cases = [
        (v, 2.5 * v, "multiply", 2.5),
        (v, 0 * v, "multiply", 0.0),
        (b, 0 * b + 3, "fill", 3.0),
        (v, 1.5 * q, "orthogonal", 1.5),
        (v, np.block([[w, -w], [-w, w]]), "mirrored", 1.0),
        (b, np.concatenate([b[:4], -b[:4]]), "halves", 1.0),
        (v, np.full((6, 6), 0.25) * np.sign(rng.normal(size=(6, 6))), "normal", 0.25),
    ]
    for old, new, verb, amount in cases:
        edit = edit_of(old, new, (0, 1))
        assert edit.verb == verb
        assert edit.amount == pytest.approx(amount)
    assert edit_of(rng.normal(size=kernel.shape), kernel, (2, 3)) == (
        "delta",
        pytest.approx(2),
        None,
    )


def test_edits_of_one_kind_are_a_loop():
    twice, fill = Edit("multiply", 2.0), Edit("fill", 0.0)
    edits = {f"['a'][{i}]['w']": twice for i in range(1, 5)}
    edits |= {f"['a'][{i}]['b']": fill for i in range(1, 5)} | {"['c']": Edit("multiply", 0.5)}
    assert [loop.values for loop in loops(edits)] == [(1, 2, 3, 4), ()]
    assert InPlace("params").lines(edits) == [
        "for i in range(1, 5):",
        '    params["a"][i]["w"] *= 2',
        '    params["a"][i]["b"] = jnp.full_like(params["a"][i]["b"], 0)',
        'params["c"] *= 0.5',
    ]
    by_layer = {f"['Dense_{i}']": Edit("multiply", i / 4) for i in (1, 3)}
    assert InPlace("params").lines(by_layer) == [
        "for i, a in zip([1, 3], [0.25, 0.75]):",
        '    params[f"Dense_{i}"] *= a',
    ]
    of_two = {f"{i}.gain{k}": fill for i in range(3) for k in (1, 2)}
    assert [loop.values for loop in loops(of_two)] == [(0, 1, 2)]
    assert OfTorch("model").lines({"head.bias": Edit("part", 3.0, (2, 4))}) == [
        "with torch.no_grad():",
        '    model.get_parameter("head.bias")[2:4] = 3',
    ]
