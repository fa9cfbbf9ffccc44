"""Two flows next to each other."""

from dataclasses import replace

import numpy as np
import pytest
from problems import filled_flow

import jaxnn

NET = jaxnn.Network((2, 3, 3, 1), "tanh", "binary")


def flow(**fields):
    return filled_flow(NET, np.ones(3), **fields)


def test_what_changed_is_named_with_its_layer_and_its_decades():
    first = flow()
    second = replace(first, log_delta=first.log_delta + np.log(10) * np.array([-2.0, 0.1, 0.0]))
    compared = jaxnn.compare(first, second)
    changes = [row["log10_delta_change"] for row in compared.rows]
    assert changes == pytest.approx([-2.0, 0.1, 0.0])
    assert compared.sentences[1:] == ("Changed, in decades: Δ of the state of layer 1 by -2.",)
    assert compared.rows[0]["log10_delta"] == pytest.approx(first.table()[0]["log10_delta"])


def test_three_of_many_changes_are_named_the_largest_first():
    net = jaxnn.Network((2, *[3] * 5, 1), "tanh", "binary")
    first = filled_flow(net, np.ones(6))
    by = np.log(10) * np.array([1.0, -4.0, 0.2, 3.0, 2.0, 0.5])
    said = jaxnn.compare(first, replace(first, log_delta=first.log_delta + by)).sentences[1]
    named = [f"Δ of the state of layer {i} by {v}" for i, v in ((2, "-4"), (4, "+3"), (5, "+2"))]
    assert said == f"Changed, in decades: {', '.join(named)}, and 2 more."


def test_flows_that_are_alike_and_flows_of_other_networks():
    assert str(jaxnn.compare(flow(), flow())).endswith("Nothing changed by a factor of two.")
    other = filled_flow(jaxnn.Network((2, 3, 1), "tanh", "binary"), np.ones(2))
    with pytest.raises(ValueError, match=r"^flow, other: .* got 3 and 2 layers"):
        jaxnn.compare(flow(), other)
