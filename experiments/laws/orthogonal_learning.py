"""Law 4: deep linear networks learn as fast as shallow ones, if their weights are orthogonal.

A product of D equal factors learns one singular mode u of a target s, from whitened inputs, as

    τ du/dt = D u^(2-2/D) (s - u),   D t(u0 → u) = ∫ du / (u^(2-2/D) (s - u))

from u0 to u: with step sizes that fall like 1/D the number of steps goes by D t, which for D → ∞
has a limit; what a finite step size adds is derived in `euler`. Orthogonal factors are balanced,
and so their product W alone decides how it moves towards a target S (Arora, Cohen & Hazan 2018,
theorem 1):

    τ dW/dt = -Σ_j (W Wᵀ)^((D-j)/D) (W - S) (Wᵀ W)^((j-1)/D)

A W that is drawn at random is no product of modes that only grow: S has 10 singular values of 1 and
W 48. Those that are not in S fall like du/dt = -D u^(3-2/D), by a power of t, which decides when
the loss is small. A product of many Gaussian matrices has a few large singular values and many tiny
ones, and the time grows with D. Source: Saxe et al. 2014, arXiv:1312.6120, equations 12 to 17,
figures 3 to 6; Arora et al. 2018, arXiv:1802.06509.
"""

import math
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import jaxnn
from experiments.laws.draws import GAUSSIAN, ORTHOGONAL, Params, draw, square_network
from experiments.laws.law import Law, Measured, Panel, Predicted, Told, curve, mean_of, points
from experiments.laws.training import Examples, fewest_steps

MODE, LEARNED = 0.1, 0.99  # u0, and where a mode of s = 1 counts as learned
STEP = 0.01  # step size of a single mode, times 1/D
RANK, LEFT = 10, 0.01  # of the target; the part of the loss at which a network has learned it
STEPS = (0.1, 0.05)  # step sizes of a whole network, times 1/D, from which it is taken to none
LONGEST = 40.0  # D t at which every network has learned it
HOP = 0.1  # of D t, in which the equation of a product is solved: good to 1e-6
GRID = math.sqrt(2)  # between neighbouring step sizes of Gaussian networks
RATES = 2.0 * GRID ** -np.arange(14.0)  # times 1/D
BASE = 8  # matrices with whose learning time others are compared
MODES = Panel("One mode", "D t", "u")
TIMES = Panel("Whole networks", "matrices D", f"time / time of {BASE}", log_x=True, log_y=True)


class Setup(NamedTuple):
    """Numbers D of matrices, ascending; width, most steps to try, and seeds of networks."""

    modes: tuple[int, ...]
    orthogonal: tuple[int, ...]
    gaussian: tuple[int, ...]
    width: int
    most: int
    seeds: int


def predict(setup: Setup) -> Told:
    """Predict D t of single modes and of whole networks; and a bound for Gaussian ones."""
    u = np.linspace(MODE, LEARNED, 60)
    for factors in setup.modes:
        time = learning_time(factors, MODE, LEARNED)
        case = f"one mode, D = {factors}: D t"
        reason = "Euler steps, the next order in the step size"
        yield Predicted(
            case, time + euler(factors, MODE, LEARNED), STEP**2 * time, reason, 0
        ).about("D t", time)
        until = [learning_time(factors, MODE, float(v)) for v in u]
        yield curve(MODES, f"D = {factors}", until, u)
    times = {d: time_of_product(setup.width, d) for d in (*setup.orthogonal, setup.gaussian[-1])}
    ratios = {d: time / times[BASE] for d, time in times.items()}
    for factors in setup.orthogonal:
        time = times[factors]
        reason = "4 standard errors, and the second order of Euler steps, the first being taken off"
        yield Predicted(_time(factors), time, STEPS[-1] ** 2 * time, reason).about(
            "D t of a product", time
        )
    every = [ratios[d] for d in setup.orthogonal]
    yield curve(TIMES, "orthogonal", setup.orthogonal, every)
    reason = "it grows: twice what saturates, two steps of the grid of step sizes"
    deepest = setup.gaussian[-1]
    yield Predicted(_case(deepest), GRID**2 * ratios[deepest], 0.0, reason, 0, "≥")


@cache
def start_and_target(width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the product that all orthogonal networks start from, and what it is to become.

    Both are data, drawn once: W is orthogonal, S has ten singular values of 1.
    """
    rng = np.random.default_rng(0)
    product, left, right = np.linalg.qr(rng.normal(size=(3, width, width)))[0]
    return product, left[:, :RANK] @ right[:RANK]


@cache
def time_of_product(width: int, factors: int) -> float:
    """Return D t until the loss of a product of orthogonal factors has fallen to 1 %."""
    product, target = start_and_target(width)
    time, losses = 0.0, [float(np.sum((product - target) ** 2))]
    while losses[-1] > LEFT * losses[0]:
        if time > LONGEST:
            return math.inf
        slopes: list[np.ndarray] = []
        for part in (0.0, 0.5, 0.5, 1.0):  # Runge and Kutta
            at = product + HOP * part * slopes[-1] if slopes else product
            slopes.append(-pull(at, at - target, factors))
        product = product + HOP / 6 * (slopes[0] + 2 * slopes[1] + 2 * slopes[2] + slopes[3])
        time += HOP
        losses.append(float(np.sum((product - target) ** 2)))
    return time - HOP * (1 - _part(losses[-2:], LEFT * losses[0]))


def pull(product: np.ndarray, error: np.ndarray, factors: int) -> np.ndarray:
    """Return Σ_j (W Wᵀ)^((D-j)/D) E (Wᵀ W)^((j-1)/D) / D of a product W and an error E.

    With W = U diag(s) Vᵀ entry (i, k) of Uᵀ E V is multiplied by the mean of the D numbers
    s_i^(2 (D-j)/D) s_k^(2 (j-1)/D).
    """
    u, s, v = np.linalg.svd(product)
    j = np.arange(factors)[:, None]
    powers = s ** (2 * j / factors)
    means = np.einsum("ji,jk->ik", powers[::-1], powers) / factors
    return u @ (means * (u.T @ error @ v.T)) @ v


def _part(pair: list[float], bound: float) -> float:
    """Return which part of a step it takes to a bound, on a line through ln of two losses."""
    first, last = np.log(pair)
    return float((first - math.log(bound)) / (first - last))


def learning_time(factors: int, start: float, end: float) -> float:
    """Return D t = ∫ du / (u^(2-2/D) (1 - u)), as ∫ u^(2/D-1) dv with v = ln(u/(1-u))."""
    x, w = np.polynomial.legendre.leggauss(64)
    low, high = (math.log(u / (1 - u)) for u in (start, end))
    u = 1 / (1 + np.exp(-(low + (high - low) * (1 + x) / 2)))
    return float((high - low) / 2 * np.sum(w * u ** (2 / factors - 1)))


def euler(factors: int, start: float, end: float) -> float:
    """Return what steps of size h add to D t, to first order: h/2 ln g(end)/g(start).

    A factor w = u^(1/D) moves by h g(w), g = w^(D-1) (1 - w^D)/D. Steps of w′ = g follow the
    equation w′ = g - h/2 g g′, which takes ∫ (1 + h/2 g′) dw/g.
    """

    def log_g(u: float) -> float:
        return (1 - 1 / factors) * math.log(u) + math.log(1 - u)

    return STEP / 2 * (log_g(end) - log_g(start))


def measure(setup: Setup, key: jax.Array) -> Told:
    """Train single modes, and whole networks with every step size of the grid."""
    for factors in setup.modes:
        u = np.asarray(_mode(setup.modes[-1], factors), np.float64)
        time = STEP * np.arange(len(u))
        learned = float(np.interp(LEARNED, u, time))
        yield f"one mode, D = {factors}: D t", Measured(learned)
        plotted = np.searchsorted(u, np.linspace(MODE, LEARNED, 12)[1:-1])
        yield points(MODES, f"D = {factors}", time[plotted], u[None, plotted])
    for name, matrices in (("orthogonal", setup.orthogonal), ("Gaussian", setup.gaussian)):
        times = _times(setup, key, matrices, name == "orthogonal")
        ratios = times / times[:, [matrices.index(BASE)]]
        if name == "orthogonal":
            for d, of_matrix in zip(matrices, times.T, strict=True):
                yield _time(d), mean_of(of_matrix)
        else:
            yield _case(matrices[-1]), mean_of(ratios[:, -1])
        yield points(TIMES, name, matrices, ratios)


@partial(jax.jit, static_argnames="room")
def _mode(room: int, factors: int) -> jax.Array:
    """Mode u by step of gradient descent: a network of one unit a layer, all weights equal."""
    net = square_network(1, room - 1, "identity")
    x, y = jnp.ones((1, 1)), jnp.ones((1, 1))
    weight = MODE ** (1 / factors)
    one = jaxnn.network.Layer(jnp.full((1, 1), weight), jnp.zeros(1))
    run = jaxnn.network.Layer(jnp.full((room - 2, 1, 1), weight), jnp.zeros((room - 2, 1)))
    params: Params = (one, run, one)

    def step(params: Params, _: None) -> tuple[Params, jax.Array]:
        u = jaxnn.forward(net, params, x[0], depth=factors - 1)[0]
        gradient = jaxnn.backprop(net, params, x, y, depth=factors - 1)[1]
        # No biases: a mode is a product of weights alone.
        moved = [
            layer._replace(theta=layer.theta - STEP / factors * slope.theta)
            for layer, slope in zip(params, gradient, strict=True)
        ]
        return tuple(moved), u

    return lax.scan(step, params, length=math.ceil(20 / STEP))[1]


def _times(setup: Setup, key: jax.Array, matrices: tuple[int, ...], orthogonal: bool) -> np.ndarray:
    """Times to learn the target, (seeds, matrices); inf for never.

    Of orthogonal factors D t, at a step size that goes to 0; else steps, of the best step size.
    """
    net = square_network(setup.width, max(setup.orthogonal) - 1, "identity")
    learn = _time_of if orthogonal else partial(_fewest, most=setup.most)
    keys = jax.random.split(key, setup.seeds)
    return np.array([[learn(k, net, d) for d in matrices] for k in keys], np.float64)


def _examples(width: int) -> Examples:
    """Whitened inputs with the target."""
    x = math.sqrt(width) * jnp.eye(width)  # xᵀx / n = I
    return Examples(x, x @ jnp.asarray(start_and_target(width)[1], float))


def _time_of(key: jax.Array, net: jaxnn.Network, matrices: int) -> float:
    """D t of orthogonal factors with a given product: what is of first order in the step is off."""
    coarse, fine = (_learned(key, net, matrices, step) for step in STEPS)
    return fine + (fine - coarse) * STEPS[1] / (STEPS[0] - STEPS[1])


def _learned(key: jax.Array, net: jaxnn.Network, matrices: int, step: float) -> float:
    """D t until the loss has fallen to 1 %, with a part of the last step; inf for never."""
    after, first, *pair = _descended(key, net, matrices, step)
    bound = LEFT * float(first)
    if not float(pair[1]) <= bound:
        return math.inf
    return step * (int(after) - 1 + _part([float(loss) for loss in pair], bound))


@jax.jit
def _descended(
    key: jax.Array, net: jaxnn.Network, matrices: jax.Array, step: jax.Array
) -> tuple[jax.Array, ...]:
    """Descend on the factors of the product that is given, until 1 % of the loss is left.

    Returns:
        the number of steps, the first loss, the last but one, the last.
    """
    first, run, last = draw(net, key, 1.0, 0.0, ORTHOGONAL)
    examples, depth = _examples(net.sizes[0]), matrices - 1
    used = (jnp.arange(len(run.theta)) < depth - 1)[:, None, None]
    between = lax.scan(
        lambda product, theta: (product @ theta, None),
        first.theta,
        jnp.where(used, run.theta, jnp.eye(net.sizes[0])),
    )[0]
    wanted = jnp.asarray(start_and_target(net.sizes[0])[0], float)
    params: Params = (first, run, last._replace(theta=between.T @ wanted))

    def descend(state: tuple[Params, jax.Array, jax.Array, jax.Array, jax.Array]) -> Any:
        params, count, first, _, last = state
        loss, gradient = jaxnn.backprop(net, params, examples.x, examples.y, depth=depth)
        moved = [
            layer._replace(theta=layer.theta - step / matrices * slope.theta)
            for layer, slope in zip(params, gradient, strict=True)
        ]
        return tuple(moved), count + 1, jnp.where(count == 0, loss, first), last, loss

    def unfinished(state: Any) -> jax.Array:
        _, count, first, _, last = state
        return jnp.asarray((count * step < LONGEST) & ~(last <= LEFT * first))

    huge = jnp.asarray(1e30)
    start = (params, jnp.zeros((), jnp.int32), huge / 1e6, huge, huge)
    _, count, *losses = lax.while_loop(unfinished, descend, start)
    return count - 1, *losses  # the last loss is that before its step


@partial(jax.jit, static_argnames="most")
def _fewest(key: jax.Array, net: jaxnn.Network, matrices: jax.Array, most: int) -> jax.Array:
    """Fewest steps of Gaussian factors with any step size."""
    params = draw(net, key, 1.0, 0.0, GAUSSIAN)
    rates = jnp.asarray(RATES, float) / matrices
    return fewest_steps(net, params, _examples(net.sizes[0]), rates, LEFT, most, matrices - 1)


def _time(matrices: int) -> str:
    return f"orthogonal: D t, D = {matrices}"


def _case(matrices: int) -> str:
    return f"Gaussian: steps, D = {matrices} over D = {BASE}"


LAW = Law(
    number=4,
    name="orthogonal-learning",
    source="Saxe et al. 2014, Arora et al. 2018",
    statement="τ du/dt = D u^(2-2/D) (s - u); learning time saturates with depth if orthogonal",
    predict=predict,
    measure=measure,
    weights=lambda s: s.width**2 * max(s.orthogonal),
    full=Setup(
        modes=(2, 4, 8, 64),
        orthogonal=(2, 4, 8, 16, 32, 64),
        gaussian=(2, 4, 8, 16, 32),
        width=48,
        most=10_000,
        seeds=3,
    ),
    quick=Setup(
        modes=(2, 8, 32), orthogonal=(4, 8, 32), gaussian=(4, 8, 32), width=48, most=10_000, seeds=1
    ),
    panels=(MODES, TIMES),
)
