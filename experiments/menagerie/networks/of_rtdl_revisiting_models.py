"""Networks of rtdl_revisiting_models for tables of numbers."""

import rtdl_revisiting_models as rtdl
import torch

from experiments.menagerie import inputs


def _table() -> torch.Tensor:
    return torch.from_numpy(inputs.vectors())


NETWORKS: inputs.Networks = {
    "mlp": (
        "MLP",
        lambda: {
            "model": rtdl.MLP(d_in=8, d_out=3, n_blocks=4, d_block=16, dropout=0.1),
            "xs": _table(),
        },
    ),
    "resnet": (
        "ResNet",
        lambda: {
            "model": rtdl.ResNet(
                d_in=8,
                d_out=3,
                n_blocks=4,
                d_block=16,
                d_hidden=None,
                d_hidden_multiplier=2.0,
                dropout1=0.1,
                dropout2=0.0,
            ),
            "xs": _table(),
        },
    ),
    "ft_transformer": (
        "FTTransformer",
        lambda: {
            "model": rtdl.FTTransformer(
                n_cont_features=8,
                cat_cardinalities=[],
                d_out=3,
                n_blocks=4,
                d_block=16,
                attention_n_heads=2,
                attention_dropout=0.0,
                ffn_d_hidden=None,
                ffn_d_hidden_multiplier=2.0,
                ffn_dropout=0.0,
                residual_dropout=0.0,
            ),
            "xs": (_table(), None),
        },
    ),
}
