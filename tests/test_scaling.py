"""Coordinate checks: sizes of states and of their changes, under two parametrisations.

In SGD a factor c on an array, which is drawn c times smaller, makes its step size c² times larger.
So one program trains both parametrisations, with factors that are integers, which nothing learns.
"""

from dataclasses import replace
from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxnn
from jaxnn.scaling import MAXIMAL as WORDS
from jaxnn.scaling import ScalingCheck

WIDTHS, STEPS, SEEDS, RATE = (16, 64, 256), 2, 2, 0.01
SGD = optax.sgd(RATE)
XS, YS = (np.random.default_rng(1).normal(size=(6, n)) for n in (4, 2))
STANDARD, MAXIMAL = "standard", "maximal update"


def network(p, xs):
    for theta, power in zip(p["thetas"], p["powers"], strict=True):
        xs = jnp.tanh(xs) @ (theta * jnp.exp2(power.astype(theta.dtype)))
    return xs


def square(output, ys):
    return jnp.sum((output - ys) ** 2, axis=-1)


def drawn(kind, width, seed):
    """Weights, of which entries are drawn, and the powers of two in front of them."""
    rng, root = np.random.default_rng(seed), int(np.log2(width)) // 2
    powers = (0, 0, 0) if kind == STANDARD else (root, 0, -root)
    scales = (0.5, width**-0.5, width ** (-0.5 if kind == STANDARD else -1))
    shapes = ((4, width), (width, width), (width, 2))
    thetas = [
        rng.normal(size=shape) * scale / 2.0**power
        for shape, scale, power in zip(shapes, scales, powers, strict=True)
    ]
    return {"thetas": thetas, "powers": np.array(powers)}


def build(kind, width, seed):
    return (network, drawn(kind, width, seed)), SGD


@pytest.fixture(scope="module")
def checks():
    with jax.enable_x64(True):
        options = {"loss": square, "steps": STEPS, "seeds": SEEDS}
        return {
            kind: jaxnn.scaling_check(partial(build, kind), XS, YS, widths=WIDTHS, **options)
            for kind in (STANDARD, MAXIMAL)
        }


def by_hand(kind, width, seed):
    """States before each step and after the last, and weights, with gradients by hand."""
    p = drawn(kind, width, seed)
    factors = 2.0 ** p["powers"]
    weights, course = p["thetas"], []
    for _ in range(STEPS + 1):
        states, inputs = [], []
        z = XS
        for theta, factor in zip(weights, factors, strict=True):
            inputs.append(np.tanh(z))
            z = inputs[-1] @ (theta * factor)
            states.append(z)
        course.append((states, weights))
        delta, moved = 2 * (z - YS) / len(XS), []
        for theta, factor, a in zip(weights[::-1], factors[::-1], inputs[::-1], strict=True):
            moved.insert(0, theta - RATE * factor * a.T @ delta)
            delta = (delta @ (theta * factor).T) * (1 - a**2)
        weights = moved
    return course


def log_rms(values):
    return [float(np.log(np.mean(v**2))) / 2 for v in values]


@pytest.mark.parametrize("kind", [STANDARD, MAXIMAL])
def test_sizes_and_changes_are_those_of_a_plain_loop(checks, kind):
    check = checks[kind]
    course = by_hand(kind, 64, 1)
    np.testing.assert_allclose(check.log_start[1, 1], log_rms(course[0][0]), rtol=1e-9)
    for record, quantity in ((check.log_change, 0), (check.log_update, 1)):
        changes = [
            np.stack([now[quantity][i] - before[quantity][i] for before, now in pairwise(course)])
            for i in range(3)
        ]
        np.testing.assert_allclose(record[1, 1], log_rms(changes), rtol=1e-9)
    assert check.paths == ("['thetas'][0]", "['thetas'][1]", "['thetas'][2]")


def test_exponents_and_words_are_those_of_the_parametrisation(checks):
    standard, maximal = (checks[kind].table()[:3] for kind in (STANDARD, MAXIMAL))
    changes = [row["change"] for row in standard]
    assert changes == pytest.approx([-0.5, 0.5, 1.0], abs=0.2)  # of SGD, in theory
    assert [row["word"] for row in standard] == ["falling", "growing", "growing"]
    assert [row["word"] for row in maximal] == ["steady"] * 3
    assert maximal[-1]["start"] == pytest.approx(-0.5, abs=0.2)  # a sum of n of size 1/n
    assert (checks[STANDARD].word, checks[MAXIMAL].word) == ("growing", "steady")
    (said,) = checks[STANDARD].sentences
    assert said.startswith("Growing with width: the change by a step in layer thetas[1] goes")
    assert "the lowest of 2 layers that grow" in said
    assert str(checks[MAXIMAL]).startswith("Steady: no state")
    row = standard[1]
    x, y = np.log(np.repeat(WIDTHS, SEEDS)), checks[STANDARD].log_change[:, :, 1].ravel()
    (slope, _), cov = np.polyfit(x, y, 1, cov="unscaled")
    rest = y - np.polyval(np.polyfit(x, y, 1), x)
    assert row["change"] == pytest.approx(slope)
    assert row["change_error"] == pytest.approx((cov[0, 0] * rest @ rest / (len(x) - 2)) ** 0.5)


def test_the_chart_has_every_layer_at_every_width(checks):
    pytest.importorskip("altair")
    check = checks[STANDARD]
    drawn = check.chart().to_dict()["data"]["values"]
    assert len(drawn) == 2 * 9
    last = {"panel": "change over width", "axis": 256, "layer": 3}
    (value,) = (v["log10"] for v in drawn if last.items() <= v.items())
    assert value == pytest.approx(check.log_change[2, :, 2].mean() / np.log(10))


@pytest.mark.parametrize(
    ("start", "change", "word", "said"),
    [
        ((0, 0, 0), (-2, -2, -2), "steady", "Steady: "),
        ((0, 0.5, 1), (-2, -2, -2), "growing", "before the first step. Multiply its weights by"),
        ((0, 0, 0), (0, -0.5, -1), "falling", "Falling with width: "),
        ((0, 0, 0), (0, 1, 0), "unclear", "+0.00 ± 0.58. Try more widths"),
        ((0, 0, 0), (0, 0.4, 1), "unclear", "+0.50 ± 0.06"),  # by t with one degree of freedom
        ((0, 0, np.nan), (0, 0, np.nan), "unclear", "at width 4 numbers are nan or inf"),
        ((0, np.inf, 0), (0, 0, 0), "unclear", "at width 2 numbers are nan or inf"),
        ((0, 0, 0), (-np.inf,) * 3, "unclear", "the steps change nothing"),
        ((0, 0, 0), (-np.inf, 0, 0), "unclear", "layer w goes as width to the power of not known"),
    ],
)
def test_words_of_what_can_come(start, change, word, said):
    start, change = (np.log(2) * np.reshape(v, (3, 1, 1)) for v in (start, change))
    nothing = np.zeros((3, 1, 1)), np.full((3, 1), np.nan)
    check = ScalingCheck("width", (1, 2, 4), ("w",), ("a",), (True,), start, change, *nothing)
    assert check.word == word
    assert said in str(check)
    alike = replace(check, resized=(False,))
    assert (alike.word, "let build use the width" in str(alike)) == ("unclear", True)


def test_a_build_that_takes_no_seed_is_refused():
    with pytest.raises(ValueError, match="expected another network for each seed"):
        jaxnn.scaling_check(
            lambda width, seed: build(STANDARD, width, 0), XS, YS, widths=(1, 2, 3), loss=square
        )


def of_two(made, **_):
    return made


@pytest.mark.parametrize(
    ("error", "said", "change"),
    [
        (ValueError, r"^widths: expected at least 3 different ones, got \(8, 8, 16\)$",
         {"widths": (8, 8, 16)}),
        (ValueError, r"^widths: expected at least 1, got 0$", {"widths": (0, 1, 2)}),
        (ValueError, r"^steps: expected at least 1, got 0$", {"steps": 0}),
        (ValueError, r"^loss: expected loss\(output, ys\)", {"loss": None}),
        (TypeError, r"^build: expected a function such as build\(width, seed\), got 3$",
         {"build": 3}),
        (ValueError, r"^widths, depths: expected one of them", {"widths": None}),
        (TypeError, r"^build: .* a pair \(model, optimizer\), .* got 3 values$",
         {"build": partial(of_two, (network, {}, SGD))}),
        (TypeError, r"^optimizer: expected one of optax", {"build": partial(of_two, (network, 1))}),
        (ValueError, r"^build: expected the same layers .* got 3 layers at 2 and 2 at 1",
         {"build": lambda width, seed: (
             (network, {"thetas": [np.eye(4)] * (1 + width), "powers": np.arange(1 + width)}), SGD
         ), "widths": (1, 2, 3)}),
        (ValueError, r"^build: expected arrays of the same shapes for every seed of a size, got",
         {"build": lambda width, seed: (
             (network, {"thetas": [np.ones((4, 1 + seed)), np.ones((1 + seed, 2))],
                        "powers": np.zeros(2, int)}), SGD
         ), "widths": (1, 2, 3)}),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_sentence(error, said, change, monkeypatch):
    rng = np.random.default_rng(0)
    monkeypatch.setattr(
        "jaxnn.scaling._course",
        lambda *_: (rng.normal(size=3), *rng.normal(size=(2, 4, 3)), np.zeros(())),
    )
    given = {"build": partial(build, STANDARD), "widths": WIDTHS, "xs": XS, "ys": YS}
    with pytest.raises(error, match=said):
        jaxnn.scaling_check(**(given | {"loss": square} | change))


# Networks of both kinds


def adam(kind, width, hidden=(), output=()):
    """Adam with the step sizes of a parametrisation.

    hidden, output: ends of the paths of arrays whose fan-in is the width.
    """
    names = (*hidden, *output)

    def scale(updates, state, params=None):
        def of(path, u):
            is_wide = kind == MAXIMAL and jax.tree_util.keystr(path).endswith(names)
            return -0.003 / (width if is_wide else 1) * u

        return jax.tree_util.tree_map_with_path(of, updates), state

    steps = optax.GradientTransformation(lambda p: optax.EmptyState(), scale)
    return optax.chain(optax.scale_by_adam(), steps)


def normal(rng, *shape, fan_in):
    return (rng.normal(size=shape) / fan_in**0.5).astype(np.float32)


def head(rng, kind, width):
    return normal(rng, width, 3, fan_in=width if kind == STANDARD else width**2)


def mlp(p, xs):
    xs = xs @ p["in"]
    for theta in p["thetas"]:
        xs = jax.nn.relu(xs) @ theta
    return jax.nn.relu(xs) @ p["out"]


def drawn_mlp(kind, width, seed):
    rng = np.random.default_rng(seed)
    thetas = [normal(rng, width, width, fan_in=width / 2) for _ in range(2)]
    p = {"in": normal(rng, 4, width, fan_in=4), "thetas": thetas, "out": head(rng, kind, width)}
    return mlp, p


@pytest.mark.slow
def test_networks_of_both_kinds_and_an_array_that_was_not_scaled_are_told_apart(users_jax):
    """The advice on standard parametrisation makes it steady, but for one forgotten matrix."""
    xs = np.random.default_rng(2).normal(size=(16, 4)).astype(np.float32)
    one, both = ("['thetas'][0]",), ("['thetas'][0]", "['thetas'][1]")

    def loss(output, ys):
        return optax.softmax_cross_entropy_with_integer_labels(output, ys)

    def made(kind, hidden, width, seed):
        return drawn_mlp(kind, width, seed), adam(kind, width, hidden, ("['out']",))

    def check(kind, hidden, widths):
        options = {"widths": widths, "loss": loss, "seeds": 2}
        return jaxnn.scaling_check(partial(made, kind, hidden), xs, np.arange(16) % 3, **options)

    # Exponents of narrow networks are not yet those of wide ones.
    standard = check(STANDARD, both, (64, 256, 1024))
    assert standard.word == "growing"
    assert standard.sentences[0].endswith(WORDS)
    assert check(MAXIMAL, both, (32, 64, 128)).word == "steady"
    forgotten = check(MAXIMAL, one, (32, 64, 128))
    assert forgotten.word == "growing"
    words = {row["name"]: row["change"] for row in forgotten.table() if row["kind"] == "array"}
    assert words["['thetas'][1]"] == pytest.approx(0.0, abs=0.1) != words["['thetas'][0]"]


# Depth


DEPTHS = (8, 16, 32)


def branched(p, xs):
    z = xs @ p["in"]
    for w in p["blocks"]:
        z = z + p["scale"] * jnp.tanh(z) @ w
    return z @ p["out"]


def build_deep(power, optimizer, depth, seed, width=32):
    rng = np.random.default_rng(seed)
    blocks = [normal(rng, width, width, fan_in=width) for _ in range(depth)]
    scale = np.float32(depth**-power)
    arrays = {"in": normal(rng, 4, width, fan_in=4), "out": normal(rng, width, 2, fan_in=width)}

    def f(p, xs):
        return branched(p | {"scale": scale}, xs)

    return (f, arrays | {"blocks": blocks}), optimizer


@pytest.mark.slow
@pytest.mark.parametrize("power", [0.5, 1.0])
@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_branches_and_step_sizes_in_depth_are_told_apart(users_jax, name, power):
    """What steps change in the blocks goes as depth^(1 - α) with Adam, depth^(1 - 2α) with SGD."""
    xs = np.random.default_rng(2).normal(size=(16, 4)).astype(np.float32)
    optimizer = {"sgd": optax.sgd, "adam": optax.adam}[name](1e-4)
    check = jaxnn.scaling_check(
        partial(build_deep, power, optimizer), xs, xs[:, :2], depths=DEPTHS, loss=square, steps=2
    )
    expected = 1 - power * {"sgd": 2, "adam": 1}[name]
    assert check.branch.value == pytest.approx(-power, abs=0.05)
    assert f"branches are times 1/{'√' * (power == 0.5)}depth" in str(check)
    (learned,) = check.learning.values()
    off = f"multiply its step size by depth^{-learned.value:.2f}" in str(check)
    assert off == (learned.word in ("growing", "falling"))
    assert [*check.learning] == ["['blocks'][*]"]
    assert learned.value == pytest.approx(expected, abs=0.15)
    if (name, power) != ("sgd", 1.0):  # where the input layer hides what the blocks do
        assert check.change[4].value == pytest.approx(expected, abs=0.15)
    if (name, power) != ("sgd", 0.5):  # whose errors are large
        assert check.word == {-1: "falling", 0.5: "growing", 0: "steady"}[expected]
