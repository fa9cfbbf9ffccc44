"""Runs that are too large: refused before they start, and in one sentence if memory ends."""

import pytest

from experiments import find
from experiments.__main__ import main, read
from jaxnn.arrays import memory
from jaxnn.cli import allocation

SIZES = {
    "train --data iris --hidden 3x100000": "hidden, batch or epochs",
    "depth --data iris --width 100000": "width, depths, batch or seeds",
    "cures --data iris --width 100000": "width, depths, train-depths, batch or seeds",
}
FIXED = {
    "laws": "the run (--quick, --law)",
    "laws --law ten-thousand-layers": "the run (--quick, --law)",
    "bench --row gradient": "the run (--row)",
}  # of a size that no setting makes larger


@pytest.mark.parametrize("command", SIZES)
def test_what_does_not_fit_is_refused(command, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(memory, "_sizes", lambda: iter([(8e9, "this container"), (2e10, "it")]))
    out = tmp_path / "run"
    assert main([*command.split(), "--no-cache", "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: memory: this run needs ")
    assert said.endswith(
        f" GB at a time, and this container has 8 GB; make {SIZES[command]} smaller\n"
    )
    assert not out.exists()
    assert main([*command.split(), "--no-cache", "--dry-run"]) == 0


@pytest.mark.parametrize("command", FIXED)
def test_a_run_of_fixed_size_is_refused_by_a_small_machine(command, monkeypatch):
    monkeypatch.setattr(memory, "_sizes", lambda: iter([(4e8, "the machine")]))
    name, settings = read(command.split())
    work = find(name).prepare(settings).work
    with pytest.raises(ValueError, match=r"^memory: this run needs .* GB at a time, and") as error:
        memory.check(work.bytes, work.smaller)
    assert str(error.value).endswith(f"; make {FIXED[command]} smaller")


def test_the_smallest_limit_counts(tmp_path, monkeypatch):
    group = tmp_path / "a" / "b"
    group.mkdir(parents=True)
    for folder, limit in ((group, "max\n"), (tmp_path / "a", "4000000\n"), (tmp_path, "9000000")):
        (folder / "memory.max").write_text(limit)
    (tmp_path / "own").write_text("1:name=systemd:/x\n0::/a/b\n")
    monkeypatch.setattr(memory, "CGROUPS", tmp_path)
    monkeypatch.setattr(memory, "CGROUP", tmp_path / "own")
    memory.check(4e6, "width")
    sentence = (
        r"^memory: this run needs 0\.00401 GB .*, and this container has 0\.004 GB; make width"
    )
    with pytest.raises(ValueError, match=sentence):
        memory.check(4.01e6, "width")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (MemoryError(), "memory: an allocation failed; make width smaller"),
        (
            RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 40000000000 bytes."),
            "memory: an allocation of 40 GB failed; make width smaller",
        ),
        (RuntimeError("INTERNAL: something else"), None),
        (ValueError("Out of memory"), None),
    ],
)
def test_an_allocation_that_fails(error, sentence):
    assert allocation.sentence(error, "width") == sentence


def test_memory_that_ends_while_measuring(tmp_path, capsys, monkeypatch):
    def measure(*_):
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 16 bytes.")

    monkeypatch.setattr("experiments.depth.cells.DepthSweep.measure", measure)
    small = ["depth", "--data", "iris", "--depths", "1", "--activations", "tanh"]
    small += ["--quiet", "--no-cache", "--out"]
    assert main([*small, str(tmp_path / "run")]) == 1
    sentence = "error: memory: an allocation of 1.6e-08 GB failed; make width, depths, batch or"
    assert capsys.readouterr().err.startswith(sentence)
