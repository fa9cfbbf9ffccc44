"""Everyday mistakes in a call: one sentence that names the argument, of every public function."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx

import jaxnn

W = [jnp.asarray(0.3 * np.eye(4), "float32")] * 4  # of NumPy, which compiles nothing
XS = jnp.asarray(np.ones((8, 4)) + np.eye(8, 4), "float32")
TEXTS = np.array(["a", "b"] * 4)
TRANSFORMED = NamedTuple("Transformed", [("init", Any), ("apply", Any)])(None, None)  # of Haiku
FLAT = [(lambda w, z: z @ w, jnp.asarray(np.eye(4), "float32"))] * 4  # whose gradient is well


def f(weights, xs):
    for w in weights:
        xs = jnp.tanh(xs) @ w
    return xs


def square(output, ys):
    return jnp.mean((output - ys) ** 2, axis=-1)


def with_pair(output, ys):
    return square(output, ys), output


USUAL = {"model": (f, W), "xs": XS, "ys": XS, "loss": square}
TAKES = {  # which of these each function takes
    "diagnose": {*USUAL},
    "gradient_flow": {*USUAL},
    "cures": {*USUAL},
    "checkup": {*USUAL},
    "watch": {"model", "xs", "loss"},
    "spectrum": {"model", "xs"},
}
EVERY = tuple(TAKES)
JAX = EVERY[:4]
LOSSES = EVERY[:5]

MISTAKES = [  # the functions, the argument, what is given, and the sentence
    (EVERY, "model", nnx.Linear, "model: expected a module, or .* got the class Linear; make a"),
    (EVERY, "model", eqx.nn.Linear, "model: .* got the class Linear; make a module of it"),
    (EVERY, "model", jaxnn.Network, "model: .* got the class Network; make a module of it"),
    (EVERY, "model", linen.Dense(4), "model: .* got a Dense of Flax Linen alone; hand over"),
    (EVERY, "model", (linen.Dense(4), {}), "model: .* got a Dense of Flax Linen alone; hand"),
    (EVERY, "model", TRANSFORMED, r"model: .* a Transformed of Haiku; hand over \(hk.without"),
    (EVERY, "model", [nnx.Linear] * 2, r"layer 1 \(Linear\): expected something to call, .* class"),
    (EVERY, "model", None, "model: expected a module of .*, got NoneType; parameters"),
    (EVERY, "cuts", 3.5, r"cuts: expected names of modules, or patterns of them, got \(3.5,\)"),
    (LOSSES, "loss", eqx.nn.MLP, r"loss: expected a function .* the class MLP; make .*: MLP\(\)"),
    (LOSSES, "loss", lambda model, x, y: 0.0, r"loss: .*, got one that takes \(model, x, y\)"),
    (JAX, "loss", with_pair, "loss: expected .*, got tuple"),
    (JAX, "ys", None, "ys: expected what the loss takes next to the output, got none; with it"),
    (JAX, "ys", [0, 1] * 4, r"ys: expected .*, got the list \[0, 1, .* is no array; with it"),
    (JAX, "ys", np.zeros(5), r"ys: expected .*, got shape \(5,\) for 8 examples; with it the loss"),
    (
        JAX,
        "ys",
        XS[:, :3],
        r"ys: expected an array of shape \(8, 4\), got one of shape \(8, 3\); wit",
    ),
    (
        JAX,
        "xs",
        XS[:, :3],
        r"model: expected an array of shape \(8, 4\), got .* at test_arguments.py",
    ),
    (JAX, "ys", TEXTS, r"ys: expected numbers, got an array of <U1 of shape \(8,\); np.unique"),
    (JAX, "ys", np.array([None] * 8), "ys: expected numbers of one shape, got an array of object"),
    ((*JAX, "spectrum"), "xs", TEXTS, "xs: expected numbers, got an array of <U1 .*; np.unique"),
    ((*JAX, "spectrum"), "xs", "ab", "xs: expected numbers, got 'ab'"),
    (("diagnose", "cures"), "seed", -1, "seed: expected at least 0, got -1"),
    (("diagnose", "cures"), "seed", None, "seed: expected an integer, got None"),
    (("diagnose", "cures"), "seed", True, "seed: expected an integer, got True"),
    (("diagnose", "cures"), "seed", 10**20, "seed: expected at most 9.22337e.18, got 1000"),
    (("cures",), "seconds", None, "seconds: expected a number of 0 seconds or more, got None"),
    (("cures",), "seconds", np.nan, "seconds: expected 0 seconds or more, got nan"),
    (("cures",), "seconds", -1, "seconds: expected 0 seconds or more, got -1"),
    (("checkup", "spectrum"), "steps", 0, "steps: expected at least 1, got 0"),
    (("checkup", "spectrum"), "steps", 1.5, "steps: expected an integer, got 1.5"),
    (("checkup", "cures"), "optimizer", optax.adam, "optimizer: expected one of optax, such as"),
    (("watch",), "every", True, "every: expected an integer, got True"),
    (("gradient_flow", "diagnose"), "entries", "yes", "entries: expected True or False, got 'yes'"),
    (("diagnose",), "theory_error", "1", "theory_error: expected a number of more than 0 dec"),
    (("spectrum",), "key", 1, "key: expected one key, such as jax.random.key"),
    *(
        (("spectrum",), "between", value, "between: expected two numbers of 0 to 4, the lower")
        for value in ((1,), "ab", 3, (1.0, 3.0), (True, 2), (3, 1), (None, 3))
    ),
]


@pytest.mark.parametrize(("names", "argument", "value", "sentence"), MISTAKES)
def test_a_mistake_is_one_sentence(names, argument, value, sentence):
    for name in names:
        given = {key: USUAL[key] for key in USUAL if key in TAKES[name]}
        given |= {"optimizer": optax.adam(0.1)} if name == "checkup" else {}
        with pytest.raises((TypeError, ValueError), match=f"^{sentence}") as error:
            getattr(jaxnn, name)(**given | {argument: value})
        assert "\n" not in str(error.value)


@pytest.mark.slow
def test_layers_of_a_spectrum_are_integers_of_any_kind():
    expected = jaxnn.spectrum((f, W), XS, between=(1, 3)).log_largest
    for between in ((np.int64(1), np.int64(3)), np.array([1, 3])):
        found = jaxnn.spectrum((f, W), XS, between=between)
        np.testing.assert_array_equal(found.log_largest, expected)
        assert found.between == (1, 3)


@pytest.mark.parametrize("name", ["cures", "checkup"])
def test_what_reads_numbers_is_refused_inside_of_jit(name):
    more = {"optimizer": None} if name == "checkup" else {}
    call = jax.jit(lambda xs: getattr(jaxnn, name)(**USUAL | {"xs": xs} | more))
    with pytest.raises(TypeError, match=f"^{name}: expected numbers, got traced arrays; call it"):
        call(XS)


def test_the_first_cure_of_a_healthy_network_says_why_there_is_none():
    with pytest.raises(IndexError, match=r"^cures\[0\]: Steady, .* Nothing was tried, for"):
        jaxnn.cures(FLAT, XS, cotangent=XS)[0]


def frozen(nn):
    return nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)).requires_grad_(False)


def without_output(nn):
    class Silent(nn.Linear):
        def forward(self, x):
            super().forward(x)

    return Silent(4, 4)


ALL = (*JAX, "watch")
IN_TORCH = {  # the functions, the argument, what is given, of torch.nn, and the sentence
    "class of a loss": (ALL, "loss", lambda nn: nn.MSELoss, "loss: .* the class MSELoss; make one"),
    "class": (ALL, "model", lambda nn: nn.Linear, "model: .* got the class Linear; make a module"),
    "several": (ALL, "model", lambda nn: [nn.Linear(4, 4)], "model: .* got several of PyTorch;"),
    "no forward": (JAX, "model", lambda nn: nn.ModuleList(), "module: .*, got a ModuleList, which"),
    "no output": (JAX, "model", without_output, "module: expected its forward to return an output"),
    "frozen": (("checkup",), "model", frozen, "model: expected a parameter that is trained, got 4"),
    "cuts": (ALL, "cuts", lambda nn: 3.5, "cuts: expected modules of Sequential, .*, got a float"),
    "no labels": (
        JAX,
        "ys",
        lambda nn: None,
        "ys: expected .*, got none; with it the loss ends in",
    ),
    "too few labels": (
        JAX,
        "ys",
        lambda nn: nn.Parameter().new_zeros(5),
        r"ys: expected .*, got shape \(5,\) for 8 examples; with it the loss ends in",
    ),
    "labels of another width": (
        JAX,
        "ys",
        lambda nn: nn.Parameter().new_zeros(8, 3),
        r"ys: expected an array of shape \(8, 4\), got one of shape \(8, 3\); with it",
    ),
    "width": (
        JAX,
        "xs",
        lambda nn: nn.Parameter().new_zeros(8, 3),
        r"layer \[0\] \(Linear\): expected an array of shape \(8, 4\), got one of shape \(8, 3\);",
    ),
    "pair": (JAX, "loss", lambda nn: lambda output, ys: (output, ys), "loss: .*, got tuple"),
    "array": (JAX, "xs", lambda nn: np.ones((8, 4)), "inputs: expected a .*torch.as_tensor"),
    "texts": (JAX, "ys", lambda nn: TEXTS, "ys: expected numbers, got an array of <U1"),
    "flag": (EVERY[:2], "theory", lambda nn: "yes", "theory: expected True or False, got 'yes'"),
    "seconds": (("cures",), "seconds", lambda nn: None, "seconds: expected a number of 0 seconds"),
    "steps": (("checkup",), "steps", lambda nn: 1.5, "steps: expected an integer, got 1.5"),
    "factory": (JAX[2:], "optimizer", lambda nn: lambda parameters: None, "optimizer: .* None"),
}


@pytest.mark.parametrize("case", IN_TORCH)
def test_a_mistake_in_torch_is_one_sentence(torch, case):
    names, argument, value, sentence = IN_TORCH[case]
    layers = (layer for _ in range(3) for layer in (torch.nn.Linear(4, 4), torch.nn.Tanh()))
    usual = {"model": torch.nn.Sequential(*layers), "loss": torch.nn.functional.mse_loss}
    data = dict(zip(("xs", "ys"), torch.randn(2, 8, 4), strict=True))
    for name in names:
        more = {"watch": {}, "checkup": data | {"optimizer": None}}.get(name, data)
        with pytest.raises((TypeError, ValueError), match=f"^{sentence}") as error:
            getattr(jaxnn, name)(**usual | more | {argument: value(torch.nn)})
        assert "\n" not in str(error.value)


def test_examples_classes_and_rows_that_are_none_in_torch(torch):
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4))
    loss, xs = torch.nn.CrossEntropyLoss(), torch.randn(8, 4)
    with pytest.raises(ValueError, match=r"expected at least one example, got .* \(0, 4\)"):
        jaxnn.diagnose(model, xs[:0], torch.arange(0), loss=loss)
    with pytest.raises(ValueError, match=r"ys: expected classes from 0 to 3, .* 4 columns, got 7"):
        jaxnn.diagnose(model, xs, torch.full((8,), 7), loss=loss)
    model = torch.nn.Sequential(torch.nn.Embedding(5, 4), torch.nn.Linear(4, 4))
    with pytest.raises(
        ValueError, match=r"layer \[0\] .*: expected integers from 0 to 4, .* 2 to 7"
    ):
        jaxnn.diagnose(model, torch.tensor([2, 7]), torch.arange(2), loss=loss)


# Around a measurement

FEW = np.ones((2, 3), np.float32)
LAYERS = [lambda z: 2 * z, jnp.tanh]
NET = jaxnn.Network((3, 4, 1), "tanh", "regression")


def squares(output, ys):
    return jnp.sum(output**2, -1)


@pytest.mark.parametrize("loss", ["mse", 3, []])
def test_a_loss_that_is_no_function(loss, unhooked):
    got = "'mse'" if loss == "mse" else type(loss).__name__
    for call in (
        lambda: jaxnn.diagnose(LAYERS, FEW, FEW, loss=loss),
        lambda: jaxnn.gradient_flow((NET, []), FEW, FEW, loss=loss),
    ):
        with pytest.raises(TypeError, match=rf"^loss: expected a function of .*, got {got}$"):
            call()


def test_a_pytree_of_the_user_s_where_the_chain_s_parameters_are_expected(unhooked):
    layers = [(jnp.matmul, np.eye(3, dtype=np.float32))] * 2
    chain, params = jaxnn.as_network(layers)
    for given in (layers, {"a": 1}, params[0]):
        for call in (
            lambda given=given: jaxnn.gradient_flow((chain, given), FEW, cotangent=FEW),
            lambda given=given: jaxnn.cures((chain, given), FEW, cotangent=FEW),
            lambda given=given: jaxnn.diagnose((chain, given), FEW, cotangent=FEW),
            lambda given=given: jaxnn.spectrum((chain, given), FEW),
        ):
            with pytest.raises(ValueError, match=r"^params: .* hand over net\.params\(pytree\)$"):
                call()
    np.testing.assert_array_equal(chain.params(layers)[0].at(0).arrays[0][0][0], np.eye(3))
    with pytest.raises(TypeError, match=r"^net: expected a Network, got Chain; .*gradient_flow"):
        jaxnn.forward(chain, params, FEW)


@pytest.mark.parametrize("flow", [None, 3, NET])
@pytest.mark.parametrize("function", [jaxnn.verdict, jaxnn.chart])
def test_what_is_no_flow(function, flow, unhooked):
    with pytest.raises(TypeError, match=rf"^flow: expected a Flow, .* got {type(flow).__name__}$"):
        function(flow)


@pytest.mark.skipif(np.longdouble == np.float64, reason="no wider numbers there")
def test_numbers_that_jax_has_not():
    wide = FEW.astype(np.longdouble)
    pairs = [(np.zeros((3, 1), np.longdouble), np.zeros(1, np.longdouble))]
    for call in (
        lambda: jaxnn.diagnose(LAYERS, wide, loss=squares),
        lambda: jaxnn.forward(NET, pairs, FEW[0]),
        lambda: jaxnn.forward(
            jaxnn.Network((3, 1), "tanh", "regression"), [(wide.T[:, :1], wide[0, :1])], FEW[0]
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
    plain = jaxnn.diagnose(LAYERS, FEW, loss=squares)
    with setting():
        again = jaxnn.diagnose(LAYERS, FEW, loss=squares)
    np.testing.assert_array_equal(again.flow.log_delta, plain.flow.log_delta)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda: jaxnn.Network((3, 1), FEW, "binary"),
            r"got an array of float32 of shape \(2, 3\)",
        ),
        (lambda: jaxnn.Network((3, 1), "tanh", "binary", {"a": "b" * 99}), r"got \{'a': 'b+…$"),
        (
            lambda: jaxnn.network.stack([]),
            r"^params: expected at least one pair \(theta, b\), got none$",
        ),
        (
            lambda: jaxnn.as_network((lambda p, x: x, {"w": np.array(["a"])}), FEW),
            r"numbers, got an array of <U1 of shape \(1,\) at \['w'\]; leave it out$",
        ),
    ],
)
def test_what_was_given_is_told_on_one_line(call, said):
    with pytest.raises((TypeError, ValueError), match=said) as caught:
        call()
    assert "\n" not in str(caught.value)
