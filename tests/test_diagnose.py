"""`jaxnn diagnose`: the user's code, what it returns, its page, and every mistake in it."""

import runpy
import sys
from pathlib import Path

import browser
import jax
import numpy as np
import pytest
from peers import need

import jaxnn
from jaxnn.cli import command, contract, source

pytestmark = pytest.mark.usefixtures("users_jax")

HELPER = """WIDTH = 4


def fail():
    raise LookupError("deep")
"""
CODE = """
import sys

import jax
import jax.numpy as jnp
import numpy as np

import helper_of_diagnose as helper
import jaxnn

N = 6


def thetas():
    rng = np.random.default_rng(0)
    return list(rng.normal(size=(N, helper.WIDTH, helper.WIDTH)).astype(np.float32))


def dense(theta, z):
    return jax.nn.sigmoid(z) @ theta


def relu(theta, z):
    return jnp.maximum(z, 0) @ theta


def root(theta, z):
    return jnp.sqrt(jnp.abs(z @ theta))


def data():
    return np.random.default_rng(1).normal(size=(2, 3, helper.WIDTH)).astype(np.float32)


def loss(output, ys):
    return jnp.sum((output - ys) ** 2, axis=-1)


def made(f=dense, factors=(1,) * N, **more):
    xs, ys = data()
    layers = [(f, factor * theta) for factor, theta in zip(factors, thetas(), strict=True)]
    return {"model": layers, "xs": xs, "ys": ys, "loss": loss} | more


def named():
    found = made()
    names = [f"<b>{i}</b>" for i in range(N)]
    return found | {"model": dict(zip(names, found["model"], strict=True))}


def without_loss():
    return made()["model"], data()[0]


def whole():
    def f(params, z):
        for theta in params:
            z = dense(theta, z)
        return z

    xs, ys = data()
    return {"f": f, "params": thetas(), "xs": xs, "ys": ys, "loss": loss}


def chained():
    net, params = jaxnn.as_network(made()["model"])
    return {"net": net, "params": params, "xs": data()[0], "cotangent": data()[1]}


def own():
    net = jaxnn.Network((helper.WIDTH, 4, 4, 2), "tanh", "regression")
    biases = np.zeros(helper.WIDTH, np.float32)
    params = [(theta, biases) for theta in thetas()[:2]]
    params.append((thetas()[2][:, :2], biases[:2]))
    return (net, params), data()[0], data()[1][:, :2]


def own_without_labels():
    return own()[:2]


def already():
    return jaxnn.diagnose(made()["model"], data()[0], data()[1], loss=loss)


def seeded():
    return {"model": made()["model"], "xs": data()[0], "seed": 7, "memory": "sqrt"}


def dead():
    return made(relu, (1, 1, 1, 0, 1, 1))


def overflowing():
    return made(relu, (1e20,) * N)


def no_number():
    return made(root, (1, 1, 1, 0, 1, 1))


# Mistakes

CONSTANT = 3


def raising():
    return 1 / 0


def nested():
    return helper.fail()


def exiting():
    sys.exit(3)


def taking(n):
    return n


def stopped():
    raise KeyboardInterrupt


def too_large():
    raise MemoryError


def a_list():
    return [1]


def nothing():
    return {}


def two_models():
    return made() | {"f": dense}


def net_alone():
    return {"net": own()[0][0], "xs": data()[0]}


def of_four():
    return (*own(), loss)


def no_model():
    return dense, data()[0], data()[1]


def cuts_of_layers():
    return made(cuts=["1"])


def one_example_of_ours():
    return {"model": own()[0], "xs": data()[0], "each": "example"}


def misspelt():
    return made(losss=loss)


def without_xs():
    return {"model": made()["model"]}


def labels_alone():
    return made(loss=None)


def loss_and_cotangent():
    return made(cotangent=1)


def loss_of_every_column():
    return made(loss=lambda output, ys: ((output - ys) ** 2).sum(0))


def loss_that_raises():
    return made(loss=lambda output, ys: output - ys[:, :2])


def layer_that_raises():
    return made(lambda theta, z: z @ theta[:2])


def layer_of_a_library():
    return made(jnp.matmul)


def no_layer():
    return made() | {"model": [3]}


def clipped():
    @jax.custom_vjp
    def clip(z):
        return z

    clip.defvjp(lambda z: (z, None), lambda _, delta: (jnp.clip(delta, -1e-3, 1e-3),))
    return made(lambda theta, z: clip(z @ theta))


def no_f():
    return whole() | {"f": 3}


def no_net():
    return chained() | {"net": 3}


def no_module():
    return 3, 1


def in_many_lines():
    raise RuntimeError("first\\x1b[31m\\nsecond")
"""
TORCH = """
import torch


def made():
    torch.manual_seed(0)
    modules = [torch.nn.Linear(4, 4) for _ in range(3)]
    xs, ys = torch.randn(2, 5, 4)
    return {"model": torch.nn.Sequential(*modules), "xs": xs, "ys": ys, "loss": loss}


def loss(output, ys):
    return (output - ys).square().sum(-1)


def of_the_mean():
    return made() | {"loss": lambda output, ys: loss(output, ys).mean()}


def without_loss():
    found = made()
    return found["model"], found["xs"]


def of_two_axes():
    return made() | {"loss": lambda output, ys: (output - ys).square().sum(0)}


def unknown_cut():
    return made() | {"cuts": ["7"]}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("users")
    (folder / "helper_of_diagnose.py").write_text(HELPER)
    (folder / "net.py").write_text(CODE)
    (folder / "net_torch.py").write_text(TORCH)
    (folder / "broken.py").write_text("x = 1\ndef f(:\n")
    (folder / "lonely.py").write_text("import a_package_that_is_not_there\n")
    return folder


def diagnosed(folder, name, file="net.py", memory="all", seed=0):
    return contract.diagnosed(source.read(f"{folder / file}:{name}"), memory, seed)


def users(folder, name, monkeypatch):
    """Return what a function of the file returns, and the file's names; imported by other means."""
    monkeypatch.syspath_prepend(folder)
    names = runpy.run_path(str(folder / "net.py"))
    return names[name](), names


def same_rows(flow, expected):
    for name, values in columns_of(flow).items():
        np.testing.assert_allclose(values, columns_of(expected)[name], rtol=1e-5, atol=1e-5)


def columns_of(flow):
    rows = flow.table()
    return {name: [row[name] for row in rows] for name in rows[0] if name != "name"}


def direct(name, returned, names):
    """The flow by the library alone."""
    xs, ys = names["data"]()
    if name == "already":
        return returned.flow
    if name == "whole":
        net = jaxnn.as_network((returned["f"], returned["params"]), xs)
        return jaxnn.gradient_flow(net, xs, ys, loss=returned["loss"])
    if name == "chained":
        net = returned["net"], returned["params"]
        return jaxnn.gradient_flow(net, xs, cotangent=returned["cotangent"])
    if name == "own":
        return jaxnn.gradient_flow(returned[0], xs, ys[:, :2])
    key, ours = jax.random.key(7), name == "own_without_labels"
    key = key if ours else jax.random.split(key, 1)[0]
    c = jax.random.normal(key, (3, 2 if ours else names["helper"].WIDTH)) / 3
    net = returned[0] if ours else jaxnn.as_network(names["made"]()["model"])
    return jaxnn.gradient_flow(net, xs, cotangent=c)


FORMS = ("without_loss", "already", "whole", "chained", "own_without_labels", "seeded")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["own", *FORMS])
def test_every_form_has_the_rows_of_a_direct_call(name, folder, monkeypatch):
    seed = 0 if name == "seeded" else 7
    found = diagnosed(folder, name, seed=seed, memory="sqrt" if name == "whole" else "all")
    given, names = users(folder, name, monkeypatch)
    same_rows(found.flow, direct(name, given, names))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("named", ("Vanishing", "<b>5</b>")),
        ("dead", ("The weights of layer 4 (relu) are zero", "zero")),
        ("overflowing", ("From layer 2 (relu) up the signal is not a finite number", "no number")),
        ("no_number", ("From layer 5 (root) down Δ is not a finite number", "no number")),
    ],
)
def test_a_page_says_what_is_wrong_and_fits_any_screen(name, words, folder):
    page = folder / f"{name}.html"
    code = f"{folder / 'net.py'}:{name}"
    assert command.main(["diagnose", code, "--out", str(page)]) == 0
    with browser.launched() as chromium:
        for width, scheme in ((1280, "light"), (390, "dark")):
            viewport = {"width": width, "height": 800}
            tab = browser.Tab(chromium, page, viewport=viewport, color_scheme=scheme)
            assert tab.said == tab.popped == []
            assert tab.asked == [page.as_uri()]
            assert tab.page.evaluate("document.documentElement.scrollWidth") == width
            said = tab.page.locator("body").inner_text()
            assert tab.page.locator("tbody").first.locator("tr").count() == 6
    assert all(word in said for word in (*words, f"net.py:{name}?", "6 layers, 3 examples"))


def test_the_imports_of_the_file_are_undone(folder):
    before = list(sys.path)
    with pytest.raises(ValueError, match="division"):
        diagnosed(folder, "raising")
    assert sys.path == before
    assert "diagnosed" not in sys.modules


def line_of(text):
    return CODE[: CODE.index(text)].count("\n") + 1


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("absent", "net.py has no absent; the functions in it are thetas, dense"),
        ("CONSTANT", "expected net.py:CONSTANT to be a function without arguments, got int"),
        ("taking", "a function without arguments, got one with more: missing a required argum"),
        ("raising", f"network: net.py:{line_of('1 / 0')}: ZeroDivisionError: division by zero"),
        ("nested", "network: helper_of_diagnose.py:5: LookupError: deep"),
        ("exiting", f"network: net.py:{line_of('sys.exit(3)')}: SystemExit: 3"),
        ("in_many_lines", r"RuntimeError: first�[31m"),
        ("a_list", "net.py:a_list(): expected it to return (model, xs), (model, xs, ys), a dict w"),
        ("of_four", "or a jaxnn.Diagnosis, got tuple of 4"),
        ("nothing", "net.py:nothing(): expected a dict with model and xs, got no model, xs"),
        ("two_models", "with model, or instead with net and params, or f and params, got model, f"),
        ("net_alone", "or instead with net and params, or f and params, got net"),
        ("misspelt", "seed, entries, theory, theory_error alone, got 'losss'; loss is meant?"),
        ("without_xs", "net.py:without_xs(): expected a dict with model and xs, got no xs"),
        ("no_model", "model: expected a module of Equinox, NNX or PyTorch, a pair (f, params), a"),
        ("cuts_of_layers", "cuts: expected none with a list of layers or a pair"),
        ("one_example_of_ours", "each: expected batch with a pair (net, params), which takes one"),
        ("labels_alone", "loss: expected loss(output, ys) with ys, got none"),
        ("loss_and_cotangent", "cotangent: expected it, or ys and loss, got both"),
        ("loss_of_every_column", "loss: expected loss(output, ys) to return one float, or for"),
        ("loss_that_raises", f"network: net.py:{line_of('output - ys[:, :2]')}: TypeError: sub"),
        ("layer_that_raises", f"network: net.py:{line_of('z @ theta[:2]')}: TypeError: dot_gen"),
        ("no_layer", "layer 1 (int): expected something to call, a pair (f, params)"),
        pytest.param("clipped", "reverse rule is not linear", marks=pytest.mark.slow),
        ("no_f", "f: expected f(params, xs) -> output, got int"),
        ("no_net", "f: expected f(params, xs) -> output, got int"),
        ("no_module", "model: expected a module of Equinox, NNX or PyTorch"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_code_is_one_sentence(name, sentence, folder):
    with pytest.raises((ValueError, TypeError)) as caught:
        diagnosed(folder, name)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_error_in_a_library_names_the_layer():
    error = TypeError("shapes\n")
    error.add_note("This is in layer 0 matmul of the chain.")
    error.add_note("-----")
    where = source.UserCode(Path("net.py").resolve(), "f", b"")
    expected = "network: TypeError: shapes This is in layer 0 matmul of the chain."
    assert source.in_words(error, where) == expected


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "network: expected FILE.py:NAME, a function in a file, got none"),
        ("net.py", "got net.py; see diagnose --help"),
        ("net.py:", "got net.py:; see"),
        ("net.txt:made", "got net.txt:made; see"),
        ("absent.py:made", "network: cannot read absent.py: No such file"),
        ("broken.py:f", "network: broken.py:2: SyntaxError: invalid syntax"),
        ("lonely.py:f", "network: lonely.py:1: ModuleNotFoundError: No module named 'a_package"),
    ],
)
def test_a_file_that_cannot_be_run_is_one_sentence(text, sentence, folder, monkeypatch):
    monkeypatch.chdir(folder)
    with pytest.raises(ValueError, match=r"^network: ") as caught:
        contract.diagnosed(source.read(text), "all", 0)
    assert sentence in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["made", "of_the_mean", "without_loss"])
def test_a_module_of_torch(name, folder):
    need("torch")
    import torch

    names = runpy.run_path(str(folder / "net_torch.py"))
    given = names["made"]()
    xs, ys = given["xs"], given["ys"]

    def mean(output, _):
        if name == "without_loss":
            c = torch.randn(5, 4, generator=torch.Generator().manual_seed(3))
            return (c * output).sum() / 5
        return (output - ys).square().sum() / 5

    flow = jaxnn.gradient_flow(given["model"], xs, loss=mean)
    found = diagnosed(folder, name, "net_torch.py", seed=3)
    same_rows(found.flow, flow)
    assert jaxnn.verdict(flow).rate_text in str(found)


@pytest.mark.slow
def test_mistakes_with_torch(folder):
    need("torch")
    for name, sentence, more in (
        ("of_two_axes", "with one number, or for each example one or several, got shape", {}),
        ("unknown_cut", "cuts: expected modules of Sequential", {}),
        ("made", "memory: expected all for a module of PyTorch, got sqrt", {"memory": "sqrt"}),
    ):
        with pytest.raises(ValueError, match="expected") as caught:
            diagnosed(folder, name, "net_torch.py", **more)
        assert sentence in str(caught.value)
