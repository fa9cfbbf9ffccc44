"""Routers: recognised however they are written, and the load of their experts counted by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import as_users_have_jax

from jaxnn.adapters.anatomy import Anatomy

WIDTH, HIDDEN, EXPERTS, TOKENS = 8, 16, 4, 24


@pytest.fixture(autouse=True)
def as_usual():
    with as_users_have_jax():
        yield


def drawn():
    rng = np.random.default_rng(0)
    shapes = {"up": (EXPERTS, WIDTH, HIDDEN), "down": (EXPERTS, HIDDEN, WIDTH)}
    shapes |= {"router": (WIDTH, EXPERTS), "other": (WIDTH, WIDTH)}
    p = {name: np.float32(rng.normal(size=shape)) for name, shape in shapes.items()}
    return p, np.float32(rng.normal(size=(3, TOKENS // 3, WIDTH)))


def weighs(p, z):
    """Every expert, weighted by a sigmoid."""
    out = jax.vmap(lambda u, d: jax.nn.relu(z @ u) @ d, out_axes=-1)(p["up"], p["down"])
    return z + jnp.einsum("btne,bte->btn", out, jax.nn.sigmoid(z @ p["router"]))


def weighs_inside(p, z):
    share = jax.nn.softmax(z @ p["router"])
    inside = jax.nn.relu(jnp.einsum("btn,enm->btem", z, p["up"]))
    return z + jnp.einsum("btem,emn,bte->btn", inside, p["down"], share)


def gathers(p, z):
    """The weights of two experts for each token."""
    weights, chosen = jax.lax.top_k(jax.nn.softmax(z @ p["router"]), 2)
    inside = jax.nn.silu(jnp.einsum("btn,btknm->btkm", z, p["up"][chosen]))
    out = jnp.einsum("btkm,btkmn->btkn", inside, p["down"][chosen])
    return z + jnp.sum(out * (weights / weights.sum(-1, keepdims=True))[..., None], axis=2)


def dispatches(p, z):
    """One expert for each token, by a matrix of zeros and ones."""
    x = z.reshape(-1, WIDTH)
    share = jax.nn.softmax(x @ p["router"])
    one = jax.nn.one_hot(jnp.argmax(share, axis=-1), EXPERTS)
    inputs = jnp.einsum("te,tn->etn", one, x)
    out = jax.vmap(lambda u, d, x: jax.nn.relu(x @ u) @ d)(p["up"], p["down"], inputs)
    return z + (jnp.einsum("etn,te->tn", out, one * share)).reshape(z.shape)


def sorts(p, z):
    """Tokens sorted by their expert, for a ragged product."""
    x = z.reshape(-1, WIDTH)
    weights, chosen = jax.lax.top_k(x @ p["router"], 1)
    order = jnp.argsort(chosen[:, 0])
    sizes = jnp.bincount(chosen[:, 0], length=EXPERTS)
    inside = jax.nn.relu(jax.lax.ragged_dot(x[order], p["up"], sizes))
    out = jax.lax.ragged_dot(inside, p["down"], sizes)[jnp.argsort(order)]
    return z + (out * jax.nn.sigmoid(weights)).reshape(z.shape)


def share_of(p, z, chosen):
    """Loads by hand: of how many of the largest logits, or of the weights."""
    logits = (z @ p["router"]).reshape(-1, EXPERTS)
    if isinstance(chosen, int):
        largest = np.argsort(-logits, axis=1)[:, :chosen]
        return np.bincount(largest.ravel(), minlength=EXPERTS) / largest.size
    weights = 1 / (1 + np.exp(-logits)) if chosen == "sigmoid" else np.exp(logits)
    return np.mean(weights / weights.sum(1, keepdims=True), axis=0)


@pytest.mark.parametrize(
    ("f", "chosen"),
    [
        (weighs, "sigmoid"),
        (weighs_inside, "softmax"),
        (gathers, 2),
        (dispatches, 1),
        (sorts, 1),
    ],
)
def test_routers_are_recognised(f, chosen):
    p, z = drawn()
    anatomy = Anatomy.of(jax.make_jaxpr(f)(p, z), z)
    (router,) = anatomy.routers
    names = sorted(p)
    assert [names[i] for i in router.arrays] == ["router"]
    assert [names[i] for i in router.experts] == ["down", "up"]
    selected = chosen if isinstance(chosen, int) else EXPERTS
    assert (router.total, router.tokens, router.selected) == (EXPERTS, TOKENS, selected)
    (load,) = anatomy.numbers(p, z).loads
    np.testing.assert_allclose(load, share_of(p, z, chosen), rtol=1e-5)


def test_what_is_no_router():
    """A gate of units, one of heads, attention to a codebook, and the classes of a head."""
    p, z = drawn()
    heads, out = np.moveaxis(p["up"], 1, 0)[:, :, :2], p["down"][:, :2]

    def of_heads(p, z):
        inside = jnp.einsum("btn,nhd->bthd", z, heads) * jax.nn.sigmoid(z @ p["router"])[..., None]
        return jnp.einsum("bthd,hdn->btn", inside, p["out"])

    for f in (
        lambda p, z: z * jax.nn.sigmoid(z @ p["other"]),
        of_heads,
        lambda p, z: jax.nn.softmax(z @ p["router"]) @ p["router"].T,
        lambda p, z: jax.nn.softmax(z @ p["router"]),
    ):
        assert not Anatomy.of(jax.make_jaxpr(f)(p | {"out": out}, z), z).routers
