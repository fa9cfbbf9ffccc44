"""PyTorch: its tensors and modules, without importing it: the user has done so."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, Generic, TypeGuard, TypeVar

import jax.numpy as jnp
import numpy as np

from .types import Module, Tensor, torch

PLAIN = (type(None), bool, int, float, str)  # in which there are no tensors
CLASSES = 1024  # of modules that are known, at most
MANY = 1024  # facts that are noted before those whose memory is free again are dropped
SAFE = 30  # the exponent of norms whose squares are far from the ends of float32

T = TypeVar("T")


def is_tensor(value: object) -> TypeGuard[Tensor]:
    """Tell torch's tensors by a method of theirs."""
    return hasattr(value, "register_hook")


def tensors_in(value: object) -> list[Any]:
    """Return the tensors in a tuple, list or dict, or the one that is given."""
    if is_tensor(value):
        return [value]
    if not isinstance(value, tuple | list):
        if not isinstance(value, Mapping):
            return []
        value = value.values()
    tensors: list[Any] = []
    for part in value:
        if is_tensor(part):
            tensors.append(part)
        elif type(part) not in PLAIN:
            tensors += tensors_in(part)
    return tensors


def mapped(value: object, change: Callable[[Tensor], Any]) -> Any:
    """Return a tuple, list or dict of the same kind with all tensors in it changed."""
    if is_tensor(value):
        return change(value)
    if isinstance(value, Mapping):
        changed: Any = copy.copy(value) if hasattr(value, "__setitem__") else dict(value)
        for key, part in value.items():
            if part is not None:
                changed[key] = mapped(part, change)
        return changed
    if isinstance(value, tuple | list):
        parts = [mapped(part, change) for part in value]
        if hasattr(value, "_make"):  # a named tuple
            return value._make(parts)
        return type(value)(parts)
    return value


def owned(value: object) -> Any:
    """Return inputs or labels whose tensors are copies, but for those that have a gradient."""
    return mapped(value, lambda v: v if v.requires_grad else v.clone())


def first_tensor(value: object) -> Any:
    """Return the first tensor in a tuple, list or dict; None if there is none."""
    return next(iter(tensors_in(value)), None)


def has_gradient(value: object) -> TypeGuard[Tensor]:
    """Tell tensors of floats that torch records a graph of."""
    return bool(is_tensor(value) and value.is_floating_point() and value.requires_grad)


def name_of_dtype(tensor: Tensor) -> str:
    """Return the name that NumPy and JAX have for a dtype of torch."""
    return str(tensor.dtype).removeprefix("torch.")


@cache
def highest_exponent(dtype: str) -> int:
    """Return the exponent of the largest power of two of a dtype, given its name."""
    return int(jnp.finfo(dtype).maxexp) - 1  # type: ignore[no-untyped-call]


def numbers_of(tensor: Tensor) -> np.ndarray:
    """Return a tensor's numbers, in its memory where that can be; 16-bit floats as float32."""
    tensor = tensor.detach()
    if tensor.element_size() < 4:
        tensor = tensor.float()
    return np.asarray(tensor.cpu().numpy())


def is_a(module: Module, name: str) -> bool:
    """Tell a module of torch.nn, or of a subclass, by the name of its class."""
    kind: type = type(module)
    return name in _classes_of_torch(kind)


@lru_cache(maxsize=CLASSES)
def _classes_of_torch(kind: type) -> frozenset[str]:
    """Return the names of torch's own classes that a class of modules is one of."""
    return frozenset(c.__name__ for c in kind.__mro__ if of_torch(c))


def of_torch(kind: type) -> bool:
    """Tell torch's own classes of modules."""
    return kind.__module__.startswith("torch.nn.")


def is_broken(tensor: Tensor) -> bool:
    """Tell whether an entry is nan or inf; -inf stands in masks, and floats of 8 bits have none."""
    is_whole = tensor.layout == torch.strided and tensor.element_size() > 1
    return is_whole and bool(((tensor != tensor) | (tensor == math.inf)).any())


def log_norm(tensor: Tensor) -> float:
    """Return ln of the norm of a tensor, also where its squares leave the range; -inf of zeros."""
    return size_of(tensor)[0]


def size_of(tensor: Tensor) -> tuple[float, float]:
    """Return ln of the norm, nan or inf if an entry is, and the exponent of the largest |entry|."""
    m = tensor.detach()
    m = (m.abs() if m.is_complex() else m).flatten()
    m = m.float() if m.element_size() < 4 else m
    largest = float(m.abs().max()) if m.numel() else 0.0
    if largest == 0:
        return -np.inf, -np.inf
    if not np.isfinite(largest):
        return (np.nan if np.isnan(largest) else np.inf), np.inf
    k = int(np.frexp(largest)[1]) - 1
    half = k // 2  # 2^-k alone may be beyond the range
    norm = float((m * 2.0**-half * 2.0 ** (half - k)).norm())
    return float(np.log(norm)) + k * float(np.log(2)), float(k)


def log_norms(tensors: Sequence[Any]) -> list[float]:
    """Return ln of the norm of each tensor, as `log_norm` does, of most of them together."""
    alike: dict[Any, list[int]] = {}
    for i, v in enumerate(tensors):
        if v.layout == torch.strided and v.is_floating_point() and v.element_size() >= 4:
            alike.setdefault((v.dtype, v.device), []).append(i)
    logs: dict[int, float] = {}
    for several in alike.values():
        norms = torch.stack(torch._foreach_norm([tensors[i].detach() for i in several]))
        for i, norm in zip(several, norms.tolist(), strict=True):
            if 2.0**-SAFE < norm < 2.0**SAFE:
                logs[i] = math.log(norm)
    return [logs[i] if i in logs else log_norm(v) for i, v in enumerate(tensors)]


def rows_of(tensors: Sequence[Any]) -> list[list[float]]:
    """Return the numbers of vectors of one length, of those alike in one transfer."""
    alike: dict[Any, list[int]] = {}
    for i, v in enumerate(tensors):
        alike.setdefault((v.dtype, v.device), []).append(i)
    rows: list[list[float]] = [[] for _ in tensors]
    for several in alike.values():
        together = torch.stack([tensors[i] for i in several]).tolist()
        for i, row in zip(several, together, strict=True):
            rows[i] = row
    return rows


def memory_of(tensor: Tensor) -> int:
    """Return a number that a tensor and its views have."""
    return int(tensor.untyped_storage()._cdata)


class ByMemory(Generic[T]):
    """Facts about tensors, and their views, by the memory that holds their numbers."""

    def __init__(self, unknown: T) -> None:
        self.unknown, self.most = unknown, MANY
        self.known: dict[int, tuple[Any, T]] = {}

    def __contains__(self, tensor: Tensor) -> bool:
        return memory_of(tensor) in self.known

    def __getitem__(self, tensor: Tensor) -> T:
        return self.known.get(memory_of(tensor), (None, self.unknown))[1]

    def __setitem__(self, tensor: Tensor, fact: T) -> None:
        if len(self.known) > self.most:
            self.known = {at: v for at, v in self.known.items() if not v[0].expired()}
            self.most = max(MANY, 2 * len(self.known))
        # A weak reference keeps the address of its memory from being used again.
        reference = torch.multiprocessing.reductions.StorageWeakRef
        self.known[memory_of(tensor)] = reference(tensor.untyped_storage()), fact
