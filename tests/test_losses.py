"""Losses of a user's own: their shapes, without labels, and pairs that nobody means."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import chain_flow as gradient_flow
from problems import mostly_slow

import jaxnn
from jaxnn.chain.label_pairs import refuse_pairs

B, N = 3, 4


def network(p, xs):
    return jnp.tanh(xs @ p["a"]) @ p["b"]


@pytest.fixture(name="problem")
def problem_():
    rng = np.random.default_rng(0)
    p = {name: rng.normal(size=(N, N)) for name in "ab"}
    xs, ys = rng.normal(size=(2, B, N))
    return *jaxnn.as_network((network, p), xs), p, xs, ys


def squares(output, ys):
    return (output - ys) ** 2


def of_output(output):
    return jnp.sum(output**2, axis=1)


@mostly_slow("loss", [squares, of_output], squares)
def test_a_loss_of_several_for_each_example_or_without_labels(loss, problem):
    net, params, p, xs, ys = problem
    given = (ys,) if loss is squares else ()
    flow = gradient_flow(net, params, xs, *given, loss=loss)
    plain = jax.grad(lambda p: jnp.mean(loss(network(p, xs), *given)))(p)
    expected = [np.log(np.linalg.norm(plain[name])) for name in "ab"]
    np.testing.assert_allclose(flow.log_theta, expected, rtol=1e-12)


def test_a_loss_without_labels_is_given_none(problem):
    net, params, _, xs, ys = problem
    for call in (
        lambda: gradient_flow(net, params, xs, ys, loss=of_output),
        lambda: jaxnn.diagnose((net, params), xs, ys, loss=of_output),
    ):
        with pytest.raises(
            ValueError, match=r"^loss: .* since there are ys, got one that takes the"
        ):
            call()


def fine(output, ys):
    return jnp.mean((output[:, 0] - ys) ** 2)


def pairs(output, ys):
    return jnp.mean(jnp.abs(output[:, None] - ys[None]))


def of_outputs(output, ys):
    """The distances of outputs from one another, next to the usual loss."""
    return jnp.mean((output - output[:, 0]) ** 2) + fine(output, ys)


def of_classes(output, ys):
    classes = jnp.arange(B, dtype=ys.dtype)
    return jnp.sum(jnp.where(ys[:, None] == classes, output, jnp.zeros_like(output)), 1)


@pytest.mark.parametrize(
    ("loss", "output", "ys", "fix"),
    [
        (squares, (B, 1), (B,), r"take ys\[:, None\], or output\[:, 0\]"),
        (lambda output, ys: jnp.abs(ys["y"] - jnp.tanh(output)), (B, 1), {"y": (B,)}, "take ys"),
        (lambda output, ys: squares(jnp.sum(output, 1), ys), (B, N), (B, 1), r"take ys\[:, 0\]"),
        (jax.jit(squares), (B,), (B, 1), r"take ys\[:, 0\]"),
        (fine, (B, 1), (B,), None),
        (pairs, (B, 1), (B,), None),
        (pairs, (B,), (B,), None),
        (of_outputs, (B, 1), (B,), None),
        (of_classes, (B, B), (B,), None),
        (squares, (B, 1), (B, 1), None),
        (squares, (B, 1), (), None),
        (squares, (1, 1), (1,), None),
    ],
)
@pytest.mark.usefixtures("unhooked")
def test_pairs_that_nobody_means(loss, output, ys, fix):
    with jax.numpy_rank_promotion("allow"):
        given = jax.tree.map(jnp.zeros, [output, ys], is_leaf=lambda v: isinstance(v, tuple))
        if fix is None:
            refuse_pairs(loss, *given)
            return
        with pytest.raises(ValueError, match=rf"^loss: .*\(3, 3\) pairs at test_losses.*; {fix}.*"):
            refuse_pairs(loss, *given)


def test_pairs_are_refused_where_a_flow_is_measured(problem):
    net, params, _, xs, ys = problem

    def loss(output, ys):
        return jnp.mean((output[:, :1] - ys) ** 2)

    with jax.numpy_rank_promotion("allow"), pytest.raises(ValueError, match=r"\(3, 3\) pairs"):
        gradient_flow(net, params, xs, ys[:, 0], loss=loss)


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "huber_loss", "lambda"])
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_losses_of_torch(name, torch):
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(N, N), torch.nn.Tanh(), torch.nn.Linear(N, 1))
    xs, ys = torch.randn(B, N), torch.randn(B)
    loss = getattr(torch.nn.functional, name, lambda output, ys: (output - ys) ** 2)
    with pytest.raises(ValueError, match=r"^loss: .* \(3, 1\) .* \(3,\), .*; take ys\[:, None\]"):
        jaxnn.gradient_flow(module, xs, ys, loss=loss)
    if name != "lambda":
        return
    ones = jaxnn.gradient_flow(module, xs, ys[:, None], loss=loss)  # of shape (B, 1)
    mean = jaxnn.gradient_flow(module, xs, ys[:, None], loss=torch.nn.functional.mse_loss)
    np.testing.assert_allclose(ones.log_delta, mean.log_delta, rtol=1e-6)
    alone = jaxnn.gradient_flow(module, xs, loss=lambda output: output.square())
    zeros = jaxnn.gradient_flow(module, xs, 0 * ys[:, None], loss=loss)
    np.testing.assert_allclose(alone.log_delta, zeros.log_delta, rtol=1e-6)
    jaxnn.gradient_flow(module, xs, ys, loss=lambda o, ys: (o[:, None] - ys[None]).square().mean())
