"""The laws: what holds, what an error of a formula does, measurements, runs, files, messages."""

import dataclasses
import json
import math

import jax
import polars as pl
import pytest
from rich.console import Console

from experiments.__main__ import main
from experiments.laws import (
    any_spectrum,
    attention_length,
    batch_norm,
    collapsed,
    columns,
    delta_orthogonal,
    forgetting,
    jacobian_spectrum,
    laws_report,
    narrow,
    norm_place,
    norm_with_skip,
    orthogonal_learning,
    rank_collapse,
    residual,
    shattered_gradients,
    step_size,
    tailored,
    transformer_moments,
    width_alone,
)
from experiments.laws import experiment as laws
from experiments.laws.law import (
    Law,
    Measured,
    Predicted,
    Setup,
    compare,
    examine,
)
from experiments.runs import schema, store
from jaxnn.theory import meanfield

pytestmark = pytest.mark.usefixtures("users_jax")

CHEAP = ("layer-jacobian", "width-over-depth")
FILES = (store.ROWS, store.RUN, store.PARTS, store.LOCK)
SMALL = ["laws", "--quick", "--quiet", "--no-cache", "--law", *CHEAP]
SMALLER = {
    "layer-jacobian": Setup(width=100, layers=1, seeds=6),
    "width-over-depth": Setup(relu=((40, 10), (20, 5)), linear=(), draws=100),
}
# Large enough to hold; --quick draws more of the same.
SHALLOW = {
    batch_norm: batch_norm.QUICK.but(layers=16, seeds=5, relu=((8, 80),)),
    norm_with_skip: norm_with_skip.QUICK.but(width=80, layers=16, seeds=8, relu=(8,)),
    residual: residual.QUICK.but(width=80, seeds=8, relu=(14,), root=(14,), erf=(14,)),
    shattered_gradients: Setup(width=80, seeds=8, plain=(4,), full=(4,), root=(8,)),
    norm_place: Setup(width=80, seeds=8, blocks=(4, 14)),
    forgetting: forgetting.QUICK.but(width=100, seeds=6),
    attention_length: attention_length.QUICK.but(tokens=64, width=96, seeds=20, beta=(1.0, 3.0)),
    delta_orthogonal: delta_orthogonal.QUICK.but(width=16, layers=100, seeds=2, wave=(16, 6, 60)),
    rank_collapse: rank_collapse.QUICK.but(width=32, tokens=6, layers=4, seeds=12),
    narrow: Setup(
        cases=(narrow.Case("tanh", narrow.CHAOS, 16, 8),), layers=8, networks=400, draws=800
    ),
    any_spectrum: Setup(width=64, layers=(2,), seeds=6, tokens=(64,), logits=(0.3,)),
    collapsed: collapsed.QUICK.but(
        blocks=8,
        seeds=12,
        ours=(collapsed.Strengths(0.5, 1.0, 3.0),),
        published=(collapsed.Strengths(0.5, 0.5, 2.0),),
    ),
}
# Of laws that take long; too small to hold.
TINY = {
    jacobian_spectrum: Setup(width=20, factors=(2,), seeds=2),
    width_alone: Setup(width=30, draws=4, root=(4,), full=(4,), plain=(4,)),
    tailored: Setup(width=10, layers=14, draws=2, trained=14, steps=4, looks=2, seeds=1),
    step_size: Setup(blocks=(4, 16), steps=4, seeds=2, firsts=2),
    orthogonal_learning: orthogonal_learning.QUICK.but(
        modes=(2, 4), orthogonal=(2, 8), gaussian=(8,), width=24, most=20_000
    ),
}


def of_modules(setups):
    ids = [Law.of(module).name for module in setups]
    return pytest.mark.parametrize(("module", "setup"), setups.items(), ids=ids)


# A law


def perfect(predicted):
    """A measurement that is exactly what is predicted; of a bound, well on the right side."""
    reach = {"=": 1.0, "≥": 2.0, "≤": 0.5}
    return [(e.case, Measured(e.value * reach[e.relation], 0.0)) for e in predicted]


def off(prediction, change):
    """The prediction with other values."""
    return [e._replace(value=change(e)) for e in prediction]


COARSE = {"ξ_c": 2.0, "bias of an example": 0.3, "what a batch adds": 0.3}
# Of predictions that take a minute, or seconds.
FEWER = {"narrow": {"cases": narrow.QUICK.cases}, "layer-jacobian": {"layers": 2}}
# Predictions that take as long as those of all the others together.
LONG = ("gradient-exponent", "trainability", "length-correlation", "orthogonal-learning")
LONG += ("self-normalising", "ten-thousand-layers")  # whose default tests are closed forms


@pytest.mark.parametrize(
    "law",
    [
        pytest.param(law, marks=[pytest.mark.slow] * (law.number > 10 or law.name in LONG))
        for law in laws.LAWS
        if not law.needs  # which have a smaller test of their own
    ],
    ids=lambda law: law.name,
)
def test_a_law_whose_factor_is_wrong_does_not_hold(law):
    """By five per cent, if there is no noise; of what few runs bound, by what they can tell."""
    with jax.enable_x64(True):
        prediction = law.prediction(law.full.but(**FEWER.get(law.name, {})))
    measurement = dict(perfect(prediction))
    assert compare(law, prediction, measurement)["holds"].all()
    cases = [number.case for number in prediction]
    assert len(set(cases)) == len(cases)  # or one measurement would serve two of them
    factors = {e.factor for e in prediction} - {""}
    assert factors
    for factor in factors:
        for f in (-COARSE.get(factor, 0.05), COARSE.get(factor, 0.05)):
            wrong = off(
                prediction,
                lambda e, f=f, factor=factor: e.value + f * e.gain * (e.factor == factor),
            )
            assert not compare(law, wrong, measurement)["holds"].all(), factor


@pytest.mark.parametrize(
    ("relation", "measured", "holds"),
    [
        *(("=", 1.29, True), ("=", 1.31, False), ("=", 0.69, False), ("=", math.nan, False)),
        *(("≥", 0.71, True), ("≥", 5.0, True), ("≥", 0.69, False), ("≥", math.inf, False)),
        *(("≤", 1.29, True), ("≤", -5.0, True), ("≤", 1.31, False), ("≤", math.nan, False)),
    ],
)
def test_what_holds_is_within_the_tolerance(relation, measured, holds):
    """0.1 allowed and four standard errors of 0.05 make 0.3."""
    expected = Predicted("case", 1.0, 0.1, "reason", relation=relation)
    rows = compare(laws.LAWS[0], [expected], {"case": Measured(measured, 0.05)})
    row = rows.row(0, named=True)
    assert row["holds"] is holds
    assert row["tolerance"] == pytest.approx(0.3)


def test_every_law_and_seed_has_random_numbers_of_its_own():
    keys = []

    def measure(_, key):
        keys.append(tuple(jax.random.key_data(key).tolist()))
        return perfect([])

    for law in laws.LAWS:
        fake = dataclasses.replace(law, predict=lambda _: [], measure=measure)
        for seed in (0, 1):
            examine(fake, True, seed)
    assert len(set(keys)) == 2 * len(laws.LAWS) == len(keys)
    assert [law.number for law in laws.LAWS] == [*range(1, len(laws.LAWS) + 1)]


@pytest.mark.slow
@of_modules(SHALLOW)
def test_a_law_holds_in_a_run_that_is_quicker_than_quick(module, setup):
    """And not if what it predicts is larger by three fifths, and .15."""
    law = Law.of(module)
    with jax.enable_x64(True):
        prediction = law.prediction(setup)
    measurement = law.measurement(setup, jax.random.fold_in(jax.random.key(0), law.number))
    rows = compare(law, prediction, measurement)
    assert rows["holds"].all()
    wrong = off(prediction, lambda e: 1.6 * e.value + 0.15)
    assert not compare(law, wrong, measurement)["holds"].all()
    if law.name == "narrow":  # a batch loses less than its examples; by the closed form of one
        one, together = rows["measured"]
        assert together > one + 3 * rows["standard_error"][0]
        ensemble = narrow.ensemble_of("tanh", narrow.CHAOS)
        with jax.enable_x64(True):
            of = (*ensemble, narrow.Q0)
            bias = float(meanfield.log_delta_band(*of, 16, 8).bias[0])
            infinite = float(meanfield.log_delta(*of, 8)[0])
        assert rows["predicted"][0] == pytest.approx(infinite + bias)


@pytest.mark.slow
@of_modules(TINY)
def test_a_law_is_measured_as_it_is_predicted(module, setup):
    """Of laws that take long, in set-ups too small to hold: the same cases, all numbers finite."""
    law = Law.of(module)
    with jax.enable_x64(True):
        cases = {number.case for number in law.prediction(setup)}
    numbers = law.measurement(setup, jax.random.key(0))
    assert cases <= set(numbers)
    assert all(math.isfinite(number.value) for number in numbers.values())


@pytest.mark.slow
def test_attention_of_a_small_set_up_has_the_gradients_of_its_twin():
    of = {"correlations": (0.5,), "sizes": (0.6,), "gradients": (0.0,), "kept": (0.5,)}
    setup = transformer_moments.QUICK.but(width=32, head=16, tokens=8, **of)
    by_group = transformer_moments.attention(setup, jax.random.key(0))
    error = by_group.std(ddof=1) / 4
    assert abs(by_group.mean()) < 4 * error + 1 / 16
    assert error < 0.04


# The experiment


@pytest.fixture
def measured_as_predicted(monkeypatch):
    """Laws whose measurement is exactly what they predict."""

    def exact(law):
        def measure(setup, _):
            with jax.enable_x64(True):
                return perfect(law.prediction(setup))

        return dataclasses.replace(law, quick=SMALLER.get(law.name, law.quick), measure=measure)

    monkeypatch.setattr(laws, "LAWS", tuple(map(exact, laws.LAWS)))


def test_a_broken_law_is_reported_with_exit_code_1(
    tmp_path, capsys, monkeypatch, measured_as_predicted
):
    def wrong(setup):
        return off(law.prediction(setup), lambda e: 1.2 * e.value)

    law = next(law for law in laws.LAWS if law.name == CHEAP[0])
    broken = dataclasses.replace(law, predict=wrong)
    monkeypatch.setattr(laws, "LAWS", tuple(broken if v is law else v for v in laws.LAWS))
    out = tmp_path / "run"
    assert main([*SMALL, "--out", str(out)]) == 1
    said = capsys.readouterr()
    error = said.err.strip().splitlines()[-1]
    assert error.startswith("error: 1 of 2 laws hold; 2 layer-jacobian does not hold: ")
    assert "of 6 comparisons; " in error
    assert "NO" in said.out
    assert "Traceback" not in said.err
    rows = pl.read_parquet(out / store.ROWS)
    holds = dict(rows.group_by("law").agg(pl.col("holds").all()).rows())
    assert holds == {CHEAP[0]: False, CHEAP[1]: True}
    assert json.loads((out / store.RUN).read_text())["finished"]


def test_an_interrupted_run_keeps_what_was_measured_and_goes_on(
    tmp_path, capsys, monkeypatch, measured_as_predicted
):
    seen = []

    def interrupted(law, quick, seed):
        seen.append(law.name)
        if law.name == CHEAP[1] and seen.count(law.name) == 1:
            raise KeyboardInterrupt
        return examine(law, quick, seed)

    monkeypatch.setattr(laws, "examine", interrupted)
    out = tmp_path / "run"
    command = [*SMALL, "--out", str(out)]
    assert main(command) == 130
    assert "1 of 1 measured law holds, 1 of 2 not measured" in capsys.readouterr().out
    assert set(pl.read_parquet(out / store.ROWS)["law"]) == {CHEAP[0]}
    assert not json.loads((out / store.RUN).read_text())["finished"]
    assert main(command) == 0
    assert seen == [CHEAP[0], CHEAP[1], CHEAP[1]]
    assert "2 of 2 laws hold" in capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == {*FILES}
    run = json.loads((out / store.RUN).read_text())
    assert run["closing"] == "2 of 2 laws hold"
    assert run["what"]["settings"]["law"] == list(CHEAP)


@pytest.mark.slow
def test_two_laws_hold_when_measured(tmp_path, monkeypatch):
    """On networks smaller than those of --quick."""
    smaller = [dataclasses.replace(v, quick=SMALLER.get(v.name, v.quick)) for v in laws.LAWS]
    monkeypatch.setattr(laws, "LAWS", tuple(smaller))
    out = tmp_path / "run"
    assert main([*SMALL, "--out", str(out)]) == 0
    rows = pl.read_parquet(out / store.ROWS)
    schema.check(rows, columns.COLUMNS)
    assert rows["law"].unique(maintain_order=True).to_list() == list(CHEAP)
    assert rows["holds"].all()
    weights = rows.filter(pl.col("case").str.contains("weights alone"))
    assert weights.height == 3
    assert (weights["tolerance"] < 0.02).all()
    assert rows["reason"].str.len_chars().min() > 10
    assert rows["source"].n_unique() == 2
    assert {path.name for path in out.iterdir()} == {*FILES}


def test_the_table_fits_into_eighty_columns():
    """Broken comparisons come first; of those that hold, only the nearest are listed."""
    law = laws.LAWS[0]
    cases = [Predicted(f"case {i}[l]", 1.0, 0.1, "a reason", errors=0) for i in range(12)]
    numbers = {e.case: Measured(1.0 + 0.001 * i) for i, e in enumerate(cases)}
    numbers["case 3[l]"] = Measured(1.2, 0.01)
    rows = compare(law, cases, numbers)
    outcome = laws.Outcome(law, rows)
    console = Console(width=80, file=None, record=True)
    with console.capture() as captured:
        console.print(laws_report.table([outcome]))
    lines = captured.get().splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].strip() == "1 gradient-exponent, Schoenholz et al. 2017: does not hold"
    assert lines[2].split() == ["predicted", "measured", "±", "error", "tolerance", "holds"]
    assert lines[4].split() == ["case", "3[l]", "1", "1.2", "0.01", "0.1", "NO"]
    assert lines[5].startswith(" case 11[l]")
    assert any("and 4 more, further" in line for line in lines)
    assert any("tolerance: a reason" in line for line in lines)
    assert laws_report.closing([outcome]) == (
        "0 of 1 law holds; 1 gradient-exponent does not hold: 11 of 12 comparisons; "
        "case 3[l]: 1.2 measured, 1 ± 0.1 predicted"
    )
