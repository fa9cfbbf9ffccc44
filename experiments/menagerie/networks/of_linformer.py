"""Networks of linformer."""

import linformer
import torch

from experiments.menagerie import inputs

NETWORKS: inputs.Networks = {
    "language_model": (
        "LinformerLM",
        lambda: {
            "model": linformer.LinformerLM(20, 16, 6, 4, k=4, heads=2),
            "xs": torch.from_numpy(inputs.tokens()).long(),
        },
    ),
}
