"""Names that a terminal obeys, XML forbids or UTF-8 cannot hold, wherever they are shown."""

import json
import logging
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
import vl_convert
from markupsafe import Markup

import jaxnn
from experiments import __main__ as main
from experiments.pages import run_page, tables, web
from experiments.runs import progress
from jaxnn.cli import command, diagnosis
from jaxnn.flow.view.chart import svg
from jaxnn.texts import clean, clean_lines, cleaned

ROOT = Path(__file__).parent.parent
HIDDEN = "\x00\x07\x1b\t\n\r\x7f\x85\x9f\u200b\u200e\u2028\u2029\u202e\u2066\ufeff\ud800\udfff"
HIDDEN += "\ufdd0\ufffe\uffff\U0001fffe\U0010ffff"
SHOWN = "a.b[0]'\"\\ </script> naïve 東京\u3000大阪 \xa0 می\u200cخواهم 👩\u200d🔬 −½ ‖Δ‖ �"
EVIL = ("c\x1b[31mv", "c\x07[31mv", "c�[31mv", "plain")
NAMES = {"c�[31mv (3)", "c�[31mv (2)", "c�[31mv", "plain"}


@pytest.mark.parametrize("character", HIDDEN)
def test_what_cannot_be_shown_is_replaced(character):
    assert clean(f"a{character}b") == "a�b"


def test_what_can_be_shown_stays():
    assert clean(SHOWN) is SHOWN or clean(SHOWN) == SHOWN


def test_every_clean_character_has_a_place_in_xml():
    """As expat reads it, which is another list than ours."""
    text = clean("".join(map(chr, [*range(0x11000), *range(0x10FF00, 0x110000)])))
    element = ElementTree.Element("a")
    element.text = text
    assert ElementTree.fromstring(ElementTree.tostring(element, "utf-8")).text == text


def test_one_is_no_plural(capsys):
    with progress.view("drawing", quiet=False, total=1) as tell:
        tell("one")
        tell(None)
    assert capsys.readouterr().err.splitlines()[1][:13] == "1 of 1 cell, "
    (net, _), (several, _) = map(jaxnn.as_network, ([jnp.tanh], [jnp.tanh] * 2))
    assert repr(net).startswith("Chain of 1 layer, ")
    assert repr(several).startswith("Chain of 2 layers, ")


def test_lines_stay_lines():
    assert clean_lines("one\n\x1btwo\r\n") == "one\n�two�\n"


class Pair(NamedTuple):
    """A named tuple, as pages are made of."""

    one: object
    other: object


def test_texts_that_differ_still_differ_and_are_renamed_wherever_they_stand():
    value = {"names": EVIL, EVIL[0]: Pair([1.5, EVIL[0]], None), "page": Markup("<b>\x1b</b>")}
    got = cleaned(value)
    names = dict(zip(EVIL, got["names"], strict=True))
    assert set(names.values()) == NAMES
    assert names["c�[31mv"] == "c�[31mv"
    assert got[names[EVIL[0]]] == Pair([1.5, names[EVIL[0]]], None)
    assert got["page"] is value["page"]
    assert type(got[names[EVIL[0]]]) is Pair
    assert cleaned([*reversed(EVIL)]) == [names[name] for name in reversed(EVIL)]


def flow_of(names):
    """The flow of a chain with layers of these names, whose examples are the same."""
    net, params = jaxnn.as_network(dict.fromkeys(names, jnp.tanh))
    return jaxnn.gradient_flow((net, params), np.ones((3, 4)), cotangent=np.ones((3, 4)))


@pytest.fixture(scope="module")
def flow():
    return flow_of(EVIL)


def texts_of(value):
    """Every text in a value of JSON."""
    return {text for text in json.dumps(value, ensure_ascii=False).split('"') if text}


def test_a_chart_holds_no_text_that_ends_the_process(flow):
    """Its user draws it with Altair, which hands it to the engine as it is."""
    spec = jaxnn.chart(*[flow] * 4, names=EVIL).to_dict()
    assert {row["flow"] for row in spec["data"]["values"]} == NAMES
    assert {row["name"] for row in spec["data"]["values"]} == NAMES
    domain = spec["vconcat"][0]["layer"][0]["encoding"]["color"]["scale"]["domain"]
    assert [*dict.fromkeys(row["flow"] for row in spec["data"]["values"])] == domain
    assert texts_of(spec) == {*map(clean, texts_of(spec))}


def test_a_chart_for_a_page_is_cleaned(flow, monkeypatch):
    handed = []

    def convert(spec, vl_version):
        handed.append(spec)
        return '<svg width="100">'

    monkeypatch.setattr(vl_convert, "vegalite_to_svg", convert)
    svg(jaxnn.chart(flow).properties(title="t\x1b"))
    assert handed[0]["title"] == "t�"


class Scripts(HTMLParser):
    """The number of scripts of a page."""

    count = 0

    def handle_starttag(self, tag, attrs):
        self.count += tag == "script"


@pytest.mark.parametrize("name", ["</script><script>alert(1)", "<!--<script>"])
def test_a_name_does_not_end_the_script_of_a_saved_chart(flow, name):
    count = {}
    for names in (["a", "b"], [name, "b"]):
        scripts = Scripts()
        page = jaxnn.chart(flow, flow, names=names).to_html()
        scripts.feed(page)
        count[names[0]] = scripts.count
    assert len(set(count.values())) == 1
    assert "<!-" not in page


def test_a_diagnosis_prints_and_shows_clean_names(flow):
    result = jaxnn.Diagnosis(flow, "loss", "note\x1b")
    shown = [*diagnosis.plain_table(flow.table()), *diagnosis.sentences(result, "")]
    shown += [*str(jaxnn.verdict(flow)).split("\n"), diagnosis.subtitle(result, "f() of a\x1b.py")]
    net, _ = jaxnn.as_network(dict.fromkeys(EVIL, jnp.tanh))
    shown += [repr(net), flow._repr_html_(), jaxnn.verdict(flow)._repr_html_()]
    for text in shown:
        assert clean(text) == text
    assert " c�[31mv (3) up" in str(jaxnn.verdict(flow))
    assert all(any(name in line[:40] for line in shown) for name in NAMES)
    assert "<td>c�[31mv (2)</td>" in flow._repr_html_()
    assert [row["name"] for row in flow.table()] == [*EVIL]  # which are data


def test_tables_sentences_and_logs_of_experiments_steer_no_terminal(capsys):
    table = tables.table("title\x1b", "head\x1b", "other\x9b")
    table.add_row(EVIL[0], "0.5\x1b")
    console = tables.console()
    tables.printed(table, console)
    tables.sentences(["sentence\x1b"], console)
    record = logging.LogRecord("jaxnn", logging.INFO, "", 0, "read %s\nand more", (EVIL[0],), None)
    print(main.LogFormatter("%(message)s").format(record))
    assert main.main(["show", "no\x1b[31m"]) == 2
    said = "".join(capsys.readouterr())
    assert clean_lines(said) == said
    for words in (
        "title�",
        "sentence�",
        "head�",
        "other�",
        "c�[31mv",
        "0.5�",
        "read c�[31mv\nand",
        "no�[31m",
    ):
        assert words in said


def test_a_mistake_in_a_command_steers_no_terminal(capsys):
    assert command.main(["diagnose", "no\x1b[31m\x07.py:f"]) == 2
    assert "cannot read no�[31m�.py" in capsys.readouterr().err


def test_pages_are_clean_in_their_words_and_in_their_data(monkeypatch):
    """Halves of pairs too, with which a page could not be written."""
    monkeypatch.setattr(web, "library", lambda: "")
    names = (*EVIL, "a\udcff")
    frame = pl.DataFrame({"name": EVIL})
    table = run_page.Table("caption\x1b", names, (names,))
    numbers = run_page.Numbers("d", {"name": names[-1]})
    verdicts = tuple(name for name in names)
    answer = run_page.Answer(names[-1])
    of_run = run_page.Page(
        "t", names[-1], answer, verdicts, (), (), {"d": frame}, numbers, (table,)
    )
    about = {"what": {"settings": {"data": names[-1]}}, "not_drawn": ["it said \x1b"]}
    page = run_page.Html(lambda: of_run).written(about)
    page.encode()
    assert clean_lines(page) == page
    assert all(f"<li>{name}</li>" in page for name in (*NAMES, "a�"))
    data = page.rpartition("application/json")[2]
    assert all(f'"{name}"' in data for name in NAMES)


def run(*arguments):
    """Run Python on this checkout, and return what it printed; it must not end by a signal."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
    return (done.stdout + done.stderr).decode()


@pytest.mark.slow
def test_the_engine_draws_any_name_that_is_cleaned(tmp_path):
    """In a process of its own, which it would end."""
    code = f"""
import json
import altair as alt, jax.numpy as jnp, jaxnn, numpy as np
from experiments.pages import engine
names = [f"a{{c}}" for c in json.loads({json.dumps(json.dumps([*HIDDEN, SHOWN]))})]
data = alt.Data(values=[{{"n": name, "v": 1}} for name in names])
chart = alt.Chart(data).mark_bar().encode(x="n:N", y="v:Q").properties(title=names[0])
picture = engine.begin("picture", chart.to_dict(), 1)()
print(picture.svg.count("a�".encode()), picture.pdf[:4], picture.png[1:4])
net, params = jaxnn.as_network({{name: jnp.tanh for name in names}})
flow = jaxnn.gradient_flow((net, params), np.ones((2, 3)), cotangent=np.ones((2, 3)))
chart = jaxnn.chart(*[flow] * len(names), names=names)
for ending in ("svg", "png", "pdf"):
    chart.save({str(tmp_path)!r} + f"/flow.{{ending}}")
chart._repr_mimebundle_()
"""
    count, pdf, png = run("-c", code).split()
    assert int(count) >= len(HIDDEN)
    assert (pdf, png) == ("b'%PDF'", "b'PNG'")
    svg = ElementTree.parse(tmp_path / "flow.svg").getroot()
    assert len({text for text in svg.itertext() if text.startswith("a�")}) == len(HIDDEN)
