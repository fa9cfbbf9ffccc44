"""PyTorch's TransformerEncoder: where the norm stands, and what copies of one block do.

torch runs its own encoder, with its weights as they are: copies of one block. Over 48 blocks the
gradient then grows 6 to 10 times with the norm in front of attention and MLP (pre-LN), and shrinks
6 to 21 times with the norm behind each sum (post-LN), over three seeds. With weights drawn for each
block it grows 2 times, and shrinks less than 2 times: that is the norm's own part.

    python -m pip install -e ".[charts]" torch
    python examples/torch_transformer.py
"""

import sys

import torch

import jaxnn


def encoder(blocks: int, width: int, norm_first: bool, copies: bool) -> torch.nn.Module:
    """Return an encoder whose blocks begin as copies of one, as torch has it, or each drawn."""

    def block() -> torch.nn.Module:
        return torch.nn.TransformerEncoderLayer(
            width, 4, 4 * width, dropout=0.0, batch_first=True, norm_first=norm_first
        )

    torch.manual_seed(1)
    made = torch.nn.TransformerEncoder(block(), blocks, enable_nested_tensor=False)
    if not copies:
        made.layers = torch.nn.ModuleList([block() for _ in range(blocks)])
    return made


def flows(blocks: int = 48, width: int = 64, tokens: int = 16, examples: int = 16) -> dict:
    """Return the flow of each kind of encoder, from a random cotangent at its output."""
    torch.manual_seed(0)
    x, cotangent = torch.randn(2, examples, tokens, width)
    found = {}
    for norm, norm_first in (("pre-LN", True), ("post-LN", False)):
        for blocks_are, copies in (("copies", True), ("drawn", False)):
            made = encoder(blocks, width, norm_first, copies)
            found[f"{norm}, {blocks_are}"] = jaxnn.gradient_flow(made, x, cotangent=cotangent)
    return found


if __name__ == "__main__":
    measured = flows(blocks=6, width=16) if "--small" in sys.argv else flows()
    for kind, flow in measured.items():
        print(f"{kind}: {jaxnn.verdict(flow)}\n")
    jaxnn.chart(*measured.values(), names=[*measured]).save("torch_transformer.html", inline=True)
