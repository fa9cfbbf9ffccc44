"""The first cure against the best remedy known: what is compared, and the networks themselves."""

import itertools

import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

from experiments.remedies.rivals import report, training
from experiments.remedies.rivals.networks import NETWORKS, Network, as_list, built, drawn
from experiments.remedies.rivals.rivals import CURE, PLAIN, REMEDIES, RESIDUAL, Given, output
from jaxnn.curing.cure import Cure

SMALL = [one._replace(depth=3) for one in NETWORKS]


def rows(reached, seeds=2, rates=(0.1, 0.2)):
    """Rows of a network; reached is (remedy, rate) -> accuracies of the seeds."""
    return pl.DataFrame(
        [
            {"network": "n", "framework": "jax", "remedy": remedy, "change": "", "seed": seed}
            | {"rate": rate}
            | {"step": 9, "accuracy": reached.get((remedy, rate), [0.1] * seeds)[seed]}
            for remedy in dict.fromkeys(remedy for remedy, _ in reached)
            for seed, rate in itertools.product(range(seeds), rates)
        ]
    )


@pytest.mark.parametrize(
    ("cure", "holds"), [([0.80, 0.80], False), ([0.80, 0.94], True), ([0.91, 0.93], True)]
)
def test_the_first_cure_holds_within_an_error_of_the_difference(cure, holds):
    """Each with the step size that is best in the mean; the unchanged network is no remedy."""
    known = {("He", 0.2): [0.89, 0.91], ("LSUV", 0.1): [0.5, 0.9], (PLAIN, 0.1): [1.0, 1.0]}
    of = rows(known | {(CURE, 0.1): cure})
    (one,) = report.comparisons(of)
    assert one.best.remedy == "He"
    assert (one.best.mean, one.best.error) == pytest.approx((0.9, 0.01))
    assert one.holds == holds
    (said,) = report.verdicts(of)
    assert f"on {int(holds)} of 1 networks" in said
    assert f"{CURE} {np.mean(cure):.3f}" in said
    assert "as it is 1.000, " in said


def test_a_network_is_compared_once_all_its_remedies_are_there():
    of = rows({("He", 0.1): [0.5, 0.5], (CURE, 0.1): [0.9, 0.9]})
    other = rows({(CURE, 0.1): [0.9, 0.9]}).with_columns(network=pl.lit("other"))
    assert [one.network for one in report.comparisons(pl.concat([of, other]))] == ["n"]
    failed = of.with_columns(accuracy=pl.when(remedy="He").then(np.nan).otherwise("accuracy"))
    assert report.comparisons(failed) == []


def test_a_change_of_another_seed_is_known_by_its_words():
    """Its numbers differ, and so does its place among those of its kind."""
    norm = "Put a norm in front of each of layers 2 to 17."
    advice = f"Multiply `[0][1]` by 0.405, to a std of 1/√fan_in. {norm}"
    words = [training._words(Cure(kind="norm", advice=text)) for text in (advice, norm)]
    again = Cure(kind="norm", advice=advice.replace("0.405", "1.2e-05"))
    assert words[0] == training._words(again) != words[1]


def test_networks_are_twenty_in_all_frameworks():
    assert len({of.name for of in NETWORKS}) == 20
    assert min(sum(of.framework == name for of in NETWORKS) for name in ("flax", "torch")) >= 5


def test_batches_are_epochs():
    made = training.rows_of(0, 6, 70)
    assert made.shape == (6, 32)
    assert len(np.unique(made[:2])) == 64


@pytest.mark.slow
@pytest.mark.usefixtures("users_jax")
@pytest.mark.parametrize("of", SMALL, ids=lambda of: of.name)
def test_a_network_is_what_its_framework_makes_of_it(of):
    x = np.random.default_rng(0).normal(size=(5, 64)).astype(np.float32)
    params = drawn(of, 0)
    model = built(of, params)
    if of.framework == "torch":
        import torch

        found = model(torch.tensor(x)).detach().numpy()
    elif of.framework == "jax":
        found = x
        for f, p in model:
            found = f(p, found)
    else:
        found = model(jnp.asarray(x))
    np.testing.assert_allclose(found, output(of, PLAIN, params, x), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("users_jax")
def test_a_network_without_a_cure_is_trained_as_it_is(monkeypatch, rng):
    """It is a cell that is lost, not the end of the run."""
    monkeypatch.setattr(training, "tried_on", lambda *given, **named: [])
    of = Network("jax", "softsign", 2, 1.0)
    data = rng.normal(size=(64, 64)).astype(np.float32), (np.arange(64) % 10).astype(np.int32)
    cured, plain = (training.reached(of, who, range(2), data, (4,), 0.1) for who in (CURE, PLAIN))
    assert (cured.advice, cured.change) == ("none", "")
    assert cured.accuracies.shape == (2, len(training.RATES), 1)
    np.testing.assert_array_equal(cured.accuracies, plain.accuracies)


@pytest.mark.slow
@pytest.mark.usefixtures("users_jax")
def test_remedies(rng):
    """He's mean square, orthogonal columns, unit outputs, and a residual that keeps its state."""
    of = Network("jax", "relu", 4, 3.0)
    xs = rng.normal(size=(256, 64)).astype(np.float32)
    given = Given(of, drawn(of, 0), xs, np.arange(256) % 10, rng)
    made = {name: REMEDIES[name](given) for name in ("He", "orthogonal", "LSUV", RESIDUAL)}
    assert np.mean(made["He"][1]["blocks"]["w"] ** 2) * 24 == pytest.approx(2, rel=0.1)
    w = made["orthogonal"][1]["blocks"]["w"][0]
    np.testing.assert_allclose(w @ w.T, np.eye(24), atol=1e-5)
    z = xs
    for i, p in enumerate(as_list(made["LSUV"][1])):
        z = (np.maximum(z, 0) if i else z) @ p["w"]
        assert z.std() == pytest.approx(1, rel=1e-3)
    form, params = made[RESIDUAL]
    assert form == RESIDUAL
    zero = params | {"blocks": {name: 0 * v for name, v in params["blocks"].items()}}
    assert np.abs(output(of, RESIDUAL, zero, xs)).max() > 0
    assert np.abs(output(of, PLAIN, zero, xs)).max() == 0
