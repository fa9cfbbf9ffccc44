"""The hook that makes pages and notebooks of tutorials; the gate runs them by building the site."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.py"))
TEXT = """# %% [markdown]
# # A title
#
# Prose with $x^2$.

# %%
import altair as alt

x = 3
print("three")
x + 1

# %%
y = x  # shows nothing

# %%
alt.Chart({"values": [{"x": 1}]}, width=520).mark_point().encode(alt.X("x:Q"))

# %%
type("Made", (), {"_repr_html_": lambda self: "<p>a\\n\\nb</p>"})()
"""


@pytest.fixture(scope="module")
def notebooks():
    where = importlib.util.spec_from_file_location("notebooks", ROOT / "docs" / "notebooks.py")
    module = importlib.util.module_from_spec(where)
    where.loader.exec_module(module)
    return module


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_cells(notebooks):
    prose, *code = notebooks.cells(TEXT)
    assert prose == (True, "# A title\n\nProse with $x^2$.", 2)
    assert [(cell.prose, cell.line) for cell in code] == [(False, n) for n in (7, 14, 17, 20)]
    assert code[1].text == "y = x  # shows nothing"
    with pytest.raises(ValueError, match="every line to be in a cell"):
        notebooks.cells("import jax\n# %%\n")


def test_what_a_cell_shows(notebooks, file):
    first, second, chart, made = notebooks.run(file)
    assert first == ("three\n", {"text/plain": "4"})
    assert second == ("", {})
    assert chart.shown["image/svg+xml"].startswith("<svg")
    assert made.shown == {"text/html": "<p>a\n\nb</p>"}


def test_a_page(notebooks, file):
    page = notebooks.markdown("mine", notebooks.cells(TEXT), notebooks.run(file))
    assert page.startswith("# A title\n\nProse with $x^2$.\n\n!!! tip")
    assert "[mine.ipynb](mine.ipynb){ download }" in page
    assert page.count("```python\n") == 4
    assert "```text\nthree\n```\n\n```text\n4\n```" in page
    assert '<div class="made"><p>a b</p></div>' in page
    wide, narrow = re.findall(r'^<div class="drawn \w+".*</div>$', page, re.MULTILINE)
    for part, kind in ((wide, "wide"), (narrow, "narrow")):
        assert part.startswith(f'<div class="drawn {kind}"')
        assert part.endswith("</svg></div>")
    widths = [float(re.search(r'width="([\d.]+)"', part)[1]) for part in (wide, narrow)]
    assert widths[0] > 500
    assert widths[1] < 358


def test_a_notebook(notebooks, file):
    made = json.loads(notebooks.notebook(notebooks.cells(TEXT), notebooks.run(file)))
    assert [cell["cell_type"] for cell in made["cells"]] == ["markdown", *["code"] * 4]
    first = made["cells"][1]
    assert "".join(first["source"]) == notebooks.cells(TEXT)[1].text
    assert [output["output_type"] for output in first["outputs"]] == ["stream", "execute_result"]
    assert first["execution_count"] == 1
    assert (made["nbformat"], made["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in made["cells"]}) == 5


def test_an_error_in_a_cell_has_its_line(notebooks, file):
    file.write_text(TEXT + "\n# %%\n1 / 0\n", encoding="utf-8")
    with pytest.raises(RuntimeError, match=r"^mine\.py: (?s:.*)line 23(?s:.*)ZeroDivisionError"):
        notebooks.executed(file)


def test_every_tutorial_begins_with_its_title(notebooks):
    assert len(TUTORIALS) == 6
    for path in TUTORIALS:
        text = path.read_text(encoding="utf-8")
        prose, *_ = notebooks.cells(text)
        assert prose.prose, path
        assert prose.text.startswith("# "), path
        assert "\nassert " in text or "\n    assert " in text, path
        for target in re.findall(r"\]\(([^)]+)\)", text):  # pages of other tutorials are made
            name = Path(target)
            if name.suffix == ".html":
                assert (path.parent / name).exists(), target
                continue
            assert name.suffix == ".md", target
            assert name.parent != Path() or (path.parent / name.with_suffix(".py")).exists(), target
