"""Law 4: modes learn as τ du/dt = D u^(2-2/D) (s - u); if orthogonal, their time is bounded.

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

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from scipy import integrate, special

import jaxnn
from experiments.laws.forgetting import falls_through
from experiments.laws.law import Measured, Predicted, Setup, Told, mean_of
from experiments.laws.networks import GAUSSIAN, ORTHOGONAL, Params, draw, square_network
from experiments.laws.training import TrainingSet, fewest_steps
from jaxnn.network import Layer

MODE, LEARNED = 0.1, 0.99  # u0, and where a mode of s = 1 counts as learned
STEP = 0.01  # step size of a single mode, times 1/D
RANK, LEFT = 10, 0.01  # of the target; the part of the loss at which a network has learned it
STEPS = (0.1, 0.05)  # step sizes of a whole network, times 1/D, from which it is taken to none
LONGEST = 40.0  # D t at which every network has learned it
GRID = math.sqrt(2)  # between neighbouring step sizes of Gaussian networks
RATES = 2.0 * GRID ** -np.arange(14.0)  # times 1/D
BASE = 8  # matrices with whose learning time others are compared
TIME = "orthogonal: D t, D = {}"
RATIO = f"Gaussian: steps, D = {{}} over D = {BASE}"


def predict(setup: Setup) -> Told:
    """Predict D t of single modes and of whole networks; and a bound for Gaussian ones."""
    for factors in setup.modes:
        time = learning_time(factors, MODE, LEARNED)
        case = f"one mode, D = {factors}: D t"
        reason = "Euler steps, the next order in the step size"
        yield Predicted(
            case, time + euler(factors, MODE, LEARNED), STEP**2 * time, reason, 0
        ).about("D t", time)
    times = {d: time_of_product(setup.width, d) for d in (*setup.orthogonal, setup.gaussian[-1])}
    ratios = {d: time / times[BASE] for d, time in times.items()}
    for factors in setup.orthogonal:
        time = times[factors]
        reason = "4 standard errors, and the second order of Euler steps, the first being taken off"
        yield Predicted(TIME.format(factors), time, STEPS[-1] ** 2 * time, reason).about(
            "D t of a product"
        )
    reason = "it grows: twice what saturates, two steps of the grid of step sizes"
    deepest = setup.gaussian[-1]
    yield Predicted(RATIO.format(deepest), GRID**2 * ratios[deepest], 0.0, reason, 0, "≥")


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
    goal = LEFT * np.sum((product - target) ** 2)

    def moved(_: float, flat: np.ndarray) -> np.ndarray:
        at = flat.reshape(product.shape)
        return -pull(at, at - target, factors).ravel()

    def left(_: float, flat: np.ndarray) -> float:
        return float(np.sum((flat.reshape(product.shape) - target) ** 2) - goal)

    left.terminal = True  # type: ignore[attr-defined]
    of_time = {"rtol": 1e-8, "atol": 1e-10, "events": left}
    found = integrate.solve_ivp(moved, (0.0, LONGEST), product.ravel(), **of_time).t_events[0]
    return float(found[0]) if len(found) else math.inf


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


def learning_time(factors: int, start: float, end: float) -> float:
    """Return D t = ∫ du / (u^(2-2/D) (1 - u)), as ∫ u^(2/D-1) dv with v = ln(u/(1-u))."""
    low, high = (math.log(u / (1 - u)) for u in (start, end))
    return float(integrate.quad(lambda v: special.expit(v) ** (2 / factors - 1), low, high)[0])


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
    net = square_network(setup.width, max(setup.orthogonal) - 1, "identity")
    keys = jax.random.split(key, setup.seeds)
    for name, matrices, learn in (
        ("orthogonal", setup.orthogonal, _time_of),
        ("Gaussian", setup.gaussian, partial(_fewest, most=setup.most)),
    ):
        times = np.array([[learn(k, net, d) for d in matrices] for k in keys], np.float64)
        ratios = times / times[:, [matrices.index(BASE)]]
        if name == "orthogonal":
            yield from (
                (TIME.format(d), mean_of(v)) for d, v in zip(matrices, times.T, strict=True)
            )
        else:
            yield RATIO.format(matrices[-1]), mean_of(ratios[:, -1])


@partial(jax.jit, static_argnames="room")
def _mode(room: int, factors: int) -> jax.Array:
    """Mode u by step of gradient descent: a network of one unit a layer, all weights equal."""
    net = square_network(1, room - 1, "identity")
    weight = MODE ** (1 / factors)
    one = Layer(jnp.full((1, 1), weight), jnp.zeros(1))
    run = Layer(jnp.full((room - 2, 1, 1), weight), jnp.zeros((room - 2, 1)))
    examples = TrainingSet(jnp.ones((1, 1)), jnp.ones((1, 1)))
    steps = math.ceil(20 / STEP)
    u, _ = _descended(net, (one, run, one), examples, STEP / factors, factors - 1, steps)
    return u


def _descended(
    net: jaxnn.Network,
    params: Params,
    examples: TrainingSet,
    rate: jax.Array | float,
    depth: jax.Array | int,
    steps: int,
) -> tuple[jax.Array, jax.Array]:
    """Return the first number of the first output, and the loss, before each step of descent.

    No biases are moved: a mode is a product of weights alone.
    """

    def step(params: Params, _: None) -> tuple[Params, tuple[jax.Array, jax.Array]]:
        u = jaxnn.forward(net, params, examples.x[0], depth=depth)[0]
        loss, gradient = jaxnn.backprop(net, params, examples.x, examples.y, depth=depth)
        moved = [
            layer._replace(theta=layer.theta - rate * slope.theta)
            for layer, slope in zip(params, gradient, strict=True)
        ]
        return tuple(moved), (u, loss)

    return lax.scan(step, params, length=steps)[1]


def _examples(width: int) -> TrainingSet:
    """Whitened inputs with the target."""
    x = math.sqrt(width) * jnp.eye(width)  # xᵀx / n = I
    return TrainingSet(x, x @ jnp.asarray(start_and_target(width)[1], float))


def _time_of(key: jax.Array, net: jaxnn.Network, matrices: int) -> float:
    """D t of orthogonal factors with a given product: what is of first order in the step is off."""
    coarse, fine = (
        step * (falls_through(losses / losses[0], LEFT) - 1)
        for step in STEPS
        for losses in [np.asarray(_losses(key, net, matrices, step), np.float64)]
    )
    return fine + (fine - coarse) * STEPS[1] / (STEPS[0] - STEPS[1])


@partial(jax.jit, static_argnames="step")
def _losses(key: jax.Array, net: jaxnn.Network, matrices: jax.Array, step: float) -> jax.Array:
    """Losses before each step on the factors of the product that is given."""
    first, run, last = draw(net, key, 1.0, 0.0, ORTHOGONAL)
    used = (jnp.arange(len(run.theta)) < matrices - 2)[:, None, None]
    between = lax.scan(
        lambda product, theta: (product @ theta, None),
        first.theta,
        jnp.where(used, run.theta, jnp.eye(net.sizes[0])),
    )[0]
    wanted = jnp.asarray(start_and_target(net.sizes[0])[0], float)
    params: Params = (first, run, last._replace(theta=between.T @ wanted))
    steps, examples = math.ceil(LONGEST / step), _examples(net.sizes[0])
    return _descended(net, params, examples, step / matrices, matrices - 1, steps)[1]


@partial(jax.jit, static_argnames="most")
def _fewest(key: jax.Array, net: jaxnn.Network, matrices: jax.Array, most: int) -> jax.Array:
    """Fewest steps of Gaussian factors with any step size."""
    params = draw(net, key, 1.0, 0.0, GAUSSIAN)
    rates = jnp.asarray(RATES, float) / matrices
    return fewest_steps(net, params, _examples(net.sizes[0]), rates, LEFT, most, matrices - 1)


SOURCE = "Saxe et al. 2014, Arora et al. 2018"
# Numbers D of matrices, ascending; most: steps to try.
FULL = Setup(
    modes=(2, 4, 8, 64),
    orthogonal=(2, 4, 8, 16, 32, 64),
    gaussian=(2, 4, 8, 16, 32),
    width=48,
    most=10_000,
    seeds=3,
)
QUICK = Setup(
    modes=(2, 8, 32), orthogonal=(4, 8, 32), gaussian=(4, 8, 32), width=48, most=10_000, seeds=1
)
