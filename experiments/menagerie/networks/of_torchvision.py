"""Networks of torchvision, without weights."""

from typing import Any

import torch
import torchvision

from experiments.menagerie import inputs


def _measured(model: Any, size: int = 64) -> dict[str, Any]:
    return {"model": model, "xs": torch.from_numpy(inputs.images_channels_first(size))}


def alexnet() -> dict[str, Any]:
    """models.alexnet."""
    return _measured(torchvision.models.alexnet(num_classes=10))


def resnet18() -> dict[str, Any]:
    """models.resnet18."""
    return _measured(torchvision.models.resnet18(num_classes=10))


def resnet50() -> dict[str, Any]:
    """models.resnet50."""
    return _measured(torchvision.models.resnet50(num_classes=10))


def vgg11() -> dict[str, Any]:
    """models.vgg11."""
    return _measured(torchvision.models.vgg11(num_classes=10))


def vgg11_bn() -> dict[str, Any]:
    """models.vgg11_bn."""
    return _measured(torchvision.models.vgg11_bn(num_classes=10))


def densenet121() -> dict[str, Any]:
    """models.densenet121."""
    return _measured(torchvision.models.densenet121(num_classes=10))


def mobilenet_v2() -> dict[str, Any]:
    """models.mobilenet_v2."""
    return _measured(torchvision.models.mobilenet_v2(num_classes=10))


def mobilenet_v3_small() -> dict[str, Any]:
    """models.mobilenet_v3_small."""
    return _measured(torchvision.models.mobilenet_v3_small(num_classes=10))


def squeezenet1_1() -> dict[str, Any]:
    """models.squeezenet1_1."""
    return _measured(torchvision.models.squeezenet1_1(num_classes=10))


def shufflenet_v2_x0_5() -> dict[str, Any]:
    """models.shufflenet_v2_x0_5."""
    return _measured(torchvision.models.shufflenet_v2_x0_5(num_classes=10))


def mnasnet0_5() -> dict[str, Any]:
    """models.mnasnet0_5."""
    return _measured(torchvision.models.mnasnet0_5(num_classes=10))


def efficientnet_b0() -> dict[str, Any]:
    """models.efficientnet_b0."""
    return _measured(torchvision.models.efficientnet_b0(num_classes=10))


def efficientnet_v2_s() -> dict[str, Any]:
    """models.efficientnet_v2_s."""
    return _measured(torchvision.models.efficientnet_v2_s(num_classes=10))


def regnet_y_400mf() -> dict[str, Any]:
    """models.regnet_y_400mf."""
    return _measured(torchvision.models.regnet_y_400mf(num_classes=10))


def convnext_tiny() -> dict[str, Any]:
    """models.convnext_tiny."""
    return _measured(torchvision.models.convnext_tiny(num_classes=10))


def swin_t() -> dict[str, Any]:
    """models.swin_t."""
    return _measured(torchvision.models.swin_t(num_classes=10))


def resnext50_32x4d() -> dict[str, Any]:
    """models.resnext50_32x4d."""
    return _measured(torchvision.models.resnext50_32x4d(num_classes=10))


def wide_resnet50_2() -> dict[str, Any]:
    """models.wide_resnet50_2."""
    return _measured(torchvision.models.wide_resnet50_2(num_classes=10))


def googlenet() -> dict[str, Any]:
    """models.googlenet, with auxiliary heads."""
    return _measured(torchvision.models.googlenet(num_classes=10, init_weights=False))


def inception_v3() -> dict[str, Any]:
    """models.inception_v3, with an auxiliary head."""
    return _measured(torchvision.models.inception_v3(num_classes=10, init_weights=False), 299)


def vision_transformer() -> dict[str, Any]:
    """models.VisionTransformer."""
    return _measured(torchvision.models.VisionTransformer(32, 8, 4, 2, 32, 64, num_classes=10), 32)


def fcn() -> dict[str, Any]:
    """models.segmentation.fcn_resnet50."""
    return _measured(
        torchvision.models.segmentation.fcn_resnet50(
            weights=None, weights_backbone=None, num_classes=4
        ),
        32,
    )


def deeplab() -> dict[str, Any]:
    """models.segmentation.lraspp_mobilenet_v3_large."""
    return _measured(
        torchvision.models.segmentation.lraspp_mobilenet_v3_large(
            weights=None, weights_backbone=None, num_classes=4
        ),
        64,
    )


def video() -> dict[str, Any]:
    """models.video.r3d_18."""
    return {
        "model": torchvision.models.video.r3d_18(num_classes=10),
        "xs": torch.from_numpy(inputs.images_channels_first(16)).unsqueeze(2).repeat(1, 1, 4, 1, 1),
    }
