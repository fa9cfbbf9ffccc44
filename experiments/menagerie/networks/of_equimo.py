"""Networks of Equimo, in inference mode: vision models of Equinox, small."""

import jax
from equimo.vision import models
from jaxtyping import PyTree

from experiments.menagerie import inputs

KEY = jax.random.key(0)


def arguments(model: PyTree, xs: inputs.Batch) -> inputs.Arguments:
    f = lambda model, x: model(x, key=KEY, inference=True)
    return {"model": (f, model), "xs": xs, "each": "example"}


NETWORKS: inputs.Networks = {
    "vision_transformer": (
        "VisionTransformer",
        lambda: models.VisionTransformer(32, 3, 16, 8, 2, [4], num_classes=10, key=KEY),
        lambda: inputs.images_channels_first(32),
    ),
    "convnext": (
        "ConvNeXt",
        lambda: models.ConvNeXt(
            3, depths=[1, 1, 2, 1], dims=[8, 8, 16, 16], num_classes=10, key=KEY
        ),
        lambda: inputs.images_channels_first(64),
    ),
    "reduceformer": (
        "reduceformer_backbone_b1",
        lambda: models.reduceformer_backbone_b1(num_classes=10, key=KEY),
        lambda: inputs.images_channels_first(64),
    ),
    "iformer": (
        "iformer_t",
        lambda: models.iformer_t(num_classes=10, key=KEY),
        lambda: inputs.images_channels_first(64),
    ),
}
