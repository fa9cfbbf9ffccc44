"""The article's 3-4-1 network worked through in NumPy, formula by formula, corrections included.

The left-hand names are the article's; nothing here is taken from jaxnn.
"""

import jax
import numpy as np
import pytest

import jaxnn


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def work_through(x, y, theta, b):
    """Every quantity of the article for one example x of shape (1, 3); Δv is named d_v."""
    v = {}
    # Forward. The article's θ^[i] has shape (n^[i], n^[i+1]), its rows are units of layer i.
    v["a0"] = x
    v["z1"] = v["a0"] @ theta[0] + b[0]
    v["a1"] = sigmoid(v["z1"])
    v["z2"] = v["a1"] @ theta[1] + b[1]
    v["a2"] = sigmoid(v["z2"])
    v["L"] = -y * np.log(v["a2"]) - (1 - y) * np.log(1 - v["a2"])
    # Backward, from the loss to the last layer.
    v["d_a2"] = -y / v["a2"] + (1 - y) / (1 - v["a2"])
    v["d_z2"] = v["d_a2"] * v["a2"] * (1 - v["a2"])
    np.testing.assert_allclose(v["d_z2"], v["a2"] - y)  # as the article simplifies it
    v["d_theta1"] = v["a1"].T @ v["d_z2"]  # corrected: the transpose that the shapes ask for
    v["d_b1"] = v["d_z2"]
    # And to the layer before it.
    v["d_a1"] = v["d_z2"] @ theta[1].T  # corrected likewise
    v["d_z1"] = v["d_a1"] * v["a1"] * (1 - v["a1"])
    v["d_theta0"] = v["a0"].T @ v["d_z1"]
    v["d_b0"] = v["d_z1"]
    return v


@pytest.mark.parametrize("y", [0, 1])
def test_the_article_s_network(key, y):
    net = jaxnn.Network(sizes=(3, 4, 1), activation="sigmoid", task="binary")
    params = jaxnn.init(net, key, biases=0.5)
    x = np.asarray(jax.random.normal(key, (3,)))
    theta, b = zip(*(map(np.asarray, layer) for layer in params), strict=True)
    v = work_through(x[None], y, theta, b)

    trace, deltas = jaxnn.trace(net, params, x), jaxnn.deltas(net, params, x, y)
    ours = {
        "a0": trace.a[0], "a1": trace.a[1], "a2": trace.a[2], "z1": trace.z[0], "z2": trace.z[1],
        "L": jaxnn.passes.loss(net, params, x, y),
        "d_a1": deltas.a[1], "d_a2": deltas.a[2], "d_z1": deltas.z[0], "d_z2": deltas.z[1],
        "d_theta0": deltas.theta[0], "d_theta1": deltas.theta[1],
        "d_b0": deltas.b[0], "d_b1": deltas.b[1],
    }  # fmt: skip
    for name, value in v.items():
        shape = () if name == "L" else value.shape if "theta" in name else value.shape[1:]
        assert ours[name].shape == shape, name
        np.testing.assert_allclose(ours[name], value.reshape(shape), rtol=1e-12, err_msg=name)


def test_the_summation_form_with_its_index():
    """a[1]_j = σ(Σ_i x_i θ[0]_ij + b[0]_j): the index j that the article drops."""
    net = jaxnn.Network(sizes=(3, 4, 1), activation="sigmoid", task="binary")
    params = jaxnn.init(net, jax.random.key(0), biases=0.5)
    (theta, b), _ = params
    x = [0.3, -1.2, 0.7]
    a1 = [sigmoid(sum(x[i] * theta[i, j] for i in range(3)) + b[j]) for j in range(4)]
    np.testing.assert_allclose(jaxnn.trace(net, params, np.array(x)).a[1], a1, rtol=1e-12)


def test_gradient_of_an_early_layer_is_a_product_with_one_factor_a_layer(key):
    """Δz[1] = Δz[L] θ[L-1]ᵀ diag(σ′(z[L-1])) … θ[1]ᵀ diag(σ′(z[1])), for 8 hidden layers."""
    net = jaxnn.Network((3, *[5] * 8, 1), "sigmoid", "binary")
    params = jaxnn.init(net, key, biases=0.5)
    x = np.asarray(jax.random.normal(key, (3,)))
    trace = jaxnn.trace(net, params, x)
    product = np.asarray(trace.a[-1]) - 1
    for i in range(8, 0, -1):
        a = np.asarray(trace.a[i])
        product = product @ np.asarray(params[i].theta).T @ np.diag(a * (1 - a))
    np.testing.assert_allclose(jaxnn.deltas(net, params, x, 1).z[0], product, rtol=1e-12)
