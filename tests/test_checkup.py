"""A checkup: a diagnosis and a rehearsal, one answer, and everything as it was."""

import random
import sys
import threading
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxnn
from jaxnn import returned
from jaxnn.cli import command
from jaxnn.flow.verdict.data_findings import NO_HINT
from jaxnn.rehearsal import checkup as checkups
from jaxnn.rehearsal.course import Course, rehearsed
from jaxnn.rehearsal.held_out import held_out_of, rows_of
from jaxnn.rules import Found
from jaxnn.train.descent import ADAM
from jaxnn.train.learner import Batch
from jaxnn.trials import race
from jaxnn.trials.race import Trials, Tried
from jaxnn.trials.score import Score
from jaxnn.watching.watched import Watched

pytestmark = pytest.mark.usefixtures("users_jax")

NAN = float("nan")


def course(losses, constant=NAN, steps=None, **options):
    losses = np.asarray(losses, float)
    return Course(losses, constant, len(losses) if steps is None else steps, **options)


def falling(start, end, count=100):
    return np.geomspace(start, end, count)


COURSES = {
    "by heart": (course(falling(2.3, 0.02), 2.3), True, "learns this batch by heart: the loss"),
    "in part": (course(falling(2.3, 1.0), 2.3), True, "in part: the loss falls from 2.3 to 1.0"),
    "below no constant": (course(falling(5.0, 2.3), 2.3), None, "and still does; a constant"),
    "at a constant": (
        course([*falling(5.0, 2.3, 20), *[2.3] * 80], 2.3),
        False,
        "It does not learn this batch: the loss falls from 5 to 2.3 in 100 steps; a constant answer"
        " reaches 2.3.",
    ),
    "stays": (course([2.3] * 100, 2.3), False, "not learn this batch: the loss stays at 2.3"),
    "rises": (course(np.linspace(2.3, 9, 100), 2.3), False, "the loss rises from 2.3 to 8.86 in"),
    "nan": (course([2.3, 2.2, NAN]), False, "not learn this batch: the loss is nan from step 2"),
    "inf at once": (course([np.inf]), False, "the loss is inf from the start."),
    "just enough": (course([2.3] * 10, 2.3), False, "the loss stays at 2.3 in 10 steps"),
    "too few": (course([2.3, 2.29, 2.28], 2.3), None, "in 3 steps, which is too few; a constant"),
    "no step": (course([]), None, "no step was taken"),
    "one example": (course(falling(2.3, 0.1)), True, "by heart: the loss falls from 2.3 to 0.1"),
    "below zero": (course(np.linspace(1.5, -3, 100), 1.4), True, "in part: the loss falls from"),
    "batches": (course(falling(2.3, 0.02), 2.3, batches=4), True, "learns these 4 batches by he"),
    "a loss without an end": (
        course(-falling(0.1, 1e6), -np.inf),
        False,
        "in 100 steps; a constant answer lowers it without end.",
    ),
    "an exploded network": (
        course(falling(1e6, 319.0), 2.3),
        False,
        "a constant answer reaches 2.3",
    ),
    "a step that is too large": (
        course([1.39, 5e4, 2e5, 7e4, *falling(1e4, 2.18, 96)], batches=4),
        False,
        "the loss rises from 1.39 to 2.",
    ),
    "known before": (course([0.01] * 100, 2.3), True, "by heart: the loss stays at 0.01 in"),
}


@pytest.mark.parametrize(("seen", "learns", "says"), COURSES.values(), ids=COURSES)
def test_the_first_sentence(seen, learns, says):
    assert seen.learns is learns
    assert says in str(seen)


class Counting:
    """A learner whose losses are given."""

    def __init__(self, losses, end=None):
        self.losses, self.end, self.batches = losses, end, []

    def step(self, batch):
        self.batches.append(batch)
        if len(self.batches) - 1 == self.end:
            raise KeyboardInterrupt
        return self.losses[len(self.batches) - 1]


def test_batches_are_taken_in_turn_and_a_loss_without_a_number_ends_it():
    learner, batches = Counting([3.0, 2.0, 1.0, NAN, 0.0]), [Batch(0), Batch(1)]
    seen = rehearsed(learner, batches, 5)
    assert learner.batches == [Batch(0), Batch(1), Batch(0), Batch(1)]
    np.testing.assert_array_equal(seen.losses, [3.0, 2.0, 1.0, NAN])
    assert (seen.batches, seen.steps, seen.interrupted) == (2, 5, False)


def test_ctrl_c_concludes_with_what_was_seen():
    seen = rehearsed(Counting([3.0, 2.0, 1.0], end=2), [Batch(0)], 5)
    np.testing.assert_array_equal(seen.losses, [3.0, 2.0])
    assert seen.interrupted


def test_the_clock_ends_it_and_the_time_that_it_needs_is_told(monkeypatch):
    now = iter([0.0, 1.0, 2.5, 4.0])
    monkeypatch.setattr("time.monotonic", lambda: next(now))
    seen = rehearsed(Counting([3.0, 2.0, 1.0, 0.0]), [Batch(0)], 4, seconds=2.0)
    np.testing.assert_array_equal(seen.losses, [3.0, 2.0])
    assert not seen.interrupted
    assert not seen.needs_trials
    last = "Its 2 seconds were over after 2 steps of 4, and no change was tried: "
    assert seen.end_text == last + "give it seconds=4.8, or fewer steps."
    monkeypatch.undo()
    assert rehearsed(Counting([3.0]), [Batch(0)], 1, seconds=0.0).end_text == ""  # it was the last


def test_a_step_that_is_wrong_is_said_first_however_well_it_learns():
    wrong = Found("accumulates", text="They add up.", advice="Call zero_grad.")
    assert concluded(LEARNED, [wrong]).sentences == (
        "They add up.",
        str(LEARNED),
        "Call zero_grad.",
    )


def test_a_graph_is_compared_with_a_constant_answer(monkeypatch):
    """A loss far below that of an exploded start is no answer."""
    rng = np.random.default_rng(0)
    a = jnp.asarray(rng.random((16, 16)) < 0.5, jnp.float32)
    graph = {"a": a, "x": jnp.asarray(rng.normal(size=(16, 4)), jnp.float32)}
    p = [jnp.asarray(rng.normal(size=(4, 4)), jnp.float32)] * 4

    def network(p, graph):
        z = graph["x"]
        for theta in p:
            z = graph["a"] @ z @ theta
        return z

    def loss(output, ys):
        return jnp.mean((output - ys) ** 2)

    monkeypatch.setattr(race, "SECONDS", (0.0, 0.0))  # no trials
    ys = jnp.sin(graph["x"])
    seen = jaxnn.checkup((network, p), ADAM, graph, ys, loss=loss, each="whole", steps=6)
    assert seen.course.constant == pytest.approx(float(jnp.var(ys, axis=0).mean()), rel=1e-4)
    assert not seen.learns
    assert "place" not in str(seen)  # a node of a graph is no example


def test_batches():
    xs, ys = np.ones((4, 3)), np.ones(4)
    assert checkups.batches_of(xs, ys) == [Batch(xs, ys)]
    assert checkups.batches_of((xs, xs), ys) == [Batch((xs, xs), ys)]
    assert checkups.batches_of([xs, xs], ys) == [Batch([xs, xs], ys)]  # a pytree
    assert checkups.batches_of({"x": xs}, None) == [Batch({"x": xs})]
    assert checkups.batches_of([xs, xs], [ys, ys]) == [Batch(xs, ys)] * 2
    endless = ((xs, ys) for _ in iter(int, 1))
    assert checkups.batches_of(endless, None) == [Batch(xs, ys)] * checkups.MOST_BATCHES
    with pytest.raises(ValueError, match="as many batches of both, got 2 and 1"):
        checkups.batches_of([xs, xs], [ys])
    with pytest.raises(ValueError, match=r"expected pairs \(xs, ys\)"):
        checkups.batches_of(iter([xs]), None)


def diagnosis(*rules, ill=False, can_be_cured=False):
    values = {"is_ill": ill}
    findings = tuple(Found(rule, None, "", values, f"{rule}.", f"Mend {rule}.") for rule in rules)
    return SimpleNamespace(verdict=SimpleNamespace(findings=findings, can_be_cured=can_be_cured))


def concluded(course, found=(), trials=None, **known):
    return checkups.Checkup(course, diagnosis(**known), Watched(), tuple(found), trials)


STAYS, LEARNED = course([2.3] * 100, 2.3), course(falling(2.3, 0.02), 2.3)


def found(rules, alarms, ill=False):
    given = [Found(rule, text=f"Step 0: {rule}.", step=0) for rule in alarms]
    return [each.rule for each in checkups.found_in(diagnosis(*rules, ill=ill), given, STAYS)]


def test_what_was_found_is_said_once_and_the_worst_first():
    assert found(["cut", "rate", "size"], ["update", "unreached"]) == [
        "cut",
        "update",
        "size",
        "rate",
    ]
    assert found(["rate"], ["gradient"], ill=True) == ["rate"]
    assert found(["rate"], ["gradient"]) == ["gradient", "rate"]
    assert found(["signal"], ["nonfinite", "measurement"]) == ["signal", "measurement"]
    assert found([], ["update", "decay", "unreached"]) == ["decay", "unreached"]
    assert found(["labels", "rate"], ["state"]) == ["labels", "state", "rate"]


def test_a_step_is_not_too_large_for_who_learns():
    alarms = [Found(rule, step=1) for rule in ("update", "slow", "schedule")]
    in_part = COURSES["in part"][0], ["slow", "schedule"]
    for seen, rules in ((LEARNED, ["slow"]), in_part, (STAYS, ["update", "slow", "schedule"])):
        found = checkups.found_in(diagnosis(), alarms, seen)
        assert [one.rule for one in found] == rules


def test_a_rule_speaks_once_and_counts_the_others():
    places = [Found("starved", i, "", {}, f"Layer {i} is starved.", "") for i in range(1, 5)]
    for count, others in ((4, "3 other places"), (2, "1 other place")):
        said = concluded(STAYS, places[:count]).sentences[1:]
        assert said == (f"Layer 1 is starved. So it is in {others}.",)


# Labels, by what was learned from half of the examples


class Learned:
    """A copy that learns its half of the batch, or not; its output is its inputs."""

    def __init__(self, batch, loss):
        self.losses, self.now = loss, 1.0

    def step(self, batch):
        self.now *= self.losses
        return self.now

    def trial(self, batch):
        def slope(output, order):
            return SimpleNamespace(value=float(np.mean((output - batch.ys[order]) ** 2)))

        return SimpleNamespace(first=batch.xs, slope=slope)


def held_out(xs, ys, classes=0, loss=0.8, batches=1):
    given = [Batch(xs, ys)] * batches
    return held_out_of(lambda batch: Learned(batch, loss), given, classes, 20, 1.0)


def test_labels_that_tell_nothing_of_the_inputs():
    rng = np.random.default_rng(0)
    xs, noise = rng.normal(size=(2, 401))
    found = held_out(xs, noise)
    assert found.examples == 200
    assert found.share > NO_HINT
    assert held_out(xs, xs + 3 * noise).share < NO_HINT  # a little information
    assert held_out(xs[:399], noise[:399]) is None  # too few examples to tell
    assert held_out(xs, noise, classes=21) is None
    assert held_out(xs, noise, loss=1.0) is None  # nothing was learned
    assert held_out(xs[:399], noise[:399], batches=2).share > NO_HINT  # together enough
    assert held_out(xs, xs + 3 * noise, batches=2).share < NO_HINT
    assert held_out(xs, None) is None


def test_halves_of_a_batch():
    xs, ys = np.arange(7), {"y": np.arange(7), "weight": np.ones(3)}
    halves = [rows_of(Batch(xs, ys), 7, half) for half in (0, 1)]
    assert [[*half.xs] for half in halves] == [[0, 2, 4], [1, 3, 5]]
    assert [[*half.ys["y"]] for half in halves] == [[0, 2, 4], [1, 3, 5]]
    assert all(half.ys["weight"] is ys["weight"] for half in halves)


def trial(*names, value=0.0):
    score = Score(value, f"R² {value:.2f}")
    return Tried(names, " and ".join(names), f"Take {names[-1]}.", score=score, steps=240)


def test_the_change_that_makes_it_learn_is_the_advice_and_what_was_changed_in_vain_is_not_said():
    twice, inputs, rate = (
        Found("twice", 2, text="It is squashed twice.", advice="Leave it out.", changes=("no",)),
        Found("inputs", 1, text="They are large.", advice="Divide.", changes=("step", "scale")),
        Found("rate", text="Vanishing.", advice="Take skips."),
    )
    in_vain, helps = trial("no"), trial("labels", value=0.9)
    trials = Trials((helps, in_vain, trial("scale")), Score(0.1, "R² 0.10"), helps)
    assert trials.in_vain == {"no", "scale"}
    result = concluded(STAYS, [twice, inputs, rate], trials)
    assert result.upheld == (inputs, rate)  # steps were not tried
    assert result.sentences[1:] == (
        "It learns with labels: R² 0.90.",
        "Tried in vain: 2 other changes (print checkup.trials).",
        "They are large.",
        "Vanishing.",
        "Take labels.",
    )
    # Steps hide faults of the end and the data, whose findings stand.
    best = trial("step", value=0.9)
    steps = Trials((best, in_vain), Score(0.1, ""), best)
    assert concluded(STAYS, [inputs, rate], steps).advice == "Divide."
    nothing = Trials((in_vain,), Score(0.1, "R² 0.10"))
    without = concluded(STAYS, [twice, rate], nothing)
    assert without.upheld == (twice, rate)
    assert without.advice == "Take skips."
    assert without.sentences[-1] == "Not confirmed by a trial: Take skips."
    of_step = concluded(STAYS, [twice, rate], Trials((best,), Score(0.1, ""), best))
    assert of_step.sentences[-2:] == ("Take step.", "Not confirmed by a trial: Leave it out.")
    assert without.sentences[1] == "Tried in vain: 1 change (print checkup.trials)."
    later = Trials((), Score(0.8, "R² 0.80"))
    assert concluded(STAYS, trials=later).sentences[1] == "It learns in 240 steps: R² 0.80."


def test_what_can_be_cured_is_said_of_who_does_not_learn():
    last = "To see what would help, print checkup.diagnosis.cures."
    assert concluded(STAYS, can_be_cured=True).sentences[-1] == last
    assert concluded(LEARNED, can_be_cured=True).sentences[1:] == ()


def test_when_changes_are_tried():
    assert STAYS.needs_trials
    assert course([NAN]).needs_trials
    assert course([2.3] * 100, -np.inf).needs_trials
    assert not LEARNED.needs_trials
    assert not course([]).needs_trials
    assert not course([2.3] * 100, 2.3, interrupted=True).needs_trials
    in_part = course(falling(2.3, 1.0), 2.3)
    assert in_part.in_part
    assert not in_part.needs_trials
    assert not LEARNED.in_part


def network(p, xs):
    return jnp.tanh(xs @ p["a"]) @ p["b"]


def mean_square(output, ys):
    return jnp.mean((output - ys) ** 2, axis=-1)


def pair(seed=0, scale=1.0, width=64):
    rng = np.random.default_rng(seed)
    p = {
        "a": jnp.asarray(rng.normal(0, scale / 2, (4, width)), jnp.float32),
        "b": jnp.asarray(rng.normal(0, 1 / width**0.5, (width, 1)), jnp.float32),
    }
    xs = rng.normal(size=(16, 4)).astype(np.float32)
    return (network, p), xs, np.sin(3 * xs[:, :1])


@pytest.mark.slow
def test_a_network_that_is_well():
    model, xs, ys = pair()
    before, states = jax.tree.map(np.array, model[1]), (random.getstate(), np.random.get_state()[1])  # noqa: NPY002
    result = jaxnn.checkup(model, None, xs, ys, loss=mean_square, steps=60)
    assert result.learns
    assert len(result.losses) == 60
    direct = jnp.mean(mean_square(network(model[1], xs), ys))
    np.testing.assert_allclose(result.losses[0], direct, rtol=1e-6)
    np.testing.assert_allclose(result.course.constant, np.var(ys), rtol=1e-6)
    assert [line["step"] for line in result.watched.measurements] == [0, 1, 2, 3, *range(6, 60, 6)]
    assert result.diagnosis.verdict.word in str(result).lower()
    assert str(result).splitlines()[0] == str(result.course)
    assert str(result).endswith("No optimiser was given: Adam, with step size 0.001.")
    assert "<b>It learns this batch" in result._repr_html_()
    jax.tree.map(np.testing.assert_array_equal, model[1], before)
    assert states[0] == random.getstate()
    np.testing.assert_array_equal(states[1], np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.slow
@pytest.mark.parametrize("sign", [1, -1])
def test_an_answer_that_a_network_cannot_give_is_nothing_to_compare_with(sign):
    """A flow z = x exp(p) has the loss z²/2 - p; p alone would lower it without end."""

    def flow(p, xs):
        z = xs @ p["turn"] * jnp.exp(p["log"])
        return jnp.concatenate([z, jnp.broadcast_to(p["log"], z.shape)], axis=1)

    def loss(output, ys):
        z, log = jnp.split(output, 2, axis=1)
        return sign * jnp.sum(jnp.square(z) / 2 - log, axis=1)

    params = {"turn": jnp.eye(4), "log": jnp.ones(4)}
    xs = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)
    result = jaxnn.checkup((flow, params), optax.adam(0.1), xs, xs[:, 0], loss=loss, steps=60)
    assert result.learns is (sign > 0)
    assert np.isnan(result.course.constant) == (sign > 0)


@pytest.mark.slow
def test_models_of_every_kind():
    """A Network, its chain, a list of layers, and a module of Equinox, one example a call."""
    import equinox as eqx
    import optax

    net = jaxnn.Network(sizes=(4, 16, 1), activation="tanh", task="binary")
    params = jaxnn.init(net, jax.random.key(0))
    xs = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)
    ys = (xs[:, 0] > 0).astype(np.int32)
    adam = optax.adam(0.03)
    assert jaxnn.checkup((net, params), adam, xs, ys).learns
    layers = [(lambda w, z: jnp.tanh(z @ w), jnp.eye(4)), (lambda w, z: z @ w, jnp.ones((4, 1)))]
    assert jaxnn.checkup(layers, adam, xs, xs[:, :1], loss=mean_square).learns
    chain = jaxnn.as_network(layers)
    assert jaxnn.checkup(chain, adam, xs, xs[:, :1], loss=mean_square).learns
    mlp = eqx.nn.MLP(4, 1, 16, 2, key=jax.random.key(0))
    assert jaxnn.checkup(mlp, adam, xs, xs[:, :1], loss=mean_square, each="example").learns


@pytest.mark.slow
def test_what_is_ill_is_said():
    import optax

    model, xs, ys = pair()
    large = jaxnn.checkup(model, optax.sgd(1e4), xs, ys, loss=mean_square)
    assert large.learns is False
    assert {"diverges", "state"} <= {each.rule for each in large.found}
    assert "times as large as the first, the step is too large" in str(large)
    assert "inf times" not in str(large)
    assert large.trials.answer.is_of_steps
    small = jaxnn.checkup(model, optax.sgd(1e-9), xs, ys, loss=mean_square)
    assert small.learns is False
    assert "the loss stays at" in str(small)
    assert small.trials.answer.is_of_steps
    assert "a step size of" in small.advice
    with pytest.raises(ValueError, match="loss: expected loss"):
        jaxnn.checkup(model, None, xs, ys)
    blind = jaxnn.checkup(model, optax.adam(0.1), 0 * xs, ys - ys.mean() + 3, loss=mean_square)
    assert blind.learns is False


# Of PyTorch


def module_of(torch):
    torch.manual_seed(0)
    nn = torch.nn
    model = nn.Sequential(
        nn.Linear(4, 32), nn.BatchNorm1d(32), nn.Tanh(), nn.Dropout(0.1), nn.Linear(32, 1)
    )
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    torch.optim.lr_scheduler.StepLR(optimizer, 10)  # puts a step of its own into the optimiser
    xs = torch.randn(16, 4)
    return model, optimizer, xs, torch.sin(3 * xs[:, :1])


def everything(torch, model, optimizer):
    """Return all that a checkup may not change."""
    state = [v.clone() for v in model.state_dict().values()]
    grads = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    inner = [
        {k: v.clone() for k, v in of.items() if v is not None} for of in optimizer.state.values()
    ]
    draws = torch.get_rng_state(), np.random.get_state()[1], random.getstate()  # noqa: NPY002
    return state, grads, inner, draws, model.training


def check_same(torch, before, after):
    flat = [jax.tree.leaves(side, is_leaf=torch.is_tensor) for side in (before, after)]
    assert len(flat[0]) == len(flat[1])
    for a, b in zip(*flat, strict=True):
        assert torch.equal(a, b) if torch.is_tensor(a) else np.array_equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize("end", ["at the end", "after an error", "after Ctrl-C"])
def test_everything_of_a_module_is_as_it_was(torch, monkeypatch, end):
    model, optimizer, xs, ys = module_of(torch)
    torch.nn.functional.mse_loss(model(xs), ys).backward()
    optimizer.step()  # so that there is a momentum, and gradients are left
    before, calls = everything(torch, model, optimizer), []

    def loss(output, ys):
        calls.append(1)
        np.random.rand(), random.random(), torch.rand(1)  # noqa: NPY002
        if len(calls) > 30 and end != "at the end":
            raise {"after an error": ZeroDivisionError, "after Ctrl-C": KeyboardInterrupt}[end]
        return torch.nn.functional.mse_loss(output, ys)

    if end == "after an error":
        with pytest.raises(ZeroDivisionError):
            jaxnn.checkup(model, optimizer, xs, ys, loss=loss)
    else:
        result = jaxnn.checkup(model, optimizer, xs, ys, loss=loss)
        assert result.course.interrupted == (end == "after Ctrl-C")
        assert len(result.losses) == (100 if end == "at the end" else pytest.approx(10, abs=10))
    check_same(torch, before, everything(torch, model, optimizer))


@pytest.mark.slow
def test_a_module_trains_as_in_a_loop_of_the_users_own(torch):
    model, _, xs, ys = module_of(torch)
    model[3].p = 0.0
    mse = torch.nn.functional.mse_loss
    for make in (
        lambda ps: torch.optim.SGD(ps, 0.1, momentum=0.9),
        lambda ps: torch.optim.AdamW(ps, 1e-2),
        lambda ps: torch.optim.LBFGS(ps, 0.1, max_iter=2),
    ):
        optimizer = make(model.parameters())
        results = [jaxnn.checkup(model, o, xs, ys, loss=mse, steps=20) for o in (optimizer, make)]
        own = module_of(torch)[0]
        own[3].p = 0.0
        theirs = make(own.parameters())

        def closure(own=own, theirs=theirs):
            theirs.zero_grad()
            value = mse(own(xs), ys)
            value.backward()
            return value

        expected = [theirs.step(closure).item() for _ in range(20)]
        for result in results:
            np.testing.assert_allclose(result.losses, expected, rtol=1e-5)


@pytest.mark.slow
def test_a_module_that_learns_nothing(torch):
    model, optimizer, xs, ys = module_of(torch)
    other = module_of(torch)[1]
    assert jaxnn.checkup(model, optimizer, xs, ys, loss=torch.nn.functional.mse_loss).learns
    result = jaxnn.checkup(model, other, xs, ys, loss=torch.nn.functional.mse_loss)
    assert result.learns is False
    model.state = threading.Lock()
    with pytest.raises(ValueError, match=r"model: expected a module that copy\.deepcopy copies"):
        jaxnn.checkup(model, None, xs, ys, loss=torch.nn.functional.mse_loss)
    del model.state
    with pytest.raises(TypeError, match=r"a torch\.optim\.Optimizer, or a function of param"):
        jaxnn.checkup(model, 0.1, xs, ys, loss=torch.nn.functional.mse_loss)


@pytest.mark.slow
def test_a_loss_without_a_number_is_measured_at_its_step(torch):
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 1))
    sgd = torch.optim.SGD(model.parameters(), 1e10)
    xs = torch.ones(8, 4)
    result = jaxnn.checkup(model, sgd, xs, xs[:, :1], loss=torch.nn.functional.mse_loss)
    last = len(result.losses) - 1
    assert result.course.learns is False
    assert result.watched.measurements[-1]["step"] == last
    assert "nonfinite" in {found.rule for found in result.found}


def trainers_of(torch, rate):
    """Stand-ins for a LightningModule and a Trainer of transformers, of one network."""
    mse = torch.nn.functional.mse_loss

    class Lightning(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = module_of(torch)[0]

        def log(self, name, value):
            raise RuntimeError("no trainer")

        def training_step(self, batch, batch_idx):
            value = mse(self.layers(batch[0]), batch[1])
            self.log("loss", value)
            return {"loss": value}

        def configure_optimizers(self):
            adam = torch.optim.Adam(self.parameters(), rate)
            return [adam], [torch.optim.lr_scheduler.StepLR(adam, 10)]

    class Trainer:
        model, optimizer = Lightning().layers.eval(), None  # as transformers loads one

        def compute_loss(self, model, inputs, return_outputs=False):
            labels = inputs.pop("labels")
            return mse(output := model(**inputs), labels), output

        def create_optimizer(self):
            self.optimizer = torch.optim.Adam(self.model.parameters(), rate)

        def get_train_dataloader(self):
            _, _, xs, ys = module_of(torch)
            return [{"input": xs, "labels": ys}]

    return Lightning(), Trainer()


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "learns"), [(0.03, True), (1e-7, False)])
def test_a_trainer_is_taken_as_it_is(torch, rate, learns):
    lightning, trainer = trainers_of(torch, rate)
    _, _, xs, ys = module_of(torch)
    adam = torch.optim.Adam(lightning.parameters(), rate)
    plain = jaxnn.checkup(lightning.layers, adam, xs, ys, loss=torch.nn.functional.mse_loss)
    for result, prefix in (
        (jaxnn.checkup(lightning, xs=xs, ys=ys), "layers."),
        (jaxnn.checkup(lightning, xs=[[xs, ys]]), "layers."),
        (jaxnn.checkup(trainer), ""),
    ):
        assert result.learns is learns
        np.testing.assert_array_equal(result.losses, plain.losses)
        assert result.diagnosis.flow.names[0] == f"{prefix}0"
        assert "a step size of" in result.advice or learns
    assert (trainer.optimizer, trainer.model.training) == (None, False)
    lightning.automatic_optimization = False
    with pytest.raises(ValueError, match="hand over step=f, which takes its step"):
        jaxnn.checkup(lightning, xs=xs, ys=ys)


@pytest.mark.slow
def test_batches_of_a_loader(torch):
    model, optimizer, xs, ys = module_of(torch)
    data = torch.utils.data.TensorDataset(xs, ys)
    own = torch.Generator()
    loader = torch.utils.data.DataLoader(data, batch_size=4, shuffle=True, generator=own)
    before = torch.get_rng_state(), own.get_state()
    result = jaxnn.checkup(model, optimizer, loader, loss=torch.nn.functional.mse_loss, steps=20)
    assert result.course.batches == 4
    assert "these 4 batches" in str(result)
    check_same(torch, before, (torch.get_rng_state(), own.get_state()))
    steps = [line["step"] for line in result.watched.measurements]
    assert steps == [0, 1, 2, 3, *range(4, 20, 2)]
    assert not sys.modules["torch.optim.optimizer"]._global_optimizer_pre_hooks


# The command


@pytest.mark.parametrize(
    ("made", "given"),
    [
        (("m", None, "xs", "ys"), {"optimizer": None, "ys": "ys"}),
        (("m", ADAM, "xs"), {"optimizer": ADAM}),
        (("m", "xs", "ys"), {"optimizer": None, "ys": "ys"}),
        (("m", "xs"), {"optimizer": None}),
        ({"model": "m", "xs": "xs", "optimizer": 1, "memory": "all"}, {"optimizer": 1}),
        ({"model": "m", "xs": "xs", "steps": 5}, {"optimizer": None, "steps": 5}),
    ],
)
def test_what_a_function_of_a_file_returns(monkeypatch, made, given):
    monkeypatch.setattr(returned, "checkup", lambda **arguments: arguments)
    assert returned.checkup_of(made, "f()", None) == {"model": "m", "xs": "xs", **given}
    assert returned.checkup_of(made, "f()", 7)["steps"] == 7


def test_diagnose_takes_what_checkup_takes():
    given = {"model": 1, "xs": 2, "optimizer": 3, "steps": 4}
    assert returned.arguments(given, "f()") == {"model": 1, "xs": 2}
    for optimizer in (ADAM, None, lambda parameters: ADAM):
        assert returned.arguments((1, optimizer, 2, 3), "f()") == {"model": 1, "xs": 2, "ys": 3}
    with pytest.raises(ValueError, match="got 'optimiser'; optimizer is meant"):
        returned.arguments({"optimiser": 1}, "f()", returned.OF_CHECKUP)


def test_the_command(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.py").write_text("def build():\n    return 1, None, 2\n")
    made = checkups.Checkup(
        course([2.0, 1.0], steps=5, interrupted=True),
        SimpleNamespace(
            flow=SimpleNamespace(log_delta_example=np.zeros((3, 2))),
            loss="loss as given",
            verdict=SimpleNamespace(findings=(), can_be_cured=False),
        ),
        Watched(),
        (),
    )
    monkeypatch.setattr(returned, "checkup", lambda **arguments: made)
    assert command.main(["checkup", f"{tmp_path / 'mine.py'}:build", "--steps", "5"]) == 130
    assert capsys.readouterr().out.splitlines() == [
        "build() of mine.py, whose code was run: 3 layers, 2 examples, loss as given",
        "",
        "It learns this batch in part: the loss falls from 2 to 1 in 2 steps.",
        "It was stopped after 2 steps of 5.",
    ]
