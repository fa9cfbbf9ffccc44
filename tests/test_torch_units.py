"""Units of activations in modules of PyTorch: the slopes that are counted are those of autograd."""

import numpy as np
import pytest

import jaxnn
from jaxnn.pytorch.activations import FEWEST

B, N = 12, 6
MODULES = {
    "relu": lambda nn: nn.ReLU(),
    "relu in place": lambda nn: nn.ReLU(inplace=True),
    "tanh": lambda nn: nn.Tanh(),
    "sigmoid": lambda nn: nn.Sigmoid(),
    "hardtanh": lambda nn: nn.Hardtanh(-0.5, 2.0),
    "relu6 in place": lambda nn: nn.ReLU6(inplace=True),
    "elu": lambda nn: nn.ELU(0.5),
    "selu": lambda nn: nn.SELU(),
    "gelu": lambda nn: nn.GELU(),
    "gelu of tanh": lambda nn: nn.GELU(approximate="tanh"),
    "silu": lambda nn: nn.SiLU(),
    "silu in place": lambda nn: nn.SiLU(inplace=True),
    "mish": lambda nn: nn.Mish(),
    "softplus": lambda nn: nn.Softplus(2.0),
    "hardswish": lambda nn: nn.Hardswish(),
    "hardsigmoid": lambda nn: nn.Hardsigmoid(),
}


LARGEST = {"tanh": 1, "sigmoid": 1 / 4, "hardsigmoid": 1 / 6}  # slopes of those with plateaus


def cross_entropy(torch):
    return torch.nn.CrossEntropyLoss()


@pytest.mark.parametrize("name", MODULES)
def test_slopes_are_those_of_autograd(torch, name):
    """Of the units of a layer one is far below 0, one far above, and one on a slope of .007."""
    sigma = MODULES[name](torch.nn)
    model = torch.nn.Sequential(torch.nn.Linear(4, N), sigma, torch.nn.Linear(N, 3)).double()
    with torch.no_grad():
        model[0].bias[:3] = torch.tensor([-300.0, 30.0, 5.0])
    xs, ys = torch.randn(B, 4).double(), torch.randint(0, 3, (B,))
    z = model[0](xs).detach().requires_grad_()
    a = MODULES[name](torch.nn)(z.clone())
    (slope,) = torch.autograd.grad(a.sum(), z)
    units = jaxnn.gradient_flow(model, xs, ys, loss=cross_entropy(torch), cuts=["0", "2"]).units
    a = a.detach()
    np.testing.assert_allclose(units.dead, [(slope == 0).all(0).double().mean(), np.nan])
    np.testing.assert_allclose(units.mean_a, [a.mean(), np.nan], rtol=1e-10)
    np.testing.assert_allclose(units.var_a, [a.var(correction=0), np.nan], rtol=1e-8)
    least, most = a.aminmax(dim=0)
    constant = ((most - least) <= 1e-15 * most.abs()).double().mean()
    np.testing.assert_allclose(units.constant, [constant, np.nan])
    if name in LARGEST:
        flat = (slope.abs() < LARGEST[name] / 100).double().mean()
        np.testing.assert_allclose(units.saturated, [flat, np.nan])
        assert flat > 0
    else:
        assert np.isnan(units.saturated).all()
    if name not in ("relu in place", "relu6 in place"):
        np.testing.assert_allclose(units.mean_square_z, [z.detach().square().mean(), np.nan])


def test_units_are_columns_or_channels_of_the_layer_that_computes_them(torch):
    """Of blocks those inside; of a list of layers those of what the one before has returned."""
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down = nn.Linear(4, 8), nn.Linear(8, 4)

        def forward(self, x):
            return x + self.down(torch.relu(self.up(x)))

    model = nn.Sequential(*(Block() for _ in range(3)))
    with torch.no_grad():
        model[1].up.bias[:6] = -100.0
    x = torch.randn(B, 3, 4)
    flow = jaxnn.gradient_flow(model, x, loss=lambda out, _: out.square().mean())
    dead = np.array(flow.units.dead)
    assert dead[1] >= 6 / 8
    assert max(dead[0], dead[2]) < 0.5
    few = jaxnn.gradient_flow(model, x[: FEWEST - 1, :1], loss=lambda out, _: out.square().mean())
    assert np.isnan(few.units.dead).all()

    images = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.ReLU())
    with torch.no_grad():
        images[0].bias[:2] = -100.0
        images[2].bias[:1] = -100.0
    flow = jaxnn.gradient_flow(
        images, torch.randn(2, 3, 8, 8), cuts=["0", "2"], loss=lambda out, _: out.square().mean()
    )
    np.testing.assert_allclose(flow.units.dead, [2 / 8, 1 / 4])


def test_a_module_without_activations_has_no_units(torch):
    lines = torch.nn.Sequential(*(torch.nn.Linear(4, 4) for _ in range(2)))
    flow = jaxnn.gradient_flow(lines, torch.randn(B, 4), loss=lambda out, _: out.square().mean())
    assert flow.units is None
