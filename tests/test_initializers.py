"""What is drawn: names, variances, keys, dtypes."""

import itertools
from functools import cache

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import optimised, refusals

import jaxnn

N_IN, N_OUT = 300, 200

# The variance of an entry of θ (N_IN, N_OUT), by the formula of each scheme.
VARIANCES = {
    "glorot_uniform": 2 / (N_IN + N_OUT),
    "glorot_normal": 2 / (N_IN + N_OUT),
    "xavier_uniform": 2 / (N_IN + N_OUT),
    "xavier_normal": 2 / (N_IN + N_OUT),
    "he_uniform": 2 / N_IN,
    "he_normal": 2 / N_IN,
    "kaiming_uniform": 2 / N_IN,
    "kaiming_normal": 2 / N_IN,
    "lecun_uniform": 1 / N_IN,
    "lecun_normal": 1 / N_IN,
    "orthogonal": 1 / max(N_IN, N_OUT),
    "normal": 1e-2**2,
    "uniform": 1e-2**2 / 12,
    "truncated_normal": 1e-2**2 * 0.774,  # cut at two standard deviations
    "zeros": 0,
    "ones": 0,
}


def test_every_name_has_its_variance(key):
    assert set(VARIANCES) == set(jaxnn.initializers.WEIGHTS)
    schemes = {name: (name, variance) for name, variance in VARIANCES.items()}
    schemes["gaussian"] = (jaxnn.initializers.gaussian(1.7), 1.7**2 / N_IN)
    schemes["scaled orthogonal"] = (jaxnn.initializers.orthogonal(1.7), 1.7**2 / max(N_IN, N_OUT))
    net = jaxnn.Network((N_IN, N_OUT), "tanh", "regression")

    @jax.jit
    def draw_all(key):
        return {name: jaxnn.init(net, key, scheme) for name, (scheme, _) in schemes.items()}

    # 4 standard errors of a variance over N entries, at most those of a normal: √(2/N).
    tolerance = 4 * np.sqrt(2 / (N_IN * N_OUT))
    for name, ((theta, _),) in draw_all(key).items():
        assert theta.shape == (N_IN, N_OUT)
        np.testing.assert_allclose(np.var(theta), schemes[name][1], rtol=tolerance, err_msg=name)


OF_JAX = {
    name: getattr(jax.nn.initializers, name)()
    for name in sorted(set(VARIANCES) - {"zeros", "ones"})
}
OF_JAX[jaxnn.initializers.gaussian(1.7)] = jax.nn.initializers.variance_scaling(
    1.7**2, "fan_in", "normal"
)


@pytest.mark.slow
def test_the_numbers_are_those_of_jax(key):
    net = jaxnn.Network((7, 10), "tanh", "regression")
    ours, theirs = (
        optimised(lambda key, schemes=schemes: [jaxnn.init(net, key, w) for w in schemes])(key)
        for schemes in (OF_JAX, OF_JAX.values())
    )
    for weights, our_layers, of_jax in zip(OF_JAX, ours, theirs, strict=True):
        chex.assert_trees_all_equal(our_layers, of_jax, custom_message=str(weights))


def test_biases_by_name_number_or_callable(key):
    net = jaxnn.Network((2, 100_000), "tanh", "regression")
    schemes = [0.3, jax.nn.initializers.constant(0.7), 0, *jaxnn.initializers.BIASES]

    @jax.jit
    def draw_all(key):
        return [jaxnn.init(net, key, "zeros", scheme)[0].b for scheme in schemes]

    drawn, sevens, zeros, *of_names = map(np.asarray, draw_all(key))
    np.testing.assert_allclose([drawn.mean(), drawn.std()], [0, 0.3], rtol=0.01, atol=0.005)
    assert (sevens == 0.7).all()
    assert not zeros.any()
    by_name = dict(zip(jaxnn.initializers.BIASES, of_names, strict=True))
    assert not by_name["zeros"].any()
    assert {b.shape for b in of_names} == {(100_000,)}


@pytest.mark.slow
def test_layers_draw_apart_and_do_not_depend_on_the_depth(key):
    deep, shallow = (jaxnn.Network((5, *[5] * d, 5), "tanh", "regression") for d in (4, 2))
    params = jaxnn.init(deep, key, biases=1.0)
    chex.assert_trees_all_equal(params[:3], jaxnn.init(shallow, key, biases=1.0))
    thetas = {layer.theta.tobytes() for layer in params} | {layer.b.tobytes() for layer in params}
    assert len(thetas) == 2 * len(params)
    assert not jnp.array_equal(params[0].theta[0], params[0].b)


DTYPES = (jnp.bfloat16, jnp.float16, jnp.float32, jnp.float64)


@cache
def drawn_in_all_dtypes():
    """A layer by each scheme, in a dtype, drawn in one program."""
    net, key = jaxnn.Network((6, 4), "tanh", "regression"), jax.random.key(0)
    table = list(zip(jaxnn.initializers.WEIGHTS, itertools.cycle(DTYPES)))
    layers = jax.jit(lambda: [jaxnn.init(net, key, w, "normal", dtype) for w, dtype in table])()
    return dict(zip(table, layers, strict=True))


@pytest.mark.slow
def test_every_scheme_keeps_its_dtype():
    for (weights, dtype), (layer,) in drawn_in_all_dtypes().items():
        assert {leaf.dtype for leaf in layer} == {jnp.dtype(dtype)}, weights
        assert all(np.isfinite(np.asarray(leaf, np.float64)).all() for leaf in layer), weights


@pytest.mark.slow
def test_init_runs_under_jit_and_vmap(key):
    net = jaxnn.Network((6, 4, 2), "tanh", "regression")
    keys = jax.random.split(key, 3)
    stack = jax.jit(jax.vmap(jaxnn.init, in_axes=(None, 0)))(net, keys)
    for i, one in enumerate(keys):
        member = jax.tree.map(lambda leaf, i=i: leaf[i], stack)
        chex.assert_trees_all_close(member, jaxnn.init(net, one), rtol=1e-12)


OF_MATRICES = [jaxnn.initializers.gaussian(0.2), jaxnn.initializers.orthogonal()]
OF_MATRICES += [jaxnn.initializers.looks_linear()]
OF_MATRICES += [jax.nn.initializers.he_normal(), jax.nn.initializers.orthogonal()]


def drawn(sizes=(2, 3), key=None, **options):
    key = jax.random.key(0) if key is None else key
    return jaxnn.init(jaxnn.Network(sizes, "relu", "regression"), key, **options)


REFUSED = """
drawn(weights="glorot")
drawn(weights="constant")
drawn(weights="delta_orthogonal")
drawn(weights=3)
drawn(weights=lambda key, shape, dtype: jnp.zeros((2, 2), dtype))
drawn((6, 5, 1), weights=jaxnn.initializers.looks_linear())
drawn(biases="he_normal")
drawn(biases=-0.1)
drawn(biases=None)
drawn(biases=True)
drawn(biases=OF_MATRICES[0])
drawn(biases=OF_MATRICES[1])
drawn(biases=OF_MATRICES[2])
OF_MATRICES[0](jax.random.key(0), (3,), float)
OF_MATRICES[1](jax.random.key(0), (3,), float)
OF_MATRICES[2](jax.random.key(0), (3,), float)
drawn(key=0)
drawn(dtype=jnp.int32)
drawn(dtype=jnp.float8_e5m2)
jaxnn.initializers.gaussian(-1.0)
jaxnn.initializers.gaussian(np.nan)
jaxnn.initializers.gaussian(np.inf)
jaxnn.initializers.orthogonal(-1.0)
jaxnn.initializers.orthogonal(np.nan)
"""


def test_what_cannot_be_drawn(unhooked, snapshot):
    assert refusals(REFUSED, globals()) == snapshot
    for scheme in OF_MATRICES[3:]:  # of JAX, whose own words they have
        with pytest.raises(
            ValueError, match=r"^biases: expected an initialiser of vectors, \(3,\)"
        ):
            drawn(biases=scheme)
    assert drawn((2, 3, 1), biases=0.2)[0].b.any()  # the way out for schemes of matrices


@pytest.mark.parametrize(
    ("sigma_w", "dtype"), [(1e-30, "float32"), (1e30, "float32"), (3e4, "float16")]
)
def test_sigma_w_whose_square_no_float_holds_is_drawn_nevertheless(sigma_w, dtype, key):
    theta = jaxnn.initializers.gaussian(sigma_w)(key, (4, 4), dtype)
    assert theta.dtype == dtype
    ordinary = jaxnn.initializers.gaussian(1.0)(key, (4, 4), dtype)
    ratio = np.asarray(theta, np.float64) / np.asarray(ordinary, np.float64)
    np.testing.assert_allclose(ratio, sigma_w, rtol=0.01 if dtype == "float16" else 1e-6)


def test_theta_and_b_are_drawn_apart(key):
    """One scheme and one row of numbers for both: from one key they would be the same."""
    net = jaxnn.Network((1, 5), "tanh", "regression")
    ((theta, b),) = jaxnn.init(net, key, jax.nn.initializers.normal(1.0), 1.0)
    assert not np.isclose(theta[0], b).any()


@pytest.mark.slow
def test_looks_linear_weights_make_a_deep_relu_network_linear(key):
    """1000 layers in float64: linear in x, one ‖Δz‖ in all layers, one gradient for all inputs."""
    net = jaxnn.Network((3, *[8] * 1000, 2), "relu", "regression")
    params = jaxnn.init(net, key, jaxnn.initializers.looks_linear(), stacked=True)
    xs = jax.random.normal(key, (4, 3))
    top = jnp.asarray([[0.6, -0.8]])

    @jax.jit
    def measured(xs):
        def outputs(xs):
            return jaxnn.forward(net, params, xs)

        ys, pulled = jax.vjp(jax.vmap(outputs), jnp.concatenate([xs, jnp.eye(3)]))
        (gradients,) = pulled(jnp.repeat(top, 7, axis=0))
        flow = jaxnn.gradient_flow((net, params), xs, cotangent=jnp.repeat(top, 4, axis=0))
        return ys[:4], ys[4:], gradients, flow.log_delta_example

    ys, matrix, gradients, log_delta = measured(xs)
    np.testing.assert_allclose(ys, xs @ matrix, rtol=0, atol=1e-12)
    unit = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
    np.testing.assert_allclose(unit @ unit.T, 1, rtol=0, atol=1e-12)
    np.testing.assert_allclose(log_delta, 0, rtol=0, atol=1e-12)  # the cotangent has the norm 1


def test_looks_linear_weights_are_mirrored_and_pair_units(key):
    net = jaxnn.Network((6, 6, 6, 6), "relu", "regression")
    params = jaxnn.init(net, key, jaxnn.initializers.looks_linear(1.5))
    first, inside, last = (np.asarray(layer.theta) for layer in params)
    w = first[:, :3], inside[:3, :3], last[:3].T
    for half in w:
        np.testing.assert_allclose(half.T @ half, 1.5**2 * np.eye(3), atol=1e-6)
    np.testing.assert_array_equal(first, np.block([w[0], -w[0]]))
    np.testing.assert_array_equal(inside, np.block([[w[1], -w[1]], [-w[1], w[1]]]))
    np.testing.assert_array_equal(last, np.block([[w[2].T], [-w[2].T]]))
