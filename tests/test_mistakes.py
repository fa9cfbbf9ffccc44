"""Mistakes in settings: one sentence that names the setting, exit code 2, and nothing written.

What `runtime.check` says of all experiments is tried on one of them.
"""

import pytest

from experiments.__main__ import main

pytestmark = pytest.mark.usefixtures("users_jax")

MISTAKES = """
depht
depth --activations sigmiod
depth --weights glorot
depth --sigma-b -1
depth --sigma-w 1 1e5 --dtype float32 float16
depth --sigma-w 1 nan
depth --critical --activations tanh relu --sigma-b 0.1
depth --data mnist
depth --data nowhere.csv --target y
depth --task ranking
depth --data diabetes --task binary
depth --depths 4 0
depth --depths
depth --seeds 0
depth --dtype float8
depth --seed -1
cures --remedies dropout
cures --rates 0
cures --data diabetes
cures --remedies tailored --depths 4 --train-depths 12
train --data iris --hidden 3y64
train --data iris --hidden 0x64
train --data iris --hidden 99999999x64
train --data iris --optimizer lamb
train --data iris --rate nan
train --data iris --weights he
train --data iris --patience 0
train --data iris --patience 3 --validation 0
train --data iris --looks 1
train --data iris --test 1
train --data iris --test 0.001
train --data iris --test 0.6 --validation 0.5
menagerie --packages theano
menagerie --packages jax --networks nothing
menagerie --packages
cures --networks mine
cures --networks all --depths 3
cures --cures 1
cures --optimizer lion
laws --law gravity
bench --row x
"""


def test_a_user_s_mistake_is_one_sentence(tmp_path, capsys, unhooked, monkeypatch, snapshot):
    monkeypatch.setattr("experiments.runs.runtime.start", lambda _: None)
    out, said = tmp_path / "run", {}
    for command in MISTAKES.strip().splitlines():
        assert main([*command.split(), "--out", str(out)]) == 2, command
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        said[command] = error.removeprefix("error: ").rstrip()
    assert not out.exists()
    assert said == snapshot
