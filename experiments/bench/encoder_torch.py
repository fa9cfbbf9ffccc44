"""The gradient in PyTorch's TransformerEncoder, block by block: `jaxnn.gradient_flow`."""

from functools import partial
from typing import Any

import numpy as np
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
    """Return the flow of each block's output."""
    model, xs, loss = draw(layers, width, tokens, batch)
    once = partial(jaxnn.gradient_flow, model, xs, loss=lambda output, _: loss(output))

    return Workload(partial(repeated, once, calls), lambda _: np.asarray(once().log_delta))
