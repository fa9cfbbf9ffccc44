"""Networks of PyTorch Geometric on one graph, whose nodes are the examples."""

from typing import Any

import torch
from torch_geometric import nn
from torch_geometric.nn import models

from experiments.menagerie import inputs

NODES = torch.from_numpy(inputs.vectors()).repeat(3, 1)
EDGES = torch.tensor([[i, (i + step) % 12] for i in range(12) for step in (1, 3, 5)]).T


def network(_: str, title: str, layers: int = 4, **options: Any) -> inputs.Arguments:
    """Return a network of message passing by its class."""
    model = getattr(models, title.split(",")[0])(8, 16, layers, 3, **options)
    return {"model": model, "xs": (NODES, EDGES)}


class _Deep(torch.nn.Module):
    """Layers with a norm and a skip around each, as in the package's example of 28 layers."""

    def __init__(self) -> None:
        super().__init__()
        layer = lambda: models.DeepGCNLayer(
            nn.GENConv(16, 16), nn.LayerNorm(16), torch.nn.ReLU(), block="res+"
        )
        self.encoder, self.head = torch.nn.Linear(8, 16), torch.nn.Linear(16, 3)
        self.layers = torch.nn.ModuleList(layer() for _ in range(6))

    def forward(self, x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        x = self.encoder(x)
        for layer in self.layers:
            x = layer(x, edges)
        return self.head(x)


NETWORKS: inputs.Networks = {
    "gcn": {"title": "GCN"},
    "sage": {"title": "GraphSAGE, with layer norms", "norm": "layer"},
    "gin": {"title": "GIN"},
    "gat": {"title": "GAT", "heads": 2},
    "edge_cnn": {"title": "EdgeCNN"},
    "jumping": {"title": "GCN, with jumping knowledge", "jk": "cat"},
    "deep_gcn": ("DeepGCNLayer of GENConv", lambda: {"model": _Deep(), "xs": (NODES, EDGES)}),
}
