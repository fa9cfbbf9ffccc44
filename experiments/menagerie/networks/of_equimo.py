"""Networks of Equimo, in inference mode: vision models of Equinox, small."""

from typing import Any

import jax
from equimo.vision import models

from experiments.menagerie import inputs

KEY = jax.random.key(0)


def _measured(model: Any, size: int = 32) -> dict[str, Any]:
    f = lambda model, x: model(x, key=KEY, inference=True)
    return {"model": (f, model), "xs": inputs.images_channels_first(size), "each": "example"}


def vision_transformer() -> dict[str, Any]:
    """VisionTransformer."""
    return _measured(models.VisionTransformer(32, 3, 16, 8, 2, [4], num_classes=10, key=KEY))


def convnext() -> dict[str, Any]:
    """ConvNeXt."""
    return _measured(
        models.ConvNeXt(3, depths=[1, 1, 2, 1], dims=[8, 8, 16, 16], num_classes=10, key=KEY), 64
    )


def reduceformer() -> dict[str, Any]:
    """reduceformer_backbone_b1."""
    return _measured(models.reduceformer_backbone_b1(num_classes=10, key=KEY), 64)


def iformer() -> dict[str, Any]:
    """iformer_t."""
    return _measured(models.iformer_t(num_classes=10, key=KEY), 64)
