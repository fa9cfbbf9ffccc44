"""A watch in the trainers of PyTorch: Hugging Face's and Lightning's, by their events and for real.

By their events: what a trainer calls, in its order, around a training in plain PyTorch.
"""

import sys
from types import SimpleNamespace

import pytest

import jaxnn
from jaxnn.errors import TrainingWarning
from jaxnn.watching import hugging_face_callback, lightning_callback, read_watch

pytestmark = pytest.mark.usefixtures("users_jax")
EVERY, STEPS = 2, 5


@pytest.mark.parametrize(
    ("make", "package"),
    [(hugging_face_callback, "transformers"), (lightning_callback, "lightning")],
)
def test_a_package_that_is_missing_is_said_in_one_sentence(make, package, monkeypatch):
    for name in ("transformers", "lightning", "lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    options = {"loss": abs} if package == "lightning" else {}
    with pytest.raises(
        ImportError, match=rf"^jaxnn.watching.{make.__name__}: expected {package} to"
    ):
        make(**options)
    with pytest.raises(TypeError, match=r"among cuts, every, folder, .*, got evry$"):
        make(**options, evry=1)
    with pytest.raises(TypeError, match=r"^callback: expected a function of an alarm, got 3$"):
        make(**options, callback=3)


def model_of(seed=0):
    """A module that returns its loss where it is given labels, as those of transformers do."""
    import torch

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            parts = torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1)
            self.layers = torch.nn.Sequential(*parts)

        def forward(self, xs, labels=None):
            out = self.layers(xs)
            if labels is None:
                return out
            return {"loss": torch.nn.functional.mse_loss(out, labels), "logits": out}

    torch.manual_seed(seed)
    return Model()


def batches():
    import torch

    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(4, 3, generator=generator), torch.randn(4, 1, generator=generator))
        for _ in range(STEPS)
    ]


def watched_by_hand():
    """The record of the same training by `jaxnn.watch`."""
    import torch

    model = model_of()
    mse = torch.nn.functional.mse_loss
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    watch = jaxnn.watch(model, loss=mse, every=EVERY, cuts="layers.*")
    for step, (xs, ys) in enumerate(batches()):
        value = mse(model(xs), ys)
        optimizer.zero_grad()
        value.backward()
        with watch(step, xs, ys, value=value):
            optimizer.step()
    return watch.watched


def assert_same(record, expected):
    assert [line["step"] for line in record.measurements] == [0, 2, 4]
    for ours, theirs in zip(record.measurements, expected.measurements, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
        for part in ("layers", "parameters"):
            for name, values in theirs[part].items():
                assert ours[part][name] == pytest.approx(values, abs=1e-4, nan_ok=True), name


def test_the_events_of_hugging_face_s_trainer_make_the_record_of_a_watch(
    monkeypatch, tmp_path, torch
):
    monkeypatch.setitem(sys.modules, "transformers", SimpleNamespace(TrainerCallback=object))
    made = hugging_face_callback(every=EVERY, folder=tmp_path, cuts="layers.*")
    model = model_of()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    state = SimpleNamespace(global_step=0)
    made.on_train_begin(None, state, None, model=model, optimizer=optimizer)
    for xs, ys in batches():
        optimizer.zero_grad()
        model(xs=xs, labels=ys)["loss"].backward()
        with torch.no_grad():  # not a step of the training
            model.eval()(torch.ones(2, 3))
        model.train()
        made.on_pre_optimizer_step(None, state, None, model=model)
        optimizer.step()
        made.on_optimizer_step(None, state, None, model=model)
        state.global_step += 1
    made.on_train_end(None, state, None)
    assert not model._forward_hooks
    assert_same(read_watch(tmp_path), watched_by_hand())


def test_the_events_of_lightning_make_the_record_of_a_watch(monkeypatch, torch):
    monkeypatch.setitem(sys.modules, "lightning", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "lightning.pytorch", SimpleNamespace(Callback=object))
    mse = torch.nn.functional.mse_loss
    whole = SimpleNamespace(model=model_of())
    made = lightning_callback(
        loss=mse, module=lambda whole: whole.model, every=EVERY, cuts="layers.*"
    )
    optimizer = torch.optim.SGD(whole.model.parameters(), 0.01)
    trainer = SimpleNamespace(global_step=0)
    made.on_train_start(trainer, whole)
    for i, batch in enumerate(batches()):
        made.on_train_batch_start(trainer, whole, batch, i)
        loss = mse(whole.model(batch[0]), batch[1])
        optimizer.zero_grad()
        loss.backward()
        made.on_before_optimizer_step(trainer, whole, optimizer)
        optimizer.step()
        trainer.global_step += 1
        made.on_train_batch_end(trainer, whole, {"loss": loss.detach()}, batch, i)
    made.on_train_end(trainer, whole)
    assert not whole.model._forward_hooks
    assert_same(made.watch.watched, watched_by_hand())
    made.on_train_start(trainer, SimpleNamespace(model=model_of()))
    made.on_train_batch_start(trainer, whole, batches()[0], 0)
    with pytest.warns(TrainingWarning, match=r"^Step 6: .* expected the module that is called"):
        made.on_before_optimizer_step(SimpleNamespace(global_step=6), whole, optimizer)
    made.on_train_batch_end(trainer, whole, None, batches()[0], 0)
    assert made.watch.failures == {"measurement": 1}
    made = lightning_callback(loss=mse, module=lambda whole: whole.model, labels=lambda b: b["y"])
    made.on_train_start(trainer, whole)
    made.on_train_batch_start(trainer, whole, batches()[0], 0)
    whole.model(batches()[0][0])
    with pytest.warns(TrainingWarning, match=r"^Step 0: the gradient could .* \(TypeError: "):
        made.on_before_optimizer_step(SimpleNamespace(global_step=0), whole, optimizer)
    made.on_train_batch_end(trainer, whole, {}, batches()[0], 0)
    made.on_train_start(trainer, whole)
    hooks = sys.modules["torch.optim.optimizer"]._global_optimizer_pre_hooks
    made.on_train_batch_start(trainer, whole, {"y": batches()[0][1]}, 0)
    whole.model(batches()[0][0])
    made.on_before_optimizer_step(SimpleNamespace(global_step=0), whole, optimizer)
    assert (len(hooks), len(whole.model._forward_hooks)) == (1, 1)
    made.on_exception(trainer, whole, KeyboardInterrupt())
    assert not hooks
    assert not whole.model._forward_hooks
