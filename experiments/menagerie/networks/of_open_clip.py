"""Networks of OpenCLIP: two towers, of images and of texts."""

from typing import Any

import open_clip
import torch
from torch.nn.functional import cross_entropy

from experiments.menagerie import inputs

WORDS = torch.from_numpy(inputs.tokens(16, 30)).long()
IMAGES = torch.from_numpy(inputs.images_channels_first(32))
TEXTS = {"context_length": 16, "vocab_size": 30, "width": 32, "heads": 2, "layers": 3}
VISION = {"image_size": 32, "width": 32, "head_width": 8}


def _contrast(output: Any, _: object) -> torch.Tensor:
    """Return the contrastive loss of images and their texts."""
    image, text, scale = output
    logits, pairs = scale * image @ text.T, torch.arange(len(image))
    return (cross_entropy(logits, pairs) + cross_entropy(logits.T, pairs)) / 2


def _caption(output: dict[str, torch.Tensor], _: object) -> torch.Tensor:
    """Return the loss of CoCa: that of pairs, and that of the next words."""
    features = (output[f"{name}_features"] for name in ("image", "text"))
    words = cross_entropy(output["logits"].mT, output["labels"])
    return _contrast((*features, output["logit_scale"]), None) + words


def _clip(vision: dict[str, object]) -> inputs.Arguments:
    model = open_clip.CLIP(32, {**VISION, **vision}, TEXTS)
    return {"model": model, "xs": {"image": IMAGES, "text": WORDS}, "loss": _contrast}


def _coca() -> inputs.Arguments:
    vision = {"layers": 3, "patch_size": 8, "attentional_pool": True, "attn_pooler_heads": 2}
    model = open_clip.CoCa(
        32,
        {**TEXTS, "layers": 2},
        {**TEXTS, "embed_cls": True, "output_tokens": True},
        {**VISION, **vision, "output_tokens": True},
    )
    # The package leaves it as memory was: `init_parameters` is not called.
    torch.nn.init.normal_(model.text_decoder.text_projection, std=32**-0.5)
    return {"model": model, "xs": {"image": IMAGES, "text": WORDS}, "loss": _caption}


NETWORKS: inputs.Networks = {
    "clip": (
        "CLIP with a vision transformer",
        lambda: _clip({"layers": 4, "patch_size": 8}),
    ),
    "clip_resnet": (
        "CLIP with a ResNet",
        lambda: _clip({"layers": (1, 1, 1, 1), "width": 8}),
    ),
    "coca": ("CoCa", _coca),
}
