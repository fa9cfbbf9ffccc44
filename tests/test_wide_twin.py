"""Laws 29 and 31: small networks next to their wide twins, and what the laws say."""

import dataclasses
import importlib.util

import jax
import numpy as np
import pytest
from peers import need

from experiments.laws import experiment, one_draw, wide_twin
from experiments.laws.law import Law, compare
from experiments.laws.wide_networks import KINDS
from jaxnn.theory.twin import wide

pytestmark = pytest.mark.usefixtures("users_jax")


def setup_of(kind):
    return wide_twin.Setup(
        kinds=(kind,), width=64, blocks=2, seeds=8, draws=16, replicas=4, gains=2
    )


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
    values = [e._replace(value=e.value + 0.05 * e.gain) for e in prediction.numbers]
    wrong = compare(law, prediction._replace(numbers=tuple(values)), measurement)
    assert not wrong["holds"].all()
    # The spread of networks is that of draws of the twin, by the effective width.
    measured = np.array([v.error for v in measurement.numbers.values()])
    joint = np.array([e.deviation for e in prediction.numbers])
    known = joint > 1e-4
    ratio = np.median(measured[known] / joint[known])
    assert 0.3 < ratio < 2


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


def test_the_mean_over_networks_is_that_of_squares():
    decades = np.log10([[1.0, 3.0], [2.0, 4.0]])
    assert wide_twin.mean_size(decades) == pytest.approx(np.log10([2.5, 12.5]) / 2)


def test_a_law_whose_packages_are_absent_is_left_out_and_named(monkeypatch, tmp_path):
    there = importlib.util.find_spec("jax")
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "haiku" else there)
    settings = experiment.Settings(out=tmp_path / "run")
    plan = experiment.prepare(settings)
    assert "wide-twin" not in [law.name for law in plan.cells]
    assert "without wide-twin, which needs haiku: python -m pip install" in plan.estimate()
    with pytest.raises(ValueError, match="law: wide-twin, which needs haiku"):
        experiment.prepare(dataclasses.replace(settings, law=("wide-twin",)))
