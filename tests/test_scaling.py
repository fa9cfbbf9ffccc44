"""Coordinate checks: sizes of states and of their changes, under two parametrisations.

In SGD a factor c on an array, which is drawn c times smaller, makes its step size c² times larger.
So one program trains both parametrisations, with factors that are integers, which nothing learns.
"""

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxnn
from jaxnn.scaling import ScalingCheck
from jaxnn.scaling.answer import MAXIMAL as WORDS

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
    with np.errstate(divide="ignore"):
        return [float(np.log(np.mean(v**2))) / 2 for v in values]


@pytest.mark.parametrize("kind", [STANDARD, MAXIMAL])
def test_sizes_and_changes_are_those_of_a_plain_loop(checks, kind):
    check = checks[kind]
    assert check.log_size.shape == (3, SEEDS, STEPS + 1, 3)
    course = by_hand(kind, 64, 1)
    for step, (states, weights) in enumerate(course):
        before = course[max(step - 1, 0)]
        apart, moved = (
            [v - u for v, u in zip(now, then, strict=True)]
            for now, then in zip((states, weights), before, strict=True)
        )
        for record, values in (
            (check.log_size, states),
            (check.log_change, apart),
            (check.log_update, moved),
        ):
            np.testing.assert_allclose(record[1, 1, step], log_rms(values), rtol=1e-9)
    assert check.paths == ("['thetas'][0]", "['thetas'][1]", "['thetas'][2]")


def _mean(log):
    """Ln of the root mean square over steps."""
    return np.log(np.mean(np.exp(2 * log), axis=2)).ravel() / 2


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
    row, record = standard[1], checks[STANDARD].log_change[:, :, 1:, 1]
    x, y = np.log(np.repeat(WIDTHS, SEEDS)), _mean(record)
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
    assert value == pytest.approx(_mean(check.log_change[2:, :, 1:, 2]).mean() / np.log(10))


class Record(NamedTuple):
    """Numbers of three widths of a network of one layer, to make a check of."""

    start: tuple[float, float, float]
    change: tuple[float, float, float]


@pytest.mark.parametrize(
    ("record", "word", "said"),
    [
        (Record((0, 0, 0), (-2, -2, -2)), "steady", "Steady: "),
        (Record((0, 0.5, 1), (-2, -2, -2)), "growing", "before the first step"),
        (Record((0, 0, 0), (0, -0.5, -1)), "falling", "Falling with width: "),
        (Record((0, 0, 0), (0, 1, 0)), "unclear", "+0.00 ± 0.58 in layer w"),
        (Record((0, 0, np.nan), (0, 0, np.nan)), "growing", "at 4 numbers leave the range"),
        (Record((0, np.inf, 0), (0, 0, 0)), "unclear", "not known"),
        (Record((0, 0, 0), (-np.inf,) * 3), "unclear", "the steps change nothing"),
        (Record((0, 0, 0), (-np.inf, 0, 0)), "unclear", "not known in layer w"),
    ],
)
def test_words_of_what_can_come(record, word, said):
    log = np.log(2) * np.array(record)[:, :, None, None]  # of widths that double
    size = np.stack([log[0], log[0]], axis=2).reshape(3, 1, 2, 1)
    change = np.stack([np.full((3, 1, 1), -np.inf), log[1]], axis=2).reshape(3, 1, 2, 1)
    update, branch = np.zeros((3, 1, 2, 0)), np.full((3, 1), np.nan)
    check = ScalingCheck(
        "width", (1, 2, 4), ("w",), (), (), "float32", size, change, update, branch
    )
    assert check.word == word
    assert said in str(check)


def test_a_network_that_ignores_width_or_seed_is_no_sign_of_a_parametrisation():
    state = 1e-3 * np.random.default_rng(0).normal(size=(3, 2, 2, 1))
    same, wide = ((3, 3),) * 3, ((1, 1), (2, 2), (4, 4))
    one, two = (
        ScalingCheck(
            "width", (1, 2, 4), ("w",), ("a",), (shapes,), "float64",
            *(state, state - 2, state), np.full((3, 2), np.nan),
        )
        for shapes in (same, wide)
    )  # fmt: skip
    assert one.word == "unclear"
    assert one.sentences == (
        "Unclear: the arrays have one shape at all widths, from 1 to 4; let build use the width.",
    )
    assert two.word == "steady"
    own = np.repeat(two.log_size[:, :1], 2, axis=1)
    assert "All seeds give the same network" in replace(two, log_size=own).sentences[-1]
    assert "seed" not in str(two.sentences)
    fields = ("log_size", "log_change", "log_update", "log_branch")
    of_one_seed = replace(two, **{name: getattr(two, name)[:, :1] for name in fields})
    assert "seed" not in str(of_one_seed.sentences)


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
        (ValueError, r"^build: expected arrays of the same shapes for every seed, .* size 1 ",
         {"build": lambda width, seed: (
             (network, {"thetas": [np.ones((4, 1 + seed)), np.ones((1 + seed, 2))],
                        "powers": np.zeros(2, int)}), SGD
         ), "widths": (1, 2, 3)}),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_sentence(error, said, change, monkeypatch):
    course = (*(np.zeros((3, 3)),) * 3, np.zeros(3))
    monkeypatch.setattr("jaxnn.scaling.check._course", lambda *_: course)
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
