"""Every picture and every number of the site, made again.

    python docs/again.py                     all of them: a day on two cores
    python docs/again.py house before_after  some, by the names of `MADE`
    python docs/again.py --right cures       notes that a picture is still right, after a look at it

The commands of a name measure, store what the site shows in `docs/data`, and draw; then all tables
are written into the pages. `docs/data/drawn.json` has a digest of the code and the data that a
picture was drawn of: `tests/test_docs.py` says which picture is older than these.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

DOCS = Path(__file__).parent
ROOT, DRAWN = DOCS.parent, DOCS / "data" / "drawn.json"
# Of a picture that no test draws again.
SOURCES = {
    "gradients": ("experiments/depth/picture.py",),
    "cures": ("experiments/cures/picture.py",),
    "why_vanish": ("docs/why_vanish.py", "docs/before_after.py"),
    "house": ("docs/house.py",),
}
RATES = "--rates 0.0003 0.001 0.003"
FOUND = "cures examples/found_and_cured.py:{} --cures 2 --rates 0.001 0.01 --steps 300"
HUNDRED = f"cures examples/a_hundred_layers.py:{{}} --cures {{}} --seeds 5 {RATES} --steps 300"
CURED = {"tanh": 2, "relu": 2, "gelu": 4, "sigmoid": 2}  # cures of each that are trained
RIVALS = [f"{name}_{rival}" for name in CURED for rival in ("orthogonal", "lsuv", "anyinit")]
# A name: experiments with their options, and the script that takes what they leave. Without an
# experiment the script measures by itself.
MADE: dict[str, tuple[Sequence[str], str]] = {
    "house": ((), "docs/house.py"),
    "why_vanish": ((), "docs/why_vanish.py"),
    "three_lines": ((), "docs/three_lines.py measure"),
    "before_after": (
        ["cures examples/deep_sigmoid.py:network --steps 300"],
        "docs/before_after.py",
    ),
    "gradients": (["depth"], "docs/pictures.py"),
    "cures": (["cures --rates 0.01"], "docs/pictures.py"),
    "found_and_cured": ((), "docs/found_and_cured.py resnet gpt lstm"),
    "found_and_trained": (
        [FOUND.format("recall"), FOUND.format("recall_with_bias")],
        "docs/found_and_cured.py",
    ),
    "hundred_layers": (
        [HUNDRED.format(*network) for network in [*CURED.items(), *((r, 0) for r in RIVALS)]],
        "docs/hundred_layers.py",
    ),
    "rivals": ([f"cures --networks all --seeds 3 --steps 300 {RATES} 0.01"], "docs/rivals.py"),
    "verdicts": ((), "tests/draws.py"),
    "healthy": ((), "tests/healthy.py"),
    "casebook": (["casebook --parts write score scored blind"], "docs/casebook.py"),
    "menagerie": (["menagerie"], "docs/tables.py"),
    "bench": (["bench"], "docs/tables.py"),
    "laws": (["laws"], "docs/tables.py"),
}


def main() -> None:
    """Make what the command line names, or all."""
    names = sys.argv[1:] or [*MADE]
    if names[0] == "--right":
        note(names[1:])
        return
    for name in names:
        experiments, script = MADE[name]
        with tempfile.TemporaryDirectory() as folder:
            runs = [f"{folder}/{i}" for i in range(len(experiments))]
            for options, out in zip(experiments, runs, strict=True):
                run("-m", "experiments", *options.split(), "--out", out)
            run(*script.split(), *runs)
        note({name} & SOURCES.keys())
    run("docs/tables.py")


def note(names: Iterable[str]) -> None:
    """Store of which code pictures are drawn."""
    drawn = json.loads(DRAWN.read_text(encoding="utf-8")) | {name: digest(name) for name in names}
    DRAWN.write_text(json.dumps(drawn, indent=1) + "\n", encoding="utf-8")


def run(*command: str) -> None:
    """Run a command of Python in the checkout."""
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True)


def digest(name: str) -> str:
    """Return a digest of the code that draws a picture."""
    sources = (ROOT / path for path in SOURCES[name])
    text = "".join(path.read_text(encoding="utf-8") for path in sources)
    return hashlib.sha256(text.encode()).hexdigest()


if __name__ == "__main__":
    main()
