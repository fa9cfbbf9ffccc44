"""Programs: how many each public function compiles, which of them stay, what XLA folds."""

import gc
import inspect
import operator
import os
import sys
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torches
from jax import monitoring
from jax.extend.core import ClosedJaxpr, Jaxpr, Var
from peers import need
from problems import filled_flow, mostly_slow

import jaxnn
from jaxnn.arrays.compiled import KEPT, compiled, few_runs
from jaxnn.cli import kept_programs
from jaxnn.flow.formats.entries import BINS, Entries, FlowEntries
from jaxnn.flow.measure import network_flow
from jaxnn.jaxpr import program
from jaxnn.jaxpr.interpreter import bound
from jaxnn.jaxpr.numpy_programs import with_rest_by_numpy
from jaxnn.jaxpr.program import TracedFunction
from jaxnn.theory import meanfield, sphere

COMPILED = "/jax/core/compile/backend_compile_duration"  # one event a program
MOST = 3
WITH_REMEDIES = 6  # of a verdict on a gradient that vanishes or explodes

NET = jaxnn.Network((2, 3, 3, 1), "tanh", "binary")
XS, YS = np.linspace(-1, 1, 10, dtype=np.float32).reshape(5, 2), np.arange(5) % 2
SGD = optax.sgd(0.1)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Arguments that JAX makes, before anything is counted."""
    key, folder = jax.random.key(0), tmp_path_factory.mktemp("watch")
    (folder / "watch.jsonl").touch()
    layers = jaxnn.init(NET, key)
    return {
        "key": key,
        "layers": layers,
        "numpy": [tuple(map(np.asarray, layer)) for layer in layers],
        "run": jaxnn.network.stack(layers),
        "drawn": jaxnn.init(NET, key, lazy=True),
        "state": jaxnn.train.start(NET, layers, SGD, key),
        "flow": filled_flow(NET, np.ones(3)),
        "vanishing": filled_flow(
            NET, np.ones(3), log_gain=np.full(3, -40.0), dead=np.zeros(3), saturated=np.zeros(3)
        ),
        "counted": replace(filled_flow(NET, np.ones(3)), entries=of_zeros(3)),
        "chain": jaxnn.as_network([(chained, np.eye(2, dtype=np.float32))]),
        "data": (jax.numpy.asarray(XS), jax.numpy.asarray(YS)),
        "folder": folder,
        "watch": jaxnn.watch((NET, None)),
    }


def of_zeros(count):
    """The entries of a flow whose arrays are all zeros."""
    entries = Entries(np.zeros(count), np.zeros((count, BINS, 2)))
    return FlowEntries(entries, entries)


def chained(p, z):
    return jax.numpy.tanh(z) @ p


def looped(thetas, z):
    for theta in thetas:
        z = chained(theta, z)
    return z


def of_width(width, seed):
    return (looped, [np.ones((2, width), np.float32), np.ones((width, 1), np.float32)]), SGD


def of_output(output, ys):
    return output[:, 0] ** 2


def fit(made, **options):
    return jaxnn.fit(
        NET, made["layers"], XS, YS, SGD, epochs=1, batch=2, key=made["key"], **options
    )


def torch_flow():
    need("torch")
    import torch

    return jaxnn.gradient_flow(
        torch.nn.Linear(2, 2), torch.ones(5, 2), cotangent=torch.ones(5, 2), cuts=""
    )


def torch_watch():
    need("torch")
    import torch

    return jaxnn.watch(torch.nn.Linear(2, 2))


def callback_of(trainer, package, **options):
    """A callback of a trainer whose package is not installed here, or not loaded."""
    base = SimpleNamespace(TrainerCallback=object, Callback=object)
    packages = {package.partition(".")[0]: base, package: base}
    with mock.patch.dict(sys.modules, packages):
        return getattr(jaxnn.watching, f"{trainer}_callback")(**options)


def torch_cures():
    need("torch")
    import torch

    module, ones = torch.nn.Linear(2, 2), torch.ones(5, 2)
    return jaxnn.cures(module, ones, cotangent=ones, cuts="")


CASES = {
    "at_depths": lambda made: jaxnn.flow.at_depths((NET, made["run"]), XS, YS, depth=1),
    "backprop": lambda made: jaxnn.backprop(NET, made["layers"], XS, YS),
    "backprop of NumPy's arrays": lambda made: jaxnn.backprop(NET, made["numpy"], XS, YS),
    "chart": lambda made: jaxnn.chart(made["flow"]),
    "cures of torch": lambda made: torch_cures(),
    "cures": lambda made: jaxnn.cures(made["chain"], XS[:, :2], cotangent=XS[:, :2]),
    "deltas": lambda made: jaxnn.deltas(NET, made["layers"], XS[0], 1),
    "epoch": lambda made: jaxnn.train.epoch(NET, made["state"], XS, YS, SGD, batch=2),
    "diagnose": lambda made: jaxnn.diagnose(made["chain"], XS[:, :2], cotangent=XS[:, :2]),
    "evaluate": lambda made: jaxnn.train.evaluate(NET, made["layers"], XS, YS),
    "find_activation": lambda made: jaxnn.network.find_activation("tanh"),
    "find_task": lambda made: jaxnn.network.find_task("binary"),
    "fit": lambda made: fit(made, callback=id),
    "forward": lambda made: jaxnn.forward(NET, made["layers"], XS[0]),
    "forward at a depth": lambda made: jaxnn.forward(NET, made["drawn"], XS[0], depth=1),
    "as_network of a function": lambda made: jaxnn.as_network(
        (looped, [layer.theta for layer in made["layers"]]), XS
    ),
    "as_network of layers": lambda made: jaxnn.as_network(
        [(chained, layer.theta) for layer in made["layers"][1:2]]
    ),
    "as_network of torch": lambda made: jaxnn.as_network(
        torches.sequential(torches.linear(np.random.default_rng(0), 3, 1))
    ),
    "gaussian": lambda made: jaxnn.initializers.gaussian(1.5)(made["key"], (3, 4)),
    "gradient_flow": lambda made: jaxnn.gradient_flow((NET, made["layers"]), XS, YS),
    "gradient_flow of torch": lambda made: torch_flow(),
    "gradient_flow of a chain": lambda made: jaxnn.gradient_flow(made["chain"], XS, cotangent=XS),
    "hugging_face_callback": lambda made: callback_of("hugging_face", "transformers"),
    "init": lambda made: jaxnn.init(NET, made["key"]),
    "init of a run": lambda made: jaxnn.init(NET, made["key"], stacked=True),
    "init without numbers": lambda made: jaxnn.init(NET, made["key"], lazy=True),
    "lightning_callback": lambda made: callback_of("lightning", "lightning.pytorch", loss=abs),
    "looks_linear": lambda made: jaxnn.initializers.looks_linear(1.5)(made["key"], (4, 4)),
    "loss": lambda made: jaxnn.passes.loss(NET, made["layers"], XS[0], 1),
    "mean_loss": lambda made: jaxnn.passes.mean_loss(NET, made["layers"], XS, YS),
    "orthogonal": lambda made: jaxnn.initializers.orthogonal(1.5)(made["key"], (3, 4)),
    "plan": lambda made: jaxnn.plan(made["counted"]),
    "read_watch": lambda made: jaxnn.watching.read_watch(made["folder"]),
    "spectrum": lambda made: jaxnn.spectrum((NET, made["layers"]), XS),
    "stack": lambda made: jaxnn.network.stack(made["layers"]),
    "start": lambda made: jaxnn.train.start(NET, made["layers"], SGD, made["key"]),
    "step": lambda made: jaxnn.train.step(NET, made["state"], XS, YS, SGD),
    "tailored_relu": lambda made: jaxnn.theory.tailored_relu(20),
    "scaling_check": lambda made: jaxnn.scaling_check(
        of_width, XS, YS, widths=(2, 3, 4), loss=of_output, steps=1, seeds=1
    ),
    "trace": lambda made: jaxnn.trace(NET, made["layers"], XS[0]),
    "unstack": lambda made: jaxnn.network.unstack(made["run"]),
    "verdict": lambda made: jaxnn.verdict(made["flow"]),
    "watch of torch": lambda made: torch_watch(),
    "watch of a step": lambda made: made["watch"](0, made["layers"], XS, YS),
    "meanfield.chi": lambda made: meanfield.chi("relu", 1.0, 0.5),
    "meanfield.correlation_fixed_point": lambda made: meanfield.correlation_fixed_point(
        "relu", 1.5, 0.1
    ),
    "meanfield.correlation_map": lambda made: meanfield.correlation_map("relu", 1.5, 0.1, 0.5, 0.0),
    "meanfield.critical_sigma_w": lambda made: meanfield.critical_sigma_w("relu", 0.0),
    "meanfield.fixed_point": lambda made: meanfield.fixed_point("relu", 1.5, 0.1),
    "meanfield.length_map": lambda made: meanfield.length_map("relu", 1.5, 0.1, 0.5),
    "meanfield.lengths": lambda made: meanfield.lengths("relu", 1.5, 0.1, 0.5, 3),
    "meanfield.log_delta": lambda made: meanfield.log_delta("relu", 1.5, 0.1, 0.5, 3),
    "meanfield.log_delta_band": lambda made: meanfield.log_delta_band("relu", 1.5, 0.1, 1, 8, 3),
    "meanfield.paths": lambda made: meanfield.paths("relu", 1.5, 0.1, 0.5, 0.3, 3),
    "meanfield.lengths_band": lambda made: meanfield.lengths_band("relu", 1.5, 0.1, 1, 8, 3),
    "meanfield.slope_band": lambda made: meanfield.slope_band("relu", 1.5, 0.1, 1, 8, 3),
    "meanfield.stationary_chi": lambda made: meanfield.stationary_chi(
        "relu", 1.0, hidden=jaxnn.blocks.BatchNorm(), batch=8
    ),
    "meanfield.tailored_slope": lambda made: meanfield.tailored_slope(20),
    "meanfield.xi_c": lambda made: meanfield.xi_c("relu", 1.5, 0.1),
}


# What is called at a prompt most often stands for the others in the default run.
OFTEN = "backprop", "fit with a fraction held out", "gradient_flow", "meanfield.chi"
# A watch hands its numbers to a place of its own at each call, a checkup trains, a sweep builds
# networks of other sizes, and layers whose band is known are what other functions ask for.
ANEW = {"checkup", "sweep", "meanfield.banded_layers"}
GUARDED = ("forward", "meanfield.chi")  # of each way in which numbers reach a device


def test_every_public_function_has_a_case():
    def functions(module):
        values = {name: getattr(module, name) for name in getattr(module, "__all__", vars(module))}
        return {
            name
            for name, value in values.items()
            if inspect.isfunction(value)
            and (hasattr(module, "__all__") or value.__module__ == module.__name__)
            and name[0] != "_"
        }

    of_meanfield = {f"meanfield.{name}" for name in functions(meanfield)}
    rooms = (
        jaxnn.flow,
        jaxnn.initializers,
        jaxnn.network,
        jaxnn.passes,
        jaxnn.scaling,
        jaxnn.train,
        jaxnn.watching,
    )
    public = functions(jaxnn).union(*map(functions, rooms), ["tailored_relu"])
    assert (public | of_meanfield) - ANEW == {name.split()[0] for name in CASES}


@pytest.fixture
def programs():
    """The seconds that each program took to compile, from empty caches on."""
    seconds = []

    def note(event, duration, **_):
        if event == COMPILED:
            seconds.append(duration)

    jax.clear_caches()
    network_flow._largest_slope.cache_clear()
    sphere._moments.cache_clear()
    monitoring.register_event_duration_secs_listener(note)
    yield seconds
    monitoring.unregister_event_duration_listener(note)


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(call, id=name, marks=[] if name in OFTEN else pytest.mark.slow)
        for name, call in CASES.items()
    ],
)
def test_a_first_call_compiles_three_programs_at_most_and_a_second_none(made, programs, call):
    call(made)
    assert len(programs) <= MOST
    programs.clear()
    call(made)
    assert not programs


@pytest.mark.slow
def test_a_checkup_compiles_nothing_the_second_time_though_all_is_written_anew(programs):
    def checked(rate):
        thetas = [np.full((2, 4), 0.5, np.float32), np.ones((4, 1), np.float32)]

        def network(thetas, xs):
            return looped(thetas, xs)

        def loss(output, ys):
            return (output[:, 0] - ys.astype(output.dtype)) ** 2

        return jaxnn.checkup((network, thetas), optax.sgd(rate), XS, YS, loss=loss, steps=6)

    first = checked(0.1)
    assert programs
    programs.clear()
    np.testing.assert_array_equal(checked(0.1).losses, first.losses)
    assert not programs
    assert checked(0.2).losses[-1] != first.losses[-1]  # another program
    assert programs


@pytest.mark.slow
def test_theory_compiles_few_programs_whatever_its_flow_has(made, programs):
    """The flow, the draws, and JAX's own of random keys; a mean over draws compiles none."""
    (net, params), xs = made["chain"], np.eye(2, dtype=np.float32)
    for most in (MOST + 7, 0):
        jaxnn.gradient_flow(
            (net, params), xs, cotangent=xs, theory=True, theory_error=1e-4
        )  # as many draws as it takes
        assert len(programs) <= most
        programs.clear()


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(call, id=name, marks=[] if name in GUARDED else pytest.mark.slow)
        for name, call in CASES.items()
        if "torch" not in name
    ],
)
def test_a_guard_against_transfers_by_mistake_stops_no_call(made, call):
    with jax.transfer_guard("disallow"):
        call(made)


@pytest.mark.slow
def test_a_printed_verdict_compiles_six_programs_at_most_and_a_second_none(made, programs):
    """Its remedies take theory, which is computed where it is first asked for."""
    assert "In theory" in str(jaxnn.verdict(made["vanishing"]))
    assert len(programs) <= WITH_REMEDIES
    programs.clear()
    str(jaxnn.verdict(made["vanishing"]))
    assert not programs


def scaled(thetas, factor):
    return [(lambda theta, z: factor * jax.numpy.tanh(z) @ theta, theta) for theta in thetas]


@mostly_slow("each", ["batch", "example"], "batch")
def test_equal_losses_and_layers_that_are_written_anew_are_compiled_once(programs, each):
    thetas, xs = np.full((3, 2, 2), 0.3, np.float32), XS[:2]

    def check(factor, count):
        net, params = jaxnn.as_network(scaled(thetas, factor), xs, each=each)
        assert net.lengths == (3,)
        programs.clear()
        flow = jaxnn.gradient_flow((net, params), xs, xs, loss=lambda z, y: factor * (z - y) ** 2)
        assert len(programs) == count

        def loss(z):
            for layer, theta in scaled(thetas, factor):
                z = layer(theta, z)
            return factor * jax.numpy.mean((z - xs) ** 2)

        exact = np.log(np.linalg.norm(jax.grad(loss)(xs)))
        np.testing.assert_allclose(flow.log_delta_input, exact, atol=1e-5)

    check(0.5, 1)
    check(0.5, 0)
    check(2.0, 1)


@pytest.mark.parametrize(
    "make", [compiled, pytest.param(with_rest_by_numpy, marks=pytest.mark.slow)]
)
def test_programs_of_the_last_networks_alone_stay(make):
    """A static argument, here a number, stands for a network."""
    times, xla = make(lambda v, by: by * v), jax.devices()[0].client
    gc.collect()
    before = len(xla.live_executables())
    for by in range(KEPT + 3):
        with few_runs():
            assert np.asarray(times(XS, by + 2))[0, 0] == -by - 2
    gc.collect()
    assert len(xla.live_executables()) - before == KEPT


def test_rules_of_jax_are_known_by_their_code_and_a_users_are_traced(monkeypatch):
    def with_rule(rule, primal=jax.numpy.sin):
        f = jax.custom_jvp(primal)
        f.defjvps(rule)
        return jax.vmap(f)

    traced = []
    monkeypatch.setattr(program, "bound", lambda *given: traced.append(given) or bound(*given))
    relu, again, silent = (
        TracedFunction.of(jax.vmap(f), XS) for f in (jax.nn.relu, jax.nn.relu, jax.nn.relu6)
    )
    assert relu == again != silent
    assert not traced
    users = [with_rule(lambda t, out, z: 2 * t), with_rule(jax.numpy.multiply, lambda z: z)]
    for f in (*users, with_rule(partial(operator.mul, XS[0]))):
        assert isinstance(TracedFunction.of(f, XS), TracedFunction)
    assert len(traced) == 3


@pytest.mark.slow
def test_words_of_a_run_need_its_flow_its_output_and_the_slope_of_its_loss(programs):
    thetas = np.full((5, 2, 2), 0.3, np.float32)
    str(jaxnn.diagnose(scaled(thetas, 0.7), XS, XS, loss=lambda z, y: (z - y) ** 2))
    assert len(programs) <= 4  # and the parameters in one stack


def test_labels_may_be_a_plain_number():
    layers = scaled(np.eye(2, dtype=np.float32)[None], 1.0)
    flow = jaxnn.gradient_flow(layers * 2, XS, 1.0, loss=lambda z, y: (z - y) ** 2)
    assert np.isfinite(flow.log_delta).all()


def test_layers_that_differ_in_a_constant_are_not_equal():
    theta = np.eye(2, dtype=np.float32)[None]
    net, _ = jaxnn.as_network([*scaled(theta, 1.0), *scaled(theta, 2.0)], XS)
    assert net.lengths == (0, 0)


def test_a_traced_function_takes_arguments_of_other_types_and_closures_over_traced_ones():
    traced = TracedFunction.of(lambda z: z.sum() * 2, jax.ShapeDtypeStruct((3,), "float32"))
    assert traced == TracedFunction.of(lambda z: z.sum() * 2, jax.ShapeDtypeStruct((3,), "float32"))
    assert traced(np.ones(5, np.float32)) == 10

    def inside(scale):
        assert not isinstance(TracedFunction.of(lambda z: z * scale, np.ones(3)), TracedFunction)
        return scale

    jax.make_jaxpr(inside)(1.0)


# Programs that the command keeps


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of kept programs, and JAX's settings as they were afterwards."""
    names = ["cache_dir", "cache_min_compile_time_secs", "cache_min_entry_size_bytes"]
    names = ["jax_compilation_cache_dir", *(f"jax_persistent_{name}" for name in names[1:])]
    before = {name: getattr(jax.config, name) for name in names}
    monkeypatch.setattr(kept_programs.platformdirs, "user_cache_path", tmp_path.joinpath)
    monkeypatch.setattr(kept_programs.warnings, "showwarning", None)
    monkeypatch.delenv(kept_programs.SETTING, raising=False)
    yield tmp_path / "jaxnn" / "compiled"
    for name, value in before.items():
        jax.config.update(name, value)


def test_programs_are_kept_in_the_cache_folder_unless_the_user_has_one(folder, monkeypatch):
    monkeypatch.setenv(kept_programs.SETTING, "elsewhere")
    kept_programs.keep_programs()
    assert not folder.exists()
    monkeypatch.delenv(kept_programs.SETTING)
    kept_programs.keep_programs()
    assert folder.is_dir()
    assert jax.config.jax_compilation_cache_dir == str(folder)


def test_the_oldest_programs_go_where_the_folder_has_grown_too_large(folder, monkeypatch):
    monkeypatch.setattr(kept_programs, "MOST_BYTES", 400)
    folder.mkdir(parents=True)
    for age in range(5):
        path = folder / f"program{age}"
        path.write_bytes(bytes(100))
        os.utime(path, (1e9 - age, 1e9 - age))
    kept_programs.keep_programs()
    assert sorted(path.name for path in folder.iterdir()) == ["program0", "program1", "program2"]


def test_a_folder_that_cannot_be_made_is_a_warning(folder, caplog):
    folder.parent.write_text("a file")
    kept_programs.keep_programs()
    assert "compiled programs are not kept" in caplog.text


# Nothing that grows with the batch is a constant, which XLA works out while it compiles


FOLDED = 13  # no other axis is as long
COMBINING = ("reduce_", "arg", "dot_", "conv_", "cum", "sort", "top_k", "gather", "scatter")
BARRIER = "optimization_barrier"


def bodies(eqn):
    """The programs inside of a step."""
    values = (v for value in eqn.params.values() for v in jax.tree.leaves(value, is_leaf=callable))
    for value in values:
        if isinstance(value, ClosedJaxpr | Jaxpr):
            yield getattr(value, "jaxpr", value)


def folded(jaxpr, known=None):
    """The constant steps that combine entries of the whole batch; each with the shape of these."""
    found, varies = [], {*jaxpr.invars} if known is None else {*known}
    for eqn in jaxpr.eqns:
        depends = [isinstance(v, Var) and v in varies for v in eqn.invars]
        for body in bodies(eqn):
            # Of a loop or a branch all that it takes, if it takes anything that varies.
            own = depends[-len(body.invars) :] if eqn.primitive.name == "jit" else [any(depends)]
            own = own if len(own) > 1 else own * len(body.invars)
            found += folded(body, [v for v, flag in zip(body.invars, own, strict=False) if flag])
        if any(depends) or eqn.primitive.name == BARRIER:
            varies |= {*eqn.outvars}
        elif eqn.primitive.name.startswith(COMBINING):
            shapes = [v.aval.shape for v in eqn.invars if FOLDED in v.aval.shape and v.aval.size]
            found += [(eqn.primitive.name, shape) for shape in shapes]
    return found


def attends(w, z):
    q = (z @ w).reshape(*z.shape[:2], 2, 2).transpose(0, 2, 1, 3)
    values = jax.nn.softmax(q @ jnp.swapaxes(q, 2, 3), -1) @ q
    return z + values.transpose(0, 2, 1, 3).reshape(z.shape)


def sees_what_was(w, z):
    logits = (z @ w) @ jnp.swapaxes(z, 1, 2)
    seen = jnp.tril(jnp.ones(logits.shape[1:], bool))
    return z + jax.nn.softmax(jnp.where(seen, logits, -jnp.inf), -1) @ z


def routes(p, z):
    share = jax.nn.softmax(z @ p["router"], -1)
    return z + jnp.einsum("bte,btde->btd", share, jnp.tanh(jnp.einsum("btd,dfe->btfe", z, p["w"])))


OF_EXPERTS = {"router": np.ones((4, 3)), "w": np.ones((4, 4, 3))}


@pytest.mark.parametrize(
    ("layer", "params"), [(attends, np.eye(4)), (sees_what_was, np.eye(4)), (routes, OF_EXPERTS)]
)
def test_nothing_of_a_flow_that_grows_with_the_batch_is_a_constant(layer, params):
    net, layers = jaxnn.as_network([(layer, params)] * 2)

    def flow(layers, z, cotangent):
        return jaxnn.gradient_flow((net, layers), z, cotangent=cotangent, entries=True)

    z = jnp.ones((FOLDED, 6, 4))
    assert folded(jax.make_jaxpr(flow)(layers, z, z).jaxpr) == []


def test_a_constant_is_seen():
    def f(z):
        return z + jax.jit(lambda: jnp.max(jnp.zeros((FOLDED, 5)), axis=1))()

    assert folded(jax.make_jaxpr(f)(jnp.ones(FOLDED)).jaxpr) == [("reduce_max", (FOLDED, 5))]
