"""Mistakes around a measurement, each a sentence with a way out that works."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn
from jaxnn.cli import platforms, source

XS = np.ones((2, 3), np.float32)
LAYERS = [lambda z: 2 * z, jnp.tanh]
NET = jaxnn.Network((3, 4, 1), "tanh", "regression")


def squares(output, ys):
    return jnp.sum(output**2, -1)


@pytest.mark.parametrize("loss", ["mse", 3, []])
def test_a_loss_that_is_no_function(loss, unhooked):
    got = "'mse'" if loss == "mse" else type(loss).__name__
    for call in (
        lambda: jaxnn.diagnose(LAYERS, XS, XS, loss=loss),
        lambda: jaxnn.gradient_flow((NET, []), XS, XS, loss=loss),
    ):
        with pytest.raises(TypeError, match=rf"^loss: expected a function of .*, got {got}$"):
            call()


def test_a_pytree_of_the_user_s_where_the_chain_s_parameters_are_expected(unhooked):
    layers = [(jnp.matmul, np.eye(3, dtype=np.float32))] * 2
    chain, params = jaxnn.as_network(layers)
    for given in (layers, {"a": 1}, params[0]):
        for call in (
            lambda given=given: jaxnn.gradient_flow((chain, given), XS, cotangent=XS),
            lambda given=given: jaxnn.cures((chain, given), XS, cotangent=XS),
            lambda given=given: jaxnn.diagnose((chain, given), XS, cotangent=XS),
            lambda given=given: jaxnn.spectrum((chain, given), XS),
        ):
            with pytest.raises(ValueError, match=r"^params: .* hand over net\.params\(pytree\)$"):
                call()
    np.testing.assert_array_equal(chain.params(layers)[0].at(0).arrays[0][0][0], np.eye(3))
    with pytest.raises(TypeError, match=r"^net: expected a Network, got Chain; .*gradient_flow"):
        jaxnn.forward(chain, params, XS)


@pytest.mark.parametrize("flow", [None, 3, NET])
@pytest.mark.parametrize("function", [jaxnn.verdict, jaxnn.chart])
def test_what_is_no_flow(function, flow, unhooked):
    with pytest.raises(TypeError, match=rf"^flow: expected a Flow, .* got {type(flow).__name__}$"):
        function(flow)


@pytest.mark.skipif(np.longdouble == np.float64, reason="no wider numbers there")
def test_numbers_that_jax_has_not():
    wide = XS.astype(np.longdouble)
    pairs = [(np.zeros((3, 1), np.longdouble), np.zeros(1, np.longdouble))]
    for call in (
        lambda: jaxnn.diagnose(LAYERS, wide, loss=squares),
        lambda: jaxnn.forward(NET, pairs, XS[0]),
        lambda: jaxnn.forward(
            jaxnn.Network((3, 1), "tanh", "regression"), [(wide.T[:, :1], wide[0, :1])], XS[0]
        ),
    ):
        with pytest.raises(TypeError, match=r"expected numbers that JAX has, got .*; cast them"):
            call()


@pytest.mark.slow
@pytest.mark.parametrize(
    "setting",
    [
        lambda: jax.debug_nans(True),
        lambda: jax.debug_infs(True),
        lambda: jax.transfer_guard("disallow"),
    ],
)
def test_a_measurement_works_whatever_jax_stops_at(setting):
    plain = jaxnn.diagnose(LAYERS, XS, loss=squares)
    with setting():
        again = jaxnn.diagnose(LAYERS, XS, loss=squares)
    np.testing.assert_array_equal(again.flow.log_delta, plain.flow.log_delta)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: jaxnn.Network((3, 1), XS, "binary"), r"got an array of float32 of shape \(2, 3\)"),
        (lambda: jaxnn.Network((3, 1), "tanh", "binary", {"a": "b" * 99}), r"got \{'a': 'b+…$"),
        (lambda: jaxnn.flow.log_norm("x"), "^v: expected numbers, got 'x'$"),
        (
            lambda: jaxnn.network.stack([]),
            r"^params: expected at least one pair \(theta, b\), got none$",
        ),
        (
            lambda: jaxnn.as_network((lambda p, x: x, {"w": np.array(["a"])}), XS),
            r"numbers, got an array of <U1 of shape \(1,\) at \['w'\]; leave it out$",
        ),
    ],
)
def test_what_was_given_is_told_on_one_line(call, said):
    with pytest.raises((TypeError, ValueError), match=said) as caught:
        call()
    assert "\n" not in str(caught.value)


CODE = """
import os, sys

def exits():
    sys.exit()

def exits_with_words():
    sys.exit("no data")

def says_nothing():
    raise ValueError

def relative():
    from . import other

class Own(BaseException): ...

def of_its_own():
    raise Own("x")

def closes():
    sys.stdout.close()
    sys.stderr = None
    return 7
"""


@pytest.fixture
def code(tmp_path):
    (tmp_path / "n.py").write_text(CODE)
    return lambda name: source.read(f"{tmp_path / 'n.py'}:{name}")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("exits", "n.py:5: SystemExit, which ends a program; leave it out"),
        ("exits_with_words", "n.py:8: SystemExit: no data, which ends a program; leave it out"),
        ("says_nothing", "n.py:11: ValueError"),
        ("relative", "no known parent package; the file is run as a script, .* leave out the dot"),
        ("of_its_own", "n.py:19: Own: x"),
    ],
)
def test_code_that_ends_is_a_sentence_with_an_end(code, name, said):
    with pytest.raises(ValueError, match=rf"^network: .*{said}$"), source.running(code(name)):
        code(name).function()()


def test_a_notebook_is_named_with_a_way_to_make_a_file():
    with pytest.raises(ValueError, match=r"got a notebook; jupyter nbconvert --to script a\.ipynb"):
        source.read("a.ipynb:f")


@pytest.mark.slow
def test_streams_that_code_closes_are_open_again():
    script = (
        "import os, sys; from jaxnn.cli import printing; printing.prepare()\n"
        "with printing.open_streams():\n"
        "    sys.stdout.close(); sys.stderr = None; os.close(1)\n"
        "print('heard'); print('too', file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("heard\n", "too\n", 0)


def test_variables_that_xla_cannot_use(monkeypatch):
    for count in ("0", "-2"):
        monkeypatch.setenv("JAX_NUM_CPU_DEVICES", count)
        with pytest.raises(
            ValueError, match=rf"^JAX_NUM_CPU_DEVICES: expected 1 or more, got {count}"
        ):
            platforms.devices()
    monkeypatch.delenv("JAX_NUM_CPU_DEVICES")
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    assert platforms.devices()


@pytest.mark.slow
def test_flags_that_xla_does_not_know(monkeypatch):
    for flags, words in (("--xla_x=1", "Unknown flag"), ("nonsense", "Could not open file")):
        monkeypatch.setenv("XLA_FLAGS", flags)
        with pytest.raises(ValueError, match=f"^XLA_FLAGS: {words}.*; mend that environment"):
            platforms.check_flags()
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    platforms.check_flags()
