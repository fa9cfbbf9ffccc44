"""The comparisons as data: a function of ours and one of a peer, their arguments, and the goal."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

Kind = Literal["warm", "first", "cold"]


class Side(NamedTuple):
    """One side of a comparison: a function of a module of this package, and its arguments."""

    module: str
    function: str
    arguments: dict[str, Any]


class Case(NamedTuple):
    """Arguments of both functions of a row; `goal` is the largest ratio, ours / theirs, to meet."""

    name: str
    goal: float
    arguments: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Row:
    """Cases of one workload and one peer.

    ours, theirs: module.function, both with the same arguments.
    kind: of what is compared: `warm`, the second and later runs of a process; `first`, the first
        one, with compiling; or `cold`, the life of a fresh process.
    overall: a goal for the geometric mean of all cases, besides that of each.
    needs: packages beyond those of the experiments.
    """

    name: str
    workload: str
    against: str
    kind: Kind
    ours: str
    theirs: str
    cases: tuple[Case, ...]
    overall: float | None = None
    needs: tuple[str, ...] = ()

    def sides(self, case: Case, quick: bool) -> tuple[Side, Side]:
        """Return ours and theirs of a case, `quick` ones of tiny sizes."""
        tiny = TINY if quick else {}
        arguments = {name: tiny.get(name, value) for name, value in case.arguments.items()}
        ours, theirs = (name.partition(".") for name in (self.ours, self.theirs))
        return Side(ours[0], ours[2], arguments), Side(theirs[0], theirs[2], arguments)


TINY: dict[str, Any] = {
    "layers": 3,
    "blocks": 2,
    "width": 8,
    "batch": 16,
    "tokens": 4,
    "words": 11,
    "calls": 2,
    "depths": [1, 2, 5],
    "seeds": 1,
    "steps": 2,
}
GRADIENTS = {
    "3-4-1, batch 32": ([3, 1], 1, 4, "sigmoid", 32, 3000),
    "30-64-64-1, batch 128": ([30, 1], 2, 64, "tanh", 128, 1000),
    "64-256-256-256-10, batch 128": ([64, 10], 3, 256, "relu", 128, 60),
    "784-1024-1024-10, batch 128": ([784, 10], 2, 1024, "relu", 128, 10),
    "30 × 256, batch 256": ([64, 10], 30, 256, "tanh", 256, 6),
}
NAMES = ("ends", "layers", "width", "activation", "batch", "calls")


def _gradients() -> Iterator[Case]:
    for name, of in GRADIENTS.items():
        yield Case(name, 1.03, dict(zip(NAMES, of, strict=True)))


def _flows() -> Iterator[Case]:
    for width, calls in ((64, 60), (256, 6)):
        # Near σ_w's critical value, so that the plain pass has normal numbers in all layers too.
        for activation, sigma_w in (("sigmoid", 4.0), ("relu", 2**0.5)):
            of = dict(zip(NAMES, ([30, 1], 65, width, activation, 128, calls), strict=True))
            name = f"{activation}, 64 × {width}, batch 128"
            yield Case(name, 1.15, {**of, "sigma_w": sigma_w, "stacked": True})


def _sweeps(seeds: int, goal: float) -> Iterator[Case]:
    for activation, weights in (("sigmoid", "glorot_uniform"), ("relu", "he_normal")):
        of = {"depths": list(range(1, 65)), "activation": activation, "weights": weights}
        name = f"{activation}, width 64, {seeds} seed{'s' * (seeds > 1)}"
        yield Case(name, goal, {**of, "width": 64, "batch": 128, "seeds": seeds})


def _over_words(goal: float, width: int = 256, batch: int = 8, words: int = 1000) -> Iterator[Case]:
    of = {"blocks": 12, "width": width, "tokens": 64, "batch": batch, "words": words}
    for kind in ("loop", "scan"):
        name = f"12 blocks of {width} in a {kind}, {batch} × 64 of {words} words"
        yield Case(name, goal, {**of, "stacked": kind == "scan"})


def _encoders() -> Iterator[Case]:
    for width, tokens, calls in ((64, 16, 4), (256, 64, 1)):
        of = {"layers": 24, "width": width, "tokens": tokens, "batch": 8, "calls": calls}
        yield Case(f"24 blocks of {width}, 8 × {tokens} tokens", 1.3, of)


TRAINED = {
    "MLP": {"layers": 8, "width": 264, "batch": 64},
    "decoder": {"blocks": 12, "width": 256, "tokens": 64, "batch": 8, "words": 1000},
    "small decoder": {"blocks": 4, "width": 128, "tokens": 32, "batch": 8, "words": 1000},
}


def _watch(network: str, how: str, goal: float, steps: int, every: int) -> Case:
    of = {"network": network, "steps": steps, "every": every}
    return Case(f"{network}, {how}", goal, {**of, **TRAINED[network]})


FIRST, SWEEP = "the first command, to its last file", "depth sweep 1 … 64"
OF_README = Case(
    "the README's first command",
    1 / 2,
    {"depths": [2**i for i in range(11)], "width": 64, "seeds": 5},
)
VERDICT = "flow and verdict of a transformer"
PLAIN = "jitted jax.value_and_grad"
OF_VERDICT = "ours.verdict", "of_jax.over_words"
WATCHED, UNWATCHED = "ours.watched", "ours.unwatched"

ROWS = (
    Row("first", FIRST, "PyTorch eager with hooks, Matplotlib, cold", "cold",
        "commands.depth", "of_torch.depth", (OF_README,), needs=("torch", "matplotlib")),
    Row("gradient", "gradient step", "jax.value_and_grad of the plain forward pass", "warm",
        "ours.gradient", "of_jax.gradient", tuple(_gradients()), overall=1.0),
    Row("sweep-64", SWEEP, "PyTorch eager with hooks", "warm",
        "ours.sweep", "of_torch.sweep", tuple(_sweeps(8, 1 / 7)), needs=("torch",)),
    Row("sweep-cold", SWEEP, "PyTorch eager with hooks, cold", "cold",
        "ours.sweep", "of_torch.sweep", tuple(_sweeps(1, 1.0)), needs=("torch",)),
    Row("block-float", "gradient_flow", "own plain pass, backprop", "warm",
        "ours.flow", "ours.backprop", tuple(_flows())),
    Row("torch-flow", "torch_flow of a TransformerEncoder", "plain hooks of PyTorch", "warm",
        "ours.encoder", "of_torch.hooked", tuple(_encoders()), needs=("torch",)),
    Row("watch", "training in a scan, watched", "the same without a watch", "warm",
        WATCHED, UNWATCHED, (
            _watch("small decoder", "every 100 steps", 1.02, 100, 100),
            _watch("decoder", "every step", 2.35, 4, 1),
            _watch("MLP", "560,000 parameters, none measured", 1.03, 100, 10**6),
        )),
    Row("watch-first", "the first steps of a watched training", "the same without a watch", "first",
        WATCHED, UNWATCHED,
        tuple(_watch(name, "compiled anew", 2.5, 4, 4) for name in ("decoder", "MLP"))),
    Row("verdict-first", VERDICT, f"{PLAIN}, compiled anew", "first", *OF_VERDICT,
        tuple(_over_words(2.5))),
    Row("verdict-warm", VERDICT, PLAIN, "warm", *OF_VERDICT,
        (*_over_words(1.35), *_over_words(1.35, 768, 2, 50257))),
)  # fmt: skip
