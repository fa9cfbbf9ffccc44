"""Entries of a gradient by their exponents: what formats keep, against conversions."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from problems import as_users_have_jax

import jaxnn
from jaxnn.flow.entries import NARROW, Entries, kept_in

B, N = 8, 4096


@pytest.fixture(scope="module")
def cotangent():
    """Entries over sixty factors of two, one example of them far smaller, and some zeros."""
    rng = np.random.default_rng(0)
    c = rng.normal(size=(B, N)) * np.exp(4 * rng.normal(size=(B, N)))
    c[3] *= 2.0**-20
    c[:, ::7] = 0
    return np.float32(c)


@pytest.fixture(scope="module")
def flow(cotangent):
    with as_users_have_jax():
        net, params = jaxnn.from_layers([lambda z: z, lambda z: z / 1024])
        return jaxnn.gradient_flow(
            net, params, cotangent, cotangent=cotangent, examples=False, formats=True
        )


@pytest.mark.parametrize("scale", [0, 9, -6])
@pytest.mark.parametrize("name", NARROW)
def test_shares_are_those_of_a_conversion(flow, cotangent, name, scale):
    """Layer 2 has the cotangent, layer 1 the same / 1024; to a tenth of a percent."""
    kept = kept_in(name, flow.entries, scale)
    dtype = np.float16 if name == "float16" else getattr(ml_dtypes, name)
    tiny = float(jnp.finfo(name).tiny)
    for layer, given in enumerate((cotangent / 1024, cotangent)):
        x = given[given != 0].astype(np.float64) * 2.0**scale
        with np.errstate(over="ignore"):
            y = x.astype(np.float32).astype(dtype).astype(np.float64)
        out = ~np.isfinite(y)
        # All that is above the largest number but not twice: it counts as kept.
        edge = np.abs(x) < 2.0 ** np.floor(np.log2(float(jnp.finfo(name).max)) + 1)
        assert np.mean(y == 0) == pytest.approx(kept.zero[layer], abs=1e-3)
        small = (y != 0) & (np.abs(x) < tiny)
        assert np.mean(small) == pytest.approx(kept.subnormal[layer], abs=1e-3)
        assert np.mean(out & ~edge) == pytest.approx(kept.overflow[layer], abs=1e-3)
        square = x**2 / np.sum(x**2)
        assert np.sum(square[y == 0]) == pytest.approx(kept.zero_square[layer], abs=1e-3)
        assert np.sum(square[out & ~edge]) == pytest.approx(kept.overflow_square[layer], abs=1e-3)


@pytest.mark.slow
def test_a_network_has_the_entries_of_a_chain(cotangent):
    with as_users_have_jax():
        net = jaxnn.Network((3, 5, N), "tanh", "regression")
        params = jaxnn.init(net, jax.random.key(0))
        xs = np.ones((B, 3), np.float32)
        flow = jaxnn.gradient_flow(
            net, params, xs, cotangent=cotangent, examples=False, formats=True
        )
        assert flow.entries.counts.shape[0] == 2
        given = cotangent[cotangent != 0]
        np.testing.assert_allclose(np.sum(flow.entries.counts[1]), given.size)
        assert flow.entries.zeros[1] == np.sum(cotangent == 0)
        assert kept_in("float16", flow.entries, 0).zero[1] == pytest.approx(
            np.mean(np.abs(given) <= 2.0**-25), abs=1e-3
        )


def test_histograms_of_several_arrays_are_one():
    def of(m, e):
        return Entries.of(jaxnn.arrays.rows.ScaledRows(jnp.float32(m), jnp.int32(e)))

    low, high = of([[1.5, 0.25]], [-3]), of([[1.0, 0.0]], [2])
    both = Entries.together([low, high])
    assert (float(both.top), float(both.zeros)) == (2, 1)
    assert {int(k): float(both.counts[k]) for k in np.flatnonzero(both.counts)} == {
        0: 1,
        5: 1,
        7: 1,
    }
    assert both.squares[5] == 1.5**2 / 4**5


def test_most_entries_may_be_lost_though_the_largest_is_not(cotangent):
    """One entry of 1 in each thousand of 10^-13: 99.9 % of all become zero in float16."""
    c = np.full((2, 1000), 1e-13, np.float32)
    c[:, 0] = 1
    with as_users_have_jax():
        net, params = jaxnn.from_layers([lambda z: z])
        flow = jaxnn.gradient_flow(net, params, c, cotangent=c, examples=False, formats=True)
        without = jaxnn.gradient_flow(net, params, c, cotangent=c, examples=False)
    verdict = jaxnn.verdict(flow)
    assert verdict.lost["float16"] is None
    (found,) = (f for f in verdict.findings if f.kind == "entries")
    assert found.text == (
        "In float16 99.9% of the entries of Δ become zero in layer 1 (<lambda>), 0.0% of its "
        "square norm, also with the loss multiplied by 2^15."
    )
    plain, scaled, *_ = flow.formats()
    assert (plain["format"], plain["scale"], scaled["scale"]) == ("float16", 0, 15)
    assert plain["zero"] == scaled["zero"] == pytest.approx(0.999)
    assert {row["format"] for row in flow.formats()} == set(NARROW)
    with pytest.raises(ValueError, match="formats: expected a flow with the exponents"):
        without.formats()
