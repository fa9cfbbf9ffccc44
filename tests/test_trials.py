"""Trials: changes of a program, their scores, and which of them is told."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxnn
from jaxnn.models import Program
from jaxnn.train.learner import Batch
from jaxnn.trials import race
from jaxnn.trials.changes import resized
from jaxnn.trials.race import CHANGES, Tried, raced
from jaxnn.trials.score import CLASSES, NUMBERS, OTHER, YES_NO, Aim, Score, score_of
from jaxnn.trials.setup import SMALL, Setup

pytestmark = pytest.mark.usefixtures("users_jax")

RNG = np.random.default_rng(0)
XS = RNG.normal(size=(64, 4)).astype(np.float32)
YS = np.sin(XS[:, :1] - XS[:, 1:2])
CLASS = (XS[:, 0] > 0).astype(np.int32) + (XS[:, 1] > 0)


# Scores


def test_scores_have_closed_forms():
    z = np.eye(3)[[0, 1, 2, 0]]
    assert score_of(z, np.array([0, 1, 2, 0])) == (1.0, "accuracy 1.00")
    # Two of four are right, and half are of one class.
    assert score_of(z, np.array([0, 2, 1, 0])).value == 0
    # Of four three are right: 1/4 above 1/2 of 1/2.
    assert score_of(z, np.array([0, 1, 0, 0])).value == pytest.approx(0.0)
    assert score_of(z, np.array([0, 1, 1, 0])) == (0.5, "accuracy 0.75")
    y = np.array([[0.0], [1.0], [1.0], [0.0]])
    assert score_of(np.array([[-1.0], [2.0], [3.0], [-4.0]]), y).value == 1  # logits
    assert score_of(np.array([[0.1], [0.8], [0.9], [0.4]]), y).value == 1  # probabilities
    y = RNG.normal(size=(50, 2))
    noise = RNG.normal(size=(50, 2))
    expected = 1 - np.square(noise).mean() / np.square(y - y.mean(axis=0)).mean()
    assert score_of(y + noise, y).value == pytest.approx(expected)
    assert score_of(np.full((50, 2), np.nan), y).value == -1
    assert score_of(y, None) is None
    assert score_of(z, np.array([7, 8, 9, 7])).value == 0  # no class of the output


def test_kinds_of_labels():
    logits, one = np.zeros((6, 3)), np.zeros((6, 1))
    assert Aim.of(logits, np.array([0, 1, 2, 0, 1, 2])) == (CLASSES, 1, False)
    assert Aim.of(logits, np.eye(3)[[0, 1, 2, 0, 1, 2]]).kind == CLASSES
    assert Aim.of(one, np.array([0, 1, 1, 0, 1, 0])).kind == YES_NO
    assert Aim.of(one, np.linspace(0, 1, 6)).kind == NUMBERS
    assert Aim.of(np.zeros((12, 1)), np.array([0, 1, 2] * 4)).are_few
    assert Aim.of(logits, np.zeros((2, 2))).kind == OTHER


# Changes of JAX


def mean_square(output, ys):
    return jnp.mean((output - ys) ** 2, axis=-1)


def entropy(output, ys):
    return optax.softmax_cross_entropy_with_integer_labels(output, ys)


def network(p, xs):
    return jnp.tanh(xs @ p["a"] + p["c"]) @ p["b"]


def squashed(p, xs):
    return jax.nn.sigmoid(network(p, xs))


def params(outputs=1, scale=0.5):
    a, b = RNG.normal(size=(4, 16)), RNG.normal(size=(16, outputs)) / 4
    return {"a": jnp.float32(scale * a), "b": jnp.float32(b), "c": jnp.zeros(16)}


def setup(f=network, p=None, xs=XS, ys=YS, loss=mean_square, optimizer=None, **known):
    p = params() if p is None else p
    optimizer = optax.sgd(0.1) if optimizer is None else optimizer
    return Setup(Program((f, p), xs, ys, loss, optimizer=optimizer), (Batch(xs, ys),), **known)


def test_what_changes_make_of_data():
    flat = CHANGES["column"].of(setup(ys=YS[:, 0]))
    assert flat.batches[0].ys.shape == (64, 1)
    assert flat.words == {"before": (64,), "after": (64, 1)}
    assert CHANGES["column"].of(setup()) is None
    classes = setup(p=params(3), ys=2 * CLASS + 2, loss=entropy)
    numbered = CHANGES["from zero"].of(classes)
    np.testing.assert_array_equal(numbered.batches[0].ys, CLASS)
    assert numbered.words == {"last": 2, "before": "2, 4 and 6"}
    assert CHANGES["from zero"].of(numbered) is None
    large, far = setup(xs=1000 * XS + 7), setup(ys=300 + 5 * YS)
    assert large.output.shape == far.output.shape  # known before ranks may not be promoted
    with jax.numpy_rank_promotion("raise"):
        xs = CHANGES["inputs"].of(large).batches[0].xs
        ys = CHANGES["labels"].of(far).batches[0].ys
    np.testing.assert_allclose(xs.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(xs.std(0), 1, rtol=1e-4)
    assert CHANGES["inputs"].of(setup()) is None
    np.testing.assert_allclose([ys.mean(), ys.std()], [0, 1], atol=1e-4)


def test_each_input_is_standardised_by_its_own_columns_in_all_batches():
    """Those of the first batch, whatever the order of the inputs' names."""
    wide, narrow = 1000 * XS + 7, 0.001 * XS[:, :2]
    both = {"z": wide, "a": narrow}
    given = setup(lambda p, xs: network(p, xs["z"]), xs=both)
    batches = (*given.batches, Batch({"z": 2 * wide, "a": narrow}, YS))
    one, two = CHANGES["inputs"].of(given.but(batches=batches)).batches
    for name in both:
        np.testing.assert_allclose(one.xs[name].std(0), 1, rtol=1e-3)
    np.testing.assert_allclose(two.xs["z"].std(0), 2, rtol=1e-3)


def test_a_matrix_of_neighbours_is_divided_by_the_roots_of_its_sums():
    a = np.float32(RNG.uniform(size=(64, 64)) < 0.2) + np.eye(64, dtype=np.float32)
    a = np.maximum(a, a.T)
    given = setup(lambda p, xs: network(p, xs["a"] @ xs["z"]), xs={"a": a, "z": XS})
    made = CHANGES["neighbours"].of(given)
    assert made.words == {"most": pytest.approx(a.sum(1).max())}
    np.testing.assert_allclose(np.linalg.eigvalsh(made.batches[0].xs["a"]).max(), 1, rtol=1e-5)
    assert made.batches[0].xs["z"] is XS
    assert CHANGES["neighbours"].of(made) is None
    assert CHANGES["neighbours"].of(setup()) is None


def test_the_score_of_several_batches_is_that_of_the_one_in_the_middle():
    noisy = [Batch(XS, YS + noise * RNG.normal(size=YS.shape)) for noise in (3.0, 0.0, 1.0)]
    given = setup().but(batches=noisy)
    learner = given.learner()
    each = [race.scored(learner, given.but(batches=[b]), [0.0], 1.0) for b in noisy]
    assert race.scored(learner, given, [0.0], 1.0) == sorted(each)[1]
    nothing = setup(lambda p, xs: network(p, xs) * jnp.nan).but(batches=noisy)
    assert race.scored(nothing.learner(), nothing, [0.0], 1.0).value == -1


def test_what_changes_make_of_a_loss():
    of_classes = setup(p=params(3), ys=CLASS, loss=lambda output, ys: jnp.zeros(64))
    z = RNG.normal(size=(64, 3)).astype(np.float32)
    usual = CHANGES["usual loss"].of(of_classes)
    assert usual.words == {"loss": "the cross-entropy of classes"}
    direct = entropy(z, CLASS).mean()
    np.testing.assert_allclose(usual.program.loss(z, CLASS), direct, rtol=1e-6)
    np.testing.assert_allclose(usual.program.loss(z, np.eye(3)[CLASS]), direct, rtol=1e-6)
    one = (XS[:, :1] > 0).astype(np.float32)
    usual = CHANGES["usual loss"].of(setup(ys=one))
    direct = optax.sigmoid_binary_cross_entropy(z[:, :1], one).mean()
    np.testing.assert_allclose(usual.program.loss(z[:, :1], one), direct, rtol=1e-6)
    small = setup(lambda p, xs: 1e-3 * network(p, xs), params(3), ys=CLASS, loss=entropy)
    made = CHANGES["temperature"].of(small)
    spread = float(np.std(small.output))
    np.testing.assert_allclose(made.program.loss(z, CLASS), entropy(z / spread, CLASS), rtol=1e-4)
    assert CHANGES["temperature"].of(of_classes) is None  # of the usual spread
    minus = CHANGES["minus"].of(setup())
    np.testing.assert_allclose(minus.program.loss(z[:, :1], YS), -mean_square(z[:, :1], YS))


@pytest.mark.parametrize("squash", [jax.nn.sigmoid, jax.nn.relu, lambda z: jax.nn.softmax(z, 1)])
def test_the_last_activation_is_left_out(squash):
    p = params(3)
    bare = setup(lambda p, xs: squash(network(p, xs)), p, ys=np.eye(3)[CLASS]).bare
    np.testing.assert_allclose(bare.output, network(p, XS), rtol=1e-5, atol=1e-6)
    assert setup(network, p).bare is None
    assert setup(lambda p, xs: 3 * network(p, xs) + 1, p).bare is None  # no activation


def test_weights_are_drawn_by_their_inputs():
    p = {"a": jnp.full((4, 400), 9.0), "b": jnp.zeros((400, 100)), "c": jnp.ones(400)}
    tree = CHANGES["draw"].of(setup(p=p, ys=np.zeros((64, 100)))).program.model[1]
    for name, inputs in (("a", 4), ("b", 400)):
        assert float(tree[name].std()) * inputs**0.5 == pytest.approx(1, rel=0.05)


def test_what_is_said_of_weights_that_are_drawn_anew():
    """By how much they differ from the usual size."""
    for scale, times in ((5.0, "5"), (0.05, "0.05")):
        p = {"a": jnp.float32(scale * np.eye(4)), "b": jnp.ones((4, 1)) / 2}
        p |= {"c": jnp.zeros(4), "d": jnp.float32(scale * np.eye(4))}
        made = CHANGES["draw"].of(setup(lambda p, xs: network(p, xs @ p["d"]), p))
        assert made.words == {"now": f", which is now {times} times that"}


def test_relu_takes_the_place_of_each_activation_but_the_last():
    made = CHANGES["relu"].of(setup(squashed, params(3), ys=np.eye(3)[CLASS]))
    ((_, p),) = made.program.model
    hidden = jax.nn.relu(XS @ p["a"] + p["c"])
    np.testing.assert_allclose(made.output, jax.nn.sigmoid(hidden @ p["b"]), rtol=1e-4, atol=1e-5)


def test_numbers_of_classes_get_a_unit_each():
    ys = np.repeat(np.arange(4, dtype=np.float32), 16)[:, None]
    made = CHANGES["class each"].of(setup(ys=ys))
    tree = made.program.model[1]
    assert (tree["b"].shape, tree["a"].shape) == ((16, 4), (4, 16))
    np.testing.assert_allclose(made.output, network(tree, XS), rtol=1e-5, atol=1e-6)
    assert made.words == {"classes": 4}
    direct = entropy(made.output, ys[:, 0].astype(int)).mean()
    np.testing.assert_allclose(made.learner().step(made.batches[0]), direct, rtol=1e-5)
    assert CHANGES["class each"].of(setup()) is None  # labels that are no classes

    def of_one(p, xs):  # as a module that checks the width that it was given
        assert p["b"].shape == (16, 1)
        return network(p, xs)[:, 0]

    assert CHANGES["class each"].of(setup(of_one, ys=ys[:, 0])).output.shape == (64, 4)
    step = lambda w, z: jnp.tanh(z) @ w  # noqa: E731
    layers = setup(ys=ys).but(model=[(step, v) for v in (tree["a"], params()["b"])])
    assert CHANGES["class each"].of(layers).output.shape == (64, 4)


@pytest.mark.parametrize("shape", [(), (8,)])
def test_gains_of_zero_are_set_to_one(shape):
    """In front of weights without a bias nothing tells them from gains at the end of a branch."""

    def residual(p, z):
        z = z @ p["a"]
        for block in p["blocks"]:
            z = z + jnp.tanh((block["g"] * z) @ block["w"])
        return z @ p["b"]

    w = jnp.float32(RNG.normal(size=(3, 8, 8)) / 3)
    p = {"a": w[0, :4], "b": w[0, :, :1], "blocks": [{"w": v, "g": jnp.zeros(shape)} for v in w]}
    (made,) = CHANGES["zero gains"].of(setup(residual, p))
    assert made.words == {"arrays": "`['blocks'][*]['g']`"}
    gains = [block["g"] for block in made.formed.program.model[1]["blocks"]]
    np.testing.assert_array_equal(gains, np.ones((3, *shape)))
    assert not [*CHANGES["zero gains"].of(setup())]  # its zeros are biases


def test_optimisers_without_decay_and_their_step_sizes():
    for optimizer, size in (
        (optax.sgd(0.3), 0.3),
        (optax.sgd(0.3, momentum=0.9), 0.3),
        (optax.adam(0.02), 0.02),
        (optax.adamw(0.02), 0.02),
        (optax.chain(optax.clip_by_global_norm(1e-6), optax.sgd(0.3)), None),
        (optax.chain(optax.adam(0.02), optax.clip_by_global_norm(1e-3)), None),
    ):
        found = setup(optimizer=optimizer).tools.step_size(setup(optimizer=optimizer))
        assert found == (None if size is None else pytest.approx(size, rel=1e-3))
    said = resized(setup(optimizer=optax.adam(0.02)), 0.1).words["step"]
    assert said == "a step size of 0.002 instead of 0.02"
    finer = resized(resized(setup(optimizer=optax.adam(0.02)), 100.0), 3.0)
    assert finer.words["step"] == "a step size of 6 instead of 0.02"  # the user's own
    assert CHANGES["no decay"].of(setup(optimizer=optax.adam(0.1))) is None
    p = params()
    without = CHANGES["no decay"].of(setup(p=p, optimizer=optax.adamw(0.1, weight_decay=0.5)))
    plain = setup(p=p, optimizer=optax.adam(0.1))
    (another,) = race.made_of(plain, names=["adam"])
    assert another.code == "optimizer = optax.adam(1e-3)"
    learners = [one.learner() for one in (without, plain)]
    losses = [[one.step(Batch(XS, YS)) for _ in range(4)] for one in learners]
    np.testing.assert_allclose(*losses, rtol=1e-5)


@pytest.mark.parametrize(
    ("optimizer", "is_uphill"),
    [
        (optax.chain(optax.scale_by_adam(), optax.scale(0.01)), True),
        (optax.chain(optax.identity(), optax.scale_by_schedule(lambda i: 0.1 * i)), True),
        (optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1)), False),
        (None, False),
    ],
)
def test_an_optimiser_that_goes_up_the_loss(optimizer, is_uphill):
    given = setup().but(optimizer=optimizer)
    assert given.tools.goes_uphill(given) is is_uphill
    losses = {}
    for one in (given, CHANGES["minus update"].of(given)):
        learner = one.learner()
        losses[one.times] = [learner.step(Batch(XS, YS)) for _ in range(4)]
    assert (losses[1][-1] > losses[1][0]) is (losses[-1][-1] < losses[-1][0]) is is_uphill


def test_a_learner_of_larger_steps_is_one_of_a_larger_step_size():
    p = params()
    larger = [setup(p=p, times=10.0).learner(), setup(p=p, optimizer=optax.sgd(1.0)).learner()]
    losses = [[one.step(Batch(XS, YS)) for _ in range(4)] for one in larger]
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_a_step_of_ones_own():
    p, optimizer = params(), optax.adam(0.05)

    def step(p, state, xs, ys):
        value, gradient = jax.value_and_grad(lambda p: mean_square(network(p, xs), ys).mean())(p)
        updates, state = optimizer.update(gradient, state, p)
        return optax.apply_updates(p, updates), state, value

    plain, own = setup(p=p, optimizer=optimizer), setup(p=p, optimizer=optimizer).but(step=step)
    learners = [one.learner() for one in (plain, own, CHANGES["minus update"].of(own))]
    same, *others = ([one.step(Batch(XS, YS)) for _ in range(4)] for one in learners)
    np.testing.assert_allclose(others[0], same, rtol=1e-5)
    assert others[1][-1] > others[1][0] > same[-1]
    assert CHANGES["usual loss"].of(own) is None
    with pytest.raises(TypeError, match=r"step: expected step\(params, state, xs, ys\) to return"):
        own.but(step=lambda p, *_: p).learner().step(Batch(XS, YS))


def test_small_batches_hold_each_example_once():
    given = setup(is_split=True)
    small = [given.batch(i) for i in range(2)]
    assert [len(batch.ys) for batch in small] == [SMALL, SMALL]
    np.testing.assert_array_equal(np.sort(np.concatenate([b.ys for b in small]), 0), np.sort(YS, 0))
    whole = setup()
    assert whole.batch(7) is whole.batches[0]


# The race


def tried(*names, value=0.0):
    return Tried(names, names[0], "", score=Score(value, ""))


def test_the_first_of_those_that_are_as_good_is_told():
    order = [*CHANGES]
    base = Score(0.1, "")
    good = tried("labels", value=0.85)
    best, pair = tried("step", value=1.0), tried("column", "draw", value=1.0)
    assert race._answer([best, pair, good], base, order) is good
    assert race._answer([best, tried("labels", value=0.6)], base, order) is best
    assert race._answer([tried("step", value=0.3)], base, order) is None  # not by a margin
    assert race._answer([tried("step", value=0.9)], Score(0.8, ""), order) is None
    assert race._answer([best, good], base, ["step", *order]) is best  # what is named comes first
    assert race._answer([tried("step", value=0.9), best], base, order) is best  # of step sizes
    assert race._answer([tried("step", value=1.0)], Score(float("nan"), ""), order)


def test_a_race_in_jax(monkeypatch):
    few = ("no activation", "labels", "step")
    monkeypatch.setattr(race, "CHANGES", {name: CHANGES[name] for name in few})
    ys = 4 * YS + 5
    trials = raced(setup(squashed, ys=ys, loss=mean_square), 1.0, 40.0)
    assert trials.answer.names == ("no activation",)
    assert trials.as_it_is.value < 0 < 0.9 < trials.answer.score.value
    assert {"step"} <= trials.in_vain
    assert "no activation after the last layer" in str(trials)
    assert trials._repr_html_().count("<tr>") == 1 + len(trials.tried)
    assert all(one.learner is one.setup is None for one in trials.tried)  # no copies are kept


def test_of_what_learns_in_part_what_is_named_is_tried_alone():
    """And compared with as many steps of the program as it is."""
    given = setup(squashed, ys=4 * YS)  # of the half above 0
    trials = raced(given, 1.0, 40.0, ["no activation", "minus"], ["labels"], only_named=True)
    assert {one.names for one in trials.tried} == {("no activation",), ("minus",)}
    assert trials.answer.names == ("no activation",)
    assert trials.steps == race.ROUNDS[-1]
    in_vain = raced(given, 1.0, 40.0, ["minus"], ["labels"], only_named=True)
    assert [one.names for one in in_vain.tried] == [("minus",)]
    as_it_is = Score(0.3, "R² 0.30")
    (said, *_) = race.Trials(trials.tried, as_it_is, trials.answer).sentences()
    assert said.startswith("It learns better with no activation after the last layer: R² ")
    assert said.endswith(" instead of R² 0.30.")


def test_a_race_ends_with_the_time():
    trials = raced(setup(), 1.0, seconds=0.0)
    assert trials.tried == ()
    assert str(trials).endswith("(0 steps)")  # as it is
    (said,) = trials.sentences()
    assert (
        said == "Not all changes were tried: the 0 seconds of processor time were over (seconds=)."
    )


# PyTorch


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def ill(torch, fault, seed=0):
    """Return a program of a network that does not learn, or learns if fault is none of these."""
    torch.manual_seed(seed)
    nn = torch.nn
    xs = torch.from_numpy(XS)
    ys, loss, rate = torch.from_numpy(YS), nn.MSELoss(), 0.1
    layers = [nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1)]
    if fault == "no activation":
        layers, ys = [*layers, nn.Sigmoid()], 4 * ys + 5
    if fault == "minus":
        loss = lambda output, ys: -((output - ys) ** 2).mean()  # noqa: E731
    if fault == "step":
        rate = 1e-5
    if fault == "inputs":
        xs, layers[1], layers[3] = 1e4 * xs + 1e4, nn.ReLU(), nn.ReLU()
    model = nn.Sequential(*layers)
    if fault == "draw":
        for m in model:
            if isinstance(m, nn.Linear):
                nn.init.zeros_(m.weight)
    parameters = model[-1].parameters() if fault == "all learn" else model.parameters()
    optimizer = torch.optim.SGD(parameters, rate, maximize=fault == "maximize")
    if fault == "all learn":
        model[-1].requires_grad_(True).weight.data.zero_()
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], rate)
    return model, optimizer, xs, ys, loss


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["no activation", "minus", "step", "inputs", "draw", "all learn"])
def test_a_checkup_names_the_change_that_makes_it_learn(torch, fault):
    model, optimizer, xs, ys, loss = ill(torch, fault)
    before = [v.clone() for v in model.state_dict().values()]
    result = jaxnn.checkup(model, optimizer, xs, ys, loss=loss)
    # Weights that are constant are named, and drawn before all others.
    assert result.trials.answer.names == ({"draw": "redraw"}.get(fault, fault),)
    assert result.trials.answer.score.value > 0.5
    part = "" if result.trials.answer.value >= race.SURE else " in part"
    said = f"It learns{part} with {result.trials.answer.says}: {result.trials.answer.score.text}."
    assert str(result).splitlines()[1] == said
    assert all(map(torch.equal, before, model.state_dict().values()))


@pytest.mark.slow
def test_a_maximum_is_named_unless_the_loss_is_the_negative_of_one(torch):
    model, optimizer, xs, ys, loss = ill(torch, "maximize")
    result = jaxnn.checkup(model, optimizer, xs, ys, loss=loss)
    assert result.trials.answer.names == ("minus update",)
    assert "goes up the loss" in str(result)
    exec(result.trials.answer.code, {"optimizer": optimizer})
    assert not optimizer.param_groups[0]["maximize"]
    optimizer.param_groups[0]["maximize"] = True
    result = jaxnn.checkup(model, optimizer, xs, ys, loss=lambda o, y: -loss(o, y))
    assert result.trials.learns
    assert not {found.rule for found in result.found} & {"uphill", "inverted"}


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["minus update", "no clip", "zero grad"])
def test_changes_of_a_step_of_ones_own(torch, fault):
    model, optimizer, xs, ys, loss = ill(torch, "")

    def step(model, optimizer, xs, ys):
        if fault != "zero grad":
            optimizer.zero_grad()
        value = loss(model(xs), ys)
        value.backward()
        if fault == "minus update":
            for p in model.parameters():
                p.grad.neg_()
        if fault == "no clip":
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1e-6)
        optimizer.step()
        return value

    optimizer.param_groups[0]["lr"] = 0.3
    result = jaxnn.checkup(model, optimizer, xs, ys, loss=loss, step=step)
    assert result.trials.answer.names == (fault,)
    assert torch.nn.utils.clip_grad_norm_.__name__ == "clip_grad_norm_"
    with pytest.raises(TypeError, match="to return the loss, a number, got"):
        jaxnn.checkup(model, optimizer, xs, ys, loss=loss, step=lambda *_: None)
    assert not sys.modules["torch.optim.optimizer"]._global_optimizer_pre_hooks


@pytest.mark.slow
def test_parameters_of_no_module_are_drawn_too(torch):
    class Gated(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down = torch.nn.Linear(4, 16), torch.nn.Linear(16, 1)
            self.gate = torch.nn.Parameter(torch.zeros(16, 16))

        def forward(self, xs):
            return self.down(torch.relu(self.up(xs) @ self.gate))

    torch.manual_seed(0)
    model, xs, ys = Gated(), torch.from_numpy(XS), torch.from_numpy(YS)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    result = jaxnn.checkup(model, optimizer, xs, ys, loss=torch.nn.MSELoss())
    assert result.trials.answer.names == ("redraw",)
    assert not model.gate.any()


@pytest.mark.slow
def test_inputs_by_name_in_torch(torch):
    class Named(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(4, 1)

        def forward(self, z, a):
            return self.layer(z) + a.sum(1, keepdim=True)

    xs = {"z": torch.from_numpy(1000 * XS + 7), "a": torch.from_numpy(0.001 * XS[:, :2])}
    model, ys = Named(), torch.from_numpy(YS)
    given = Setup(Program(model, xs, ys, torch.nn.MSELoss()), (Batch(xs, ys),))
    (made,) = CHANGES["inputs"].of(given).batches
    for v in made.xs.values():
        np.testing.assert_allclose(v.std(0, correction=0), 1, rtol=1e-3)


@pytest.mark.slow
def test_nothing_is_tried_on_a_network_that_learns(torch):
    model, optimizer, xs, ys, loss = ill(torch, "")
    result = jaxnn.checkup(model, optimizer, xs, ys, loss=loss)
    assert result.learns
    assert result.trials is None


@pytest.mark.slow
def test_another_structure_keeps_the_options_of_its_optimiser(torch):
    model, _, xs, ys, loss = ill(torch, "")
    groups = [
        {"params": model[0].parameters(), "lr": 0.5, "momentum": 0.9},
        {"params": model[2:].parameters(), "lr": 0.25},
    ]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    given = Setup(Program(model, xs, ys, loss, optimizer=optimizer), (Batch(xs, ys),))
    (adam,) = race.made_of(given, names=["adam"])
    assert adam.code == "optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)"
    formed = [one.formed for one in CHANGES["norm"].made(given)]
    for made in (*formed, CHANGES["draw"].of(given)):
        of_made = made.program
        held = [p for group in of_made.optimizer.param_groups for p in group["params"]]
        assert {id(p) for p in held} == {id(p) for p in of_made.model.parameters()}
        assert [g["lr"] for g in of_made.optimizer.param_groups] == [0.5, 0.25]
    assert {id(p) for g in optimizer.param_groups for p in g["params"]} == {
        id(p) for p in model.parameters()
    }


@pytest.mark.slow
def test_tables_are_drawn_alike_whatever_was_drawn_before(torch):
    module = torch.nn.Sequential(
        torch.nn.Embedding(7, 4), torch.nn.Flatten(), torch.nn.Linear(8, 1)
    )
    xs, ys = torch.arange(14).reshape(7, 2) % 7, torch.ones(7, 1)
    adam, loss = torch.optim.Adam(module.parameters()), torch.nn.MSELoss()
    given = Setup.of(Program.of(model=module, xs=xs, ys=ys, loss=loss, optimizer=adam))
    tables = [CHANGES["draw"].of(given).program.model[0].weight for _ in range(2)]
    assert torch.equal(*tables)
