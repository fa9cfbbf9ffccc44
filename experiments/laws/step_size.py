"""Law 18: with α = 1/√L, Adam's best step size goes like 1/√L: the loss knows η√L alone.

z′ = z + σ(z) θ/√L, of L blocks. A step of Adam moves every weight by η, whatever the gradient, so L
blocks move z[L+1] by η√L · n in all: networks of any depth learn alike at equal η√L, and at equal η
the deeper learns faster: by 1.5 nats and more where η√L is four times as large, so that an error of
η√L moves ln of the loss by 1.5/ln 4 times as much, or more. Only the blocks are trained. At a
finite L, q[L+1] is (1 + 1/L)^L in place of e, by which L = 4 may differ. Source: Bordelon et al.
2023, arXiv:2309.16620; Yang et al. 2023, arXiv:2310.02244.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl

import jaxnn
from experiments.laws.draws import Params, draw
from experiments.laws.law import (
    Law,
    Measurement,
    Panel,
    Predicted,
    Prediction,
    curve,
    mean_of,
    points,
)
from experiments.laws.training import digits, losses_of_run

WIDTH, BATCH, SIGMA_W = 64, 128, math.sqrt(2)
RATES = (-10, -9, -8)  # log₂ η√L
COMPARED = (-10, -9)  # of them, those at which the loss is compared
FASTER = 1.5  # nats that the deepest network is ahead at equal η: with η√L four times that of L = 4
SCALED = Panel("At equal η√L", "log₂ η√L", "ln of the loss over that of the fewest blocks")
EQUAL = Panel("At equal η", "log₂ η", "ln of the loss over that of the fewest blocks")


class Setup(NamedTuple):
    """Numbers L of blocks, powers of four and the fewest first; steps of training, and seeds."""

    blocks: tuple[int, ...]
    steps: int
    seeds: int

    @property
    def weights(self) -> int:
        """Weights of the largest network, with what Adam keeps of each."""
        return 3 * WIDTH**2 * (max(self.blocks) + 2)


def half(blocks: int) -> int:
    """Return log₂ √L."""
    return round(math.log2(blocks) / 2)


def same_rate(setup: Setup, blocks: int) -> list[int]:
    """Return the log₂ η that both these blocks and the fewest have been trained with."""
    few = {r - half(setup.blocks[0]) for r in RATES}
    return sorted(few & {r - half(blocks) for r in RATES})


def predict(setup: Setup) -> Prediction:
    """Predict equal losses at equal η√L; and a bound for how far they differ at equal η."""
    numbers, curves = [], [curve(SCALED, "alike", [min(RATES), max(RATES)], [0.0, 0.0])]
    few, *deeper = setup.blocks
    for blocks in deeper:
        q = [_length(few), _length(blocks)]
        allowed = abs(math.log(q[1] / q[0]))
        reason = "4 standard errors, and ln of the lengths that the finite L give z[L+1]"
        numbers += [
            Predicted(f"L = {blocks}, η√L = 2^{rate}", 0.0, allowed, reason).about(
                "η√L", -FASTER / math.log(math.sqrt(deeper[-1] / few))
            )
            for rate in COMPARED
        ]
    most, shared = deeper[-1], same_rate(setup, deeper[-1])
    reason = "a bound: no tolerance"
    case = f"L = {few} behind L = {most}, η = 2^{shared[-1]}"
    numbers.append(Predicted(case, FASTER, 0.0, reason, 0, "≥"))
    ends = [min(same_rate(setup, deeper[0])), max(same_rate(setup, deeper[0]))]
    curves.append(curve(EQUAL, f"bound, L = {most}", ends, [-FASTER, -FASTER]))
    return Prediction(tuple(numbers), pl.concat(curves))


def _length(blocks: int) -> float:
    """q[L+1] over q[1]."""
    block = jaxnn.Residual(scale=blocks**-0.5)
    length = float(jaxnn.theory.meanfield.length_map("relu", SIGMA_W, 0.0, 1.0, hidden=block))
    return length**blocks  # relu: each block multiplies q by the same


def measure(setup: Setup, key: jax.Array) -> Measurement:
    """Train every depth with every step size, and take the loss over all the digits."""
    numbers, frames, few = {}, [], setup.blocks[0]
    keys = jax.random.split(key, setup.seeds)
    logs = {b: np.log([_losses(setup, k, b) for k in keys]) for b in setup.blocks}
    for blocks in setup.blocks[1:]:
        apart = logs[blocks] - logs[few]  # at equal η√L
        for rate in COMPARED:
            at = RATES.index(rate)
            numbers[f"L = {blocks}, η√L = 2^{rate}"] = mean_of(apart[:, at])
        frames.append(points(SCALED, f"L = {blocks}", RATES, apart))
        shared = same_rate(setup, blocks)
        of_few, own = ([RATES.index(r + half(b)) for r in shared] for b in (few, blocks))
        apart = logs[blocks][:, own] - logs[few][:, of_few]
        case = f"L = {few} behind L = {blocks}, η = 2^{shared[-1]}"
        numbers[case] = mean_of(-apart[:, -1])
        frames.append(points(EQUAL, f"L = {blocks}", shared, apart))
    return Measurement(numbers, pl.concat(frames))


def _losses(setup: Setup, key: jax.Array, blocks: int) -> np.ndarray:
    """The losses of one network after training with each step size."""
    key_params, key_batches = jax.random.split(key)
    block = jaxnn.Residual(scale=blocks**-0.5)
    net = jaxnn.Network((64, *[WIDTH] * (blocks + 1), 10), "relu", "multiclass", hidden=block)
    rates = jnp.asarray([2.0**rate / math.sqrt(blocks) for rate in RATES])
    training = (net, _draw(net, key_params), digits(), key_batches, rates)
    return np.asarray(losses_of_run(*training, setup.steps, BATCH), np.float64)


@jax.jit
def _draw(net: jaxnn.Network, key: jax.Array) -> Params:
    return draw(net, key, SIGMA_W, 0.0)


LAW = Law(
    number=18,
    name="step-size",
    source="Bordelon et al. 2023",
    statement="with α = 1/√L the loss after Adam's steps depends on the depth through η√L only",
    predict=predict,
    measure=measure,
    full=Setup(blocks=(4, 16, 64), steps=100, seeds=6),
    quick=Setup(blocks=(4, 64), steps=100, seeds=3),
    panels=(SCALED, EQUAL),
    coarse=(
        (
            "η√L",
            "how the loss falls with η√L is not derived, 1.5 nats for four times as "
            "much is a bound; four blocks are 10 % off the limit of many, and twice "
            "as many seeds see no less",
        ),
    ),
)
