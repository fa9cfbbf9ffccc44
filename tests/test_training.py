"""Training against a plain loop of jax.grad and optax, and what it promises beside the numbers."""

import itertools
import re
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import reference
from problems import mostly_slow, refusals
from sklearn import metrics

import jaxnn
from jaxnn.train.steps import _program, permutation_of_epoch

N_EXAMPLES, BATCH = 22, 8  # batches of 8, 8 and 6
EPOCHS = 3

SGD, ADAM = optax.sgd(0.1), optax.adam(0.02)
INJECTED = optax.inject_hyperparams(optax.sgd)(learning_rate=0.1)  # the step size is in its state
CASES = {
    "sgd with momentum": ("binary", optax.sgd(0.1, momentum=0.9, nesterov=True)),
    "adam": ("multiclass", optax.adam(optax.cosine_decay_schedule(0.05, 7))),
    "adamw": ("regression", optax.adamw(optax.exponential_decay(0.05, 2, 0.8), weight_decay=0.1)),
}


@pytest.fixture(autouse=True)
def optax_promotes():
    """Optax raises a float to an integer power."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def problem(key, task="binary", sizes=(4, 6, 3), dtype=jnp.float64, count=N_EXAMPLES):
    """A network and its data, drawn by NumPy, which compiles nothing."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    net = jaxnn.Network(sizes, "tanh", task)
    params = tuple(
        jaxnn.network.Layer(rng.standard_normal((n, m)) / np.sqrt(n), rng.normal(0, 0.1, m))
        for n, m in itertools.pairwise(sizes)
    )
    xs, labels = rng.standard_normal((count, sizes[0])), rng.integers(0, sizes[-1], count)
    ys = {
        "regression": lambda: rng.standard_normal((count, sizes[-1])),
        "binary": lambda: rng.integers(0, 2, (count, sizes[-1])),
        "multiclass": lambda: np.eye(sizes[-1])[labels],
    }[task]()
    return net, *jax.tree.map(lambda v: jnp.asarray(v, dtype), (params, xs, ys))


@partial(jax.jit, static_argnums=2)
def bits_of(key, step, count):
    return jax.random.bits(jax.random.fold_in(key, step), (count,), jnp.uint32)


def batches(key, step, count, size):
    """The rows of each batch of the epoch that begins after so many steps."""
    rows = np.argsort(np.asarray(bits_of(key, step, count)), kind="stable")
    return [rows[i : i + size] for i in range(0, count, size)]


def plain_loop(net, optimizer, params, key, xs, ys, epochs=EPOCHS, size=BATCH):
    """What epochs must be: Python, jax.grad and optax, a batch at a time."""

    @jax.jit
    def one(params, inner, xs, ys):
        loss, gradient = reference.gradients("tanh", net.task.name, params, xs, ys)
        updates, inner = optimizer.update(gradient, inner, params)
        return optax.apply_updates(params, updates), inner, loss

    inner, step, losses = jax.jit(optimizer.init)(params), 0, []
    xs, ys = map(np.asarray, (xs, ys))
    for _ in range(epochs):
        for rows in batches(key, step, len(xs), size):
            params, inner, loss = one(params, inner, xs[rows], ys[rows])
            step += 1
            losses.append(loss)
    return params, np.array(losses).reshape(epochs, -1)


def values(state):
    """A State as plain arrays: keys as their data."""
    return jax.tree.map(np.asarray, state._replace(key=jax.random.key_data(state.key)))


# The numbers


@mostly_slow("case", CASES, "adam")
def test_epochs_equal_a_plain_loop_over_jax_grad(key, case):
    """Also the last batch of each epoch, which is smaller: not padded, not weighted."""
    task, optimizer = CASES[case]
    net, params, xs, ys = problem(key, task, (4, 6, 5, 3))
    expected, losses = plain_loop(net, optimizer, params, key, xs, ys)
    run = jaxnn.fit(net, params, xs, ys, optimizer, epochs=EPOCHS, batch=BATCH, key=key)
    np.testing.assert_allclose(run.losses, losses, rtol=1e-11)
    reference.assert_close(run.params, expected, 1e-11)
    assert run.state.step == EPOCHS * 3 == losses.size
    moved = jax.tree.map(lambda a, b: np.max(np.abs(np.subtract(a, b))), run.params, params)
    assert min(jax.tree.leaves(moved)) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(("count", "batch"), [(5, 8), (16, 8), (3, 1)])
def test_batches_that_fit_and_that_do_not(key, count, batch):
    net, params, xs, ys = problem(key, count=count)
    expected, losses = plain_loop(net, SGD, params, key, xs, ys, 1, batch)
    state = jaxnn.train.start(net, params, SGD, key)
    state, of_epoch = jaxnn.train.epoch(net, state, xs, ys, SGD, batch=batch)
    np.testing.assert_allclose(of_epoch, losses[0], rtol=1e-11)
    reference.assert_close(state.params, expected, 1e-11)


def test_a_step_takes_the_batch_as_it_is(key):
    net, params, xs, ys = problem(key)
    state = jaxnn.train.start(net, params, INJECTED, key)
    rows = np.concatenate(batches(key, 0, N_EXAMPLES, N_EXAMPLES))
    expected, loss = jaxnn.train.epoch(net, state, xs, ys, INJECTED, batch=N_EXAMPLES)
    of_rows = (np.asarray(v)[rows] for v in (xs, ys))
    state, of_step = jaxnn.train.step(net, state, *of_rows, INJECTED)
    np.testing.assert_allclose(of_step, loss[0], rtol=1e-12)
    reference.assert_close(state.params, expected.params, 1e-12)
    assert state.step == expected.step == 1


def test_every_example_has_its_turn_in_an_order_that_is_uniform():
    """In 6,000 epochs of 5 examples each is at each place 1,200 times, within 5 σ = 155."""
    steps = jnp.arange(6000)
    orders = jax.vmap(lambda step: permutation_of_epoch(jax.random.key(3), step, 5))(steps)
    np.testing.assert_array_equal(np.sort(orders, axis=1), np.broadcast_to(np.arange(5), (6000, 5)))
    counts = np.array([[np.sum(orders[:, place] == i) for i in range(5)] for place in range(5)])
    assert np.abs(counts - 1200).max() < 5 * np.sqrt(6000 * 0.2 * 0.8)
    assert len({tuple(row) for row in np.asarray(orders).tolist()}) == 120


@pytest.mark.slow
def test_optimisers_that_ask_for_more_get_it(key):
    """`value`, `grad` and `value_fn` where keywords are taken, and nothing where they are not."""
    net, params, xs, ys = problem(key)

    def update(updates, state, params=None, *, value, grad, value_fn, **extra):
        same = (value_fn(params) == value) & (grad[0].theta == updates[0].theta).all()
        return jax.tree.map(lambda g: -0.1 * g, updates), state + same.astype(int)

    asking = optax.GradientTransformationExtraArgs(lambda params: jnp.zeros((), int), update)
    bare = optax.GradientTransformation(
        lambda params: (), lambda updates, state, params=None: (optax.tree.scale(-0.1, updates), ())
    )
    runs = [
        jaxnn.fit(net, params, xs, ys, optimizer, epochs=2, batch=BATCH, key=key)
        for optimizer in (asking, bare)
    ]
    assert runs[0].state.opt_state == 6
    reference.assert_close(runs[0].params, runs[1].params, 1e-12)


@pytest.mark.slow
def test_runs_and_depth_equal_single_layers(key):
    """One hidden layer and a run of 4 with 2 of them used."""
    net, params, xs, ys = problem(key, "multiclass", (4, *[6] * 5, 3))
    smaller = jaxnn.Network((4, 6, 6, 6, 3), "tanh", "multiclass")
    run = jaxnn.train.start(net, jaxnn.network.stack(params), ADAM, key)
    expected = jaxnn.train.start(smaller, (*params[:3], params[-1]), ADAM, key)
    for _ in range(6):
        run, loss = jaxnn.train.step(net, run, xs, ys, ADAM, depth=3)
        expected, of_single = jaxnn.train.step(smaller, expected, xs, ys, ADAM)
        np.testing.assert_allclose(loss, of_single, rtol=1e-11)
    scores = jaxnn.train.evaluate(net, run.params, xs, ys, depth=3)
    of_single = jaxnn.train.evaluate(smaller, expected.params, xs, ys)
    chex.assert_trees_all_close(scores, of_single, rtol=1e-11)
    trained = jaxnn.network.unstack(run.params)
    reference.assert_close((*trained[:3], trained[-1]), expected.params, 1e-11)
    chex.assert_trees_all_equal(trained[3:-1], params[3:-1])


# One program, and the same bits


@pytest.mark.slow
def test_everything_is_compiled_once(key):
    net, params, xs, ys = problem(key, sizes=(4, 6, 6, 6, 3))
    params = (*params[:3], jaxnn.network.Layer(params[3].theta, jnp.full(3, 0.1)))  # weakly typed
    params = jaxnn.network.stack(params)
    before = _program._cache_size()
    for epochs, seed in ((1, 0), (7, 1), (9, 2)):
        options = {"epochs": epochs, "batch": BATCH}
        run = jaxnn.fit(net, params, xs + seed, ys, INJECTED, key=jax.random.key(seed), **options)
        jaxnn.train.epoch(net, run.state, xs, ys, INJECTED, batch=BATCH)
    assert _program._cache_size() == before + 1


@pytest.mark.slow
def test_a_seed_decides_every_bit(key):
    net, params, xs, ys = problem(key, dtype=jnp.float32)
    options = {"epochs": 5, "batch": BATCH}
    one, same, other = (
        jaxnn.fit(net, params, xs, ys, ADAM, key=k, **options)
        for k in (key, key, jax.random.key(0))
    )
    chex.assert_trees_all_equal(values(one.state), values(same.state))
    np.testing.assert_array_equal(one.losses, same.losses)
    assert (one.losses != other.losses).all()


def test_a_saved_state_goes_on_to_the_same_bits(key):
    """From whichever epoch, with a callback and without."""
    net, params, xs, ys = problem(key, dtype=jnp.float32)
    adam, total = optax.adam(optax.linear_schedule(0.05, 0.01, 40)), 20
    run = jaxnn.fit(net, params, xs, ys, adam, epochs=total, batch=BATCH, key=key)
    begin = jaxnn.train.start(net, params, adam, key)
    states = []
    one_by_one = jaxnn.fit(
        net, begin, xs, ys, adam, epochs=total, batch=BATCH, callback=states.append
    )
    np.testing.assert_array_equal(one_by_one.losses, run.losses)
    chex.assert_trees_all_equal(values(states[-1]), values(run.state))
    for done in (1, 8, 19):
        saved = values(states[done - 1])  # as from a file
        state = jax.tree.map(jnp.asarray, saved)._replace(key=jax.random.wrap_key_data(saved.key))
        on = jaxnn.fit(net, state, xs, ys, adam, epochs=total - done, batch=BATCH)
        np.testing.assert_array_equal(on.losses, run.losses[done:])
        chex.assert_trees_all_equal(values(on.state), values(run.state))


def test_a_step_under_jit_is_that_outside_and_compiled_once(key):
    net, params, xs, ys = problem(key)
    step = jax.jit(jaxnn.train.step, static_argnames="optimizer")
    step.clear_cache()  # JAX has one for all that compile this function
    state = expected = jaxnn.train.start(net, params, INJECTED, key)
    for _ in range(2):
        state, loss = step(net, state, xs, ys, INJECTED)
        expected, alone = jaxnn.train.step(net, expected, xs, ys, INJECTED)
        assert float(loss) == pytest.approx(float(alone), rel=1e-12)
    reference.assert_close(values(state), values(expected), 1e-12)
    assert step._cache_size() == 1


MIXED_UP = """
step(net, optimizer, state, xs, ys)
epoch(net, optimizer, state, xs, ys)
step(net, params, xs, ys, optimizer)
epoch(net, params, xs, ys, optimizer)
start(net, params, key, optimizer)
step(net, state, optimizer, xs, ys)
epoch(net, state, xs, optimizer, ys)
fit(net, optimizer, params, xs, ys)
fit(net, params, optimizer, xs, ys)
start(net, optimizer, params, key)
fit(net, optimizer, xs, ys, optimizer)
start(net, state, optimizer, key)
evaluate(net, state, xs, ys)
step(net, state, 1.0, ys, optimizer)
epoch(net, state, 1.0, ys, optimizer)
epoch(net, state, optimizer, ys, optimizer)
"""


def test_a_wrong_order_is_one_sentence(key, unhooked, snapshot):
    net, params, xs, ys = problem(key)
    calls = {name: getattr(jaxnn.train, name) for name in ("step", "start", "evaluate")}
    calls["epoch"] = partial(jaxnn.train.epoch, batch=BATCH)
    calls["fit"] = partial(jaxnn.fit, batch=BATCH, epochs=1, key=key)
    state, optimizer = jaxnn.train.start(net, params, SGD, key), SGD
    said = refusals(MIXED_UP, calls | locals())
    # What follows in a line of its own is JAX's note on frames.
    assert {call: text.partition("\n")[0] for call, text in said.items()} == snapshot


@pytest.mark.slow
def test_seeds_are_trained_together_under_vmap(key):
    net, params, xs, ys = problem(key)

    def one(key):
        state = jaxnn.train.start(net, params, SGD, key)
        return jaxnn.train.epoch(net, state, xs, ys, SGD, batch=BATCH)

    keys = jax.random.split(key, 3)
    together = jax.jit(jax.vmap(one))(keys)[1]
    assert len({float(losses[0]) for losses in together}) == 3
    np.testing.assert_allclose(together, [one(key)[1] for key in keys], rtol=1e-11)


# Scores


SCORED = [("binary", 1), ("multiclass", 3), ("regression", 1), ("regression", 3)]
SCORED += [("binary", 3), ("multiclass", 2)]


@mostly_slow("task, n_out", SCORED, *SCORED[:2])
def test_scores_equal_scikit_learn_s(key, task, n_out):
    net, params, xs, ys = problem(key, task, (4, 6, n_out), count=50)
    scores = jaxnn.train.evaluate(net, params, np.asarray(xs), np.asarray(ys))
    loss = reference.mean_loss("tanh", task, params, xs, ys)
    np.testing.assert_allclose(scores.loss, loss, rtol=1e-12)
    y_hat = jax.jit(jax.vmap(partial(jaxnn.forward, net), (None, 0)))(params, xs)
    if task == "regression":
        expected = metrics.r2_score(ys, y_hat)
    elif task == "binary":
        expected = metrics.accuracy_score(ys, y_hat > 0.5)
    else:
        expected = metrics.accuracy_score(np.argmax(ys, 1), np.argmax(y_hat, 1))
        classes = jaxnn.train.evaluate(net, params, xs, np.argmax(ys, 1))
        chex.assert_trees_all_equal(classes, scores)
    np.testing.assert_allclose(scores.metric, expected, rtol=1e-12)


def test_r2_of_a_label_that_does_not_vary(key):
    net, params, xs, ys = problem(key, "regression", count=9)
    zero = jax.tree.map(np.zeros_like, params)  # ŷ = 0
    for constant in (0.0, 2.0):
        labels = np.array(ys)
        labels[:, 1] = constant
        expected = metrics.r2_score(labels, np.zeros_like(labels))
        np.testing.assert_allclose(jaxnn.train.evaluate(net, zero, xs, labels).metric, expected)


# What is not finite


def diagonal(net, *weights):
    """A weight a layer and no biases, in float32."""
    shapes = itertools.pairwise(net.sizes)
    return tuple(
        jaxnn.network.Layer(
            w * jnp.eye(*shape, dtype=jnp.float32), jnp.zeros(shape[1], jnp.float32)
        )
        for w, shape in zip(weights, shapes, strict=True)
    )


TANH = jaxnn.Network((1, 1, 1, 1), "tanh", "binary")
BINARY = jaxnn.Network((1, 1, 1, 1, 1), "identity", "binary")
SQUARES = jaxnn.Network((1, 1, 1), "identity", "regression")
# network, weights, x, labels in turn, step size; step, layer, sentence
DIVERGING = {
    "signal": (  # z = 1, 1e30, 1e60
        *(BINARY, (1, 1e30, 1e30, 1e30), 1, (0, 1), 1e-3),
        *(0, 3, r"signal .* at z\[3\] of 4 layers \(root mean square 10⁶⁰\)\. Try"),
    ),
    "signal ": (  # weights become -1e30
        *(SQUARES, (1, 1), 1, (0,), 1e30),
        *(1, 2, r"signal .* at z\[2\] of 2 layers \(root mean square 10⁶⁰\)\. Try"),
    ),
    "loss": (
        *(SQUARES, (1, 1e25), 1, (0,), 1e-3),
        *(0, 2, r"loss itself .* at z\[2\], .* 10²⁵\); .* labels\. Try"),
    ),
    "gradient": (  # Δz = 1, 1e30, 1e60, 1e60, and so z = -inf at the step after
        *(BINARY, (1, 1, 1e30, 1e30), 1e-30, (0, 1), 1e-3),
        *(1, 2, r"loss is .* Δz\[2\] of 4 layers \(largest \|Δz\| 10(⁵⁹|⁶⁰)\), at step 0\. Try"),
    ),
    "gradient ": (  # the same, where tanh hides -inf from the loss
        *(TANH, (1, 1e30, 1e30), 1e-30, (0, 1), 1e-3),
        *(3, 1, r"parameters are not finite; .* Δz\[1\] of 3 layers .*, at step 0\. Try"),
    ),
    "update": (  # Δ of the first weight is 1e16
        *(SQUARES, (1, 1e8), 1, (0,), 1e30),
        *(1, 1, r"update of theta\[0\] and b\[0\] .* being finite, at step 0\. Try"),
    ),
}


def diverged(net, params, xs, ys, size, key, **options):
    """The error of a run by gradient descent."""
    state = jaxnn.train.start(net, params, INJECTED, key)
    state.opt_state.hyperparams["learning_rate"] = jnp.full_like(
        state.opt_state.hyperparams["learning_rate"], size
    )
    with pytest.raises(jaxnn.errors.NonFiniteError) as raised:
        jaxnn.fit(net, state, xs, ys, INJECTED, epochs=200, batch=BATCH, **options)
    return raised.value


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "stacked"),
    [
        *(("signal", True), ("signal", False)),
        *((where, False) for where in DIVERGING if "signal" not in where),
    ],
)
def test_what_is_not_finite_is_said_in_a_sentence(key, where, stacked):
    net, weights, x, labels, size, step, layer, sentence = DIVERGING[where]
    params = diagonal(net, *weights)
    params = jaxnn.network.stack(params) if stacked else params
    xs, ys = np.full((N_EXAMPLES, 1), x), np.resize(labels, N_EXAMPLES)
    error = diverged(net, params, xs, ys, size, key, callback=lambda state: None)
    assert re.search(sentence, str(error)), error
    assert (error.step, error.where, error.layer) == (step, where.strip(), layer)
    assert str(error).startswith(f"step {step}, counted from 0: ")
    assert "optax.clip_by_global_norm" in str(error)
    assert f"σ_w = 1, at which gradients of {net.activation.name}" in str(error)
    assert error.state.step == 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(error.state.params))
    losses = error.losses.ravel()
    assert losses.shape == (3,)
    assert np.isfinite(losses[:step]).all()
    assert not np.isfinite(losses[step : step + 1]).any()


@pytest.mark.slow
def test_a_failure_in_a_late_epoch_loses_nothing(key):
    """By each step z becomes -2 z, until the sum of 8 squares / 2 leaves float32.

    z = 4 (-2)^k, so that sum is 2^(2k + 6), and 2^128 at step 61, the second of epoch 20.
    """
    net = jaxnn.Network((1, 1), "identity", "regression")
    params = (jaxnn.network.Layer(jnp.full((1, 1), 2, jnp.float32), jnp.full(1, 2, jnp.float32)),)
    xs, ys = np.ones((N_EXAMPLES, 1)), np.zeros(N_EXAMPLES)
    seen = []
    errors = [
        diverged(net, params, xs, ys, 1.5, key, **options)
        for options in ({}, {"callback": seen.append})
    ]
    for error in errors:
        assert (error.step, error.where, error.layer) == (61, "loss", 1)
        chex.assert_trees_all_equal(values(error.state), values(errors[0].state))
        losses = error.losses
        assert losses.shape == (21, 3)
        np.testing.assert_allclose(losses.ravel()[:61], 8 * 4.0 ** np.arange(61), rtol=1e-5)
        np.testing.assert_array_equal(np.isfinite(losses[20]), [True, False, False])
    assert len(seen) == 20
    assert error.state.step == 60
    np.testing.assert_allclose(error.state.params[0].theta, 2 * 2.0**60, rtol=1e-5)
    calmed = error.state._replace(opt_state=jaxnn.train.start(net, params, INJECTED, key).opt_state)
    run = jaxnn.fit(net, calmed, xs, ys, INJECTED, epochs=200, batch=BATCH)
    assert run.losses[-1, -1] < 1e-20 * run.losses[0, 0]


# What is said of wrong arguments


WRONG = """
fit(batch=0)
fit(batch=2.5)
fit(epochs=-1)
fit(ys=np.ones((21, 3)))
fit(xs=np.ones((22, 5)))
fit(key=None)
fit(key=7)
fit(key=jax.random.split(jax.random.key(0)))
fit(optimizer=0.1)
fit(optimizer=None)
fit(ys=np.array(["a"] * 22))
fit(params=(params[0], (params[1].theta, np.full(3, np.nan))))
fit(params=state)
jaxnn.train.epoch(net, state, xs[:0], ys[:0], SGD, batch=BATCH)
"""


def test_wrong_arguments_are_told_in_one_sentence(key, unhooked, snapshot):
    net, params, xs, ys = problem(key)
    usual = {"params": params, "xs": xs, "ys": ys, "optimizer": SGD, "epochs": 1, "batch": BATCH}
    usual["key"], state = key, jaxnn.train.start(net, params, SGD, key)

    def fit(**changes):
        return jaxnn.fit(net, **usual | changes)

    said = refusals(WRONG, globals() | locals())
    assert said == snapshot
    assert not any("\n" in text for text in said.values())


def test_fit_is_called_outside_of_jit(key):
    net, params, xs, ys = problem(key)

    def fit(key):
        return jaxnn.fit(net, params, xs, ys, SGD, epochs=1, batch=BATCH, key=key).params

    sentence = r"^fit: expected known values, got traced ones, .* jaxnn.train.epoch inside"
    with pytest.raises(TypeError, match=sentence):
        jax.jit(fit)(key)
