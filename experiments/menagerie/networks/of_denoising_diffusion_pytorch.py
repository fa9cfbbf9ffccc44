"""Networks of denoising-diffusion-pytorch."""

import torch
from denoising_diffusion_pytorch import GaussianDiffusion, GaussianDiffusion1D, Unet, Unet1D

from experiments.menagerie import inputs


def _batch(xs: inputs.Batch) -> torch.Tensor:
    return torch.from_numpy(xs)


def _unet() -> Unet:
    return Unet(dim=8, dim_mults=(1, 2, 4), attn_dim_head=4, attn_heads=2, flash_attn=False)


NETWORKS: inputs.Networks = {
    "unet": (
        "Unet",
        lambda: {
            "model": _unet(),
            "xs": (_batch(inputs.images_channels_first()), torch.tensor([1, 20, 300, 900])),
        },
    ),
    "diffusion": (
        "GaussianDiffusion, which returns its loss",
        lambda: {
            "model": GaussianDiffusion(_unet(), image_size=16, timesteps=100),
            "xs": _batch(inputs.images_channels_first()).sigmoid(),
        },
    ),
    "diffusion_of_sequences": (
        "GaussianDiffusion1D of Unet1D, which returns its loss",
        lambda: {
            "model": GaussianDiffusion1D(
                Unet1D(dim=8, dim_mults=(1, 2), channels=3, attn_dim_head=4, attn_heads=2),
                seq_length=16,
                timesteps=100,
            ),
            "xs": _batch(inputs.sequences(3, 16)).sigmoid(),
        },
    ),
}
