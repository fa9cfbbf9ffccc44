"""Draws of torch: what a product with random weights is at infinite width.

The mathematics is that of the twin of JAX, see `jaxnn/theory/twin/draws.py`: by the root of the
covariance for matrix products of few rows,

    y[r] = Lᵀ ε[r] √b      LᵀL = mean over replicas r of x[r] diag(a) x[r]ᵀ

with a[i] b[o] the mean square of W along each of its axes; or by mixture for whatever is linear in
x and in W, with random signs for the entries of W, over the states of other replicas,

    y[r] = S^-½ Σ_s A(x[r + k + s]; W ∘ ±[s, r]).

Entries that several products share, or that one has several times (`places.py`), are in one matrix
of blocks for all of them, and on the way down.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..types import Tensor, torch

MIXED = 4  # S, at most R: of one state twice an entry would often be ±1 ∓ 1 = 0
SHARED = 16  # S of a weight that several products share, at most R
MIXERS = (30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15), (31, 0x1E3779B97F4A7C15)
ROOT_COST = 4  # of a product and addition in a QR decomposition, next to one in a matrix product

Operator = Callable[[Any, Any], Any]  # (x, W) -> A(x; W)
Meet = Callable[[Any, Callable[[list[Any]], Any]], Any]  # (value, make) -> what is made of all


def generator(*numbers: int) -> Any:
    """Return a generator of random numbers for a place that integers tell."""
    (seed,) = np.random.SeedSequence(numbers).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(seed) >> 1)


def root_is_quick(rows: int, below: int, above: int, replicas: int) -> bool:
    """Compare the costs of the two ways, in multiplications, up and down together."""
    root = 0
    for taken, drawn in ((below, above), (above, below)):
        rank = min(rows, replicas * taken)
        root += replicas * rows * (ROOT_COST * taken * rank + drawn * rank)
    return root <= 2 * MIXED * replicas * (rows + 1) * below * above


def by_root(meet: Meet, numbers: tuple[int, ...], x: Tensor, w: Tensor) -> Tensor:
    """Return a draw of x W, (F, units), of this replica; `numbers` seed its random numbers."""
    root = meet((x, w), _root)
    noise = torch.randn(
        len(root), w.shape[1], dtype=torch.float64, generator=generator(*numbers)
    ).to(x.device)
    above = torch.linalg.vector_norm(w.detach(), dim=0, dtype=torch.float64) * len(w) ** -0.5
    return ((root.T @ noise) * above).to(x.dtype)


def _root(values: list[tuple[Any, Any]]) -> Any:
    """Return the triangular root of the mean covariance, whose diagonal is positive."""
    norm = torch.linalg.vector_norm
    w = values[0][1].detach()
    below, whole = norm(w, dim=1, dtype=torch.float64), norm(w, dtype=torch.float64)
    # The factors a are the mean squares of W for each unit below, over that of all.
    a = below * (len(w) ** 0.5 / whole) if whole > 0 else below
    tall = torch.cat([x.T.double() for x, _ in values]) * a.repeat(len(values))[:, None]
    root = torch.linalg.qr(tall * len(values) ** -0.5, mode="r")[1]
    diagonal = root.diagonal()
    return root * torch.where(diagonal < 0, -1.0, 1.0).to(root)[:, None]


def by_mixture(
    meet: Meet, numbers: tuple[int, ...], replica: int, x: Tensor, w: Tensor, operator: Operator
) -> Tensor:
    """Return a draw of A(x; W) of this replica, with fresh signs."""
    states = meet(x, list)
    shift = int(torch.randint(len(states), (1,), generator=generator(*numbers)))
    signs, mixed = generator(*numbers, replica), min(MIXED, len(states))
    total = 0
    for s in range(mixed):
        sign = torch.randint(0, 2, w.shape, generator=signs).to(w) * 2 - 1
        total = total + operator(states[(replica + shift + s) % len(states)], w * sign)
    return total * mixed**-0.5


def by_blocks(
    meet: Meet,
    numbers: tuple[int, ...],
    replica: int,
    x: Tensor,
    w: Tensor,
    operator: Operator,
    places: Tensor,
    turned: bool,
) -> Tensor:
    """Return a draw of A(x; W), given that entries of W are there several times.

    places: numbers of the entries of W, whose signs are the same where they are.
    turned: whether this product has the transpose of the blocks.
    """
    states = meet(x, list)
    count = len(states)
    shift = int(torch.randint(count, (1,), generator=generator(*numbers)))
    total = 0
    for s in range(min(SHARED, count)):
        source = (replica + (-1 if turned else 1) * (shift + s)) % count
        sign = signs((*numbers, s, source if turned else replica), places).to(w.dtype)
        total = total + operator(states[source], w * sign)
    return total * min(SHARED, count) ** -0.5


def signs(numbers: tuple[int, ...], places: Tensor) -> Tensor:
    """Return random signs of entries, by the numbers of a draw and those of the entries."""
    (key,) = np.random.SeedSequence(numbers).generate_state(1, np.uint64).view(np.int64)
    mixed = places + int(key)
    for shift, factor in MIXERS:
        mixed = (mixed ^ (mixed >> shift)) * factor
    return 1 - 2 * (mixed < 0).to(places.dtype)
