"""Networks of diffusers with small configurations and random weights."""

from typing import Any

import diffusers
import torch

from experiments.menagerie import inputs

LEVELS = {
    "sample_size": 16,
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "norm_num_groups": 4,
}
IMAGES = torch.from_numpy(inputs.images_channels_first())
TIMES = torch.tensor([1, 20, 300, 900])
WORDS = torch.from_numpy(inputs.sequences(units=16))


def arguments(model: torch.nn.Module, **xs: Any) -> inputs.Arguments:
    return {"model": model, "xs": xs}


NETWORKS: inputs.Networks = {
    "unet": (
        "UNet2DModel",
        lambda: arguments(
            diffusers.UNet2DModel(
                **LEVELS,
                attention_head_dim=4,
                down_block_types=("DownBlock2D", "AttnDownBlock2D"),
                up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            ),
            sample=IMAGES,
            timestep=TIMES,
        ),
    ),
    "conditional_unet": (
        "UNet2DConditionModel",
        lambda: arguments(
            diffusers.UNet2DConditionModel(
                **LEVELS,
                in_channels=3,
                out_channels=3,
                attention_head_dim=4,
                cross_attention_dim=16,
                down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
                up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            ),
            sample=IMAGES,
            timestep=TIMES,
            encoder_hidden_states=WORDS,
        ),
    ),
    "autoencoder": (
        "AutoencoderKL",
        lambda: arguments(
            diffusers.AutoencoderKL(
                **LEVELS,
                down_block_types=("DownEncoderBlock2D",) * 2,
                up_block_types=("UpDecoderBlock2D",) * 2,
            ),
            sample=IMAGES,
        ),
    ),
    "dit": (
        "DiTTransformer2DModel",
        lambda: arguments(
            diffusers.DiTTransformer2DModel(
                num_attention_heads=2,
                attention_head_dim=8,
                in_channels=3,
                num_layers=3,
                sample_size=16,
                patch_size=4,
                norm_num_groups=4,
                num_embeds_ada_norm=10,
            ),
            hidden_states=IMAGES,
            timestep=TIMES,
            class_labels=torch.arange(4),
        ),
    ),
    "prior": (
        "PriorTransformer",
        lambda: arguments(
            diffusers.PriorTransformer(
                num_attention_heads=2,
                attention_head_dim=8,
                num_layers=3,
                embedding_dim=16,
                num_embeddings=6,
                additional_embeddings=4,
            ),
            hidden_states=torch.from_numpy(inputs.vectors(16)),
            timestep=TIMES,
            proj_embedding=torch.from_numpy(inputs.vectors(16)),
            encoder_hidden_states=WORDS,
        ),
    ),
}
