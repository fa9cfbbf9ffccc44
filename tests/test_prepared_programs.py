"""Programs compiled ahead: taken by the calls that need them, and by no others."""

import sys
import threading
import time
from contextlib import contextmanager

import jax
import numpy as np
import polars as pl
import pytest
from jax._src import monitoring
from problems import as_users_have_jax

from experiments.cures import remedies
from experiments.depth import depth_report, depth_theory
from experiments.depth import experiment as depth
from experiments.depth.cells import DepthSweep
from experiments.learning import data, networks
from experiments.learning.networks import Draws, Initialisation, Networks, roomy
from experiments.runs import ahead
from jaxnn.initializers import find_weights

pytestmark = pytest.mark.usefixtures("users_jax")


@contextmanager
def compiled(*, ahead=True):
    """Yield the names of the programs compiled inside, or of those that nobody had prepared."""
    names = []

    def count(event, seconds, **about):
        here = threading.current_thread() is threading.main_thread()
        if event.endswith("backend_compile_duration") and (ahead or here):
            names.append(about["fun_name"])

    jax.monitoring.register_event_duration_secs_listener(count)
    yield names
    monitoring.unregister_event_duration_listener(count)


def doubled(x):
    return 2 * x


def test_a_call_takes_the_program_of_its_shapes_and_compiles_others_itself():
    function, one = ahead.Ahead(jax.jit(doubled)), np.ones(3, np.float32)
    function.prepare(np.zeros(2, np.float32))  # not inside `compiling`: nothing is compiled
    with compiled() as names, ahead.compiling():
        function.prepare(one)
        function.prepare(one)
        np.testing.assert_array_equal(function(one), [2, 2, 2])
        assert names == ["jit(doubled)"]
        np.testing.assert_array_equal(function(np.ones(2, np.float32)), [2, 2])
        assert names == 2 * ["jit(doubled)"]
    np.testing.assert_array_equal(function(one), [2, 2, 2])
    assert len(names) == 2


def test_a_module_is_imported_meanwhile(tmp_path, monkeypatch):
    (tmp_path / "needed_at_the_end.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    ahead.load("needed_at_the_end")  # not inside `compiling`: whoever needs it imports it
    with ahead.compiling():
        assert "needed_at_the_end" not in sys.modules
        ahead.load("needed_at_the_end")
        deadline = time.monotonic() + 5
        while "needed_at_the_end" not in sys.modules:
            assert time.monotonic() < deadline
            time.sleep(0.001)


def test_what_cannot_be_compiled_fails_where_it_is_called():
    def broken(x):
        raise ValueError("no program")

    function = ahead.Ahead(jax.jit(broken))
    x = np.ones(3, np.float32)
    with ahead.compiling():
        function.prepare(x)
        with pytest.raises(ValueError, match="no program"):
            function(x)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_cell_calls_the_programs_that_were_prepared_for_it(dtype):
    dataset = data.load("iris")
    scheme = Initialisation("he_normal", find_weights("he_normal"))
    net = roomy(dataset, 3, "softsign", 2, 7)
    of = Networks(net, (1, 2), scheme, 0.5, 7, dtype, (0, 1, 2))
    with compiled(ahead=False) as names, ahead.compiling():
        networks.prepare(dataset, of)
        flows = networks.flows(Draws(), dataset, of)
    assert not {"jit(gradient_draw)", "jit(gradient_flow)"} & set(names)
    with as_users_have_jax():
        networks.measuring.cache_clear()
        again = networks.flows(Draws(), dataset, of)
    for flow, same in zip(flows, again, strict=True):
        for name, values in flow.items():
            np.testing.assert_array_equal(values, same[name], err_msg=name)


@pytest.mark.slow
def test_theory_calls_the_program_that_was_prepared_for_it():
    """The one of the deepest network, from numbers that are known when all is measured."""
    depth_theory._mean_field.cache_clear()
    rows = {"depths": ("2", "3"), "activations": ("softsign",), "weights": ("he_normal",)}
    plan = depth.prepare(depth.Settings(**rows, width=("3",), batch=("7",), seeds=1))
    sweep = DepthSweep(plan.datasets)
    of = plan.cells[-1]
    with compiled(ahead=False) as names, ahead.compiling():
        depth_theory.prepare(of.networks, of.hidden)
        measured = pl.concat(map(sweep.measure, plan.cells))
        predicted = depth_theory.predict(depth_report.labelled(measured))
    assert predicted.height == 3
    assert "jit(mean_field)" not in names


@pytest.mark.slow
def test_a_remedy_is_measured_by_the_program_that_was_prepared_for_it():
    rooms = {remedies.FLOW: 4}
    sweep = remedies.RemedySweep(data.load("iris"), 3, 7, seeds=(0, 1), rooms=rooms, steps=1)
    cell = remedies.Cell(remedies.FLOW, next(iter(remedies.REMEDIES)), 4)
    remedies.measuring.cache_clear()
    with compiled(ahead=False) as names, ahead.compiling():
        sweep.prepare(cell)
        sweep.measure(cell)
    assert not {"jit(gradient_draw)", "jit(remedy_flow)"} & set(names)
