"""Networks of x-transformers."""

from typing import Any

import torch
import x_transformers as xt

from experiments.menagerie import inputs


def _language(model: Any) -> dict[str, Any]:
    return {"model": model, "xs": torch.from_numpy(inputs.tokens()).long()}


def decoder() -> dict[str, Any]:
    """TransformerWrapper of a Decoder."""
    return _language(
        xt.TransformerWrapper(
            num_tokens=20, max_seq_len=32, attn_layers=xt.Decoder(dim=16, depth=4, heads=2)
        )
    )


def encoder() -> dict[str, Any]:
    """TransformerWrapper of an Encoder with rotary positions."""
    return _language(
        xt.TransformerWrapper(
            num_tokens=20,
            max_seq_len=32,
            attn_layers=xt.Encoder(dim=16, depth=4, heads=2, rotary_pos_emb=True),
        )
    )


def autoregressive() -> dict[str, Any]:
    """AutoregressiveWrapper, which returns its loss."""
    return _language(
        xt.AutoregressiveWrapper(
            xt.TransformerWrapper(
                num_tokens=20,
                max_seq_len=32,
                attn_layers=xt.Decoder(dim=16, depth=3, heads=2, attn_flash=False),
            )
        )
    )
