"""The line that a layer is named after: the user's, wherever libraries lie."""

import functools
import os
import site
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import jax
import pytest

import jaxnn
from jaxnn.jaxpr.program import TracedStep

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
