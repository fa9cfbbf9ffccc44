"""The comparisons as data: workloads, their peers, cases, and the goal of each."""

from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from experiments.bench.process import Side

Kind = Literal["warm", "first", "cold", "bytes", "floor", "growth", "memory"]


class Sizes(NamedTuple):
    """Sizes of a transformer over words."""

    blocks: int = 12
    width: int = 256
    tokens: int = 64
    batch: int = 8
    words: int = 1000


DEFAULT = Sizes()


@dataclass(frozen=True)
class Case:
    """A pair of sides that are compared; without `theirs`, ours is compared as `Row.kind` says.

    name: for tables.
    tolerance: of the difference between the numbers of both sides.
    """

    name: str
    goal: float
    ours: Side
    theirs: Side | None = None
    tolerance: float = 1e-3


@dataclass(frozen=True)
class Row:
    """A line of the goals.

    kind: of the times compared: `warm`, the second and later runs of a process; `first`, the first
        one, with compiling; `cold`, the life of a fresh process; `floor`, ours with its floor;
        `growth`, the exponents of time and `memory`; or `bytes`, the memory of both.
    overall: a goal for the geometric mean of all cases, besides that of each.
    needs: packages beyond those of the experiments.
    seconds: of both sides, for a pair of each case, on two cores; to tell how long a run takes.
    """

    name: str
    workload: str
    against: str
    kind: Kind
    cases: tuple[Case, ...]
    overall: float | None = None
    needs: tuple[str, ...] = ()
    seconds: float = 2.0


def rows(quick: bool, sizes: Sizes = DEFAULT) -> tuple[Row, ...]:
    """Return all rows; quick ones are tiny, to see that everything runs."""
    return (
        *commands(quick),
        *diagnoses(quick),
        *verdicts(quick, sizes),
        *gradient_steps(quick),
        *sweeps(quick),
        *own(quick),
        *trainings(quick),
        *watches(quick, sizes),
        *on_paper(quick),
    )


SHAPES: dict[str, tuple[list[int], str, str, int, int]] = {
    # sizes, activation, task, batch, calls in a repetition
    "3-4-1, batch 32": ([3, 4, 1], "sigmoid", "binary", 32, 3000),
    "30-64-64-1, batch 128": ([30, 64, 64, 1], "tanh", "binary", 128, 1000),
    "64-256-256-256-10, batch 128": ([64, 256, 256, 256, 10], "relu", "multiclass", 128, 60),
    "784-1024-1024-10, batch 128": ([784, 1024, 1024, 10], "relu", "multiclass", 128, 10),
    "30 × 256, batch 256": ([64, *[256] * 30, 10], "tanh", "multiclass", 256, 6),
}


BLOCKS = ("residual", "rms_norm", "layer_norm", "residual(batch_norm)", "post_norm")


def _shape(shape: tuple[list[int], str, str, int, int], quick: bool) -> dict[str, Any]:
    sizes, activation, task, batch, calls = shape
    if quick:
        sizes, batch, calls = [sizes[0], *[8] * min(3, len(sizes) - 2), sizes[-1]], 16, 2
    names = ("sizes", "activation", "task", "batch", "calls")
    return dict(zip(names, (sizes, activation, task, batch, calls), strict=True))


def commands(quick: bool) -> tuple[Row, ...]:
    """Return rows of what somebody waits for who has just installed it."""
    of: dict[str, Any] = {"depths": [2**i for i in range(11)], "width": 64, "seeds": 5}
    of |= {"depths": [1, 2], "width": 8, "seeds": 1} if quick else {}
    ours, kept = (Side("first_command", {**of, "kept": kept}) for kept in (False, True))
    theirs = Side("first_command_torch", {**of, "kept": False})

    def chain(kind: str, tokens: int, batch: int) -> Case:
        of = {"kind": kind, "layers": 100, "width": 64, "tokens": tokens, "batch": batch}
        of |= {"layers": 3, "width": 8, "tokens": 2, "batch": 4} if quick else {}
        name = f"100 {kind} blocks of 64, {batch} × {tokens} tokens"
        return Case(name, 1 / 2, Side("verdict_nnx", of), Side("capture_nnx", of))

    what = "the first command, to its last file"
    return (
        Row("first", what, "PyTorch eager with hooks, Matplotlib, cold", "cold",
            (Case("the README's first command", 1 / 2, ours, theirs),),
            needs=("torch", "matplotlib"), seconds=35),
        Row("first-kept", f"{what}, with programs kept", "without", "cold",
            (Case("the README's first command", 1 / 3, kept, ours),), seconds=19),
        Row("chain-cold", "a Flax module, to verdict and chart",
            "nnx.perturb, nnx.capture, Matplotlib, cold", "cold",
            (chain("dense", 1, 128), chain("transformer", 16, 8)),
            needs=("flax", "matplotlib"), seconds=37),
    )  # fmt: skip


def diagnoses(quick: bool) -> tuple[Row, ...]:
    """Return rows of a diagnosis of small networks, next to their gradients alone."""

    def case(network: str, blocks: int, goal: float) -> Case:
        of: dict[str, Any] = {"network": network, "blocks": blocks, "width": 64}
        of |= {"tokens": 32, "batch": 32}
        of |= {"blocks": 2, "width": 8, "tokens": 4, "batch": 4} if quick else {}
        ours, theirs = (Side(side, of) for side in ("diagnosed", "diagnosed_jax"))
        return Case(f"{network}, {blocks} blocks of 64", goal, ours, theirs)

    networks = (
        *(("list", 24, 4.0), ("scan", 24, 4.0), ("linen", 6, 2.5)),
        *(("Equinox", 8, 4.0), ("NNX", 8, 4.0)),
    )
    what, plain = "a diagnosis of a small network", "jitted jax.value_and_grad"
    needs = ("flax", "equinox")
    return (
        Row("diagnose-first", what, f"{plain}, compiled anew", "first",
            tuple(case(*of) for of in networks), needs=needs, seconds=15),
        Row("diagnose-again", f"{what}, written anew with other parameters", plain, "warm",
            tuple(case(*of[:2], 2.0) for of in networks), needs=needs, seconds=2),
    )  # fmt: skip


def verdicts(quick: bool, sizes: Sizes) -> tuple[Row, ...]:
    """Return rows of a verdict on a function, next to the function's gradient alone."""

    def case(blocks: str, goal: float, **more: bool) -> Case:
        of = Sizes(2, 8, 3, 2, 11) if quick else sizes
        arguments = {**of._asdict(), "stacked": blocks == "scan"}
        name = f"{sizes.blocks} blocks of {sizes.width} in a {blocks}"
        name += f", {sizes.batch} × {sizes.tokens} of {sizes.words} words"
        name += ", with tangents" if more else ""
        ours = Side("verdict_words", {**arguments, **more})
        return Case(name, goal, ours, Side("gradient_words_jax", arguments))

    def cases(goal: float) -> tuple[Case, ...]:
        return tuple(case(blocks, goal) for blocks in ("loop", "scan"))

    what, plain = "flow and verdict of a transformer", "jitted jax.value_and_grad"
    return (
        Row("verdict-first", what, f"{plain}, compiled anew", "first",
            (*cases(2.5), case("loop", 2.5, tangent=True)), seconds=62),
        Row("verdict-warm", what, plain, "warm", cases(1.35), seconds=4),
        Row("verdict-memory", what, f"{plain}, memory", "bytes", cases(1.0), seconds=14),
    )  # fmt: skip


def gradient_steps(quick: bool) -> tuple[Row, ...]:
    """Return rows of one step, against JAX and against products alone."""

    def cases(theirs: str, goal: float, **more: bool) -> tuple[Case, ...]:
        return tuple(
            Case(name, goal, Side("gradient", {**of, **more}), Side(theirs, of))
            for name, of in ((name, _shape(shape, quick)) for name, shape in SHAPES.items())
        )

    def block(kind: str, goal: float) -> Case:
        of = {**_shape(SHAPES["30 × 256, batch 256"], quick), "hidden": kind, "stacked": True}
        return Case(kind, goal, Side("gradient", of), Side("gradient_jax", of))

    return (
        Row("gradient", "gradient step", "jax.value_and_grad of the plain forward pass", "warm",
            cases("gradient_jax", 1.03), overall=1.0),
        Row("products", "gradient step", "its matrix products alone", "warm",
            cases("gradient_products", 1.2, linear=True)),
        Row("blocks", "gradient step through blocks, 30 × 256",
            "jax.value_and_grad of the same forward pass", "warm",
            tuple(block(kind, 1.03) for kind in BLOCKS), overall=1.0),
    )  # fmt: skip


def sweeps(quick: bool) -> tuple[Row, ...]:
    """Return rows of sweeps over every depth from 1 on: a curve over depth has them all."""
    depths, batch = (list(range(1, 65)), 128) if not quick else ([1, 2, 5], 16)
    torch = ("torch",)

    def case(activation: str, width: int, seeds: int, goal: float, theirs: str | None) -> Case:
        weights = "he_normal" if activation == "relu" else "glorot_uniform"
        of = {
            "depths": depths,
            "activation": activation,
            "weights": weights,
            "width": width if not quick else 8,
            "batch": batch,
            "seeds": seeds,
        }
        name = f"{activation}, width {width}, {seeds} seed{'s' * (seeds > 1)}"
        return Case(name, goal, Side("sweep", of), None if theirs is None else Side(theirs, of))

    def cases(width: int, seeds: int, goal: float, theirs: str | None) -> tuple[Case, ...]:
        return tuple(case(a, width, seeds, goal, theirs) for a in ("sigmoid", "relu"))

    eager, what = "PyTorch eager with hooks", "depth sweep 1 … 64"
    return (
        Row("sweep-64", what, eager, "warm", cases(64, 8, 1 / 7, "sweep_torch"), needs=torch,
            seconds=13),
        Row("sweep-256", what, eager, "warm", cases(256, 2, 0.6, "sweep_torch"), needs=torch,
            seconds=10),
        Row("sweep-cold", what, f"{eager}, cold", "cold", cases(64, 1, 1.0, "sweep_torch"),
            needs=torch, seconds=9),
        Row("sweep-cold-jax", what, "jitted jax.grad a depth, cold", "cold",
            (case("sigmoid", 64, 1, 1 / 25, "sweep_jax"),), seconds=110),
        Row("sweep-cold-equinox", what, "Equinox MLP(scan=True), cold", "cold",
            (case("sigmoid", 64, 1, 1 / 25, "sweep_equinox"),), needs=("equinox",), seconds=55),
        Row("sweep-floor", what, "its floor", "floor", cases(256, 2, 2.5, None)),
    )  # fmt: skip


def own(quick: bool) -> tuple[Row, ...]:
    """Return rows with our code on both sides."""

    def flow(activation: str, width: int, calls: int) -> Case:
        shape = ([30, *[width] * 65, 1], activation, "binary", 128, calls)
        # Near σ_w's critical value, so that the plain pass has normal numbers in all layers too.
        of = {**_shape(shape, quick), "sigma_w": {"sigmoid": 4.0, "relu": 2**0.5}[activation]}
        name = f"{activation}, 64 × {width}, batch 128"
        return Case(name, 1.15, Side("flow", of), Side("flow", {**of, "plain": True}))

    def twin(activation: str, width: int, calls: int, goal: float) -> Case:
        case = flow(activation, width, calls)
        ours = Side("flow", {**case.ours.arguments, "examples": True})
        return Case(case.name, goal, ours, Side("flow", case.ours.arguments))

    def chain(memory: str, goal: float) -> Case:
        of: dict[str, Any] = {"layers": 256, "width": 64, "tokens": 16, "batch": 8, "calls": 2}
        of |= {"layers": 3, "width": 8, "tokens": 4, "batch": 2} if quick else {}
        of |= {"memory": memory}
        return Case(f"memory {memory!r}", goal, Side("chain", of), Side("chain_jax", of))

    def encoder(width: int, tokens: int, batch: int, calls: int) -> Case:
        of = {"layers": 24, "width": width, "tokens": tokens, "batch": batch, "calls": calls}
        of |= {"layers": 2, "width": 8, "tokens": 4, "batch": 2, "calls": 1} if quick else {}
        name = f"24 blocks of {width}, {batch} × {tokens} tokens"
        ours, theirs = (Side("encoder_torch", {**of, "hooks": hooks}) for hooks in (False, True))
        return Case(name, 1.3, ours, theirs)

    def growth(goal: float) -> tuple[Case, ...]:
        of = {"activation": "sigmoid", "width": 64 if not quick else 8, "batch": 8}
        return (Case("sigmoid, width 64, batch 8", goal, Side("growth", of)),)

    def theory(goal: float) -> tuple[Case, ...]:
        of: dict[str, Any] = {"layers": 12, "width": 64, "tokens": 16, "batch": 8, "calls": 1}
        of |= {"layers": 3, "width": 8, "tokens": 2, "batch": 2} if quick else {}
        ours, theirs = (Side("chain", {**of, "theory": on}) for on in (True, False))
        return (Case("12 blocks of 64, 8 × 16 tokens", goal, ours, theirs),)

    kinds = (("sigmoid", 64, 60), ("relu", 64, 60), ("sigmoid", 256, 6), ("relu", 256, 6))
    deep = "1,000 → 10,000 → 100,000 layers"
    blocks, vjp = "chain of 256 transformer blocks, flow with Δθ", "plain jax.vjp of a scan"
    return (
        Row("block-float", "gradient_flow", "own plain pass, backprop", "warm",
            tuple(flow(*kind) for kind in kinds)),
        Row("twin", "gradient_flow with what is left of the examples", "without", "warm",
            tuple(twin(*kind, 1.1) for kind in kinds)),
        Row("chain-time", blocks, vjp, "warm", tuple(chain(m, 1.0) for m in ("all", "sqrt"))),
        Row("chain-memory", blocks, f"{vjp}, memory", "bytes", (chain("sqrt", 1 / 20),)),
        Row("theory-cold", "flow of a transformer with theory", "without, cold", "cold",
            theory(2.5)),
        Row("theory-warm", "flow of a transformer with theory", "without", "warm", theory(20.0)),
        Row("torch-flow", "torch_flow of a TransformerEncoder", "plain hooks of PyTorch", "warm",
            (encoder(64, 16, 8, 4), encoder(256, 64, 8, 1)), needs=("torch",)),
        Row("growth-time", deep, "exponent of time", "growth", growth(1.05), seconds=5),
        Row("growth-memory", deep, "exponent of memory", "memory", growth(0.55), seconds=5),
        Row("import", "import jaxnn", "import jax", "cold",
            (Case("fresh process", 1.05, Side("imported", {"package": "jaxnn"}),
                  Side("imported", {"package": "jax"})),)),
    )  # fmt: skip


def trainings(quick: bool) -> tuple[Row, ...]:
    """Return rows of classifiers of the digits, and of networks of the map of trainability."""
    wide = {"(100,)": [100], "(256, 256, 256)": [256, 256, 256]}

    def cases(theirs: str, *goals: float) -> tuple[Case, ...]:
        def case(name: str, goal: float) -> Case:
            hidden, epochs = ([8] * len(wide[name]), 2) if quick else (wide[name], 100)
            of = {"hidden": hidden, "batch": 128, "epochs": epochs}
            return Case(name, goal, Side("training", of), Side(theirs, of))

        return tuple(case(*of) for of in zip(wide, goals, strict=True))

    def cell(depth: int, goal: float) -> Case:
        of: dict[str, Any] = {"depth": depth, "width": 100, "steps": 300, "batch": 128}
        of |= {"depth": min(depth, 3), "width": 8, "steps": 20} if quick else {}
        of |= {"sigma_w_squared": 1.75, "sigma_b_squared": 0.05}
        ours, theirs = Side("trainability", of), Side("trainability_torch", of)
        return Case(f"depth {depth}", goal, ours, theirs, tolerance=0.02)

    what = "training on digits, Adam, 100 epochs"
    return (
        Row("train-sklearn", what, "scikit-learn MLPClassifier", "warm",
            cases("training_sklearn", 1 / 3, 1 / 2), seconds=5),
        Row("train-cold", what, "scikit-learn MLPClassifier, cold", "cold",
            cases("training_sklearn", 1.0, 1.0), seconds=11),
        Row("train-torch", what, "PyTorch eager", "warm",
            cases("training_torch", 1.0, 1.0), needs=("torch",), seconds=4),
        Row("train-nnx", what, "Flax NNX, nnx.jit of a step, optax", "warm",
            cases("training_nnx", 1 / 6, 1 / 2), needs=("flax",), seconds=6),
        Row("trainability", "cell of the trainability map, 300 steps", "PyTorch eager SGD loop",
            "warm", tuple(cell(depth, 1.0) for depth in (10, 50, 150)), needs=("torch",),
            seconds=22),
        Row("train-floor", what, "its floor", "floor",
            tuple(replace(c, theirs=None) for c in cases("training_torch", 1.8, 1.3))),
        Row("trainability-floor", "cell of the trainability map, 300 steps", "its floor", "floor",
            tuple(replace(cell(depth, 1.3), theirs=None) for depth in (50, 150)), seconds=9),
    )  # fmt: skip


def watches(quick: bool, sizes: Sizes) -> tuple[Row, ...]:
    """Return rows of a training that is watched, next to the same without."""
    decoder: dict[str, Any] = (Sizes(2, 8, 3, 2, 11) if quick else sizes)._asdict()
    resnet = {"blocks": 2, "width": 32, "size": 16, "batch": 16}
    resnet |= {"blocks": 1, "width": 4, "size": 8, "batch": 4} if quick else {}
    mlp = {"layers": 8, "width": 264, "batch": 64}
    mlp |= {"layers": 2, "width": 8, "batch": 4} if quick else {}
    networks = {"decoder": ("words", decoder), "ResNet": ("resnet", resnet), "MLP": ("mlp", mlp)}

    def case(title: str, name: str, goal: float, steps: int, every: int) -> Case:
        network, of = networks[title]
        of = {"network": network, **of, "steps": steps}
        ours, theirs = (Side("watched", {**of, "every": n}) for n in (every, 0))
        return Case(f"{title}, {name}", goal, ours, theirs)

    many, few = (4, 2) if quick else (100, 4)
    return (
        Row("watch", "training in a scan, watched", "the same without a watch", "warm",
            (
                case("decoder", "every 100 steps", 1.02, many, many),
                case("decoder", "every step", 2.35, few, 1),
                case("ResNet", "every 100 steps", 1.02, many, many),
                case("MLP", "560,000 parameters, none measured", 1.03, many, 10**6),
            )),
        Row("watch-first", "the first steps of a watched training", "the same without a watch",
            "first",
            tuple(case(v, "compiled anew", 2.5, few, few) for v in ("decoder", "ResNet"))),
    )  # fmt: skip


def on_paper(quick: bool) -> tuple[Row, ...]:
    """Return rows of programs that are compiled from shapes, and never run."""
    of: dict[str, Any] = {"devices": 64, "layers": 80, "width": 8192, "tokens": 2048, "batch": 64}
    of |= {"devices": 1, "layers": 3, "width": 8, "tokens": 4, "batch": 4} if quick else {}

    def case(memory: str, goal: float) -> Case:
        ours, theirs = (Side(side, {**of, "memory": memory}) for side in ("scale", "scale_jax"))
        return Case(f"80 blocks of 8192, 64 devices, memory {memory!r}", goal, ours, theirs)

    return (
        Row("scale", "flow of a decoder of 64 billion parameters, on paper",
            "jax.vjp with jax.checkpoint, memory", "bytes", (case("all", 1.0), case("sqrt", 0.75)),
            seconds=20),
    )  # fmt: skip
