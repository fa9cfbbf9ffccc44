"""Modules of PyTorch with numbers that are nan or infinite: measured as far as numbers go."""

import numpy as np
import pytest
from test_pytorch import check_states

import jaxnn

NAN, INF = float("nan"), float("inf")

pytestmark = pytest.mark.usefixtures("users_jax")


def layers(torch):
    nn = torch.nn
    norm = nn.BatchNorm1d(4).eval()
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), norm, nn.Linear(4, 4), nn.Linear(4, 4))
    model.register_buffer("mask", torch.full((2,), -INF))  # which is not broken
    return model


def plant(tensor, value):
    tensor.data.view(-1)[0] = value


def saturate(model):
    """Let Δ leave the range within a layer, above units with a slope of zero."""
    model[0].weight.data.mul_(1e38)
    model[3].weight.data.fill_(0).fill_diagonal_(1e38)


CASES = {  # what is broken, and the array that is named
    "a weight": (lambda m, x, y: plant(m[3].weight, NAN), "3.weight"),
    "an infinite weight": (lambda m, x, y: plant(m[3].weight, INF), "3.weight"),
    "a bias": (lambda m, x, y: plant(m[4].bias, NAN), "4.bias"),
    "a buffer": (lambda m, x, y: plant(m[2].running_var, NAN), "2.running_var"),
    "what is frozen": (lambda m, x, y: plant(m[0].weight.requires_grad_(False), NAN), "0.weight"),
    "an input": (lambda m, x, y: plant(x, NAN), "xs: 1 of 12"),
    "an infinite input": (lambda m, x, y: plant(x, INF), "xs: 1 of 12"),
    "a label": (lambda m, x, y: plant(y, NAN), "ys: 1 of 12"),
    "all weights": (lambda m, x, y: [p.data.mul_(3e37) for p in m.parameters()], ""),
    "weights near the end of the range": (lambda m, x, y: saturate(m), ""),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_broken_is_named_and_the_rest_measured(torch, case):
    break_it, name = CASES[case]
    model, x, y = layers(torch), torch.randn(3, 4), torch.randn(3, 4)
    break_it(model, x, y)

    def loss(output):
        return (output - y).square().mean()

    found = jaxnn.diagnose(model, x, y, loss=lambda output, _: loss(output))
    at = (0, 2, 3, 4)
    check_states(torch, found.flow, model, x, loss, 1e-5)
    states = [x := layer(x) for layer in model]
    logs = np.log([float(states[i].detach().double().square().mean()) for i in at])
    finite = np.isfinite(logs)
    ours = np.asarray(found.flow.log_mean_square)
    np.testing.assert_allclose(ours[finite], logs[finite], rtol=1e-5, atol=1e-5)
    assert not np.isfinite(ours[~finite]).any()
    assert name in str(found)
    assert "weights smaller" not in str(found)
    assert "mask" not in str(found)
    assert "makes them of finite numbers" not in str(found)


def test_what_leaves_the_range_within_a_layer_is_not_measured(torch):
    model = torch.nn.Sequential(*[torch.nn.Linear(4, 4, bias=False) for _ in range(3)])
    model[1].weight.data.fill_(3e38)
    model[0].weight.data.mul_(1e-3)
    flow = jaxnn.gradient_flow(model, torch.randn(3, 4), cotangent=torch.full((3, 4), 1e-42))
    assert flow.unmeasured == 1
    assert np.isnan(flow.log_delta[0])
    assert np.isfinite(flow.log_delta[1:]).all()
    note = "From layer [0] down Δ is not measured: it leaves the range of float32; measure in a"
    assert any(each.startswith(note) for each in flow.notes)
