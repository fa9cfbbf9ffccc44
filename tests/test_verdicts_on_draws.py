"""Verdicts on networks that are well or ill for known reasons: how often they are wrong."""

import csv

import numpy as np
import pytest
from draws import FAMILIES, TABLE, row
from problems import as_users_have_jax, filled_flow

import jaxnn
from jaxnn.flow.verdict.rates import RepeatedStretch, judge, rate_of


def factors(rng, sigma_w, depth, width=64):
    """Return the factors of the layers of a relu network, in decades, by NumPy alone."""
    weights = sigma_w / width**0.5 * rng.normal(size=(depth, width, width))
    states = [rng.normal(size=(8, width))]
    for theta in weights:
        states.append(np.maximum(states[-1], 0) @ theta)
    delta, sizes = rng.normal(size=(8, width)), []
    for theta, z in zip(weights[::-1], states[-2::-1], strict=True):
        sizes.append(np.linalg.norm(delta))
        delta = delta @ theta.T * (z > 0)
    sizes = np.log10(sizes[::-1])
    return sizes[:-1] - sizes[1:]


@pytest.mark.parametrize(("sigma_w", "ill"), [(2**0.5, False), (1.1, True), (1.8, True)])
def test_two_in_a_hundred_verdicts_on_a_relu_network_are_wrong_at_most(rng, sigma_w, ill):
    """Of 24 layers √(σ_w²/2) makes 0, -2.5 and +2.4 decades; a draw has a deviation of 0.3."""
    stretch = (RepeatedStretch(0, 24, 1),)
    rates = [judge(factors(rng, sigma_w, 24), stretch, np.arange(24)) for _ in range(100)]
    wrong = sum(rate.ill != ill for rate in rates)
    assert wrong <= 2


@pytest.mark.parametrize(
    ("block", "depth", "word", "layers"),
    [
        (jaxnn.blocks.PostNorm(), 12, "exploding", 11),
        (jaxnn.blocks.RMSNorm(), 12, "exploding", 12),
        (jaxnn.blocks.PostNorm(), 4, "steady", 4),
    ],
)
def test_the_first_layer_is_not_like_those_behind_a_norm(block, depth, word, layers):
    """Factors of 0.15 decades, but for that between the first layer and the next."""
    net = jaxnn.Network((3, *[4] * depth, 1), "tanh", "binary", hidden=block)
    gain = 0.15 + 0.01 * (-1.0) ** np.arange(depth + 1)
    gain[0] = -0.3
    flow = filled_flow(net, np.zeros(depth + 1), log_gain=gain * np.log(10))
    rate = rate_of(flow, np.arange(depth + 1))
    assert (rate.word, rate.layers) == (word, layers)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_no_verdict_on_the_smallest_networks_is_wrong(family):
    """Ten draws of each kind; `row` checks that those called ill are."""
    with as_users_have_jax():
        found = row(family._replace(of=family.of[:1]))
    assert (found["drawn"], found["wrong"]) == (10, 0)


def test_the_table_has_all_families_and_few_wrong_verdicts():
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["networks"], r["are"]) for r in rows] == [
        (f.name, "ill" if f.ill else "well") for f in FAMILIES
    ]
    for are in ("well", "ill"):
        drawn, wrong = (sum(int(r[n]) for r in rows if r["are"] == are) for n in ("drawn", "wrong"))
        assert drawn >= 200
        assert wrong <= 0.02 * drawn
