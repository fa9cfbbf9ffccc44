"""The user's code of `jaxnn diagnose`: what it returns, its page, and every mistake in it."""

import runpy
import subprocess
import sys
from pathlib import Path

import browser
import jax
import numpy as np
import pytest
from peers import need

import jaxnn
from jaxnn.cli import command, contract, platforms, source

pytestmark = pytest.mark.usefixtures("users_jax")

HELPER = """WIDTH = 4


def fail():
    raise LookupError("deep")
"""
CODE = """
import os, sys

import jax
import jax.numpy as jnp
import numpy as np

import helper_of_diagnose as helper
import jaxnn

N, CONSTANT = 6, 3
thetas = np.random.default_rng(0).normal(size=(N, helper.WIDTH, helper.WIDTH)).astype(np.float32)
xs, ys = np.random.default_rng(1).normal(size=(2, 3, helper.WIDTH)).astype(np.float32)


class Own(BaseException): ...


def dense(theta, z):
    return jax.nn.sigmoid(z) @ theta


def root(theta, z):
    return jnp.sqrt(jnp.abs(z @ theta))


def loss(output, ys):
    return jnp.sum((output - ys) ** 2, axis=-1)


def made(f=dense, factors=(1,) * N, **more):
    layers = [(f, factor * theta) for factor, theta in zip(factors, thetas, strict=True)]
    return {"model": layers, "xs": xs, "ys": ys, "loss": loss} | more


def f(params, z):
    for theta in params:
        z = dense(theta, z)
    return z


whole = {"model": (f, thetas), "xs": xs, "ys": ys, "loss": loss}
biases = np.zeros(helper.WIDTH, np.float32)
params = [(thetas[0], biases), (thetas[1], biases), (thetas[2][:, :2], biases[:2])]
own = (jaxnn.Network((helper.WIDTH, 4, 4, 2), "tanh", "regression"), params), xs, ys[:, :2]


def chained():
    return {"model": jaxnn.as_network(made()["model"]), "xs": xs, "cotangent": ys}
"""
# What else a function returns, or does, and the rows of a direct call.
FORMS = {
    "of_own": "return own",
    "without_loss": 'return made()["model"], xs',
    "already": 'return jaxnn.diagnose(made()["model"], xs, ys, loss=loss)',
    "of_whole": "return whole",
    "chained": "",
    "own_without_labels": "return own[:2]",
    "seeded": 'return {"model": made()["model"], "xs": xs, "seed": 7, "memory": "sqrt"}',
}
PAGES = {  # with what they say
    "named": (
        'return made() | {"model": {f"<b>{i}</b>": v for i, v in enumerate(made()["model"])}}',
        ("Vanishing", "<b>5</b>"),
    ),
    "no_number": (
        "return made(root, (1, 1, 1, 0, 1, 1))",
        ("From layer 5 (root) down Δ is not a finite number", "no number"),
    ),
}
MISTAKES = {  # a function, and what it does
    "absent": "",
    "CONSTANT": "",
    "taking(n)": "return n",
    "raising": "return 1 / 0",
    "nested": "return helper.fail()",
    "exits": "sys.exit()",
    "exits_with": "sys.exit(3)",
    "silent": "raise ValueError",
    "relative": "from . import other",
    "of_its_own": 'raise Own("x")',
    "of_lines": 'raise RuntimeError("first\\x1b[31m\\nsecond")',
    "a_list": "return [1]",
    "of_four": "return (*own, loss)",
    "nothing": "return {}",
    "misspelt": "return made(losss=loss)",
    "without_xs": 'return {"model": 1}',
    "no_model": "return 3, 1",
    "labels_alone": "return made(loss=None)",
    "both": "return made(cotangent=1)",
    "loss_of_columns": "return made(loss=lambda output, ys: ((output - ys) ** 2).sum(0))",
    "loss_that_raises": "return made(loss=lambda output, ys: output - ys[:, :2])",
    "layer_that_raises": "return made(lambda theta, z: z @ theta[:2])",
    "no_f": 'return whole | {"model": (3, thetas)}',
}
BODIES = FORMS | {name: body for name, (body, _) in PAGES.items()}
BODIES |= MISTAKES
for header, body in BODIES.items():
    if body:
        CODE += f"\n\ndef {header}{'' if '(' in header else '()'}:\n    {body}\n"
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
    return contract.diagnosed(source.read(f"{folder / file}:{name}"), memory=memory, seed=seed)


def same_rows(flow, expected):
    for name, values in columns_of(flow).items():
        np.testing.assert_allclose(values, columns_of(expected)[name], rtol=1e-5, atol=1e-5)


def columns_of(flow):
    rows = flow.table()
    return {name: [row[name] for row in rows] for name in rows[0] if name != "name"}


def direct(name, returned, names):
    """The flow by the library alone."""
    xs, ys = names["xs"], names["ys"]
    if name == "already":
        return returned.flow
    if name == "of_whole":
        net = jaxnn.as_network(returned["model"], xs)
        return jaxnn.gradient_flow(net, xs, ys, loss=returned["loss"])
    if name == "chained":
        return jaxnn.gradient_flow(returned["model"], xs, cotangent=returned["cotangent"])
    if name == "of_own":
        return jaxnn.gradient_flow(returned[0], xs, ys[:, :2])
    key, ours = jax.random.key(7), name == "own_without_labels"
    key = key if ours else jax.random.split(key, 1)[0]
    c = jax.random.normal(key, (3, 2 if ours else 4)) / 3
    net = returned[0] if ours else jaxnn.as_network(names["made"]()["model"])
    return jaxnn.gradient_flow(net, xs, cotangent=c)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMS)
def test_every_form_has_the_rows_of_a_direct_call(name, folder, monkeypatch):
    seed = 0 if name == "seeded" else 7
    found = diagnosed(folder, name, seed=seed, memory="sqrt" if name == "of_whole" else "all")
    monkeypatch.syspath_prepend(folder)
    names = runpy.run_path(str(folder / "net.py"))
    same_rows(found.flow, direct(name, names[name](), names))


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_a_page_says_what_is_wrong_and_fits_any_screen(name, folder):
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
    words = (*PAGES[name][1], f"net.py:{name}?", "6 layers, 3 examples")
    assert all(word in said for word in words)


def test_a_mistake_in_the_code_is_one_sentence(folder, snapshot):
    """And the imports of the file are undone."""
    before, sentences = list(sys.path), {}
    for header, body in MISTAKES.items():
        with pytest.raises((ValueError, TypeError)) as caught:
            diagnosed(folder, header.partition("(")[0])
        line = CODE[: CODE.find(f"    {body}\n")].count("\n") + 1
        text = str(caught.value).replace(f"net.py:{line}:", "net.py:LINE:")
        sentences[header] = text.replace(f"{folder}/", "")
        assert "\n" not in sentences[header]
    assert sentences == snapshot
    assert sys.path == before
    assert "diagnosed" not in sys.modules


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
        ("a.ipynb:f", "got a notebook; jupyter nbconvert --to script a.ipynb"),
    ],
)
def test_a_file_that_cannot_be_run_is_one_sentence(text, sentence, folder, monkeypatch):
    monkeypatch.chdir(folder)
    with pytest.raises(ValueError, match=r"^network: ") as caught:
        contract.diagnosed(source.read(text))
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


# The process in which it is run


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
