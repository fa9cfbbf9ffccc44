"""Networks of perceiver-pytorch."""

import perceiver_pytorch
import torch

from experiments.menagerie import inputs

LATENTS = {"num_latents": 6, "latent_dim": 16, "cross_dim_head": 8, "latent_dim_head": 8}


NETWORKS: inputs.Networks = {
    "perceiver": (
        "Perceiver",
        lambda: {
            "model": perceiver_pytorch.Perceiver(
                num_freq_bands=2, max_freq=4.0, depth=3, latent_heads=2, num_classes=3, **LATENTS
            ),
            "xs": torch.from_numpy(inputs.images(8)),
        },
    ),
    "perceiver_io": (
        "PerceiverIO",
        lambda: {
            "model": perceiver_pytorch.PerceiverIO(
                dim=8, depth=4, queries_dim=8, logits_dim=3, latent_heads=2, **LATENTS
            ),
            "xs": {
                "data": torch.from_numpy(inputs.sequences()),
                "queries": torch.from_numpy(inputs.sequences()),
            },
        },
    ),
}
