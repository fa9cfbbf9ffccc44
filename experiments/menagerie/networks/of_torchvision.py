"""Networks of torchvision, without weights; an entry has the options that it takes here."""

from typing import Any

import torch
from torchvision import models

from experiments.menagerie import inputs


def network(name: str, _: str, size: int = 64, **options: Any) -> inputs.Arguments:
    """Return a classifier of images of some size."""
    return _measured(models.get_model(name, num_classes=10, **options), size)


def _measured(model: torch.nn.Module, size: int) -> inputs.Arguments:
    return {"model": model, "xs": torch.from_numpy(inputs.images_channels_first(size))}


def _segmentation(name: str, size: int) -> inputs.Arguments:
    return _measured(
        models.get_model(name, weights=None, weights_backbone=None, num_classes=4), size
    )


def _video() -> inputs.Arguments:
    return {
        "model": models.video.r3d_18(num_classes=10),
        "xs": torch.from_numpy(inputs.images_channels_first(16)).unsqueeze(2).repeat(1, 1, 4, 1, 1),
    }


NETWORKS: inputs.Networks = {
    "alexnet": {"title": "models.alexnet"},
    "resnet18": {"title": "models.resnet18"},
    "resnet50": {"title": "models.resnet50"},
    "vgg11": {"title": "models.vgg11"},
    "vgg11_bn": {"title": "models.vgg11_bn"},
    "densenet121": {"title": "models.densenet121"},
    "mobilenet_v2": {"title": "models.mobilenet_v2"},
    "mobilenet_v3_small": {"title": "models.mobilenet_v3_small"},
    "squeezenet1_1": {"title": "models.squeezenet1_1"},
    "shufflenet_v2_x0_5": {"title": "models.shufflenet_v2_x0_5"},
    "mnasnet0_5": {"title": "models.mnasnet0_5"},
    "efficientnet_b0": {"title": "models.efficientnet_b0"},
    "efficientnet_v2_s": {"title": "models.efficientnet_v2_s"},
    "regnet_y_400mf": {"title": "models.regnet_y_400mf"},
    "convnext_tiny": {"title": "models.convnext_tiny"},
    "swin_t": {"title": "models.swin_t"},
    "resnext50_32x4d": {"title": "models.resnext50_32x4d"},
    "wide_resnet50_2": {"title": "models.wide_resnet50_2"},
    "googlenet": {"title": "models.googlenet, with auxiliary heads", "init_weights": False},
    "inception_v3": {
        "title": "models.inception_v3, with an auxiliary head",
        "init_weights": False,
        "size": 299,
    },
    "vision_transformer": (
        "models.VisionTransformer",
        lambda: _measured(models.VisionTransformer(32, 8, 4, 2, 32, 64, num_classes=10), 32),
    ),
    "fcn": ("models.segmentation.fcn_resnet50", lambda: _segmentation("fcn_resnet50", 32)),
    "deeplab": (
        "models.segmentation.lraspp_mobilenet_v3_large",
        lambda: _segmentation("lraspp_mobilenet_v3_large", 64),
    ),
    "video": ("models.video.r3d_18", _video),
}
