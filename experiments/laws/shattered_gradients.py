"""Law 15: gradients of two inputs lose their correlation with depth; with α = 1/√L some is left.

Inputs, two by two with the correlation c = 0, and one cotangent. In each layer the correlation R of
their Δz is multiplied, at the c[l] of the two signals there, by

    ρ = E[σ′(z) σ′(z̃)] / E[σ′(z)²]  (plain),   (1 + w ρ) / (1 + w)  (z′ = z + α σ(z) θ)

relu has ρ = 1 - arccos(c)/π: ½ at c = 0, so R is 2^-L for one layer, and more for several. With
α = 1/√L, R keeps a limit above 0 at any depth: c and R obey equations in t = l/L. The cotangent
comes to z[L+1] through one plain layer. Source: Balduzzi et al. 2017, arXiv:1702.08591; R at the
c[l] of each layer is a derivation.
"""

import jax
import numpy as np

import jaxnn
from experiments.laws.law import Predicted, Setup, Told, mean_of
from experiments.laws.networks import gradients
from experiments.laws.width_alone import ALL, ENSEMBLE, PLAIN, ROOT, block_of, cases
from jaxnn.theory import meanfield

FIELDS = ("log_delta_example", "log_delta_b")
INPUTS = 8  # of a network: their pairs vary less together than one does


def predict(setup: Setup) -> Told:
    """Predict R by the infinite-width path of two signals."""
    reason = "4 standard errors, and 3/n for the finite width"
    values = {
        name: dict(enumerate(predicted(block_of(name, 1), most).tolist()))
        for name, most in ((PLAIN, max(setup.plain)), (ALL, max(setup.full)))
    }
    values[ROOT] = {
        blocks: float(predicted(block_of(ROOT, blocks), blocks)[-1]) for blocks in setup.root
    }
    for name, blocks in cases(setup):
        value = values[name][blocks]
        yield Predicted(f"{name}, L = {blocks}", value, 3 / setup.width, reason).about("R")


def predicted(block: jaxnn.blocks.Block, most: int) -> np.ndarray:
    """Return R of 0 … most blocks, each with the plain layer above them, (most + 1,)."""
    two = meanfield.paths(*ENSEMBLE, 1.0, 0.0, most + 1, hidden=block)
    top = 1 - np.arccos(np.asarray(two.c)) / np.pi  # of relu, at c[L+1]
    return np.asarray(top * two.gradient[0] / two.gradient)


def measure(setup: Setup, key: jax.Array) -> Told:
    """Measure R of Δz[1]: Δb[0] is the sum over inputs, and its length tells how far they agree."""
    keys, room = jax.random.split(key, setup.seeds), max(*setup.plain, *setup.full)
    for name, blocks in cases(setup):
        of_kind = ENSEMBLE, setup.width, max(room, blocks) + 1, 1.0, INPUTS
        block, depth = block_of(name, blocks), blocks + 1
        rows, both = gradients(keys, *of_kind, block=block, depth=depth, shared=True, fields=FIELDS)
        r = correlations(rows[:, 0], both[:, 0])
        yield f"{name}, L = {blocks}", mean_of(r)


def correlations(log_rows: np.ndarray, log_sum: np.ndarray) -> np.ndarray:
    """Return the mean correlation of the rows, weighted by their lengths, of every seed.

    (‖Σu‖² - Σ‖u‖²) / ((Σ‖u‖)² - Σ‖u‖²), of two rows u·v / ‖u‖ ‖v‖.

    Args:
        log_rows: ln ‖u‖ of each row, (seeds, rows).
        log_sum: ln ‖Σu‖, (seeds,).
    """
    size = np.exp(log_rows)
    own = np.sum(size**2, axis=1)
    return (np.exp(2 * log_sum) - own) / (np.sum(size, axis=1) ** 2 - own)


SOURCE = "Balduzzi et al. 2017; by layer derived here"
# plain, full, root: numbers L of blocks without a skip, with α = 1, and with 1/√L.
FULL = Setup(width=300, seeds=80, plain=(5, 20), full=(5, 20), root=(5, 20, 80))
QUICK = Setup(width=220, seeds=50, plain=(4, 12), full=(12,), root=(12,))
COARSE = (("R", "networks scatter by 0.09 around it, and a width of 300 leaves a hundredth"),)
