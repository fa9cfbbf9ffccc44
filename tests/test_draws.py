"""Verdicts on networks that are well or ill for known reasons: how often they are wrong."""

import pytest
from draws import FAMILIES, row
from problems import as_users_have_jax

QUICK = ("relu, He", "relu, torch.nn.Linear's")


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(f, id=f.name, marks=[] if f.name in QUICK else pytest.mark.slow)
        for f in FAMILIES
    ],
)
def test_no_verdict_on_the_smallest_networks_is_wrong(family):
    """Ten draws of each kind; `row` checks that those called ill are."""
    with as_users_have_jax():
        found = row(family._replace(of=family.of[:1]))
    assert (found["drawn"], found["wrong"]) == (10, 0)
