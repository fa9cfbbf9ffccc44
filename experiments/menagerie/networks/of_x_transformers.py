"""Networks of x-transformers."""

import torch
import x_transformers as xt

from experiments.menagerie import inputs


def _language(model: torch.nn.Module) -> inputs.Arguments:
    return {"model": model, "xs": torch.from_numpy(inputs.tokens()).long()}


NETWORKS: inputs.Networks = {
    "decoder": (
        "TransformerWrapper of a Decoder",
        lambda: _language(
            xt.TransformerWrapper(
                num_tokens=20, max_seq_len=32, attn_layers=xt.Decoder(dim=16, depth=4, heads=2)
            )
        ),
    ),
    "encoder": (
        "TransformerWrapper of an Encoder with rotary positions",
        lambda: _language(
            xt.TransformerWrapper(
                num_tokens=20,
                max_seq_len=32,
                attn_layers=xt.Encoder(dim=16, depth=4, heads=2, rotary_pos_emb=True),
            )
        ),
    ),
    "autoregressive": (
        "AutoregressiveWrapper, which returns its loss",
        lambda: _language(
            xt.AutoregressiveWrapper(
                xt.TransformerWrapper(
                    num_tokens=20,
                    max_seq_len=32,
                    attn_layers=xt.Decoder(dim=16, depth=3, heads=2, attn_flash=False),
                )
            )
        ),
    ),
}
