"""A watch harms no training: whatever fails in it is one alarm, one warning and a count."""

import importlib
import io
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import as_users_have_jax

import jaxnn
from jaxnn.errors import TrainingWarning
from jaxnn.jaxpr.numpy_programs import Parted
from jaxnn.watching import journal, read_watch, torch_watch
from jaxnn.watching.journal import FILE, LOCK
from jaxnn.watching.recorder import Recorder, WatchOptions

pytestmark = pytest.mark.usefixtures("users_jax")
NET = jaxnn.Network(sizes=(3, 4, 1), activation="tanh", task="binary")
XS, YS = np.linspace(-1, 1, 15, dtype=np.float32).reshape(5, 3), np.array([0, 1, 0, 1, 1])


@pytest.fixture(scope="module")
def params():
    with as_users_have_jax():
        return jaxnn.init(NET, jax.random.key(0))


@pytest.fixture(scope="module")
def flow(params):
    with as_users_have_jax():
        return jaxnn.gradient_flow((NET, params), XS, YS)


@pytest.fixture
def at_once(flow, monkeypatch):
    """Measurements that take no time to compile."""

    def gradient_flow(net, params, xs, ys, **options):
        if xs.shape != XS.shape:
            raise ValueError(f"xs: expected shape {XS.shape}, got {xs.shape}")
        return flow

    module = importlib.import_module("jaxnn.watching.step_program")
    monkeypatch.setattr(module, "flow_of_net", gradient_flow)
    monkeypatch.setattr(module, "_in_parts", module._in_parts.__wrapped__)  # forgets them


def failing(error):
    """A function of anything that raises."""

    def fail(*_):
        raise error

    return fail


def steps_in(record):
    return [line["step"] for line in record.measurements]


def rules_in(record):
    return [alarm.rule for alarm in record.alarms]


# What fails in memory, file, writer and callback


@pytest.mark.parametrize("error", [SystemExit(3), RuntimeError("no route"), MemoryError()])
def test_a_writer_and_a_callback_that_fail_are_said_once(flow, capsys, error):
    """As warnings: these are errors in tests, and then they go to the terminal."""
    recorder = Recorder(WatchOptions(1, None, failing(error), ("state",), write=failing(error)))
    for step in range(3):
        recorder.measured(step, flow, None, 0.5)
    assert steps_in(recorder.watched) == [0, 1, 2]
    assert recorder.failures == {"write": 3, "callback": 2}  # of two alarms
    assert rules_in(recorder.watched) == ["write", "callback"]
    said = capsys.readouterr().err.strip().split("\n")
    assert {alarm.text for alarm in recorder.watched.alarms} == {*said}
    assert said[0].startswith(f"Step 0: the function in callback= failed ({type(error).__name__}")


def test_an_alarm_is_handed_over_before_a_writer_is_called(flow):
    events = []
    broken = flow.__class__(**{**vars(flow), "log_mean_square": flow.log_mean_square * np.nan})
    write, callback = (lambda *_: events.append("write")), (lambda alarm: events.append(alarm.rule))
    recorder = Recorder(WatchOptions(1, None, callback, write=write))
    with pytest.warns(TrainingWarning, match=r"^Step 0: the state of layer 1 is the first"):
        recorder.measured(0, broken, None)
    assert events == ["nonfinite", "write"]


def test_lines_that_a_full_disk_has_no_room_for_are_written_later(flow, tmp_path, monkeypatch):
    recorder = Recorder(WatchOptions(1, tmp_path))
    recorder.measured(0, flow, None, 0.5)
    whole = journal._write

    class Full(io.FileIO):
        def write(self, text):
            if len(text) < 10:  # the first call has room for all but nine
                raise OSError(28, "No space left on device")
            return super().write(text[:-9])

    def cut_short(file, text):
        with Full(file.name, "ab") as full:
            whole(full, text)

    monkeypatch.setattr(journal, "_write", cut_short)
    with pytest.warns(TrainingWarning, match=r"^Step 1: what .* \[Errno 28\] .* in memory; the"):
        recorder.measured(1, flow, None, 0.5)
    recorder.measured(2, flow, None, 0.5)
    assert recorder.failures == {"file": 2}
    assert steps_in(read_watch(tmp_path)) == [0]  # and no half of a line
    assert (tmp_path / FILE).read_bytes().endswith(b"}\n")
    monkeypatch.setattr(journal, "_write", whole)
    recorder.flush()
    assert steps_in(read_watch(tmp_path)) == [0, 1, 2]
    recorder.measured(3, flow, None, 0.5)
    record = read_watch(tmp_path)
    assert steps_in(record) == [0, 1, 2, 3]
    assert record.alarms == recorder.watched.alarms
    (tmp_path / FILE).unlink()  # the start is written again
    recorder.measured(4, flow, None, 0.5)
    assert steps_in(read_watch(tmp_path)) == [4]


def test_a_loss_that_is_no_number_is_left_out(flow):
    recorder = Recorder(WatchOptions(1))
    with pytest.warns(TrainingWarning, match=r"^Step 0: the loss .* one number, got an array of"):
        recorder.measured(0, flow, None, np.ones(5))
    recorder.measured(1, flow, None, "much")
    recorder.measured(2, flow, None, jnp.ones((1, 1)))
    losses = [line["loss"] for line in recorder.watched.measurements]
    assert losses == pytest.approx([np.nan, np.nan, 1.0], nan_ok=True)
    assert recorder.failures == {"value": 2}


def test_ctrl_c_ends_the_program(at_once, params):
    recorder = Recorder(WatchOptions(1, None, failing(KeyboardInterrupt())))
    with pytest.raises(KeyboardInterrupt):
        recorder.failed("write", 0, "none")
    watch = jaxnn.watch((NET, None), write=failing(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        watch(0, params, XS, YS)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"write": 3}, "write: expected a function of a step and its numbers, got 3"),
        ({"callback": "print"}, "callback: expected a function of an alarm, got 'print'"),
        (
            {"intended": "update"},
            "intended: expected a tuple of names of rules and paths of arrays, got 'update'",
        ),
        ({"folder": 3}, "folder: expected a path, got 3"),
    ],
)
def test_what_is_no_function_is_refused_when_the_watch_is_made(options, sentence):
    with pytest.raises(TypeError, match=f"^{sentence}$"):
        jaxnn.watch((NET, None), **options)


# Two trainings in one folder

HOLDING = """
import fcntl, os, sys
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.lockf(file, fcntl.LOCK_EX)
os.write(file, str(os.getpid()).encode())
print(flush=True)
sys.stdin.read()
"""


def test_a_folder_is_that_of_one_process(flow, tmp_path, monkeypatch):
    begun = Recorder(WatchOptions(1, tmp_path))  # before the other one wrote
    command = [sys.executable, "-c", HOLDING, str(tmp_path / LOCK)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(ValueError, match=rf"^folder: .* alone, .* process {other.pid} writes;"):
            Recorder(WatchOptions(1, tmp_path))
        with pytest.warns(TrainingWarning, match=rf"^Step 0: .* which process {other.pid} writes"):
            begun.measured(0, flow, None)
        with monkeypatch.context() as second:  # one of this training, for which the first writes
            second.setattr(jax, "process_index", lambda: 1)
            Recorder(WatchOptions(1, tmp_path)).measured(0, flow, None)
        other.stdin.close()
        other.wait()
    begun.measured(1, flow, None)  # not into what the other one wrote
    assert not (tmp_path / FILE).exists()
    assert steps_in(begun.watched) == [0, 1]
    again = Recorder(WatchOptions(1, tmp_path))
    again.measured(2, flow, None)
    assert steps_in(read_watch(tmp_path)) == [2]


def test_few_folders_are_held_however_many_are_watched(flow, tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "MOST_HELD", 2)
    recorders = [Recorder(WatchOptions(1, tmp_path / str(i))) for i in range(4)]
    for step in range(2):
        for recorder in recorders:
            recorder.measured(step, flow, None)
    assert [place.parent.name for _, place in journal._locks] == ["2", "3"]
    assert [steps_in(read_watch(tmp_path / str(i))) for i in range(4)] == [[0, 1]] * 4


@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
def test_a_lock_that_leads_to_another_file_leaves_it_as_it_is(flow, tmp_path, link):
    (tmp_path / "thesis").write_text("years of work")
    getattr(tmp_path / LOCK, link)(tmp_path / "thesis")
    Recorder(WatchOptions(1, tmp_path)).measured(0, flow, None)
    assert (tmp_path / "thesis").read_text() == "years of work"
    assert steps_in(read_watch(tmp_path)) == [0]


def test_a_later_watch_of_a_program_takes_the_folder(flow, tmp_path):
    """As where a cell of a notebook is run again."""
    first, second = (Recorder(WatchOptions(1, tmp_path)) for _ in range(2))
    first.measured(0, flow, None)
    second.measured(0, flow, None)
    with pytest.warns(TrainingWarning, match=r"^Step 1: .* a later watch of this program writes"):
        first.measured(1, flow, None)
    second.measured(2, flow, None)
    assert steps_in(read_watch(tmp_path)) == [0, 2]


def test_the_folder_of_another_network_stays_as_it_is(flow, tmp_path):
    """Of a module of PyTorch the layers are known when it is measured."""
    Recorder(WatchOptions(1, tmp_path)).measured(0, flow, None)
    before = (tmp_path / FILE).read_bytes()
    other = Recorder(WatchOptions(1, tmp_path))
    other._watched.start["layers"][0]["name"] = "other"
    with pytest.warns(TrainingWarning, match=r"^Step 5: .* that of another network; choose"):
        other.measured(5, flow, None)
    other.measured(6, flow, None)
    assert (tmp_path / FILE).read_bytes() == before
    assert steps_in(other.watched) == [5, 6]


# What cannot be measured in JAX


def test_members_of_an_ensemble_are_not_mixed(at_once, params):
    members = jax.tree.map(lambda v: jnp.stack([v, v / 2]), params)
    watch = jaxnn.watch((NET, None), every=2)

    @jax.jit
    def train_step(step, params):
        watch(step, params, XS, YS)
        return params

    def train():
        for step in range(4):
            jax.vmap(train_step, (None, 0))(jnp.asarray(step), members)
        watch.flush()

    with pytest.warns(TrainingWarning, match=r"^Step 0: .* one training, got 2 under jax.vmap; "):
        train()
    assert steps_in(watch.watched) == []
    assert watch.failures == {"measurement": 2}  # of steps 0 and 2


def test_a_part_of_a_batch_on_each_device_is_not_taken_for_all_of_it(params):
    watch, data = jaxnn.watch((NET, None)), jax.P("data")

    def train_step(xs, ys):
        watch(3, params, xs, ys)
        return xs

    mesh = jax.make_mesh((1,), ("data",), (jax.sharding.AxisType.Auto,))
    step = jax.shard_map(train_step, mesh=mesh, in_specs=data, out_specs=data)
    with pytest.warns(TrainingWarning, match=r"^Step 3: .* of jax.shard_map .* along data; "):
        step(XS, YS)
    assert steps_in(watch.watched) == []


def test_what_does_not_fit_is_said_once_and_other_steps_are_measured(at_once, params):
    watch = jaxnn.watch((NET, None), every=2)

    @jax.jit
    def train_step(step, xs):
        watch(step, params, xs, YS[: len(xs)])
        return step + 1

    def train():
        for step in range(3, 7):
            assert train_step(step, XS[:, :2]) == step + 1
        watch.flush()

    with pytest.warns(TrainingWarning, match=r"^Step 4: the gradient .* \(ValueError: xs: expec"):
        train()
    assert watch.failures == {"measurement": 2}
    watch("five", params, XS, YS)
    watch(6, params, XS, YS)
    assert steps_in(watch.watched) == [6]
    assert watch.failures == {"measurement": 3}


def test_what_fails_in_the_thread_that_measures_is_said_there(at_once, params, monkeypatch):
    """The training of a traced step has gone on by the time that it fails."""
    monkeypatch.setattr(Parted, "second", failing(MemoryError("none")))
    watch = jaxnn.watch((NET, None), every=2)

    def train():
        step = jax.jit(lambda step: watch(step, params, XS, YS))
        for number in range(3):
            step(number)
        watch.flush()

    with pytest.warns(TrainingWarning, match=r"^Step 0: the gradient .* \(MemoryError: none\)"):
        train()
    assert watch.failures == {"measurement": 2}


# PyTorch


def trained(learning_rate=0.01, with_watch=True, change=None, steps=5, **options):
    """A watch of three layers every second step, and their parameters after the training."""
    import torch

    torch.manual_seed(0)
    model = torch.nn.Sequential(*(torch.nn.Linear(4, 4) for _ in range(3)))
    mse, optimizer = torch.nn.MSELoss(), torch.optim.SGD(model.parameters(), learning_rate)
    watch = jaxnn.watch(model, loss=mse, every=2, **options)
    for step in range(steps):
        xs, ys = torch.randn(2, 6, 4)
        if change is not None:
            change(step, model, xs)
        value = mse(model(xs), ys)
        optimizer.zero_grad()
        value.backward()
        if with_watch:
            with watch(step, xs, ys, value=value):
                optimizer.step()
        else:
            optimizer.step()
    return watch, [v.detach().numpy() for v in model.parameters()]


def diverges(step, model, xs):
    """Nothing: the learning rate does it."""


def infinite_batch(step, model, xs):
    if step == 2:
        xs[0, 0] = np.inf


def nan_weight(step, model, xs):
    if step == 2:
        model[1].weight.data[0, 0] = np.nan


def large_weight(step, model, xs):
    if step == 2:
        model[1].weight.data *= 1e38
        xs *= 1e3


@pytest.mark.parametrize(
    ("change", "text", "path"),
    [
        (diverges, r"0\.weight in layer \[0\] is nan or infinite before the step", "0.weight"),
        (
            infinite_batch,
            r"the state of layer \[0\] is the first that has no number in float32",
            "",
        ),
        (nan_weight, r"1\.weight in layer \[1\] is nan or infinite before the step", "1.weight"),
        (large_weight, r"the state of layer \[1\] is the first that has no number in float32", ""),
    ],
)
def test_a_diverging_training_of_torch_goes_on_with_its_alarm(change, text, path, torch):
    given = {"learning_rate": 1e30 if change is diverges else 0.01, "change": change}
    with pytest.warns(TrainingWarning, match=f"^Step 2: {text}.$"):
        watch, params = trained(**given, intended=("update", "state", "linear"))
    (alarm,) = watch.watched.alarms
    assert (alarm.rule, alarm.step, alarm.path) == ("nonfinite", 2, path)
    assert not watch.failures
    for ours, plain in zip(params, trained(**given, with_watch=False)[1], strict=True):
        np.testing.assert_array_equal(ours, plain)


def test_a_module_of_torch_that_cannot_be_measured_is_trained_as_it_would_be(torch, monkeypatch):
    def failing(*_, **__):
        raise ValueError("no flow")

    monkeypatch.setattr(torch_watch, "torch_flow", failing)
    with pytest.warns(
        TrainingWarning, match=r"^Step 0: the gradient .* \(ValueError: no f"
    ) as said:
        watch, params = trained()
    assert len(said) == 1
    assert watch.failures == {"measurement": 3}
    for ours, plain in zip(params, trained(with_watch=False)[1], strict=True):
        np.testing.assert_array_equal(ours, plain)


def test_of_several_processes_of_torch_the_first_writes(tmp_path, monkeypatch, torch):
    for name, value in (("is_initialized", True), ("get_rank", 1)):
        monkeypatch.setattr(torch.distributed, name, lambda value=value: value)
    written = []
    watch, _ = trained(
        folder=tmp_path, write=lambda *of: written.append(of), intended=("update", "linear")
    )
    assert steps_in(watch.watched) == [0, 2, 4]
    assert not written
    assert not [*tmp_path.iterdir()]


@pytest.mark.slow
def test_a_watch_that_imports_jax_draws_no_random_numbers_of_numpy():
    """JAX does when it is imported, and a training of PyTorch shuffles with them."""
    code = "import numpy; numpy.random.seed(0); import jaxnn; {}; print(numpy.random.rand())"
    drawn = [
        subprocess.run(
            [sys.executable, "-c", code.format(use)], capture_output=True, check=True, text=True
        ).stdout
        for use in ("jaxnn.watch", "0")
    ]
    assert drawn[0] == drawn[1]
