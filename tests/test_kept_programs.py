"""Compiled programs that the command keeps: where, how many, and when not."""

import os

import jax
import pytest

from jaxnn.cli import kept_programs


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of kept programs, and JAX's settings as they were afterwards."""
    names = ["cache_dir", "cache_min_compile_time_secs", "cache_min_entry_size_bytes"]
    names = ["jax_compilation_cache_dir", *(f"jax_persistent_{name}" for name in names[1:])]
    before = {name: getattr(jax.config, name) for name in names}
    monkeypatch.setattr(kept_programs.platformdirs, "user_cache_path", tmp_path.joinpath)
    monkeypatch.setattr(kept_programs.warnings, "showwarning", None)
    monkeypatch.delenv(kept_programs.SETTING, raising=False)
    yield tmp_path / "jaxnn" / "compiled"
    for name, value in before.items():
        jax.config.update(name, value)


def test_programs_are_kept_in_the_cache_folder_unless_the_user_has_one(folder, monkeypatch):
    monkeypatch.setenv(kept_programs.SETTING, "elsewhere")
    kept_programs.keep_programs()
    assert not folder.exists()
    monkeypatch.delenv(kept_programs.SETTING)
    kept_programs.keep_programs()
    assert folder.is_dir()
    assert jax.config.jax_compilation_cache_dir == str(folder)


def test_the_oldest_programs_go_where_the_folder_has_grown_too_large(folder, monkeypatch):
    monkeypatch.setattr(kept_programs, "MOST_BYTES", 400)
    folder.mkdir(parents=True)
    for age in range(5):
        path = folder / f"program{age}"
        path.write_bytes(bytes(100))
        os.utime(path, (1e9 - age, 1e9 - age))
    kept_programs.keep_programs()
    assert sorted(path.name for path in folder.iterdir()) == ["program0", "program1", "program2"]


def test_a_folder_that_cannot_be_made_is_a_warning(folder, caplog):
    folder.parent.write_text("a file")
    kept_programs.keep_programs()
    assert "compiled programs are not kept" in caplog.text
