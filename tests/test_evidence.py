"""Evidence: what experiments on one batch show, of networks with a known fault and of healthy ones.

The experiments themselves are tried on arrays, without a framework; that JAX and torch supply the
same numbers is another test.
"""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn
from jaxnn.evidence.data import Data
from jaxnn.evidence.evidence import Evidence
from jaxnn.evidence.jax_trial import JaxTrial
from jaxnn.evidence.trial import Slope, Trial

B, N, K = 32, 6, 3


class OfArrays(Trial):
    """A network of two products with NumPy's functions.

    norm: what the inputs go through first; end: what the last product goes through.
    """

    xs = ys = weights = None

    def __init__(self, rng, xs=None, ys=None, norm=np.asarray, end=np.asarray, loss=None, width=K):
        self.xs = {"xs": rng.normal(size=(B, N)) if xs is None else xs}
        self.ys, self.norm, self.end, self.loss, self.weights = ys, norm, end, loss, {}
        self.first_weights = rng.normal(size=(N, 8)) / N**0.5
        self.last_weights = rng.normal(size=(8, width))

    def output(self, xs=None, factor=1.0):
        v = np.tanh(self.norm((xs or self.xs)["xs"]) @ self.first_weights)
        return self.end(v @ (factor * self.last_weights))

    def redrawn(self):
        return None

    def slope(self, output, order=None):
        ys = self.ys if order is None else self.ys[order]
        return None if self.loss is None else Slope(*self.loss(output, ys))


def standardised(v):
    return (v - v.mean(axis=0)) / v.std(axis=0)


def test_columns_have_their_sizes(rng):
    xs = rng.normal(size=(B, N)) * [1, 2, 4, 8, 16, 0] + [0, 0, 0, 0, 0, 3]
    (columns,) = Data.of(OfArrays(rng, xs)).columns
    np.testing.assert_allclose(columns.size, np.sqrt(np.mean(xs**2, axis=0)))
    assert columns.varying.tolist() == [True] * 5 + [False]


@pytest.mark.parametrize(
    ("norm", "expected"), [(np.asarray, False), (standardised, True)], ids=["none", "a norm"]
)
def test_a_norm_behind_the_inputs_is_seen(rng, norm, expected):
    assert Data.of(OfArrays(rng, 255 * rng.random((B, N)), norm=norm)).scales_itself is expected
    assert Data.of(OfArrays(rng, norm=norm)).scales_itself is None  # of usual size: not tried


@pytest.mark.parametrize("form", ["numbers", "column", "one-hot"])
def test_classes_in_order_are_told_from_shuffled_ones(rng, form):
    ys = np.repeat([2, 0, 1], 10)
    made = {"numbers": ys, "column": ys[:, None] * 1.0, "one-hot": np.eye(3)[ys]}[form]
    for order, expected in ((np.arange(30), True), (rng.permutation(30), False)):
        data = Data.of(OfArrays(rng, ys=made[order]))
        assert (data.classes, data.sorted) == (3, expected)
    assert not Data.of(OfArrays(rng, ys=rng.normal(size=B))).sorted


def test_what_fails_is_no_evidence(rng):
    trial = OfArrays(rng, 255 * rng.random((B, N)))
    trial.output = lambda *_: 1 / 0
    assert Evidence.of(trial).data is None


def chained(thetas, z):
    for theta in thetas[:-1]:
        z = jnp.tanh(z @ theta)
    return z @ thetas[-1]


def test_jax_supplies_outputs_and_slopes(rng):
    """Of a chain whose middle layers are a run, and of a Network."""
    thetas = [*rng.normal(size=(3, N, N)), rng.normal(size=(N, K))]
    xs, ys = {"a": rng.normal(size=(B, N))}, rng.normal(size=(B, K))

    def f(p, xs):
        return chained(p, xs["a"])

    def loss(output, ys):
        return jnp.sum((output - ys) ** 2, axis=1)

    trial = JaxTrial(*jaxnn.as_network((f, thetas), xs), xs, ys, loss)
    np.testing.assert_allclose(trial.first, f(thetas, xs))
    np.testing.assert_allclose(trial.output(factor=2.0), 2 * f(thetas, xs))
    (name,) = trial.xs
    np.testing.assert_allclose(
        trial.output({name: 2 * xs["a"]}), f(thetas, {"a": 2 * xs["a"]}), rtol=1e-12
    )
    order = rng.permutation(B)
    value, slope = trial.slope(ys + 1, order)
    np.testing.assert_allclose(value, np.sum((ys + 1 - ys[order]) ** 2) / B)
    np.testing.assert_allclose(slope, 2 * (ys + 1 - ys[order]) / B)
    for path, v in trial.weights.items():
        np.testing.assert_array_equal(v, thetas[int(path.strip("[]"))])
    assert len(trial.weights) == 4


def test_a_network_of_ours_supplies_them_too(rng, key):
    net = jaxnn.Network((N, 8, 1), "tanh", "binary")
    params, xs = jaxnn.init(net, key), rng.normal(size=(B, N))
    trial = JaxTrial(net, params, xs, np.arange(B) % 2)
    expected = [jaxnn.forward(net, params, x) for x in xs]
    np.testing.assert_allclose(trial.first, expected, rtol=1e-6)
    assert trial.slope(trial.first) is None  # the task has no loss of the output
    assert trial.weights["theta[1]"].shape == (8, 1)


@pytest.mark.slow
def test_torch_supplies_outputs_and_slopes(rng, torch):
    from jaxnn.evidence.torch_trial import TorchTrial

    model = torch.nn.Sequential(
        torch.nn.Linear(N, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.5), torch.nn.Linear(8, K)
    )
    xs, ys = torch.randn(B, N), torch.randn(B, K)
    before = [v.clone() for v in model.state_dict().values()], torch.get_rng_state()
    trial = TorchTrial(model, xs, ys, torch.nn.functional.mse_loss, ["3.weight", "3.bias"])
    np.testing.assert_allclose(trial.output(factor=2.0), 2 * trial.first, rtol=1e-5)
    assert not np.allclose(trial.redrawn(), trial.first)
    order = rng.permutation(B)
    _, slope = trial.slope(ys.numpy() + 1, order)
    np.testing.assert_allclose(slope, 2 * (ys.numpy() + 1 - ys.numpy()[order]) / B / K, rtol=1e-4)
    after = [v.clone() for v in model.state_dict().values()], torch.get_rng_state()
    assert all(map(torch.equal, [*before[0], before[1]], [*after[0], after[1]]))
    assert TorchTrial(model.eval(), xs).redrawn() is None


def test_a_diagnosis_has_the_evidence_and_the_verdict_says_it(rng):
    thetas = [np.float32(rng.normal(size=(N, N))) for _ in range(2)]
    xs = np.float32(300 * rng.random((B, N)))
    diagnosis = jaxnn.diagnose(
        (chained, thetas), xs, xs, loss=lambda z, ys: jnp.mean((z - ys) ** 2)
    )
    assert diagnosis.evidence.data.scales_itself is False
    assert "divide by its standard deviation" in str(diagnosis)
