"""Cured models: what comes back is what was handed over, or a callable like it, and it trains."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jaxnn
from jaxnn.curing.cure import Cure
from jaxnn.curing.cures import patient_of, tried_on

N, B, LAYERS = 8, 4, 14  # the fewest layers that units are tailored to
KINDS = "scale", "skip", "pre-norm", "units"


class Linear(nnx.Module):
    def __init__(self, rngs):
        self.linear = nnx.Linear(N, N, rngs=rngs)

    def __call__(self, z):
        return self.linear(nnx.relu(z)) / 3


class OfNnx(nnx.Module):
    def __init__(self, rngs):
        self.blocks = nnx.List([Linear(rngs) for _ in range(LAYERS)])

    def __call__(self, z):
        for block in self.blocks:
            z = block(z)
        return z


class OfEquinox(eqx.Module):
    linears: list[eqx.nn.Linear]

    def __call__(self, z):
        for linear in self.linears:
            z = linear(jax.nn.relu(z))
        return z


def plain(params, z):
    for w in params:
        z = jax.nn.relu(z) @ w
    return z


def matrices(rng):
    return [jnp.asarray(rng.normal(size=(N, N)) / 8, jnp.float32) for _ in range(LAYERS)]


def of_equinox(rng):
    del rng
    keys = jax.random.split(jax.random.key(0), LAYERS)
    return OfEquinox([eqx.nn.Linear(N, N, key=key) for key in keys])


MODELS = {
    "nnx": (lambda rng: OfNnx(nnx.Rngs(0)), {}),
    "equinox": (of_equinox, {"each": "example"}),
    "pair": (lambda rng: (plain, matrices(rng)), {}),
    "list": (lambda rng: [(lambda w, z: jax.nn.relu(z) @ w, w) for w in matrices(rng)], {}),
}


def called(model, xs, each="batch"):
    """The output, as its user has it; a list goes to `jaxnn` alone."""
    if isinstance(model, list):
        for f, w in model:
            xs = f(w, xs)
        return xs
    f = (lambda x: model[0](model[1], x)) if isinstance(model, tuple) else model
    return jax.vmap(f)(xs) if each == "example" else f(xs)


@pytest.mark.slow
@pytest.mark.usefixtures("users_jax")
@pytest.mark.parametrize("name", MODELS)
def test_a_cured_model_is_measured_called_and_trained_like_the_one_before(name, rng):
    build, options = MODELS[name]
    model = build(rng)
    xs, c = np.float32(rng.normal(size=(2, B, N)))
    patient = patient_of(model, xs, cotangent=c, **options)
    found = {cure.kind: cure for cure in tried_on(patient, kinds=KINDS)}
    assert {*found} == {*KINDS}
    assert jax.tree.structure(found["scale"].model) == jax.tree.structure(model)
    for cure in found.values():
        flow = jaxnn.diagnose(cure.model, xs, cotangent=c, **options).flow
        expected, got = (np.asarray(f.log_delta) for f in (cure.flow, flow))
        np.testing.assert_allclose(got[:LAYERS], expected, rtol=0, atol=1e-4)
    cured = found["skip"].model
    assert called(cured, xs[:3], **options).shape == (3, N)  # another batch
    if name != "list":
        assert_trains(cured, xs, options)


def assert_trains(model, xs, options):
    """An optimiser takes the parameters as they are: those of a pair, or the module itself."""
    is_pair = isinstance(model, tuple)
    params = model[1] if is_pair else model
    loss = lambda p: jnp.mean(called((model[0], p) if is_pair else p, xs, **options) ** 2)  # noqa: E731
    arrays, rest = eqx.partition(params, eqx.is_inexact_array)
    optimizer = optax.adam(1e-2)
    state, losses = optimizer.init(arrays), []
    step = jax.jit(jax.value_and_grad(lambda arrays: loss(eqx.combine(arrays, rest))))
    for _ in range(4):
        value, gradient = step(arrays)
        updates, state = optimizer.update(gradient, state)
        arrays = optax.apply_updates(arrays, updates)
        losses.append(float(value))
    assert losses == sorted(losses, reverse=True)


@pytest.mark.slow
def test_a_cured_module_of_torch_is_a_module(torch, rng):
    torch.manual_seed(0)
    linear = torch.nn.Linear
    blocks = [torch.nn.Sequential(linear(N, N), torch.nn.ReLU()) for _ in range(LAYERS)]
    module = torch.nn.Sequential(*blocks)
    xs, c = (torch.tensor(v, dtype=torch.float32) for v in rng.normal(size=(2, B, N)))
    before = {name: v.clone() for name, v in module.state_dict().items()}
    found = tried_on(patient_of(module, xs, cotangent=c), kinds=KINDS)
    assert {cure.kind for cure in found} == {*KINDS}
    for cure in found:
        flow = jaxnn.gradient_flow(cure.model, xs, cotangent=c)
        np.testing.assert_allclose(flow.log_delta, cure.flow.log_delta, atol=1e-4)
        assert type(cure.model) is type(module)
        assert cure.model is not module
    for name, v in module.state_dict().items():
        assert torch.equal(v, before[name])


def test_a_change_that_could_not_be_made_has_no_model():
    cure = Cure(kind="looks-linear", advice="Draw it.", reason="a width is odd")
    with pytest.raises(ValueError, match="could be made, got one where a width is odd"):
        _ = cure.model
