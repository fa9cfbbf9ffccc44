"""Trainings in PyTorch with all that a loop may have: a watch sees them, and changes no bit."""

import os
import subprocess
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import jaxnn

B, STEPS = 8, 5


def a_model(torch, n=8):
    """Layers with dropout and batch norm, which draw and count."""
    nn = torch.nn
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(4, n), nn.BatchNorm1d(n), nn.Tanh(), nn.Dropout(0.2), nn.Linear(n, n), nn.Tanh(),
        nn.Linear(n, 3),
    )  # fmt: skip


def batches(torch):
    generator = torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        yield torch.randn(B, 4, generator=generator), torch.randint(0, 3, (B,), generator=generator)


class Loop:
    """A training, step by step; a way to train overrides `step`, or what it is made of."""

    def __init__(self, torch):
        self.torch = torch
        self.model = a_model(torch)
        self.loss = torch.nn.CrossEntropyLoss()
        self.optimizers = [torch.optim.SGD(self.model.parameters(), 0.1, momentum=0.9)]

    def value(self, xs, ys):
        return self.loss(self.model(xs), ys)

    def step(self, watching, xs, ys):
        """Take a step; watching is a context around that of the optimiser, given the loss."""
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        value = self.value(xs, ys)
        value.backward()
        with watching(value):
            for optimizer in self.optimizers:
                optimizer.step()

    def gradient(self):
        """log₁₀ of the norm of what the optimisers have taken."""
        held = [
            v for optimizer in self.optimizers for g in optimizer.param_groups for v in g["params"]
        ]
        return (
            float(sum(v.grad.double().square().sum() for v in held if v.grad is not None).log10())
            / 2
        )


class Scaled(Loop):
    """A GradScaler, which divides again before the step, and leaves one out."""

    def __init__(self, torch):
        super().__init__(torch)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=2)

    def step(self, watching, xs, ys):
        self.optimizers[0].zero_grad()
        value = self.value(xs, ys)
        self.scaler.scale(value).backward()
        with watching(value):
            self.scaler.step(self.optimizers[0])
            self.scaler.update()


class Fused(Scaled):
    """An optimiser that divides inside its step."""

    def __init__(self, torch):
        super().__init__(torch)
        self.optimizers = [torch.optim.Adam(self.model.parameters(), 0.01, fused=True)]


class Autocast(Loop):
    """The whole step in 16 bits, that of the watch too."""

    def step(self, watching, xs, ys):
        with self.torch.autocast("cpu", self.torch.bfloat16):
            super().step(watching, xs, ys)


class Accumulated(Loop):
    """Two parts of a batch to a step."""

    def step(self, watching, xs, ys):
        self.optimizers[0].zero_grad()
        for half in (slice(0, B // 2), slice(B // 2, B)):
            value = self.value(xs[half], ys[half]) / 2
            value.backward()
        with watching(value):
            self.optimizers[0].step()


class Grouped(Loop):
    """Two optimisers, one with groups, clipping, and a parameter that nobody holds."""

    def __init__(self, torch):
        super().__init__(torch)
        first, last = self.model[0], self.model[6]
        groups = [{"params": [first.weight], "lr": 0.1}, {"params": [first.bias], "lr": 0.2}]
        self.optimizers = [torch.optim.SGD(groups, 0.1), torch.optim.AdamW([last.weight], 0.01)]

    def step(self, watching, xs, ys):
        self.model.zero_grad()
        value = self.value(xs, ys)
        value.backward()
        self.torch.nn.utils.clip_grad_norm_(self.model.parameters(), 0.1)
        with watching(value):
            for optimizer in self.optimizers:
                optimizer.step()


class Compiled(Loop):
    """A module that is compiled, by a backend that runs it as it is."""

    def __init__(self, torch):
        super().__init__(torch)
        self.model = torch.compile(self.model, backend="eager")


def trained(torch, kind, is_watched):
    """The watch, the losses and gradients by step, the state at the end, and changes of arrays."""
    loop = kind(torch)
    watch = jaxnn.watch(loop.model, loss=loop.loss, every=2) if is_watched else None
    noted, changes = [], []
    torch.manual_seed(2)  # of dropout
    for step, (xs, ys) in enumerate(batches(torch)):

        def watching(value, step=step, xs=xs, ys=ys):
            noted.append([value.item()])
            return nullcontext() if watch is None else watch(step, xs, ys, value=value)

        before = [v.detach().clone() for v in loop.model.parameters()]
        loop.step(watching, xs, ys)
        noted[-1].append(loop.gradient())
        pairs = zip(loop.model.parameters(), before, strict=True)
        changes.append([float((v.detach() - old).norm().log10()) for v, old in pairs])
    state = {name: v.detach().clone() for name, v in loop.model.state_dict().items()}
    return watch, np.array(noted), state, changes


@pytest.mark.parametrize("kind", [Loop, Scaled, Fused, Autocast, Accumulated, Grouped, Compiled])
def test_a_watch_changes_no_bit_of_a_training_and_knows_its_gradient_at_each_step(torch, kind):
    watch, numbers, state, changes = trained(torch, kind, is_watched=True)
    _, plain, expected, _ = trained(torch, kind, is_watched=False)
    np.testing.assert_array_equal(numbers, plain)
    assert all(torch.equal(state[name], v) for name, v in expected.items())
    assert not watch.failures
    assert [line["step"] for line in watch.watched.measurements] == [0, 2, 4]
    for line in watch.watched.measurements if kind is Loop else ():
        update = line["parameters"]["log10_update"]
        assert update == pytest.approx(changes[line["step"]], abs=1e-4)
    steps = watch.watched.steps
    np.testing.assert_allclose(steps.column("loss"), numbers[:, 0], rtol=1e-6)
    np.testing.assert_allclose(steps.column("log10_gradient"), numbers[:, 1], atol=1e-4)
    held = dict(
        zip(
            watch.flow.parameters.paths,
            watch.watched.measurements[0]["parameters"]["held"],
            strict=True,
        )
    )
    few = {"0.weight", "0.bias", "6.weight"}
    assert held == {path: float(kind is not Grouped or path in few) for path in held}


def test_a_step_that_a_scaler_leaves_out_is_one_without_a_gradient(torch):
    loop = Scaled(torch)
    watch = jaxnn.watch(loop.model, loss=loop.loss, every=10)
    before = [v.clone() for v in loop.model.parameters()]
    (xs, ys), *_ = batches(torch)
    loop.model[0].weight.register_hook(lambda grad: grad * np.inf)
    loop.step(lambda value: watch(0, xs, ys, value=value), xs, ys)
    assert all(map(torch.equal, before, loop.model.parameters()))
    assert np.isnan(watch.watched.steps.column("log10_gradient")).all()
    assert not watch.failures


def test_ctrl_c_in_a_measurement_leaves_no_hook_on_optimisers(torch):
    def loss(*_):
        raise KeyboardInterrupt

    watch = jaxnn.watch(a_model(torch), loss=loss)
    with pytest.raises(KeyboardInterrupt), watch(0, torch.ones(B, 4)):
        pass
    with pytest.raises(KeyboardInterrupt):
        watch.begin(0, torch.ones(B, 4))
    assert not sys.modules["torch.optim.optimizer"]._global_optimizer_pre_hooks


def test_steps_whose_numbers_jump_are_due_once_as_many_have_gone_by(torch):
    loop = Loop(torch)
    watch = jaxnn.watch(loop.model, loss=loop.loss, every=4)
    (xs, ys), *_ = batches(torch)
    for number in (3, 5, 7, 11, 12, 13):
        loop.step(lambda value, number=number: watch(number, xs, ys, value=value), xs, ys)
    assert [line["step"] for line in watch.watched.measurements] == [7, 11, 12]


@pytest.mark.filterwarnings("ignore::jaxnn.errors.TrainingWarning")
def test_short_steps_are_looked_at_in_turn_and_alarms_on_the_loss_come_at_once(torch):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Tanh(), torch.nn.Linear(4, 4))
    optimizer = torch.optim.Adam(model.parameters(), 1e-4)
    watch = jaxnn.watch(model, loss=torch.nn.MSELoss(), intended=("inputs",), every=100)
    xs, ys = torch.randn(2, 8, 4)
    for step in range(201):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(model(xs), ys).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.01)
        with watch(step, xs, ys, value=10.0 if step == 130 else 1 / (1 + step)):
            optimizer.step()
    table = watch.watched.step_table()
    assert np.isfinite([row["loss"] for row in table]).all()
    known = {row["step"] for row in table if np.isfinite(row["log10_gradient"])}
    assert known == {*range(0, 201, 23), 100, 200}
    alarms = {(alarm.rule, alarm.step) for alarm in watch.watched.alarms}
    assert alarms >= {("spike", 130), ("clip", 200)}


def test_parameters_that_are_frozen_on_the_way_rest_from_then_on(torch):
    torch.manual_seed(0)
    model = torch.nn.Sequential(*(torch.nn.Linear(4, 4) for _ in range(3)))
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    written = []
    options = {"every": 1, "write": lambda step, numbers: written.append(numbers)}
    watch = jaxnn.watch(model, loss=torch.nn.MSELoss(), intended=("linear",), **options)
    xs, ys = torch.randn(2, 8, 4)
    for step in range(6):
        model[:2].requires_grad_(step < 3)
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(model(xs), ys).backward()
        with watch(step, xs, ys):
            optimizer.step()
    assert not watch.failures
    assert [alarm.rule for alarm in watch.watched.alarms] == ["still"]
    *_, trained, _, _, last = (line["parameters"] for line in watch.watched.measurements)
    frozen = slice(0, 4)
    assert last["log10_size"][frozen] == trained["log10_size"][frozen]
    assert last["log10_update"][frozen] == 4 * [-np.inf]
    assert np.isnan(last["log10_delta"][frozen]).all()
    for name in ("log10_delta", "log10_size", "log10_update"):
        assert np.isfinite(last[name][4:]).all()
    assert {*written[-1]} < {*written[0]}


def test_layers_that_a_step_leaves_out_keep_their_last_numbers(torch):
    torch.manual_seed(0)
    layers = torch.nn.ModuleList(torch.nn.Linear(4, 4) for _ in range(3))

    class Depth(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers, self.step = layers, 0

        def forward(self, x):
            for layer in self.layers[: 3 - self.step % 2]:
                x = x + layer(x).tanh()
            return x

    model, (xs, ys) = Depth(), torch.randn(2, 8, 4)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    watch = jaxnn.watch(model, loss=torch.nn.MSELoss(), every=1, intended=("linear",))
    for model.step in range(6):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(model(xs), ys).backward()
        with watch(model.step, xs, ys):
            optimizer.step()
    assert not watch.failures
    assert not watch.watched.alarms
    of_layer = [
        [*v["layers"]["log10_delta"], *v["parameters"]["log10_size"][-2:]]
        for v in watch.watched.measurements
    ]
    assert of_layer[1][2:] == of_layer[0][2:] != of_layer[2][2:]
    assert of_layer[1][:2] != of_layer[0][:2]


# Two processes


def in_processes(tmp_path, is_watched):
    """Train on two processes; return what each has written."""
    environment = os.environ | {
        "MASTER": str(tmp_path / f"meeting-{is_watched}"),
        "JAX_PLATFORMS": "cpu",
    }
    command = [sys.executable, __file__, str(tmp_path), str(int(is_watched))]
    processes = [subprocess.Popen([*command, str(rank)], env=environment) for rank in (0, 1)]
    assert [process.wait(300) for process in processes] == [0, 0]
    return [np.load(tmp_path / f"{int(is_watched)}-{rank}.npz") for rank in (0, 1)]


def of_one_process(folder, is_watched, rank):
    """Train one half of each batch; the gradients are those of both."""
    import torch

    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{os.environ['MASTER']}", rank=rank, world_size=2
    )
    loop = Loop(torch)
    loop.model = torch.nn.parallel.DistributedDataParallel(loop.model)
    own = folder / "record"
    watch = jaxnn.watch(loop.model, loss=loop.loss, every=2, folder=own) if is_watched else None
    torch.manual_seed(2 + rank)
    for step, (xs, ys) in enumerate(batches(torch)):
        part = slice(rank, None, 2)
        xs, ys = xs[part], ys[part]

        def watching(value, step=step, xs=xs, ys=ys):
            return nullcontext() if watch is None else watch(step, xs, ys, value=value)

        loop.step(watching, xs, ys)
    if watch is not None:
        assert not watch.failures
        assert watch.flow.names[0] == "0"
        assert len(watch.watched.measurements) == 3
    arrays = {name: v.numpy() for name, v in loop.model.state_dict().items()}
    np.savez(folder / f"{int(is_watched)}-{rank}.npz", **arrays)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def test_two_processes_train_as_they_would_without_a_watch_and_the_first_one_writes(
    torch, tmp_path
):
    watched, plain = (in_processes(tmp_path, is_watched) for is_watched in (True, False))
    for ours, theirs in zip(watched, plain, strict=True):
        for name in theirs.files:
            np.testing.assert_array_equal(ours[name], theirs[name], name)
    record = jaxnn.watching.read_watch(tmp_path / "record")
    assert [line["step"] for line in record.measurements] == [0, 2, 4]


if __name__ == "__main__":
    of_one_process(Path(sys.argv[1]), bool(int(sys.argv[2])), int(sys.argv[3]))


def alarms_of_loop(torch, step, make=None, model=None, steps=60, **options):
    """The rules that speak in a training; step: (model, optimizer, watching, batch) a number."""
    torch.manual_seed(0)
    nn = torch.nn
    xs = torch.randn(256, 4)
    ys = (xs @ torch.randn(4, 3)).argmax(1)
    model = model or nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 3))
    optimizer = (make or (lambda ps: torch.optim.SGD(ps, 0.1)))(model.parameters())
    watch = jaxnn.watch(model, loss=nn.functional.cross_entropy, every=5, **options)
    for number in range(steps):
        rows = torch.randint(0, 256, (4, 16))
        step(number, model, optimizer, watch, [(xs[some], ys[some]) for some in rows])
    return [alarm.rule for alarm in watch.watched.alarms]


def a_step(number, model, optimizer, watch, batches, pieces=1, is_lost=False, scaled=lambda v: v):
    optimizer.zero_grad()
    for xs, ys in batches[:pieces]:
        if is_lost:
            optimizer.zero_grad()
        value = sys.modules["torch"].nn.functional.cross_entropy(model(xs), ys)
        scaled(value / pieces).backward()
    with watch(number, xs, ys, value=value.detach()):
        optimizer.step()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::jaxnn.errors.TrainingWarning")
def test_what_a_loop_does_wrong_is_told_and_what_it_does_well_is_not(torch):
    def sgd(**options):
        return lambda ps: torch.optim.SGD(ps, 0.1, **options)

    def groups(parameters):
        first, *others = parameters
        return torch.optim.SGD([{"params": [first]}, {"params": others}], 0.1)

    def ending(number, model, optimizer, *given):
        optimizer.param_groups[0]["lr"] = 0.1 * (number < 20)
        a_step(number, model, optimizer, *given)

    def copied_back(number, model, *given):
        before = [p.detach().clone() for p in model.parameters()]
        a_step(number, model, *given)
        for p, v in zip(model.parameters(), before, strict=True):
            p.data.lerp_(v, 0.99)

    def skipped(number, model, optimizer, watch, batches):
        a_step(number, model, SimpleNamespace(zero_grad=optimizer.zero_grad, step=lambda: None),
               watch, batches, scaled=lambda v: 1e39 * v)  # fmt: skip

    class Detached(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = torch.nn.Linear(4, 16), torch.nn.Linear(16, 3)

        def forward(self, xs):
            return self.b(torch.tanh(self.a(xs)).detach())

    linear, tanh = torch.nn.Linear, torch.nn.Tanh()
    frozen = torch.nn.Sequential(linear(4, 9), tanh, linear(9, 9), tanh, linear(9, 3))
    frozen[2].requires_grad_(False)
    told = partial(alarms_of_loop, torch)
    assert told(a_step, model=frozen) == []
    assert told(a_step) == []
    assert told(a_step, sgd(momentum=0.9, dampening=0.99)) == []
    assert told(partial(a_step, pieces=4)) == []
    assert told(partial(a_step, pieces=4, is_lost=True)) == ["accumulates"]
    assert told(ending, groups) == ["schedule"]
    assert told(ending, groups, intended=("0.weight",)) == []
    assert told(copied_back) == ["undone"]
    assert told(skipped) == ["still"]
    assert told(a_step, model=Detached()) == ["stopped"]
