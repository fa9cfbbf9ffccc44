"""PyTorch's types, for whoever reads or checks the code: torch itself is never imported."""

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch as torch
    from torch import Tensor as Tensor
    from torch._ops import OpOverload as OpOverload
    from torch.autograd.graph import GradientEdge as GradientEdge
    from torch.autograd.graph import Node as Node
    from torch.nn import Module as Module
else:
    GradientEdge = Module = Node = OpOverload = Tensor = Any

    class _Torch:
        """Torch itself, which whoever has a module has imported."""

        def __getattr__(self, name: str) -> Any:
            return getattr(sys.modules.get("torch"), name)  # an AttributeError for who only looks

    torch = _Torch()

Arguments = tuple[Any, ...]  # of a call, whatever the user hands over
Named = dict[str, Any]  # such as have names
Inputs = Any  # a tensor, arguments, or these by name; see `jaxnn.gradient_flow`
Output = Any  # of a module
Loss = Callable[..., Any]  # (output, ys) -> a tensor
Cuts = str | Module | Sequence[str | Module] | None  # see `jaxnn.gradient_flow`
