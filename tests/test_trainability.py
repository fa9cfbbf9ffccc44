"""The map of trainability: what is trained, and where theory puts the ridge."""

import json

import jax
import jax.numpy as jnp
import optax
import polars as pl
import pytest

import jaxnn
from experiments.__main__ import main
from experiments.runs import runtime, store
from experiments.trainability import experiment as trainability

pytestmark = pytest.mark.xdist_group("trainability")

SMALL = [
    *("trainability", "--depths", "2", "3", "--sigma-w-squared", "1", "2", "3", "--width", "8"),
    *("--steps", "7", "--data", "iris", "--batch", "32", "--no-cache", "--quiet"),
]


@pytest.fixture(autouse=True)
def user_s_jax(strict_jax):
    """JAX as a user has it: float32, promotion allowed."""
    with (
        jax.enable_x64(False),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
    ):
        yield


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("map") / "run"
    with jax.enable_x64(False):
        assert main([*SMALL, "--out", str(out)]) == 0
    return out


def planned(**settings):
    return trainability.prepare(trainability.Settings(**settings))


def test_a_network_is_trained_as_a_plain_loop_of_jax_grad_trains_it():
    """SGD with momentum, written out, on the plain loss; the same draws and batches."""
    plan = planned(
        depths=("3",), sigma_w_squared=("2.25",), width=8, steps=7, batch=32, data="iris", rate=0.1
    )
    rows = trainability.measure(plan, plan.cells[0])
    x, y = jnp.asarray(plan.dataset.x), jnp.asarray(plan.dataset.y)
    net = jaxnn.Network((4, 8, 8, 8, 3), "tanh", "multiclass")
    room = trainability.roomy(plan, 3)
    keys = jax.random.split(jax.random.key(0))
    layers = jaxnn.init(room, keys[0], jaxnn.gaussian(1.0), 1.0)
    drawn = (*layers[:3], layers[-1])
    params = [(1.5 * theta, 0.05**0.5 * b) for theta, b in drawn]

    def loss(params, xs, ys):
        a = xs
        for theta, b in params[:-1]:
            a = jnp.tanh(a @ theta + b)
        z = a @ params[-1][0] + params[-1][1]
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(z, ys)), z

    velocity = jax.tree.map(jnp.zeros_like, params)
    for step in range(7):
        epoch, j = divmod(step, len(x) // 32)
        of_batch = trainability.order(keys[1], epoch, len(x))[32 * j : 32 * (j + 1)]
        gradient = jax.grad(loss, has_aux=True)(params, x[of_batch], y[of_batch])[0]
        velocity = jax.tree.map(lambda v, g: 0.9 * v + g, velocity, gradient)
        params = jax.tree.map(lambda p, v: p - 0.1 * v, params, velocity)
    expected, z = loss(params, x, y)
    assert rows["loss"][0] == pytest.approx(float(expected), rel=1e-4)
    assert rows["accuracy"][0] == pytest.approx(float(jnp.mean(z.argmax(axis=1) == y)))
    assert net.sizes[-1] == room.sizes[-1]


def test_deep_networks_train_near_the_critical_variance_only():
    """Digits, 40 layers: at σ_w² = 1.76, not at 1; ξ_c at 1 is 4.2 layers."""
    plan = planned(depths=("40",), sigma_w_squared=("1", "1.76"), steps=300, rate=3e-3)
    rows = trainability.measure(plan, plan.cells[0])
    assert rows["accuracy"][0] < 0.3
    assert rows["accuracy"][1] > 0.9


def test_the_depth_scale_diverges_at_the_critical_variance():
    plan = planned(depths=("3",), sigma_w_squared=("1:3:0.5",))
    scales = trainability.scales(plan)
    critical = float(jaxnn.meanfield.critical_sigma_w("tanh", 0.05**0.5)) ** 2
    peak = scales.sort("xi_c")["sigma_w_squared"][-1]
    assert peak == pytest.approx(critical, abs=0.02)
    at_one = float(jaxnn.meanfield.xi_c("tanh", 1.0, 0.05**0.5))
    assert scales["xi_c"][0] == pytest.approx(at_one, rel=1e-4)


def test_one_program_trains_every_depth_up_to_a_power_of_two():
    trainability.training.cache_clear()
    plan = planned(depths=("2:9:1",), sigma_w_squared=("1", "2"), width=5, steps=2, data="iris")
    mesh = runtime.mesh(2)
    for cell in plan.cells:
        trainability.measure(plan, cell)
    programs = {trainability.roomy(plan, cell.depth) for cell in plan.cells}
    assert len(programs) == 4  # room for 1, 2, 4 and 8 layers beyond the first
    s = plan.settings
    for net in programs:
        trained = trainability.training(mesh, net, s.rate, s.momentum, s.batch, s.steps)
        assert trained._cache_size() == 1


def test_the_ridge_is_found():
    rows = pl.DataFrame(
        {
            "sigma_w_squared": [1.0, 1.0, 2.0, 2.0, 3.0, 3.0],
            "depth": [10, 20] * 3,
            "accuracy": [0.9, 0.2, 0.9, 0.8, 0.2, 0.9],  # the last one trains by chance
        }
    )
    deepest = trainability.trained_depths(rows, 0.1)
    assert deepest["depth"].to_list() == [10, 20, 0]


def test_the_run_is_whole_and_says_what_it_found(small_run):
    rows = pl.read_parquet(small_run / store.ROWS)
    assert rows.height == 2 * 3
    run = json.loads((small_run / store.RUN).read_text())
    assert run["finished"]
    assert "critical σ_w² by theory 1.76" in run["verdicts"][0]
    assert "training accuracy" in (small_run / "trainability.svg").read_text()
    assert rows["accuracy"].is_between(0, 1).all()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("--sigma-w-squared 0 1", "sigma_w_squared: expected numbers > 0, got 0"),
        ("--sigma-b-squared -1", "sigma_b_squared: expected a finite number >= 0, got -1"),
        ("--rate nan", "rate: expected a finite number >= 0, got nan"),
        ("--steps 0", "steps: expected positive integers, got 0"),
        ("--activation tnah", "activation: there is no 'tnah'"),
        ("--data diabetes", "data: expected classes to tell apart, got diabetes"),
    ],
)
def test_a_user_s_mistake_is_one_sentence(arguments, sentence, tmp_path, capsys, unhooked):
    out = tmp_path / "run"
    assert main(["trainability", *arguments.split(), "--out", str(out)]) == 2
    assert sentence in capsys.readouterr().err
    assert not out.exists()
