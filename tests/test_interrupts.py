"""Ctrl-C at the worst moment: what a measurement changes is put back all the same."""

import random
import signal
import sys
import time
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest

import jaxnn
from jaxnn.interrupts import undivided
from jaxnn.patients.hooks import opened

stop = partial(signal.raise_signal, signal.SIGINT)


@pytest.fixture(autouse=True)
def heard():
    """Ctrl-C as in a terminal: a shell's job in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_waits_while_a_context_is_entered_or_left():
    """That of another inside too, and whoever calls sees one Ctrl-C, however often it comes."""
    own, texts = signal.getsignal(signal.SIGINT), []

    @contextmanager
    def divided(texts):
        stop(), texts.append("(")
        try:
            yield
        finally:
            stop(), texts.append("."), stop(), texts.append(")")

    with pytest.raises(KeyboardInterrupt), undivided(divided.__wrapped__)(texts):
        time.sleep(10)
    with pytest.raises(KeyboardInterrupt):
        time.sleep(10)
    outer, texts[:] = undivided(divided.__wrapped__)(texts), []
    with pytest.raises(KeyboardInterrupt), outer, divided(texts):
        time.sleep(10)
    with pytest.raises(KeyboardInterrupt):
        time.sleep(10)
    assert texts == ["(", "(", ".", ")", ".", ")"]
    assert signal.getsignal(signal.SIGINT) is own


def test_contexts_of_generators_may_end_in_any_order():
    own = signal.getsignal(signal.SIGINT)

    @undivided
    def whole():
        yield

    first, second = whole(), whole()
    first.__enter__(), second.__enter__(), first.__exit__(None, None, None)
    with pytest.raises(KeyboardInterrupt):
        stop()
    second.__exit__(None, None, None)
    assert signal.getsignal(signal.SIGINT) is own


@pytest.mark.parametrize("measured", ["flow", "theory", "watch"])
def test_ctrl_c_while_a_module_is_put_back_changes_nothing(torch, monkeypatch, measured):
    """Twice in each function that puts something back."""
    nn = torch.nn
    n, loss = 4, nn.functional.mse_loss
    norms = (nn.BatchNorm1d(n), nn.Dropout(0.2)) if measured == "flow" else ()
    model = nn.Sequential(nn.Linear(n, n), *norms, nn.Tanh(), nn.Linear(n, n), nn.Tanh())
    xs, sent = torch.randn(8, n), []

    def interrupted(function, *args, **kwargs):
        stop()
        result = function(*args, **kwargs)
        sent.append(stop())
        return result

    def state():
        numbers = [v.clone() for v in model.state_dict().values()]
        draws = torch.get_rng_state(), np.random.get_state()[1], random.getstate()  # noqa: NPY002
        hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
        hooks.append(len(sys.modules["torch.optim.optimizer"]._global_optimizer_pre_hooks))
        return [np.asarray(v) for v in (*numbers, *draws[:2])], draws[2], hooks

    before, again = state(), []
    monkeypatch.setattr("jaxnn.interrupts._again", again.append)
    for place, name in (
        *((random, "setstate"), (np.random, "set_state"), (torch, "set_rng_state")),
        (torch.utils.hooks.RemovableHandle, "remove"),
    ):
        function = getattr(place, name)
        monkeypatch.setattr(place, name, lambda *a, _f=function, **k: interrupted(_f, *a, **k))
    if measured == "watch":
        with jaxnn.watch(model, loss=loss)(0, xs, xs):
            pass
    else:
        jaxnn.gradient_flow(model, xs, xs, loss=loss, theory=measured == "theory")
    monkeypatch.undo()
    jaxnn.interrupts._Handler.waits = False
    assert again
    assert len(sent) > 5
    assert all(map(np.array_equal, before[0], state()[0]))
    assert before[1:] == state()[1:]


def test_ctrl_c_in_a_copy_without_stops_leaves_torch_as_it_was(torch):
    class Stopped(torch.nn.Module):
        def forward(self, xs):
            stop()

    with pytest.raises(KeyboardInterrupt):
        opened(Stopped())(torch.ones(1))
    assert not torch.ones(1, requires_grad=True).detach().requires_grad
