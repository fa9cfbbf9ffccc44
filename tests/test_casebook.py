"""The casebook: its tables, its scores on answers made by hand, and a case from end to end."""

import ast
import contextlib
import csv
import hashlib
import importlib.util
import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import optax
import peers
import polars as pl
import pytest

from experiments.casebook import case, checked, data, experiment, program, said, scores
from experiments.casebook.columns import COLUMNS
from experiments.casebook.said import BEFORE, Reply, Said
from experiments.casebook.scores import MISSED, NONE, PARTLY, RIGHT
from experiments.menagerie import catalogue
from jaxnn.trials.race import CHANGES

FOLDER = Path(case.__file__).parent
DOCS = FOLDER.parents[1] / "docs"
CASE = case.Case(
    name="one",
    file="jax_ends",
    part=case.SCORE,
    source="so-1",
    fault="end",
    wrong="w",
    fix="f",
    causes=frozenset(["oneunit"]),
    symptoms=frozenset(["output", "zero"]),
    advice=frozenset(["oneunit"]),
    place="layer3",
    changes=frozenset(),
)
ARRAYS = [(1, "['layer1']['w']"), (3, "['layer3']['w']")]


@cache
def functions_of(file):
    text = (FOLDER / "programs" / f"{file}.py").read_text(encoding="utf-8")
    return {node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}


def test_a_case_is_of_the_vocabulary_and_has_a_program():
    words = case.vocabulary()
    for one in case.cases():
        assert one.fault in case.FAULTS, one.name
        assert one.framework in case.PACKAGES, one.name
        assert one.part in case.PARTS, one.name
        assert one.causes, one.name
        assert one.causes | one.symptoms | one.advice <= words, one.name
        assert not one.causes & one.symptoms, one.name
        assert one.advice <= one.causes, one.name
        assert one.changes <= {"other", *CHANGES}, one.name
        assert one.name in functions_of(one.file), one.name


def test_a_source_of_a_benchmark_is_listed():
    with (FOLDER / "sources.csv").open(encoding="utf-8", newline="") as file:
        known = [row["id"].partition("@")[0] for row in csv.DictReader(file)]
    for one in case.cases():
        for prefix, start in case.SOURCES.items():
            if one.source.startswith(prefix):
                assert start + one.source.removeprefix(prefix) in known, one.name


def unwatched(*step, **options):
    return contextlib.nullcontext()


AFTERWARDS = case.SCORED, case.BLIND  # written after the rules, by somebody else
TRAINED = [one for one in case.cases() if one.framework == "torch" or one.part in AFTERWARDS]


@pytest.mark.slow
@pytest.mark.usefixtures("users_jax")
@pytest.mark.parametrize("one", TRAINED, ids=lambda one: one.name)
@pytest.mark.filterwarnings(
    "ignore:overflow encountered:RuntimeWarning",
    "ignore:std.*degrees of freedom:UserWarning",  # of a batch of one
    "ignore:Detected call of `lr_scheduler:UserWarning",
)
def test_a_fault_hurts_a_training_that_its_fix_cures(one):
    peers.need(case.PACKAGES[one.framework])
    programs = (one.program(is_cured) for is_cured in (False, True))
    ill, cured = (made.train(made, unwatched) for made in programs)
    assert cured.score > ill.score + 0.02
    assert np.mean(cured.losses[-10:]) < 0.8 * np.mean(cured.losses[:3])


def test_parts_of_what_was_never_blind_were_drawn_by_a_hash_of_the_name():
    for one in case.cases():
        drawn = hashlib.sha256(f"46 {one.name}".encode()).digest()
        assert one.part in {(case.WRITE, case.SCORE)[drawn[0] % 2], *AFTERWARDS}, one.name


def test_blind_cases_are_asked_only_if_somebody_asks_for_them():
    asked = {cell.case for cell in experiment.prepare(experiment.Settings()).cells}
    assert asked == {one.name for one in case.cases() if one.is_installed} - blind()
    settings = experiment.Settings(parts=(case.BLIND,))
    if blind():
        assert {cell.case for cell in experiment.prepare(settings).cells} <= blind()


def blind():
    return {one.name for one in case.cases() if one.part == case.BLIND}


@pytest.mark.parametrize(
    ("rules", "cause", "advice", "others"),
    [
        (["oneunit"], RIGHT, RIGHT, ()),
        (["output", "oneunit"], RIGHT, RIGHT, ()),  # a symptom comes first
        (["largest", "oneunit"], PARTLY, PARTLY, ("largest",)),  # something else does
        (["output"], PARTLY, MISSED, ()),
        (["largest"], MISSED, MISSED, ("largest",)),
        ([], MISSED, MISSED, ()),
    ],
)
def test_marks_of_what_is_said_in_its_order(rules, cause, advice, others):
    answer = Reply([Said(BEFORE, rule, advises=True) for rule in rules], ARRAYS, 3)
    score = scores.score(CASE, answer)
    assert (score.cause, score.advice, score.others) == (cause, advice, others)


def test_what_advises_nothing_is_no_wrong_advice():
    answer = Reply([Said(BEFORE, "largest"), Said(5, "oneunit", advises=True)], ARRAYS, 3)
    score = scores.score(CASE, answer)
    assert (score.cause, score.advice, score.step) == (PARTLY, RIGHT, 5)


@pytest.mark.parametrize(
    ("one", "place"),
    [
        (Said(BEFORE, "oneunit", 3), RIGHT),
        (Said(BEFORE, "oneunit", None, "['layer3']['b']"), RIGHT),
        (Said(BEFORE, "oneunit", 1, "['layer1']['w']"), MISSED),
        (Said(BEFORE, "output", 3), PARTLY),
        (Said(BEFORE, "oneunit"), MISSED),
    ],
)
def test_marks_of_places(one, place):
    assert scores.score(CASE, Reply([one], ARRAYS, 3)).place == place


def test_places_that_are_no_layers_and_none():
    answer = Reply([Said(BEFORE, "oneunit"), Said(BEFORE, "inputs")], ARRAYS, 3)
    assert answer.is_at(answer.said[0], case.OUTPUT)
    assert answer.is_at(answer.said[1], case.INPUTS)
    assert not answer.is_at(answer.said[0], case.INPUTS)
    assert answer.is_at(Said(0, "still", 3), case.OUTPUT)
    assert scores.score(replace(CASE, place=""), answer).place == NONE


@pytest.mark.usefixtures("users_jax")
@pytest.mark.parametrize(
    ("before", "answer", "changes", "outcome"),
    [
        (0.2, ("no decay", 0.5), (), ("learns", "no_decay", RIGHT)),
        (0.2, ("no decay", 0.44), (), ("fails", "no_decay", RIGHT)),  # less than the margin above
        (0.76, ("no decay", 1.0), (), ("learned", "no_decay", RIGHT)),  # 1 is the best score
        (0.2, None, ("column", "inputs"), ("learns", "inputs", MISSED)),  # the first that applies
        (0.2, None, ("column",), ("words", "", NONE)),
    ],
)
def test_the_first_advice_is_made(before, answer, changes, outcome, monkeypatch):
    made = answer and SimpleNamespace(names=answer[:1], value=answer[1], advice="Do.")
    says = SimpleNamespace(
        trials=SimpleNamespace(answer=made, as_it_is=SimpleNamespace(value=before)),
        advice="Do.",
        upheld=[SimpleNamespace(advice="Do.", changes=changes)],
        course=SimpleNamespace(constant=0.3),
        diagnosis=SimpleNamespace(verdict=SimpleNamespace(findings=())),
    )
    monkeypatch.setattr(checked.jaxnn, "checkup", lambda **given: says)
    model = [(lambda p, xs: xs @ p, np.zeros((1, 1), np.float32))]
    line = np.linspace(-1, 1, 64, dtype=np.float32).reshape(-1, 1)
    of_it = program.CaseProgram(
        model, 10 * line, line, lambda z, ys: (z - ys) ** 2, optax.sgd(0.1), data.explained
    )
    one = replace(CASE, changes=frozenset(["no decay"]))
    assert checked.checked(one, of_it, is_cured=False)[:3] == outcome
    assert checked.checked(one, of_it, is_cured=True).cured == ("advised" if answer else "words")


def test_a_share_has_wilson_s_interval():
    assert scores.share([RIGHT, MISSED, NONE]) == "1 of 2 (50 %, 9 to 91)"
    assert scores.share([NONE]) == "0 of 0 (–, 0 to 100)"


def test_a_loss_shows_a_fault_after_five_steps_above_its_twin():
    twin = np.linspace(1, 0.5, 60)
    assert scores.shown_at(twin, twin) is None
    worse = np.where(np.arange(60) < 30, twin, 2.0)
    # The mean of ten is above 20 % more than the twin's with the third of them.
    assert scores.shown_at(worse, twin) == 30 + 1 + 4
    assert scores.shown_at(np.where(np.arange(60) < 30, twin, np.nan), twin) == 30 + 4
    for_three = np.where((np.arange(60) > 20) & (np.arange(60) < 24), 1.2, twin)
    assert scores.shown_at(for_three, twin) is None


def test_a_batch_is_drawn_or_comes_in_order():
    xs, ys = data.wine()
    given = {"model": None, "loss": None, "optimizer": None, "score": None, "batch": 100}
    drawn = program.CaseProgram(xs=xs, ys=ys, **given)
    in_order = program.CaseProgram(xs=xs, ys=ys, is_shuffled=False, **given)
    assert len({*drawn.batch_of(0)[1].tolist()}) == 3
    np.testing.assert_array_equal(in_order.batch_of(1)[1], np.roll(ys, -100)[:100])
    np.testing.assert_array_equal(drawn.batch_of(7)[0], drawn.batch_of(7)[0])


def test_params_are_divided_and_joined():
    params = {"a": np.ones(2, np.float32), "stats": {"mean": np.zeros(2, np.float32)}, "n": 3}
    learned, fixed = program.divided(params, ("stats",))
    assert fixed["a"] is None
    assert learned["stats"]["mean"] is None
    assert learned["n"] is None
    assert program.joined(learned, fixed) == params


def test_scores_of_outputs():
    ys = np.array([0, 1, 1])
    assert data.accuracy(np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]]), ys) == pytest.approx(2 / 3)
    assert data.accuracy(np.array([[0.1], [0.6], [0.7]]), ys) == 1
    assert data.accuracy_of_logits(np.array([[-2.0], [0.1], [-0.1]]), ys) == pytest.approx(2 / 3)
    assert data.explained(np.array([[1.0], [2.0]]), np.array([1.0, 2.0])) == 1
    assert data.explained(np.array([[np.nan], [2.0]]), np.array([1.0, 2.0])) == -1


@pytest.fixture
def page():
    spec = importlib.util.spec_from_file_location("casebook_page", DOCS / "casebook.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def records(*said):
    return "\n".join(one.record() for one in said)


def row(name, made, cause, **more):
    given = {
        **dict.fromkeys(COLUMNS, ""),
        "case": name,
        "program": made,
        "framework": "jax",
        "source": "planted",
        "fault": "end",
        "part": "score",
        "wrong": f"wrong in {name}",
        "fix": "f",
        "cause": cause,
        "advice": NONE,
        "place": NONE,
        "at": 5.0,
        "losses": "[1.0]",
        "score": 0.5,
        **dict.fromkeys(("seconds", "as_it_is", "with_it"), 1.0),
        **more,
    }
    return pl.DataFrame([given], {name: column.dtype for name, column in COLUMNS.items()})


def test_rows_of_runs_become_the_tables_of_the_page(page, tmp_path):
    losses = json.dumps([1.0] * 30)
    alarms = [Said(10, "update", 1, "['a, 3']['w']"), Said(20, "update", 2)]
    rows = [
        row("one", case.ILL, RIGHT, advice=RIGHT, place=MISSED, losses=losses,
            records=records(Said(BEFORE, "oneunit"), Said(BEFORE, "no rate", 2), *alarms)),
        row("one", case.CURED, scores.SILENT, losses=json.dumps([0.5] * 30)),
        row("two", case.ILL, MISSED, advice=MISSED, source="so-12", part="write"),
        row("two", case.CURED, MISSED, others="starved", source="so-12", part="write"),
    ]  # fmt: skip
    path, first, second = tmp_path / "c.csv", tmp_path / "first", tmp_path / "second"
    for folder, part in ((first, rows), (second, rows[:1])):
        folder.mkdir()
        pl.concat(part).write_parquet(folder / "rows.parquet")
    page.collect([first], path)
    page.collect([second], path)  # which has one program of them again
    assert len(page.read(path)) == 4
    scored, written = page.markdown("ours", path).split("\n")[2:4]
    assert "| 1 that scored the rules" in scored
    assert "| 1 of 1, 100\u00a0% (21 to 100) | 0 of 1, 0\u00a0% (0 to 79) |" in scored
    assert "| 0 of 1, 0\u00a0% (0 to 79) | – | 1 of 1, 100\u00a0% (21 to 100) |" in written
    assert "DeepDiagnosis (ICSE 2022)" in page.markdown("others", path)
    assert f"| {case.FAULTS['end']} | 2 | 1 | 0 | 1 | 0 of 1 | 1 |" in page.markdown("faults", path)
    told = page.markdown("cases", path)
    assert "| `oneunit`, `no rate`; `update` 10 | right | right | missed | silent |" in told
    assert "wrong in two ([so-12](https://stackoverflow.com/questions/12))" in told
    assert told.count("**missed**") == 2
    assert "| starved |" in told


def test_a_planted_fault_has_the_step_at_which_its_loss_shows_it(page, tmp_path):
    ill = row(
        "one", case.ILL, RIGHT, losses=json.dumps([1.0] * 30), records=records(Said(10, "clip"))
    )
    twin = row("one", case.CURED, scores.SILENT, losses=json.dumps([0.5] * 30))
    pl.concat([ill, twin]).write_parquet(tmp_path / "rows.parquet")
    page.collect([tmp_path], tmp_path / "c.csv")
    assert "| wrong in one |  | `clip` 10 | right | 4 |" in page.markdown(
        "planted", tmp_path / "c.csv"
    )


def test_what_is_said_of_healthy_networks_is_counted_by_rules(page, tmp_path):
    rows = [
        "package,network,word,said",
        'a,x,steady,""',
        'a,y,steady,"rate, once"',
        "b,z,steady,rate",
    ]
    (tmp_path / "healthy.csv").write_text("\n".join(rows), encoding="utf-8")
    text = page.markdown("healthy", tmp_path / "c.csv")
    assert text.startswith("**Of 1 of 3 networks nothing is said.**")
    assert text.index("| `rate` | 2 | a y, b z |") < text.index("| `once` | 1 | a y |")


def test_modules_of_pytorch_are_measured_cut_and_judged(page, tmp_path, monkeypatch):
    """Of three networks one is refused, one misses a block, and one should have been silent."""
    right = SimpleNamespace(says="", why="")
    ill = SimpleNamespace(says="zero once", why="Its head starts at zero")
    known = {("a", "x"): right, ("a", "y"): ill, ("b", "z"): right}
    monkeypatch.setattr(catalogue, "ENTRIES", known)
    monkeypatch.setattr(catalogue, "OF_TORCH", ["a", "b"])
    rows = [
        "package,network,word,said,blocks",
        "a,x,steady,rate,2 of 3",
        'a,y,unknown,"once, zero",3 of 3',
        "b,z,refused,ValueError,",
        "of_jax,w,steady,,",
    ]
    (tmp_path / "healthy.csv").write_text("\n".join(rows), encoding="utf-8")
    text = page.markdown("modules", tmp_path / "c.csv")
    assert "| a | 2 | 2 | 1 | 1 |\n| b | 1 | 0 | 0 | 0 |\n" in text
    assert "| **all** | **3** | **2** | **1** | **1** |" in text
    assert text.endswith("\n- a y: `once`, `zero`. Its head starts at zero.")


@pytest.mark.slow
@pytest.mark.usefixtures("users_jax")
def test_a_case_from_end_to_end():
    ill, cured = (
        experiment.measured(experiment.Cell("columns_in_their_units", made)).row(0, named=True)
        for made in case.PROGRAMS
    )
    marks = (ill["cause"], ill["advice"], ill["place"], ill["at"])
    assert marks == (RIGHT, RIGHT, RIGHT, BEFORE)
    assert ill["before"].startswith("inputs at xs")
    assert cured["cause"] == "silent"
    assert cured["score"] > ill["score"]


@pytest.mark.slow
@pytest.mark.usefixtures("users_jax")
def test_an_error_of_diagnose_is_a_refusal():
    made = next(one for one in case.cases() if one.name == "rate_far_too_large").program(True)
    answer = said.answer(replace(made, each="nothing"))
    assert [one.rule for one in answer.said] == [case.REFUSED, case.REFUSED]
