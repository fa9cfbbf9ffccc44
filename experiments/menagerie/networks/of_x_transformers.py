"""Networks of x-transformers."""

import torch
import x_transformers as xt

from experiments.menagerie import inputs


def arguments(model: torch.nn.Module, xs: inputs.Batch) -> inputs.Arguments:
    return {"model": model, "xs": torch.from_numpy(xs).long()}


NETWORKS: inputs.Networks = {
    "decoder": (
        "TransformerWrapper of a Decoder",
        lambda: xt.TransformerWrapper(
            num_tokens=20, max_seq_len=32, attn_layers=xt.Decoder(dim=16, depth=4, heads=2)
        ),
        inputs.tokens,
    ),
    "encoder": (
        "TransformerWrapper of an Encoder with rotary positions",
        lambda: xt.TransformerWrapper(
            num_tokens=20,
            max_seq_len=32,
            attn_layers=xt.Encoder(dim=16, depth=4, heads=2, rotary_pos_emb=True),
        ),
        inputs.tokens,
    ),
    "autoregressive": (
        "AutoregressiveWrapper, which returns its loss",
        lambda: xt.AutoregressiveWrapper(
            xt.TransformerWrapper(
                num_tokens=20,
                max_seq_len=32,
                attn_layers=xt.Decoder(dim=16, depth=3, heads=2, attn_flash=False),
            )
        ),
        inputs.tokens,
    ),
}
