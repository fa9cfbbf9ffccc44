"""Cures ranked by training: the race, its clock, and that its losses are those of a plain loop."""

from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.datasets import load_digits

import jaxnn
from experiments.cures.dense import IllDense
from jaxnn import diagnosis
from jaxnn.models import Program
from jaxnn.train.torch_learner import TorchLearner
from jaxnn.trials import race
from jaxnn.trials.cure import Cure
from jaxnn.trials.cures import Cures, patient_of, tried_on
from jaxnn.trials.layers import Around
from jaxnn.trials.race import TIMES, Tried, halved
from jaxnn.trials.score import Score
from jaxnn.trials.setup import Attempt, Setup


class Fake:
    """A training whose loss falls to an end, quicker the nearer its step size is to the best."""

    tools = SimpleNamespace(seed=lambda number: None)
    steps, is_split = (None,), True
    of_torch, program = False, SimpleNamespace(optimizer=None)

    def __init__(self, clock, end, seconds=0.001, best=1.0, slow=1.0, times=1.0):
        self.of, self.times = (clock, end, seconds, best, slow), times

    def but(self, optimizer):
        return self

    def batch(self, step):
        return step

    def learner(self):
        return self

    def output(self, batch):
        return None

    def trial(self, batch):
        return SimpleNamespace(ys=None)

    def step(self, batch):
        clock, end, seconds, best, slow = self.of
        clock.now += seconds
        return end + np.exp(-batch / (10 * slow)) + abs(np.log(self.times / best))


@pytest.fixture
def clock(monkeypatch):
    """A clock that trainings move on, and setups that are fakes."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(race.time, "process_time", lambda: clock.now)
    monkeypatch.setattr(race.Setup, "of", lambda program: program)
    monkeypatch.setattr(race, "replace", replaced)
    return clock


def replaced(one, **changes):
    return type(one)(*one.of, **changes)


def run(fakes, seconds):
    return halved([SimpleNamespace(program=fake) for fake in fakes], seconds)[0]


def test_the_better_ones_are_trained_for_longer(clock):
    """Each with its own best step size; the one that starts slowly wins if it ends lowest."""
    ends = {"as it is": 2.0, "a": 0.5, "b": 0.4, "c": 0.3, "slow": 0.1, "e": 0.9, "f": 1.9}
    best = dict.fromkeys(ends, 0.3) | {"slow": 3.0}
    slow = dict.fromkeys(ends, 1.0) | {"slow": 1.5}
    of = [Fake(clock, end, best=best[k], slow=slow[k]) for k, end in ends.items()]
    reached = dict(zip(ends, run(of, 60), strict=True))
    assert {name: one.steps for name, one in reached.items()} == {
        **dict.fromkeys(("as it is", "slow", "c", "b", "a", "e"), 300),
        "f": 100,  # six are left, of which "slow" is two: it is good with two step sizes
    }
    assert reached["slow"].step_size == "size 0.003"
    assert reached["c"].step_size == "size 0.0003"
    assert min(reached, key=lambda name: reached[name].place) == "slow"


def test_of_two_that_learn_it_all_the_sooner_one_is_the_first(clock):
    """Whose few losses at the end are the least says little; the first steps do not count."""
    of = [Fake(clock, 2.0), Fake(clock, 2e-5), Fake(clock, 1e-5, slow=2.0)]
    _, soon, late = run(of, 60)
    assert soon.place < late.place
    early = Tried(losses=[1e9, *[0.5] * 9], steps=10)
    assert early.mean == 0.5


@pytest.mark.parametrize(("seconds", "most"), [(83, 300), (30, 100), (11, 30), (10, 0)])
def test_the_clock_ends_a_round_and_never_ranks(clock, seconds, most):
    """A round that is not over in time counts for no change; longer ones go on where they were."""
    of = [Fake(clock, end, seconds=0.01) for end in (9, 4, 1, 3, 2, 6, 7, 5, 8)]
    reached = run(of, seconds)
    steps = [one.steps for one in reached]
    assert max(steps) == steps[0] == most
    assert steps.count(most) == {300: 4, 100: 6, 30: 9, 0: 9}[most]
    if most:
        assert min(range(9), key=lambda i: reached[i].place) == 2
    else:
        over = "not trained, for the 10 seconds were over before all had taken 30 steps"
        assert {str(one) for one in reached} == {over}


def test_a_loss_without_a_number_is_the_worst(clock):
    of = [Fake(clock, 1.0), Fake(clock, np.nan), Fake(clock, 9.0)]
    _, broken, big = run(of, 60)
    assert str(broken) == "after 1 step its loss is no finite number with any step size"
    assert big.place < broken.place


def test_an_interrupted_race_tells_what_was_reached(clock):
    class Interrupted(Fake):
        def step(self, batch):
            if batch >= 30:
                raise KeyboardInterrupt
            return super().step(batch)

    fakes = [Fake(clock, 1.0), Fake(clock, 0.1), Interrupted(clock, 0.2)]
    reached, stopped = halved([SimpleNamespace(program=fake) for fake in fakes], 60)
    assert ([one.steps for one in reached], stopped) == ([30, 30, 30], True)


def test_a_training_that_ends_with_an_error_is_the_last(clock):
    class Broken(Fake):
        def step(self, batch):
            raise TimeoutError("of the  user")

    first, broken, good = run([Fake(clock, 1.0), Broken(clock, 0), Fake(clock, 2.0)], 60)
    assert (first.steps, good.steps) == (300, 300)
    assert str(broken) == "not trained, for a training ends with TimeoutError: of the user"
    assert good.place < broken.place


def trained(mean, steps=300):
    return Tried(score=Score(1.0, "R² 1.00"), losses=[mean] * steps, steps=steps)


def test_a_best_change_that_trains_no_better_than_the_network_as_it_is_is_told():
    said = SimpleNamespace(broken=False, can_be_cured=True, rate_text="")
    best = Cure(kind="", advice="", works=True, trained=trained(0.5))
    for mean, end in ((0.4, "0.4 in the mean: no change trains better."), (0.6, "in the mean.")):
        as_it_is = trained(mean)
        as_it_is.setup = best.trained.setup = Fake(None, 0)
        assert Cures(said, (best,), as_it_is).sentences[1].endswith(end)


def rows_of(setup, count):
    return [setup.steps[i % len(setup.steps)][1] for i in range(count)]


def taken(setup, count):
    """The losses of a training."""
    learner = setup.learner()
    return [learner.step(setup.batch(i)) for i in range(count)]


def of_silu(layers, n):
    keys = jax.random.split(jax.random.key(0), layers)
    weights = [jax.random.uniform(k, (n, n), minval=-1) / n**0.5 for k in keys]
    return [(lambda w, z: jax.nn.silu(z) @ w, w) for w in weights]


def square(output, ys):
    return jnp.mean((output - ys) ** 2, axis=1)


@pytest.mark.slow
@pytest.mark.usefixtures("users_jax")
@pytest.mark.parametrize("optimizer", [None, optax.adam(1e-3)])
def test_a_course_is_that_of_a_plain_loop(rng, optimizer):
    layers, (xs, ys) = of_silu(3, 4), np.float32(rng.normal(size=(2, 48, 4)))
    given = Program(jaxnn.as_network(layers), xs, ys, loss=square, optimizer=optimizer)
    setup = replace(Setup.of(given), times=3.0, is_split=True)
    rows, losses_of = rows_of(setup, 12), taken(setup, 12)

    def mean(weights, xs, ys):
        for w in weights:
            xs = jax.nn.silu(xs) @ w
        return square(xs, ys).mean()

    adam, weights, losses = optax.adam(3e-3), [w for _, w in layers], []
    state = adam.init(weights)
    for i in range(12):
        value, gradient = jax.value_and_grad(mean)(weights, xs[rows[i]], ys[rows[i]])
        updates, state = adam.update(gradient, state)
        weights = optax.apply_updates(weights, updates)
        losses.append(value)
    np.testing.assert_allclose(losses_of, losses, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.usefixtures("users_jax")
def test_what_trains_best_is_the_first():
    """Of 16 layers of silu on digits: by its rate alone the factor, which trains worst."""
    xs, ys = load_digits(return_X_y=True)
    layers = of_silu(17, 64)
    data = np.float32(xs[:256] / 8 - 1), ys[:256]
    loss = optax.softmax_cross_entropy_with_integer_labels
    patient = patient_of(Program(layers, *data, loss=loss))
    kinds = ("scale", "skip")
    by_rate = [cure.kind for cure in tried_on(patient, kinds=kinds)]
    assert by_rate == ["scale", "skip", "skip"]  # the last one with weights of usual size
    found = tried_on(patient, kinds=kinds, seconds=600)
    assert [cure.kind for cure in found] == ["skip", "skip", "scale"]
    losses = [cure.trained.mean for cure in found]
    assert losses == sorted(losses)
    assert found.unchanged.mean > losses[0]


@pytest.mark.slow
@pytest.mark.usefixtures("users_jax")
def test_modules_are_trained(rng):
    """And left as they are."""
    module = IllDense("tanh", 3, 1.0).built("equinox", 0)["model"]
    before = [np.array(v) for v in jax.tree.leaves(module) if hasattr(v, "shape")]
    xs, ys = rng.normal(size=(40, 64)).astype(np.float32), np.arange(40) % 10
    loss = optax.softmax_cross_entropy_with_integer_labels
    patient = patient_of(Program(module, xs, ys, loss=loss))
    one = replace(Setup.of(patient.program), times=10.0)
    losses = taken(one, 60)
    assert losses[-1] < losses[0] / 4
    formed = patient.with_form(Around(0.5))
    other = Setup.of(Attempt(formed.params, patient=formed).program)
    assert other.learner().count == one.learner().count == 40  # it takes batches, too
    expected = loss(formed.model(formed.params)(xs), ys).mean()
    assert taken(other, 1) == pytest.approx([float(expected)], rel=1e-5)
    after = [np.array(v) for v in jax.tree.leaves(module) if hasattr(v, "shape")]
    np.testing.assert_equal(after, before)


@pytest.mark.slow
def test_a_network_of_ours_is_trained_by_the_loss_that_is_given(key, rng):
    net = jaxnn.Network((4, 8, 3), "tanh", "multiclass")
    params, xs = jaxnn.init(net, key), rng.normal(size=(24, 4))

    forward = jax.vmap(lambda x: jaxnn.forward(net, params, x))

    def loss(y_hat, ys):
        return jnp.sum((y_hat - ys) ** 2, axis=1)

    losses = taken(Setup.of(Program((net, params), xs, xs[:, :3], loss=loss)), 20)
    assert losses[0] == pytest.approx(float(loss(forward(xs), xs[:, :3]).mean()), rel=1e-5)
    assert losses[-1] < losses[0]


def of_torch(torch):
    torch.manual_seed(0)
    layers = [torch.nn.Sequential(torch.nn.SiLU(), torch.nn.Linear(8, 8)) for _ in range(12)]
    module = torch.nn.Sequential(*layers, torch.nn.Linear(8, 1))
    xs = torch.randn(40, 8)
    return module, xs, xs[:, :1].sign()


@pytest.mark.slow
def test_a_course_of_torch_is_that_of_a_plain_loop(torch):
    module, xs, ys = of_torch(torch)
    random = torch.get_rng_state()
    given = Setup.of(Program(module, xs, ys, torch.nn.functional.mse_loss))
    setup, was = replace(given, times=10.0, is_split=True), module[0][1].weight.clone()
    rows, losses_of = rows_of(setup, 6), taken(setup, 6)
    assert (torch.get_rng_state() == random).all()
    assert (module[0][1].weight == was).all()
    assert module[0][1].weight.grad is None
    optimizer, losses = torch.optim.Adam(module.parameters(), 0.01), []
    for i in range(6):
        optimizer.zero_grad()
        value = torch.nn.functional.mse_loss(module(xs[rows[i]]), ys[rows[i]])
        value.backward()
        optimizer.step()
        losses.append(float(value.detach()))
    np.testing.assert_allclose(losses_of, losses, rtol=1e-5)


@pytest.mark.slow
def test_cures_of_torch_are_ranked_by_training(torch):
    module, xs, ys = of_torch(torch)
    sgd = lambda parameters: torch.optim.SGD(parameters, 0.1)  # noqa: E731
    options = {"loss": torch.nn.functional.mse_loss, "seconds": 600, "optimizer": sgd}
    found = jaxnn.cures(module, xs, ys, **options)
    working = [cure.trained for cure in found if cure.works]
    assert len({cure.kind for cure in found if cure.works}) > 2
    assert [one.place for one in working] == sorted(one.place for one in working)
    assert working[0].setup.times in TIMES
    assert working[0].mean < found.unchanged.mean
    with pytest.raises(TypeError, match="expected a function of parameters that returns"):
        jaxnn.cures(module, xs, ys, **options | {"optimizer": sgd(module.parameters())})


@pytest.mark.slow
def test_a_function_that_wants_all_examples_has_all_of_them_as_its_batch(torch):
    module, xs, ys = of_torch(torch)
    of_all = lambda output, _: (output - ys).square().mean() + 0 * (output + ys[:40]).sum()  # noqa: E731
    one = TorchLearner(Program(module, xs, loss=of_all))
    assert one.count == 0
    assert len(taken(Setup.of(one.program), 2)) == 2
    graph = TorchLearner(Program(lambda x: x[0].v, [SimpleNamespace(v=xs)], ys))
    assert graph.count == 0
    broken = SimpleNamespace(program=Program(torch.nn.Flatten(), xs, ys, of_all))
    (told,), _ = halved([broken], 9)
    assert str(told).startswith("not trained, for a training ends with ")


@pytest.mark.slow
@pytest.mark.usefixtures("users_jax")
def test_a_diagnosis_has_its_cures_trained_by_a_loss_alone(monkeypatch, torch, rng):
    """Not by the random one that stands for it."""
    given = []

    def tried_on(patient, *_, seconds):
        given.append(seconds)
        return Cures(patient.verdict, ())

    monkeypatch.setattr(diagnosis, "tried_on", tried_on)
    layers, xs = of_silu(3, 4), np.float32(rng.normal(size=(6, 4)))
    module, x, y = of_torch(torch)
    for made in (
        jaxnn.diagnose(layers, xs),
        jaxnn.diagnose(layers, xs, cotangent=xs),
        jaxnn.diagnose(module, x),
        jaxnn.diagnose(layers, xs, xs, loss=square),
        jaxnn.diagnose(module, x, y, loss=torch.nn.functional.mse_loss),
    ):
        assert len(made.cures) == 0
    assert given == [0, 0, 0, 60, 60]
