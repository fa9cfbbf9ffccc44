"""Verdicts on networks that are well or ill for known reasons: how often they are wrong."""

import csv

import pytest
from draws import FAMILIES, TABLE, row
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
