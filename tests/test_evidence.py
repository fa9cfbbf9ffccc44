"""Evidence: what experiments on one batch show, of networks with a known fault and of healthy ones.

The experiments themselves are tried on arrays, without a framework; that JAX and torch supply the
same numbers is another test.
"""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import draw_layers, gaussian

import jaxnn
from jaxnn.evidence.changes import changed_outputs
from jaxnn.evidence.class_labels import ClassLabels
from jaxnn.evidence.constant_answer import constant_answer
from jaxnn.evidence.data import BatchData
from jaxnn.evidence.end import End, Reach
from jaxnn.evidence.evidence import Evidence
from jaxnn.evidence.fit import acts_elsewhere, is_ended_by_zeros, rises_with_fit
from jaxnn.evidence.jax_trial import JaxTrial
from jaxnn.evidence.loss_kinds import Labels
from jaxnn.evidence.mixing import mixing_of
from jaxnn.evidence.parameters import KnownParameters, Noise, WeightDraw
from jaxnn.evidence.tokens import Beyond, Unread, beyond_of, unread_of
from jaxnn.evidence.trial import LossSlope, Trial
from jaxnn.models import Program

B, N, K = 32, 6, 3


class OfArrays(Trial):
    """A network of two products with NumPy's functions.

    norm: what the inputs go through first; end: what the last product goes through.
    """

    xs = ys = weights = None

    def __init__(self, rng, xs=None, ys=None, norm=np.asarray, end=np.asarray, loss=None, width=K):
        self.xs = {"xs": rng.normal(size=(B, N)) if xs is None else xs}
        self.ys, self.norm, self.end, self.loss, self.weights = ys, norm, end, loss, {}
        self.first_weights = rng.normal(size=(N, 8)) / N**0.5
        self.last_weights = rng.normal(size=(8, width))

    def output(self, xs=None, factor=1.0, rows=None):
        given = self.xs["xs"] if rows is None else self.xs["xs"][rows]
        given = (xs or {"xs": given})["xs"]
        v = np.tanh(self.norm(given) @ self.first_weights)
        return self.end(v @ (factor * self.last_weights))

    def slope(self, output, order=None, ys=None):
        ys = ys if ys is not None else self.ys if order is None else self.ys[order]
        return None if self.loss is None else LossSlope(*map(np.asarray, self.loss(output, ys)))


def sigmoid(v):
    return (1 + np.tanh(v / 2)) / 2


def standardised(v, epsilon=0.0):
    return (v - v.mean(axis=0)) / np.sqrt(v.var(axis=0) + epsilon)


@pytest.mark.parametrize(
    ("norm", "expected"), [(np.asarray, False), (standardised, True)], ids=["none", "a norm"]
)
def test_a_norm_behind_the_inputs_is_seen(rng, norm, expected):
    assert (
        BatchData.of(OfArrays(rng, 255 * rng.random((B, N)), norm=norm)).scales_itself is expected
    )
    assert BatchData.of(OfArrays(rng, norm=norm)).scales_itself is None  # of usual size: not tried


@pytest.mark.parametrize("mean", [0.0, 1e5])
def test_a_raw_table_stands_before_a_norm_over_the_batch(rng, mean):
    """A batch norm, whose epsilon hides columns that are divided by the size of others."""
    xs = rng.normal(size=(B, N)) * [1e4, 3e3, 1, 0.3, 0.01, 100] + [mean, 0, 0, 0, 0, 0]
    for end, is_chaotic in ((np.asarray, False), (lambda z: np.sin(1e5 * z), True)):
        trial = OfArrays(rng, xs, norm=lambda v: standardised(v, 1e-5), end=end)
        assert End.of(trial).is_chaotic is is_chaotic
    by_fixed_numbers = (lambda v: (v - xs.mean(axis=0)) / xs.std(axis=0)), True
    for norm, expected in ((trial.norm, True), by_fixed_numbers, (np.asarray, False)):
        data = BatchData.of(OfArrays(rng, xs, norm=norm))
        assert (data.scales_itself, data.levels_itself) == (expected, expected)


def test_inputs_that_are_the_same_at_all_positions(rng):
    channels_last = np.repeat(rng.normal(size=(B, 1, N)), 4, axis=1)
    for xs, expected in ((channels_last, True), (rng.normal(size=(B, 4, N)), False)):
        for layout in (xs, np.moveaxis(xs, -1, 1)):
            trial = OfArrays(rng, layout, norm=lambda v: v.reshape(B, -1)[:, :N])
            assert BatchData.of(trial).are_positions_alike is expected
    assert not BatchData.of(OfArrays(rng)).are_positions_alike


@pytest.mark.parametrize("form", ["numbers", "column", "one-hot"])
def test_classes_in_order_are_told_from_shuffled_ones(rng, form):
    ys = np.repeat([2, 0, 1], 10)
    made = {"numbers": ys, "column": ys[:, None] * 1.0, "one-hot": np.eye(3)[ys]}[form]
    for order, expected in ((np.arange(30), True), (rng.permutation(30), False)):
        data = BatchData.of(OfArrays(rng, ys=made[order]))
        assert (data.classes, data.sorted) == (3, expected)
    assert not BatchData.of(OfArrays(rng, ys=rng.normal(size=B))).sorted


def test_what_fails_is_no_evidence(rng):
    trial = OfArrays(rng, 255 * rng.random((B, N)))
    trial.output = lambda *_: 1 / 0
    assert Evidence.of(trial).data is None


# The end: what a loss takes, by its slope, and what an output reaches


def softmax(v, axis=-1):
    v = np.exp(v - v.max(axis=axis, keepdims=True))
    return v / v.sum(axis=axis, keepdims=True)


log_softmax = jax.nn.log_softmax


CLASSES = np.arange(B) % K
ONE_HOT = np.eye(K)[CLASSES]
BITS = (np.arange(B) % 3 == 0) * 1.0
REALS = np.linspace(-40, 100, B)


def chosen_squares(z, y):
    """Squares of the column that the first label names, less the second one."""
    return (jnp.take_along_axis(z, y[:, :1].astype(int), 1) - y[:, 1:]) ** 2


LOSSES = {
    "squares": (lambda z, y: (z[:, 0] - y) ** 2, REALS, "numbers"),
    "root of squares": (lambda z, y: jnp.sqrt(jnp.mean((z[:, 0] - y) ** 2)), REALS, "numbers"),
    "sizes": (lambda z, y: abs(z[:, 0] - y), REALS, "numbers"),
    "Huber": (
        lambda z, y: jnp.where(abs(r := z[:, 0] - y) < 1, r**2 / 2, abs(r)), REALS, "numbers"
    ),
    "logits": (lambda z, y: jnp.logaddexp(z[:, 0], 0) - y * z[:, 0], BITS, "logits"),
    "probabilities": (
        lambda p, y: -y * jnp.log(p[:, 0]) - (1 - y) * jnp.log(1 - p[:, 0]), BITS, "probabilities"
    ),
    "pairs": (lambda z, y: (z - y[None]) ** 2, REALS, "pairs"),
    "class logits": (lambda z, y: -jnp.sum(y * log_softmax(z), 1), ONE_HOT, "class logits"),
    "of integers": (
        lambda z, y: -jnp.take_along_axis(log_softmax(z), y[:, None], 1), CLASSES, "class logits"
    ),
    "class probabilities": (
        lambda p, y: -jnp.sum(y * jnp.log(p), 1), ONE_HOT, "class probabilities"
    ),
    "class shares": (
        lambda p, y: -jnp.sum(y * jnp.log(p / jnp.sum(p, 1, keepdims=True)), 1), ONE_HOT,
        "class shares",
    ),
    "class logs": (lambda p, y: -jnp.sum(y * p, 1), ONE_HOT, "class logs"),
    "in proportion": (
        lambda z, y: -jnp.sum(y * jnp.exp(log_softmax(z)), 1), ONE_HOT, "softmax in proportion"
    ),
    "of several labels": (
        lambda z, y: -jnp.sum(y * log_softmax(z), 1), np.cumsum(ONE_HOT, 1), "class logits"
    ),
    "over the batch": (
        lambda z, y: -jnp.sum(y * log_softmax(z, 0), 1), ONE_HOT, "over the batch"
    ),
    "weighted": (
        lambda z, y: -jnp.sum(y * jnp.arange(1.0, K + 1)[None] * log_softmax(z), 1), ONE_HOT, ""
    ),
    "a hinge": (
        lambda z, y: jnp.sum(jnp.maximum(1 - (2 * y - 1) * z, 0), 1), ONE_HOT, "margins"
    ),
    "cosines": (lambda z, y: -jnp.sum(z * y, 1) / jnp.linalg.norm(z, axis=1), ONE_HOT, ""),
}  # fmt: skip


def with_slope(loss):
    """A loss that returns its slope too."""
    return jax.jit(jax.value_and_grad(lambda output, ys: jnp.mean(loss(output, ys))))


OFTEN = ("squares", "a hinge", "probabilities", "class logits", "weighted")


@pytest.mark.parametrize(
    ("loss", "ys", "takes"),
    [
        pytest.param(*case, id=name, marks=[] if name in OFTEN else pytest.mark.slow)
        for name, case in LOSSES.items()
    ],
)
def test_what_a_loss_takes_is_seen_in_its_slope(rng, loss, ys, takes):
    width = 1 if ys.ndim == 1 and ys.dtype != int else K
    trial = OfArrays(rng, ys=ys, loss=with_slope(loss), width=width)
    kind = End.of(trial).kind
    assert kind.takes == takes
    assert not takes or kind.constant > 0
    trial.loss = lambda z, y, loss=trial.loss: [-v for v in loss(z, y)]
    inverted = End.of(trial).kind
    assert inverted.takes == takes
    assert not takes or inverted.constant == -kind.constant


ENDS = {
    "none": (np.asarray, Reach(-np.inf, np.inf), ""),
    "relu": (lambda z: np.maximum(z, 0), Reach(0, np.inf), ""),
    "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), Reach(0, 1), ""),
    "tanh": (np.tanh, Reach(-1, 1), ""),
    "silu": (lambda z: z / (1 + np.exp(-z)), Reach(-0.2785, np.inf), ""),
    "softmax": (softmax, Reach(0, 1), "rows"),
    "log-softmax": (
        lambda z: z - np.logaddexp.reduce(z, axis=1, keepdims=True),
        Reach(-np.inf, 0),
        "logs",
    ),
    "softmax over the batch": (lambda z: softmax(z, 0), Reach(0, 1), "columns"),
}


@pytest.mark.parametrize(("end", "reach", "sums"), ENDS.values(), ids=ENDS)
@pytest.mark.filterwarnings("ignore:overflow")
def test_what_an_output_reaches_is_seen_with_other_weights(rng, end, reach, sums):
    trial = OfArrays(rng, end=end)
    if sums == "":
        trial.last_weights /= 100  # within -1 and 1 also without an activation
    seen = End.of(trial)
    np.testing.assert_allclose(seen.reach, reach, atol=1e-2 if -1 < reach.low < 0 else 1e-9)
    assert seen.sums_to_one == sums


@pytest.mark.parametrize(
    ("entering", "bias", "end", "reach", "sums"),
    [
        (1e-14, 0.0, np.asarray, Reach(-np.inf, np.inf), ""),
        (0.0, [0.2, 0.3, 0.5], np.asarray, Reach(-np.inf, np.inf), ""),
        (0.0, 0.0, lambda z: np.add(z, [0.2, 0.3, 0.5]), Reach(np.nan, np.nan), ""),
        (0.0, 0.0, softmax, Reach(1 / 3, 1 / 3), "rows"),
    ],
    ids=["next to nothing enters", "its bias", "another bias", "a softmax"],
)
def test_a_head_that_nothing_enters_has_no_activation(rng, entering, bias, end, reach, sums):
    trial = OfArrays(rng)
    trial.output = lambda xs=None, factor=1.0, rows=None: np.asarray(
        end(factor * (entering * np.tanh(trial.xs["xs"][:, :K]) + bias))
    )
    seen = End.of(trial)
    np.testing.assert_allclose(seen.reach, reach)
    assert seen.sums_to_one == sums


def test_an_output_above_0_is_turned_around_to_see_its_lower_end(rng):
    trial = OfArrays(rng, xs=np.ones((B, N)), end=lambda z: np.maximum(z, 0))
    trial.first_weights, trial.last_weights = np.ones((N, 8)), np.ones((8, K))
    assert End.of(trial).low > 0
    assert End.of(trial).reach == (0, np.inf)


def test_a_softmax_over_one_unit_is_told_from_a_saturated_sigmoid(rng):
    for end, reach in ((softmax, (1, 1)), (lambda z: 1 / (1 + np.exp(-z - 50)), (0, 1))):
        trial = OfArrays(rng, end=lambda z, end=end: np.asarray(end(z)), width=1)
        with np.errstate(over="ignore"):
            seen = End.of(trial)
        assert seen.low == seen.high == 1
        assert seen.reach == reach


def test_labels_outside_of_the_reach_are_counted(rng):
    ys = np.where(np.arange(B) % 4 == 0, -1.0, 2.0)
    trial = OfArrays(rng, ys=ys, end=lambda z: np.maximum(z, 0), width=1)
    assert End.of(trial).labels == (-1, 2, 0.25)


def test_labels_are_what_squares_of_a_chosen_column_are_least_at(rng):
    ys = np.stack([CLASSES, 9 - np.arange(B)], axis=1) * 1.0
    loss = with_slope(chosen_squares)
    trial = OfArrays(rng, ys=ys, end=lambda z: np.maximum(z, 0), loss=loss)
    np.testing.assert_allclose(End.of(trial).labels, (9 - B + 1, 9, (B - 10) / B), atol=1e-4)


def cross_entropy(of_class):
    """The cross-entropy of class numbers, each example times a number of its class."""
    return with_slope(
        lambda z, y: (
            -jnp.asarray(of_class)[y] * jnp.take_along_axis(log_softmax(z), y[:, None], 1)[:, 0]
        )
    )


@pytest.mark.parametrize(
    ("loss", "ignored", "weigh"),
    [
        (cross_entropy(np.array([1.0, 2.0, 3.0])), None, False),
        (cross_entropy(np.array([1.0, 0.0, 1.0])), 1, False),
        (with_slope(lambda z, y: -(y[:, None].astype(float) * log_softmax(z)).sum(1)), 0, True),
    ],
    ids=["healthy", "ignored", "weigh"],
)
def test_classes_that_a_loss_ignores_or_takes_for_weights(rng, loss, ignored, weigh):
    classes = ClassLabels.of(OfArrays(rng, ys=CLASSES, loss=loss))
    assert (classes.ignored, classes.weigh) == (ignored, weigh)


@pytest.mark.parametrize(
    ("least", "breaks", "wraps"), [(1, True, False), (-1, False, True), (0, False, False)]
)
def test_classes_that_have_no_column(rng, least, breaks, wraps):
    trial = OfArrays(rng, ys=CLASSES + least, loss=cross_entropy(np.ones(4)))
    classes = ClassLabels.of(trial)
    assert (classes.breaks, classes.wraps) == (breaks, wraps)


@pytest.mark.parametrize(
    ("norm", "mixing"),
    [
        (np.asarray, ""),
        (standardised, ""),  # over the batch, as a batch norm
        (lambda v: np.reshape(v.T, v.shape), "places"),
        (lambda v: v * softmax(v, 0), "sums"),
        (lambda v: v.max(axis=0) + 0 * v, "alike"),
    ],
    ids=["none", "a norm", "a reshape", "a softmax", "a maximum"],
)
@pytest.mark.parametrize("end", [np.asarray, lambda v: v @ v.T], ids=["", "of pairs"])
def test_examples_that_act_on_each_other(rng, norm, mixing, end):
    mixing = "" if mixing == "sums" and end is not np.asarray else mixing  # not told of pairs
    assert (
        mixing_of(OfArrays(rng, ys=CLASSES, norm=lambda v: np.asarray(norm(v)), end=end)) == mixing
    )
    assert not mixing_of(OfArrays(rng, norm=norm))  # without labels


def test_logits_of_pairs_may_take_their_softmax_down_the_batch(rng):
    ys = np.arange(B)
    loss = with_slope(lambda z, y: -jnp.take_along_axis(log_softmax(z, 0), y[:, None], 1))
    end = End.of(OfArrays(rng, ys=ys, end=lambda v: softmax(v @ v.T, 0), loss=loss))
    assert (end.kind.takes, end.sums_to_one) == ("", "")


def test_of_an_output_that_is_not_finite_nothing_is_concluded(rng):
    trial = OfArrays(rng, 255 * rng.random((B, N)), ys=CLASSES, end=lambda v: v * np.nan)
    assert End.of(trial) is None
    assert BatchData.of(trial).scales_itself is None


def test_a_loss_that_rises_with_the_fit_is_told_from_one_of_distances(rng):
    ys = (rng.random((B, K)) < 0.4).astype(float)

    def overlap(p, y):
        return 2 * np.sum(p * y) / np.sum(p + y)

    def near(d, y):
        """Distances, which are to be 0 where y is 1."""
        return np.mean(y * d**2 + (1 - y) * np.maximum(1 - d, 0) ** 2)

    for loss, expected in (
        (overlap, True),
        (lambda p, y: 1 - overlap(p, y), False),
        (near, False),
        (lambda d, y: near(d, 1 - y), False),
    ):
        trial = OfArrays(rng, ys=ys, end=sigmoid, loss=lambda v, y, loss=loss: (loss(v, y), 0 * v))
        assert rises_with_fit(trial, Labels(ys, None)) is expected


def test_a_loss_that_gives_classes_other_numbers_does_not_rise_with_the_fit(rng):
    ys = np.eye(K)[rng.integers(K, size=B)]

    def entropy(v, y):
        return -np.mean(np.sum(np.roll(y, 1, axis=1) * np.asarray(log_softmax(v, 1)), axis=1))

    for loss, expected in ((entropy, False), (lambda v, y: np.sum(sigmoid(v) * y), True)):
        trial = OfArrays(rng, ys=ys, loss=lambda v, y, loss=loss: (loss(v, y), 0 * v))
        assert rises_with_fit(trial, Labels(ys, 1)) is expected


def test_a_loss_that_outputs_of_zeros_end(rng):
    ys = rng.normal(size=(B, K))
    for loss, expected in (
        (lambda v, y: (np.sum((v - v[:, ::-1]) ** 2), 4 * (v - v[:, ::-1])), True),
        (lambda v, y: (np.sum(v), np.ones_like(v)), False),  # the slope goes on
        (lambda v, y: (-np.sum(v**2), -2 * v), False),
    ):
        assert is_ended_by_zeros(OfArrays(rng, ys=ys, loss=loss)) is expected


@pytest.mark.parametrize(
    ("order", "shift", "expected"),
    [((0, 1, 2), 0, True), ((0, 2, 1), 0, False), ((0, 2, 1), 1, False)],
)
def test_labels_of_positions_that_act_on_other_ones(rng, order, shift, expected):
    """Logits of (examples, classes, positions), whose axes a loss views as they are or permutes."""
    count, ys = 4 * K, rng.integers(0, K, (B, 4 * K))

    def loss(v, labels):
        rows = v.transpose(order).reshape(B, count, K)
        slope = softmax(rows) - np.eye(K)[np.roll(labels, shift, axis=1)]
        back = slope.reshape(np.array(v.shape)[list(order)]).transpose(np.argsort(order))
        return 0.0, back

    trial = OfArrays(rng, ys=ys, end=lambda z: z.reshape(B, K, count), loss=loss, width=K * count)
    labels = Labels(np.moveaxis(np.eye(K)[ys], -1, 1), 1)
    assert acts_elsewhere(trial, labels) is expected


@pytest.mark.parametrize(
    ("reads", "padding", "expected"),
    [("padding", 0, Unread("xs", 0)), ("all", 0, None), ("none", None, Unread("xs", None))],
)
def test_numbers_of_letters_that_are_not_read(rng, reads, padding, expected):
    tokens = rng.integers(1, 9, (B, N))
    if padding is not None:
        tokens = np.where(np.arange(N) < rng.integers(1, N, (B, 1)), tokens, padding)
    read = {"padding": lambda v: v == 0, "all": lambda v: v, "none": lambda v: np.zeros_like(v)}[
        reads
    ]

    def output(xs):
        return np.cos(read(xs["xs"]) @ np.arange(1.0, N + 1))[:, None]

    trial = SimpleNamespace(
        tokens={"xs": tokens}, xs={}, is_random=False, first=output({"xs": tokens}), output=output
    )
    assert unread_of(trial) == expected


@pytest.mark.parametrize(("rows", "read"), [(5, "its last row"), (5, "nan"), (9, None)])
def test_integers_beyond_their_table(rng, rows, read):
    """JAX reads them as the last row, or as nan, and no error says so."""
    tokens, table = rng.integers(0, 9, (B, N)), rng.normal(size=(rows, K))

    def output(xs):
        looked_up = table[xs["xs"].clip(max=rows - 1)]
        if read == "nan":
            looked_up[xs["xs"] >= rows] = np.nan
        return looked_up.sum(axis=1)

    first = output({"xs": tokens})
    trial = SimpleNamespace(
        tokens={"xs": tokens}, lengths={3, rows, 7}, is_random=False, first=first, output=output
    )
    assert beyond_of(trial) == (read and Beyond("xs", 8, rows, read))


@pytest.mark.parametrize("norm", [np.asarray, standardised], ids=["none", "over the batch"])
def test_changes_are_tried_at_once_where_examples_do_not_act_on_each_other(rng, norm):
    trial, runs = OfArrays(rng, ys=CLASSES, norm=norm), []
    output = trial.output
    trial.output = lambda *given, **more: runs.append(more) or output(*given, **more)
    found = changed_outputs(trial, output(), 10.0)
    are_apart = norm is np.asarray
    assert (found.are_apart, len(runs)) == (are_apart, 1 if are_apart else 4)
    examples = B // 4 if are_apart else B
    assert [len(v) for v in (found.as_is, *found.far, found.near)] == [examples] * 4
    # Examples that are known by their output as it is; a change by a thousandth is a small one.
    at = [int(np.argmin(np.abs(output() - v).sum(axis=1))) for v in found.as_is]
    np.testing.assert_allclose(found.as_is, output()[at])
    assert 0 < np.linalg.norm(found.near - found.as_is) < 0.01 * np.linalg.norm(found.as_is)
    assert np.linalg.norm(found.far[0] - found.far[1]) > np.linalg.norm(found.as_is)


def test_a_loss_that_does_not_see_the_labels(rng):
    for loss, expected in (
        (lambda z, y: jnp.sum(z**2, 1), False), (lambda z, y: jnp.sum((z - y) ** 4, 1), True)
    ):  # fmt: skip
        for ys, known in ((ONE_HOT, expected), (np.ones((B, K)), None)):
            assert End.of(OfArrays(rng, ys=ys, loss=with_slope(loss))).sees_labels is known


def test_a_loss_of_the_mean_of_labels_is_told_from_one_that_compares_outputs(rng):
    def of_means(z, y):
        return (jnp.mean(z) - jnp.mean(y)) ** 2

    def contrastive(z, _):
        return jax.nn.logsumexp(z @ z.T, axis=1) - jnp.sum(z**2, axis=1)

    for loss, expected in (
        (of_means, (True, True)),
        (contrastive, (False, True)),
        (lambda z, _: jnp.sum(z**2, 1), (False, False)),
    ):
        end = End.of(OfArrays(rng, ys=rng.normal(size=(B, 2)), loss=with_slope(loss)))
        assert (end.sees_labels, end.sees_all, end.compares) == (False, *expected)


@pytest.mark.parametrize("end", [np.asarray, sigmoid, softmax])
def test_a_network_that_is_a_line_is_told_from_one_that_bends(rng, end):
    bent = OfArrays(rng, end=end)
    line = OfArrays(rng, end=end)
    line.output = lambda xs=None, factor=1.0, rows=None: end(
        (xs or line.xs)["xs"] @ line.first_weights @ (factor * line.last_weights)
    )
    assert (End.of(bent).is_linear, End.of(line).is_linear) == (False, True)


# Parameters and noise


def test_draws_of_weights_are_told_apart(rng):
    v = rng.normal(size=(3, 3, 8, 16))
    healthy = WeightDraw.of(v)
    assert (healthy.is_constant, healthy.distinct) == (False, 1)
    np.testing.assert_allclose(healthy.gain, np.sqrt(72 * np.mean(v**2)))
    copies = WeightDraw.of(v[..., [0, 1] * 8] * 1e-8)
    assert (copies.is_constant, copies.distinct) == (False, 2 / 16)
    assert WeightDraw.of(np.repeat(v[:1], 3, axis=0)).distinct == 1 / 3  # groups with one key
    assert WeightDraw.of(np.full((4, 4), 0.1)).is_constant
    rates = np.tile(np.log(np.arange(1.0, 17)), (64, 1))  # Mamba's A_log: nobody drew it
    assert (
        WeightDraw.of(rates).of_random == WeightDraw.of(rates.T).of_random == 0 < healthy.of_random
    )
    zero = WeightDraw.of(np.zeros((4, 4)))  # of which another rule speaks
    assert (zero.is_constant, zero.distinct) == (False, 1)


def test_gains_of_several_layers_are_no_matrices(rng):
    lists = "untouched_norms", "resting_norms", "stopped", "repeated", "unregistered"
    arrays = {"gains": rng.normal(size=(3, 8, 1)), "image": rng.normal(size=(3, 3, 1, 8))}
    trial = SimpleNamespace(weights=arrays, arrays=arrays, **dict.fromkeys(lists, ()))
    assert {*KnownParameters.of(trial).draws} == {"image"}


def test_directions_of_weights_stand_out(rng):
    """A mean m of weights of size s has the singular value m n, independent entries 2 s √n."""
    n = 400
    v = rng.normal(size=(n, n))
    drawn, shifted = WeightDraw.of(v), WeightDraw.of(v + 1)
    spike = WeightDraw.of(v + 4 * np.outer(rng.choice([-1, 1], n), np.ones(n)) / n**0.5 * 2)
    assert 0.8 < drawn.edge < 1.05
    assert drawn.mean_edge < 0.1
    assert shifted.edge == pytest.approx(200**0.5 / 2 * 0.5**0.5, rel=0.05)  # half of the rows
    assert shifted.mean_edge == pytest.approx(shifted.edge, rel=0.05)
    assert spike.edge > 2 > 0.5 > spike.mean_edge


def test_noise_is_compared_with_the_mean_over_draws(rng):
    trial, examples = OfArrays(rng), np.where(np.arange(2000) % 2, 1, 17**0.5)[:, None]
    draws = examples + 0.5 * rng.normal(size=(4, 2000, K))
    trial.draws = lambda count: draws[:count]
    noise = Noise.of(trial)
    np.testing.assert_allclose((noise.of_draws, noise.of_mean), (0.5, 3), rtol=0.05)
    assert Noise.of(OfArrays(rng)) is None


def chained(thetas, z):
    for theta in thetas[:-1]:
        z = jnp.tanh(z @ theta)
    return z @ thetas[-1]


def test_jax_supplies_outputs_and_slopes(rng):
    """Of a chain whose middle layers are a run, and of a Network."""
    thetas = [*rng.normal(size=(3, N, N)), rng.normal(size=(N, K))]
    xs, ys = {"a": rng.normal(size=(B, N))}, rng.normal(size=(B, K))

    def f(p, xs):
        return chained(p, xs["a"])

    def loss(output, ys):
        return jnp.sum((output - ys) ** 2, axis=1)

    trial = JaxTrial(Program((f, thetas), xs, ys, loss))
    np.testing.assert_allclose(trial.first, f(thetas, xs))
    np.testing.assert_allclose(trial.output(factor=2.0), 2 * f(thetas, xs))
    (name,) = trial.xs
    np.testing.assert_allclose(
        trial.output({name: 2 * xs["a"]}), f(thetas, {"a": 2 * xs["a"]}), rtol=1e-12
    )
    order = rng.permutation(B)
    value, slope = trial.slope(ys + 1, order)
    np.testing.assert_allclose(value, np.sum((ys + 1 - ys[order]) ** 2) / B)
    np.testing.assert_allclose(slope, 2 * (ys + 1 - ys[order]) / B)
    for path, v in trial.weights.items():
        np.testing.assert_array_equal(v, thetas[int(path.strip("[]"))])
    assert len(trial.weights) == 4


def test_norms_in_use_with_the_statistics_of_their_start(rng):
    """In a run of layers and alone; the gain of 1 and the bias of 0 of a norm are no statistics."""

    def block(p, xs):
        mean, scale = p["mean"][None], jax.lax.rsqrt(p["var"][None] + 1e-5)
        return jnp.tanh((xs @ p["w"] - mean) * scale * p["gain"][None] + p["bias"][None])

    def f(blocks, xs):
        for p in blocks:
            xs = block(p, xs)
        return xs

    def of(var):
        one = {"mean": np.zeros(N), "var": np.full(N, var), "gain": np.ones(N), "bias": np.zeros(N)}
        blocks = [one | {"w": rng.normal(size=(N, N))} for _ in range(3)]
        xs = rng.normal(size=(B, N))
        return JaxTrial(Program((f, blocks), xs)).untouched_norms

    assert of(1.0) == tuple(f"[{i}]['mean']" for i in range(3))
    assert of(1.5) == ()


def test_arrays_behind_a_stop_gradient_of_their_own(rng):
    params = [rng.normal(size=(N, 8)), rng.normal(size=(8, 8)), rng.normal(size=(8, K))]

    def network(params, xs):
        first, second, last = params
        z = jnp.sin(xs @ jax.lax.stop_gradient(first))
        return jax.lax.stop_gradient(jnp.tanh(z @ second)) @ last

    xs = rng.normal(size=(B, N))
    trial = JaxTrial(Program((network, params), xs))
    assert trial.stopped == ("[0]",)

    def layer(w, z):
        return z + jnp.tanh(z @ jax.lax.stop_gradient(w))

    run = JaxTrial(Program([(layer, rng.normal(size=(N, N))) for _ in range(3)], xs))
    assert run.stopped == ("[0][1]", "[1][1]", "[2][1]")


def test_keys_among_the_inputs_are_drawn_again(rng):
    w = rng.normal(size=(N, K))

    def f(w, xs):
        x, keys = xs
        dropped = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - 0.25, shape=(N,)))(keys)
        return jnp.where(dropped, 0.0, x) @ w

    xs = rng.normal(size=(B, N)), jax.random.split(jax.random.key(0), B)
    trial = JaxTrial(Program([(f, w)], xs))
    first, second = trial.draws(2)
    assert not np.allclose(first, second)
    assert trial.dropped == 0.25
    queries = rng.normal(size=(1, N)).repeat(3, axis=0)
    equal = JaxTrial(Program([(lambda q, x: x[:, None] + q[None], queries)], xs[0]))
    assert [len(KnownParameters.of(v).flat) for v in (equal, trial)] == [1, 0]
    without = JaxTrial(Program([(lambda w, x: x @ w, w)], xs[0]))
    assert without.draws(2) is None


def test_a_network_of_ours_supplies_them_too(rng):
    net = jaxnn.Network((N, 8, 1), "tanh", "binary")
    params, xs = draw_layers(rng, net.sizes, gaussian(1.0)), rng.normal(size=(B, N))
    trial = JaxTrial(Program((net, params), xs, np.arange(B) % 2))
    (w, b), (v, c) = jax.tree.map(np.asarray, params)
    np.testing.assert_allclose(trial.first, sigmoid(np.tanh(xs @ w + b) @ v + c), rtol=1e-6)
    assert trial.slope(trial.first) is None  # the task has no loss of the output
    assert trial.weights["theta[1]"].shape == (8, 1)


@pytest.mark.slow
def test_torch_supplies_outputs_and_slopes(rng, torch):
    from jaxnn.evidence.torch_trial import TorchTrial

    model = torch.nn.Sequential(
        torch.nn.Linear(N, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.5), torch.nn.Linear(8, K)
    )
    xs, ys = torch.randn(B, N), torch.randn(B, K)
    before = [v.clone() for v in model.state_dict().values()], torch.get_rng_state()
    trial = TorchTrial(Program(model, xs, ys, torch.nn.functional.mse_loss), ["3.weight", "3.bias"])
    np.testing.assert_allclose(trial.output(factor=2.0), 2 * trial.first, rtol=1e-5)
    first, second = trial.draws(2)
    assert not np.allclose(first, second)
    np.testing.assert_array_equal(first, trial.first)
    order = rng.permutation(B)
    _, slope = trial.slope(ys.numpy() + 1, order)
    np.testing.assert_allclose(slope, 2 * (ys.numpy() + 1 - ys.numpy()[order]) / B / K, rtol=1e-4)
    after = [v.clone() for v in model.state_dict().values()], torch.get_rng_state()
    assert all(map(torch.equal, [*before[0], before[1]], [*after[0], after[1]]))
    assert TorchTrial(Program(model.eval(), xs)).draws(2) is None


@pytest.mark.slow
def test_torch_compares_what_parametrisations_make(torch):
    """Originals of an orthogonal one are equal in all layers; a norm hides sizes of originals."""
    from jaxnn.evidence.torch_trial import TorchTrial

    made = torch.nn.utils.parametrizations
    for wrapped in (
        made.orthogonal,
        made.weight_norm,
        made.spectral_norm,
        torch.nn.utils.spectral_norm,
    ):
        model = torch.nn.Sequential(*(wrapped(torch.nn.Linear(N, N)) for _ in range(2))).eval()
        trial = TorchTrial(Program(model, torch.randn(B, N)))
        known = [v for v in trial.weights.values() if v.shape == (N, N)]
        expected = [layer.weight.detach().T for layer in model]
        np.testing.assert_allclose(known, expected, rtol=1e-5)
        assert not KnownParameters.of(trial).equal


@pytest.mark.slow
def test_torch_names_norms_at_rest_and_dropout_in_eval_mode(torch):
    from jaxnn.evidence.torch_trial import TorchTrial

    class Dropped(torch.nn.Module):
        def __init__(self, momentum, knows):
            super().__init__()
            self.norm, self.knows = torch.nn.BatchNorm1d(N, momentum=momentum), knows

        def forward(self, x):
            drops = self.training or not self.knows
            return torch.nn.functional.dropout(self.norm(x), 0.95, drops) + torch.randn(1)

    xs = torch.randn(B, N)
    for momentum, knows, rest, drops in ((0.0, False, ("norm",), True), (0.1, True, (), False)):
        trial = TorchTrial(Program(module := Dropped(momentum, knows), xs))
        assert (trial.resting_norms, trial.drops_in_eval) == (rest, drops)
        assert trial.dropped == pytest.approx(0.95)
        assert module.training
        assert not module.norm.num_batches_tracked


@pytest.mark.slow
@pytest.mark.parametrize(("name", "found"), [("add_", True), ("relu_", False)])
def test_a_step_that_changes_its_data_in_place_has_copies(name, found, torch):
    """An operation that changes nothing the second time is none."""

    class InPlace(torch.nn.Sequential):
        def forward(self, x, mask, tokens):
            for v in (mask, tokens["of"], x):
                getattr(v, name)(*[1] * found)
            return super().forward(x * mask) + tokens["of"][:, None]

    def loss(output, ys):
        return torch.nn.functional.mse_loss(output, getattr(ys, name)(*[1] * found))

    xs = torch.randn(B, N), torch.randn(B, 1), {"of": torch.arange(B) - 2}
    data = [*xs[:2], xs[2]["of"], torch.randn(B, K)]
    before = [v.clone() for v in data]
    model = InPlace(torch.nn.Linear(N, N), torch.nn.Tanh(), torch.nn.Linear(N, K))
    result = jaxnn.checkup(model, None, xs, data[-1], loss=loss, steps=20)
    assert all(map(torch.equal, data, before))
    texts = [v.text for v in result.found if v.rule == "overwritten"]
    assert [text[:37] for text in texts] == ["A step changes xs[0], xs[1] and ys in"] * found


@pytest.mark.slow
def test_rows_of_a_module_whose_arguments_are_not_all_tensors(torch):
    from jaxnn.evidence.torch_trial import TorchTrial

    class WithMask(torch.nn.Linear):
        def forward(self, x, mask):
            return super().forward(x if mask is None else x * mask)

    trial = TorchTrial(Program(WithMask(N, K), (torch.randn(B, N), None)))
    rows = np.arange(B)[::-1]
    np.testing.assert_allclose(trial.output(rows=rows), trial.first[rows], rtol=1e-5)


@pytest.mark.slow
def test_torch_names_parameters_that_the_module_does_not_list(torch):
    from jaxnn.evidence.torch_trial import TorchTrial

    class Listed(torch.nn.Module):
        def __init__(self, holds):
            super().__init__()
            self.first = torch.nn.Linear(N, 4)
            self.blocks = holds([torch.nn.Linear(4, 4) for _ in range(2)])

        def forward(self, x):
            x = self.first(x)
            for block in self.blocks:
                x = torch.relu(block(x))
            return x

    xs = torch.randn(B, N)
    assert TorchTrial(Program(Listed(torch.nn.ModuleList), xs)).unregistered == ()
    names = TorchTrial(Program(Listed(list), xs.requires_grad_())).unregistered
    assert names == tuple(f"blocks[{i}].{name}" for i in (0, 1) for name in ("weight", "bias"))


@pytest.mark.slow
def test_torch_names_tensors_that_learn_and_are_no_parameters(torch):
    from jaxnn.evidence.torch_trial import TorchTrial

    elsewhere = torch.randn(4, 3, requires_grad=True)

    class Loose(torch.nn.Linear):
        def forward(self, x):
            made = torch.ones(4, requires_grad=True)  # by this call alone
            return (super().forward(x) * self.gain * made) @ elsewhere

    module = Loose(N, 4)
    module.gain, module.target = torch.ones(4, requires_grad=True), torch.ones(4)
    held = TorchTrial(Program(torch.nn.Sequential(module), torch.randn(B, N))).unregistered
    assert held == ("0.gain", "a tensor (4, 3) of no module")


def test_equal_arrays_are_seen_but_for_those_of_one_number(rng):
    v = rng.normal(size=(2, 4, 4))
    arrays = {"a": v[0], "b": v[1], "c": v[0].copy(), "d": 0 * v[0], "e": 0 * v[0]}
    lists = "untouched_norms", "resting_norms", "stopped", "repeated", "unregistered"
    trial = SimpleNamespace(weights=arrays, arrays=arrays, **dict.fromkeys(lists, ()))
    assert KnownParameters.of(trial).equal == (("a", "c"),)


# The constant answer

GROUPS = np.array([0, 0, 0, 0, 1, 1, 2, 2])
ENTROPY = 1.5 * np.log(2)  # of shares ½, ¼ and ¼
NUMBERS = np.linspace(-3, 4, 8)[:, None] ** 2
FAR_OUTPUT = 100 * np.random.default_rng(0).normal(size=(8, 3))
SHARES = softmax(FAR_OUTPUT / 100)


def squares(output, ys):
    return jnp.mean((output - ys) ** 2)


def of_logits(output, ys):
    return -jnp.mean(jax.nn.log_softmax(output)[jnp.arange(8), ys])


def of_logs(output, ys):
    return -jnp.mean(output[jnp.arange(8), ys])


def of_shares(output, ys):
    return of_logs(jnp.log(output), ys)


def of_odds(output, ys):
    return -jnp.mean(jnp.log(jnp.where(ys == 1, output, 1 - output)))


IN_UNIT = {"reach": Reach(0.0, 1.0)}
ANSWERS = {
    "squares": (squares, FAR_OUTPUT[:, :1], NUMBERS, {}, np.var(NUMBERS)),
    "logits of an exploded network": (of_logits, FAR_OUTPUT, GROUPS, {}, ENTROPY),
    "shares": (of_shares, SHARES, GROUPS, {"sums_to_one": "rows"}, ENTROPY),
    "logarithms": (of_logs, np.log(SHARES), GROUPS, {"sums_to_one": "logs"}, ENTROPY),
    "a sigmoid": (of_odds, SHARES[:, :1], (GROUPS == 0)[:, None], IN_UNIT, np.log(2)),
    "one class": (of_logits, FAR_OUTPUT, 0 * GROUPS, {}, 0.0),
    "minus squares": (lambda *v: -squares(*v), FAR_OUTPUT[:, :1], NUMBERS, {}, -np.inf),
    "minus a cross entropy": (lambda *v: -of_logits(*v), FAR_OUTPUT, GROUPS, {}, -np.inf),
    "one example": (squares, FAR_OUTPUT[:1, :1], NUMBERS[:1], {}, np.nan),
    "other outputs": (lambda output, ys: output["x"], FAR_OUTPUT, GROUPS, {}, np.nan),
}


@pytest.mark.parametrize(
    ("loss", "output", "ys", "known", "expected"), ANSWERS.values(), ids=ANSWERS
)
def test_the_best_constant_answer(loss, output, ys, known, expected):
    by_jax = jax.jit(jax.value_and_grad(lambda at: loss(at, ys)))

    def slope(at):
        return LossSlope(*map(np.asarray, by_jax(jnp.asarray(at))))

    trial = SimpleNamespace(first=output, ys=ys, slope=slope)
    end = SimpleNamespace(**{"sums_to_one": "", "reach": Reach(-np.inf, np.inf), **known})
    np.testing.assert_allclose(constant_answer(trial, end), expected, rtol=1e-4, atol=1e-4)
