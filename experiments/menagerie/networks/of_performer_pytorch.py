"""Networks of performer-pytorch."""

import performer_pytorch
import torch

from experiments.menagerie import inputs

SIZES = {"dim": 16, "depth": 4, "heads": 2, "dim_head": 8}

NETWORKS: inputs.Networks = {
    "performer": (
        "Performer",
        lambda: {
            "model": performer_pytorch.Performer(**SIZES),
            "xs": torch.from_numpy(inputs.sequences(units=16)),
        },
    ),
    "language_model": (
        "PerformerLM",
        lambda: {
            "model": performer_pytorch.PerformerLM(num_tokens=20, max_seq_len=6, **SIZES),
            "xs": torch.from_numpy(inputs.tokens()).long(),
        },
    ),
}
