"""A deep network of PyTorch Geometric."""

import torch
from torch_geometric import nn


class Deep(torch.nn.Module):
    """Layers with a norm and a skip around each, as in the package's example of 28 layers."""

    def __init__(self) -> None:
        super().__init__()
        layer = lambda: nn.models.DeepGCNLayer(
            nn.GENConv(16, 16), nn.LayerNorm(16), torch.nn.ReLU(), block="res+"
        )
        self.encoder, self.head = torch.nn.Linear(8, 16), torch.nn.Linear(16, 3)
        self.layers = torch.nn.ModuleList(layer() for _ in range(6))

    def forward(self, x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        x = self.encoder(x)
        for layer in self.layers:
            x = layer(x, edges)
        return self.head(x)
