"""Networks of transformers, by their classes and the sizes of their configurations."""

from typing import Any

import transformers

STOPS = {"bos_token_id": 0, "eos_token_id": 0}


def drawn(name: str, **sizes: Any) -> Any:
    """Return a network whose configuration has names of its own for sizes."""
    kind = getattr(transformers, name)
    return kind(kind.config_class(**sizes))


def small(name: str, **more: Any) -> Any:
    """Return a network with the usual names of sizes."""
    layers = {"num_hidden_layers": 4, "num_attention_heads": 2, "max_position_embeddings": 32}
    sizes = {"vocab_size": 20, "hidden_size": 16, "intermediate_size": 32, **layers}
    return drawn(name, **(sizes | more))


def vision(name: str) -> Any:
    """Return a network for images, with the usual names of sizes."""
    return small(name, image_size=16, patch_size=4, num_labels=3)
