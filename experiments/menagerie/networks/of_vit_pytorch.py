"""Networks of vit-pytorch."""

from typing import Any

import torch
import vit_pytorch
from vit_pytorch import cait, cct, deepvit, simple_vit, vit_for_small_dataset

from experiments.menagerie import inputs

SIZES: dict[str, Any] = {
    "image_size": 32,
    "patch_size": 8,
    "num_classes": 10,
    "dim": 16,
    "heads": 2,
    "mlp_dim": 32,
}


def _measured(model: torch.nn.Module) -> inputs.Arguments:
    return {"model": model, "xs": torch.from_numpy(inputs.images_channels_first(32))}


NETWORKS: inputs.Networks = {
    "vit": ("ViT", lambda: _measured(vit_pytorch.ViT(**SIZES, depth=4))),
    "simple_vit_": ("SimpleViT", lambda: _measured(simple_vit.SimpleViT(**SIZES, depth=4))),
    "deep_vit": ("DeepViT", lambda: _measured(deepvit.DeepViT(**SIZES, depth=4))),
    "cait_": ("CaiT", lambda: _measured(cait.CaiT(**SIZES, depth=3, cls_depth=2))),
    "small": (
        "vit_for_small_dataset.ViT",
        lambda: _measured(vit_for_small_dataset.ViT(**SIZES, depth=4)),
    ),
    "cct_": (
        "CCT",
        lambda: _measured(
            cct.CCT(
                img_size=32, embedding_dim=16, num_layers=3, num_heads=2, mlp_ratio=2,
                num_classes=10,
            )
        ),
    ),
}  # fmt: skip
