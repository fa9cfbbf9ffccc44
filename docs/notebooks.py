"""A hook of MkDocs: tutorials are Python files of cells, run while the site is built.

    hooks: [docs/notebooks.py]

A file in `docs/tutorials` is a notebook in the percent format, which Jupyter opens by jupytext and
Python runs as it is:

    # %% [markdown]
    # Prose in Markdown, with formulas between dollars.

    # %%
    flow = jaxnn.gradient_flow(net, params, xs, ys)
    jaxnn.chart(flow)  # the value of a last expression is shown

Each is run in a process of its own and becomes a page of Markdown, which goes through the same
extensions as every other page, and a notebook `.ipynb` with its results, for the reader to take
along. Charts are drawn as SVG, in the ink of the page, and once more for the width of a phone; no
page needs a script. An error in a cell ends the build. A build with `JAXNN_TUTORIALS=no` shows the
cells and runs nothing.

    python docs/notebooks.py docs/tutorials/by_hand.py      # runs one, and prints its results
"""

import ast
import contextlib
import io
import json
import logging
import os
import re
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

log = logging.getLogger("mkdocs.hooks.notebooks")  # as MkDocs shows it

FOLDER = "tutorials"
SVG, NARROW = "image/svg+xml", "narrow image/svg+xml"  # the latter for a phone, on pages alone
PLOT, LINE = 270, 44  # pixels of a plot there, and characters of a title's line
CELL = re.compile(r"^# %%(.*)$", re.MULTILINE)
ABOUT = """\
!!! tip "This page is a notebook"
    Its numbers and pictures were computed when the site was built. To take along:
    [{0}.ipynb]({0}.ipynb){{ download }} for Jupyter, or [{0}.py]({0}.py){{ download }}, which
    Python runs as it is."""


class Cell(NamedTuple):
    """A cell: prose in Markdown, or code that stands at a line of its file."""

    prose: bool
    text: str
    line: int


class Result(NamedTuple):
    """Output of a cell of code.

    printed: its text.
    shown: the value of its last expression by the type of content, none if there is none.
    """

    printed: str
    shown: dict[str, str]


def cells(text: str) -> list[Cell]:
    """Return the cells of a file in the percent format.

    Raises:
        ValueError: code before the first cell.
    """
    marks = [*CELL.finditer(text)]
    if not marks or text[: marks[0].start()].strip():
        raise ValueError("expected every line to be in a cell, under a line that begins with # %%")
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    found = []
    for mark, end in zip(marks, ends, strict=True):
        body = text[mark.end() : end]
        prose = "[markdown]" in mark[1]
        if prose:
            body = re.sub(r"^# ?", "", body, flags=re.MULTILINE)
        found.append(Cell(prose, body.strip("\n").rstrip(), text[: mark.end()].count("\n") + 2))
    return found


# Running, in a process of its own


def run(path: Path) -> list[Result]:
    """Run the cells of code in this process and return their results.

    Raises:
        Exception: whatever a cell raises.
    """
    names: dict[str, Any] = {"__name__": "__main__", "__file__": str(path)}
    results = []
    for cell in cells(path.read_text(encoding="utf-8")):
        if cell.prose:
            continue
        tree = ast.parse("\n" * (cell.line - 1) + cell.text, str(path))
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        printed, value = io.StringIO(), None
        with contextlib.redirect_stdout(printed):
            exec(compile(tree, str(path), "exec"), names)
            if isinstance(last, ast.Expr):
                value = eval(compile(ast.Expression(last.value), str(path), "eval"), names)
        results.append(Result(printed.getvalue(), {} if value is None else shown(value)))
    return results


def shown(value: Any) -> dict[str, str]:
    """Return a value by the type of its content, the richest first: SVG, HTML or text.

    With SVG comes that for a phone, if there is one.
    """
    if type(value).__module__.startswith("altair."):
        import altair as alt

        from jaxnn.flow.view.chart import svg

        return {SVG: svg(value), NARROW: svg(alt.Chart.from_dict(narrowed(value.to_dict())))}
    if hasattr(value, "_repr_html_"):
        return {"text/html": value._repr_html_()}
    return {"text/plain": repr(value)}


def narrowed(spec: Any) -> Any:
    """Return a chart in Vega-Lite for the width of a phone: narrow plots, broken lines."""
    if isinstance(spec, list):
        return [narrowed(part) for part in spec]
    if not isinstance(spec, dict):
        return spec
    made = {name: narrowed(part) for name, part in spec.items() if name not in ("data", "title")}
    if isinstance(spec.get("width"), int | float):
        made["width"] = min(spec["width"], PLOT)
    if made.get("legend"):
        made["legend"] |= {"columns": 1, "direction": "vertical"}
    if "data" in spec:
        made["data"] = spec["data"]
    if "title" in spec:
        is_plot = "width" in spec or "vconcat" in spec
        made["title"] = _broken(spec["title"]) if is_plot else spec["title"]
    return made


def _broken(title: Any) -> Any:
    if isinstance(title, str):
        return textwrap.wrap(title, LINE)
    if isinstance(title, dict):
        return {k: _broken(v) if k in ("text", "subtitle") else v for k, v in title.items()}
    return title


def executed(path: Path) -> list[Result]:
    """Run a file in a process of its own and return the results of its cells of code.

    Raises:
        RuntimeError: a cell has raised an error; the message has its end.
    """
    answer = subprocess.run(
        [sys.executable, __file__, str(path), "--json"],
        capture_output=True, text=True, encoding="utf-8", check=False,
    )  # fmt: skip
    if answer.returncode:
        raise RuntimeError(f"{path.name}: {answer.stderr.strip()[-1000:]}")
    return [Result(*result) for result in json.loads(answer.stdout)]


# Pages and notebooks


def markdown(name: str, found: list[Cell], results: list[Result]) -> str:
    """Return a page: prose as it is, code in fences, and below it what it has made."""
    parts, rest = [], iter(results)
    for i, cell in enumerate(found):
        if cell.prose:
            parts.append(cell.text)
            if i == 0:
                parts.append(ABOUT.format(name))
        else:
            parts += [f"```python\n{cell.text}\n```", *_made(next(rest, Result("", {})))]
    return "\n\n".join(parts) + "\n"


def _made(result: Result) -> list[str]:
    parts = []
    if result.printed.strip():
        parts.append(f"```text\n{result.printed.rstrip()}\n```")
    for kind, text in result.shown.items():
        if kind in (SVG, NARROW):
            one_line = re.sub(r"\s*\n\s*", " ", text)
            size = "narrow" if kind == NARROW else "wide" if NARROW in result.shown else "any"
            parts.append(f'<div class="drawn {size}" style="overflow-x:auto">{one_line}</div>')
        elif kind == "text/html":
            one_line = re.sub(r"\s*\n\s*", " ", text)
            parts.append(f'<div class="made">{one_line}</div>')
        else:
            parts.append(f"```text\n{text}\n```")
    return parts


def notebook(found: list[Cell], results: list[Result]) -> str:
    """Return a notebook of Jupyter as JSON, with its results."""
    rest, count, parts = iter(results), 0, []
    for i, cell in enumerate(found):
        part: dict[str, Any] = {
            "id": f"cell-{i}",
            "cell_type": "markdown" if cell.prose else "code",
            "metadata": {},
            "source": cell.text.splitlines(keepends=True),
        }
        if not cell.prose:
            count += 1
            made = next(rest, Result("", {}))
            part |= {"execution_count": count, "outputs": _outputs(made, count)}
        parts.append(part)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    about = {"metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps({"cells": parts, **about}, ensure_ascii=False, indent=1) + "\n"


def _outputs(result: Result, count: int) -> list[dict[str, Any]]:
    outputs: list[dict[str, Any]] = []
    if result.printed:
        lines = result.printed.splitlines(keepends=True)
        outputs.append({"output_type": "stream", "name": "stdout", "text": lines})
    if result.shown:
        shown = ((kind, text) for kind, text in result.shown.items() if kind != NARROW)
        data = {kind: text.splitlines(keepends=True) for kind, text in shown}
        made = {"output_type": "execute_result", "execution_count": count, "metadata": {}}
        outputs.append(made | {"data": data})
    return outputs


# The hook

_done: dict[bytes, list[Result]] = {}  # by the source, for `mkdocs serve`


def on_files(files: Any, config: Any) -> Any:
    """Add a page and a notebook for every tutorial; the Python file goes along as it is."""
    from mkdocs.exceptions import PluginError
    from mkdocs.structure.files import File

    paths = sorted(Path(config.docs_dir, FOLDER).glob("*.py"))
    try:
        with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
            running = {pool.submit(_results, path): path for path in paths}
            for i, done in enumerate(as_completed(running), 1):
                done.result()
                log.info("Tutorial %s has run, %d of %d", running[done].stem, i, len(paths))
            all_results = [future.result() for future in running]
    except RuntimeError as error:
        raise PluginError(f"a tutorial does not run: {error}") from None
    for path, results in zip(paths, all_results, strict=True):
        name, found = path.stem, cells(path.read_text(encoding="utf-8"))
        for ending, content in (
            ("md", markdown(name, found, results)),
            ("ipynb", notebook(found, results)),
        ):
            files.append(File.generated(config, f"{FOLDER}/{name}.{ending}", content=content))
    return files


def _results(path: Path) -> list[Result]:
    source = path.read_bytes()
    if os.environ.get("JAXNN_TUTORIALS") == "no":
        return []
    if source not in _done:
        _done[source] = executed(path)
    return _done[source]


def _print(results: list[Result]) -> None:
    for result in results:
        print(result.printed, end="")
        for kind, text in result.shown.items():
            print(text if kind == "text/plain" else f"[{kind}, {len(text)} characters]")


if __name__ == "__main__":
    file = Path(sys.argv[1])
    made = run(file)
    print(json.dumps(made)) if "--json" in sys.argv else _print(made)
