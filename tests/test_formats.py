"""Formats: entries by their exponents, against conversions of `ml_dtypes`, and plans."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from problems import as_users_have_jax, counts_by_exponent

import jaxnn
from jaxnn.arrays.compiled import few_runs
from jaxnn.arrays.rows import ScaledRows, exponent_and_mantissa
from jaxnn.cli import diagnosis
from jaxnn.flow.formats.entries import OCTAVES, PARTS, Entries, bins_of, entries_of
from jaxnn.flow.formats.format_loss import Histogram, _begins, loss_scale
from jaxnn.flow.formats.number_formats import NARROW

B, N = 8, 4000
KINDS = {kind.name: kind for kind in NARROW}


def converted(name, x):
    """Return what `ml_dtypes` makes of numbers, as float64; nan is what overflows in E4M3."""
    dtype = np.float16 if name == "float16" else getattr(ml_dtypes, name)
    with np.errstate(over="ignore"):
        return np.float32(x).astype(dtype).astype(np.float64)


def shares(x, y, small, over):
    """Return the shares that `flow.formats()` has, of numbers x that became y."""
    x, y, small, over = (v[x != 0] for v in (x, y, small, over))
    square = np.square(x, dtype=np.float64)
    square /= square.sum()
    return {
        "zero": np.mean(y == 0),
        "subnormal": np.mean(small & (y != 0)),
        "overflow": np.mean(over),
        "zero_square": square[y == 0].sum(),
        "overflow_square": square[over].sum(),
    }


def of_conversion(name, x, scale):
    x = x.astype(np.float64) * 2.0**scale
    y = converted(name, x)
    return shares(x, y, np.abs(x) < float(jnp.finfo(name).tiny), ~np.isfinite(y))


@pytest.fixture(scope="module")
def cotangent():
    """Entries over sixty factors of two, one example of them far smaller, and some zeros."""
    rng = np.random.default_rng(0)
    c = rng.normal(size=(B, N)) * np.exp(4 * rng.normal(size=(B, N)))
    c[3] *= 2.0**-20
    c[:, ::7] = 0
    c[:, 1:40] = 0
    return np.float32(c)


@pytest.fixture(scope="module")
def arrays(cotangent):
    """The counts that a flow of two layers, z w and z / 1024, should have for x = 4096."""
    w = np.float32(1 + np.arange(N) % 5)
    return {
        "delta": [cotangent / 1024, cotangent],
        "state": [np.tile(4096 * w, (B, 1)), np.tile(4 * w, (B, 1))],
        "delta_parameter": [(4 * cotangent).sum(axis=0)[None]],
        "parameter": [w[None]],
    }


@pytest.fixture(scope="module")
def flow(cotangent, arrays):
    with as_users_have_jax(), few_runs():
        layers = [(lambda w, z: z * w, arrays["parameter"][0][0]), lambda z: z / 1024]
        net, params = jaxnn.as_network(layers)
        x = np.full((B, N), 4096, np.float32)
        return jaxnn.gradient_flow((net, params), x, cotangent=cotangent, entries=True)


@jax.jit
def placed(x):
    k, mantissa = exponent_and_mantissa(x)
    return k, mantissa, bins_of(15 - k, mantissa)


POSITIVE = np.arange(1, 0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)


@pytest.mark.parametrize("scale", [0, 3, -9])
@pytest.mark.parametrize("kind", NARROW, ids=lambda kind: kind.name)
def test_every_float16_goes_where_a_conversion_takes_it(kind, scale):
    """All patterns, each of which is zero, subnormal, normal or too large, ties too."""
    with as_users_have_jax():
        k, mantissa, place = map(np.asarray, placed(POSITIVE))
    np.testing.assert_array_equal(np.ldexp(mantissa, k), POSITIVE)
    over, small, zero = _begins(kind, np.array([15 + scale]))
    x = POSITIVE.astype(np.float64) * 2.0**scale
    y = converted(kind.name, x)
    np.testing.assert_array_equal(place >= zero, y == 0)
    np.testing.assert_array_equal(place < over, ~np.isfinite(y))
    is_small = (x < float(jnp.finfo(kind.name).tiny)) & (y != 0)
    np.testing.assert_array_equal((place >= small) & (place < zero), is_small)


@pytest.mark.parametrize("of", ["delta", "state", "delta_parameter", "parameter"])
def test_shares_are_those_of_an_emulated_pass(flow, arrays, of):
    """Plain, and with the loss and each tensor scaled; counts to the last entry."""
    for row in flow.formats(of):
        x = arrays[of][row["layer"] - 1]
        expected = of_conversion(row["format"], x, row["scale"])
        found = {name: row[name] for name in expected}
        # A sum over examples is not the same to the last bit.
        assert found == pytest.approx(expected, abs=1e-3 if of == "delta_parameter" else 1e-6), row


def test_a_window_of_scales_is_found_by_trying(flow, arrays):
    """One scale for all Δ together, those of parameters too."""
    found = [Histogram(flow.entries.delta), Histogram(flow.entries.delta_parameter)]
    every = [v for of in ("delta", "delta_parameter") for v in arrays[of]]
    for name in ("float16", "float8_e5m2"):
        kept = {}
        for k in range(-40, 40):
            each = [of_conversion(name, x, k) for x in every]
            kept[k] = min(1 - v["zero_square"] - v["overflow_square"] for v in each)
        good = [k for k, share in kept.items() if share >= 0.99]
        best, window = loss_scale(KINDS[name], found, 0.99)
        assert window == (min(good), max(good))
        assert kept[best] == pytest.approx(max(kept.values()), abs=1e-9)
        assert loss_scale(KINDS["float8_e4m3fn"], found, 1.0).window is None


@jax.jit
def counted(m, e):
    """Return the entries of each array, and of the first two together."""
    each = entries_of([ScaledRows(*one) for one in zip(m, e, strict=True)])
    return each, Entries.together([each.at(0), each.at(1)])


def test_histograms_of_several_arrays_are_one():
    given = np.float32([[[1.5, 0.25], [0, 0]], [[1, 0], [0, 0]], [[0, 0]] * 2])
    both = counted(given, np.int32([[-3, 0], [2, 2], [0, 0]]))[1]
    assert float(both.top) == 2
    octaves, squares = np.asarray(both.sums).reshape(OCTAVES, PARTS, 2).sum(axis=1).T
    assert {int(k): float(octaves[k]) for k in np.flatnonzero(octaves)} == {0: 1, 5: 1, 7: 1}
    assert squares[5] == 1.5**2 / 4**5
    assert counts_by_exponent(jax.tree.map(lambda v: v[None], both)) == [{2: 1, -3: 1, -5: 1}]


def by_exponent(*arrays):
    """Return the number of entries by exponent, counted by NumPy."""
    k = np.frexp(np.concatenate([np.ravel(v) for v in arrays]))[1] - 1
    return {int(i): float(n) for i, n in zip(*np.unique(k, return_counts=True), strict=True)}


@pytest.mark.slow
def test_arrays_of_a_state_are_counted_together():
    """Layers with one array and with two, alone and in a run, each with parameters of its own."""
    rng = np.random.default_rng(1)
    x, c = (2.0 ** rng.integers(-9, 9, (2, 5)).astype(np.float32) for _ in range(2))
    p = 2.0 ** rng.integers(-9, 9, (4, 5)).astype(np.float32)
    layers = [
        (lambda p, z: (p * z, 512 * z), p[0]),
        jaxnn.Run(lambda p, v: (p * v[0], v[1] / 2), p[1:3], 2),
        (lambda p, v: p * (v[0] + v[1]), p[3]),
    ]
    with as_users_have_jax():
        net, params = jaxnn.as_network(layers)
        flow = jaxnn.gradient_flow((net, params), x, cotangent=c, entries=True)
    left, right = np.cumprod(p[:3], axis=0)[:, None] * x, [512 * x, 256 * x, 128 * x]
    states = [*zip(left, right, strict=True), (p[3] * (left[2] + right[2]),)]
    above = p[3] * c
    deltas = [(p[1] * p[2] * above, above / 4), (p[2] * above, above / 2), (above, above), (c,)]
    entering = [x, left[0], left[1], left[2] + right[2]]
    of_p = [np.sum(d[0] * z, axis=0) for d, z in zip(deltas, entering, strict=True)]
    for of, arrays in (
        ("state", states),
        ("delta", deltas),
        ("parameter", [(v,) for v in p]),
        ("delta_parameter", [(v,) for v in of_p]),
    ):
        found = counts_by_exponent(getattr(flow.entries, of))
        assert found == [by_exponent(*each) for each in arrays], of


def test_an_array_with_no_number_has_no_shares_and_zeros_lose_nothing():
    given = np.float32([[[np.nan, 1]] * 2, [[0, 0]] * 2, [[1, 2]] * 2])
    found = Histogram(counted(given, np.int32([[0, 0], [0, 0], [0, -300]]))[0])
    kept = found.kept(KINDS["float16"], 0)
    np.testing.assert_array_equal(kept.square, [np.nan, 1, 1])
    assert found.largest_scale(KINDS["float8_e4m3fn"]).tolist() == [0, 0, 7]
    # Half of the entries are 2^-300 times as large as the others, beyond all that is counted.
    assert found.kept(KINDS["bfloat16"], 0).zero[2] == 0.5


def test_most_entries_may_be_lost_though_the_largest_is_not():
    """One entry of 1 in each thousand of 10^-13: 99.9 % of all become zero in float16."""
    c = np.full((2, 1000), 1e-13, np.float32)
    c[:, 0] = 1
    with as_users_have_jax(), few_runs():
        net, params = jaxnn.as_network([lambda z: z])
        flow = jaxnn.gradient_flow((net, params), c, cotangent=c, entries=True)
    without = replace(flow, entries=None)
    verdict = jaxnn.verdict(flow)
    assert verdict.lost["float16"] is None
    (found,) = (f for f in verdict.findings if f.rule == "entries")
    assert (found.layer, found.values["number_format"], found.values["scale"]) == (1, "float16", 15)
    assert found.values["share"] == pytest.approx(0.999)
    plain, scaled, *_ = flow.formats()
    assert (plain["format"], plain["scale"], scaled["scale"]) == ("float16", 0, 15)
    assert plain["zero"] == scaled["zero"] == pytest.approx(0.999)
    assert {row["format"] for row in flow.formats()} == set(KINDS)
    with pytest.raises(ValueError, match="of: expected one of delta, state, got 'parameter'"):
        flow.formats("parameter")
    for use in (without.formats, lambda: jaxnn.plan(without)):
        with pytest.raises(ValueError, match="formats: expected a flow with the exponents"):
            use()


def layer(p, z):
    return z @ p[0] + p[1][None]


def hidden(p, z):
    return layer(p, jnp.tanh(z))


@pytest.mark.slow
def test_a_network_has_the_entries_of_a_chain(cotangent):
    """Counts of a run stored as a key; nan beyond the depth in use."""
    with as_users_have_jax():
        net = jaxnn.Network((3, *[5] * 4, N), "tanh", "regression")
        given = jaxnn.init(net, jax.random.key(0), lazy=True)
        pairs = jaxnn.network.unstack(given)
        xs = np.ones((B, 3), np.float32)
        more = {"cotangent": cotangent, "entries": True}
        flow = jaxnn.flow.at_depths((net, given), xs, depth=3, **more)
        used = [(layer, pairs[0]), *((hidden, pairs[i]) for i in (1, 2, 4))]
        chain = jaxnn.gradient_flow(jaxnn.as_network(used), xs, **more)
    for of in ("delta", "state", "parameter", "delta_parameter"):
        ours, theirs = (Histogram(getattr(each.entries, of)) for each in (flow, chain))
        each = 2 if "parameter" in of else 1
        unused = np.arange(5 * each) // each == 3
        for kind in NARROW:
            shares = np.array(ours.kept(kind, 3))
            np.testing.assert_allclose(shares[:, ~unused], theirs.kept(kind, 3), atol=1e-3)
            assert np.isnan(shares[1:, unused]).all()


# Plans


def times(w, z):
    return z * w


@pytest.fixture(scope="module")
def twelve():
    """Twelve layers: two that pass Δ, four that shrink it by 2^-20 each, six that pass it."""
    c = np.random.default_rng(0).normal(size=(4, 64)).astype(np.float32)
    sizes = [1.0, 1.0, *[2.0**-20] * 4, *[1.0] * 6]
    with as_users_have_jax(), few_runs():
        layers = [(times, jnp.full(64, size, jnp.float32)) for size in sizes]
        net, params = jaxnn.as_network(layers)
        return jaxnn.gradient_flow((net, params), c, cotangent=c, entries=True)


@pytest.mark.slow
def test_equal_neighbours_are_one_line(twelve):
    """The states of the first two layers are x, and Δ of the last seven is the cotangent."""
    lines = str(jaxnn.plan(twelve)).split("\n")
    assert lines[:4] == [
        "Δ, layers 1 to 5: float8_e4m3fn with one scale a tensor",
        "Δ, layers 6 to 12: float8_e4m3fn",
        "states, layers 1 to 2: float8_e4m3fn",
        "states, layers 3 to 12: float8_e4m3fn with one scale a tensor",
    ]
    assert "bfloat16 2^-" in lines[-1]
    assert "float16 at no scale" in lines[-1]
    assert len(lines) < 12


def test_rows_have_the_cheapest_format_that_keeps_enough(twelve):
    plan = jaxnn.plan(twelve)
    bits = {row["format"]: row["bits"] for row in plan.rows}
    assert bits == {"float8_e4m3fn": 8}
    rows = {(row["of"], row["layer"]): row for row in plan.rows}
    assert len(rows) == 4 * 12
    kept = {(r["layer"], r["format"], r["scaling"]): r for r in twelve.formats()}
    for layer in range(1, 13):
        row = rows["delta", layer]
        same = kept[layer, row["format"], row["scaling"]]
        assert row["kept"] == 1 - same["zero_square"] - same["overflow_square"] >= 0.999


def test_one_scale_of_the_loss_serves_all_layers_or_none(twelve):
    """A scaled loss fits where every Δ is below 2^-30, and its scale lies in the window."""
    delta, of_parameters = (
        each._replace(top=np.full(12, -30.0))
        for each in (twelve.entries.delta, twelve.entries.delta_parameter)
    )
    entries = twelve.entries._replace(delta=delta, delta_parameter=of_parameters)
    twelve = replace(twelve, entries=entries)
    plan = jaxnn.plan(twelve)
    low, high = plan.windows["float8_e4m3fn"]
    scales = {row["scale"] for row in plan.rows if row["of"] == "delta"}
    assert {row["scaling"] for row in plan.rows if row["of"] == "delta"} == {"loss"}
    (scale,) = scales
    assert low <= scale <= high
    assert f"float8_e4m3fn with the loss multiplied by 2^{scale}" in str(plan)
    assert "<p>Δ, all layers" in plan._repr_html_()


def test_a_diagnosis_has_the_plan(twelve):
    found = jaxnn.Diagnosis(twelve, "loss as given")
    plan = f"\n{jaxnn.plan(twelve)}\nTo see what would help, "
    assert plan in repr(found)
    assert plan in "\n".join(diagnosis.sentences(found, ""))
