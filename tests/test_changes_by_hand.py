"""A change is what its name says: its losses are those of the program with it written by hand."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from peers import need

import jaxnn
from jaxnn.models import Program
from jaxnn.trials.layers import EPS
from jaxnn.trials.race import Tried, made_of
from jaxnn.trials.setup import Setup

STEPS, COUNT, WIDTH, LAYERS = 6, 32, 8, 3
OPTIMIZER = 0.5  # step size of descent
RNG = np.random.default_rng(3)
XS = RNG.normal(size=(COUNT, 2))
YES = (np.square(XS).sum(1) > 1.4).astype(float)
NUMBERS = np.sin(3 * XS[:, :1])
CLASSES = YES.astype(np.int32) + (XS[:, 0] > 0.5)
SIZES = (2, *[WIDTH] * LAYERS, 1)


def drawn(rng: Any, ends: tuple[int, ...] = SIZES, variance: float = 1.0, b: float = 0.1) -> Any:
    """Return weights (in, out) of N(0, variance / in), with equal biases."""
    pairs = itertools.pairwise(ends)
    return [
        (rng.normal(size=pair) * (variance / pair[0]) ** 0.5, np.full(pair[1], b)) for pair in pairs
    ]


PARAMS = drawn(RNG)


def with_rms(z: Any) -> Any:
    return z * ((z * z).mean(1, keepdims=True) + EPS) ** -0.5


def forward(
    params: Any,
    xs: Any,
    sigma: Callable[[Any], Any] = jax.nn.sigmoid,
    end: Callable[[Any], Any] = lambda z: z,
    around: Callable[[Any, Any], Any] = lambda f, z: f(z),
) -> Any:
    """Return z[L]; around: what is done with each layer z -> σ(z) θ + b of equal widths."""
    (theta, b), *others = params
    z = xs @ theta + b
    for theta, b in others:

        def layer(z: Any, theta: Any = theta, b: Any = b) -> Any:
            return sigma(z) @ theta + b

        z = around(layer, z) if theta.shape[0] == theta.shape[1] else layer(z)
    return end(z)


def absolute(output: Any, ys: Any) -> Any:
    return abs(output - ys).mean()


def squared(output: Any, ys: Any) -> Any:
    return ((output - ys) ** 2).mean()


def of_logits(z: Any, ys: Any) -> Any:
    return (jnp.logaddexp(z, 0) - z * ys.reshape(z.shape)).mean()


def entropy(z: Any, ys: Any) -> Any:
    return optax.softmax_cross_entropy_with_integer_labels(z, ys).mean()


@dataclass(frozen=True)
class Case:
    """A program, and what of it is another one with the change by hand."""

    given: dict[str, Any] = field(default_factory=dict)
    hand: dict[str, Any] = field(default_factory=dict)
    which: int = 0  # of the networks that the change makes

    def program(self, **more: Any) -> dict[str, Any]:
        usual = {"f": forward, "params": PARAMS, "xs": XS, "ys": YES[:, None], "loss": of_logits}
        return {**usual, "optimizer": optax.sgd(OPTIMIZER), **self.given, **more}


THREE = drawn(np.random.default_rng(4), (*SIZES[:-1], 3))
COLUMNS = XS * [30.0, 3.0] + 5
SHARE = (LAYERS - 1) ** -0.5
GRAPH = np.ones((COUNT, COUNT), float)


def over_graph(params: Any, xs: Any) -> Any:
    nodes, a = xs
    return forward(params, nodes, around=lambda f, z: a @ f(z))


def first_class_each() -> Any:
    """Return the parameters with three outputs in place of one."""
    rng, (theta, _) = np.random.default_rng(1), PARAMS[-1]
    wide = rng.normal(size=(len(theta), 3)) * theta.size**-0.5
    return [*PARAMS[:-1], (wide, np.zeros(3))]


CASES = {
    "column": Case(
        {"ys": NUMBERS[:, 0], "loss": squared},
        {"ys": NUMBERS},
    ),
    "from zero": Case({"params": THREE, "ys": CLASSES + 3, "loss": entropy}, {"ys": CLASSES}),
    "minus": Case({}, {"loss": lambda z, ys: -of_logits(z, ys)}),
    "no activation": Case({"f": partial(forward, end=jnp.tanh), "loss": squared}, {"f": forward}),
    "usual loss": Case({"loss": absolute}, {"loss": of_logits}),
    "usual end": Case(
        {"f": partial(forward, end=jax.nn.sigmoid), "loss": absolute},
        {"f": forward, "loss": of_logits},
    ),
    "class each": Case(
        {"ys": CLASSES[:, None].astype(float), "loss": squared},
        {"params": first_class_each(), "ys": CLASSES, "loss": entropy},
    ),
    "no decay": Case(
        {"optimizer": optax.adamw(0.01, weight_decay=3.0)}, {"optimizer": optax.adam(0.01)}
    ),
    "minus update": Case({}, {"optimizer": optax.sgd(-OPTIMIZER)}),
    "inputs": Case({"xs": COLUMNS}, {"xs": (COLUMNS - COLUMNS.mean(0)) / COLUMNS.std(0)}),
    "neighbours": Case(
        {"f": over_graph, "xs": (XS, GRAPH), "each": "whole"}, {"xs": (XS, GRAPH / COUNT)}
    ),
    "labels": Case(
        {"ys": 50 * NUMBERS + 9, "loss": squared},
        {"ys": (NUMBERS - NUMBERS.mean()) / NUMBERS.std()},
    ),
    "temperature": Case(
        {"f": partial(forward, end=lambda z: z / 500)},
        {},  # below
    ),
    "draw": Case({}, {"params": drawn(np.random.default_rng(1), b=0.0)}),
    "step": Case({}, {"optimizer": optax.sgd(OPTIMIZER * 0.01)}, which=1),
    "adam": Case({}, {"optimizer": optax.adam(1e-3)}),
    "relu": Case(
        {},
        {
            "f": partial(forward, sigma=jax.nn.relu),
            "params": drawn(np.random.default_rng(1), variance=2.0, b=0.0),
        },
    ),
    "norm": Case({}, {"f": partial(forward, around=lambda f, z: f(with_rms(z)))}),
    "skip": Case({}, {"f": partial(forward, around=lambda f, z: z + SHARE * f(z))}),
    "norm, drawn": Case(
        {},
        {
            "f": partial(forward, around=lambda f, z: f(with_rms(z))),
            "params": drawn(np.random.default_rng(1), b=0.0),
        },
        which=1,
    ),
    "pre-norm": Case({}, {"f": partial(forward, around=lambda f, z: z + SHARE * f(with_rms(z)))}),
}


@pytest.fixture(autouse=True)
def usual_promotion() -> Any:
    """Have networks as people write them, with rows added to arrays."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


def of_change(name: str, program: Program, which: int = 0) -> Tried:
    """Return what a change makes of a program, trained for some steps."""
    tried = [*made_of(Setup.of(program), [name.partition(",")[0]])][which]
    tried.take(STEPS, bool)
    assert not tried.reason
    return tried


def jax_losses(program: dict[str, Any]) -> list[float]:
    """Return the losses of a plain loop of optax."""
    params, optimizer = jax.tree.map(jnp.asarray, program["params"]), program["optimizer"]
    state, losses = optimizer.init(params), []

    def mean_loss(params: Any) -> Any:
        return program["loss"](program["f"](params, program["xs"]), program["ys"])

    step = jax.jit(jax.value_and_grad(mean_loss))
    for _ in range(STEPS):
        value, gradient = step(params)
        updates, state = optimizer.update(gradient, state, params)
        params, losses = optax.apply_updates(params, updates), [*losses, float(value)]
    return losses


def as_program(program: dict[str, Any]) -> Program:
    params = jax.tree.map(jnp.asarray, program["params"])
    data = {name: jax.tree.map(jnp.asarray, program[name]) for name in ("xs", "ys")}
    others = {name: program[name] for name in ("loss", "optimizer", "each") if name in program}
    return Program.of(model=(program["f"], params), **data, **others)


@pytest.mark.parametrize("name", CASES)
def test_a_change_of_a_function_is_that_by_hand(name: str) -> None:
    case = CASES[name]
    before = case.program()
    hand = case.program(**case.hand)
    if name == "temperature":
        spread = np.std(before["f"](before["params"], XS))
        hand["loss"] = lambda z, ys: of_logits(z / spread, ys)
    tried = of_change(name, as_program(before), case.which)
    np.testing.assert_allclose(tried.losses, jax_losses(hand), rtol=1e-6)
    assert not np.allclose(tried.losses, jax_losses(before), rtol=1e-6)


@pytest.mark.parametrize("name", ["relu", "norm", "skip", "pre-norm", "minus", "step", "draw"])
def test_a_change_of_a_network_is_that_of_its_function(name: str) -> None:
    net = jaxnn.Network(SIZES, "sigmoid", "binary")
    params = jaxnn.init(net, jax.random.key(0))
    case = CASES[name]
    pairs = [(layer.theta, layer.b) for layer in jaxnn.network.unstack(params)]
    hand = case.program(**{"params": pairs} | case.hand)
    data = {"xs": jnp.asarray(XS), "ys": jnp.asarray(YES), "optimizer": optax.sgd(OPTIMIZER)}
    tried = of_change(name, Program.of(model=(net, params), **data), case.which)
    np.testing.assert_allclose(tried.losses, jax_losses(hand), rtol=1e-6)


# PyTorch


def torch_case(name: str) -> tuple[Any, Any]:
    """Return (module, optimiser, loss, step) as given, and with the change by hand."""
    import torch
    from torch import nn

    size, yes = 0.5, nn.functional.binary_cross_entropy_with_logits

    def layers(sigma: Any = nn.Sigmoid, *, p: float = 0.0, shared: bool = False) -> list[Any]:
        torch.manual_seed(0)
        between = nn.Linear(WIDTH, WIDTH)
        made = [nn.Linear(2, WIDTH)]
        for _ in range(LAYERS - 1):
            made += [sigma(), nn.Dropout(p), between if shared else nn.Linear(WIDTH, WIDTH)]
        return [*made, sigma(), nn.Linear(WIDTH, 1)]

    def plain(sigma: Any = nn.Sigmoid) -> list[Any]:
        return [one for one in layers(sigma) if not isinstance(one, nn.Dropout)]

    def sgd(module: Any, lr: float = size, **more: Any) -> Any:
        return torch.optim.SGD(module.parameters(), lr, **more)

    def drawn(module: Any, sigma: str = "linear") -> Any:
        torch.manual_seed(1)
        for one in module.modules():
            if isinstance(one, nn.Linear):
                nn.init.kaiming_normal_(one.weight, nonlinearity=sigma)
                nn.init.zeros_(one.bias)
        return module

    class Around(nn.Module):  # type: ignore[misc]
        """Layers σ(z) θ + b in another form."""

        def __init__(self, form: Any):
            super().__init__()
            self.layers, self.form = nn.Sequential(*plain()), form

        def forward(self, xs: Any) -> Any:
            first, *others = self.layers
            z = first(xs)
            for sigma, linear in zip(others[::2], others[1::2], strict=True):
                f = nn.Sequential(sigma, linear)
                z = self.form(f, z) if linear.out_features == WIDTH else f(z)
            return z

    def clipped(model: Any, optimizer: Any, xs: Any, ys: Any) -> Any:
        optimizer.zero_grad()
        value = yes(model(xs), ys)
        value.backward()
        if name == "no clip":
            nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
        optimizer.step()
        return value

    def adding(model: Any, optimizer: Any, xs: Any, ys: Any) -> Any:
        value = yes(model(xs), ys)
        value.backward()
        optimizer.step()
        return value

    def part(module: Any) -> Any:
        return torch.optim.SGD(module[-1].parameters(), size)

    net = nn.Sequential
    usual = net(*plain())
    given: Any = {"module": usual, "optimizer": sgd, "loss": yes}
    hand: Any = {
        "minus": {"loss": lambda z, ys: -yes(z, ys)},
        "no decay": {},
        "no dropout": {"module": net(*layers())},
        "training mode": {"module": net(*plain())},
        "evaluation mode": {"module": net(*layers(p=0.5)).eval()},
        "own copies": {},
        "all learn": {},
        "zero grad": {"step": clipped},
        "no clip": {},
        "minus update": {"optimizer": lambda m: sgd(m, maximize=True)},
        "draw": {"module": drawn(net(*plain()))},
        "relu": {"module": drawn(net(*plain(nn.ReLU)), "relu")},
        "norm": {"module": Around(lambda f, z: f(with_rms_of(z)))},
        "skip": {"module": Around(lambda f, z: z + SHARE * f(z))},
        "pre-norm": {"module": Around(lambda f, z: z + SHARE * f(with_rms_of(z)))},
        "step": {"optimizer": lambda m: sgd(m, size * 0.01)},
        "adam": {"optimizer": lambda m: torch.optim.Adam(m.parameters(), 1e-3)},
    }[name]
    given |= {
        "no decay": {"optimizer": lambda m: sgd(m, weight_decay=0.5)},
        "no dropout": {"module": net(*layers(p=0.5))},
        "evaluation mode": {"module": net(*layers(p=0.5))},
        "all learn": {"optimizer": part},
        "zero grad": {"step": adding},
        "no clip": {"step": clipped},
    }.get(name, {})
    if name == "no clip":
        hand = {"step": None}
    usual_hand = {"module": usual, "optimizer": sgd, "loss": yes}
    return given, usual_hand | hand


def with_rms_of(z: Any) -> Any:
    return z * ((z * z).mean(1, keepdim=True) + EPS) ** -0.5


def torch_losses(module: Any, optimizer: Any, loss: Any, step: Any = None) -> list[float]:
    """Return the losses of a plain loop of PyTorch."""
    import copy

    import torch

    module = copy.deepcopy(module)
    made, losses = optimizer(module), []
    xs, ys = torch.tensor(XS).float(), torch.tensor(YES[:, None]).float()
    torch.manual_seed(0)
    for _ in range(STEPS):
        if step is not None:
            losses.append(step(module, made, xs, ys).item())
            continue
        made.zero_grad()
        value = loss(module(xs), ys)
        value.backward()
        made.step()
        losses.append(value.item())
    return losses


TORCH = {
    **dict.fromkeys(("minus", "no decay", "no dropout", "evaluation mode", "all learn"), 0),
    **dict.fromkeys(("zero grad", "no clip", "minus update", "draw", "relu", "norm", "skip"), 0),
    "pre-norm": 0,
    "adam": 0,
    "step": 1,
}


@pytest.mark.parametrize("name", TORCH)
def test_a_change_of_a_module_is_that_by_hand(name: str) -> None:
    need("torch")
    import torch

    given, hand = torch_case(name)
    xs, ys = torch.tensor(XS).float(), torch.tensor(YES[:, None]).float()
    more = {"step": given["step"]} if "step" in given else {"loss": given["loss"]}
    module = given["module"]
    program = Program.of(model=module, xs=xs, ys=ys, optimizer=given["optimizer"](module), **more)
    tried = of_change(name, program, TORCH[name])
    np.testing.assert_allclose(tried.losses, torch_losses(**hand), rtol=1e-5)
    assert not np.allclose(tried.losses, torch_losses(**given), rtol=1e-5)
