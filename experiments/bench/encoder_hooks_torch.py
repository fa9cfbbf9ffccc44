"""The gradient in PyTorch's TransformerEncoder, block by block, by plain hooks."""

from functools import partial

import torch

from experiments.bench import encoder_torch
from experiments.bench.waiting import repeated
from experiments.bench.workload import Workload


def workload(layers: int, width: int, tokens: int, batch: int, calls: int) -> Workload:
    """Return the peer of `encoder_torch.py`: ‖Δ‖ and the mean square of each block's output."""
    model, xs, loss = encoder_torch.draw(layers, width, tokens, batch)
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
        logs: list[float] = torch.stack(deltas[::-1]).log().tolist()
        return logs

    return Workload(partial(repeated, once, calls), lambda _: once())
