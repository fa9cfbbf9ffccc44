"""Modules of PyTorch, as theory asks for them: their twins, weights times a factor.

Gradients start at a random number for each entry of the output, the same ones in each run.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

from ...models import Program
from ...pytorch.call import prediction_of
from ...pytorch.cuts import parameters_of, unwrapped
from ...pytorch.restore import holding
from ...pytorch.types import Output, Tensor, torch
from ..measure.torch_flow import torch_flow
from ..measure.torch_theory import ModuleTwin
from ..record.flow import Flow


class TorchModel:
    """A module of PyTorch with a batch; a key, which is for models of JAX, raises."""

    def __init__(self, program: Program, key: Any = None) -> None:
        if key is not None:
            raise ValueError("key: expected none for a module of PyTorch, whose draws have seeds")
        self.module = unwrapped(program.model)
        self.program = program.but(model=self.module)
        self.parameters = parameters_of(self.module)

    @cached_property
    def flow(self) -> Flow:
        """The flow of a random cotangent."""
        return torch_flow(self._random)

    def twin(self) -> ModuleTwin:
        """Return the wide twin."""
        return ModuleTwin(self._random.call, self.flow)

    @property
    def _random(self) -> Program:
        """The program with a random loss."""
        return self.program.but(ys=None, loss=_random_loss, cotangent=None)

    def weights(self, patterns: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Return the parameters with these names, or else with two axes or more, or raise."""
        meant = {
            name: v
            for name, v in self.parameters.items()
            if (v.ndim > 1 if patterns is None else any(fnmatchcase(name, p) for p in patterns))
        }
        if not meant:
            names, got = [*self.parameters][:3], patterns or ("none that has two axes",)
            raise ValueError(
                f"weights: expected a pattern of names such as {', '.join(names)}, got "
                f"{', '.join(got)}, which matches none"
            )
        return meant

    @contextmanager
    def times(self, weights: dict[str, Tensor], factor: float) -> Iterator[None]:
        """Multiply weights for a while."""
        with holding(self.parameters, {name: v.detach() * factor for name, v in weights.items()}):
            yield


def _random_loss(output: Output, ys: object = None) -> Any:
    """Return the sum of the entries of an output, each times a random number."""
    values = prediction_of(output)
    draws = torch.randn(values.shape, generator=torch.Generator().manual_seed(0))
    return (values * draws.to(values)).sum()
