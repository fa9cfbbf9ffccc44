"""Tools of PyTorch: changes are made on a copy of the module and of its optimiser.

Torch is never imported: the user has done so.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..interrupts import undivided
from ..pytorch.call import prediction_of
from ..pytorch.copies import copied
from ..pytorch.tensors import numbers_of
from ..pytorch.types import Module, Tensor, torch
from ..train.torch_learner import copied_optimizer, copies
from .setup import Setup
from .tools import Tools

SQUASHES = frozenset(
    [
        *("softmax", "log_softmax", "sigmoid", "logsigmoid", "tanh", "relu", "relu6", "hardtanh"),
        *("clamp", "clip", "clamp_min", "hardsigmoid", "softsign", "softplus", "elu", "selu"),
        *("celu", "gelu", "silu", "leaky_relu", "hardswish", "mish", "threshold", "sin", "exp"),
    ]
)
SMALL = 1_000_000  # parameters
CLIPS = "clip_grad_norm_", "clip_grad_value_"
MOVES = frozenset(("squeeze", "unsqueeze", "reshape", "view", "flatten", "__getitem__"))


class TorchTools(Tools):
    turns_update = (
        'for group in optimizer.param_groups:\n    group["maximize"] = not group["maximize"]'
    )

    def prediction(self, output: Any) -> Any:
        return prediction_of(output)

    def like(self, array: Any, numbers: np.ndarray) -> Any:
        return array.new_tensor(np.asarray(numbers))

    def numbers(self, v: Any) -> np.ndarray:
        return numbers_of(v)

    def log_softmax(self, v: Any, axis: int) -> Any:
        return v.log_softmax(axis)

    def softplus(self, v: Any) -> Any:
        return torch.nn.functional.softplus(v)

    def picked(self, v: Any, classes: Any, axis: int) -> Any:
        return v.gather(axis, classes.long().unsqueeze(axis)).squeeze(axis)

    def as_classes(self, v: Any) -> Any:
        return v.reshape(-1).long()

    def ranks(self, v: Any, kinds: np.ndarray) -> Any:
        return torch.searchsorted(v.new_tensor(kinds), v.contiguous())

    def rows(self, v: Any, rows: np.ndarray) -> Any:
        return v[torch.tensor(rows)] if torch.is_tensor(v) else v

    @undivided
    def cheaply(self, setup: Setup) -> Iterator[None]:
        # By one thread, which is faster on a busy machine.
        count = torch.get_num_threads()
        try:
            if sum(p.numel() for p in setup.program.model.parameters()) <= SMALL:
                torch.set_num_threads(1)
            yield
        finally:
            torch.set_num_threads(count)

    def seed(self, number: int) -> None:
        torch.manual_seed(number)

    def headless(self, setup: Setup) -> Setup | None:
        module, optimizer = copies(setup.program)
        bare = _headless(module)
        made = setup.but(model=bare, optimizer=optimizer)
        return made if made.output is not None and bare.found else None

    def optimizer_of(self, setup: Setup, module: Module) -> Any:
        optimizer = setup.program.optimizer
        if not hasattr(optimizer, "param_groups"):
            return optimizer
        now = dict(module.named_parameters())
        old = setup.program.model.named_parameters()
        return copied_optimizer(optimizer, {id(p): now[name] for name, p in old if name in now})

    def with_adam(self, setup: Setup) -> Setup | None:
        made = setup.but(times=1.0, optimizer=None)
        return made.saying(adam="torch.optim.Adam(model.parameters(), lr=1e-3)")

    def step_size(self, setup: Setup) -> float | None:
        _, optimizer = copies(setup.program)
        sizes = {group.get("lr") for group in optimizer.param_groups}
        size = sizes.pop() if len(sizes) == 1 else None
        return None if size is None else float(size)

    def without_decay(self, setup: Setup) -> Setup | None:
        def edit(_: Module, optimizer: Any) -> bool:
            has_any = any(group.get("weight_decay") for group in optimizer.param_groups)
            for group in optimizer.param_groups if has_any else ():
                group["weight_decay"] = 0.0
            return has_any

        return _edited(setup, edit)

    def all_learning(self, setup: Setup) -> Setup | None:
        module, optimizer = copies(setup.program)
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        if all(id(p) in held and p.requires_grad for p in module.parameters()):
            return None
        module.requires_grad_(True)
        others = [p for p in module.parameters() if id(p) not in held]
        _learn(optimizer, others)
        return setup.but(model=module, optimizer=optimizer)

    def drawn(self, setup: Setup, variance: float = 1.0) -> Setup | None:
        def edit(module: Module, _: Any) -> bool:
            drawn = [m for m in module.modules() if hasattr(m, "reset_parameters")]
            torch.manual_seed(1)
            for m in drawn:  # tables and gains
                m.reset_parameters()
            torch.manual_seed(1)  # so that weights do not depend on what was reset
            weights = [*_weights(module, {id(m) for m in drawn})]
            for p, inputs in weights:
                torch.nn.init.normal_(p, std=(variance / inputs) ** 0.5)
            for m in drawn:
                for name, p in m.named_parameters(recurse=False):
                    if "bias" in name:
                        torch.nn.init.zeros_(p)
            return bool(drawn or weights)

        return _edited(setup, edit)

    def goes_uphill(self, setup: Setup) -> bool:
        _, optimizer = copies(setup.program)
        return all(
            bool(group.get("maximize")) != (group.get("lr", 0) < 0)
            for group in optimizer.param_groups
        )

    def with_zero_grad(self, setup: Setup) -> Setup | None:
        step = setup.program.step

        def zeroed(model: Module, optimizer: Any, xs: Any, ys: Any) -> Any:
            model.zero_grad()
            return step(model, optimizer, xs, ys)

        return None if step is None else setup.but(step=zeroed)

    def without_clip(self, setup: Setup) -> Setup | None:
        step = setup.program.step

        def unclipped(model: Module, optimizer: Any, xs: Any, ys: Any) -> Any:
            with _no_clips():
                return step(model, optimizer, xs, ys)

        return None if step is None else setup.but(step=unclipped)

    def without_dropout(self, setup: Setup) -> Setup | None:
        def edit(module: Module, _: Any) -> bool:
            changed = False
            for m in module.modules():
                for name in ("p", "dropout"):
                    if isinstance(getattr(m, name, None), float) and _drops(m, name):
                        changed |= getattr(m, name) > 0
                        setattr(m, name, 0.0)
            return changed

        return _edited(setup, edit)

    def in_mode(self, setup: Setup, training: bool) -> Setup | None:
        def edit(module: Module, _: Any) -> bool:
            told = [m for m in module.modules() if _has_mode(m) and m.training != training]
            module.train(training)
            return bool(told)

        return _edited(setup, edit)

    def with_own_copies(self, setup: Setup) -> Setup | None:
        def edit(module: Module, optimizer: Any) -> bool:
            made = [*_made_own(module, {})]
            _learn(optimizer, [p for m in made for p in m.parameters()])
            return bool(made)

        torch.manual_seed(1)
        return _edited(setup, edit)

    def with_class_each(self, setup: Setup, classes: int) -> Setup | None:
        nn = torch.nn

        def edit(module: Module, optimizer: Any) -> bool:
            linear = [
                (owner, name, m)
                for owner in module.modules()
                for name, m in owner._modules.items()
                if isinstance(m, nn.Linear) and m.out_features == 1
            ]
            if not linear:
                return False
            owner, name, old = linear[-1]
            new = nn.Linear(old.in_features, classes).to(old.weight)
            setattr(owner, name, new)
            _learn(optimizer, [*new.parameters()])
            return True

        torch.manual_seed(1)
        return _edited(setup, edit)


@undivided
def _no_clips() -> Iterator[None]:
    """Have torch clip no gradients for a while."""
    utils = torch.nn.utils
    before = {name: getattr(utils, name) for name in CLIPS}
    try:
        for name in CLIPS:
            setattr(utils, name, lambda *_, **__: None)
        yield
    finally:
        for name, clip in before.items():
            setattr(utils, name, clip)


def _edited(setup: Setup, edit: Callable[[Module, Any], bool]) -> Setup | None:
    """Return a setup whose module or optimiser a function has changed, if it has."""
    module, optimizer = copies(setup.program)
    return setup.but(model=module, optimizer=optimizer) if edit(module, optimizer) else None


def _weights(module: Module, known: set[int]) -> Iterator[tuple[Tensor, float]]:
    """Yield the weights of a module, each with its number of inputs; `known` draw their own."""
    seen = set[int]()
    for m in module.modules():
        is_table = isinstance(m, torch.nn.Embedding | torch.nn.EmbeddingBag)  # N(0, 1) is usual
        for p in () if is_table else m.parameters(recurse=False):
            if p.ndim < 2 or id(p) in seen:
                continue
            seen.add(id(p))
            out = 1 if getattr(m, "transposed", False) else 0
            # Of a parameter of the user's own it is not known which axis is that of inputs.
            yield p, p.numel() / p.shape[out] if id(m) in known else sum(p.shape[-2:]) / 2


def _learn(optimizer: Any, parameters: list[Tensor]) -> None:
    """Hand parameters to an optimiser, with the options of its first group."""
    group = optimizer.param_groups[0]
    options = {key: v for key, v in group.items() if key not in ("params", "initial_lr")}
    if parameters:
        optimizer.add_param_group(options | {"params": parameters})


def _drops(m: Module, name: str) -> bool:
    """Tell whether an attribute is the chance of a dropout."""
    return name == "dropout" or "dropout" in type(m).__name__.lower()


def _has_mode(m: Module) -> bool:
    """Tell a module that does other things in training mode."""
    return hasattr(m, "running_mean") or any(
        isinstance(getattr(m, name, None), float) and _drops(m, name) for name in ("p", "dropout")
    )


def _made_own(module: Module, seen: dict[int, Module]) -> Iterator[Module]:
    """Put a copy with weights of its own where a module stands once more; yield the copies."""
    for name, child in [*module._modules.items()]:
        if child is None:
            continue
        if id(child) in seen and [*child.parameters()]:
            other = copied(child)
            for m in other.modules():
                if hasattr(m, "reset_parameters"):
                    m.reset_parameters()
            module._modules[name] = other
            yield other
        else:
            seen[id(child)] = child
            yield from _made_own(child, seen)


def _headless(module: Module) -> Any:
    """Return a module that returns what entered the last activation of another one."""

    class Noted(torch.overrides.TorchFunctionMode):  # type: ignore[misc]
        """Notes of each function that squashes or moves what it takes and returns."""

        def __init__(self) -> None:
            super().__init__()
            self.made: dict[int, tuple[str, Any, Any]] = {}

        def __torch_function__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            output = function(*args, **(kwargs or {}))
            name = getattr(function, "__name__", "").rstrip("_")
            name = "__getitem__" if name == "__getitem" else name
            if name in SQUASHES | MOVES and isinstance(output, torch.Tensor) and args:
                self.made[id(output)] = name, args[0], output
            return output

    class Headless(torch.nn.Module):  # type: ignore[misc]
        """The module without its last activation."""

        def __init__(self) -> None:
            super().__init__()
            self.module, self.found = module, False
            self.training = module.training

        def forward(self, *args: Any, **named: Any) -> Any:
            with Noted() as noted:
                output = self.module(*args, **named)
            v, self.found = prediction_of(output), False
            shape = None if v is None else v.shape
            while id(v) in noted.made:
                name, entered, _ = noted.made[id(v)]
                if not isinstance(entered, torch.Tensor) or entered.numel() != v.numel():
                    break
                v = entered
                if name in SQUASHES:
                    self.found = True
                    break
            return v.reshape(shape) if self.found else output

    return Headless()
