"""Networks of segmentation-models-pytorch on a ResNet of 18 layers, without weights."""

import segmentation_models_pytorch as smp
import torch

from experiments.menagerie import inputs


def network(_: str, title: str, size: int = 64) -> inputs.Arguments:
    """Return a network by its class."""
    model = getattr(smp, title)("resnet18", encoder_weights=None, classes=3)
    return {"model": model, "xs": torch.from_numpy(inputs.images_channels_first(size))}


NETWORKS: inputs.Networks = {
    "unet": {"title": "Unet"},
    "unetplusplus": {"title": "UnetPlusPlus"},
    "fpn": {"title": "FPN"},
    "linknet": {"title": "Linknet"},
    "deeplab": {"title": "DeepLabV3Plus"},
    "pspnet": {"title": "PSPNet"},
    "manet": {"title": "MAnet"},
}
