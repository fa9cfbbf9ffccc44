"""Networks of OpenCLIP: two towers, of images and of texts, and their losses."""

from typing import Any

import open_clip
import torch
from torch.nn.functional import cross_entropy

TEXTS = {"context_length": 16, "vocab_size": 30, "width": 32, "heads": 2, "layers": 3}
VISION = {"image_size": 32, "width": 32, "head_width": 8}


def contrast(output: Any, _: object) -> torch.Tensor:
    """Return the contrastive loss of images and their texts."""
    image, text, scale = output
    logits, pairs = scale * image @ text.T, torch.arange(len(image))
    return (cross_entropy(logits, pairs) + cross_entropy(logits.T, pairs)) / 2


def caption(output: dict[str, torch.Tensor], _: object) -> torch.Tensor:
    """Return the loss of CoCa: that of pairs, and that of the next words."""
    features = (output[f"{name}_features"] for name in ("image", "text"))
    words = cross_entropy(output["logits"].mT, output["labels"])
    return contrast((*features, output["logit_scale"]), None) + words


def coca() -> Any:
    vision = {"layers": 3, "patch_size": 8, "attentional_pool": True, "attn_pooler_heads": 2}
    model = open_clip.CoCa(
        32,
        {**TEXTS, "layers": 2},
        {**TEXTS, "embed_cls": True, "output_tokens": True},
        {**VISION, **vision, "output_tokens": True},
    )
    # The package leaves it as memory was: `init_parameters` is not called.
    torch.nn.init.normal_(model.text_decoder.text_projection, std=32**-0.5)
    return model
