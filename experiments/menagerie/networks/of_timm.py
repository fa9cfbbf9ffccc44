"""Networks of timm, without weights; an entry has the options that it takes here."""

from typing import Any

import timm
import torch

from experiments.menagerie import inputs


def network(name: str, _: str, size: int = 64, **options: Any) -> inputs.Arguments:
    """Return a network for images of some size."""
    model = timm.create_model(name, num_classes=10, **options)
    return {"model": model, "xs": torch.from_numpy(inputs.images_channels_first(size))}


NETWORKS: inputs.Networks = {
    "vit_tiny_patch16_224": {"img_size": 64},
    "deit_tiny_distilled_patch16_224": {"img_size": 64},
    "mixer_s32_224": {"img_size": 64},
    "convnext_atto": {},
    "swin_tiny_patch4_window7_224": {"size": 56, "img_size": 56},
    "resnet10t": {},
    "efficientnet_lite0": {},
    "poolformer_s12": {},
    "gmlp_s16_224": {"img_size": 64},
    "beit_base_patch16_224": {"img_size": 64, "embed_dim": 48, "depth": 4, "num_heads": 4},
    "cait_xxs24_224": {"img_size": 64},
    "hrnet_w18_small": {},
    "dla34": {},
    "mobilevit_xxs": {},
    "edgenext_xx_small": {},
    "xcit_nano_12_p16_224": {"img_size": 64},
    "regnetx_002": {},
    "levit_128s": {"size": 224},
    "ghostnet_050": {},
    "mobilenetv4_conv_small": {},
    "repvgg_a0": {},
    "convmixer_768_32": {},
    "resnetv2_18": {},
    "fastvit_t8": {},
}
