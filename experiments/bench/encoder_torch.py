"""The gradient in PyTorch's TransformerEncoder, block by block: by `jaxnn`, or by plain hooks."""

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import torch

import jaxnn
from experiments.bench import mlp_torch
from experiments.bench.waiting import repeated
from experiments.bench.workload import Workload

Loss = Callable[[torch.Tensor], torch.Tensor]


def workload(layers: int, width: int, tokens: int, batch: int, calls: int, hooks: bool) -> Workload:
    """Return the flow of each block's output, or ‖Δ‖ and the mean square of it by hooks."""
    mlp_torch.use_threads()
    torch.manual_seed(0)
    block = torch.nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True)
    model = torch.nn.TransformerEncoder(block, layers, enable_nested_tensor=False)
    xs, ys = torch.randn(2, batch, tokens, width)

    def loss(output: torch.Tensor) -> torch.Tensor:
        return (output - ys).square().mean()

    if hooks:
        once = hooked(model, xs, loss)
        return Workload(partial(repeated, once, calls), lambda _: once())
    flow = partial(jaxnn.gradient_flow, model, xs, loss=lambda output, _: loss(output))
    return Workload(partial(repeated, flow, calls), lambda _: np.asarray(flow().log_delta))


def hooked(
    model: torch.nn.TransformerEncoder, xs: torch.Tensor, loss: Loss
) -> Callable[[], Iterable[float]]:
    """Return a pass down whose hooks record ‖Δ‖ and the mean square of each block's output."""
    deltas: list[torch.Tensor] = []
    signals: list[torch.Tensor] = []

    def watch(_: torch.nn.Module, __: tuple[torch.Tensor, ...], state: torch.Tensor) -> None:
        signals.append(state.detach().square().mean())
        state.register_hook(lambda delta: deltas.append(delta.norm()))

    for block in model.layers:
        block.register_forward_hook(watch)

    def once() -> list[float]:
        deltas.clear()
        signals.clear()
        loss(model(xs)).backward()
        model.zero_grad()
        torch.stack(signals).log().tolist()
        return torch.stack(deltas[::-1]).log().tolist()

    return once
