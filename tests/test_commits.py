"""The commits in run.json: of clean and changed trees, and silence where there is none."""

import subprocess

import pytest

from experiments.runs import commits


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


def of(path, name="mine.py"):
    return commits.look_up({name: path})


def test_a_clean_tree_and_a_changed_one(file):
    head = git(file.parent, "rev-parse", "HEAD")
    (file.parent / "runs").mkdir()
    (file.parent / "runs" / "rows.parquet").write_text("")  # not followed, and no part of the code
    assert of(file) == {"mine.py": {"commit": head, "dirty": False}}
    (file.parent / "helper.py").write_text("")
    git(file.parent, "add", "helper.py")
    assert of(file) == {"mine.py": {"commit": head, "dirty": True}}


def test_a_file_that_git_does_not_follow_is_not_that_of_the_commit(file):
    other = file.with_name("other.py")
    other.write_text("")
    assert of(other)["mine.py"]["dirty"]
    assert of(other, commits.OURS) == {}  # a copy of the checkout in somebody's repository


def test_the_repository_of_a_hook_is_not_that_of_the_file(file, tmp_path_factory, monkeypatch):
    hooked = tmp_path_factory.mktemp("hooked")
    git(hooked, "init", "--quiet")
    head = git(file.parent, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(hooked / ".git"))
    assert of(file)["mine.py"]["commit"] == head


def test_without_a_repository_a_commit_or_git_nothing_is_said(file, tmp_path_factory, monkeypatch):
    alone = tmp_path_factory.mktemp("alone") / "mine.py"
    alone.write_text("")
    assert of(alone) == {}
    git(alone.parent, "init", "--quiet")
    assert of(alone) == {}
    monkeypatch.setenv("PATH", str(alone.parent))
    assert of(file) == {}


def test_a_git_that_hangs_keeps_nobody_waiting(file, tmp_path_factory, monkeypatch):
    slow = tmp_path_factory.mktemp("slow") / "git"
    slow.write_text("#!/bin/sh\nexec sleep 20\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}:/usr/bin:/bin")
    monkeypatch.setattr(commits, "PATIENCE", 0.05)
    assert of(file) == {}
