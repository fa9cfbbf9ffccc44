"""Networks of Transformers with small configurations and random weights; the loss is their own."""

from typing import Any

import torch
import transformers

from experiments.menagerie import inputs

SMALL = {
    "vocab_size": 20,
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 32,
}
VISION = {**SMALL, "image_size": 16, "patch_size": 4, "num_labels": 3}


TOKENS, PIXELS = inputs.tokens().astype("int64"), inputs.images_channels_first()
# By the end of a class's name: its usual sizes, and what it is given, with labels for its loss.
TASKS: dict[str, tuple[dict[str, int], str, inputs.Batch, list[int] | inputs.Batch]] = {
    "ForImageClassification": (VISION, "pixel_values", PIXELS, [0, 1, 2, 0]),
    "ForSequenceClassification": (SMALL, "input_ids", TOKENS, [0, 1, 1, 0]),
    "": (SMALL, "input_ids", TOKENS, TOKENS),
}


def network(_: str, title: str, small: bool = True, **sizes: Any) -> inputs.Arguments:
    """Return a network by its class; its configuration may have other names than the usual."""
    usual, name, xs, labels = next(task for end, task in TASKS.items() if title.endswith(end))
    kind = getattr(transformers, title)
    model = kind(kind.config_class(**{**(usual if small else {}), **sizes}))
    return {"model": model, "xs": {name: torch.tensor(xs), "labels": torch.tensor(labels)}}


NETWORKS: inputs.Networks = {
    "gpt2": {
        "title": "GPT2LMHeadModel", "small": False, "vocab_size": 20, "n_embd": 16, "n_layer": 4,
        "n_head": 2, "n_positions": 32, "bos_token_id": 0, "eos_token_id": 0,
    },
    "gpt_neox": {"title": "GPTNeoXForCausalLM", "bos_token_id": 0, "eos_token_id": 0},
    "opt": {
        "title": "OPTForCausalLM", "small": False, "vocab_size": 20, "hidden_size": 16,
        "num_hidden_layers": 4, "ffn_dim": 32, "num_attention_heads": 2,
        "max_position_embeddings": 32, "word_embed_proj_dim": 16,
        "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0,
    },
    "llama": {"title": "LlamaForCausalLM", "num_key_value_heads": 1},
    "mistral": {"title": "MistralForCausalLM", "num_key_value_heads": 1},
    "qwen2": {"title": "Qwen2ForCausalLM", "num_key_value_heads": 1},
    "gemma": {
        "title": "GemmaForCausalLM", "num_key_value_heads": 1, "head_dim": 8, "pad_token_id": 0
    },
    "phi": {"title": "PhiForCausalLM"},
    "mixtral": {
        "title": "MixtralForCausalLM", "num_key_value_heads": 1, "num_local_experts": 4,
        "output_router_logits": True,
    },
    "bloom": {
        "title": "BloomForCausalLM", "small": False, "vocab_size": 20, "hidden_size": 16,
        "n_layer": 4, "n_head": 2,
    },
    "mamba": {
        "title": "MambaForCausalLM", "small": False, "vocab_size": 20, "hidden_size": 16,
        "num_hidden_layers": 4, "state_size": 4,
    },
    "rwkv": {
        "title": "RwkvForCausalLM", "small": False, "vocab_size": 20, "hidden_size": 16,
        "num_hidden_layers": 4, "context_length": 32,
    },
    "t5": {
        "title": "T5ForConditionalGeneration", "small": False, "vocab_size": 20, "d_model": 16,
        "d_kv": 8, "d_ff": 32, "num_layers": 3, "num_heads": 2, "decoder_start_token_id": 0,
    },
    "bart": {
        "title": "BartForConditionalGeneration", "small": False, "vocab_size": 20, "d_model": 16,
        "encoder_layers": 3, "decoder_layers": 3,
        "encoder_attention_heads": 2, "decoder_attention_heads": 2,
        "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": 32,
        "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0,
        "decoder_start_token_id": 0, "forced_eos_token_id": 0,
    },
    "bert": {"title": "BertForSequenceClassification"},
    "roberta": {"title": "RobertaForSequenceClassification", "pad_token_id": 0},
    "distilbert": {
        "title": "DistilBertForSequenceClassification", "small": False, "vocab_size": 20,
        "dim": 16, "n_layers": 4, "n_heads": 2, "hidden_dim": 32, "max_position_embeddings": 32,
    },
    "albert": {"title": "AlbertForSequenceClassification", "embedding_size": 8},
    "electra": {"title": "ElectraForSequenceClassification", "embedding_size": 8},
    "deberta": {"title": "DebertaV2ForSequenceClassification"},
    "vit": {"title": "ViTForImageClassification"},
    "deit": {"title": "DeiTForImageClassification"},
    "dinov2": {"title": "Dinov2ForImageClassification"},
    "resnet": {
        "title": "ResNetForImageClassification", "small": False, "embedding_size": 8,
        "hidden_sizes": [8, 16], "depths": [2, 2], "num_labels": 3,
    },
    "convnext": {
        "title": "ConvNextForImageClassification", "small": False, "hidden_sizes": [8, 16],
        "depths": [2, 2], "num_stages": 2, "num_labels": 3,
    },
}  # fmt: skip
