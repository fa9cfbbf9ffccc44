"""The commit in run.json: of clean and changed trees, and silence where there is none."""

import subprocess

import pytest

from experiments.runs import runtime


def git(folder, *words):
    who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    answer = subprocess.run(
        ["git", *who, *words], cwd=folder, capture_output=True, text=True, check=True
    )
    return answer.stdout.strip()


@pytest.fixture
def file(tmp_path):
    """A file in a repository that has a commit."""
    git(tmp_path, "init", "--quiet")
    path = tmp_path / "mine.py"
    path.write_text("x = 1\n")
    git(tmp_path, "add", "mine.py")
    git(tmp_path, "commit", "--quiet", "--message", "one")
    return path


def test_a_clean_tree_and_a_changed_one(file, tmp_path_factory, monkeypatch):
    head = git(file.parent, "rev-parse", "HEAD")
    file.with_name("rows.parquet").write_text("")  # not followed, and no part of the code
    hooked = tmp_path_factory.mktemp("hooked")
    monkeypatch.setenv("GIT_DIR", str(hooked / ".git"))  # of a hook, and not of the file
    assert runtime.commit(file) == {"git": {"commit": head, "dirty": False}}
    monkeypatch.delenv("GIT_DIR")
    file.write_text("x = 2\n")
    assert runtime.commit(file) == {"git": {"commit": head, "dirty": True}}


def test_without_a_repository_a_commit_or_git_nothing_is_said(file, tmp_path_factory, monkeypatch):
    copied = file.with_name("other.py")  # of the checkout, in somebody's repository
    alone = tmp_path_factory.mktemp("alone") / "mine.py"
    for path in (copied, alone):
        path.write_text("")
        assert runtime.commit(path) == {}
    git(alone.parent, "init", "--quiet")
    git(alone.parent, "add", "mine.py")
    assert runtime.commit(alone) == {}
    slow = alone.with_name("git")
    monkeypatch.setenv("PATH", f"{slow.parent}")
    assert runtime.commit(file) == {}
    slow.write_text("#!/bin/sh\nexec /bin/sleep 20\n")
    slow.chmod(0o755)
    monkeypatch.setattr(runtime, "GITS_TIME", 0.05)
    assert runtime.commit(file) == {}
