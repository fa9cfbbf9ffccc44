"""Networks of vit-pytorch."""

from functools import partial
from typing import Any

import torch
import vit_pytorch
from vit_pytorch import cait, cct, deepvit, simple_vit, vit_for_small_dataset

from experiments.menagerie import inputs

IMAGES = partial(inputs.images_channels_first, 32)
SIZES: dict[str, Any] = {
    "image_size": 32,
    "patch_size": 8,
    "num_classes": 10,
    "dim": 16,
    "heads": 2,
    "mlp_dim": 32,
}


def arguments(model: torch.nn.Module, xs: inputs.Batch) -> inputs.Arguments:
    return {"model": model, "xs": torch.from_numpy(xs)}


NETWORKS: inputs.Networks = {
    "vit": ("ViT", lambda: vit_pytorch.ViT(**SIZES, depth=4), IMAGES),
    "simple_vit_": ("SimpleViT", lambda: simple_vit.SimpleViT(**SIZES, depth=4), IMAGES),
    "deep_vit": ("DeepViT", lambda: deepvit.DeepViT(**SIZES, depth=4), IMAGES),
    "cait_": ("CaiT", lambda: cait.CaiT(**SIZES, depth=3, cls_depth=2), IMAGES),
    "small": (
        "vit_for_small_dataset.ViT",
        lambda: vit_for_small_dataset.ViT(**SIZES, depth=4),
        IMAGES,
    ),
    "cct_": (
        "CCT",
        lambda: cct.CCT(
            img_size=32, embedding_dim=16, num_layers=3, num_heads=2, mlp_ratio=2, num_classes=10
        ),
        IMAGES,
    ),
}
