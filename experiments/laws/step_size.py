"""Law 18: with α = 1/√L the loss after Adam's steps depends on the depth through η√L only.

z′ = z + σ(z) θ/√L, of L blocks. A step of Adam moves every weight by η, whatever the gradient, so L
blocks move z[L+1] by η√L · n in all: networks of any depth learn alike at equal η√L, and at equal η
the deeper learns faster: by 1.5 nats and more where η√L is four times as large, so that an error of
η√L moves ln of the loss by 1.5/ln 4 times as much, or more. Only the blocks are trained. At a
finite L, q[L+1] is (1 + 1/L)^L in place of e, by which L = 4 may differ.

The first step can be told exactly. Adam's is η sign(Δθ), so that it takes η ‖Δθ‖₁ off the loss. Of
one example ‖Δθ[l]‖₁ = ‖σ(z[l])‖₁ ‖Δz[l+1]‖₁ / √L, in which the lengths of both grow by 1 + 1/L a
block, one up and one down: it is the same for all l, and

    loss before - loss after = η√L · C (1 + 1/L)^((L-1)/2)

where C is that of no blocks, as long as the logits are small and decide nothing about Δz of the
output. Source: Bordelon et al. 2023, arXiv:2309.16620; Yang et al. 2023, arXiv:2310.02244.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

import jaxnn
from experiments.laws.law import Predicted, Setup, Told, mean_of
from experiments.laws.networks import draw
from experiments.laws.training import TrainingSet, classifier, digits, losses_of_run
from experiments.laws.width_alone import ROOT, block_of

WIDTH, BATCH, SIGMA_W = 64, 128, math.sqrt(2)
RATES = (-10, -9, -8)  # log₂ η√L
COMPARED = (-10, -9)  # of them, those at which the loss is compared
FIRST = 2.0**-12  # η√L of a first step, small enough for a loss to fall on a line
FLAT = 0.1  # of the weights of the last layer in it, for small logits
FASTER = 1.5  # nats that the deepest network is ahead at equal η: with η√L four times that of L = 4
FALL = "first step: ln of the fall of the loss, L = {}"


def half(blocks: int) -> int:
    """Return log₂ √L."""
    return round(math.log2(blocks) / 2)


def same_rate(setup: Setup, blocks: int) -> list[int]:
    """Return the log₂ η that both these blocks and the fewest have been trained with."""
    few = {r - half(setup.blocks[0]) for r in RATES}
    return sorted(few & {r - half(blocks) for r in RATES})


def predict(setup: Setup) -> Told:
    """Predict equal losses at equal η√L; and a bound for how far they differ at equal η."""
    few, *deeper = setup.blocks
    for blocks in deeper:
        # Each block multiplies q by 1 + 1/L.
        allowed = blocks * math.log1p(1 / blocks) - few * math.log1p(1 / few)
        reason = "4 standard errors, and ln of the lengths that the finite L give z[L+1]"
        gain = -FASTER / math.log(math.sqrt(deeper[-1] / few))
        for rate in COMPARED:
            case = f"L = {blocks}, η√L = 2^{rate}"
            yield Predicted(case, 0.0, allowed, reason).about("η√L", gain)
        more = first_step(blocks) - first_step(few)
        reason = "4 standard errors, and 1/n for what finite widths add to a mean of lengths"
        yield Predicted(FALL.format(blocks), more, 1 / WIDTH, reason).about("η√L", 1.0)
    most, shared = deeper[-1], same_rate(setup, deeper[-1])
    case = f"L = {few} behind L = {most}, η = 2^{shared[-1]}"
    yield Predicted(case, FASTER, 0.0, "a bound: no tolerance", 0, "≥")


def first_step(blocks: int) -> float:
    """Return ln of what blocks add to the fall of the loss in the first step, at equal η√L."""
    return (blocks - 1) / 2 * math.log1p(1 / blocks)


def _network(blocks: int) -> jaxnn.Network:
    return classifier(WIDTH, blocks + 1, "relu", block_of(ROOT, blocks))


def measure(setup: Setup, key: jax.Array) -> Told:
    """Train every depth with every step size, and take the loss over all the digits."""
    few = setup.blocks[0]
    falls = {b: np.log(_falls(setup, key, b)) for b in setup.blocks}
    keys = jax.random.split(key, setup.seeds)
    logs = {b: np.log([_losses(setup, k, b) for k in keys]) for b in setup.blocks}
    for blocks in setup.blocks[1:]:
        apart = logs[blocks] - logs[few]  # at equal η√L
        for rate in COMPARED:
            yield f"L = {blocks}, η√L = 2^{rate}", mean_of(apart[:, RATES.index(rate)])
        yield FALL.format(blocks), mean_of(falls[blocks] - falls[few])
        shared = same_rate(setup, blocks)
        of_few, own = ([RATES.index(r + half(b)) for r in shared] for b in (few, blocks))
        apart = logs[blocks][:, own] - logs[few][:, of_few]
        case = f"L = {few} behind L = {blocks}, η = 2^{shared[-1]}"
        yield case, mean_of(-apart[:, -1])


def _losses(setup: Setup, key: jax.Array, blocks: int) -> np.ndarray:
    """The losses of one network after training with each step size."""
    key_params, key_batches = jax.random.split(key)
    rates = jnp.asarray([2.0**rate / math.sqrt(blocks) for rate in RATES])
    net = _network(blocks)
    training = (net, draw(net, key_params, SIGMA_W, 0.0), digits(), key_batches, rates)
    return np.asarray(losses_of_run(*training, setup.steps, BATCH), np.float64)


def _falls(setup: Setup, key: jax.Array, blocks: int) -> np.ndarray:
    """Falls of the loss of one example in the first step, each network with its own example."""
    rates = jnp.array([0.0, FIRST / math.sqrt(blocks)])
    keys = jax.random.split(key, setup.firsts)  # the same first and last layer for all depths
    losses = np.array([_first_losses(k, _network(blocks), rates) for k in keys], np.float64)
    return np.asarray(losses[:, 0] - losses[:, 1])


@jax.jit
def _first_losses(key: jax.Array, net: jaxnn.Network, rates: jax.Array) -> jax.Array:
    key_params, key_x, key_y = jax.random.split(key, 3)
    first, run, last = draw(net, key_params, SIGMA_W, 0.0)
    params = (first, run, last._replace(theta=FLAT * last.theta))
    x, y = jax.random.normal(key_x, (1, WIDTH)), jax.random.randint(key_y, (1,), 0, 10)
    return losses_of_run(net, params, TrainingSet(x, y), key, rates, 1, 1)


SOURCE = "Bordelon et al. 2023"
# Numbers L of blocks, powers of four and the fewest first; firsts: networks whose first step is
# compared, of each number of blocks.
FULL = Setup(blocks=(4, 16, 64), steps=100, seeds=6, firsts=400)
QUICK = Setup(blocks=(4, 64), steps=100, seeds=3, firsts=150)
