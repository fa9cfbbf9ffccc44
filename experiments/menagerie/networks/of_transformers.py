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


def _language(model: Any) -> dict[str, Any]:
    tokens = torch.from_numpy(inputs.tokens()).long()
    return {"model": model, "xs": {"input_ids": tokens, "labels": tokens}}


def _classes(model: Any) -> dict[str, Any]:
    tokens, labels = torch.from_numpy(inputs.tokens()).long(), torch.tensor([0, 1, 1, 0])
    return {"model": model, "xs": {"input_ids": tokens, "labels": labels}}


def _images(model: Any, size: int = 16) -> dict[str, Any]:
    images, labels = (
        torch.from_numpy(inputs.images_channels_first(size)),
        torch.tensor([0, 1, 2, 0]),
    )
    return {"model": model, "xs": {"pixel_values": images, "labels": labels}}


def gpt2() -> dict[str, Any]:
    """GPT2LMHeadModel."""
    return _language(
        transformers.GPT2LMHeadModel(
            transformers.GPT2Config(
                vocab_size=20,
                n_embd=16,
                n_layer=4,
                n_head=2,
                n_positions=32,
                bos_token_id=0,
                eos_token_id=0,
            )
        )
    )


def gpt_neox() -> dict[str, Any]:
    """GPTNeoXForCausalLM."""
    return _language(
        transformers.GPTNeoXForCausalLM(
            transformers.GPTNeoXConfig(**SMALL, bos_token_id=0, eos_token_id=0)
        )
    )


def opt() -> dict[str, Any]:
    """OPTForCausalLM."""
    return _language(
        transformers.OPTForCausalLM(
            transformers.OPTConfig(
                vocab_size=20,
                hidden_size=16,
                num_hidden_layers=4,
                ffn_dim=32,
                num_attention_heads=2,
                max_position_embeddings=32,
                word_embed_proj_dim=16,
                pad_token_id=0,
                bos_token_id=0,
                eos_token_id=0,
            )
        )
    )


def llama() -> dict[str, Any]:
    """LlamaForCausalLM."""
    return _language(
        transformers.LlamaForCausalLM(transformers.LlamaConfig(**SMALL, num_key_value_heads=1))
    )


def mistral() -> dict[str, Any]:
    """MistralForCausalLM."""
    return _language(
        transformers.MistralForCausalLM(transformers.MistralConfig(**SMALL, num_key_value_heads=1))
    )


def qwen2() -> dict[str, Any]:
    """Qwen2ForCausalLM."""
    return _language(
        transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**SMALL, num_key_value_heads=1))
    )


def gemma() -> dict[str, Any]:
    """GemmaForCausalLM."""
    return _language(
        transformers.GemmaForCausalLM(
            transformers.GemmaConfig(**SMALL, num_key_value_heads=1, head_dim=8, pad_token_id=0)
        )
    )


def phi() -> dict[str, Any]:
    """PhiForCausalLM."""
    return _language(transformers.PhiForCausalLM(transformers.PhiConfig(**SMALL)))


def mixtral() -> dict[str, Any]:
    """MixtralForCausalLM."""
    return _language(
        transformers.MixtralForCausalLM(
            transformers.MixtralConfig(
                **SMALL, num_key_value_heads=1, num_local_experts=4, output_router_logits=True
            )
        )
    )


def bloom() -> dict[str, Any]:
    """BloomForCausalLM."""
    return _language(
        transformers.BloomForCausalLM(
            transformers.BloomConfig(vocab_size=20, hidden_size=16, n_layer=4, n_head=2)
        )
    )


def mamba() -> dict[str, Any]:
    """MambaForCausalLM."""
    return _language(
        transformers.MambaForCausalLM(
            transformers.MambaConfig(
                vocab_size=20, hidden_size=16, num_hidden_layers=4, state_size=4
            )
        )
    )


def rwkv() -> dict[str, Any]:
    """RwkvForCausalLM."""
    return _language(
        transformers.RwkvForCausalLM(
            transformers.RwkvConfig(
                vocab_size=20, hidden_size=16, num_hidden_layers=4, context_length=32
            )
        )
    )


def t5() -> dict[str, Any]:
    """T5ForConditionalGeneration."""
    return _language(
        transformers.T5ForConditionalGeneration(
            transformers.T5Config(
                vocab_size=20,
                d_model=16,
                d_kv=8,
                d_ff=32,
                num_layers=3,
                num_heads=2,
                decoder_start_token_id=0,
            )
        )
    )


def bart() -> dict[str, Any]:
    """BartForConditionalGeneration."""
    return _language(
        transformers.BartForConditionalGeneration(
            transformers.BartConfig(
                vocab_size=20,
                d_model=16,
                encoder_layers=3,
                decoder_layers=3,
                encoder_attention_heads=2,
                decoder_attention_heads=2,
                encoder_ffn_dim=32,
                decoder_ffn_dim=32,
                max_position_embeddings=32,
                pad_token_id=0,
                bos_token_id=0,
                eos_token_id=0,
                decoder_start_token_id=0,
                forced_eos_token_id=0,
            )
        )
    )


def bert() -> dict[str, Any]:
    """BertForSequenceClassification."""
    return _classes(transformers.BertForSequenceClassification(transformers.BertConfig(**SMALL)))


def roberta() -> dict[str, Any]:
    """RobertaForSequenceClassification."""
    return _classes(
        transformers.RobertaForSequenceClassification(
            transformers.RobertaConfig(**SMALL, pad_token_id=0)
        )
    )


def distilbert() -> dict[str, Any]:
    """DistilBertForSequenceClassification."""
    return _classes(
        transformers.DistilBertForSequenceClassification(
            transformers.DistilBertConfig(
                vocab_size=20,
                dim=16,
                n_layers=4,
                n_heads=2,
                hidden_dim=32,
                max_position_embeddings=32,
            )
        )
    )


def albert() -> dict[str, Any]:
    """AlbertForSequenceClassification."""
    return _classes(
        transformers.AlbertForSequenceClassification(
            transformers.AlbertConfig(**SMALL, embedding_size=8)
        )
    )


def electra() -> dict[str, Any]:
    """ElectraForSequenceClassification."""
    return _classes(
        transformers.ElectraForSequenceClassification(
            transformers.ElectraConfig(**SMALL, embedding_size=8)
        )
    )


def deberta() -> dict[str, Any]:
    """DebertaV2ForSequenceClassification."""
    return _classes(
        transformers.DebertaV2ForSequenceClassification(transformers.DebertaV2Config(**SMALL))
    )


def vit() -> dict[str, Any]:
    """ViTForImageClassification."""
    return _images(transformers.ViTForImageClassification(transformers.ViTConfig(**VISION)))


def deit() -> dict[str, Any]:
    """DeiTForImageClassification."""
    return _images(transformers.DeiTForImageClassification(transformers.DeiTConfig(**VISION)))


def dinov2() -> dict[str, Any]:
    """Dinov2ForImageClassification."""
    return _images(transformers.Dinov2ForImageClassification(transformers.Dinov2Config(**VISION)))


def resnet() -> dict[str, Any]:
    """ResNetForImageClassification."""
    return _images(
        transformers.ResNetForImageClassification(
            transformers.ResNetConfig(
                embedding_size=8, hidden_sizes=[8, 16], depths=[2, 2], num_labels=3
            )
        )
    )


def convnext() -> dict[str, Any]:
    """ConvNextForImageClassification."""
    return _images(
        transformers.ConvNextForImageClassification(
            transformers.ConvNextConfig(
                hidden_sizes=[8, 16], depths=[2, 2], num_stages=2, num_labels=3
            )
        )
    )
