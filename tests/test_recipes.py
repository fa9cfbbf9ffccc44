"""The recipes of the site: the flow of each, next to `jax.grad` of the same function."""

import re
from collections import Counter
from pathlib import Path

import jax
import numpy as np
import pytest
from problems import as_users_have_jax

import jaxnn

PAGE = Path(__file__).parent.parent / "docs" / "guides" / "recipes.md"
RECIPES = {  # headings, and the number of networks below each
    "Batch statistics": 1,
    "Dropout with rngs": 1,
    "axis_name": 1,
    "Encoder and decoder": 1,
    "U-Net": 1,
    "A recurrent network with a head": 2,
    "Mixture of experts": 1,
}


def run(text, scope):
    """Run the blocks of a part of the page."""
    for block in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        exec(compile(block, PAGE.name, "exec"), scope)


@pytest.fixture(scope="module")
def networks():
    """By heading the networks that the page hands over, (f, params, xs), in float32."""
    introduction, *sections = re.split(
        r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    shared, handed_over = {}, {}
    right = {name: getattr(jaxnn, name) for name in ("as_network", "diagnose")}

    def recorded(function, networks):
        def call(model, xs):
            networks.append((*model, xs))
            return function(model, xs)

        return call

    with as_users_have_jax(), pytest.MonkeyPatch.context() as patch:
        run(introduction, shared)
        for section in sections:
            heading = section.partition("\n")[0]
            handed_over[heading] = []
            for name, function in right.items():
                patch.setattr(jaxnn, name, recorded(function, handed_over[heading]))
            # A scope of its own, where its functions find what they name when they are called.
            run(section, {**shared})
    return handed_over


@pytest.mark.slow
def test_every_recipe_is_measured_here(networks):
    assert {heading: len(of) for heading, of in networks.items() if of} == RECIPES


@pytest.mark.slow
@pytest.mark.parametrize(
    ("heading", "number"), [(heading, i) for heading, n in RECIPES.items() for i in range(n)]
)
@pytest.mark.usefixtures("users_jax")
def test_a_recipe_has_the_numbers_of_plain_gradients(heading, number, networks):
    f, params, xs = networks[heading][number]
    rng = np.random.default_rng(0)
    out = jax.eval_shape(f, params, xs)
    cotangent = rng.normal(size=out.shape).astype(out.dtype)

    def lost(params, xs):
        return (f(params, xs) * cotangent).sum()

    grads, of_input = jax.jit(jax.grad(lost, (0, 1)))(params, xs)
    net, chained = jaxnn.as_network((f, params), xs)
    flow = jaxnn.gradient_flow((net, chained), xs, cotangent=cotangent)
    assert np.exp(flow.log_delta_input) == pytest.approx(norm(of_input), rel=1e-4)
    plain = {jax.tree_util.keystr(path): norm(v) for path, v in jax.tree.leaves_with_path(grads)}
    ours = dict(zip(flow.parameters.paths, np.exp(flow.parameters.log_delta), strict=True))
    # Of an array that several layers share, such as those of a cell, each has a part. And Δ of what
    # a norm takes away again, such as a bias in front of it, is rounding.
    own = [path for path, n in Counter(flow.parameters.paths).items() if n == 1]
    rounding = 1e-5 * max(plain.values())
    assert own
    for path in own:
        assert ours[path] == pytest.approx(plain[path], rel=1e-4, abs=rounding), path


def norm(tree):
    """The norm of all arrays of a pytree together."""
    return float(
        np.sqrt(sum(np.sum(np.square(v, dtype=np.float64)) for v in jax.tree.leaves(tree)))
    )
