"""Critical factors, correlation lengths, bands and cures of modules of PyTorch, as those of JAX."""

import math

import jax
import numpy as np
import pytest

import jaxnn
from jaxnn.errors import NoTwinError
from jaxnn.flow.theory.of_torch import TorchModel
from jaxnn.models import Program
from jaxnn.theory import correlation_length, critical_scale, drawn_band, scale_weights

N, B = 32, 6


def relu_layers(torch, count, variance, sigma_b=0.0):
    """Layers of relu, and the same ones as functions of JAX."""
    nn = torch.nn
    torch.manual_seed(0)
    module = nn.Sequential(*[nn.Sequential(nn.ReLU(), nn.Linear(N, N)) for _ in range(count)])
    for layer in module:
        nn.init.normal_(layer[1].weight, std=(variance / N) ** 0.5)
        nn.init.normal_(layer[1].bias, std=sigma_b)

    def relu(p, z):
        return jax.nn.relu(z) @ p[0].T + p[1][None]

    arrays = [[v.detach().numpy() for v in layer[1].parameters()] for layer in module]
    return module, [(relu, pair) for pair in arrays]


def test_the_critical_factor_is_that_of_the_same_network_in_jax(torch):
    module, layers = relu_layers(torch, 5, 1.0)
    xs = torch.randn(B, N)
    before = [v.detach().clone() for v in module.parameters()]
    ours, theirs = critical_scale(module, xs), critical_scale(layers, xs.numpy())
    assert abs(ours.factor - theirs.factor) < 4 * math.hypot(ours.error, theirs.error)
    assert abs(ours.rate - theirs.rate) < 4 * math.hypot(ours.rate_error, theirs.rate_error)
    assert ours.rate < -0.1
    assert ours.paths == tuple(f"{i}.1.weight" for i in range(5))
    assert all(map(torch.equal, before, module.parameters()))
    module.load_state_dict(scale_weights(module, ours.factor))
    pairs = list(zip(module.parameters(), before, strict=True))
    assert all(torch.equal(v, ours.factor * b) for v, b in pairs[::2])
    assert all(torch.equal(v, b) for v, b in pairs[1::2])


def test_weights_of_a_module_are_chosen_by_patterns_of_their_names(torch):
    module, _ = relu_layers(torch, 3, 1.0)
    before = module.state_dict()
    scaled = scale_weights(module, 2.0, weights=("0.*", "2.1.bias"))
    changed = {name for name, v in scaled.items() if not torch.equal(v, before[name])}
    assert changed <= {"0.1.weight", "0.1.bias", "2.1.bias"}
    assert "0.1.weight" in changed
    with pytest.raises(ValueError, match="weights: expected a pattern of names such as 0"):
        scale_weights(module, 2.0, weights="head")
    with pytest.raises(ValueError, match="key: expected none for a module of PyTorch"):
        critical_scale(module, torch.randn(B, N), key=jax.random.key(0))
    with pytest.raises(ValueError, match="net: expected at least three layers, got 2"):
        critical_scale(module[:2], torch.randn(B, N))
    with pytest.raises(ValueError, match="net: expected at least 6 layers, got 3"):
        correlation_length(module, torch.randn(B, N))


def test_the_correlation_length_is_that_of_the_same_network_in_jax(torch):
    module, layers = relu_layers(torch, 9, 1.4, 0.3)
    xs = torch.randn(B, N)
    ours, theirs = correlation_length(module, xs), correlation_length(layers, xs.numpy())
    apart = abs(ours.examples - theirs.examples)
    assert apart < 4 * math.hypot(ours.examples_error, theirs.examples_error)
    assert 1 < ours.examples < 5
    assert np.isnan(ours.tokens)
    assert ours.layers == theirs.layers


def test_draws_of_lower_layers_leave_those_above_as_they_are(torch):
    """Behind a layer that is shut the two twins are one, if only draws below it differ."""
    module, _ = relu_layers(torch, 6, 1.0, 1.0)
    torch.nn.init.zeros_(module[2][1].weight)
    twin = TorchModel(Program(module, torch.randn(B, N))).twin(64)
    one, same, other = (np.asarray(twin.flow(3, k).log_mean_square) for k in (0, 0, 2))
    np.testing.assert_array_equal(one, same)
    assert (one[:2] != other[:2]).all()
    np.testing.assert_array_equal(one[2:], other[2:])


def test_layers_that_share_weights_have_no_draws_of_their_own(torch):
    layer = torch.nn.Linear(N, N)
    module = torch.nn.Sequential(*[torch.nn.Sequential(torch.nn.Tanh(), layer) for _ in range(7)])
    with pytest.raises(NoTwinError, match="expects layers with weights of their own"):
        correlation_length(module, torch.randn(B, N))


def test_the_band_is_that_of_the_same_network_in_jax(torch):
    module, layers = relu_layers(torch, 8, 2.0)
    xs, c = torch.randn(2, N), torch.randn(2, N)
    before = [v.detach().clone() for v in module.parameters()]
    ours = drawn_band(module, xs, cotangent=c, draws=24)
    theirs = drawn_band(layers, xs.numpy(), cotangent=c.numpy(), draws=24)
    assert abs(ours.log_delta[0] - theirs.log_delta[0]) < 4 * math.hypot(
        ours.error[0], theirs.error[0]
    )
    assert 0.4 < ours.sd[0] / theirs.sd[0] < 2.5
    assert all(map(torch.equal, before, module.parameters()))


def test_cures_have_the_theory_of_what_they_make(torch):
    """Replicas of a module with hooks have the states of each by itself."""
    nn = torch.nn
    torch.manual_seed(0)
    layers = [nn.Sequential(nn.Linear(N, N, bias=False), nn.Tanh()) for _ in range(8)]
    xs, c = torch.randn(2, B, N)
    cures = jaxnn.cures(nn.Sequential(*layers), xs, cotangent=c, theory=True)
    works = [cure for cure in cures if cure.works]
    assert {"skip", "pre-norm", "scale", "orthogonal"} <= {cure.kind for cure in works}
    for cure in works:
        assert abs(cure.theory - cure.decades) < 0.05, cure.kind


def test_theory_below_a_head_of_zeros_is_behind_the_same_random_numbers(torch):
    module, _ = relu_layers(torch, 5, 1.0)
    torch.nn.init.zeros_(module[4][1].weight)
    xs = torch.randn(B, N)
    flow = jaxnn.gradient_flow(module, xs, cotangent=xs, theory=True)
    assert flow.drawn == ("4.1.weight",)
    decades, theory = (np.asarray(v.log_delta[:4]) / np.log(10) for v in (flow, flow.theory))
    np.testing.assert_allclose(decades - decades[-1], theory - theory[-1], atol=0.3)
    assert decades[0] - decades[-1] < -0.2
    assert not module[4][1].weight.any()


def test_theory_under_autocast_is_refused(torch):
    module, _ = relu_layers(torch, 3, 1.0)
    xs = torch.randn(B, N)
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(NoTwinError, match="outside of it"):
        jaxnn.gradient_flow(module, xs, cotangent=xs, theory=True)
