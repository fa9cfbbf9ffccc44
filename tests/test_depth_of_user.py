"""The depth sweep over networks of the user's own: numbers, resuming, words, and mistakes."""

import json
import math
import re
import runpy
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from peers import need
from problems import as_users_have_jax

import jaxnn.returned
from experiments import find
from experiments.__main__ import main
from experiments.depth import columns, lines, of_user, picture, theory
from experiments.depth import report as words
from experiments.depth.columns import COLUMNS
from experiments.pages import charts, names, web
from experiments.runs import schema, store

pytestmark = pytest.mark.usefixtures("users_jax")

# A module that stays imported, so that every run of the file has the same programs.
HELPER = """
def linear(theta, z):
    return z @ theta
"""
CODE = """
import numpy as np

from helper_of_depths import linear

WIDTHS = []


def thetas(depth, width, seed, between=1):
    rng = np.random.default_rng(seed)
    sizes = (3, *[width] * (between * depth), 2)
    return [
        rng.normal(0, 0.5, shape).astype(np.float32)
        for shape in zip(sizes[:-1], sizes[1:], strict=True)
    ]


def build(depth, width, seed, between=1):
    layers = [(linear, theta) for theta in thetas(depth, width, seed, between)]
    xs = np.random.default_rng(seed + 100).normal(size=(4, 3)).astype(np.float32)
    return {"model": layers, "xs": xs, "cotangent": np.ones((4, 2), np.float32)}


def longer(depth, width, seed):
    return build(depth, width, seed, between=3)


# Mistakes

def of_two(depth, width):
    return build(depth, width, 0)


def raising(depth, width, seed):
    return [][depth]


def raising_at_three(depth, width, seed):
    return build(depth, width, seed) if depth < 3 else [][depth]


def wrong_at_three(depth, width, seed):
    return build(depth, width, seed) if depth < 3 else {"model": []}


def a_list(depth, width, seed):
    return [1]


def of_any_length(depth, width, seed):
    return build(depth + seed, width, seed)
"""
TORCH = """
import torch


def build(depth, width, seed):
    torch.manual_seed(seed)
    layers = [torch.nn.Linear(width, width) for _ in range(depth)]
    return torch.nn.Sequential(*layers, torch.nn.Linear(width, 2)), torch.randn(5, width)
"""


def without_pictures(monkeypatch):
    """Which take seconds, as Vega does."""
    monkeypatch.setattr(charts, "begin", lambda figure, stem: dict)
    monkeypatch.setattr(web, "library", lambda: "")


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    without_pictures(monkeypatch)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("users")
    (folder / "helper_of_depths.py").write_text(HELPER)
    path = folder / "net.py"
    path.write_text(CODE)
    return path


def swept(file, out, *more, name="build", depths=("1", "3")):
    command = ("depth", "--network", f"{file}:{name}", "--depths", *depths, "--out", str(out))
    small = ("--width", "4", "--seeds", "2", "--quiet", "--no-cache")
    return main([*command, *small, *more])


@pytest.fixture(scope="module")
def longer(file, tmp_path_factory):
    """A sweep over networks with three layers a depth."""
    out = tmp_path_factory.mktemp("sweep") / "longer"
    with as_users_have_jax(), pytest.MonkeyPatch.context() as patch:
        without_pictures(patch)
        assert swept(file, out, name="longer", depths=("2",)) == 0
    return out


def rows_of(out):
    return pl.read_parquet(out / store.ROWS)


def sizes(file, depth, width, seed, between=1):
    """Log₁₀ ‖Δ‖ of what each layer returns, and of its θ, by the chain rule in NumPy."""
    scope = runpy.run_path(str(file))  # after the sweep, so the helper is imported
    thetas = [t.astype(float) for t in scope["thetas"](depth, width, seed, between)]
    states = [scope["build"](depth, width, seed, between)["xs"].astype(float)]
    for theta in thetas:
        states.append(states[-1] @ theta)
    delta, of_states, of_thetas = np.ones((4, 2)), [], []
    for below, theta in zip(reversed(states[:-1]), reversed(thetas), strict=True):
        of_states.append(math.log10(np.linalg.norm(delta)))
        of_thetas.append(math.log10(np.linalg.norm(below.T @ delta)))
        delta = delta @ theta.T
    return of_states[::-1], of_thetas[::-1], [math.log10(np.mean(s**2)) for s in states[1:]]


def test_rows_and_verdicts_are_those_of_the_chain_rule_and_theory_is_absent(file, tmp_path, capsys):
    assert swept(file, tmp_path / "run", "--width", "2", "4") == 0
    rows = rows_of(tmp_path / "run")
    schema.check(rows, COLUMNS)
    place = rows.select("width", "depth", "seed").unique(maintain_order=True).rows()
    assert place == [(w, d, s) for w in (2, 4) for d in (1, 3) for s in (0, 1)]
    for width, depth, seed in place:
        of = rows.filter(width=width, depth=depth, seed=seed)
        deltas, thetas, signal = sizes(file, depth, width, seed)
        assert of["layer"].to_list() == [*range(1, depth + 2)]
        close = {"rtol": 0, "atol": 1e-5}
        np.testing.assert_allclose(of["log10_delta_z"], deltas, **close)
        np.testing.assert_allclose(of["log10_delta_theta"], thetas, **close)
        np.testing.assert_allclose(of["log10_mean_square_z"], signal, **close)
        np.testing.assert_allclose(of["log10_gain"][:-1], -np.diff(deltas), **close)
    fixed = rows.select("activation", "weights", "sigma_w", "sigma_b", "batch", "dtype").unique()
    assert fixed.rows() == [("net.py:build", "its own", None, None, 4, "float32")]
    assert rows["log10_spread"].is_not_null().all()
    assert rows["dead_fraction"].is_null().all()
    assert rows["delta_z"].unique().to_list() == ["number"]
    said = capsys.readouterr().out.splitlines()
    medians = [np.median([sizes(file, d, 2, s)[0][0] for s in (0, 1)]) for d in (1, 3)]
    line = next(line for line in said if line.strip().startswith("net.py:build, its own, width 2"))
    assert line.split()[-2:] == [f"{m:.1f}" for m in medians]
    says = json.loads((tmp_path / "run" / store.RUN).read_text("utf-8"))
    rates = [np.mean(-np.diff(sizes(file, 3, 4, seed)[0])[:-1]) for seed in (0, 1)]
    *_, first, second = says["verdicts"]
    assert first == (
        "net.py:build, its own, width 4, depth 1: no rate, it takes two hidden layers with a "
        "gradient"
    )
    assert second.startswith("net.py:build, its own, width 4, depth 3: ")
    assert f", {np.mean(rates):+.2f}"[:-1] in second
    assert says["what"]["settings"] == {
        "network": "net.py:build", "axes": [], "theory": False, "depths": ["1", "3"],
        "width": ["2", "4"], "seeds": 2, "seed": 0,
    }  # fmt: skip
    page = (tmp_path / "run" / names.REPORT).read_text("utf-8")
    assert second in page
    assert "mean-field theory" not in page
    assert '"name":"theory"' not in page


def sizes_in_theory(thetas):
    """Log₁₀ of the root mean square ‖Δ‖ over random weights with the mean squares of these."""
    of_units, logs = np.full(2, 4.0), []  # over 4 examples
    for theta in reversed(thetas):
        logs.append(0.5 * math.log10(of_units.sum()))
        squares = theta.astype(float) ** 2
        below, above = squares.mean(1), squares.mean(0)
        of_units = below * (above @ of_units) / squares.mean()
    return logs[::-1]


@pytest.mark.slow
def test_theory_stands_next_to_every_depth(file, tmp_path):
    assert swept(file, tmp_path / "run", "--theory") == 0
    rows = words.labelled(rows_of(tmp_path / "run"))
    of_seeds = {1: [], 3: []}
    for depth, seed in ((1, 0), (1, 1), (3, 0), (3, 1)):
        of = rows.filter(depth=depth, seed=seed)
        scope = runpy.run_path(str(file))
        expected = sizes_in_theory(scope["thetas"](depth, 4, seed))
        apart = of["log10_delta_z_theory"].to_numpy() - expected
        error = of["log10_delta_z_theory_error"].to_numpy()
        assert (np.abs(apart) < 4 * error + 1e-5).all()
        assert 0 < error[0] < 0.025
        sd = of["log10_delta_z_theory_sd"].to_numpy()
        assert (sd[:-1] > 5 * error[:-1]).all()
        of_seeds[depth].append(expected)
    expected = np.median(of_seeds[3], axis=0)
    rate = (expected[0] - expected[2]) / 2
    verdict = json.loads((tmp_path / "run" / store.RUN).read_text("utf-8"))["verdicts"][1]
    assert abs(float(verdict.rpartition("theory ")[2]) - rate) < 0.04
    predicted = theory.of_twins(rows)
    drawn = picture.Drawn.of(rows, predicted, [words.case_of(rows, predicted)], "")
    assert drawn.has_theory
    (deep,) = drawn.data["layers"].filter(depth=3, layer=1).to_dicts()
    assert abs(deep["size_theory"] - expected[0]) < 0.06
    assert deep["theory_low"] < deep["size_theory"] < deep["theory_high"]
    assert deep["spread_theory"] is not None
    page = (tmp_path / "run" / names.REPORT).read_text("utf-8")
    assert '"name":"theory"' in page


@pytest.mark.slow
def test_layers_need_not_count_depths(file, longer):
    """Three layers a depth: the rate is that of all of them, and so is what is drawn."""
    rows = words.labelled(rows_of(longer))
    assert rows["layer"].max() == 7
    rates = [np.mean(-np.diff(sizes(file, 2, 4, seed, 3)[0])[:-1]) for seed in (0, 1)]
    np.testing.assert_allclose(words.decades_a_layer(rows), rates, atol=1e-5)
    (verdict,) = json.loads((longer / store.RUN).read_text("utf-8"))["verdicts"]
    assert verdict.startswith("net.py:longer, its own, depth 2: ")
    drawn = lines.together(rows, theory.of_twins(rows))
    assert drawn["layer"].to_list() == [1, 2, 3, 4, 5, 6]
    assert drawn["gain"].is_not_null().to_list() == [True] * 5 + [False]


@pytest.mark.slow
def test_a_gradient_that_is_lost_says_in_which_layer(longer):
    lost = pl.when(pl.col("layer") <= 5).then(pl.lit("underflow")).otherwise("delta_z")
    rows = words.labelled(rows_of(longer).with_columns(delta_z=lost))
    gaps = rows.clear().select("activation", "label", "depth")
    (verdict,) = words.verdicts_by_depth(rows, theory.of_twins(rows), gaps)
    assert "; of 6 hidden layers, plain float32 backpropagation underflows from layer 5" in verdict


@pytest.mark.slow
def test_two_networks_are_compared_whatever_their_names_are(file, tmp_path, capsys):
    runs = [tmp_path / name for name in ("build", "longer")]
    for run in runs:
        assert swept(file, run, name=run.name, depths=("1",)) == 0
    capsys.readouterr()
    assert main(["show", *map(str, runs)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    start = lines.index(["network,", "its", "own"])
    one, other, _, error = lines[start + 1 : start + 5]
    assert (len(one), len(other), error[0]) == (2, 2, "±")


@pytest.mark.slow
def test_a_module_of_torch(tmp_path):
    need("torch")
    path = tmp_path / "net.py"
    path.write_text(TORCH)
    assert swept(path, tmp_path / "run") == 0
    rows = rows_of(tmp_path / "run")
    assert rows.group_by("depth", maintain_order=True).agg(pl.col("layer").max()).rows() == [
        (1, 2), (3, 4)
    ]  # fmt: skip
    assert rows["log10_delta_z"].is_finite().all()
    says = json.loads((tmp_path / "run" / store.RUN).read_text("utf-8"))
    assert any(text.startswith("torch ") for text in says["frameworks"])


@pytest.mark.slow
def test_the_network_of_the_guide(tmp_path):
    guide = Path(__file__).parent.parent / "docs" / "guides" / "depth-sweep.md"
    code = re.search(r"^```python\n(.*?)^```", guide.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    path = tmp_path / "mine.py"
    path.write_text(code[1])
    assert swept(path, tmp_path / "run", depths=("2",)) == 0
    assert rows_of(tmp_path / "run")["layer"].to_list() == [1, 2, 1, 2]


MISTAKES = {
    "build": ["--activations tanh", "--weights he_normal --examples", "--data iris", "--target y",
              "--seed -1", "--width 0", "--axes share", "--axes share=", "--axes depth=3"],
    **{name: [""] for name in ("of_two", "WIDTHS", "absent", "a_list", "raising")},
}  # fmt: skip


def test_a_mistake_is_one_sentence(file, tmp_path, capsys, snapshot):
    """Before anything is written, or when a larger network shows it."""
    said = []
    for name, options in MISTAKES.items():
        for more in options:
            assert swept(file, tmp_path / "run", *more.split(), name=name) == 2, (name, more)
            said.append(capsys.readouterr().err.splitlines()[-1])
    assert not (tmp_path / "run").exists()
    for name in ("raising_at_three", "wrong_at_three", "of_any_length"):
        assert swept(file, tmp_path / name, name=name) == 1, name
        said.append(capsys.readouterr().err.splitlines()[-1])
    assert "\n".join(said).replace(str(file.parent), "") == snapshot


def test_memory_that_ends_is_one_sentence(file, tmp_path, capsys, monkeypatch):
    def exhausted(*_, **__):
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8000000000 bytes")

    monkeypatch.setattr(jaxnn.returned, "diagnosis_of", exhausted)
    assert swept(file, tmp_path / "run") == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == "error: memory: an allocation of 8 GB failed; make the run smaller"


def test_a_dry_run_runs_nothing_and_names_what_applies(file, tmp_path, capsys):
    assert swept(file, tmp_path / "run", "--dry-run", name="raising") == 0
    said = capsys.readouterr().out
    assert "activations" not in said
    assert 'net.py:raising"\naxes = []\ntheory = false\ndepths = [' in said
    assert "# 2 cells of 2 seeds; raising() of net.py has the costs" in said


def test_one_process_measures(file):
    settings = find("depth").settings(network=f"{file}:build", distributed=True)
    with pytest.raises(ValueError, match="distributed: networks of your own are measured by one"):
        of_user.prepare(settings)


def test_the_file_belongs_to_the_run(file, tmp_path, capsys):
    path = file.with_name("changing.py")
    path.write_text(CODE)
    assert swept(path, tmp_path / "run") == 0
    path.write_text(f"{CODE}\n")
    assert swept(path, tmp_path / "run") == 2
    assert "holds another run (file_sha256" in capsys.readouterr().err


def test_axes_of_ones_own_are_arguments_of_build():
    points = of_user._points(["share=1,0.5", "kind=plain"])
    assert points == {
        "share 1, kind plain": {"share": 1, "kind": "plain"},
        "share 0.5, kind plain": {"share": 0.5, "kind": "plain"},
    }
    assert of_user._points([]) == {columns.ITS_OWN: {}}
    cells = [of_user.Cell(4, 3, words) for words in (*points, columns.ITS_OWN)]
    assert cells[0].label == "width 4, depth 3, share 1, kind plain"
    assert cells[2].label == "width 4, depth 3"
