"""The comparisons as data: a function of ours and one of a peer, their arguments, and the goal."""

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Kind = Literal["warm", "first", "cold", "bytes"]


class Side(NamedTuple):
    """One side of a comparison: a function of a module of this package, and its arguments."""

    module: str
    function: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Case:
    """Arguments of both functions of a row.

    goal: the largest ratio, ours / theirs, that meets it.
    tolerance: of the difference between the numbers of both sides.
    """

    name: str
    goal: float
    arguments: dict[str, Any] = field(default_factory=dict)
    tolerance: float = 1e-3


@dataclass(frozen=True)
class Row:
    """Cases of one workload and one peer.

    ours, theirs: module.function, both with the same arguments.
    kind: of what is compared: `warm`, the second and later runs of a process; `first`, the first
        one, with compiling; `cold`, the life of a fresh process; or `bytes`.
    quick: arguments that make every case tiny.
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
    quick: dict[str, Any] = field(default_factory=dict)
    overall: float | None = None
    needs: tuple[str, ...] = ()

    def sides(self, case: Case, quick: bool) -> tuple[Side, Side]:
        """Return ours and theirs of a case."""
        arguments = case.arguments | (self.quick if quick else {})
        ours, theirs = (name.partition(".") for name in (self.ours, self.theirs))
        return Side(ours[0], ours[2], arguments), Side(theirs[0], theirs[2], arguments)


GRADIENTS = {
    "3-4-1, batch 32": ([3, 1], 1, 4, "sigmoid", 32, 3000),
    "30-64-64-1, batch 128": ([30, 1], 2, 64, "tanh", 128, 1000),
    "64-256-256-256-10, batch 128": ([64, 10], 3, 256, "relu", 128, 60),
    "784-1024-1024-10, batch 128": ([784, 10], 2, 1024, "relu", 128, 10),
    "30 × 256, batch 256": ([64, 10], 30, 256, "tanh", 256, 6),
}
BLOCKS = ("residual", "rms_norm", "layer_norm", "residual(batch_norm)", "post_norm")
NAMES = ("ends", "layers", "width", "activation", "batch", "calls")
TINY = {"layers": 3, "width": 8, "batch": 16, "calls": 2}


def _gradients(goal: float) -> tuple[Case, ...]:
    return tuple(
        Case(name, goal, dict(zip(NAMES, of, strict=True))) for name, of in GRADIENTS.items()
    )


def _block(kind: str) -> Case:
    of = dict(zip(NAMES, GRADIENTS["30 × 256, batch 256"], strict=True))
    return Case(kind, 1.03, {**of, "hidden": kind, "stacked": True})


def _flow(activation: str, width: int, calls: int) -> Case:
    # Near σ_w's critical value, so that the plain pass has normal numbers in all layers too.
    of: dict[str, Any] = {"sigma_w": {"sigmoid": 4.0, "relu": 2**0.5}[activation], "stacked": True}
    of |= zip(NAMES, ([30, 1], 65, width, activation, 128, calls), strict=True)
    return Case(f"{activation}, 64 × {width}, batch 128", 1.15, of)


def _sweep(activation: str, seeds: int, goal: float) -> Case:
    weights = "he_normal" if activation == "relu" else "glorot_uniform"
    of = {"depths": list(range(1, 65)), "activation": activation, "weights": weights}
    name = f"{activation}, width 64, {seeds} seed{'s' * (seeds > 1)}"
    return Case(name, goal, {**of, "width": 64, "batch": 128, "seeds": seeds})


def _diagnosis(network: str, blocks: int, goal: float) -> Case:
    of = {"network": network, "blocks": blocks, "width": 64, "tokens": 32, "batch": 32}
    return Case(f"{network}, {blocks} blocks of 64", goal, of)


def _verdict(kind: str, goal: float, width: int = 256, batch: int = 8, words: int = 1000) -> Case:
    of = {"blocks": 12, "width": width, "tokens": 64, "batch": batch, "words": words}
    name = f"12 blocks of {width} in a {kind}, {batch} × 64 of {words} words"
    return Case(name, goal, {**of, "stacked": kind == "scan"})


def _chain(memory: str, goal: float) -> Case:
    of = {"layers": 256, "width": 64, "tokens": 16, "batch": 8, "calls": 2, "memory": memory}
    return Case(f"memory {memory!r}", goal, of)


def _scale(memory: str, goal: float) -> Case:
    of = {"devices": 64, "layers": 80, "width": 8192, "tokens": 2048, "batch": 64}
    name = f"80 blocks of 8192, 64 devices, memory {memory!r}"
    return Case(name, goal, {**of, "memory": memory})


def _encoder(width: int, tokens: int, calls: int) -> Case:
    of = {"layers": 24, "width": width, "tokens": tokens, "batch": 8, "calls": calls}
    return Case(f"24 blocks of {width}, 8 × {tokens} tokens", 1.3, of)


def _training(hidden: list[int], goal: float) -> Case:
    of = {"hidden": hidden, "batch": 128, "epochs": 100}
    return Case(str(tuple(hidden)), goal, of)


DECODER = {"blocks": 12, "width": 256, "tokens": 64, "batch": 8, "words": 1000}
MLP = {"layers": 8, "width": 264, "batch": 64}


def _watch(network: str, how: str, goal: float, steps: int, every: int) -> Case:
    sizes = DECODER if network == "decoder" else MLP
    of = {"network": network, **sizes, "steps": steps, "every": every}
    return Case(f"{network}, {how}", goal, of)


FIRST = "the first command, to its last file"
OF_README = {"depths": [2**i for i in range(11)], "width": 64, "seeds": 5}
TINY_SWEEP = {"depths": [1, 2], "width": 8, "seeds": 1}
VERDICT, DIAGNOSIS = "flow and verdict of a transformer", "a diagnosis of a small network"
PLAIN = "jitted jax.value_and_grad"
TINY_WORDS = {"blocks": 2, "width": 8, "tokens": 3, "batch": 2, "words": 11}
TINY_BLOCKS = {"blocks": 2, "width": 8, "tokens": 4, "batch": 4}
NETWORKS = (("list", 24), ("scan", 24), ("linen", 6), ("Equinox", 8), ("NNX", 8))
CHAIN, VJP = "chain of 256 transformer blocks, flow with Δθ", "plain jax.vjp of a scan"
TINY_CHAIN = {"layers": 3, "width": 8, "tokens": 4, "batch": 2}
TRAINING = "training on digits, Adam, 100 epochs"
TINY_WATCHED = {**TINY_WORDS, "layers": 2, "steps": 2}
DEEP = {"layers": 100_000, "width": 64, "batch": 8}

ROWS = (
    Row("first", FIRST, "PyTorch eager with hooks, Matplotlib, cold", "cold",
        "commands.depth", "of_torch.depth", (Case("the README's first command", 1 / 2, OF_README),),
        TINY_SWEEP, needs=("torch", "matplotlib")),
    Row("first-kept", f"{FIRST}, with programs kept", "without", "cold", "commands.depth_again",
        "commands.depth", (Case("the README's first command", 1 / 3, OF_README),), TINY_SWEEP),
    Row("diagnose-first", DIAGNOSIS, f"{PLAIN}, compiled anew", "first", "ours.diagnosis",
        "of_jax.diagnosed",
        tuple(_diagnosis(*of, 2.5 if of[0] == "linen" else 4.0) for of in NETWORKS), TINY_BLOCKS,
        needs=("flax", "equinox")),
    Row("diagnose-again", f"{DIAGNOSIS}, written anew with other parameters", PLAIN, "warm",
        "ours.diagnosis", "of_jax.diagnosed", tuple(_diagnosis(*of, 2.0) for of in NETWORKS),
        TINY_BLOCKS, needs=("flax", "equinox")),
    Row("gradient", "gradient step", "jax.value_and_grad of the plain forward pass", "warm",
        "ours.gradient", "of_jax.gradient", _gradients(1.03), TINY, overall=1.0),
    Row("products", "gradient step", "its matrix products alone", "warm",
        "ours.linear_gradient", "of_jax.products", _gradients(1.2), TINY),
    Row("blocks", "gradient step through blocks, 30 × 256",
        "jax.value_and_grad of the same forward pass", "warm", "ours.gradient", "of_jax.gradient",
        tuple(map(_block, BLOCKS)), TINY, overall=1.0),
    Row("sweep-64", "depth sweep 1 … 64", "PyTorch eager with hooks", "warm", "ours.sweep",
        "of_torch.sweep", tuple(_sweep(name, 8, 1 / 7) for name in ("sigmoid", "relu")),
        {**TINY_SWEEP, "depths": [1, 2, 5]}, needs=("torch",)),
    Row("sweep-cold", "depth sweep 1 … 64", "PyTorch eager with hooks, cold", "cold", "ours.sweep",
        "of_torch.sweep", tuple(_sweep(name, 1, 1.0) for name in ("sigmoid", "relu")),
        {**TINY_SWEEP, "depths": [1, 2, 5]}, needs=("torch",)),
    Row("block-float", "gradient_flow", "own plain pass, backprop", "warm", "ours.flow",
        "ours.backprop",
        tuple(_flow(name, *of) for of in ((64, 60), (256, 6)) for name in ("sigmoid", "relu")),
        TINY),
    Row("chain-time", CHAIN, VJP, "warm", "ours.chain", "of_jax.chain",
        tuple(_chain(memory, 1.0) for memory in ("all", "sqrt")), TINY_CHAIN),
    Row("chain-memory", CHAIN, f"{VJP}, memory", "bytes", "ours.chain", "of_jax.chain",
        (_chain("sqrt", 1 / 20),), TINY_CHAIN),
    Row("scale", "flow of a decoder of 64 billion parameters, on paper",
        "jax.vjp with jax.checkpoint, memory", "bytes", "ours.decoder", "of_jax.decoder",
        (_scale("all", 1.0), _scale("sqrt", 0.75)), {**TINY_CHAIN, "devices": 1, "batch": 4}),
    Row("torch-flow", "torch_flow of a TransformerEncoder", "plain hooks of PyTorch", "warm",
        "ours.encoder", "of_torch.hooked", (_encoder(64, 16, 4), _encoder(256, 64, 1)),
        {**TINY_CHAIN, "layers": 2, "calls": 1}, needs=("torch",)),
    Row("growth-time", "100,000 layers", "10,000 layers", "warm", "ours.deep", "ours.tenth",
        (Case("sigmoid, width 64, batch 8", 10**1.05, DEEP, 0.05),), {"layers": 640, "width": 8}),
    Row("growth-memory", "100,000 layers", "10,000 layers, memory", "bytes", "ours.deep",
        "ours.tenth", (Case("sigmoid, width 64, batch 8", 10**0.55, DEEP, 0.05),),
        {"layers": 640, "width": 8}),
    Row("import", "import jaxnn", "import jax", "cold", "commands.jaxnn", "commands.jax",
        (Case("fresh process", 1.05),)),
    Row("train-sklearn", TRAINING, "scikit-learn MLPClassifier", "warm", "ours.training",
        "of_sklearn.training", (_training([100], 1 / 3), _training([256] * 3, 1 / 2)),
        {"hidden": [8], "epochs": 2}),
    Row("train-nnx", TRAINING, "Flax NNX, nnx.jit of a step, optax", "warm", "ours.training",
        "of_nnx.training", (_training([100], 1 / 6), _training([256] * 3, 1 / 2)),
        {"hidden": [8], "epochs": 2}, needs=("flax",)),
    Row("watch", "training in a scan, watched", "the same without a watch", "warm", "ours.watched",
        "ours.unwatched", (
            _watch("decoder", "every 100 steps", 1.02, 100, 100),
            _watch("decoder", "every step", 2.35, 4, 1),
            _watch("MLP", "560,000 parameters, none measured", 1.03, 100, 10**6),
        ), TINY_WATCHED),
    Row("watch-first", "the first steps of a watched training", "the same without a watch", "first",
        "ours.watched", "ours.unwatched",
        tuple(_watch(name, "compiled anew", 2.5, 4, 4) for name in ("decoder", "MLP")),
        TINY_WATCHED),
    Row("verdict-first", VERDICT, f"{PLAIN}, compiled anew", "first", "ours.verdict",
        "of_jax.over_words", (_verdict("loop", 2.5), _verdict("scan", 2.5)), TINY_WORDS),
    Row("verdict-warm", VERDICT, PLAIN, "warm", "ours.verdict", "of_jax.over_words",
        (
            *(_verdict(kind, 1.35) for kind in ("loop", "scan")),
            *(_verdict(kind, 1.35, 768, 2, 50257) for kind in ("loop", "scan")),
        ), TINY_WORDS),
    Row("verdict-memory", VERDICT, f"{PLAIN}, memory", "bytes", "ours.verdict", "of_jax.over_words",
        (_verdict("loop", 1.0), _verdict("scan", 1.0)), TINY_WORDS),
)  # fmt: skip
