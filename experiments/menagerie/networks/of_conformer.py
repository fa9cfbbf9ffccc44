"""Networks of conformer."""

import conformer
import torch

from experiments.menagerie import inputs

NETWORKS: inputs.Networks = {
    "conformer": (
        "Conformer",
        lambda: {
            "model": conformer.Conformer(16, depth=4, dim_head=8, heads=2, conv_kernel_size=3),
            "xs": torch.from_numpy(inputs.sequences(units=16)),
        },
    ),
}
