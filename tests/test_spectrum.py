"""Singular values of the Jacobian between layers against SVDs, mpmath, determinants and theory."""

from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import reference
from problems import draw_batch, draw_layers, gaussian, orthogonal, refusals

import jaxnn


def compiled(net, params, xs):
    return jaxnn.spectrum((net, params), xs)


def network(seed, activation, sizes, weights=None, sigma_b=0.1, dtype=jnp.float64, batch=1, **form):
    """A network, its parameters and a batch; the hidden layers are runs unless `stacked=False`."""
    rng, form = np.random.default_rng(seed), {"stacked": True, **form}
    net = jaxnn.Network(sizes, activation, "regression")
    params = draw_layers(rng, sizes, weights or gaussian(1.0), sigma_b, dtype, **form)
    return net, params, draw_batch(rng, net, batch, dtype)[0]


@partial(jax.jit, static_argnums=0)
def jacobians(activation, params, xs):
    """∂z[L]/∂z[1] of each example by JAX, of the plain map from z[1] to z[L]."""
    (theta, b), *above = jaxnn.network.unstack(params)

    def top(z):
        for theta, b in above:
            z = jnp.dot(reference.SIGMA[activation](z), theta) + b
        return z

    if not above:
        return jnp.broadcast_to(theta, (len(xs), *theta.shape))
    return jax.vmap(jax.jacobian(top))(jnp.dot(xs, theta) + b[None])


@jax.jit
def slopes(net, params, x):
    """σ′(z[l]) of every hidden layer, (L-1, n)."""
    z = jaxnn.trace(net, params, x).z[:-1]
    return jnp.concatenate([jnp.atleast_2d(net.activation.prime(v)) for v in z])


def factors_in_float64(net, params, x):
    """diag(σ′(z[l])) θ[l] of one example; products of two float32 numbers are exact here."""
    thetas = [theta.reshape(-1, *theta.shape[-2:]) for theta, _ in params]
    thetas = np.concatenate(thetas)[1:].astype(np.float64)
    return list(np.asarray(slopes(net, params, x), np.float64)[:, :, None] * thetas)


def exact_logs(factors, bits):
    """Logarithms of the product's singular values by mpmath; bits must cover their range."""
    with mpmath.workprec(bits):
        product = mpmath.matrix(factors[0].tolist())
        for factor in factors[1:]:
            product *= mpmath.matrix(factor.tolist())
        values = mpmath.svd_r(product, compute_uv=False)
        return np.array([float(mpmath.log(s)) for s in values])


def from_matrices(matrices):
    """The spectrum of a product of square matrices."""
    layers = [(times, jnp.asarray(matrix)) for matrix in matrices]
    return jaxnn.spectrum(layers, jnp.zeros((1, len(matrices[0]))), between=(0, len(layers)))


def times(theta, z):
    return z @ theta


SIZES = [
    (3, 5, 5, 5, 5),
    (2, 4, 3, 9),
    (4, 6, 2, 5),  # singular values: 5, of them 3 zero
    (3, 1, 1, 1),
    (3, 4),  # no hidden layer: from the input
    (4, 16, 16, 16, 1),
]


@pytest.mark.parametrize(
    ("activation", "sizes"),
    [
        ("tanh", SIZES[0]),  # also for tests below
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                *(("tanh", sizes) for sizes in (SIZES[1], *SIZES[3:])),
                *(("relu", sizes) for sizes in (SIZES[2], SIZES[4])),
                ("sin", SIZES[0]),  # σ′ < 0
            )
        ),
    ],
    ids=str,
)
def test_it_agrees_with_an_svd_of_the_jacobian(activation, sizes):
    net, params, xs = network(0, activation, sizes, gaussian(1.5), batch=3)
    ours = compiled(net, params, xs)
    n = min(sizes[1 if len(sizes) > 2 else 0], sizes[-1])
    assert ours.log_singular_values.shape == (3, n)
    for i, matrix in enumerate(jacobians(activation, params, xs)):
        s = np.linalg.svd(matrix, compute_uv=False)
        zero = s <= 1e-14 * s[0]
        np.testing.assert_array_equal(np.isneginf(ours.log_singular_values[i]), zero)
        # The SVD is good to 1e-15 of the largest one.
        np.testing.assert_allclose(np.exp(ours.log_singular_values[i]), s, 1e-12, 1e-13 * s[0])
        if s[0] > 0:
            square = s**2
            np.testing.assert_allclose(ours.log_mean[i], np.log(square.mean()), 0, 1e-12)
            variance = square.var() / square.mean() ** 2
            np.testing.assert_allclose(ours.variance[i], variance, 1e-11, 1e-13)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("activation", "sigma_w", "n", "depth", "bits"),
    [
        ("identity", 1.0, 5, 200, 2500),
        ("tanh", 2.5, 5, 200, 5000),
        ("sigmoid", 1.0, 5, 200, 2500),
        ("erf", 5.0, 5, 20, 5000),  # σ′ down to 1e-60: rows of very different size
    ],
)
def test_small_singular_values_are_as_exact_as_large_ones(activation, sigma_w, n, depth, bits):
    """mpmath; the spread is e^200 to e^1200. A fixed seed: the error varies with the condition."""
    net, params, xs = network(7, activation, (n,) * (depth + 2), gaussian(sigma_w))
    exact = exact_logs(factors_in_float64(net, params, xs[0]), bits)
    assert exact[0] - exact[-1] > 100
    logs = compiled(net, params, xs).log_singular_values[0]
    np.testing.assert_allclose(logs, exact, rtol=0, atol=5e-12)
    if activation != "erf":  # whose σ′ leaves the range of float32
        narrow = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params)
        xs = xs.astype(jnp.float32)
        exact = exact_logs(factors_in_float64(net, narrow, xs[0]), bits)
        logs = compiled(net, narrow, xs).log_singular_values[0]
        np.testing.assert_allclose(logs, exact, rtol=0, atol=2e-3)


@pytest.mark.slow
def test_a_thousand_layers():
    """Where an SVD of the product gives zeros; ln |det J| = Σ ln |det F[l]| checks the sum."""
    weights = gaussian(0.4)
    net, params, xs = network(0, "tanh", (24,) * 1002, weights, dtype=jnp.float32)
    factors = factors_in_float64(net, params, xs[0])
    product = np.eye(24)
    for f in factors:
        product = product @ f
    assert not np.any(np.linalg.svd(product, compute_uv=False))
    logs = np.asarray(compiled(net, params, xs).log_singular_values[0], np.float64)
    assert np.all(np.isfinite(logs))
    assert np.all(np.diff(logs) <= 0)
    rng = np.random.default_rng(0)
    log_det, *rounded = (
        np.sum(np.linalg.slogdet(np.stack(factors) * (1 + change))[1])
        for change in (0, *(2.0**-24 * rng.choice([-1, 1], (8, 1000, 24, 24))))
    )
    assert log_det < -10_000
    error = 4 * np.max(np.abs(rounded - log_det))  # float32 rounds as if the weights were changed
    assert error < 0.5
    np.testing.assert_allclose(logs.sum(), log_det, rtol=0, atol=error)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_orthogonal_weights_keep_all_singular_values_at_one(dtype):
    net, params, xs = network(0, "identity", (32,) * 202, orthogonal(1.0), 0.1, dtype)
    s = compiled(net, params, xs)
    eps = float(jnp.finfo(dtype).eps)
    assert s.log_singular_values.dtype == dtype
    np.testing.assert_allclose(s.log_singular_values, 0, atol=200 * eps)
    np.testing.assert_allclose(s.log_mean, 0, atol=200 * eps)
    assert 0 <= s.variance[0] < (400 * eps) ** 2


@pytest.mark.slow
def test_dead_units_give_exact_zeros():
    """J of a relu network has the rank of its narrowest layer of live units, if it is generic."""
    net, params, xs = network(0, "relu", (6, *[30] * 6), gaussian(2**0.5), batch=4)
    logs = compiled(net, params, xs).log_singular_values
    assert not np.isnan(logs).any()
    for x, ours, matrix in zip(xs, logs, jacobians("relu", params, xs), strict=True):
        rank = min(np.sum(slopes(net, params, x) > 0, axis=1))
        assert 0 < rank < 20
        np.testing.assert_array_equal(np.isfinite(ours), np.arange(30) < rank)
        s = np.linalg.svd(matrix, compute_uv=False)
        np.testing.assert_allclose(ours[:rank], np.log(s[:rank]), rtol=0, atol=1e-10)


@pytest.mark.slow
def test_zero_weights_give_exact_zeros():
    """Units that nothing comes to, by columns of zeros, or that come to nothing, by rows."""
    net, params, xs = network(0, "tanh", (5, 5, 5, 5, 5), batch=3, stacked=False)
    thetas = [theta for theta, _ in params]
    thetas[1] = thetas[1].at[:, :2].set(0)
    thetas[2] = thetas[2].at[2:, 0].set(0)  # unit 0 hears of the two silent units only,
    thetas[2] = thetas[2].at[:, 1].set(0)
    thetas[2] = thetas[2].at[:, 2].set(0)  # which makes three in this layer
    for cut, zeros in (
        (thetas, 3),
        ([*thetas[:2], params[2].theta, *thetas[3:]], 2),
        ([thetas[0], *(theta.T for theta in thetas[:0:-1])], 3),
        ([jnp.zeros_like(theta) for theta in thetas], 5),
    ):
        layers = [(theta, b) for theta, (_, b) in zip(cut, params, strict=True)]
        spectrum = compiled(net, layers, xs)
        logs = spectrum.log_singular_values
        assert not np.isnan(logs).any()
        for of_example in logs:
            np.testing.assert_array_equal(np.isneginf(of_example), np.arange(5) >= 5 - zeros)
    np.testing.assert_array_equal(spectrum.log_mean, -np.inf)  # of the last, which is all zeros
    np.testing.assert_array_equal(spectrum.variance, 0)


@pytest.mark.slow
def test_products_that_come_in_the_wrong_order():
    """Small directions first, triangular factors, sizes that undo one another, uneven outputs."""
    rng = np.random.default_rng(1)
    rising = np.diag([0.01, 0.1, 0.5, 1.0, 2.0])
    above = [rising + np.triu(rng.normal(size=(5, 5)), 1) for _ in range(60)]
    below = [matrix.T for matrix in above]
    undone = [np.diag([1, 1e-20, 1, 1e-20, 1]), np.diag([1e-20, 1.0, 1e-20, 1, 1e-20])]
    outputs = [rng.normal(size=(5, 5)), rng.normal(size=(5, 5)) * 10.0 ** np.arange(-40, 10, 10)]
    for matrices in ([rising] * 60, above, below, undone, outputs):
        logs = from_matrices(matrices).log_singular_values[0]
        np.testing.assert_allclose(logs, exact_logs(matrices, 3000), rtol=0, atol=2e-11)


@pytest.mark.slow
def test_close_singular_values_are_told_apart():
    """Equal to within 1e-9 (0 … 4) in ln s: repeated QR alone would need 1e9 rounds for it."""
    rng = np.random.default_rng(2)
    u, v = (np.linalg.qr(rng.normal(size=(5, 5)))[0] for _ in range(2))
    logs = from_matrices([u * np.exp(1e-9 * np.arange(5)), v]).log_singular_values[0]
    np.testing.assert_allclose(logs, 1e-9 * np.arange(5)[::-1], rtol=0, atol=1e-14)


@pytest.mark.slow
def test_moments_survive_underflow():
    """Scaling every factor by 2^-40 moves the mean's logarithm and nothing else."""
    net, params, xs = network(0, "identity", (4,) * 62, sigma_b=0.0, dtype=jnp.float32)
    first, *above = jaxnn.network.unstack(params)
    small = [first, *((theta * 2.0**-40, b) for theta, b in above)]
    a, b = (jax.tree.map(np.asarray, compiled(net, p, xs)) for p in (params, small))
    shift = -40 * 60 * np.log(2)
    np.testing.assert_array_equal(a.variance, b.variance)
    np.testing.assert_allclose(b.log_mean, a.log_mean + 2 * shift, rtol=1e-6)
    np.testing.assert_allclose(
        b.log_singular_values, a.log_singular_values + shift, rtol=0, atol=5e-4
    )


@pytest.mark.slow
def test_batches_and_vmap():
    """An example has the spectrum that it has among copies of itself."""
    net, params, xs = network(0, "tanh", SIZES[0], batch=3)
    all_at_once = compiled(net, params, xs)
    one_by_one = [compiled(net, params, np.tile(x, (3, 1))) for x in np.asarray(xs)]
    for i, of_one in enumerate(one_by_one):
        for leaves in zip(*map(jax.tree.leaves, (of_one, all_at_once)), strict=True):
            np.testing.assert_allclose(leaves[0], np.stack([leaves[1][i]] * 3), rtol=1e-13)
    assert len(np.unique(all_at_once.log_mean)) == 3
    doubled = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), params)
    mapped = jax.vmap(compiled, in_axes=(None, 0, None))(net, doubled, xs)
    twice = compiled(net, jax.tree.map(lambda leaf: 2 * leaf, params), xs)
    reference.assert_close(jax.tree.map(lambda leaf: leaf[1], mapped), twice, 1e-13)


THREE = [(times, np.eye(3))] * 2
TOKENS = [(lambda w, x: w[x], np.eye(3)), *THREE]
REFUSED = """
compiled(NET, [PARAMS[0], PARAMS[0], *PARAMS[2:]], XS)
compiled(NET, PARAMS, XS[0])
compiled(NET, PARAMS, XS.at[0, 1].set(np.nan))
compiled(NET, jax.tree.map(lambda leaf: leaf.astype(jnp.int32), PARAMS), XS)
compiled(NET, HUGE, jnp.ones_like(XS))
jaxnn.spectrum(THREE, jnp.ones((1, 3)), between=(1, 1))
jaxnn.spectrum(THREE, jnp.ones((1, 3)), between=(2, 1))
jaxnn.spectrum(THREE, jnp.ones((1, 3)), between=(-1, 2))
jaxnn.spectrum(THREE, jnp.ones((1, 3)), between=(0, 3))
jaxnn.spectrum(TOKENS, jnp.ones((1, 3), int), between=(0, 2))
"""


def test_what_is_wrong_is_named(unhooked, snapshot):
    of_network = network(0, "relu", SIZES[0][:-1], dtype=jnp.float32, batch=3, stacked=False)
    NET, PARAMS, XS = of_network  # noqa: N806
    HUGE = [(jnp.full_like(theta, 1e38), b) for theta, b in PARAMS]  # noqa: N806
    assert refusals(REFUSED, globals() | locals()) == snapshot


@pytest.mark.slow
def test_states_beyond_the_range_are_nan_inside_of_jit():
    """Which cannot raise; relu's slopes at ±inf are numbers."""
    net, params, xs = network(0, "relu", SIZES[0][:-1], dtype=jnp.float32, batch=3)
    huge = [(jnp.full_like(theta, 1e38), b) for theta, b in params]
    for values in jax.tree.leaves(jax.jit(jaxnn.spectrum)((net, huge), jnp.ones_like(xs))):
        assert np.isnan(values).all()


# Networks of a user's own


def attending(params, x):
    """Attention of one head, and a skip."""
    logits = (x @ params["q"]) @ jnp.swapaxes(x @ params["k"], 1, 2) / 2
    return x + jax.nn.softmax(logits) @ x @ params["v"]


def of_tokens(rng):
    """A list of layers of attention and of tanh, and a batch."""
    square = [jnp.asarray(rng.normal(size=(4, 4))) for _ in range(12)]
    layers = []
    for q, k, v, w in zip(*[iter(square)] * 4, strict=True):
        layers.append((attending, {"q": q, "k": k, "v": v / 2}))
        layers.append((lambda w, x: jnp.tanh(x @ w), w))
    return layers, jnp.asarray(rng.normal(size=(2, 3, 4)))


def by_jax(layers, xs, i, j):
    """Singular values of ∂state[j]/∂state[i] of each example."""

    def through(part, x):
        for f, params in part:
            x = f(params, x[None])[0]
        return x

    def flat(x, shape):
        return through(layers[i:j], x.reshape(shape)).ravel()

    found = []
    for x in xs:
        state = through(layers[:i], x)
        matrix = jax.jacobian(flat)(state.ravel(), state.shape)
        found.append(np.linalg.svd(matrix, compute_uv=False))
    return np.array(found)


@pytest.mark.slow
@pytest.mark.parametrize("between", [(0, 6), (0, 1), (2, 3), (3, 6), (2, 5)])
def test_any_two_layers(rng, between):
    layers, xs = of_tokens(rng)
    exact = by_jax(layers, xs, *between)
    found = jaxnn.spectrum(layers, xs, between=between)
    np.testing.assert_allclose(np.exp(found.log_singular_values), exact, rtol=1e-9, atol=1e-13)
    attending = tuple(layer for layer in range(between[0] + 1, between[1] + 1) if layer % 2)
    assert (found.attention.layers if attending else ()) == attending
    assert ("stable rank" in str(found)) == bool(attending)
    by_lanczos = jaxnn.spectrum(layers, xs, between=between, steps=12)  # as many as numbers
    np.testing.assert_allclose(by_lanczos.log_largest, np.log(exact[:, 0]), rtol=0, atol=1e-12)
    off = np.abs(np.exp(by_lanczos.log_smallest) / exact[:, -1] - 1)
    known = np.isfinite(by_lanczos.log_smallest)  # the others are lost in rounding
    assert (off <= 2 * by_lanczos.log_smallest_error)[known].all()
    assert (known == (exact[:, -1] > 1e-14 * exact[:, 0])).all()


@pytest.mark.slow
def test_ends_by_lanczos_are_within_their_errors():
    """Of wide layers, beyond the range of any float, and narrower at one end or the other."""
    rng = np.random.default_rng(3)
    for sizes in ((60,) * 4, (60, 50, 40), (40, 50, 60)):
        pairs = list(pairwise(sizes))
        layers = [
            (times, jnp.asarray(1e-200 * rng.normal(size=shape) / shape[0] ** 0.5))
            for shape in pairs
        ]
        xs, between = jnp.zeros((2, sizes[0])), (0, len(layers))
        exact = jaxnn.spectrum(layers, xs, between=between)
        found = jaxnn.spectrum(layers, xs, between=between, steps=24)
        assert (exact.log_largest < -800).all()
        assert found.log_singular_values is None
        off = np.abs(found.log_largest - exact.log_largest)
        assert (off <= found.log_largest_error + 1e-12).all()
        assert (found.log_largest_error < 0.05).all()
        assert (np.abs(found.log_mean - exact.log_mean) < 4 * found.log_mean_error).all()
        assert (found.log_mean_error < 0.3).all()
        np.testing.assert_allclose(found.variance, exact.variance, rtol=0.8)
        known = np.isfinite(found.log_smallest)
        off = np.abs(found.log_smallest - exact.log_smallest)[known]
        assert (off <= found.log_smallest_error[known] + 1e-12).all()


@pytest.mark.slow
def test_values_that_are_all_equal_or_all_zero_by_lanczos():
    """There the first product says everything, and what is left is rounding."""
    rng = np.random.default_rng(0)
    turned = [(times, jnp.asarray(np.linalg.qr(rng.normal(size=(9, 9)))[0])) for _ in range(3)]
    for layers, log in ((turned, 0.0), ([*turned, (times, jnp.zeros((9, 9)))], -np.inf)):
        found = jaxnn.spectrum(layers, jnp.ones((2, 9)), between=(0, len(layers)), steps=5)
        np.testing.assert_allclose(found.log_largest, log, atol=1e-12)
        np.testing.assert_allclose(found.log_mean, log, atol=1e-12)
        np.testing.assert_allclose(found.variance, 0, atol=1e-12)


@pytest.mark.slow
def test_examples_that_meet_have_no_jacobian_of_their_own(unhooked):
    layers = [
        (times, jnp.eye(3)),
        (lambda w, z: (z - z.mean(axis=0, keepdims=True)) @ w, jnp.eye(3)),
        (times, jnp.eye(3)),
    ]
    xs = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)))
    with pytest.raises(ValueError, match=r"layer 2.*: expected examples that do not meet"):
        jaxnn.spectrum(layers, xs)
    whole = jaxnn.spectrum(layers, xs, each="whole", between=(0, 3))
    assert whole.log_singular_values.shape == (1, 12)
    values = np.exp(whole.log_singular_values[0])
    np.testing.assert_allclose(values, [1] * 9 + [0] * 3, atol=1e-12)  # without the means


@pytest.mark.slow
def test_attention_that_gives_all_tokens_the_same_has_rank_one():
    """And a matrix of its own where it looks at one token, after a mask too."""
    x = jnp.asarray(np.eye(4)[None])

    def attention(size, x):
        return jax.nn.softmax(size * x @ jnp.swapaxes(x, 1, 2)) @ x

    def causal(size, x):
        logits = jnp.where(np.tri(4, dtype=bool), size * x @ jnp.swapaxes(x, 1, 2), -jnp.inf)
        return jax.nn.softmax(logits) @ x

    def of(f, size):
        layers = [(f, jnp.asarray(size)), (times, jnp.eye(4))]
        return jaxnn.spectrum(layers, x, between=(0, 2)).attention

    same, own = of(attention, 0.0), of(attention, 100.0)
    np.testing.assert_allclose([same.second, same.rank], [[0], [1]], atol=1e-12)
    np.testing.assert_allclose([own.second, own.rank], [[1], [4]], atol=1e-12)
    s = np.linalg.svd(np.tri(4) / np.arange(1, 5)[:, None], compute_uv=False)
    masked = of(causal, 0.0)
    np.testing.assert_allclose(masked.second, s[1] / s[0])
    np.testing.assert_allclose(masked.rank, np.sum(s**4) / s[0] ** 4)
    assert (masked.tokens == 4).all()
