"""Networks of timm, without weights."""

from typing import Any

import timm
import torch

from experiments.menagerie import inputs


def _measured(name: str, size: int = 64, **more: Any) -> dict[str, Any]:
    model = timm.create_model(name, num_classes=10, **more)
    return {"model": model, "xs": torch.from_numpy(inputs.images_channels_first(size))}


def vit_tiny_patch16_224() -> dict[str, Any]:
    """vit_tiny_patch16_224."""
    return _measured("vit_tiny_patch16_224", 64, img_size=64)


def deit_tiny_distilled_patch16_224() -> dict[str, Any]:
    """deit_tiny_distilled_patch16_224."""
    return _measured("deit_tiny_distilled_patch16_224", 64, img_size=64)


def mixer_s32_224() -> dict[str, Any]:
    """mixer_s32_224."""
    return _measured("mixer_s32_224", 64, img_size=64)


def convnext_atto() -> dict[str, Any]:
    """convnext_atto."""
    return _measured("convnext_atto", 64)


def swin_tiny_patch4_window7_224() -> dict[str, Any]:
    """swin_tiny_patch4_window7_224."""
    return _measured("swin_tiny_patch4_window7_224", 56, img_size=56)


def resnet10t() -> dict[str, Any]:
    """resnet10t."""
    return _measured("resnet10t", 64)


def efficientnet_lite0() -> dict[str, Any]:
    """efficientnet_lite0."""
    return _measured("efficientnet_lite0", 64)


def poolformer_s12() -> dict[str, Any]:
    """poolformer_s12."""
    return _measured("poolformer_s12", 64)


def gmlp_s16_224() -> dict[str, Any]:
    """gmlp_s16_224."""
    return _measured("gmlp_s16_224", 64, img_size=64)


def beit_base_patch16_224() -> dict[str, Any]:
    """beit_base_patch16_224."""
    return _measured("beit_base_patch16_224", 64, img_size=64, embed_dim=48, depth=4, num_heads=4)


def cait_xxs24_224() -> dict[str, Any]:
    """cait_xxs24_224."""
    return _measured("cait_xxs24_224", 64, img_size=64)


def hrnet_w18_small() -> dict[str, Any]:
    """hrnet_w18_small."""
    return _measured("hrnet_w18_small", 64)


def dla34() -> dict[str, Any]:
    """dla34."""
    return _measured("dla34", 64)


def mobilevit_xxs() -> dict[str, Any]:
    """mobilevit_xxs."""
    return _measured("mobilevit_xxs", 64)


def edgenext_xx_small() -> dict[str, Any]:
    """edgenext_xx_small."""
    return _measured("edgenext_xx_small", 64)


def xcit_nano_12_p16_224() -> dict[str, Any]:
    """xcit_nano_12_p16_224."""
    return _measured("xcit_nano_12_p16_224", 64, img_size=64)


def regnetx_002() -> dict[str, Any]:
    """regnetx_002."""
    return _measured("regnetx_002", 64)


def levit_128s() -> dict[str, Any]:
    """levit_128s."""
    return _measured("levit_128s", 224)


def ghostnet_050() -> dict[str, Any]:
    """ghostnet_050."""
    return _measured("ghostnet_050", 64)


def mobilenetv4_conv_small() -> dict[str, Any]:
    """mobilenetv4_conv_small."""
    return _measured("mobilenetv4_conv_small", 64)


def repvgg_a0() -> dict[str, Any]:
    """repvgg_a0."""
    return _measured("repvgg_a0", 64)


def convmixer_768_32() -> dict[str, Any]:
    """convmixer_768_32."""
    return _measured("convmixer_768_32", 64)


def resnetv2_18() -> dict[str, Any]:
    """resnetv2_18."""
    return _measured("resnetv2_18", 64)


def fastvit_t8() -> dict[str, Any]:
    """fastvit_t8."""
    return _measured("fastvit_t8", 64)
