"""Networks on a mesh of eight devices: their numbers, memory, and what devices exchange."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from problems import barriers_stay

ROOT = Path(__file__).parent.parent
MODELS = ("llama", "qwen_moe")


def on_eight_devices(*command):
    """Return what a process with eight devices prints."""
    environment = {"JAX_NUM_CPU_DEVICES": "8", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    answer = subprocess.run(
        [sys.executable, *command],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert (answer.returncode, answer.stderr) == (0, "")
    return answer.stdout


@pytest.fixture(scope="module")
def findings():
    """The measurements of each model by `tests/sharded.py`."""
    return json.loads(on_eight_devices(str(ROOT / "tests" / "sharded.py")))


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_a_language_model_runs_as_it_is(findings, name):
    found = findings[name]
    assert (found["layers"], found["paths"]) == {"llama": (6, 21), "qwen_moe": (4, 23)}[name]
    assert found["off"] < 1e-5  # of ln of the norm of every Δθ, from jax.grad
    assert found["verdict"].startswith("Steady")


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_parameters_stay_where_they_are(findings, name):
    found = findings[name]
    assert found["as they were"]
    assert any("model" in spec for spec in found["spread"])
    ours, plain = found["bytes"]  # of a device
    assert ours <= 1.5 * plain or not barriers_stay()
    ours, plain = found["collectives"]
    # Those of the layers, up, down, where examples are far apart and where it is tried whether they
    # meet; and numbers of heads and experts. Nothing large is gathered that plain gradients do not:
    # no parameter, no state. For their rank examples go from device to device once a layer.
    large, many = (
        {name: [n for n in sizes if n > least] for name, sizes in ours.items()} for least in (32, 0)
    )
    assert len(large["all-reduce"]) <= 3 * len(plain["all-reduce"])
    assert len(many["all-reduce"]) <= 6 * len(plain["all-reduce"])
    assert {*large["all-gather"]} <= {*plain["all-gather"]}
    assert len(ours["all-to-all"]) <= found["layers"]
    assert not ours["reduce-scatter"] + ours["collective-permute"]


@pytest.mark.slow
def test_a_batch_in_shard_map_is_that_of_the_device(findings):
    """Nothing is added up over devices, but where layers let examples meet."""
    assert findings["shard_map"]["off"] < 1e-6
    assert findings["shard_map"]["mixes"] == [False, False, False, True]


@pytest.mark.slow
def test_training_with_a_spread_batch(findings):
    assert findings["fit"]["off"] < 1e-6
    assert findings["fit"]["as they were"]


@pytest.mark.slow
def test_a_watch_of_a_spread_training(findings):
    """Each measurement once, with the numbers of one device, and parameters as without a watch."""
    found = findings["watch"]
    assert "failed" not in found, found
    assert found["steps"] == [0, 2, 4]
    assert found["kinds"].count("measurement") == 3
    assert found["each step"] == [*range(6)]
    assert found["off"] < 1e-5
    assert found["as they were"]
    assert found["the same"]
