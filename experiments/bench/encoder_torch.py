"""The gradient in PyTorch's TransformerEncoder, block by block: `jaxnn.torch_flow`."""

from functools import partial
from pathlib import Path
from typing import Any

import torch

import jaxnn
from experiments.bench import mlp_torch
from experiments.bench.waiting import repeated
from experiments.bench.workload import Workload


def draw(layers: int, width: int, tokens: int, batch: int) -> tuple[Any, torch.Tensor, Any]:
    """Return an encoder, its input and a loss."""
    mlp_torch.use_threads()
    torch.manual_seed(0)
    block = torch.nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True)
    model = torch.nn.TransformerEncoder(block, layers, enable_nested_tensor=False)
    xs, ys = torch.randn(2, batch, tokens, width)
    return model, xs, lambda output: (output - ys).square().mean()


def workload(layers: int, width: int, tokens: int, batch: int, calls: int) -> Workload:
    """Return the flow of each block's output.

    Args:
        layers: blocks of the encoder.
        width: channels.
        tokens: of each example.
        batch: examples.
        calls: in a repetition.
    """
    model, xs, loss = draw(layers, width, tokens, batch)
    once = partial(jaxnn.torch_flow, model, xs, loss=lambda output, _: loss(output))

    def numbers(_: Path) -> list[float]:
        return [float(v) for v in once().log_delta]

    return Workload(partial(repeated, once, calls), numbers)
