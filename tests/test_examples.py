"""The examples, at a small size: they run, and show what they say."""

import runpy
from pathlib import Path

import pytest
from peers import need

import jaxnn

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("users_jax")]

EXAMPLES = Path(__file__).parent.parent / "examples"


def rates(name, **size):
    flows = runpy.run_path(str(EXAMPLES / f"{name}.py"))["flows"](**size)
    return {kind: jaxnn.verdict(flow).decades for kind, flow in flows.items()}


def test_a_transformer_without_skip_and_norm_loses_the_gradient():
    found = rates("transformer", blocks=8, width=16, tokens=4, examples=4)
    assert found["neither"] < -0.7
    assert abs(found["pre-LN"]) < 0.1
    assert abs(found["post-LN"]) < 0.1


def test_a_transformer_of_torch_whose_blocks_are_copies():
    need("torch")
    found = rates("torch_transformer", blocks=16, width=32, tokens=4, examples=4)
    assert found["pre-LN, copies"] > 2 * found["pre-LN, drawn"] > 0
    assert abs(found["post-LN, drawn"]) < 0.02


def test_batch_norm_explodes_without_a_skip():
    found = rates("resnet", blocks=4, channels=8, size=4, examples=8)
    assert found["batch norm"] > 0.05
    assert found["batch norm"] > 1.5 * found["batch norm and skip"]


def test_a_forget_bias_lets_a_gradient_reach_back():
    found = rates("lstm", steps=40, width=16, examples=4)
    assert found["forget bias 0"] < found["forget bias 1"] < found["forget bias 3"]
    assert found["forget bias 0"] < -0.1


def test_sigmoid_loses_examples_before_the_gradient():
    flows = runpy.run_path(str(EXAMPLES / "collapse.py"))["flows"](layers=80, width=32)
    verdict = jaxnn.verdict(flows["sigmoid"])
    layers = len(verdict.names)
    assert 3 * verdict.indistinguishable["float32"] < layers - verdict.lost["float32"]
    assert jaxnn.verdict(flows["tanh"]).indistinguishable["float32"] is None


def test_an_lstm_that_forgets_is_found():
    need("flax")
    network = runpy.run_path(str(EXAMPLES / "found_and_cured.py"))["lstm"]
    rates = [jaxnn.diagnose(**network(steps=16, forget=bias)).verdict.decades for bias in (0, 3)]
    assert rates[0] < -0.1
    assert abs(rates[1]) < 0.05
