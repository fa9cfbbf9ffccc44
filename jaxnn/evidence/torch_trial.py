"""Trials of PyTorch: a module with a batch, run as it is, and left as it was.

Torch is never imported: the user has done so.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np

from ..graph.steps import below_first
from ..interrupts import registered, undivided
from ..models import Program
from ..pytorch.autograd_gates import nodes_below
from ..pytorch.call import for_criterion
from ..pytorch.cuts import modules_of, parameters_of, unwrapped
from ..pytorch.dispatch import each_operation
from ..pytorch.inputs import arguments_of, called_with
from ..pytorch.restore import holding, unchanged
from ..pytorch.tensors import first_tensor, is_tensor, mapped, numbers_of, owned, tensors_in
from ..pytorch.types import Arguments, Inputs, Module, Named, OpOverload, Tensor, torch
from .trial import MOST_ENTRIES, Arrays, LossSlope, Trial

STATISTICS = "running_mean", "running_var", "num_batches_tracked"
PARAMETRISED = re.compile(  # as by torch.nn.utils.parametrizations, and by their older forms
    r"(?:(.*)\.)?(?:parametrizations\.(\w+)\.original\d*|(\w+)_(?:orig|v))"
)
DROPS = "bernoulli", "native_dropout"  # beginnings of the operations that choose what is dropped


class TorchTrial(Trial):
    """A module of PyTorch with a batch."""

    def __init__(self, program: Program, last: Sequence[str] = ()):
        super().__init__(program)
        self.module, self.inputs, self.last = unwrapped(program.model), program.xs, last

    @property
    def xs(self) -> Arrays:
        named = {name: v for name, v in _named(self.inputs).items() if v.is_floating_point()}
        return {name: numbers_of(v) for name, v in named.items()}

    @property
    def tokens(self) -> Arrays:
        kinds = torch.int64, torch.int32
        return {name: numbers_of(v) for name, v in _named(self.inputs).items() if v.dtype in kinds}

    @property
    def ys(self) -> np.ndarray | None:
        labels = tensors_in(self.program.ys)
        return numbers_of(labels[0]) if len(labels) == 1 else None

    @property
    def weights(self) -> Arrays:
        modules = modules_of(self.module)
        with self._running():
            known = {
                name: numbers_of(_computed(modules, name, v))
                for name, v in parameters_of(self.module).items()
                if v.requires_grad and v.ndim > 1 and v.numel() <= MOST_ENTRIES
            }
        return {name: np.moveaxis(v, (1, 0), (-2, -1)) for name, v in known.items()}

    @property
    def untouched_norms(self) -> tuple[str, ...]:
        return tuple(
            name for name, m in self.module.named_modules() if not m.training and _is_untouched(m)
        )

    @property
    def resting_norms(self) -> tuple[str, ...]:
        before = {
            name: [v.clone() for v in _statistics_of(m)]
            for name, m in self.module.named_modules()
            if m.training and _statistics_of(m)
        }
        if not before:
            return ()
        with self._running():
            self._called(self.inputs)
            modules = dict(self.module.named_modules())
            return tuple(
                name
                for name, (mean, variance, count) in before.items()
                if (after := _statistics_of(modules[name]))
                and torch.equal(mean, after[0])
                and torch.equal(variance, after[1])
                and not torch.equal(count, after[2])  # it has seen the batch
            )

    @property
    def overwritten(self) -> tuple[str, ...]:
        inputs, ys = owned([self.inputs, self.program.ys])
        tensors = _named(inputs) | ({"ys": ys} if is_tensor(ys) else {})
        before = {name: v._version for name, v in tensors.items()}

        def step() -> list[Tensor]:
            with self._running(), torch.enable_grad():
                args, named = arguments_of(inputs)
                output = self.module(*args, **named)
                loss = self.program.loss
                value = None if loss is None else loss(for_criterion(loss, output), ys)
                return [first_tensor(output).clone(), *tensors_in(value)]

        first = step()
        changed = tuple(name for name, v in tensors.items() if v._version > before[name])
        if not changed:
            return ()
        try:
            alike = all(map(torch.equal, first, step()))
        except Exception:  # such as of a label that is no class any more
            alike = False
        return () if alike else changed

    @cached_property
    def drops_in_eval(self) -> bool:
        if not self.is_random:
            return False
        with self._running():
            self.module.eval()
            return bool(self._drops())

    @property
    def dropped(self) -> float:
        return max(self._drops(), default=0.0)

    def _drops(self) -> list[float]:
        """Return the shares of numbers that a pass leaves out at random, 0 of those not known."""
        dropped = list[float]()

        def run(operation: OpOverload, given: Arguments, more: Named) -> Any:
            name = str(operation).partition(".")[2]
            if name.startswith(DROPS):
                chance = given[1] if len(given) > 1 else None
                known = chance if isinstance(chance, float) else 0.0
                dropped.append(1 - known if known and name.startswith(DROPS[0]) else known)
            return operation(*given, **more)

        with self._running(), each_operation(run):
            self._called(self.inputs)
        return dropped

    @property
    def repeated(self) -> tuple[str, ...]:
        for name, m in self.module.named_modules():
            places: dict[int, list[str]] = {}
            for key, child in m._modules.items():
                if key.isdecimal() and child is not None and [*child.parameters()]:
                    places.setdefault(id(child), []).append(key)
            for keys in places.values():
                if len(keys) > 1 and self._is_called_alike(m._modules[keys[0]]):
                    return tuple(f"{name}.{key}" if name else key for key in keys)
        return ()

    @property
    def unregistered(self) -> tuple[str, ...]:
        used = self._leaves()
        for known in (*self.module.parameters(), *tensors_in(self.inputs)):
            used.pop(id(known), None)
        names = [name for name, v in _held_aside(self.module) if used.pop(id(v), None) is not None]
        lasting = self._leaves() if used else {}  # forward may make leaves of its own, each time
        rest = (v for key, v in used.items() if key in lasting)
        return *names, *(f"a tensor {(*v.shape,)} of no module" for v in rest)

    def _leaves(self) -> dict[int, Tensor]:
        """Return the tensors at which a gradient of the output ends, by their id."""
        with self._running(), torch.enable_grad():
            leaves = _leaves_below(self._called(self.inputs))
        leaves.pop(id(self._entered), None)
        return leaves

    def _is_called_alike(self, child: Module) -> bool:
        """Tell whether all calls of a module keep its shape, or all take the same tensor."""
        calls: list[tuple[Tensor, Tensor]] = []

        def noted(_: Module, given: Any, output: Any) -> None:
            calls.append((first_tensor(given), first_tensor(output)))

        with registered([partial(child.register_forward_hook, noted)]), self._running():
            self._called(self.inputs)
        entering, leaving = zip(*calls, strict=True)
        in_a_row = all(x.shape == y.shape for x, y in calls)
        side_by_side = all(x is entering[0] for x in entering)
        return len(leaving) > 1 and (in_a_row or side_by_side)

    @property
    def counts(self) -> set[int]:
        return {len(v) if v.ndim else 0 for v in tensors_in(self.inputs)}

    def output(
        self, xs: Arrays | None = None, factor: float = 1.0, rows: np.ndarray | None = None
    ) -> np.ndarray | None:
        inputs = self.inputs if rows is None else _rows_of(self.inputs, rows)
        inputs = _with(inputs, xs) if xs else inputs
        parameters = parameters_of(self.module)
        with self._running():
            last = {name: parameters[name] * factor for name in self.last if factor != 1}
            with holding(parameters, last):
                output = self._called(inputs)
        return None if output is None else numbers_of(output)

    @cached_property
    def is_random(self) -> bool:
        with self._running():
            state = torch.get_rng_state()
            self._called(self.inputs)
            return not torch.equal(state, torch.get_rng_state())

    def draws(self, count: int) -> np.ndarray | None:
        if self.first is None or not self.is_random:
            return None
        with self._running():
            outputs = [self._called(self.inputs) for _ in range(count)]
        return np.stack([numbers_of(output) for output in outputs if output is not None])

    def slope(
        self, output: np.ndarray, order: np.ndarray | None = None, ys: np.ndarray | None = None
    ) -> LossSlope | None:
        if self.program.loss is None or self.first is None:
            return None
        with self._running(), torch.enable_grad():
            at = torch.as_tensor(output, dtype=self._dtype).to(self._device).requires_grad_()
            given = self.program.ys
            if ys is not None:
                given = mapped(given, lambda v: torch.as_tensor(ys).to(v))
            given = owned(given) if order is None else _rows_of(given, order, len(order))
            value = self.program.loss(at, given).mean()
            (slope,) = torch.autograd.grad(value, at, allow_unused=True)
        slope = torch.zeros_like(at) if slope is None else slope
        return LossSlope(float(value.detach()), numbers_of(slope))

    @undivided
    def _running(self) -> Iterator[None]:
        """Leave the module, and all random states, as they are."""
        tensors = tensors_in([self.inputs, self.program.ys])
        with unchanged(self.module, tensors), torch.no_grad():
            yield

    def _called(self, inputs: Inputs) -> Tensor | None:
        """Return what the loss takes of the output, if that is one tensor of floats."""
        output, self._entered = called_with(self.module, inputs)
        output = for_criterion(self.program.loss, output)
        if not is_tensor(output) or not output.is_floating_point():
            return None
        self._dtype, self._device = output.dtype, output.device
        return output


def _computed(modules: Mapping[str, Module], name: str, v: Tensor) -> Tensor:
    """Return the weights that a parametrisation makes of a parameter; of another one itself."""
    of_module = PARAMETRISED.fullmatch(name)
    if of_module is None:
        return v
    owner, *attributes = of_module.groups()
    made = getattr(modules.get(owner or ""), next(filter(None, attributes)), v)
    return made if is_tensor(made) and made.shape == v.shape else v


def _is_untouched(m: Module) -> bool:
    """Tell a norm whose running statistics are as they were made."""
    if not (statistics := _statistics_of(m)):
        return False
    mean, variance, count = statistics
    return not mean.any() and bool((variance == 1).all()) and not count.any()


def _statistics_of(m: Module) -> list[Tensor]:
    """Return the running mean and variance of a norm, and how many batches it has seen."""
    statistics = [m._buffers.get(name) for name in STATISTICS]
    return [] if any(v is None for v in statistics) else statistics


def _leaves_below(output: Tensor | None) -> dict[int, Tensor]:
    """Return the tensors that a gradient of an output comes to and ends at, by their id."""
    tops: list[Any] = [] if output is None or output.grad_fn is None else [output.grad_fn]
    nodes = below_first(tops, nodes_below)
    return {id(node.variable): node.variable for node in nodes if hasattr(node, "variable")}


def _held_aside(module: Module) -> Iterator[tuple[str, Tensor]]:
    """Yield tensors that are no parameters: attributes of modules, and in their lists and dicts."""
    for name, m in module.named_modules():
        for key, held in vars(m).items():
            if is_tensor(held):
                yield f"{name}.{key}".lstrip("."), held
            if key.startswith("_") or not isinstance(held, list | tuple | Mapping):
                continue
            for i, v in held.items() if isinstance(held, Mapping) else enumerate(held):
                path = f"{name}.{key}[{i!r}]".lstrip(".")
                if hasattr(v, "named_parameters"):
                    yield from ((f"{path}.{inner}", p) for inner, p in v.named_parameters())
                elif is_tensor(v):
                    yield path, v


def _named(inputs: Inputs) -> dict[str, Any]:
    """Return tensors that go in, by name."""
    if is_tensor(inputs):
        return {"xs": inputs}
    items = inputs.items() if isinstance(inputs, Mapping) else enumerate(inputs)
    return {f"xs[{key!r}]": v for key, v in items if is_tensor(v)}


def _with(inputs: Inputs, xs: Arrays) -> Any:
    """Return inputs some of which are replaced."""

    def of(name: str, v: Any) -> Any:
        return v.new_tensor(xs[name]) if name in xs else v

    if is_tensor(inputs):
        return of("xs", inputs)
    if isinstance(inputs, Mapping):
        return {key: of(f"xs[{key!r}]", v) for key, v in inputs.items()}
    return type(inputs)(of(f"xs[{key!r}]", v) for key, v in enumerate(inputs))


def _rows_of(tree: object, rows: np.ndarray, count: int | None = None) -> Any:
    """Return rows of all tensors in inputs or labels; with a count, of those of so many rows."""
    return mapped(tree, lambda v: v[rows.tolist()] if count in (None, *v.shape[:1]) else v)
