"""The line that a layer is named after: the user's, wherever libraries lie."""

import functools
import os
import site
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import jax
import pytest

import jaxnn
from jaxnn.cli.source import UserCode, in_words
from jaxnn.jaxpr.program import TracedStep

ROOT = Path(__file__).parent.parent
JAX = f"{jax.__path__[0]}/_src/core.py"
CHAIN = f"{jaxnn.__path__[0]}/chain/chain.py"


def location(*files):
    """The location of a step with these frames, the innermost first, of lines 1, 2 and so on."""
    frames = [
        SimpleNamespace(file_name=str(file), line_num=i) for i, file in enumerate(files, start=1)
    ]
    info = SimpleNamespace(traceback=SimpleNamespace(frames=frames))
    return TracedStep(
        SimpleNamespace(source_info=info, primitive=None), (), (), ("scope",)
    ).location


@pytest.fixture
def imported(monkeypatch):
    """A function that pretends that a package was imported from a folder."""

    def place(name, folder):
        module = ModuleType(name)
        module.__path__ = [str(folder)]
        monkeypatch.setitem(sys.modules, name, module)

    return place


@pytest.mark.parametrize("name", ["jax", "numpy", "flax", "equinox", "haiku", "keras"])
def test_a_framework_is_no_user_s_wherever_it_lies(name, imported, tmp_path):
    mine = tmp_path / "mine.py"
    assert location(JAX, tmp_path / name / "x.py", mine, CHAIN) == "x.py:2"  # a user's own folder
    imported(name, tmp_path / name)
    assert location(JAX, tmp_path / name / "x.py", mine, CHAIN) == "mine.py:3"
    assert location(tmp_path / name / "x.py", CHAIN) == "scope"


def test_links_are_followed_on_both_sides(imported, tmp_path):
    (tmp_path / "there" / "flax").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "there")
    for module, frame in (("link", "there"), ("there", "link")):
        imported("flax", tmp_path / module / "flax")
        assert location(tmp_path / frame / "flax" / "x.py", tmp_path / "mine.py") == "mine.py:2"


@pytest.mark.parametrize(
    "folder",
    ["/opt/x/lib/python3.11/site-packages", "/opt/dist-packages", site.getusersitepackages(), None],
)
def test_an_installed_package_is_no_user_s(folder, tmp_path, monkeypatch):
    if folder is None:  # of pip install --target, on PYTHONPATH
        folder = tmp_path / "target"
        (folder / "einops-0.8.dist-info").mkdir(parents=True)
        monkeypatch.syspath_prepend(folder)
    helper = Path(folder) / "einops" / "einops.py"
    assert location(JAX, helper, tmp_path / "mine.py", CHAIN) == "mine.py:3"


def test_a_folder_is_not_its_neighbour_whose_name_begins_alike():
    assert location(JAX, f"{jaxnn.__path__[0]}_models/mine.py", CHAIN) == "mine.py:2"


def test_a_model_that_is_installed_is_named_after_its_outermost_line():
    """Not after a package that it uses, nor after the script that cuts it."""
    folder = Path(os.__file__).parent / "site-packages"
    files = [folder / name for name in ("einops/einops.py", "model/dense.py", "model/net.py")]
    outside = (CHAIN, JAX, "/home/me/main.py")
    assert location(JAX, *files, functools.__file__, "<frozen runpy>", *outside) == "net.py:4"
    assert location(JAX, functools.__file__, "<frozen runpy>", *outside) == "scope"


def test_what_is_typed_is_the_user_s():
    assert location(JAX, "<stdin>", CHAIN) == "<stdin>:2"


def test_a_mistake_in_a_framework_elsewhere_has_the_user_s_line(imported, tmp_path):
    """As in the names of layers, in the messages of `diagnose`."""
    (tmp_path / "elsewhere").mkdir()
    imported("flax", tmp_path / "elsewhere")
    scope = {}
    inside = compile("\ndef f():\n    raise KeyError('x')", tmp_path / "elsewhere" / "x.py", "exec")
    exec(inside, scope)
    exec(compile("def build():\n    f()", tmp_path / "mine.py", "exec"), scope)
    with pytest.raises(KeyError) as error:
        scope["build"]()
    source = UserCode(tmp_path / "mine.py", "build", b"")
    assert in_words(error.value, source) == "network: mine.py:2: KeyError: 'x'"


@pytest.mark.slow
def test_layers_have_the_user_s_lines_where_jax_is_on_the_path_elsewhere(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "jax").symlink_to(jax.__path__[0])
    (tmp_path / "mine.py").write_text(
        "import jax, jaxnn, numpy as np\n"
        "def f(params, z):\n"
        "    def layer(z, theta):\n"
        "        return jax.nn.sigmoid(z) @ theta, None\n"
        "    return jax.lax.scan(layer, z, params)[0]\n"
        "params = np.ones((3, 3, 3), np.float32)  # one array without a name\n"
        "net, _ = jaxnn.as_network((f, params), np.float32(np.eye(3)))\n"
        "print(jax.__file__, *net.names, sep='; ')\n"
    )
    answer = subprocess.run(
        [sys.executable, "mine.py"], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "elsewhere"), str(ROOT)])},
    )  # fmt: skip
    where, *names = answer.stdout.strip().split("; ")
    assert where.startswith(str(tmp_path))
    assert names == [f"mine.py:4#{i}" for i in (1, 2, 3)]
