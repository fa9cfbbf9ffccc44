"""The rivals: what other packages make of a module of PyTorch, judged as cures are.

`a module -> the rival's weights -> its flow -> rate, signal, what is left of the examples`

anyinit and LSUV by the packages of these names. GradInit by a package of that name, which is not
its authors': Adam learns a factor on each parameter, here for ten classes told at random. While the
norm of the gradient is above 1, it lowers that, else the loss.
"""

import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from experiments.cures.columns import RIVALS
from experiments.cures.network_torch import arguments
from experiments.cures.recipes import Recipe
from jaxnn.curing.changes import Change
from jaxnn.curing.cure import Cure
from jaxnn.curing.cures import judged
from jaxnn.curing.torch_patient import TorchPatient

STEPS, RATE, CLASSES = 200, 0.01, 10  # of GradInit


def measured(made: Recipe, seed: int) -> Iterator[tuple[str, Cure | str]]:
    """Yield each rival's name with what it makes of a network, or with its error message."""
    for name, change in zip(RIVALS, CHANGES, strict=True):
        if importlib.util.find_spec(name.partition(" ")[0].lower()) is None:
            continue
        given = arguments(made, seed)
        try:
            change(given["model"], given["xs"])
        except Exception as error:  # whatever code of others ends in
            yield name, f"{type(error).__name__}: {error}".partition("\n")[0]
            continue
        options = {"cotangent": given["cotangent"], "cuts": given["cuts"]}
        patient = TorchPatient(given["model"], given["xs"], **options)
        yield name, judged(patient, name, "", Change(patient.params, flow=patient.flow))


def _analytic(module: torch.nn.Module, xs: torch.Tensor) -> None:
    import anyinit

    anyinit.initialize(module, "analytic", tuple(xs.shape))


def _empirical(module: torch.nn.Module, xs: torch.Tensor) -> None:
    import anyinit

    anyinit.initialize(module, "empirical", xs)


def _lsuv(module: torch.nn.Module, xs: torch.Tensor) -> None:
    from lsuv import lsuv_with_singlebatch

    lsuv_with_singlebatch(module, xs, verbose=False)


def _gradinit(module: torch.nn.Module, xs: torch.Tensor) -> None:
    from gradinit import GradInitWrapper

    labels = torch.arange(len(xs)) % min(CLASSES, _logits(module(xs)).shape[1])
    # Only torch's plain attention has second derivatives.
    with GradInitWrapper(module) as wrapper, sdpa_kernel(SDPBackend.MATH):
        optimiser = torch.optim.Adam(module.parameters(), lr=RATE)
        for _ in range(STEPS):
            loss = torch.nn.functional.cross_entropy(_logits(module(xs)), labels)
            optimiser.zero_grad()
            wrapper.grad_loss(loss, norm=2).backward()
            optimiser.step()
            wrapper.clamp_scales()


def _logits(out: torch.Tensor) -> Any:
    """Return means over tokens or pixels, of some units or channels."""
    if out.ndim > 2:
        out = out.mean(1) if out.ndim == 3 else out.mean((2, 3))
    return out[:, :CLASSES]


CHANGES: tuple[Callable[[Any, Any], None], ...] = (_analytic, _empirical, _lsuv, _gradinit)
