"""Walks of CONTRIBUTING.md, which tests follow: the code that a section shows, block by block."""

import re
from contextlib import contextmanager
from pathlib import Path

CONTRIBUTING = Path(__file__).parents[1] / "CONTRIBUTING.md"


def walk(title):
    """Return the blocks of code of a section, compiled, without those of its neighbours."""
    _, *sections = re.split(
        r"^### … ", CONTRIBUTING.read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    (section,) = (text for text in sections if text.startswith(f"{title}\n"))
    blocks = re.findall(r"^```py\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    return [compile(block, f"CONTRIBUTING.md, {title}", "exec") for block in blocks]


@contextmanager
def entered(table, block, module):
    """The name of the rule that a block enters in a table, as if it stood in the table's module."""
    before = dict(table)
    try:
        exec(block, {**vars(module)})
        (name,) = table.keys() - before.keys()
        yield name
    finally:
        table.clear()
        table.update(before)
