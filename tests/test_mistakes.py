"""Mistakes in settings: one sentence that names the setting, exit code 2, and nothing written.

What `runtime.check` says of all experiments is tried on one of them.
"""

import pytest

from experiments.__main__ import main

pytestmark = pytest.mark.usefixtures("users_jax")

MISTAKES = [
    ("depht", "there is no 'depht'; expected one of depth, "),
    ("depth --activations sigmiod", "activation: there is no 'sigmiod'; choose one of identity"),
    ("depth --weights glorot", "weights: there is no 'glorot'; choose one of glorot_uniform"),
    ("depth --sigma-b -1", "sigma_b: expected numbers >= 0, got -1"),
    (
        "depth --sigma-w 1 1e5 --dtype float32 float16",
        "sigma_w: expected numbers that float16 holds, up to 6.55e+04, got 100000",
    ),
    ("depth --sigma-w 1 nan", "sigma_w: expected a number, start:stop:step with step > 0"),
    (
        "depth --critical --activations tanh relu --sigma-b 0.1",
        "critical_sigma_w: for relu and sigma_b = 0.1 there is no sigma_w with chi = 1",
    ),
    ("depth --data mnist", "data: there is no 'mnist'; choose one of breast_cancer"),
    ("depth --data nowhere.csv --target y", "data: there is no file nowhere.csv"),
    ("depth --task ranking", "task: there is no 'ranking'; choose one of regression"),
    ("depth --data diabetes --task binary", "expected two different values in column 'target'"),
    ("depth --depths 4 0", "depths: expected positive integers, got 0"),
    ("depth --depths", "depths: expected at least one, got none"),
    ("depth --seeds 0", "seeds: expected positive integers, got 0"),
    (
        "depth --dtype float8",
        "dtype: there is no 'float8'; choose one of float64, float32, bfloat16",
    ),
    ("depth --seed -1", "seed: expected an integer from 0 to 2^31 - 1, got -1"),
    ("cures --remedies dropout", "remedies: there is no 'dropout'; choose one of sigmoid, relu"),
    ("cures --rates 0", "rates: expected finite numbers > 0, got 0"),
    ("cures --data diabetes", "data: expected classes to tell apart, got diabetes"),
    ("cures --remedies tailored --depths 4 --train-depths 12", "depths: expected some at which"),
    (
        "train --data iris --hidden 3y64",
        "hidden: expected widths such as 64 or layers such as 3x256",
    ),
    ("train --data iris --hidden 0x64", "hidden: expected widths such as 64"),
    ("train --data iris --hidden 99999999x64", "at most 100000 in all, got '99999999x64'"),
    (
        "train --data iris --optimizer lamb",
        "optimizer: there is no 'lamb'; choose one of sgd, momentum, rmsprop",
    ),
    ("train --data iris --rate nan", "rate: expected a finite number >= 0, got nan"),
    ("train --data iris --weights he", "weights: there is no 'he'; choose one of"),
    ("train --data iris --patience 0", "patience: expected positive integers, got 0"),
    (
        "train --data iris --patience 3 --validation 0",
        "patience: expected --validation above 0 with it, got 0",
    ),
    ("train --data iris --looks 1", "looks: expected integers from 2, got 1"),
    ("train --data iris --test 1", "test: expected a fraction from 0 to below 1, got 1"),
    ("train --data iris --test 0.001", "test: cannot hold out 0 rows: "),
    ("train --data iris --test 0.6 --validation 0.5", "validation: cannot hold out 75 rows: "),
    ("menagerie --packages theano", "packages: there is no 'theano'; choose one of jax, equinox"),
    (
        "menagerie --packages jax --networks nothing",
        "networks: there is no 'nothing'; choose one of dense",
    ),
    ("menagerie --packages", "packages: expected at least one, got none"),
    (
        "cures --networks mine",
        "networks: there is no 'mine'; choose one of all, softplus, 16 layers",
    ),
    ("cures --networks all --depths 3", "depths: expected without --networks, with remedies alone"),
    ("cures --cures 1", "cures: expected with FILE.py:NAME or --networks alone"),
    ("cures --optimizer lion", "optimizer: there is no 'lion'; choose one of sgd, adam"),
    (
        "laws --law gravity",
        "law: there is no 'gravity'; choose one of gradient-exponent, layer-jac",
    ),
    ("bench --row x", "row: there is no 'x'; choose one of first, first-kept, diagnose-fi"),
]


@pytest.mark.parametrize(("command", "sentence"), MISTAKES)
def test_a_user_s_mistake_is_one_sentence(
    command, sentence, tmp_path, capsys, unhooked, monkeypatch
):
    monkeypatch.setattr("experiments.runs.runtime.start", lambda _: None)
    out = tmp_path / "run"
    assert main([*command.split(), "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert sentence in error
    assert error.count("\n") == 1
    assert not out.exists()
