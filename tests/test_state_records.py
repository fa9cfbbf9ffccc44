"""States of unequal layers, recorded together, have the numbers of each by itself."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn
from jaxnn.arrays.rows import ScaledRows
from jaxnn.flow.measure import chain_record
from jaxnn.flow.record import state_record
from jaxnn.flow.record.flow import FlowOptions
from jaxnn.flow.record.state_record import Small

B, T = 3, 4


def states(p, x):
    """The main arrays of a network with positions, half as many inside, and a skip around those."""
    skip = x @ p[0]
    z = jnp.tanh(skip).reshape(B, T // 2, 2, -1).mean(axis=2)
    inside = []
    for theta in p[1:5]:
        z = jnp.tanh(z) @ theta
        inside.append(z)
    inside[-1] = jnp.concatenate([jnp.repeat(z, 2, axis=1), skip], axis=2)
    joined = inside[-1] @ p[5]
    return [skip, *inside, joined, jnp.tanh(joined).mean(axis=1) @ p[6]]


@pytest.fixture(scope="module")
def flows():
    """The parameters, the examples, and the flow of the same network in both ways."""
    rng = np.random.default_rng(0)
    shapes = [(3, 6), (6, 7), (7, 3), (3, 4), (4, 2), (8, 4), (4, 2)]
    p = [rng.normal(size=shape) for shape in shapes]
    xs = rng.normal(size=(B, T, 3)) + 1
    counts, measured = [], []

    def counted(small, dtype, examples):
        counts.append(len(small))
        return state_record.records_of_small(small, dtype, examples)

    for several in (state_record.SEVERAL, 99):
        with pytest.MonkeyPatch.context() as patch, jax.enable_x64(True):
            jax.clear_caches()  # programs are equal, however they are measured
            patch.setattr(chain_record, "records_of_small", counted)
            patch.setattr(state_record, "SEVERAL", several)
            net, own = jaxnn.as_network((lambda p, x: states(p, x)[-1], p), xs)
            measured.append(jaxnn.gradient_flow((net, own), xs, cotangent=np.ones((B, 2))))
    assert counts == [7, 0]
    return p, xs, *measured


def test_small_states_together_have_the_records_of_each(rng):
    """Of two and three axes, several of one shape, and Δ at each position."""
    shapes = [(B, 5), (B, T, 2), (B, 2, 3), (B, T, 2)]
    options = FlowOptions(examples=True, tangent=False, memory="all")
    small = [
        Small(rng.normal(size=shape) + 1, ScaledRows(rng.normal(size=shape), np.arange(B)))
        for shape in shapes
    ]

    @jax.jit
    def both(small):
        together = state_record.records_of_small(small, jnp.float64, True)
        return together, [state_record.record_of(*v, jnp.float64, options) for v in small]

    for ours, theirs in zip(*jax.device_get(both(small)), strict=True):
        square = (v.state.square * 4.0**v.state.exponent for v in (ours, theirs))
        chex.assert_trees_all_close(*square, rtol=1e-12)
        chex.assert_trees_all_close(ours.state.spread, theirs.state.spread, rtol=1e-10)
        chex.assert_trees_all_close(ours.positions, theirs.positions, rtol=1e-10)


@pytest.mark.slow
def test_states_together_are_each_by_itself(flows):
    _, _, together, each = flows
    assert together.streams.layers == (1, 2, 2, 3, 3, 4, 4, 5, 6, 7)
    pairs = zip(jax.tree.leaves_with_path(together), jax.tree.leaves_with_path(each), strict=True)
    for (path, v), (other, w) in pairs:
        assert path == other
        np.testing.assert_allclose(v, w, rtol=1e-10, atol=1e-12, err_msg=str(path))


@pytest.mark.slow
def test_states_together_have_the_numbers_of_numpy(flows):
    p, xs, flow, _ = flows

    def log_size(v):
        return 0.5 * np.log(np.mean(v**2))

    for i, state in enumerate(map(np.asarray, states(p, xs))):
        rows = state.reshape(B, -1)
        deviation = rows - rows.mean(axis=0)
        assert flow.log_spread[i] == pytest.approx(log_size(deviation) - log_size(rows), rel=1e-9)
        units = rows / np.linalg.norm(rows, axis=1)[:, None]
        cosine = (np.sum(units @ units.T) - B) / (B * (B - 1))
        assert flow.cosine[i] == pytest.approx(cosine, rel=1e-9)
        values = np.linalg.eigvalsh(deviation @ deviation.T)
        assert flow.rank[i] == pytest.approx(values.sum() ** 2 / np.sum(values**2), rel=1e-9)
        if state.ndim < 3:
            assert np.isnan(flow.log_spread_within[i])
            continue
        within = state - state.mean(axis=1, keepdims=True)
        expected = log_size(within) - log_size(state)
        assert flow.log_spread_within[i] == pytest.approx(expected, rel=1e-9)
        of_position = [
            log_size(state[:, t] - state[:, t].mean(axis=0)) - log_size(state[:, t])
            for t in range(state.shape[1])
        ]
        np.testing.assert_allclose(flow.positions.of(i + 1).log_spread, of_position, rtol=1e-9)
