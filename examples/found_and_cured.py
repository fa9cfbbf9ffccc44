"""Three networks of public packages whose gradient explodes or vanishes: found and cured.

    python -m pip install -e ".[experiments]" torch torchvision transformers flax
    python examples/found_and_cured.py

Each function returns what `jaxnn.diagnose` takes. So the same three are named on the command line:

    jaxnn diagnose examples/found_and_cured.py:resnet --cures
    python -m experiments cures examples/found_and_cured.py:recall

The page `docs/found-and-cured.md` shows what is printed.
"""

from typing import Any

import jaxnn

CLASSES, TOKENS, WORDS, STEPS, WIDTH = 10, 32, 64, 64, 64


def resnet(blocks: tuple[int, ...] = (3, 8, 36, 3), size: int = 32) -> dict[str, Any]:
    """Return torchvision's ResNet-152 with its batch norms taken out, as for batches of one."""
    import torch
    from torchvision.models.resnet import Bottleneck, ResNet

    torch.manual_seed(0)
    no_norm = lambda channels: torch.nn.Identity()  # noqa: E731
    model = ResNet(Bottleneck, list(blocks), num_classes=CLASSES, norm_layer=no_norm)
    images = torch.randn(8, 3, size, size)
    loss = torch.nn.CrossEntropyLoss()
    return {"model": model, "xs": images, "ys": torch.arange(8) % CLASSES, "loss": loss}


def gpt(blocks: int = 24) -> dict[str, Any]:
    """Return GPT-2 of Transformers without layer norms, all matrices drawn by Xavier's rule."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    sizes = {"n_layer": blocks, "n_embd": WIDTH, "n_head": 4, "n_positions": TOKENS}
    # No token is special among so few.
    special = {"vocab_size": WORDS, "bos_token_id": 0, "eos_token_id": 0}
    dropout = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    model = GPT2LMHeadModel(GPT2Config(**sizes, **special, **dropout))
    for block in model.transformer.h:
        block.ln_1 = block.ln_2 = torch.nn.Identity()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.xavier_uniform_(parameter)
    tokens = torch.randint(0, WORDS, (8, TOKENS))
    return {"model": model, "xs": {"input_ids": tokens, "labels": tokens}}


def lstm(steps: int = STEPS, forget: float = 0.0) -> dict[str, Any]:
    """Return an LSTM of Flax that reads a sequence of numbers, and names a class at its end."""
    import jax
    import jax.numpy as jnp

    xs = jax.random.normal(jax.random.key(0), (16, steps, 1))
    return _lstm(xs, jnp.arange(16) % CLASSES, 0, forget)


def recall(seed: int = 0, forget: float = 0.0) -> dict[str, Any]:
    """Return that LSTM with a task: was the first of the 64 numbers positive?"""
    import jax

    xs = jax.random.normal(jax.random.key(seed), (1024, STEPS, 1))
    return _lstm(xs, (xs[:, 0, 0] > 0).astype(int), seed, forget)


def recall_with_bias(seed: int = 0) -> dict[str, Any]:
    """Return the same with a forget bias of 3 from the start."""
    return recall(seed, forget=3.0)


def _lstm(xs: Any, ys: Any, seed: int, forget: float) -> dict[str, Any]:
    import jax
    import optax
    from flax import linen

    class Reader(linen.Module):
        @linen.compact
        def __call__(self, xs: Any) -> Any:
            return linen.Dense(CLASSES)(linen.RNN(linen.OptimizedLSTMCell(WIDTH))(xs)[:, -1])

    model = Reader()
    params = model.init(jax.random.key(seed), xs[:1])
    cell = params["params"]["OptimizedLSTMCell_0"]
    cell["hf"]["bias"] = cell["hf"]["bias"] + forget
    loss = optax.softmax_cross_entropy_with_integer_labels
    return {"model": (model.apply, params), "xs": xs, "ys": ys, "loss": loss}


if __name__ == "__main__":
    for network in (resnet, gpt, lstm):
        diagnosis = jaxnn.diagnose(**network())
        best = diagnosis.cures[0]
        print(f"{network.__doc__}\n\n{diagnosis}\n\nThe best of {len(diagnosis.cures)}: {best}\n")
        print(f"{jaxnn.verdict(best.flow)}\n")
