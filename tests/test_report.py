"""report.html in a headless Chromium: what it shows, what changes it, what it does not let in."""

import json
import re

import browser
import hypothesis
import numpy as np
import polars as pl
import pytest
from hypothesis import strategies as st
from markupsafe import escape
from problems import as_users_have_jax

from experiments.__main__ import main
from experiments.depth import depth_report, depth_theory
from experiments.depth import page as depth_page
from experiments.depth import picture as depth_picture
from experiments.pages import charts, names, run_page, web
from experiments.runs import store

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("users_jax")]

SCRIPT = "<script>alert(1)</script>"
TARGET = f"'{SCRIPT}'"
# As a path: a folder that ends in < and a file, since a name has no slash.
FOLDER, FILE = "<script>alert(1)<", "script><img src=x onerror=alert(1)> \"'&.csv"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A sweep over two files whose names, columns and classes are all meant to be run."""
    folder = tmp_path_factory.mktemp("report")
    (folder / FOLDER).mkdir()
    paths = (folder / FOLDER / FILE, folder / "plain.csv")
    for i, path in enumerate(paths):
        values = np.random.default_rng(i).normal(size=(30, 2)).round(3)
        lines = [f"{a},{b},{SCRIPT if a > 0 else 'b'}" for a, b in values]
        path.write_text("\n".join([f"a,{SCRIPT},{TARGET}", *lines]) + "\n")
    arguments = (
        *("depth", "--data", *map(str, paths), "--target", TARGET),
        *("--activations", "tanh", "relu", "--weights", "he_normal", "--critical"),
        *("--depths", "3", "5", "--width", "6", "--batch", "8", "--seeds", "2"),
        *("--quiet", "--no-cache", "--out", str(folder / "run")),
    )
    with as_users_have_jax():
        assert main([*arguments]) == 0
    return folder / "run"


def rows_of(run):
    return depth_report.labelled(pl.read_parquet(run / store.ROWS))


DEFAULTS = ("activation", "label", "depth", "theory")


@pytest.fixture(scope="module")
def opened(chromium, run):
    """The page, opened once: a browser takes longer to draw it than a test to look at it."""
    opened = browser.Tab(
        chromium, run / names.REPORT, viewport={"width": 1200, "height": 900}
    ).wait()
    yield opened, {name: opened.chosen(name) for name in DEFAULTS}
    opened.page.close()


@pytest.fixture
def tab(opened):
    """The page with the choices that it opens with."""
    page, defaults = opened
    for name, value in defaults.items():
        if page.chosen(name) != value:
            page.choose(name, value)
    return page


def test_the_page_opens_without_a_word_and_asks_for_nothing(tab, run):
    assert tab.said == []
    assert tab.asked == [(run / names.REPORT).as_uri()]
    assert (run / names.REPORT).stat().st_size < 500_000  # Vega-Embed, which each carries, is 406
    answer = tab.page.locator("#answer")
    assert answer.inner_text().startswith("The gradient ")
    assert answer.bounding_box()["y"] + answer.bounding_box()["height"] < 300
    shown = tab.page.locator("main").inner_text()
    verdicts = json.loads((run / store.RUN).read_text())["verdicts"]
    assert verdicts
    assert all(verdict.partition(": ")[0] in shown for verdict in verdicts)
    assert shown.count(" ± ") == len(verdicts) + 1  # each rate once, in the table; ± in its caption


def test_a_choice_changes_the_charts_and_the_numbers(tab, run):
    rows = rows_of(run)
    labels = rows["label"].unique(maintain_order=True)
    choices = {"activation": "relu", "label": labels[1], "depth": "3"}
    for name, value in choices.items():
        before = tab.drawn(1)
        tab.choose(name, value)
        assert tab.drawn(1) != before, name
    chosen = rows.filter(
        pl.col("activation") == "relu", pl.col("label") == labels[1], pl.col("depth") == 3
    )
    first = chosen.filter(pl.col("layer") == 1)["log10_delta_z_example"]
    shown = tab.numbers()
    assert [row[0] for row in shown] == ["1", "2", "3"]
    expected = [float(np.median(first)), min(first), max(first)]
    assert [float(v) for v in shown[0][1:4]] == pytest.approx(expected, rel=1e-5)
    assert shown[2][5:7] == ["–", "–"]  # no factor above the last hidden layer
    assert tab.said == []


def hover(tab, i, x):
    """Moves the pointer over a part of a chart's width, and reads the tooltip."""
    tab.chart(i).scroll_into_view_if_needed()
    plot = tab.chart(i).locator(".background").first.bounding_box()
    tab.page.mouse.move(plot["x"] + x * plot["width"], plot["y"] + plot["height"] / 2)
    return tab.tooltip()


def test_a_layer_under_the_pointer_says_what_it_is(tab):
    tab.choose("depth", "3")
    for x, row in ((0.01, 0), (0.99, 2)):
        shown = hover(tab, 1, x)
        assert re.search(rf"layer\s+{row + 1}\b", shown)
        number = float(tab.numbers()[row][1])
        assert f"{number:.4g}".replace("-", "−") in shown
    assert "Δz[l] in plain backpropagation\tnumber" in shown
    assert "log₁₀ factor\t–" in shown


def test_what_came_from_a_file_is_text(tab, run):
    """In the page, its charts and its tooltips: nothing that a name says is run or fetched."""
    page = tab.page
    text = page.locator("body").inner_text()
    assert FILE in page.locator("header").inner_text()
    assert FILE in text
    assert f"{FOLDER}/{FILE}" not in text  # of a path only the file's name
    assert TARGET in page.locator("#facts").text_content()  # the column, among the settings
    options = page.locator("#choice-label option").all_text_contents()
    tab.choose("label", next(option for option in options if FILE not in option))
    tab.choose("label", next(option for option in options if FILE in option))
    points = tab.chart(0).locator(".mark-symbol.role-mark path")
    tips = set()
    for point in points.all():
        point.hover(force=True, timeout=5000)
        tips.add(tab.tooltip())
    assert any(FILE in tip for tip in tips)
    assert page.locator("img").count() == 0
    # Data, charts, and of the library both what is packed and what runs.
    assert page.locator("script").count() == 6
    assert tab.popped == []
    assert tab.said == []


def test_the_page_runs_no_script_but_its_own(chromium, run, tmp_path):
    """Were a name to get through as HTML, the page's policy would still stop it."""
    hole = "<script>window.got = 'in'</script><img src=x onerror=\"window.got = 'in'\">"
    page = (run / names.REPORT).read_text(encoding="utf-8").replace("</header>", hole)
    (tmp_path / "hole.html").write_bytes(page.encode())
    tab = browser.Tab(chromium, tmp_path / "hole.html").wait()
    assert tab.page.evaluate("window.got === undefined")
    assert any("Content Security Policy" in said for said in tab.said)
    blocked = "fetch('http://127.0.0.1:9/').then(() => 'sent', e => 'blocked')"
    assert tab.page.evaluate(blocked) == "blocked"
    assert [url for url in tab.asked if not url.startswith("file:")] == []
    tab.page.close()


def test_every_choice_is_reached_and_made_with_the_keyboard(chromium, run):
    tab, order = browser.Tab(chromium, run / names.REPORT).wait(), []
    tab.page.locator("#chart-0 summary").focus()  # of the first chart's menu, which comes before
    for _ in range(4):
        tab.page.keyboard.press("Tab")
        order.append(tab.page.evaluate("document.activeElement.id"))
        label = tab.page.evaluate("document.activeElement.labels[0].textContent")
        assert label.strip()
        outline = "getComputedStyle(document.activeElement).outlineStyle"
        assert tab.page.evaluate(outline) == "solid"
    choices = ("activation", "label", "depth", "theory")
    assert order == [f"choice-{name}" for name in choices]
    before = tab.drawn(1)
    tab.page.keyboard.press("Space")
    assert "theory: off" in tab.page.locator("#shown").inner_text()
    assert tab.drawn(1) != before
    tab.page.locator("#choice-activation").focus()
    tab.page.keyboard.press("ArrowDown")
    tab.page.wait_for_function("document.getElementById('shown').innerText.includes('relu')")
    tab.page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_in_light_and_in_dark(chromium, run, scheme):
    tab = browser.Tab(
        chromium, run / names.REPORT, viewport={"width": 360, "height": 740}, color_scheme=scheme
    ).wait()
    assert tab.page.evaluate("document.documentElement.scrollWidth") == 360
    for i in range(4):
        assert 250 < tab.chart(i).bounding_box()["width"] <= 360
    paper = tab.page.evaluate("getComputedStyle(document.body).backgroundColor")
    words = ("h1", "header p", "#chart-0 .mark-text text", "th[scope=row]", "#choices label")
    for place in words:
        of = "getComputedStyle(e).fill" if "text" in place else "getComputedStyle(e).color"
        ink = tab.page.locator(place).first.evaluate(f"e => {of}")
        assert browser.contrast(ink, paper) >= 4.5, (place, ink, paper)
    assert (browser.luminance(paper) < 0.1) == (scheme == "dark")
    tab.page.close()


def test_what_was_not_measured_is_said(chromium, run, tmp_path):
    page = page_of(rows_of(run).filter((pl.col("activation") == "tanh") | (pl.col("depth") == 3)))
    write(tmp_path, page, {"what": {"settings": {}}, "finished": False}, "The run was stopped: x.")
    tab = browser.Tab(chromium, tmp_path / names.REPORT).wait()
    assert "The run was stopped: x." in tab.page.locator("header").inner_text()
    assert not tab.page.locator("#note").is_visible()
    tab.choose("activation", "relu")
    assert tab.page.locator("#note").inner_text() == "Nothing was measured for this choice."
    tab.choose("depth", "3")
    assert not tab.page.locator("#note").is_visible()
    assert tab.said == []
    tab.page.close()


def write(folder, page, run, note=""):
    (folder / names.REPORT).write_bytes(run_page.Html(lambda: page, note).written(run).encode())


def page_of(rows):
    theory = depth_theory.predict(rows)
    cases = [depth_report.case_of(case, theory) for case in depth_report.by_case(rows)]
    gaps = rows.clear().select("activation", "label", "depth")
    return depth_page.page(depth_picture.Drawn.of(rows, theory, cases, ""), rows, gaps)


texts = st.text() | st.sampled_from([SCRIPT, "<!--", "-->", "]]>", "\u2028", "&lt;"])


@hypothesis.settings(max_examples=40, deadline=None, derandomize=True)
@hypothesis.given(st.recursive(texts, lambda t: st.lists(t) | st.dictionaries(texts, t)))
def test_json_in_a_script_is_the_same_json_without_a_tag(value):
    text = str(web.in_script(value))
    assert json.loads(text) == value
    assert not set(text) & set("<>&\u2028\u2029")


def test_every_text_of_the_page_is_escaped():
    page = run_page.Page(
        title=SCRIPT,
        subtitle=SCRIPT,
        answer=run_page.Answer(SCRIPT, more=SCRIPT),
        verdicts=(SCRIPT,),
        choices=(run_page.Choice("a", SCRIPT, (SCRIPT,), SCRIPT),),
        panels=(
            run_page.Panel(
                SCRIPT, SCRIPT, charts.alt.Chart(charts.alt.NamedData("d")).mark_point()
            ),
        ),
        data={"d": pl.DataFrame({"a": [SCRIPT]})},
        numbers=run_page.Numbers("d", {"a": SCRIPT}),
        tables=(run_page.Table(SCRIPT, (SCRIPT,), ((SCRIPT, SCRIPT),)),),
    )
    run = {"what": {"settings": {SCRIPT: SCRIPT}, "data": SCRIPT}, "versions": {SCRIPT: SCRIPT}}
    html = run_page.Html(lambda: page).written(run)
    assert SCRIPT not in html
    assert html.count(str(escape(SCRIPT))) == 22
