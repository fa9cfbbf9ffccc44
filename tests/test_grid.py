"""Grids: ranges, config files, what --dry-run says."""

import dataclasses
import itertools
import re
import sys
import tomllib
from typing import get_args

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments import EXPERIMENTS, find
from experiments.__main__ import main
from experiments.__main__ import read as command_and_settings
from experiments.depth import experiment as depth
from experiments.learning import networks
from experiments.runs import grid, runtime

CONFIG = """\
depths = ["1:4:*2", 6]
activations = "tanh"
sigma_w = ["1.0:2.0:0.1", 2.5]
sigma_b = 0.05
width = [5, 9]
batch = 8
dtype = ["float64", "bfloat16"]
data = ["iris", "wine"]
critical = true
seeds = 3
"""


def read(arguments):
    return command_and_settings(arguments)[1]


@pytest.fixture
def config(tmp_path):
    def written(text):
        path = tmp_path / "sweep.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return written


def test_help_begins_with_the_question_and_has_the_other_options_in_groups(capsys):
    with pytest.raises(SystemExit):
        read(["depth", "--help"])
    said = capsys.readouterr().out
    assert "(default: )" not in said
    words = (
        "How does the size of a gradient change with depth?",
        "--depths",
        "network options",
        "--hidden",
        "data options",
        "--target COLUMN ",
        "output options",
    )
    places = [said.index(word) for word in (*words, "--overwrite")]
    assert places == sorted(places)
    settings = read(["depth", "--target", "y", "--depths", "3", "--width", "5", "--overwrite"])
    assert (settings.target, settings.depths, settings.width) == ("y", ("3",), ("5",))
    assert settings.overwrite


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["1.5"], (1.5,)),
        (["-2", "1e-3"], (-2.0, 0.001)),
        (["1.0:2.0:0.1"], (1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9, 2.0)),
        (["-0.3:0.3:0.1"], (-0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3)),
        (["1:1024:*2"], tuple(2.0**i for i in range(11))),
        (["1e-15:1e-12:*10"], (1e-15, 1e-14, 1e-13, 1e-12)),
        (["1:3:1", "2", "2:4:1"], (1.0, 2.0, 3.0, 4.0)),  # each once
        (["0:1:0.33333333334"], (0.0, 0.33333333334, 0.66666666668, 1.00000000002)),
    ],
)
def test_numbers_are_those_a_user_would_write(texts, expected):
    assert grid.numbers("x", texts) == expected


def test_a_rounded_factor_reaches_the_end():
    values = grid.numbers("x", ["0.001:1:*1.2589254117941673"])
    np.testing.assert_allclose(values, 10 ** np.linspace(-3, 0, 31), rtol=1e-12)


@given(
    start=st.decimals(-1000, 1000, places=3),
    step=st.decimals("0.001", 10, places=3),
    count=st.integers(0, 40),
)
def test_a_range_is_what_decimal_arithmetic_gives(start, step, count):
    text = f"{start}:{start + count * step}:{step}"
    expected = (float(start + i * step) for i in range(count + 1))
    assert grid.numbers("x", [text]) == tuple(expected)


@pytest.mark.parametrize(
    "text",
    [
        *("", "a", "1:2", "1:2:3:4", "1:2:0", "1:2:-1", "2:1:1", "1:2:*1", "0:4:*2", "*2", "1:8:*"),
        *("nan", "snan", "inf", "1:inf:1", "1:1e999:1", "0x10", "__import__('os')"),
    ],
)
def test_what_is_no_range_is_one_sentence(text):
    with pytest.raises(ValueError, match=r"^sigma_w: expected a number, start:stop:step") as error:
        grid.numbers("sigma_w", ["1", text])
    assert str(error.value).endswith(f"got {text!r}")


@pytest.mark.parametrize("text", ["1:100001:1", "0:1:1e-9", "1:1e300:1e-300", "1:1e30:*1.00001"])
def test_a_range_ends_before_the_memory_does(text):
    assert len(grid.numbers("x", ["1:100000:1"])) == grid.MOST_VALUES
    with pytest.raises(ValueError, match="x: expected at most 100000 values"):
        grid.numbers("x", [text])


def test_integers():
    values = grid.integers("x", ["1:8:*2", "10", "3:5:1"])
    assert values == (1, 2, 4, 8, 10, 3, 5)
    assert {type(v) for v in values} == {int}
    with pytest.raises(ValueError, match=r"^depths: expected positive integers, got 1\.5$"):
        grid.integers("depths", ["1:2:0.5"])
    with pytest.raises(ValueError, match=r"^seed: expected integers from 0, got -1$"):
        grid.check_whole("seed", [0, -1], least=0)
    with pytest.raises(ValueError, match=r"^depths: expected at most 1000000, got 1\.0e\+308$"):
        grid.integers("depths", ["1e308"])


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_whole_number_of_every_experiment_is_bounded(name):
    settings = find(name).settings()
    runtime.check(settings)
    for field in dataclasses.fields(settings):
        kinds = {field.type, *get_args(field.type)}
        if int not in kinds:
            continue
        for value in (10**20, 2**31, -1):
            several = (value,) if isinstance(getattr(settings, field.name), tuple) else value
            with pytest.raises(ValueError, match=f"^{field.name}: expected .*, got "):
                runtime.check(dataclasses.replace(settings, **{field.name: several}))


def test_seeds_end_where_int32_does():
    runtime.check(depth.Settings(seed=2**31 - 5, seeds=5))
    with pytest.raises(ValueError, match=r"^seeds: expected the last one below 2\^31, got 6 from"):
        runtime.check(depth.Settings(seed=2**31 - 5, seeds=6))


@pytest.mark.parametrize(
    "command",
    [
        "depth --data iris --sigma-w 1:2:0.0001 --sigma-b 0:1:0.0001 --critical",
        "cures --data iris --depths 1:60000:1 --train-depths 1:60000:1",
    ],
)
def test_a_grid_that_is_too_large_is_refused_before_it_is_made(command, monkeypatch, capsys):
    grid.check_cells(100, 1000)  # the most
    for name in EXPERIMENTS:
        module = sys.modules[find(name).prepare.__module__]
        for made in ("Cell", "SquareWeights", "Initialisation"):
            monkeypatch.setattr(module, made, None, raising=False)
    assert main([*command.split(), "--no-cache", "--dry-run"]) == 2
    assert capsys.readouterr().err.startswith("error: grid: expected at most 100000 cells, got ")


def test_a_config_file_is_the_command_line(config):
    path = config(CONFIG)
    by_file = read(["depth", "--config", str(path), "--out", "o"])
    by_hand = (
        "depth --depths 1:4:*2 6 --activations tanh --sigma-w 1.0:2.0:0.1 2.5 --sigma-b 0.05 "
        "--width 5 9 --batch 8 --dtype float64 bfloat16 --data iris wine --critical --seeds 3 "
        "--out o"
    )
    assert by_file == dataclasses.replace(read(by_hand.split()), config=path)
    cells = depth.prepare(by_file).cells
    assert len(cells) == (12 + 1) * 2 * 2 * 2
    assert {c.networks.depths for c in cells} == {(1, 2, 4, 6)}
    assert len({(c.data, c.networks) for c in cells}) == len(cells)
    kinds = [c.networks for c in cells]
    scales = {of.weights.factor for of in kinds if of.weights.name != "critical"}
    assert scales == {*np.arange(10, 21) / 10, 2.5}
    assert {(of.batch, of.sigma_b, of.seeds) for of in kinds} == {(8, 0.05, (0, 1, 2))}


def test_the_command_line_counts_more_than_the_file(config):
    settings = read(["depth", "--config", str(config(CONFIG)), "--depths", "7", "--seeds", "1"])
    assert (settings.depths, settings.seeds, settings.width) == (("7",), 1, ("5", "9"))
    assert not read(["depth", "--config", str(config(CONFIG)), "--no-critical"]).critical


@pytest.mark.parametrize(
    "settings",
    [
        depth.Settings(),
        depth.Settings(
            depths=("1:8:*2", "11"), activations=("gelu",), weights=("he_normal",),
            sigma_w=("1", "2"), critical=True, sigma_b=("0.5",), width=("3",), batch=("2",),
            dtype=("float16",), data=('a "b"\\c\n.csv',), target="größe", task="binary",
            seeds=2, seed=9,
        ),
        depth.Settings(sigma_w=("0.1", "1e-7", "3", "1e22")),
    ],
)  # fmt: skip
def test_what_is_printed_is_read_again(config, settings):
    path = config(grid.to_toml(settings))
    assert type(settings)(**grid.read_config(path, type(settings))) == settings


def test_a_dry_run_says_what_it_takes_and_writes_nothing(tmp_path, config, capsys):
    out = tmp_path / "run"
    path = config('depths = ["2", "3"]\nactivations = "tanh"\nweights = "he_normal"\nwidth = 10\n')
    more = ["--batch", "7", "--seeds", "3", "--data", "wine", "--out", str(out), "--no-cache"]
    assert main(["depth", "--config", str(path), *more, "--dry-run"]) == 0
    text = capsys.readouterr().out
    # wine is 13 features and 3 classes; of depth 2 and 3: 2 · batch · products · seeds, twice on
    # the way down from each, and once on the way up to the deepest.
    of_depth = [2 * 7 * (13 * 10 + (d - 1) * 10 * 10 + 10 * 3) * 3 for d in (2, 3)]
    flops = 2 * sum(of_depth) + of_depth[1]
    assert f"# 1 cell of 3 seeds, {flops:.2g} floating-point operations, " in text
    # The room is for 1 + 64 layers: 10·13 + 64·100 + 30 weights a seed, z and a of 7 examples a
    # device.
    at_once = min(3, jax.local_device_count())
    numbers = 3 * (130 + 64 * 100 + 30) + at_once * 2 * 7 * (13 + 65 * 10 + 3)
    assert f"{4 * numbers / 1e6:.3g} MB at most at a time" in text
    assert tomllib.loads(text)["depths"] == ["2", "3"]  # all of it is a config file
    again = read(["depth", "--config", str(config(text)), "--out", str(out)])
    given = {name: value for name, value in grid.as_dict(again).items() if value is not None}
    assert given == tomllib.loads(text) | {
        name: tuple(value) for name, value in tomllib.loads(text).items() if type(value) is list
    }
    assert not out.exists()


def test_cells_that_share_a_program_are_neighbours(config, monkeypatch):
    monkeypatch.setattr(networks, "AT_ONCE", 0)  # as if these signals were large
    settings = read(["depth", "--config", str(config(CONFIG))])
    plan = depth.prepare(dataclasses.replace(settings, depths=("70", "1:4:1", "2:3:1")))
    programs = [(c.data, c.networks.dtype, c.networks.batch, c.networks.net) for c in plan.cells]
    changes = sum(a != b for a, b in itertools.pairwise(programs))
    assert changes == len(set(programs)) - 1
    assert len(set(programs)) == 2 * 2 * 2 * 2  # rooms for 64 and 256 layers
    assert len({str(c.place) for c in plan.cells}) == len(plan.cells)


WRONG = (
    *("widht = 3", 'out = "/elsewhere"', "overwrite = true", '[depth]\nout = "x"'),
    *("width = true", "width = [[1]]", "width = 1979-05-27", "[width]\nx = 1"),
    *("seeds = 1.5", "seeds = true", 'critical = "yes"', "target = 3"),
    *("width = 64\nwidth = 32", "width = __import__('os')", "a = \x00", "\udc80\udc95pickle"),
)


def test_what_is_wrong_with_a_config_is_one_sentence(tmp_path, capsys, snapshot):
    path, out = tmp_path / "sweep.toml", tmp_path / "run"
    command, said = ["depth", "--config", str(path), "--out", str(out)], []
    for text in (None, *WRONG):
        if text is not None:
            path.write_bytes(text.encode("utf-8", "surrogateescape"))
        assert main(command) == 2
        said.append(capsys.readouterr().err)
    path.unlink()
    path.mkdir()
    assert main(command) == 2
    said.append(capsys.readouterr().err)
    assert all(sentence.count("\n") == 1 for sentence in said)
    text = re.sub("(is no TOML file: ).*", r"\1…", "".join(said))  # in Python's words
    assert text.replace(f"{tmp_path}/", "") == snapshot
    assert not out.exists()
