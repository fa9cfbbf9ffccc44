"""The watch of a training: what it records, and that the training is the same without it."""

import copy
import json
import signal
import subprocess
import sys
import threading
from collections import Counter
from contextlib import nullcontext
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import polars as pl
import pytest
from problems import as_users_have_jax, optimised

import jaxnn
from jaxnn.errors import TrainingWarning
from jaxnn.jaxpr import numpy_programs
from jaxnn.watching import Watched, read_watch, step_record
from jaxnn.watching import watch as watch_module
from jaxnn.watching import worker as worker_module
from jaxnn.watching.alarms import ALARMS
from jaxnn.watching.first_batch import OF_BATCH
from jaxnn.watching.journal import FILE
from jaxnn.watching.step_record import Step, Steps
from jaxnn.watching.watch import log10_change
from jaxnn.watching.worker import Worker

pytestmark = pytest.mark.usefixtures("users_jax")
STEPS, EVERY = 6, 2


def network(p, xs):
    return jnp.tanh(jnp.tanh(xs @ p["a"]) @ p["b"]) @ p["c"]


def loss(output, ys):
    return jnp.sum((output - ys) ** 2, axis=-1)


def mean_loss(p, xs, ys):
    return jnp.mean(loss(network(p, xs), ys))


gradient_of = jax.jit(jax.grad(mean_loss))
log10_changed = jax.jit(log10_change)


def drawn(rng, n=3):
    arrays = {name: rng.normal(size=(n, n)) / n**0.5 for name in "abc"}
    return jax.tree.map(lambda v: jnp.asarray(v, jnp.float32), arrays)


def training(optimizer, watch=None):
    """A function of the start, its data, and a factor of each step's update: a scan over steps."""

    def train_step(carry, given):
        params, opt_state = carry
        step, xs, ys, factor = given
        value, gradient = jax.value_and_grad(mean_loss)(params, xs, ys)
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        updates = jax.tree.map(lambda u: factor * u, updates)
        after = optax.apply_updates(params, updates)
        if watch is not None:
            watch(step, params, xs, ys, after=after, value=value)
        return (after, opt_state), (params, value)

    def train(params, xs, ys, factors):
        steps = jnp.arange(len(xs))
        return jax.lax.scan(train_step, (params, optimizer.init(params)), (steps, xs, ys, factors))

    return train


class Trained(NamedTuple):
    """A watched training: the function that trains, parameters before each step and at the end."""

    watch: jaxnn.Watch
    params: Any
    train: Any
    before: Any
    last: Any
    values: Any
    record: jaxnn.watching.Watched
    text: str
    alarms: list[jaxnn.flow.Found]
    written: list[tuple[int, dict[str, float]]]

    def every(self):
        """Parameters before each step and after the last one."""
        return {k: np.array([*np.asarray(v), self.last[k]]) for k, v in self.before.items()}


@pytest.fixture(scope="module")
def batches():
    return np.random.default_rng(0).normal(size=(2, STEPS, 4, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def trained(batches, tmp_path_factory):
    with as_users_have_jax():
        params = drawn(np.random.default_rng(1))
        net, _ = jaxnn.as_network((network, params), batches[0, 0])
        folder = tmp_path_factory.mktemp("watch")
        alarms, written = [], []
        options = {"folder": folder, "callback": alarms.append, "intended": ("update",)}
        options["write"] = lambda *of: written.append(of)
        options["rate"] = optax.linear_schedule(0.01, 0, STEPS)
        watch = jaxnn.watch(net, loss=loss, every=EVERY, **options)
        train = jax.jit(training(optax.sgd(0.01), watch))
        (last, _), (before, values) = train(params, *batches, np.ones(STEPS, np.float32))
        record = copy.deepcopy(watch.watched)  # a test adds to it
        text = (folder / FILE).read_text("utf-8")
        return Trained(watch, params, train, before, last, values, record, text, alarms, written)


def test_a_line_has_the_gradient_and_the_update_of_its_step(trained, batches):
    lines = trained.record.measurements
    assert [line["step"] for line in lines] == [0, 2, 4]
    paths = [array["path"] for array in trained.record.start["parameters"]]
    assert paths == ["['a']", "['b']", "['c']"]
    every = trained.every()
    for line in lines:
        i = line["step"]
        now, after = ({name: v[j] for name, v in every.items()} for j in (i, i + 1))
        gradient = gradient_of(now, *batches[:, i])
        assert line["loss"] == pytest.approx(float(trained.values[i]))
        assert line["rate"] == pytest.approx(0.01 * (1 - i / STEPS))
        of_input = jax.grad(mean_loss, argnums=1)(now, *batches[:, i])
        expected = np.log10(np.linalg.norm(of_input))
        assert line["log10_delta_input"] == pytest.approx(expected, abs=1e-5)
        for k, name in enumerate("abc"):
            of = {"delta": gradient[name], "size": now[name], "update": after[name] - now[name]}
            for what, v in of.items():
                expected = np.log10(np.linalg.norm(np.asarray(v, np.float64)))
                got = line["parameters"][f"log10_{what}"][k]
                assert got == pytest.approx(expected, abs=1e-5)
    assert trained.watch.flow.names == ("a", "b", "c")


def test_every_step_has_its_loss_and_the_size_of_its_update_also_in_the_file(trained, tmp_path):
    rows = trained.record.step_table()
    assert [row["step"] for row in rows] == [*range(STEPS)]
    assert [row["loss"] for row in rows] == pytest.approx(trained.values.tolist())
    squares = sum(np.sum(np.diff(v, axis=0) ** 2, axis=(1, 2)) for v in trained.every().values())
    assert [row["log10_update"] for row in rows] == pytest.approx(np.log10(squares) / 2, abs=1e-4)
    (tmp_path / FILE).write_text(trained.text, "utf-8")
    for row, there in zip(rows, read_watch(tmp_path).step_table(), strict=True):
        assert there == pytest.approx(row, rel=1e-5, nan_ok=True)


@pytest.mark.parametrize(
    ("size", "log10"), [(1e30, 30), (1e-30, -30), (1, 0), (0, -np.inf), (np.inf, np.inf)]
)
@pytest.mark.parametrize("width", [1, 300])
def test_an_update_whose_square_leaves_float32_has_a_size(size, log10, width):
    after = {"a": np.float32([0, 0.6 * size]), "c": np.float32([])}
    after["b"] = np.zeros((width, width), np.float32)
    after["b"][0, 0] = 0.8 * size
    before = jax.tree.map(np.zeros_like, after)
    assert float(log10_changed(before, after)) == pytest.approx(log10, abs=1e-5)


def test_the_size_of_a_change_compiles_no_more_logarithms_for_more_arrays():
    """Each array with its own, and its own ways out of the range, doubled a first step's time."""

    def logarithms(arrays):
        params = [jnp.ones((300, 300))] * arrays
        return str(jax.make_jaxpr(log10_change)(params, params)).count("= log ")

    assert logarithms(8) == logarithms(2) > 0


def test_the_file_says_what_memory_says(trained, tmp_path):
    (tmp_path / FILE).write_text(trained.text, "utf-8")
    there = read_watch(tmp_path)
    assert there.start == trained.record.start
    rows, ours = there.table(), trained.record.table()
    assert [row["name"] for row in rows] == ["a", "b", "c"] * 3
    for row, our in zip(rows, ours, strict=True):
        assert row.pop("name") == our.pop("name")
        assert row == pytest.approx(our, rel=1e-5, nan_ok=True)
    assert len(there.parameter_table()) == 9
    pl.DataFrame(there.table()).write_parquet(tmp_path / "layers.parquet")  # as the guide has it
    written = pl.read_parquet(tmp_path / "layers.parquet").to_dicts()
    assert str(written) == str(there.table())  # nan is nan
    assert there.attention_table() == there.router_table() == []


def test_a_writer_is_given_the_numbers_of_each_measurement_by_their_names(trained):
    record = trained.record
    assert [step for step, _ in trained.written[:3]] == [0, 2, 4]
    numbers, layer, array = trained.written[1][1], record.table()[3], record.parameter_table()[3]
    assert numbers["watch/loss"] == pytest.approx(layer["loss"])
    assert numbers["gradient/1 a/log10_delta"] == pytest.approx(layer["log10_delta"])
    for name in ("log10_update_ratio", "log10_delta_ratio"):
        assert numbers[f"parameters/a/{name}"] == pytest.approx(array[name])
    assert np.isfinite([*numbers.values()]).all()


def test_a_line_cut_short_is_skipped_and_a_training_goes_on_from_a_checkpoint(trained, tmp_path):
    text = trained.text[: trained.text.rindex('{"kind": "steps"')]  # of step 5
    (tmp_path / FILE).write_text(text[:-40], "utf-8")  # killed while it wrote the last
    assert [line["step"] for line in read_watch(tmp_path).measurements] == [0, 2]
    again = jaxnn.watch(
        (trained.watch.net, None), loss=loss, every=EVERY, folder=tmp_path
    )  # unwarned
    start, *lines = map(json.loads, text.strip().split("\n"))
    _, second, third = (line for line in lines if line["kind"] == "measurement")
    for line in (start, {**second, "loss": 7.0}, third):
        again._keep(line)  # from step 2 on
    again._save(4)
    lines = read_watch(tmp_path).measurements
    assert [line["step"] for line in lines] == [0, 2, 4]
    assert lines[1]["loss"] == 7.0
    assert [line["step"] for line in again.watched.measurements] == [0, 2, 4]


def test_the_last_steps_stay_in_memory(monkeypatch):
    monkeypatch.setattr(step_record, "MOST", 4)
    steps = Steps()
    for step in range(23):
        steps.add(Step(step, 10.0 * step))
    assert [row["step"] for row in steps.table()] == [19, 20, 21, 22]
    assert steps.column("loss").tolist() == [190.0, 200.0, 210.0, 220.0]
    steps.add(Step(20, 1.0))
    assert (len(steps), steps.step) == (2, 20)
    assert steps.column("loss").tolist() == [190.0, 1.0]


@pytest.mark.slow
@pytest.mark.parametrize("is_traced", [True, False])
def test_a_step_of_few_numbers_is_measured_by_a_program_of_its_own(
    trained, batches, runs, is_traced
):
    """At once if its numbers are known; of a traced step by a thread that may use JAX."""
    watch = jaxnn.watch(trained.watch.net, loss=loss, intended=(*OF_BATCH, "update"))
    xs, ys = (jax.tree.map(lambda v: v[0], v) for v in batches)
    after = jax.tree.map(lambda v: v / 2, trained.params)

    def train_step(params):
        watch(0, params, xs, ys, after=after)

    (jax.jit(train_step) if is_traced else train_step)(trained.params)
    flow = jaxnn.gradient_flow((network, trained.params), xs, ys, loss=loss)
    (line,) = watch.watched.measurements
    log_delta = np.asarray(flow.log_delta) / np.log(10)
    assert line["layers"]["log10_delta"] == pytest.approx(log_delta.tolist(), abs=1e-5)
    change = np.subtract(line["parameters"]["log10_size"], line["parameters"]["log10_update"])
    assert change == pytest.approx(np.log10(2), abs=1e-5)
    ((thread, program),) = runs
    assert thread == ("jaxnn-watch" if is_traced else threading.main_thread().name)
    assert len(program.rest) > 3 * len(program.steps)
    for _ in range(2):  # an equal loss, an equal program
        again = jaxnn.watch(trained.watch.net, loss=lambda *of: loss(*of), intended=OF_BATCH)
        again(0, trained.params, xs, ys, after=after)
    assert runs[1][1] is runs[2][1]


@pytest.mark.slow
def test_a_measurement_has_the_floats_and_the_keys_of_the_step_that_it_is_of(rng):
    """Also if 64 bits are a setting of its thread alone, which the callback's does not have."""

    def noisy(p, xs):
        z = jnp.tanh(xs @ p["a"]) + jax.random.normal(p["key"], xs.shape, xs.dtype)
        return z @ p["b"]

    with jax.enable_x64(True):
        arrays = {name: jnp.asarray(rng.normal(size=(3, 3))) for name in "ab"}
        params = {**arrays, "key": jax.random.key(0)}
        xs = rng.normal(size=(4, 3))
        watch = jaxnn.watch((noisy, params), xs, loss=loss, every=1, intended=tuple(ALARMS))
        after = {**params, **{name: v * (1 + 1e-12) for name, v in arrays.items()}}
        step = jax.jit(lambda i, p, xs, after: watch(i, p, xs, xs, after=after))
        for i in range(4):
            step(jnp.asarray(i), params, xs, after)
        arrays = [line["parameters"] for line in watch.watched.measurements]
    assert not watch.failures
    changes = [np.subtract(of["log10_update"], of["log10_size"]) for of in arrays]
    np.testing.assert_allclose(changes, -12 * np.ones((4, 2)), atol=1e-3)


@pytest.fixture
def runs(monkeypatch):
    """A list that gets the thread and the program of each measurement, as on several cores."""
    seen, second = [], numpy_programs.Parted.second
    monkeypatch.setattr(watch_module, "cores", lambda: 2)

    def observed(self, handed):
        seen.append((threading.current_thread().name, self))
        return second(self, handed)

    monkeypatch.setattr(numpy_programs.Parted, "second", observed)
    return seen


def test_the_first_step_whose_numbers_are_not_finite_is_measured_and_none_after_it(
    trained, batches
):
    watch = trained.watch
    count = len(watch.watched.measurements)
    factors = np.ones(STEPS, np.float32)
    factors[3] = np.inf

    def train():
        trained.train(trained.params, *batches, factors)
        watch.flush()

    with pytest.warns(TrainingWarning, match=r"^Step 3: the update of \['c'\] in layer c"):
        train()
    (alarm,) = trained.alarms
    assert (alarm.rule, alarm.step, alarm.path) == ("nonfinite", 3, "['c']")
    assert watch.watched.alarms == [alarm]
    assert read_watch(watch.folder).alarms == [alarm._replace(values={}, changes=())]
    steps = [line["step"] for line in watch.watched.measurements[count:]]
    assert steps == [0, 2, 3, 4]  # 4 is due
    broken = watch.watched.measurements[-2]
    assert np.isfinite(broken["layers"]["log10_delta"]).all()
    assert not np.isfinite(broken["parameters"]["log10_update"]).any()


@pytest.mark.parametrize(("entry", "seen_at"), [(0, 29), (1, 30)])
def test_short_steps_are_looked_at_in_turn_and_where_a_row_or_the_loss_is_not_finite(
    trained, batches, entry, seen_at
):
    xs, ys = batches[:, 0]
    options = {"intended": {*ALARMS} - {"nonfinite"}}
    watch = jaxnn.watch(trained.watch.net, loss=loss, every=100, **options)

    def train_step(params, step):
        value = mean_loss(params, xs, ys)
        after = jax.tree.map(lambda v: v + 0 * value, params)
        after["a"] = after["a"].at[entry].add(jnp.where(step == 29, jnp.nan, 0))
        watch(step, params, xs, ys, after=after, value=value)
        return after, None

    def train():
        jax.jit(lambda p: jax.lax.scan(train_step, p, jnp.arange(40)))(trained.params)
        watch.flush()

    with pytest.warns(TrainingWarning, match=f"^Step {seen_at}: "):
        train()
    assert [line["step"] for line in watch.watched.measurements] == [0, seen_at]
    assert [*watch.watched.steps.column("step")][:2] == [0, 23]


def test_a_training_whose_record_fails_is_the_same_to_the_last_bit(
    trained, batches, monkeypatch, capsys
):
    """Whatever JAX's thread calls raises; the warnings are errors too."""

    def fail(*_):
        raise SystemExit(1)

    watch = trained.watch
    own = {"_watched": Watched(), "_unwritten": [], "failures": Counter()}
    for name, value in {**own, "_is_described": False, "write": fail, "callback": fail}.items():
        monkeypatch.setattr(watch, name, value)
    monkeypatch.setattr(watch._journal, "append", fail)
    (last, _), _ = trained.train(trained.params, *batches, np.ones(STEPS, np.float32))
    for ours, theirs in zip(*map(jax.tree.leaves, (last, trained.last)), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert [line["step"] for line in watch.watched.measurements] == [0, 2, 4]
    assert watch.failures["write"] == 3
    assert {alarm.rule for alarm in watch.watched.alarms} == {"write", "file", "callback"}
    assert "the training goes on" in capsys.readouterr().err


def test_a_worker_does_its_tasks_in_their_order_and_refuses_what_it_has_no_memory_for(monkeypatch):
    """Who hands over to a worker that is behind waits for it, but neither long nor on one core."""
    worker, done, gate = Worker(), [], threading.Event()
    monkeypatch.setattr(worker_module, "MOST_BEHIND", 1)
    monkeypatch.setattr(worker_module, "MOST_BYTES", 10)
    monkeypatch.setattr(worker_module, "LITTLE", 0)
    monkeypatch.setattr(worker_module, "cores", lambda: 1)
    worker.start()
    assert worker.hand(gate.wait, 4)
    for number in range(2):
        assert worker.hand(partial(done.append, number), 4)
    assert not worker.hand(partial(done.append, 2), 1)
    monkeypatch.setattr(worker_module, "cores", lambda: 2)
    monkeypatch.setattr(worker_module, "LONGEST", 0.01)
    assert not worker.hand(partial(done.append, 3), 1)  # in vain, and the last that waits
    monkeypatch.setattr(worker_module, "LONGEST", 60)
    assert not worker.hand(partial(done.append, 4), 1)
    gate.set()
    worker.finish()
    assert worker.hand(partial(done.append, 5), 60)
    worker.finish()
    assert done == [0, 1, 5]


def test_a_task_that_ends_with_pytest_fail_is_raised_by_who_waits_and_the_next_one_is_done():
    """Nobody waits for a thread that has ended, as in a fork of the process."""
    worker, done = Worker(), []
    worker.start()
    worker.hand(partial(pytest.fail, "in a callback"), 4)
    worker.hand(partial(done.append, 1), 4)
    with pytest.raises(pytest.fail.Exception, match="in a callback"):
        worker.finish()
    worker.finish()
    assert done == [1]
    ended = worker._thread = threading.Thread(target=int)
    ended.start(), ended.join()
    worker.hand(partial(done.append, 2), 4)
    worker.finish()
    assert done == [1]
    worker.start(), worker.finish()
    assert done == [1, 2]


def test_a_step_that_there_is_no_memory_for_keeps_its_loss(trained, batches, monkeypatch):
    watch = trained.watch
    own = {"_watched": Watched(), "_unwritten": [], "_unwritten_steps": [], "failures": Counter()}
    for name, value in own.items():
        monkeypatch.setattr(watch, name, value)
    monkeypatch.setattr(worker_module, "MOST_BYTES", -1)
    monkeypatch.setattr(worker_module, "LITTLE", 16)
    monkeypatch.setattr(watch_module, "LITTLE", 16)

    def train():
        trained.train(trained.params, *batches, np.ones(STEPS, np.float32))
        watch.flush()

    with pytest.warns(TrainingWarning, match="too many steps wait for their measurement"):
        train()
    assert watch.failures["measurement"] == 3
    assert not watch.watched.measurements
    losses = [row["loss"] for row in watch.watched.step_table()]
    assert losses == pytest.approx(trained.values.tolist())


def test_what_is_wrong_is_said_in_one_sentence(trained, tmp_path):
    net = trained.watch.net
    with pytest.raises(ValueError, match=r"^every: expected at least 1, got 0$"):
        jaxnn.watch(net, loss=loss, every=0)
    with pytest.raises(ValueError, match=r"^loss: expected loss"):
        jaxnn.watch(net)
    with pytest.raises(TypeError, match=r"^rate: expected one number, got"):
        jaxnn.watch(net, loss=loss, rate="fast")
    with pytest.raises(TypeError, match=r"^model: expected a module .* got function"):
        jaxnn.watch(network, loss=loss)
    with pytest.raises(FileNotFoundError, match=r"^folder: expected .* has no watch.jsonl$"):
        read_watch(tmp_path)
    with pytest.raises(
        ValueError, match=r"^intended: expected names of rules .*\['a'\].*, got 'losses'$"
    ):
        jaxnn.watch(net, loss=loss, intended=("losses",))
    other = jaxnn.Network(sizes=(3, 4, 1), activation="tanh", task="binary")
    with pytest.raises(ValueError, match=r"^folder: expected a new one, or .* of 3 layers"):
        jaxnn.watch((other, None), folder=trained.watch.folder)


@pytest.mark.parametrize(("scale", "rules"), [(300.0, ["inputs"]), (1.0, [])])
def test_a_watch_outside_of_jit_looks_at_the_first_batch_as_a_diagnosis_does(rng, scale, rules):
    """Once: at its first measurement, and not at the second one."""
    params, xs = drawn(rng), rng.normal(size=(16, 3)).astype(np.float32)
    xs[:, 0] *= scale
    watch = jaxnn.watch((network, params), xs, loss=loss, intended=("state", "still"), every=1)
    with pytest.warns(TrainingWarning, match="Step 0: The inputs") if rules else nullcontext():
        for step in range(2):
            watch(step, params, xs, np.zeros((16, 3), np.float32), after=params)
        watch.flush()
    assert [(alarm.rule, alarm.step) for alarm in watch.watched.alarms] == [(v, 0) for v in rules]
    assert not watch.failures


@pytest.mark.slow
def test_a_training_is_the_same_to_the_last_bit_without_its_watch(batches):
    optimizer = optax.adam(1e-2)
    params = drawn(np.random.default_rng(1))
    net, _ = jaxnn.as_network((network, params), batches[0, 0])
    given = params, *batches, np.ones(STEPS, np.float32)
    watch = jaxnn.watch(net, loss=loss, every=EVERY)
    watched, _ = optimised(training(optimizer, watch))(*given)
    plain, _ = optimised(training(optimizer))(*given)
    assert len(watch.watched.measurements) == 3
    for ours, theirs in zip(*map(jax.tree.leaves, (watched, plain)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


KILLED = """
import os, pathlib, signal, sys, tempfile
import jax, jax.numpy as jnp, numpy as np, jaxnn

folder, end = pathlib.Path(sys.argv[1]), int(sys.argv[2])
xs = np.random.default_rng(0).normal(size=(60, 8, 3)).astype(np.float32)
params = {name: np.random.default_rng(i).normal(size=(3, 3)).astype(np.float32) / 2
          for i, name in enumerate("abc")}


def network(p, xs):
    return jnp.tanh(jnp.tanh(xs @ p["a"]) @ p["b"]) @ p["c"]


def loss(output, ys):
    return jnp.sum((output - ys) ** 2, axis=-1)


net, _ = jaxnn.as_network((network, params), xs[0])
watch = jaxnn.watch(net, loss=loss, every=2, folder=folder, intended=("update",))


@jax.jit
def train_step(step, params, xs):
    mean = lambda p: jnp.mean(loss(network(p, xs), jnp.sin(xs)))
    value, gradient = jax.value_and_grad(mean)(params)
    after = jax.tree.map(lambda v, g: v - 0.02 * g, params, gradient)
    watch(step, params, xs, jnp.sin(xs), after=after, value=value)
    return after


saved = folder / "params.npz"
begin = 0
if saved.exists():
    params = dict(np.load(saved))
    begin = int(params.pop("step"))
for step in range(begin, len(xs)):
    if step % 10 == 0:
        with open(folder / "new.npz", "wb") as file:
            np.savez(file, step=step, **params)
        os.replace(folder / "new.npz", saved)
    if step == end:
        os.kill(os.getpid(), signal.SIGKILL)  # with measurements on their way
    params = train_step(np.int32(step), params, xs[step])
watch.flush()
"""


@pytest.mark.slow
def test_a_training_that_is_killed_goes_on_from_its_checkpoint_with_all_rows(tmp_path):
    """Killed at step 37, after a checkpoint of step 30: it ends with the rows of one not killed."""
    script = tmp_path / "train.py"
    script.write_text(KILLED)

    def run(name, end):
        (tmp_path / name).mkdir(exist_ok=True)
        command = [sys.executable, str(script), str(tmp_path / name), str(end)]
        return subprocess.run(command, check=False, timeout=300, capture_output=True, text=True)

    first = run("killed", 37)
    assert first.returncode == -signal.SIGKILL, first.stderr
    written = (tmp_path / "killed" / FILE).read_bytes()
    before = read_watch(tmp_path / "killed")
    there = [line["step"] for line in before.measurements]
    assert there == [*range(0, 2 * len(there), 2)]
    assert len(there) >= 15  # those of steps that were done long before
    (whole := run("whole", -1)).check_returncode()
    (second := run("killed", -1)).check_returncode()
    assert whole.stderr == second.stderr == ""
    after, plain = (read_watch(tmp_path / name) for name in ("killed", "whole"))
    assert [line["step"] for line in after.measurements] == [*range(0, 60, 2)]
    for ours, theirs in zip(after.measurements, plain.measurements, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
        for part in ("layers", "parameters"):
            for name, values in theirs[part].items():
                assert ours[part][name] == pytest.approx(values, abs=1e-4, nan_ok=True), name
    assert (tmp_path / "killed" / FILE).read_bytes().startswith(written)  # nothing is written over


# Alarms of trainings step by step


@cache
def value_and_grad_of(net):
    return jax.jit(jax.value_and_grad(lambda p, xs: jnp.mean(loss(net(p, xs), 0.1 * xs))))


def rules_of_training(rng, step, following=lambda before, after: after, net=network, **options):
    """The rules that speak in a loop of Python; step: (params, gradient, number) -> after it."""
    params, xs = drawn(rng), rng.normal(size=(16, 3)).astype(np.float32)
    value_and_grad = value_and_grad_of(net)
    watch = jaxnn.watch((net, params), xs, loss=loss, every=5, **options)
    for number in range(56):
        value, gradient = value_and_grad(params, xs)
        if net is not network:
            gradient = jax.tree.map(jnp.ones_like, gradient)  # of another loss
        after = step(params, gradient, number)
        watch(number, params, xs, 0.1 * xs, after=after, value=value)
        params = following(params, after)
    return [alarm.rule for alarm in watch.watched.alarms]


def moved(p, gradient, number, rate=0.01):
    return jax.tree.map(lambda v, g: v - rate * g, p, gradient)


def gathered(p, gradient, number):
    return moved(p, gradient, number, rate=0.01 * (number % 4 == 3))


def with_a_group_that_ends(p, gradient, number):
    return moved(p, gradient, number) | {"a": p["a"] - 0.01 * (number < 20) * gradient["a"]}


def without_one(p, gradient, number):
    return moved(p, gradient, number) | {"a": p["a"]}


def back(before, after):
    return jax.tree.map(lambda v, w: v + 0.01 * (w - v), before, after)


def stopped(p, xs):
    return jax.lax.stop_gradient(network(p, xs))


TRAININGS = {
    "well": (moved, {}, []),
    "gathered gradients": (gathered, {}, []),
    "updates of zeros": (lambda p, g, n: moved(p, g, n) | {"a": p["a"] + 0 * g["a"]}, {}, []),
    "an array without an optimiser": (without_one, {}, ["unoptimised"]),
    "one that is meant": (without_one, {"intended": ("['a']",)}, []),
    "a rule that is meant": (without_one, {"intended": ("unoptimised",)}, []),
    "a schedule that ends in part": (with_a_group_that_ends, {}, ["schedule"]),
    "no step": (partial(moved, rate=0.0), {}, ["still"]),
    "weights that are copied back": (moved, {"following": back}, ["undone"]),
    "a gradient that stops": (moved, {"net": stopped}, ["cut"]),
}


@pytest.mark.filterwarnings("ignore::jaxnn.errors.TrainingWarning")
@pytest.mark.parametrize(("step", "options", "rules"), TRAININGS.values(), ids=TRAININGS)
def test_alarms_of_a_training_step_by_step(rng, step, options, rules):
    rules_off = ("linear", "plateau", "slow", "update", "diverges", *options.get("intended", ()))
    found = rules_of_training(rng, step, **{**options, "intended": rules_off})
    assert found == rules


def test_a_game_of_two_networks_has_no_alarm_on_a_loss_that_does_not_fall(trained):
    watch = jaxnn.watch(trained.watch.net, loss=loss, adversarial=True)
    assert {"plateau", "diverges", "order"} <= watch.intended.rules
    assert "nonfinite" not in watch.intended.rules
    with pytest.raises(TypeError, match=r"^adversarial: expected True or False, got 1$"):
        jaxnn.watch(trained.watch.net, loss=loss, adversarial=1)
