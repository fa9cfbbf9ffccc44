"""Training of changed modules of PyTorch, each on a copy of its own.

Torch is never imported: the user has done so.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Int, PyTree

from ..pytorch.tensors import PLAIN, is_tensor
from ..pytorch.types import Inputs, Loss, Module, Tensor
from ..train.torch_descent import copies, differentiated, loss_and_output, original_kept
from .training import LossCourse


@dataclass(frozen=True, eq=False)
class TorchTraining:
    """A module with a state dict that can be trained again and again from there."""

    module: Module
    state: Mapping[str, Tensor]
    inputs: Inputs
    ys: PyTree
    loss: Loss | None
    optimizer: Callable[..., Any] | None  # a function of parameters; Adam if None

    @cached_property
    def count(self) -> int:
        """The number of examples, if they can be split into batches; else 0."""
        data = [v for v in jax.tree.leaves((self.inputs, self.ys)) if type(v) not in PLAIN]
        counts = {len(v) if is_tensor(v) and v.ndim else 0 for v in data}  # a graph has no rows
        count = counts.pop() if len(counts) == 1 else 0
        return count if count and self._takes(count // 2) else 0

    def _takes(self, count: int) -> bool:
        """Tell whether it takes the first of the examples."""
        with original_kept(self.module, [(self.inputs, self.ys)]):
            try:
                loss_and_output(self.module, *self._rows(np.arange(count)), self.loss)
            except Exception:  # of the user's functions, which may want all of them
                return False
        return True

    def courses(
        self, times: float, parts: Iterable[Int[np.ndarray, "S b"]], seed: int = 0
    ) -> Iterator[tuple[LossCourse, PyTree]]:
        """Yield the course of each part; see `Training`."""
        torch = sys.modules["torch"]
        with original_kept(self.module, [(self.inputs, self.ys)]):
            torch.manual_seed(seed)
            module, optimizer = copies(self.module, self.optimizer)
            module.load_state_dict(self.state)
            for group in optimizer.param_groups:
                group["lr"] = group["lr"] * times
            learned = [p for p in module.parameters() if p.requires_grad]
            for rows in parts:
                losses = []
                for chosen in rows:
                    value = optimizer.step(partial(self._differentiated, module, learned, chosen))
                    losses.append(float(value.detach()))
                end, output = loss_and_output(module, self.inputs, self.ys, self.loss)
                yield LossCourse(np.array(losses), float(end.detach())), output

    def on(self, xs: PyTree, ys: PyTree) -> "TorchTraining":
        """Return the training of this network on other examples."""
        return replace(self, inputs=xs, ys=ys)

    def _differentiated(
        self, module: Module, learned: list[Tensor], rows: Int[np.ndarray, " b"]
    ) -> Tensor:
        return differentiated(module, learned, *self._rows(rows), self.loss)[0]

    def _rows(self, rows: Int[np.ndarray, " b"]) -> tuple[Inputs, PyTree]:
        """Return some examples with their labels; all of them if no rows are named."""
        data = self.inputs, self.ys
        if not len(rows):
            return data
        chosen = sys.modules["torch"].tensor(rows)
        xs, ys = jax.tree.map(lambda v: v[chosen] if is_tensor(v) else v, data)
        return xs, ys
