"""PyTorch: copies of modules."""

import copy
from typing import Any

from .tensors import tensors_in
from .types import Module


def copied(module: Module, memo: dict[int, Any] | None = None) -> Any:
    """Return a copy of a module, also of one that keeps tensors which its forward pass has made.

    Raises:
        ValueError: a module that `copy.deepcopy` does not copy.
    """
    memo = {} if memo is None else memo
    # `copy.deepcopy` refuses these, such as `weight` of the older `weight_norm`; the copy has their
    # numbers until its own forward pass makes them anew.
    held = (v for one in module.modules() for v in tensors_in(vars(one)))
    memo.update((id(v), v.detach().clone()) for v in held if not v.is_leaf)
    try:
        return copy.deepcopy(module, memo)
    except Exception as error:
        raise ValueError(
            "model: expected a module that copy.deepcopy copies, since copies are changed and "
            f"trained, got {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        ) from error
