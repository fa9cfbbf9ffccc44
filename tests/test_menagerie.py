"""Networks of packages: the list, the comparison with plain gradients, and some of them whole."""

import ast
import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from peers import need

from experiments.__main__ import main
from experiments.menagerie import catalogue, experiment, menagerie_report, of_jax
from experiments.menagerie.catalogue import ENTRIES, OF_TORCH, PACKAGES, CatalogueEntry
from experiments.menagerie.comparison import NormComparison
from experiments.runs import schema

pytestmark = pytest.mark.usefixtures("users_jax")


@pytest.fixture
def measured(monkeypatch):
    """Measure one network, which is all that the list has, and takes no import."""

    def row(build=None, module="jax"):
        entry = CatalogueEntry("mine", "one", "nn.One", "", "")
        monkeypatch.setattr(experiment, "ENTRIES", {("mine", "one"): entry})
        for room in (catalogue, experiment):
            monkeypatch.setattr(room, "PACKAGES", {"mine": module})
        monkeypatch.setattr(CatalogueEntry, "arguments", lambda _: build())
        rows = experiment.measured(experiment.Cell("mine", "one"))
        schema.check(rows, menagerie_report.COLUMNS)
        return rows.row(0, named=True), menagerie_report.verdicts(rows)

    return row


def chain():
    """Two layers, the parameters of one of which are stacked."""
    keys = jax.random.split(jax.random.key(0), 3)
    params = {"a": jax.random.normal(keys[0], (3, 4, 4)), "b": jax.random.normal(keys[1], (4, 2))}

    def f(params, xs):
        for theta in params["a"]:
            xs = jnp.tanh(xs @ theta)
        return xs @ params["b"]

    return {"model": (f, params), "xs": jax.random.normal(keys[2], (5, 4))}


def test_the_list_is_as_long_as_it_was_meant_to_be():
    of_torch = [key for key in ENTRIES if key[0] in OF_TORCH]
    assert len(of_torch) >= 100
    assert len(OF_TORCH) >= 15
    assert len(ENTRIES) - len(of_torch) >= 60
    assert len({(entry.package, entry.title) for entry in ENTRIES.values()}) == len(ENTRIES)
    for entry in ENTRIES.values():
        for expression in (entry.builder.partition(":")[2], entry.inputs, entry.more or "{}"):
            ast.parse(expression, mode="eval")


def test_every_network_of_torch_has_its_blocks_written_down():
    """Recurrent modules of torch itself have none."""
    without = {key for key, entry in ENTRIES.items() if key[0] in OF_TORCH and not entry.blocks}
    assert without == {("torch", "lstm"), ("torch", "gru")}
    assert all(bool(entry.says) == bool(entry.why) for entry in ENTRIES.values())
    names = ("", "a", "a.0", "a.0.norm", "a.1", "b.10")
    model = SimpleNamespace(named_modules=lambda: [(name, None) for name in names])
    assert ENTRIES["timm", "resnetv2_18"].blocks_in(model) == set()
    assert {*catalogue.matching(model, ("a.*", "b.[0-9]"))} == {"a.0", "a.1"}


def test_a_line_becomes_arguments_by_the_adapter_of_its_package():
    line = "one", "", "json:dumps", "np.ones((4, 2), np.int32)"
    given = CatalogueEntry("equinox", *line, "{'loss': loads}").arguments()
    assert (given["model"].__name__, given["loss"].__name__) == ("dumps", "loads")
    assert given["each"] == "example"
    line = "two", "", "json:(lambda key, shape: (None, shape), 'apply')", "vectors()"
    assert CatalogueEntry("jax", *line).arguments()["model"] == ("apply", (4, 8))
    assert "each" not in CatalogueEntry("jax", *line).arguments()


def test_a_network_without_its_package_says_so(measured):
    row, verdicts = measured(module="nowhere_to_be_found")
    assert (row["result"], row["message"]) == ("absent", "nowhere_to_be_found is not installed")
    assert verdicts[1] == "not installed: mine"


@pytest.mark.slow
def test_a_refusal_is_a_row_with_its_words(measured):
    def clipped():
        f = lambda w, xs: jax.lax.while_loop(lambda _: False, lambda x: x @ w, xs)  # noqa: E731
        return {"model": (f, jnp.eye(3)), "xs": jnp.ones((2, 3))}

    row, verdicts = measured(clipped)
    assert row["result"] == "refused"
    assert row["message"].startswith("ValueError: layer ")
    assert "differentiate backwards, got a lax.while_loop" in row["message"]
    assert verdicts[0] == "0 of 1 network are measured as they are"
    assert "mine one: refused, ValueError: layer " in verdicts[1]


@pytest.mark.slow
def test_every_array_is_compared(measured):
    row, _ = measured(chain)
    counts = ("layers", "arrays", "compared", "states")
    assert (row["result"], *(row[name] for name in counts)) == ("measured", 4, 2, 2, 4)
    assert row["difference"] < 1e-12
    assert row["dtype"] == "float64"


@pytest.fixture(scope="module")
def comparison():
    """The arguments of `of_jax.comparison` for a network with two streams: (flow, …)."""
    given = []
    with pytest.MonkeyPatch.context() as patch, jax.enable_x64(True):
        patch.setattr(of_jax, "comparison", lambda *arguments: given.extend(arguments))
        of_jax.compared(two_streams(), 0)
    return given


def two_streams():
    """A scan whose steps share their weights, with a cell and a hidden state."""

    def f(params, xs):
        def step(state, x):
            hidden, cell = state
            cell = cell + jnp.tanh(x @ params["in"] + hidden @ params["own"])
            return (jnp.tanh(cell), cell), None

        zero = jnp.zeros((len(xs), 3), xs.dtype)
        return jax.lax.scan(step, (zero, zero), jnp.moveaxis(xs, 1, 0))[0][0] @ params["out"]

    keys = jax.random.split(jax.random.key(0), 4)
    shapes = {"in": (2, 3), "own": (3, 3), "out": (3, 2)}
    params = {n: jax.random.normal(k, s) for k, (n, s) in zip(keys, shapes.items(), strict=False)}
    return {"model": (f, params), "xs": jax.random.normal(keys[3], (5, 4, 2))}


def changed(record, name, entry):
    """Return a record with one entry of a field larger by a thousandth."""
    values = np.array(getattr(record, name))
    values[entry] += 1e-3
    with jax.enable_x64(True):
        return dataclasses.replace(record, **{name: jnp.asarray(values)})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        (lambda flow: {"log_delta": changed(flow, "log_delta", 1).log_delta}, "state 2 of"),
        (lambda flow: {"streams": changed(flow.streams, "log_delta", 2)}, "stream 3 of"),
        (lambda flow: {"parameters": changed(flow.parameters, "log_delta", 4)}, "array 5 of"),
        (
            lambda flow: {"log_delta_input": changed(flow, "log_delta_input", ()).log_delta_input},
            "input",
        ),
    ],
)
def test_each_wrong_number_of_a_layer_is_seen(wrong, where, comparison):
    flow, *plain = comparison
    right = of_jax.comparison(flow, *plain)
    assert (right.layers, right.arrays, right.compared, right.states) == (5, 3, 1, 5)
    assert right.difference < 1e-12
    other = of_jax.comparison(dataclasses.replace(flow, **wrong(flow)), *plain)
    assert other.difference == pytest.approx(1e-3, rel=0.01)
    assert other.where.startswith(where)


@pytest.mark.slow
def test_a_wrong_number_of_a_whole_array_is_seen(comparison):
    flow, plain, dtype = comparison
    arrays = plain.arrays | {"['out']": plain.arrays["['out']"] * 1.001}
    other = of_jax.comparison(flow, plain._replace(arrays=arrays), dtype)
    assert (other.where, other.difference) == ("['out']", pytest.approx(1e-3, rel=0.01))


@pytest.mark.slow
def test_a_number_that_is_not_plain_gradients_is_a_failure(monkeypatch, tmp_path, capsys):
    comparison = NormComparison(4, 2, 2, 4, 1e-3, "state 2 of a[1]", "float64")
    monkeypatch.setattr(of_jax, "compared", lambda *_: comparison)
    monkeypatch.setattr(CatalogueEntry, "arguments", lambda _: {})
    command = ["menagerie", "--packages", "jax", "--networks", "vae", "--quiet", "--no-cache"]
    assert main([*command, "--out", str(tmp_path / "run")]) == 1
    error = capsys.readouterr()
    assert "not equal to plain gradients: jax vae" in error.err
    assert "at state 2 of a[1]" in " ".join(error.out.split())


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *("jax.residual", "equinox.mlp", "equinox.gru", "equinox.rotary", "equinox.batch_norm"),
        *("equinox.attention", "linen.scanned", "linen.optimized_lstm", "linen.language_model"),
        *("linen.batch_norm", "nnx.decoder_dropout", "nnx.convolutions", "torch.decoder"),
        *("torch.lstm_cells", "haiku.lstm", "haiku.mlp", "keras.lstm"),
    ],
)
def test_networks_of_packages_are_measured_as_they_are(name):
    package, network = name.split(".")
    need(PACKAGES[package])
    (row,) = experiment.measured(experiment.Cell(package, network)).rows(named=True)
    assert row["result"] == "measured", row["message"]
