"""README and site: links, the reference, what is included from the source, and code that runs."""

import ast
import contextlib
import doctest
import functools
import inspect
import json
import os
import re
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path
from xml.etree import ElementTree

import again
import before_after
import browser
import found_and_cured
import hooks
import house
import hundred_layers
import polars as pl
import pytest
import rivals
import tables
import three_lines
from peers import need
from problems import as_users_have_jax

import jaxnn
from experiments.bench.rows import ROWS as BENCH_ROWS
from experiments.cures import columns as cures
from experiments.laws.columns import COLUMNS as LAW_COLUMNS
from experiments.laws.experiment import LAWS
from experiments.menagerie.menagerie_report import COLUMNS as MENAGERIE_COLUMNS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *PAGES]
PEERS = {"haiku", "keras", "torch"}  # of the extra `bench`
LANGUAGES = {"diff", "python", "py", "sh", "text", "toml", "yaml"}  # py is what cannot run


def text_of(path):
    return path.read_text(encoding="utf-8")


def name_of(path):
    return path.relative_to(ROOT).as_posix()


README = text_of(ROOT / "README.md")
each_text = pytest.mark.parametrize("path", TEXTS, ids=name_of)


# Code blocks


def fenced(path, language="python"):
    return re.findall(rf"^```{language}\n(.*?)^```", text_of(path), re.DOTALL | re.MULTILINE)


WITH_CODE = [path for path in TEXTS if fenced(path)]


def imported(code):
    """The packages that a block imports."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.partition(".")[0]


def run(name, blocks):
    """Run blocks in one scope, but those whose peers are not installed."""
    scope, ran = {}, 0
    with as_users_have_jax():
        for i, block in enumerate(blocks):
            try:
                need(*(PEERS & {*imported(block)}))
            except pytest.skip.Exception:
                continue
            exec(compile(block, f"{name}, block {i}", "exec"), scope)
            ran += 1
    return ran


@pytest.mark.slow
def test_the_article_s_network_runs():
    blocks = [block for block in fenced(DOCS / "article.md") if "jaxnn.Network(" in block]
    assert run("article", blocks) == 1


NUMBER = r"[-+]?\d+(?:\.\d+)?(?:e[-+]\d+)?"


@pytest.mark.slow
@pytest.mark.usefixtures("users_jax")
def test_the_readme_shows_what_is_printed(capsys):
    """Word for word, `…` standing for any; numbers but for their last digits."""
    need("torch")
    exec(fenced(ROOT / "README.md")[0], {})
    printed = capsys.readouterr().out.replace("\n", " ")
    for shown in re.findall(r"^```diff\n(.*?)^```", README, re.MULTILINE | re.DOTALL):
        text = re.sub(r"^[-+ ] ", "", shown, flags=re.MULTILINE).strip().replace("\n", " ")
        wanted = re.sub(NUMBER, "#", text).split("…")
        pattern = ".*".join(map(re.escape, wanted)).replace("\\#", f"({NUMBER})")
        match = re.search(pattern, printed)
        assert match, (pattern, printed)
        numbers = [float(n) for n in re.findall(NUMBER, text)]
        assert [float(n) for n in match.groups()] == pytest.approx(numbers, rel=0.2, abs=2e-3)


# Whose blocks tests/test_diagnosis.py and tests/test_primitives.py run.
ELSEWHERE = {DOCS / "guides" / "recipes.md", ROOT / "CONTRIBUTING.md"}


@pytest.mark.slow
@pytest.mark.parametrize("path", [path for path in WITH_CODE if path not in ELSEWHERE], ids=name_of)
def test_every_block_of_python_runs(path, monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    # One of them is a sweep, whose pictures take seconds.
    monkeypatch.setattr("experiments.pages.charts.begin", lambda figure, stem: dict)
    blocks = fenced(path)
    assert blocks
    assert run(name_of(path), blocks) >= len([b for b in blocks if not PEERS & {*imported(b)}])


@each_text
def test_every_fence_says_its_language(path):
    fences = re.findall(r"^ *```(\w*)", text_of(path), re.MULTILINE)
    assert len(fences) % 2 == 0
    assert {*fences[::2]} <= LANGUAGES
    assert {*fences[1::2]} <= {""}


@each_text
def test_code_is_80_columns_wide(path):
    """As wide as the site shows it on a screen of 1280; what is printed goes on below."""
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", text_of(path), re.DOTALL | re.MULTILINE)
    lines = [line for kind, block in blocks if kind != "text" for line in block.splitlines()]
    assert [line for line in lines if len(line) > 80] == []


def test_no_block_has_prompts_that_nothing_would_check():
    for path in WITH_CODE:
        for block in fenced(path):
            assert not doctest.DocTestParser().get_examples(block), path


# Links


@functools.cache
def slugs(path):
    """The anchors of a page: its headings as Python-Markdown names them, and names of objects."""
    text = text_of(path)
    included = hooks.LINK.fullmatch(text)
    without_code = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    found = {*re.findall(r"^::: (\S+)$", without_code, re.MULTILINE)}
    for heading in re.findall(r"^#+ (.*)$", without_code, re.MULTILINE):
        words = re.sub(r"[^\w\s-]", "", heading.lower().encode("ascii", "ignore").decode()).strip()
        found.add(re.sub(r"[-\s]+", "-", words))
    return found if included is None else found | slugs(ROOT / included[1])


@each_text
def test_every_link_leads_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(path)):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        # A page of a tutorial is made while the site is built.
        assert there.exists() or there.with_suffix(".py").exists(), target
        assert not anchor or anchor in slugs(there), target


# What the texts say of all functions


def test_a_network_is_the_first_argument_where_one_is_taken():
    for name in jaxnn.__all__:
        value = getattr(jaxnn, name)
        taken = list(inspect.signature(value).parameters) if inspect.isfunction(value) else []
        assert "net" not in taken[1:], name


# README


def test_the_readme_fits_a_screen_or_two():
    assert len(README.splitlines()) < 80


@pytest.mark.parametrize("heading", ["Run", "Test"])
def test_the_readme_s_commands_stand_alone(heading):
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    assert len(re.findall(r"^```", section, re.MULTILINE)) == 2, "one fenced block"


def test_the_version_is_one():
    assert f"\nversion: {jaxnn.__version__}\n" in text_of(ROOT / "CITATION.cff")
    assert f"\n## {jaxnn.__version__}" in text_of(ROOT / "CHANGELOG.md")


# The site's pages


def test_every_page_has_its_place_in_the_navigation():
    nav = text_of(ROOT / "mkdocs.yml").split("\nnav:\n")[1]
    listed = re.findall(r"^ *- (?:[^#:\n]+: )?(\S+\.(?:md|py|ipynb))$", nav, re.MULTILINE)
    assert len({*listed}) == len(listed)
    pages = [DOCS / page for page in listed]  # a tutorial becomes a page when the site is built
    assert all(page.exists() or page.with_suffix(".py").exists() for page in pages)
    assert {path.relative_to(DOCS).as_posix() for path in PAGES} <= {*listed}


def test_every_export_is_in_the_reference_once():
    listed = [
        name for path in PAGES for name in re.findall(r"^::: jaxnn\.(\S+)$", text_of(path), re.M)
    ]
    top = {name: getattr(jaxnn, name) for name in jaxnn.__all__ if name != "fit"}  # of jaxnn.train
    rooms = {name: value for name, value in top.items() if inspect.ismodule(value)}
    of_rooms = {f"{room}.{name}" for room, module in rooms.items() for name in module.__all__}
    expected = {*top} - {*rooms} | of_rooms | {"chain.Chain"}
    assert sorted(listed) == sorted(expected)


def test_names_and_keywords_in_the_text_of_a_page_exist():
    """`jaxnn.name` and `name(argument=…)`; and `argument=` alone is one of some public function."""
    by_name, keywords = {}, {"adjoint", "value", "island", "batch_first", "like"}  # not of ours
    for owner in (jaxnn, *filter(inspect.ismodule, map(partial(getattr, jaxnn), jaxnn.__all__))):
        for name in owner.__all__:
            value = getattr(owner, name)
            with contextlib.suppress(TypeError, ValueError):
                by_name.setdefault(name, set()).update(inspect.signature(value).parameters)
    keywords.update(*by_name.values())
    unknown = []
    for path in PAGES:
        prose = re.sub(r"^```.*?^```$", "", text_of(path), flags=re.M | re.S)
        for span in re.findall(r"`([^`\n]+)`", prose):
            for dotted in re.findall(r"\bjaxnn((?:\.[a-z_A-Z]\w*)+)", span):
                try:
                    functools.reduce(getattr, dotted[1:].split("."), jaxnn)
                except AttributeError:
                    unknown.append((path.name, span))
            call = re.fullmatch(r"(?:[\w.]+\.)?(\w+)\((.*)\)", span)
            if call and call[1] in by_name and call[1] != "sweep":
                given = re.findall(r"(?:^|, )(\w+)=", call[2])
                unknown += [(path.name, span) for v in given if v not in by_name[call[1]]]
            if (alone := re.fullmatch(r"([a-z]\w*)=\S*", span)) and alone[1] not in keywords:
                unknown.append((path.name, span))
    assert unknown == []


def test_every_picture_of_a_page_can_be_read_on_a_phone():
    """It has a narrow version, or is made for a phone itself: then it is a small one."""
    for path in PAGES:
        pictures = re.findall(r"^!\[(.*)\]\(.*\.svg\)$", text_of(path), re.MULTILINE)
        framed = re.findall(
            r'^<figure class="((?:small )?)picture" markdown>\n\n!\[.+\]\((\S+)\)\n\n</figure>$',
            text_of(path),
            re.MULTILINE,
        )
        assert len(pictures) == len(framed), path
        assert all(pictures), "what it shows, for those who do not see it"
        for small, name in framed:
            if not small:
                narrow = text_of(path.parent / f"{name.removesuffix('.svg')}-narrow.svg")
                assert int(re.search(r'<svg[^>]* width="(\d+)"', narrow)[1]) <= 358, name


def test_a_picture_is_part_of_its_page_in_the_ink_of_the_page():
    image = '<figure class="picture">\n<p><img alt="a &amp; b" src="../gradients.svg" /></p>\n'
    page = hooks.on_post_page(f"<p>before</p>{image}</figure><p>after</p>")
    parts = re.findall(r'<svg role="img" aria-label="a &amp; b"[^>]*class="(\w+)"', page)
    assert parts == ["wide", "narrow"]
    assert "<img" not in page
    assert 'fill="white"/><g' not in page
    assert 'fill="black"' not in page
    assert page.count('fill="currentColor"') > 20
    own = re.findall(r'\bid="([^"]+)"', page)
    assert len(own) == len({*own})
    assert {*re.findall(r"url\(#([^)]+)\)", page)} <= {*own}
    small = image.replace("picture", "small picture")
    assert hooks.on_post_page(small) == small


@pytest.mark.parametrize("name", again.SOURCES)
def test_a_picture_is_not_older_than_the_code_that_draws_it(name):
    drawn = json.loads(text_of(again.DRAWN))
    assert drawn.get(name) == again.digest(name), (
        f"python docs/again.py {name} draws it; --right {name} says that it is still right"
    )


def test_the_picture_of_the_house_has_its_rooms():
    for name in house.PICTURES:
        shown = {*ElementTree.fromstring(text_of(DOCS / f"{name}.svg")).itertext()}
        rooms = {room.removeprefix("jaxnn.").replace(".", "/") for room in house.rooms()}
        assert rooms <= shown, "run python docs/again.py house"


# What is included


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_tables_and_code_of_a_page_are_those_of_today(path):
    text = text_of(path)
    assert tables.written(text) == text, "run python docs/tables.py"
    assert len(tables.WRITTEN.findall(text)) == len(re.findall(r"<!-- (?:code|table)\b", text))


def test_a_page_that_links_to_a_file_alone_shows_it():
    page = hooks.on_page_markdown(text_of(DOCS / "contributing.md"))
    assert page == text_of(ROOT / "CONTRIBUTING.md").replace("](docs/", "](")


def test_code_comes_as_it_stands_without_its_docstring():
    code = tables.source(ROOT / "jaxnn/network/blocks/dense.py", "Dense.backward")
    assert code.splitlines()[0] == "def backward("
    assert '"""' not in code
    assert "    delta_a = matmul(delta, layer.theta.T)  # (3)" in code.splitlines()
    compile(code, "Dense.backward", "exec")
    with pytest.raises(LookupError, match=r"^dense.py has no backwards$"):
        tables.source(ROOT / "jaxnn/network/blocks/dense.py", "Dense.backwards")
    code = tables.source(ROOT / "jaxnn/network/tasks.py", "CLASSES_BY_NUMBER")
    assert code.startswith("CLASSES_BY_NUMBER = ")


def test_every_formula_of_the_derivation_has_its_code():
    text = text_of(DOCS / "article.md")
    numbered = re.findall(r"\\qquad \((\d)\)\$\$", text)
    code = tables.source(ROOT / "jaxnn/network/blocks/dense.py", "Dense.backward")
    assert numbered == re.findall(r"# \((\d)\)$", code, re.MULTILINE) == ["1", "2", "3", "4"]


@pytest.mark.parametrize(
    ("page", "loads"),
    [
        ('<script src="https://cdn.example/x.js">', "https://cdn.example/x.js"),
        ("<script async src=//cdn.example/x.js>", "//cdn.example/x.js"),
        ('<link rel="stylesheet" href="https://fonts.example/css">', "https://fonts.example/css"),
        ('<link href="https://fonts.example" rel="preconnect">', "https://fonts.example"),
        ('<img alt="" src="http://example/x.png">', "http://example/x.png"),
        ("<style>@import url(https://fonts.example/css)</style>", "https://fonts.example/css"),
        ('<a href="https://arxiv.org">', None),
        ('<link rel="canonical" href="https://example/">', None),
        ('<script src="assets/x.js">', None),
        ("<style>a { background: url(data:image/svg+xml;,//x) }</style>", None),
    ],
)
def test_what_a_page_would_load_from_another_host(page, loads, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "index.html").write_text(page, encoding="utf-8")
    found = hooks.loaded_from_elsewhere(tmp_path)
    assert found == ([] if loads is None else [f"sub/index.html: {loads}"])


# Tables of measured numbers


def test_the_laws_are_all_in_the_table():
    records = tables.read("laws")
    known = {str(law.number): (law.name, law.source) for law in LAWS}
    listed = {r["number"]: (r["law"], r["source"]) for r in records}
    assert listed == known
    assert [*tables.TITLES] == [law.name for law in LAWS]


def test_what_the_laws_do_not_see_to_six_percent_has_its_reason():
    text = tables.markdown("laws")
    assert all(f" {factor}: {why}." in text for law in LAWS for factor, why in law.coarse)
    coarse = {
        (r["law"], r["factor"])
        for r in tables.read("laws")
        if r["power"] and float(r["power"]) > 0.06
    }
    assert coarse <= {(law.name, factor) for law in LAWS for factor, _ in law.coarse}


def test_every_law_says_its_papers_and_what_it_would_see():
    """But for laws of which no factor is tested, with a reason."""
    tested = {record["law"] for record in tables.read("laws") if record["power"]}
    assert all(law.coarse for law in LAWS if law.name not in tested)
    sections = tables.markdown("laws").split("<summary>")[1:]
    for section, law in zip(sections, LAWS, strict=True):
        assert re.search(r"\[[^]]+ 20\d\d\]\(https://\S+\)", section), section[:60]
        assert "| case | predicted | measured | tolerance |" in section
        seen = re.search(r"An error of .* would be seen", section)
        assert bool(seen) == (law.name in tested), section[:60]


def collected(folder, experiment, rows, columns=None, **about):
    """Collect the tables of a run of rows, which has `settings` and what else it is `about`."""
    (folder / "run").mkdir(exist_ok=True)
    about |= {"versions": {"python": "3.13.1", "jax": "0.10.2"}, "devices": ["cpu: cpu"]}
    about |= {"finished": True, "started": "2026-01-02T03:04:05"}
    about["what"] = {"experiment": experiment, "settings": about.pop("settings", {})}
    (folder / "run" / "run.json").write_text(json.dumps(about), encoding="utf-8")
    kinds = columns and {name: column.dtype for name, column in columns.items()}
    pl.DataFrame(rows, kinds).write_parquet(folder / "run" / "rows.parquet")
    tables.collect(folder / "run", folder)
    return tables.markdown(experiment, folder)


def test_a_run_of_laws_becomes_a_table(tmp_path, snapshot):
    row = {"law": "residual", "source": LAWS[12].source, "relation": "=", "reason": "because"}
    row |= {"predicted": 1.0, "standard_error": 0.0123, "tolerance": 0.5}
    row |= {"chi_square": 4.25, "freedom": 2.5, "chance": 0.31, "factor": "χ", "power": 0.034}
    rows = [
        row | {"case": f"case {i}", "measured": 1.0 + 0.2 * i, "holds": i < 3} for i in range(5)
    ]
    assert collected(tmp_path, "laws", rows, LAW_COLUMNS) == snapshot(name="laws")
    with pytest.raises(ValueError, match="expected a full run of laws, got one with --quick"):
        collected(tmp_path, "laws", rows, LAW_COLUMNS, settings={"quick": True})


def test_a_run_of_some_laws_replaces_theirs(tmp_path):
    """Rows of other laws stay, in the order of the laws, and the days of all are stored."""
    row = {"source": "s", "relation": "=", "predicted": 1.0, "tolerance": 0.5, "reason": "because"}

    def run(laws, measured, of_some=()):
        of_law = {"case": "a", "measured": measured, "holds": measured < 1.5}
        rows, settings = [row | of_law | {"law": law} for law in laws], {"law": list(of_some)}
        return collected(tmp_path, "laws", rows, LAW_COLUMNS, settings=settings)

    run(["residual", "shattered-gradients"], 1.0)
    text = run(["width-alone", "residual"], 2.0, ["width-alone", "residual"])
    holds = [(record["number"], record["holds"]) for record in tables.read("laws", tmp_path)]
    assert holds == [("13", "no"), ("14", "no"), ("15", "yes")]
    assert text.startswith("**1 of 3 comparisons hold.** Measured 2026-01-02")
    days = json.loads(text_of(tmp_path / "about.json"))["laws"]["anew"]
    assert days == dict.fromkeys(("width-alone", "residual"), "2026-01-02")


def test_a_kind_of_wide_network_shows_its_layer_that_is_farthest_off(snapshot):
    def record(case, measured, law="wide-twin"):
        of = {"law": law, "case": case, "power": "0.031", "predicted": "-0.1", "tolerance": "0.03"}
        return of | {"measured": str(measured)}

    records = [
        record("no norm: Δ of layer 1", -0.11),
        record("no norm: Δ of layer 2", -0.125),
        record("no norm: state of layer 1", -0.1),
        record("no norm: state of layer 1", 5.0, law="other"),
    ]
    assert "\n".join(tables.twins(records)) == snapshot
    written = tables.markdown("twins").splitlines()
    assert len(written) == 2 + 16


def test_a_run_of_the_benchmark_becomes_a_table(tmp_path, snapshot):
    known = next(row for row in BENCH_ROWS if row.overall is not None)

    def run(ratios, **settings):
        about = {"row": known.name, "kind": "warm", "goal": 1.0, "pairs": 7, "difference": 0.0}
        about |= {"ratio_low": 0.9, "ratio_high": 1.3, "ours": 0.05, "theirs": 2.0}
        rows = [
            about | {"case": case.name, "ratio": ratio, "holds": ratio < 1}
            for case, ratio in zip(known.cases, ratios, strict=False)
        ]
        machine = {"processor": "a processor", "cores": 2, "peers": {}}
        return collected(tmp_path, "bench", rows, machine=machine, settings=settings)

    assert run((0.9, 1.25, 1.25, 1.25, 1.25)) == snapshot
    run((0.8, 0.75), row=[known.name])
    records = tables.read("bench", tmp_path)
    assert [record["ratio"] for record in records[:2]] == ["0.8", "0.75"]
    assert len(records) == 6


def test_runs_of_the_menagerie_become_one_table(tmp_path, snapshot):
    row = dict.fromkeys(("layers", "arrays", "compared"), 3) | {"title": "nn.X"}
    row |= {"difference": 3e-16, "where": "a", "dtype": "float64", "unmeasured": 0, "seconds": 1.26}
    row["message"] = "Error:\n no `cut`"
    for package, results in (("a", "refused"), ("b", "measured"), ("a", "measured absent")):
        of_each = enumerate(results.split())
        rows = [row | {"package": package, "network": str(i), "result": r} for i, r in of_each]
        text = collected(tmp_path, "menagerie", rows, MENAGERIE_COLUMNS)
    assert text == snapshot


def test_a_run_of_something_else_is_refused(tmp_path):
    said = "expected a finished run of laws, bench or menagerie, got 'depth'"
    with pytest.raises(ValueError, match=said):
        collected(tmp_path, "depth", {})


# The built site


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The address of the built site, served from this machine."""
    need("mkdocs", "mkdocstrings", "latex2mathml")
    folder = tmp_path_factory.mktemp("site")
    answer = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "JAXNN_TUTORIALS": "no"},  # not run here
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_the_site_is_read_on_a_phone_without_any_other_host(site):
    with browser.launched() as chromium:
        page = chromium.new_page(viewport={"width": 390, "height": 844})
        asked, said = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        for path in PAGES:
            name = path.relative_to(DOCS).with_suffix("").as_posix()
            place = "" if name == "index" else re.sub("(^|/)index$", r"\1", name)
            page.goto(f"{site}/{place}")
            wider = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            assert page.evaluate(wider) == 0, name
            cut = "all => all.filter(e => e.scrollHeight > e.clientHeight).length"
            assert page.locator(".formula").evaluate_all(cut) == 0, name
        page.goto(f"{site}/article/")
        assert page.locator("math").count() > 40
        assert not page.locator("merror, .arithmatex").count()
        page.locator("label[for=__search]").first.click()
        page.locator("input[name=query]").press_sequentially("shard_map")
        page.locator(".md-search-result__link").first.wait_for(timeout=20_000)
    assert {url.split("/")[2] for url in asked if url.startswith("http")} == {site.split("/")[2]}
    assert said == []


def test_what_was_printed_of_networks_of_packages_is_on_its_page():
    stored = json.loads(text_of(DOCS / "data" / "found_and_cured.json"))
    page = text_of(DOCS / "found-and-cured.md")
    names = re.findall(r"<!-- table: found (\w+) -->", page)
    names.remove("training")
    cases = stored["trained"]["recall"]
    accuracies = [case["accuracy"][0] for case in cases]
    assert accuracies[0] < 0.6 < 0.8 < accuracies[1]
    assert f"| {accuracies[1]:.3g} ± {cases[1]['accuracy'][1]:.2g} |" in page
    for name in names:
        record = stored[name]
        for when in ("before", "after"):
            printed = "".join(f"> {line}  \n" for line in record[when])
            assert f"\n{printed}\n" in re.sub(r"\\([*_`<>])", r"\1", page)
        assert record["before"][0].startswith(("Exploding", "Vanishing"))
        assert record["after"][0].startswith("Steady")
        assert record["changes"][0]["works"]
        assert record["changes"][0]["advice"] in page


def test_first_cures_and_rivals_become_a_line_a_network_and_a_line_a_remedy(
    tmp_path, monkeypatch, snapshot
):
    """A first cure that is lost is bold, and what was not trained for a length stays empty."""
    names = [*rivals.ILL][:2]
    of_remedy = {"skip": 0.9, "He": 0.8, "as it is": 0.95}
    monkeypatch.setattr(rivals, "DATA", tmp_path / "rivals.csv")
    for step, of in ((9, names), (20, names[:1])):
        reached = of_remedy if step == 9 else dict.fromkeys(of_remedy, 0.7) | {"He": 1.0}
        place = {"framework": "torch", "depth": 9, "rate": 0.1, "step": step}
        rows = [
            cures.rows_of({"accuracy": value + 0.002 * seed * (value < 1)}, **place,
                          network=name, change=remedy, seed=seed, advice="")
            for name in of for remedy, value in reached.items() for seed in (0, 1)
        ]  # fmt: skip
        (folder := tmp_path / str(step)).mkdir()
        pl.concat(rows).write_parquet(folder / "rows.parquet")
        (folder / "run.json").write_text(json.dumps({"what": {"settings": {"steps": step}}}))
        monkeypatch.setattr("sys.argv", ["rivals.py", str(folder)])
        rivals.main()
    assert rivals.markdown("networks") == snapshot(name="networks")
    assert rivals.markdown("means") == snapshot(name="means")


def test_the_first_cure_is_ahead_of_every_package_as_the_page_says():
    """On at least eighteen of twenty it holds, and its mean is above that of what others write."""
    compared = [one for one in rivals.read() if one.step == 300]
    assert len(compared) == 20
    assert sum(one.holds for one in compared) >= 18
    mean = rivals.means_of(compared)
    assert mean["first cure"] > max(mean[name] for name in ("anyinit", "GradInit", "LSUV"))


def test_a_hundred_layers_train_cured_as_the_page_says():
    """The numbers that are stored say what the page says."""
    rows = hundred_layers.read()
    assert {row["activation"] for row in rows} <= {*hundred_layers.ACTIVATIONS}
    of = dict[str, dict[bool, list[float]]]()
    for row in rows:
        cured = row["weights"].startswith("cured: ")
        of.setdefault(row["activation"], {}).setdefault(cured, []).append(float(row["accuracy"]))
        assert (row["seeds"], row["steps"]) == ("5", "300")
        if not row["weights"]:
            assert float(row["accuracy"]) < 0.2
    best = {name: (max(of[name][True]), max(of[name][False])) for name in of if True in of[name]}
    for name in hundred_layers.ACTIVATIONS:
        assert best[name][0] > 0.95 > 0.7 > best[name][1], name
    matrices = {
        row["weights"]: float(row["accuracy"]) for row in rows if row["activation"] == "gelu"
    }
    assert matrices["lsuv"] > matrices["cured: orthogonal"]


def test_a_run_of_cures_becomes_rows_of_the_table(tmp_path):
    """The best step size of each change, with its advice; means with errors."""
    what = {"settings": {"network": "a.py:tanh_lsuv", "seeds": 2, "steps": 10}}
    (tmp_path / "run.json").write_text(json.dumps({"what": what}))
    rows = []
    for name, seed in product(("as it is", "scale"), (0, 1)):
        place = {"network": "a.py:tanh_lsuv", "framework": "jax", "change": name, "depth": 2}
        place |= {"seed": seed, "advice": "Multiply by 2." if name == "scale" else ""}
        rows.append(cures.rows_of({"log10_delta": [2.0, 1.0]}, **place, layer=[1, 2]))
        for rate in (0.1, 0.2):
            share = (name == "scale") * (1.1 - rate - 0.2 * seed)
            rows.append(
                cures.rows_of({"accuracy": share, "loss": 2.0}, **place, step=10, rate=rate)
            )
    pl.concat(rows).write_parquet(tmp_path / "rows.parquet")
    before, cured = hundred_layers.of_run(tmp_path)
    assert (before["activation"], before["weights"]) == ("tanh", "lsuv")
    assert (cured["weights"], cured["advice"]) == ("cured: scale", "Multiply by 2.")
    assert [cured[k] for k in ("decades", "rate", "accuracy", "error")] == [
        "1",
        "0.1",
        "0.9",
        "0.1",
    ]
    sizes = before_after.of_run(tmp_path)
    assert sizes == ([1.0, 0.0], [1.0, 0.0])
    ((scale,),) = (reached[1:] for reached in found_and_cured.trained(tmp_path).values())
    assert scale == {
        "change": "scale", "decades": 1.0, "rate": 0.1, "loss": [2.0, 0.0], "accuracy": [0.9, 0.1]
    }  # fmt: skip


def test_the_picture_of_three_lines_is_that_of_its_numbers_and_has_one_that_stands_still():
    told = three_lines.read()
    moving, still = three_lines.drawn(told, three_lines.MOTION), three_lines.drawn(told)
    assert three_lines.PICTURE.read_text(encoding="utf-8") == moving
    assert three_lines.STILL.read_text(encoding="utf-8") == still
    assert ("animation" in moving, "animation" in still) == (True, False)
    assert len(moving) < 500_000
    assert told.after[-1] < 0.1 < 2 < told.before[-1]
    assert f"{told.learns} {told.change} The loss stays at 2.3 as it is, and falls to " in README
    ElementTree.fromstring(moving)


def test_cells_of_a_wide_table_know_their_column():
    head = (
        "<table>\n<thead>\n<tr>\n<th>a</th>\n<th><code>b</code></th>\n<th>c</th>\n</tr>\n</thead>"
    )
    row = '<tr>\n<td>1</td>\n<td style="x">2</td>\n<td>3 <code>x</code></td>\n</tr>'
    page = hooks.on_page_content(f"{head}\n<tbody>\n{row}\n{row}\n</tbody>\n</table>")
    assert page.startswith("<table data-wide>")
    assert page.count('<td data-column="b" style="x">2</td>') == 2
    assert page.count('<td data-column="c"><div>3 <code>x</code></div></td>') == 2
    narrow = head.replace("<th>c</th>", "") + "</table>"
    assert hooks.on_page_content(narrow) == narrow


def test_the_picture_before_and_after_is_that_of_its_numbers():
    sizes = before_after.read()
    assert before_after.PICTURE.read_text(encoding="utf-8") == before_after.drawn(sizes)
    assert sizes.before[0] < -10
    assert all(abs(v) < 1.5 for v in sizes.after)
    assert sizes.before[-1] == sizes.after[-1] == 0
    page = (before_after.DOCS / "cures.md").read_text(encoding="utf-8")
    assert "10⁻¹⁶ at the input" in page
    ElementTree.fromstring(before_after.drawn(sizes))
