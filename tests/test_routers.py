"""Routers: recognised however they are written, and the load of their experts counted by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import mostly_slow

from jaxnn.recognition.anatomy import Anatomy

pytestmark = pytest.mark.usefixtures("users_jax")

WIDTH, HIDDEN, EXPERTS, TOKENS = 8, 16, 4, 24


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


def expert(p, z, i):
    return jax.nn.relu(z @ p["up"][i]) @ p["down"][i]


def listed(p, z):
    share = jax.nn.softmax(z @ p["router"])
    return z + sum(share[..., i : i + 1] * expert(p, z, i) for i in range(EXPERTS))


def listed_and_stacked(p, z):
    share = jax.nn.sigmoid(z @ p["router"])
    out = jnp.stack([expert(p, z, i) for i in range(EXPERTS)], axis=-1)
    return z + jnp.einsum("btne,bte->btn", out, share)


def listed_and_selected(p, z):
    """All experts, with a weight of zero where a token has not selected one."""
    weights, chosen = jax.lax.top_k(z @ p["router"], 2)
    weights = jax.nn.softmax(weights)
    out = z
    for i in range(EXPERTS):
        weight = jnp.sum(jnp.where(chosen == i, weights, 0), axis=-1, keepdims=True)
        out = out + weight * expert(p, z, i)
    return out


def share_of(p, z, chosen):
    """Loads by hand: of how many of the largest logits, or of the weights."""
    logits = (z @ p["router"]).reshape(-1, EXPERTS)
    if isinstance(chosen, int):
        largest = np.argsort(-logits, axis=1)[:, :chosen]
        return np.bincount(largest.ravel(), minlength=EXPERTS) / largest.size
    weights = 1 / (1 + np.exp(-logits)) if chosen == "sigmoid" else np.exp(logits)
    return np.mean(weights / weights.sum(1, keepdims=True), axis=0)


@mostly_slow(
    "f, chosen",
    [(weighs, "sigmoid"), (weighs_inside, "softmax"), (gathers, 2), (dispatches, 1), (sorts, 1)],
    *((weighs, "sigmoid"), (dispatches, 1)),
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


@pytest.mark.parametrize(
    ("f", "chosen"),
    [(listed, "softmax"), (listed_and_stacked, "sigmoid"), (listed_and_selected, 2)],
)
def test_experts_may_be_a_list(f, chosen):
    p, z = drawn()
    of_list = p | {name: list(p[name]) for name in ("up", "down")}
    anatomy = Anatomy.of(jax.make_jaxpr(f)(of_list, z), z)
    (router,) = anatomy.routers
    assert (router.total, router.selected) == (EXPERTS, chosen if chosen == 2 else EXPERTS)
    paths = [path[0].key for path, _ in jax.tree_util.tree_leaves_with_path(of_list)]
    assert [paths[i] for i in router.arrays] == ["router"]
    assert [paths[i] for i in router.experts] == ["down"] * EXPERTS + ["up"] * EXPERTS
    (load,) = anatomy.numbers(of_list, z).loads
    np.testing.assert_allclose(load, share_of(p, z, chosen), rtol=1e-5)


def test_what_is_no_router():
    """A gate of units, one of heads, attention to a codebook, and the classes of a head."""
    p, z = drawn()
    heads, out = np.moveaxis(p["up"], 1, 0)[:, :, :2], p["down"][:, :2]

    def scales_inputs(p, z):
        scales = jax.nn.softmax(z @ p["router"])
        return sum(expert(p, z * scales[..., i : i + 1], i) for i in range(EXPERTS))

    def of_heads(p, z):
        inside = jnp.einsum("btn,nhd->bthd", z, heads) * jax.nn.sigmoid(z @ p["router"])[..., None]
        return jnp.einsum("bthd,hdn->btn", inside, p["out"])

    for f in (
        lambda p, z: z * jax.nn.sigmoid(z @ p["other"]),
        of_heads,
        lambda p, z: jax.nn.softmax(z @ p["router"]) @ p["router"].T,
        lambda p, z: jax.nn.softmax(z @ p["router"]),
        scales_inputs,
        lambda p, z: jax.nn.softmax(z @ p["router"])[..., :1] * expert(p, z, 0),
    ):
        assert not Anatomy.of(jax.make_jaxpr(f)(p | {"out": out}, z), z).routers
