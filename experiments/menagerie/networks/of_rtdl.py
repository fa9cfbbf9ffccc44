"""Networks of rtdl for tables of numbers."""

import rtdl
import torch

from experiments.menagerie import inputs


def _table() -> torch.Tensor:
    return torch.from_numpy(inputs.vectors())


NETWORKS: inputs.Networks = {
    "mlp": (
        "MLP",
        lambda: {"model": rtdl.MLP.make_baseline(8, [16] * 4, 0.1, 3), "xs": _table()},
    ),
    "resnet": (
        "ResNet",
        lambda: {
            "model": rtdl.ResNet.make_baseline(
                d_in=8,
                n_blocks=4,
                d_main=16,
                d_hidden=32,
                dropout_first=0.1,
                dropout_second=0.0,
                d_out=3,
            ),
            "xs": _table(),
        },
    ),
    "ft_transformer": (
        "FTTransformer",
        lambda: {
            "model": rtdl.FTTransformer.make_baseline(
                n_num_features=8,
                cat_cardinalities=None,
                d_token=16,
                n_blocks=4,
                attention_dropout=0.0,
                ffn_d_hidden=32,
                ffn_dropout=0.0,
                residual_dropout=0.0,
                d_out=3,
            ),
            "xs": (_table(), None),
        },
    ),
}
