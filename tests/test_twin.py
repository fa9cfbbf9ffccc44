"""The wide twin: each product against its covariance, networks against theory."""

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from problems import mostly_slow

import jaxnn
from jaxnn.flow.measure.flow_of_net import flow_of_net
from jaxnn.flow.verdict.theory_departure import gradient_departure, signal_departure
from jaxnn.theory import meanfield
from jaxnn.theory.twin.by_channel import by_channel, is_by_channel
from jaxnn.theory.twin.draws import ProductAxes, looked_up, product
from jaxnn.theory.twin.program import STATE, WEIGHT, ProductKeys, Value, evaluated, shared_weights

LN10 = np.log(10)
KEY = jnp.array([3, 5], jnp.uint32)
REPLICAS = 512


def _dense(x, w):
    return x @ w


def _heads(x, w):  # (h, f, c), (h, c, o)
    return jnp.einsum("hfc,hco->hfo", x, w)


def _conv(x, w):
    return lax.conv_general_dilated(
        x,
        w,
        (2,),
        "SAME",
        rhs_dilation=(2,),
        dimension_numbers=("NWC", "WIO", "NWC"),
        feature_group_count=2,
    )


def _by_channel(x, w):
    return lax.conv_general_dilated(
        x,
        w,
        (2, 1),
        ((2, 0), (-1, 3)),
        rhs_dilation=(1, 2),
        dimension_numbers=("NCHW", "OIHW", "NHWC"),
        feature_group_count=5,
    )


# A, the shapes of x and W, the axes; None is drawn by mixture.
PRODUCTS = {
    "dense": (_dense, (3, 6), (6, 8), ProductAxes((1,), (0,), (), ())),
    "heads": (_heads, (2, 3, 6), (2, 6, 8), ProductAxes((2,), (1,), (0,), (0,))),
    "mixture": (_dense, (3, 6), (6, 8), None),
    "convolution": (_conv, (1, 6, 4), (3, 2, 6), None),
}


def _second_moments(values):
    """Return the mean square of each entry over replicas, and of all sums of two rows."""
    rows = np.asarray(values, np.float64)
    return np.mean(rows**2, axis=0), np.mean((rows[..., :-1, :] + rows[..., 1:, :]) ** 2, axis=0)


def test_a_convolution_by_channel_is_a_sum_of_shifted_products():
    random = np.random.default_rng(0)
    x, w = (jnp.asarray(random.normal(size=n), "float32") for n in ((2, 5, 7, 9), (5, 1, 2, 3)))
    eqn = jax.make_jaxpr(_by_channel)(x, w).eqns[-1]
    assert is_by_channel(eqn.params, x, w)

    @jax.jit
    def up_and_down(x, w):
        both = []
        for f in (_by_channel, partial(by_channel, eqn.params)):
            y = f(x, w)
            both.append((y, *jax.linear_transpose(partial(f, w=w), x)(jnp.sin(y))))
        return both

    expected, ours = up_and_down(x, w)
    for one, other in zip(expected, ours, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-5)


@mostly_slow("name", PRODUCTS, "dense")
def test_a_draw_has_the_covariance_of_the_product_up_and_down(name):
    operator, of_x, of_w, axes = PRODUCTS[name]
    random = np.random.default_rng(0)
    # Rows and columns of several sizes.
    across, along = np.arange(of_w[-1]) % 2, np.arange(of_w[-2]) % 2
    w = np.broadcast_to((1.0 + 2 * across[None]) * (0.5 + along[:, None]), of_w).astype(np.float32)
    x = random.normal(1, size=of_x).astype(np.float32)
    sizes = random.permutation(np.resize(np.float32([1, 3]), REPLICAS))  # of replicas
    xs = sizes.reshape(-1, *[1] * len(of_x)) * x
    y = jax.eval_shape(operator, x, w)
    delta = random.normal(size=y.shape).astype(np.float32)
    deltas = np.broadcast_to(delta, (REPLICAS, *y.shape))

    @jax.jit
    def drawn(xs, w, deltas):
        up, pull = jax.vjp(lambda x, w: product(KEY, operator, x, w, axes, loops=False), xs, w)
        return up, *pull(deltas)

    @jax.jit
    def expected(x, delta, keys):  # of random signs, the mean square of the replicas being 5
        def of(key):
            own = w * jax.random.rademacher(key, w.shape, w.dtype)
            return operator(x, own) * 5**0.5, jax.vjp(lambda x: operator(x, own), x)[1](delta)[0]

        return jax.vmap(of)(keys)

    up, below, of_w = map(np.asarray, drawn(xs, w, deltas))
    real_up, real_below = expected(x, delta, jax.random.split(jax.random.key(0), 4 * REPLICAS))
    for ours, theirs in ((up, real_up), (below, real_below)):
        for a, b in zip(_second_moments(ours), _second_moments(theirs), strict=True):
            assert np.allclose(a, b, rtol=0.4, atol=0.1 * b.mean())
            assert np.isclose(a.mean(), b.mean(), rtol=0.1)
    # Half of the replicas went in three times smaller; what comes out is alike.
    ratio = np.mean(up[sizes > 2] ** 2) / np.mean(up[sizes < 2] ** 2)
    assert abs(ratio - 1) < (0.1 if axes else 0.3)
    whole = sizes.sum() * np.asarray(jax.vjp(partial(operator, x), w)[1](delta)[0])
    assert np.allclose(of_w, whole, rtol=1e-4, atol=1e-4 * np.abs(whole).max())


def test_an_entry_of_a_table_has_one_sign_in_a_replica():
    table = np.arange(1.0, 25, dtype=np.float32).reshape(4, 6)
    places = np.broadcast_to(np.array([0, 2, 0]), (REPLICAS, 3))
    draw = jax.jit(lambda places: looked_up(KEY, lambda v, i: v[i], jnp.asarray(table), places))
    entries = np.asarray(draw(places))
    assert np.array_equal(np.abs(entries[5]), table[places[5]])
    assert np.array_equal(entries[:, 0], entries[:, 2])
    assert np.abs(np.mean(np.sign(entries), axis=0)).max() < 0.2
    assert np.abs(np.mean(np.sign(entries[:, 0] * entries[:, 1]), axis=0)).max() < 0.2


@mostly_slow("by_state", [True, False], True)
def test_rows_have_the_draw_of_their_expert(by_state):
    """Two experts, the second of weights three times as large, and rows 0, 1 and 3 alike."""
    tokens, n = 4, 8

    def experts(w, x, first):
        return lax.ragged_dot(x, w, jnp.stack([first, tokens - first]))

    x = np.random.default_rng(0).normal(size=(tokens, n)).astype(np.float32)
    x[[1, 3]] = x[0]
    w = np.stack([np.full((n, n), size, np.float32) for size in (0.3, 0.9)])
    first = np.full(REPLICAS, 2, np.int32)
    first[REPLICAS // 2 :] += by_state  # of the other half three rows go to the first expert
    closed = jax.make_jaxpr(experts)(w, x, first[0])

    @jax.jit
    def drawn(xs, first):
        def of(xs):
            sizes = Value(first, STATE) if by_state else Value(first[0], WEIGHT)
            given = [Value(w, WEIGHT), Value(xs, STATE), sizes]
            (made,) = evaluated(closed, given, ProductKeys(KEY, REPLICAS))
            return made.array

        y, pull = jax.vjp(of, xs)
        return y, *pull(jnp.ones_like(y))

    y, below = map(np.asarray, drawn(np.broadcast_to(x, (REPLICAS, *x.shape)), first))
    assert np.allclose(y[:, 0], y[:, 1], rtol=1e-4, atol=1e-4)
    assert abs(np.mean(y[:, 0] * y[:, 3])) < 0.1 * np.mean(y[:, 0] ** 2 + y[:, 3] ** 2)
    sizes = np.where(np.arange(tokens) < first[:, None], 0.3, 0.9) ** 2
    for made, expected in ((y, np.sum(x**2, axis=1) * sizes), (below, n * sizes)):
        ratio = np.mean(made**2, axis=2) / expected
        for half in (slice(0, REPLICAS // 2), slice(REPLICAS // 2, None)):
            assert np.allclose(np.mean(ratio[half], axis=0), 1, atol=0.15)


def _in_layer(f, w, *states):
    """Return what a layer makes, with one draw of each weight, for replicas of its states."""
    given = [Value(w, WEIGHT), *(Value(v, STATE) for v in states)]
    closed = jax.make_jaxpr(f)(w, *(v[0] for v in states))
    draws = ProductKeys(KEY, len(states[0]))
    draws.entries = shared_weights(closed, given, len(states[0]))
    return [value.array for value in evaluated(closed, given, draws)]


def _in_steps(w, z, g):
    """Return z W summed over two steps, and 2 z W."""
    summed = lax.scan(lambda total, _: (total + z @ w, None), 0 * z, None, length=2)[0]
    return summed - 2 * (z @ w)


def _over_layers(w, z, g):
    """Return g · (z W₁ …) - (g … W₁ᵀ) · z, of steps that go up and down a stack."""
    stack, z, g = w.reshape(4, 3, 3), z[:, :3], g[:, :3]
    up = lax.scan(lambda z, w: (z @ w, None), z, stack)[0]
    down = lax.scan(lambda g, w: (g @ w.T, None), g, stack, reverse=True)[0]
    return jnp.sum(g * up) - jnp.sum(down * z)


def _of_own(z, w):
    return z @ w - (2 * z) @ (w / 2)


_called = jax.jit(_dense)

# Functions of W, z and g that are 0, or of mean 0 over replicas, if W is one matrix.
ONE_DRAW = {
    "twice": lambda w, z, g: z @ w - 0.5 * (z @ (2 * w)),
    "both signs": lambda w, z, g: jax.nn.relu(z @ w) - jax.nn.relu(-z @ w) - z @ w,
    "slices": lambda w, z, g: (z @ w)[..., :3] - z @ w[:, :3],
    "heads": lambda w, z, g: z @ w - jnp.einsum("fi,ihd->fhd", z, w.reshape(6, 2, 3)).reshape(2, 6),
    "columns in another order": lambda w, z, g: (
        (z @ w).reshape(2, 2, 3).swapaxes(1, 2).reshape(2, 6)
        - z @ w.reshape(6, 2, 3).swapaxes(1, 2).reshape(6, 6)
    ),
    "without gradient": lambda w, z, g: z @ w - z @ lax.stop_gradient(w),
    "calls": lambda w, z, g: _called(z, w) - _called(z, w),
    "choice": lambda w, z, g: lax.cond(z[0, 0] > 0, jnp.dot, lambda z, w: z @ w, z, w) - z @ w,
    "steps": _in_steps,
    "function": lambda w, z, g: _of_own(z, w - jnp.mean(w, keepdims=True)),
    "transpose": lambda w, z, g: jnp.sum(g * (z @ w)) - jnp.sum((g @ w.T) * z),
    "slices of the transpose": lambda w, z, g: (
        jnp.sum(g[:, :2] * (z @ w[:, :2])) - jnp.sum((g[:, :2] @ w.T[:2]) * z)
    ),
    "stacks": _over_layers,
    "parts": lambda w, z, g: jnp.concatenate([z, z], -1) @ jnp.concatenate([w, -w]),
    "copies": lambda w, z, g: jnp.subtract(
        *jnp.einsum("hfi,hio->hfo", jnp.stack([z, z]), jnp.broadcast_to(w, (2, 6, 6)))
    ),
    "look-up": lambda w, z, g: (
        w[jnp.int32(z[:, 0])] - jax.nn.one_hot(jnp.int32(z[:, 0]), 6, dtype=z.dtype) @ w
    ),
}
QUICK = ["transpose", "stacks", "look-up", "parts"]


@pytest.mark.parametrize(
    "names", [QUICK, pytest.param(sorted({*ONE_DRAW} - {*QUICK}), marks=pytest.mark.slow)]
)
def test_a_weight_has_one_draw_in_a_layer(names):
    random = np.random.default_rng(0)
    w = jnp.asarray(random.normal(size=(6, 6)), jnp.float32)
    z, g = random.normal(size=(2, 5, 2, 6)).astype(np.float32)
    z[..., 0] = [0, 3]  # rows that are looked up

    @jax.jit
    def every(w, z, g):
        return {name: _in_layer(ONE_DRAW[name], w, z, g)[0] for name in names}

    for name, made in every(w, z, g).items():
        of_all = np.sum(made, axis=0) if np.ndim(made) == 1 else made
        assert np.abs(of_all).max() < 2e-5, name


TOGETHER = {
    "several products or steps, whose entries are made of each other's": lambda w, z: lax.fori_loop(
        0, 2, lambda _, z: jnp.tanh(z @ (w + w.T)), z
    ),
    "are made of one parameter": lambda w, z: z @ w + z @ jnp.abs(w),
    "in both": lambda w, z: (z @ w) + z * w[:2],
    "sum over other axes of it": lambda w, z: (
        jnp.einsum("fi,ihd->fhd", z, w.reshape(6, 2, 3)).sum(2)
        @ jnp.einsum("fhd,ihd->fih", z.reshape(2, 2, 3), w.reshape(6, 2, 3)).sum(0).T
    ),
}


@pytest.mark.parametrize("reason", TOGETHER)
def test_products_that_have_no_twin_together_are_refused(reason):
    w, z = jnp.eye(6), jnp.ones((2, 6))
    net, params = jaxnn.as_network({"mine": (TOGETHER[reason], w)})
    with pytest.raises(jaxnn.errors.NoTwinError, match=rf"layer mine: .*{reason}.*; "):
        jax.eval_shape(
            lambda params: jaxnn.gradient_flow(jaxnn.theory.wide((net, params)), z, cotangent=z),
            params,
        )


def test_a_weight_and_its_transpose_have_their_closed_form():
    """Of relu(z W) Wᵀ half a layer's W Wᵀ is the unit matrix: q′ = σ⁴ (¼ + ½) q, Δ alike."""
    n, size = 32, 1.2
    w = size * n**-0.5 * jax.random.rademacher(jax.random.key(0), (n, n), jnp.float32)
    z, g = np.random.default_rng(0).normal(size=(2, 32, 2, n)).astype(np.float32)

    @jax.jit
    def both(w, z, g):
        y, pull = jax.vjp(lambda z: _in_layer(lambda w, z: jax.nn.relu(z @ w) @ w.T, w, z)[0], z)
        return y, *pull(g)

    y, below = both(w, z, g)
    for made, given in ((y, z), (below, g)):
        assert np.mean(made**2) / np.mean(given**2) == pytest.approx(0.75 * size**4, rel=0.06)
        assert np.mean(made * given) / np.mean(given**2) == pytest.approx(size**2 / 2, rel=0.06)


def _normal(key, *shape, fan):
    return jax.random.normal(key, shape) / fan**0.5


def _tanh(w, z):
    return jnp.tanh(z) @ w


def _twins(net, params, xs, cotangent, count=4, replicas=8):
    """Return the flows of several twins."""
    twin, _ = jaxnn.theory.wide((net, params), replicas=replicas)
    each = [twin.with_key(params, key) for key in jax.random.split(jax.random.key(7), count)]
    return [jaxnn.gradient_flow((twin, own), xs, cotangent=cotangent) for own in each]


def _two(p, z):
    return z + jnp.tanh(z @ p[0]) @ p[1]


def _gated(p, z):
    gate = jax.nn.sigmoid(z @ p[0] - 1)
    return gate * jnp.tanh(z @ p[1]) + (1 - gate) * z


def _recurrent(w, z):
    return jnp.tanh(z @ w)


NODES = np.linspace(-8, 8, 1601)
OF_NODE = np.exp(-(NODES**2) / 2)


def _mean(f, q):
    """E f(√q g)."""
    return OF_NODE @ f(q**0.5 * NODES) / OF_NODE.sum()


def _slope(z):
    return np.cosh(z) ** -2.0


def _recurrent_in_theory(p, size):
    """Return the mean square after a layer, and E‖Δz‖²/E‖Δz′‖²."""
    q = size**2 * p
    return _mean(lambda z: np.tanh(z) ** 2, q), size**2 * _mean(lambda z: _slope(z) ** 2, q)


def _two_in_theory(p, size):
    q = size**2 * p
    square, slope = _mean(lambda z: np.tanh(z) ** 2, q), _mean(lambda z: _slope(z) ** 2, q)
    return p + size**2 * square, 1 + size**4 * slope


def _gated_in_theory(p, size):
    q = size**2 * p
    square, slope = _mean(lambda z: np.tanh(z) ** 2, q), _mean(lambda z: _slope(z) ** 2, q)

    def of_gate(f):
        return _mean(lambda k: f(1 / (1 + np.exp(1 - k))), q)

    opened, closed = of_gate(lambda t: t**2), of_gate(lambda t: (1 - t) ** 2)
    of_slope = of_gate(lambda t: (t * (1 - t)) ** 2)
    above = opened * square + closed * p
    return above, closed + size**2 * (opened * slope + of_slope * (square + p))


CLOSED = {  # layer, matrices of each, of what size, one for all layers, theory
    "two matrices": (_two, 2, 1.2, False, _two_in_theory),
    "gates": (_gated, 2, 1.5, False, _gated_in_theory),
    "tied weights": (_recurrent, 1, 1.5, True, _recurrent_in_theory),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CLOSED)
def test_gates_two_matrices_and_tied_weights_have_their_closed_form(name):
    layer, matrices, size, tied, theory = CLOSED[name]
    n, layers = 32, 12
    keys = jax.random.split(jax.random.key(0), layers)

    def weights(key):  # of one size exactly
        w = size * n**-0.5 * jax.random.rademacher(key, (matrices, n, n), float)
        return w[0] if matrices == 1 else w

    each = [weights(keys[0] if tied else k) for k in keys]
    if tied:
        each = each[:1] * layers
    net, params = jaxnn.as_network([(layer, w) for w in each])
    xs = jax.random.rademacher(keys[0], (4, n), float)
    flows = _twins(net, params, xs, jax.random.normal(keys[1], (4, n)), replicas=32)
    square, down, p = [], 0.0, 1.0
    for i in range(layers):
        p, factor = theory(p, size)
        square.append(np.log(p))
        down += np.log(factor) if i else 0.0  # Δ behind layer 1 is the first
    for logs, expected in (
        ([flow.log_mean_square[-1] for flow in flows], square[-1]),
        ([2 * (flow.log_delta[0] - flow.log_delta[-1]) for flow in flows], down),
    ):
        error = np.std(logs, ddof=1) / 2
        assert error < 0.1
        assert abs(np.mean(logs) - expected) < 3 * error + 0.02


@pytest.mark.slow
def test_programs_in_a_layer_are_opened():
    n = 32

    @jax.custom_vjp
    def ruled(w, z):
        return jnp.tanh(z) @ w

    def pull(saved, delta):
        return jax.vjp(_tanh, *saved)[1](delta)

    ruled.defvjp(lambda w, z: (ruled(w, z), (w, z)), pull)

    def chosen(w, z):  # an index that is data, and one that the state chooses
        z = lax.cond(w[0, 0] > 10, lambda z: z @ w, lambda z: jnp.tanh(z) @ w, z)
        return lax.cond(jnp.sum(z**2) > -1, lambda z: z, lambda z: z @ w, z)

    keys = jax.random.split(jax.random.key(0), 3)
    weights = [1.5 * n**-0.5 * jax.random.rademacher(k, (n, n), float) for k in keys]
    xs = jax.random.normal(keys[0], (4, n), float)

    def flow_of(f, weights=weights):
        net, params = jaxnn.as_network([(f, w) for w in weights])
        return jaxnn.gradient_flow(jaxnn.theory.wide((net, params)), xs, cotangent=xs)

    plain, of_rule, of_choice = (flow_of(f).log_delta for f in (_tanh, ruled, chosen))
    assert np.allclose(plain, of_rule, atol=1e-3)
    assert np.allclose(plain, of_choice, atol=0.3)

    def summed(w, z):  # steps whose inputs are alike share the weight, w
        return lax.scan(lambda total, z: (total + z @ w, None), 0 * z, jnp.stack([z, z]))[0]

    flow = flow_of(summed, weights[:1])
    expected = 1.5**2 * 4 * np.mean(np.asarray(xs) ** 2)
    assert np.isclose(np.exp(flow.log_mean_square[0]), expected, rtol=0.15)
    assert np.isclose(2 * flow.log_delta_input, np.log(9 * np.sum(np.asarray(xs) ** 2)), atol=0.2)


@pytest.mark.slow
def test_a_number_that_a_loop_counts_is_one_for_all_replicas(rng):
    """A fori_loop, whose counter is a state, has the theory of the scan over the same numbers."""
    w, x = rng.normal(size=(6, 6)), rng.normal(size=(4, 6))

    def counted(w, x):
        return lax.fori_loop(0, 3, lambda i, z: jnp.tanh(z @ w) / (1.0 + i.astype(z.dtype)), x)

    def scanned(w, x):
        return lax.scan(lambda z, i: (jnp.tanh(z @ w) / (1.0 + i), None), x, jnp.arange(3.0))[0]

    flows = []
    for f in (counted, scanned):
        twin = jaxnn.theory.wide(jaxnn.as_network((f, w), x), replicas=512)
        flows.append(jaxnn.gradient_flow(twin, x, cotangent=jnp.ones_like(x)))
    for name in ("log_delta", "log_mean_square"):
        np.testing.assert_allclose(*(getattr(flow, name) for flow in flows), atol=0.1)


def test_what_has_no_twin_is_refused_by_name():
    def turned(w, z):  # sums over the rows of each expert
        numbers = lax.RaggedDotDimensionNumbers((((0,), (0,)), ((), ())), (0,), ())
        sums = lax.ragged_dot_general(z, w, jnp.array([2, 2], jnp.int32), numbers)
        return z + jnp.sum(sums)

    def waves(w, z):
        return jnp.abs(lax.complex(z, z) @ w[:3].astype(complex))

    xs = jnp.ones((4, 3))
    for f, got in ((turned, "another ragged_dot"), (waves, "complex ones")):
        net, params = jaxnn.as_network({"mine": (f, jnp.ones((4, 3)))})
        twin = jaxnn.theory.wide((net, params))
        sentence = rf"layer mine: expected .* got {got}"
        with pytest.raises(jaxnn.errors.NoTwinError, match=sentence):
            jaxnn.gradient_flow(twin, xs, cotangent=xs)
    with pytest.raises(TypeError, match="got a wide twin"):
        jaxnn.theory.wide(twin)
    with pytest.raises(ValueError, match="replicas: expected an integer"):
        jaxnn.theory.wide((net, params), replicas=0)


def test_what_compares_numbers_is_no_function_of_traced_ones():
    net, params = jaxnn.as_network([(jnp.dot, jnp.eye(3))] * 6)
    with pytest.raises(
        TypeError, match=r"params, xs: expected arrays, got traced ones; .* outside"
    ):
        jax.eval_shape(lambda xs: jaxnn.theory.critical_scale((net, params), xs), jnp.ones((2, 3)))


@pytest.fixture(scope="module")
def narrow():
    """A chain of equal layers, its examples and a cotangent."""
    keys = jax.random.split(jax.random.key(0), 14)
    net, params = jaxnn.as_network([(_tanh, _normal(k, 24, 24, fan=24)) for k in keys[2:]])
    xs, cotangent = (jax.random.normal(k, (4, 24)) for k in keys[:2])
    return net, params, xs, cotangent


@pytest.mark.slow
def test_theory_stands_beside_a_measurement(narrow):
    net, params, xs, cotangent = narrow
    flow = jaxnn.gradient_flow(
        (net, params), xs, cotangent=cotangent, theory=True, theory_error=0.04
    )
    theory = flow.theory
    assert float(theory.errors.log_delta[0]) / LN10 < 0.045
    assert theory.errors.log_delta[-1] == 0
    apart = np.abs(flow.log_delta - theory.log_delta)
    one = np.asarray(theory.errors.log_delta) * theory.replicas**0.5  # of one network
    assert (apart <= 3 * one + 1e-6).all()
    assert one[0] > 0.05
    assert theory.replicas >= 4 * 11
    row = flow.table()[0]
    assert np.isclose(
        row["log10_delta_theory"], float(theory.log_delta[0]) / LN10 - np.log10(4) / 2
    )
    assert "parts" not in str(jaxnn.verdict(flow))
    # Weights that are correlated: each layer has the transpose of the one below.
    w = 0.7 * net.user(params)[0][1]
    layers = [(_tanh, w.T if i % 2 else w) for i in range(12)]
    trained = jaxnn.gradient_flow(
        (net, net.params(layers)), xs, cotangent=cotangent, theory=True, theory_error=0.1
    )
    assert " down the gradient parts from that of random weights" in str(jaxnn.verdict(trained))


@pytest.mark.slow
def test_theory_has_no_derivative(narrow):
    """The reverse rule of a draw has other draws: differentiated it would be a wrong number."""
    net, params, xs, cotangent = narrow

    def first(factor, given):
        own = jaxnn.theory.scale_weights((net, params), factor)
        return jaxnn.gradient_flow((net, own), given * xs, cotangent=cotangent, theory=True).theory

    for at in (0, 1):
        with pytest.raises(ValueError, match="has no derivative: its backward pass has draws of"):
            jax.grad(lambda *v: first(*v).log_delta[0], at)(1.0, 1.0)


@pytest.mark.slow
def test_theory_of_a_network_is_that_of_its_task():
    net = jaxnn.Network((5, 32, 32, 32, 2), "relu", "multiclass", hidden=jaxnn.blocks.LayerNorm())
    params = jaxnn.init(net, jax.random.key(0), stacked=True)
    xs, ys = jax.random.normal(jax.random.key(1), (6, 5)), jnp.arange(6) % 2
    flow = jaxnn.gradient_flow((net, params), xs, ys, theory=True, theory_error=0.2)
    assert np.allclose(flow.log_delta, flow.theory.log_delta, atol=0.7)
    assert flow.theory.sizes == flow.sizes
    assert np.array_equal(flow.theory.mixes, flow.mixes)
    with pytest.raises(ValueError, match="theory: expected none with a depth"):
        flow_of_net(net, params, xs, ys, depth=2, theory=True)
    with pytest.raises(ValueError, match="theory_error: expected more than 0 decades, got -1"):
        jaxnn.gradient_flow((net, params), xs, ys, theory=True, theory_error=-1.0)


def test_theory_and_measurement_part_where_they_stay_apart(unhooked):
    log_delta = np.linspace(3, 0, 12)
    errors = SimpleNamespace(log_delta=np.array([0.02] * 11 + [0]))
    signal = np.linspace(0, 1, 12)
    errors.log_mean_square = np.full(12, 0.02)
    theory = SimpleNamespace(
        log_delta=log_delta, log_mean_square=signal, errors=errors, replicas=16, draws=16
    )

    def of(apart, of_signal=0.0):
        return SimpleNamespace(
            log_delta=log_delta + np.multiply(apart, LN10),
            log_mean_square=signal + 2 * np.multiply(of_signal, LN10) * np.ones(12),
            theory=theory,
            names=("",) * 12,
        )

    def down(*apart):
        return gradient_departure(of([*apart, *[0.0] * (12 - len(apart))]))

    assert gradient_departure(of(np.full(12, 0.5))) is None  # the loss alone
    assert down() is down(*[0.12] * 6) is None  # 3.5 deviations of one network
    assert down(0.0, -0.4, -0.3) is None  # not for good
    assert down(-0.5, 0.0, -0.3).layer == 1
    assert down(*[0.3] * 6).layer == 6
    theory.draws = 4  # nine deviations that four draws know may be chance
    assert down(*[0.3] * 6) is None
    theory.draws = 16
    assert down(0.5, 0.0, -0.3, -0.6) == pytest.approx((4, -0.6))  # crosses it
    assert down(-0.4, -0.5, -0.3) == pytest.approx((3, -0.5))

    up = [*[0.0] * 5, *[-0.5] * 3, *[-0.4] * 4]
    assert signal_departure(of(np.zeros(12), up)) == pytest.approx((6, -0.5))
    assert signal_departure(of(np.zeros(12), [0.3] * 11 + [0.0])) is None  # not for good


@pytest.mark.slow
def test_the_band_behind_a_post_norm_is_that_of_new_networks():
    draws = 40
    net = jaxnn.Network((16,) * 14, "tanh", "regression", hidden=jaxnn.blocks.PostNorm())
    keys = jax.random.split(jax.random.key(0), 12)
    several = jax.vmap(
        lambda key: jaxnn.init(net, key, jaxnn.initializers.gaussian(1.0), stacked=True)
    )
    many = jax.tree.map(np.asarray, several(jax.random.split(keys[1], draws)))
    xs, cotangent = jax.random.normal(keys[0], (2, 1, 16))
    each = [
        jaxnn.gradient_flow((net, jax.tree.map(lambda v, i=i: v[i], many)), xs, cotangent=cotangent)
        for i in range(draws)
    ]
    logs = np.array([flow.log_delta - flow.log_delta[-1] for flow in each])
    hidden = logs[:, 0] - logs[:, -2]
    of = ("tanh", 1.0, 0.0, 1.0)
    formula = meanfield.log_delta_band(*of, 16, 12, hidden=net.hidden)
    mean = meanfield.log_delta(*of, 12, hidden=net.hidden)[0] + formula.bias[0]
    sd = float(formula.sd[0])
    assert abs(hidden.mean() - mean) < (4 / draws**0.5 + 0.2) * sd
    assert hidden.std(ddof=1) == pytest.approx(sd, rel=4 / (2 * draws) ** 0.5 + 0.1)
