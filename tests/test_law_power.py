"""The joint test of a law's comparisons and its power; laws 29 and 31 by small networks."""

import dataclasses
import importlib.util
import math

import jax
import numpy as np
import polars as pl
import pytest
from peers import need
from scipy import stats

from experiments.laws import experiment, laws_report, one_draw, wide_twin
from experiments.laws import experiment as laws
from experiments.laws.law import (
    Law,
    Measured,
    Predicted,
    compare,
    log_mean_of,
    mean_of,
)
from experiments.laws.power import LEVEL, PredictedAndMeasured, joint, normal
from experiments.laws.wide_networks import KINDS
from jaxnn.theory.twin import wide

LAW = laws.LAWS[0]


def compared(predicted, measured):
    """The rows of a law with these numbers."""
    numbers = {p.case: m for p, m in zip(predicted, measured, strict=True)}
    return compare(LAW, predicted, numbers)


@pytest.mark.parametrize("freedom", [1, 4, 30])
def test_a_normal_deviation_is_as_rare_as_student_s(freedom):
    for t in (0.3, 2.0, 9.0):
        expected = stats.norm.isf(stats.t.sf(t, freedom))
        assert normal(t, freedom) == pytest.approx(expected, rel=1e-9)
    assert normal(1.7, 0) == 1.7


def test_comparisons_of_the_same_draws_are_one():
    draws = np.random.default_rng(0).normal(size=(3, 400))
    predicted = [Predicted(name, 0.0, 0.0, "r") for name in "abc"]
    alike = compared(predicted, [mean_of(scale * draws[0]) for scale in (1, -2, 5)])
    assert alike["freedom"][0] == pytest.approx(1)
    t = stats.ttest_1samp(draws[0], 0)
    assert alike["chance"][0] == pytest.approx(t.pvalue)
    apart = compared(predicted, [mean_of(values) for values in draws])
    assert apart["freedom"][0] == pytest.approx(3, abs=0.1)
    assert apart["chi_square"][0] == pytest.approx(sum(apart["deviation"] ** 2))


def test_a_true_law_has_a_small_chance_as_rarely_as_it_says():
    """Six comparisons of twelve draws that share half of their variance, a thousand times."""
    rng = np.random.default_rng(1)
    predicted = [Predicted(str(i), 0.0, 0.0, "r") for i in range(6)]
    shared = rng.normal(size=(1000, 1, 12))
    draws = (shared + rng.normal(size=(1000, 6, 12))) / math.sqrt(2)
    chances = np.array(
        [joint([*map(PredictedAndMeasured, predicted, map(mean_of, of))]).chance for of in draws]
    )
    for level in (0.05, 0.3):
        assert np.mean(chances < level) == pytest.approx(level, rel=0.35)


def test_the_power_is_the_smallest_error_that_is_seen():
    """One comparison needs four errors and what it is off already; four alike, less each."""
    error, gain = 0.02, 0.5
    of = [Predicted(str(i), 1.0, 0.0, "r").about("χ", gain, error) for i in range(4)]
    one = compared(of[:1], [Measured(1.01)])
    assert one["power"][0] == pytest.approx((4 * error + 0.01) / gain, rel=1e-3)
    four = compared(of, [Measured(1.0)] * 4)
    z = math.sqrt(stats.chi2.isf(LEVEL, 4) / 4)
    assert four["power"][0] == pytest.approx(z * error / gain, rel=1e-3)
    allowed = [p._replace(allowed=0.1) for p in of]
    assert compared(allowed, [Measured(1.0)] * 4)["power"][0] == pytest.approx(
        (0.1 + z * error) / gain, rel=1e-3
    )
    other = [*of[:1], Predicted("b", 1.0, 0.3, "r", errors=0).about("c", 2.0)]
    rows = compared(other, [Measured(1.0), Measured(1.1)])
    assert rows["power"].to_list() == pytest.approx([4 * error / gain, 0.2], rel=1e-3)
    assert math.isnan(rows["deviation"].fill_null(math.nan)[1])


def test_a_bound_is_seen_from_both_sides():
    low = Predicted("3 ξ", 3.0, 0.0, "r", relation="≥").about("ξ", 3.0)
    high = Predicted("12 ξ", 12.0, 0.0, "r", relation="≤").about("ξ", 12.0)
    rows = compared([low, high], [Measured(6.0)] * 2)
    assert rows["holds"].all()
    assert rows["power"][0] == pytest.approx(1.0, rel=1e-3)  # 3 ξ of twice the ξ
    assert compared([low], [Measured(6.0)])["power"][0] == math.inf


def test_small_deviations_of_one_side_are_seen_together():
    """Each within its tolerance, all of them three errors off: the law does not hold."""
    of = [Predicted(str(i), 1.0, 0.0, "r").about("χ", 0.5, 0.01) for i in range(8)]
    outcome = laws.Outcome(LAW, compared(of, [Measured(1.03)] * 8))
    assert outcome.rows["holds"].all()
    assert not outcome.holds
    assert laws_report.sentence(outcome) == (
        "1 gradient-exponent does not hold: 8 of 8 comparisons, but together: χ² 72, "
        f"8 degrees of freedom, chance {stats.chi2.sf(72, 8):.2g}"
    )
    assert outcome.rows["power"].null_count() == 8
    well = laws.Outcome(LAW, compared(of, [Measured(1.0)] * 8))
    assert well.holds
    assert laws_report.powers(well) == "4.1 % of χ"
    percents = [laws_report.size(power) for power in (0.00012, 1.554, None)]
    assert percents == ["0.012 %", "155 %", "any size"]


def test_the_logarithm_of_a_mean_has_the_error_of_the_mean():
    values = np.random.default_rng(0).gamma(5.0, size=2000)
    of = log_mean_of(np.log(values) + 900)  # beyond the range of a float
    assert of.value == pytest.approx(900 + math.log(values.mean()))
    assert of.error == pytest.approx(values.std(ddof=1) / values.mean() / math.sqrt(2000))
    assert isinstance(compared([Predicted("a", of.value, 0.0, "r")], [of]), pl.DataFrame)


# Laws 29 and 31


def setup_of(kind):
    return wide_twin.Setup(
        kinds=(kind,), width=64, blocks=2, seeds=8, draws=16, replicas=4, gains=2
    )


@pytest.mark.usefixtures("users_jax")
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mixer", "pre-norm"])
def test_a_small_network_follows_its_twin_and_no_other(kind):
    """Every layer is within three joint standard errors; a rule five per cent off is seen."""
    need(KINDS[kind].package)
    setup = setup_of(kind)
    law = Law.of(wide_twin)
    prediction = law.prediction(setup)
    measurement = law.measurement(setup, jax.random.key(3))
    rows = compare(law, prediction, measurement)
    assert rows["holds"].all()
    assert rows.height == len(set(rows["case"])) == 7  # states of four layers, Δ of three
    (power,) = set(rows["power"])
    assert power < 0.05
    values = [e._replace(value=e.value + 0.05 * e.gain) for e in prediction]
    wrong = compare(law, values, measurement)
    assert not wrong["holds"].all()
    # The spread of networks is that of draws of the twin, by the effective width.
    measured = np.array([v.error for v in measurement.values()])
    joint = np.array([e.deviation for e in prediction])
    known = joint > 1e-4
    ratio = np.median(measured[known] / joint[known])
    assert 0.3 < ratio < 2


@pytest.mark.usefixtures("users_jax")
@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["autoencoder", "stacked autoencoder", "residual steps", "siamese"]
)
def test_shared_weights_have_one_draw_and_independent_ones_are_seen(kind, monkeypatch):
    setup = wide_twin.Setup(
        kinds=(kind,), width=64, blocks=1, seeds=16, draws=24, replicas=4, gains=2
    )
    law = Law.of(one_draw)
    measurement = law.measurement(setup, jax.random.key(3))
    rows = compare(law, law.prediction(setup), measurement)
    assert rows["holds"].all()
    monkeypatch.setattr(wide, "has_ties", lambda *_: False)
    monkeypatch.setattr(wide, "shared_weights", lambda *_: {})
    jax.clear_caches()
    rows = compare(law, law.prediction(setup), measurement)
    assert not rows["holds"].all()


@pytest.mark.usefixtures("users_jax")
def test_the_mean_over_networks_is_that_of_squares():
    decades = np.log10([[1.0, 3.0], [2.0, 4.0]])
    assert wide_twin.mean_size(decades) == pytest.approx(np.log10([2.5, 12.5]) / 2)


@pytest.mark.usefixtures("users_jax")
def test_a_law_whose_packages_are_absent_is_left_out_and_named(monkeypatch, tmp_path):
    there = importlib.util.find_spec("jax")
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "haiku" else there)
    settings = experiment.Settings(out=tmp_path / "run")
    plan = experiment.prepare(settings)
    assert "wide-twin" not in [law.name for law in plan.cells]
    assert "without wide-twin, which needs haiku: python -m pip install" in plan.estimate()
    with pytest.raises(ValueError, match="law: wide-twin, which needs haiku"):
        experiment.prepare(dataclasses.replace(settings, law=("wide-twin",)))
