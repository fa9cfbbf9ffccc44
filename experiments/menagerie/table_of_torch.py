"""The networks of PyTorch and of packages for it, drawn at random, small where they can be."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from experiments.menagerie.inputs import (
    Batch,
    images,
    images_first,
    positive,
    sequences,
    tokens,
    vectors,
)
from experiments.menagerie.network import Lazy, Network, Networks, own

torch, nn, vision, timm = Lazy("torch"), Lazy("torch.nn"), Lazy("torchvision.models"), Lazy("timm")
smp, transformers = Lazy("segmentation_models_pytorch"), Lazy("transformers")
diffusers, diffusion = Lazy("diffusers"), Lazy("denoising_diffusion_pytorch")
xt, geometric = Lazy("x_transformers"), Lazy("torch_geometric.nn.models")
rtdl, revisited = Lazy("rtdl"), Lazy("rtdl_revisiting_models")
performer, perceiver = Lazy("performer_pytorch"), Lazy("perceiver_pytorch")
linformer, conformer = Lazy("linformer"), Lazy("conformer")
of_torch, of_geometric, of_open_clip = own("torch"), own("torch_geometric"), own("open_clip")


def _torchvision(name: str, size: int = 64, **options: Any) -> Network:
    build = lambda: vision.get_model(name, **{"num_classes": 10, **options})
    return build, partial(images_first, size)


def _timm(name: str, size: int = 64, **options: int) -> Network:
    build = lambda: timm.create_model(name, num_classes=10, **options)
    return build, partial(images_first, size)


def _on_resnet18(name: str) -> Network:
    build = lambda: getattr(smp, name)("resnet18", encoder_weights=None, classes=3)
    return build, partial(images_first, 64)


SMALL = {
    "vocab_size": 20, "hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 32,
}  # fmt: skip
VISION = {**SMALL, "image_size": 16, "patch_size": 4, "num_labels": 3}
STOPS: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": 0}


def _words() -> dict[str, Batch]:
    return {"input_ids": tokens(), "labels": tokens()}


def _texts() -> dict[str, Batch]:
    return {"input_ids": tokens(), "labels": np.array([0, 1, 1, 0])}


def _pictures() -> dict[str, Batch]:
    return {"pixel_values": images_first(), "labels": np.array([0, 1, 2, 0])}


# By the end of a class's name: its usual sizes, and what it is given, with labels for its loss.
TASKS: dict[str, tuple[dict[str, int], Callable[[], dict[str, Batch]]]] = {
    "ForImageClassification": (VISION, _pictures),
    "ForSequenceClassification": (SMALL, _texts),
    "": (SMALL, _words),
}


def _transformer(name: str, small: bool = True, **sizes: Any) -> Network:
    """Return a network by its class; its configuration may have other names than the usual."""
    usual, given = next(task for end, task in TASKS.items() if name.endswith(end))

    def build() -> Any:
        kind = getattr(transformers, name)
        return kind(kind.config_class(**{**(usual if small else {}), **sizes}))

    return build, given


TRANSFORMERS: Networks = {
    "gpt2": _transformer(
        "GPT2LMHeadModel", False, vocab_size=20, n_embd=16, n_layer=4, n_head=2, n_positions=32,
        **STOPS,
    ),
    "gpt_neox": _transformer("GPTNeoXForCausalLM", **STOPS),
    "opt": _transformer(
        "OPTForCausalLM", False, vocab_size=20, hidden_size=16, num_hidden_layers=4, ffn_dim=32,
        num_attention_heads=2, max_position_embeddings=32, word_embed_proj_dim=16, pad_token_id=0,
        **STOPS,
    ),
    "llama": _transformer("LlamaForCausalLM", num_key_value_heads=1),
    "mistral": _transformer("MistralForCausalLM", num_key_value_heads=1),
    "qwen2": _transformer("Qwen2ForCausalLM", num_key_value_heads=1),
    "gemma": _transformer("GemmaForCausalLM", num_key_value_heads=1, head_dim=8, pad_token_id=0),
    "phi": _transformer("PhiForCausalLM"),
    "mixtral": _transformer(
        "MixtralForCausalLM", num_key_value_heads=1, num_local_experts=4, output_router_logits=True
    ),
    "bloom": _transformer(
        "BloomForCausalLM", False, vocab_size=20, hidden_size=16, n_layer=4, n_head=2
    ),
    "mamba": _transformer(
        "MambaForCausalLM", False, vocab_size=20, hidden_size=16, num_hidden_layers=4, state_size=4
    ),
    "rwkv": _transformer(
        "RwkvForCausalLM", False, vocab_size=20, hidden_size=16, num_hidden_layers=4,
        context_length=32,
    ),
    "t5": _transformer(
        "T5ForConditionalGeneration", False, vocab_size=20, d_model=16, d_kv=8, d_ff=32,
        num_layers=3, num_heads=2, decoder_start_token_id=0,
    ),
    "bart": _transformer(
        "BartForConditionalGeneration", False, vocab_size=20, d_model=16, encoder_layers=3,
        decoder_layers=3, encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32,
        decoder_ffn_dim=32, max_position_embeddings=32, pad_token_id=0, decoder_start_token_id=0,
        forced_eos_token_id=0, **STOPS,
    ),
    "bert": _transformer("BertForSequenceClassification"),
    "roberta": _transformer("RobertaForSequenceClassification", pad_token_id=0),
    "distilbert": _transformer(
        "DistilBertForSequenceClassification", False, vocab_size=20, dim=16, n_layers=4, n_heads=2,
        hidden_dim=32, max_position_embeddings=32,
    ),
    "albert": _transformer("AlbertForSequenceClassification", embedding_size=8),
    "electra": _transformer("ElectraForSequenceClassification", embedding_size=8),
    "deberta": _transformer("DebertaV2ForSequenceClassification"),
    "vit": _transformer("ViTForImageClassification"),
    "deit": _transformer("DeiTForImageClassification"),
    "dinov2": _transformer("Dinov2ForImageClassification"),
    "resnet": _transformer(
        "ResNetForImageClassification", False, embedding_size=8, hidden_sizes=[8, 16],
        depths=[2, 2], num_labels=3,
    ),
    "convnext": _transformer(
        "ConvNextForImageClassification", False, hidden_sizes=[8, 16], depths=[2, 2], num_stages=2,
        num_labels=3,
    ),
}  # fmt: skip
VIT = {
    "image_size": 32, "patch_size": 8, "num_classes": 10, "dim": 16, "heads": 2, "mlp_dim": 32
}  # fmt: skip
CCT = {
    "img_size": 32, "embedding_dim": 16, "num_layers": 3, "num_heads": 2, "mlp_ratio": 2,
    "num_classes": 10,
}  # fmt: skip


def _vit(module: str, name: str, **sizes: int) -> Network:
    """Return a network by its class and the module of vit_pytorch that it is in."""
    return lambda: getattr(Lazy(f"vit_pytorch.{module}"), name)(**sizes), partial(images_first, 32)


def _reader(layers: Callable[[], Any]) -> Any:
    return xt.TransformerWrapper(num_tokens=20, max_seq_len=32, attn_layers=layers())


def _unet() -> Any:
    return diffusion.Unet(
        dim=8, dim_mults=(1, 2, 4), attn_dim_head=4, attn_heads=2, flash_attn=False
    )


def _unet_1d() -> Any:
    return diffusion.Unet1D(dim=8, dim_mults=(1, 2), channels=3, attn_dim_head=4, attn_heads=2)


def _pairs() -> dict[str, Batch]:
    return {"image": images_first(32), "text": tokens(16, 30)}


def _graph() -> tuple[Batch, Batch]:
    edges = [[i, (i + step) % 12] for i in range(12) for step in (1, 3, 5)]
    return np.tile(vectors(), (3, 1)), np.array(edges).T


def _passing(name: str, **options: Any) -> Network:
    return lambda: getattr(geometric, name)(8, 16, 4, 3, **options), _graph


LEVELS = {
    "sample_size": 16, "block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4
}  # fmt: skip
HEADS = {"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 3}
TIMES = np.array([1, 20, 300, 900])
NO_DROPOUT = {"attention_dropout": 0.0, "ffn_dropout": 0.0, "residual_dropout": 0.0}
BLOCKS = {"d_out": 3, "n_blocks": 4, "d_block": 16}
SIZES = {"dim": 16, "depth": 4, "heads": 2, "dim_head": 8}
LATENTS = {
    "num_latents": 6, "latent_dim": 16, "cross_dim_head": 8, "latent_dim_head": 8, "latent_heads": 2
}  # fmt: skip
CONTRAST = {"loss": lambda output, ys: of_open_clip.contrast(output, ys)}
CAPTION = {"loss": lambda output, ys: of_open_clip.caption(output, ys)}
NOTHING_LOADED: dict[str, Any] = {"weights": None, "weights_backbone": None, "num_classes": 4}
AS_THEY_ARE = (
    *("alexnet", "resnet18", "resnet50", "vgg11", "vgg11_bn", "densenet121", "mobilenet_v2"),
    *("mobilenet_v3_small", "squeezenet1_1", "shufflenet_v2_x0_5", "mnasnet0_5"),
    *("efficientnet_b0", "efficientnet_v2_s", "regnet_y_400mf", "convnext_tiny", "swin_t"),
    *("resnext50_32x4d", "wide_resnet50_2"),
)
OF_ANY_SIZE = (
    *("convnext_atto", "resnet10t", "efficientnet_lite0", "poolformer_s12", "hrnet_w18_small"),
    *("dla34", "mobilevit_xxs", "edgenext_xx_small", "regnetx_002", "ghostnet_050"),
    *("mobilenetv4_conv_small", "repvgg_a0", "convmixer_768_32", "resnetv2_18", "fastvit_t8"),
)
OF_64_PIXELS = (
    *("vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "mixer_s32_224"),
    *("gmlp_s16_224", "cait_xxs24_224", "xcit_nano_12_p16_224"),
)

TABLES: dict[str, Networks] = {
    "torch": {
        "sequential": (lambda: of_torch.dense(8), vectors),
        "convolutions": (lambda: of_torch.convolutions(), images_first),
        "encoder": (lambda: of_torch.encoder(), sequences),
        "encoder_norm_first": (
            lambda: of_torch.encoder(dropout=0.0, norm_first=True),
            lambda: {"src": sequences(), "mask": np.triu(np.ones((6, 6), bool), 1)},
        ),
        "decoder": (
            lambda: nn.TransformerDecoder(
                nn.TransformerDecoderLayer(8, 2, 16, batch_first=True), 4
            ),
            lambda: (sequences(), sequences()),
        ),
        "transformer": (
            lambda: nn.Transformer(8, 2, 3, 3, 16, batch_first=True),
            lambda: (sequences(), sequences()),
        ),
        "lstm": (lambda: nn.LSTM(8, 8, 3, batch_first=True), sequences),
        "gru": (lambda: nn.GRU(8, 8, 2, batch_first=True, bidirectional=True), sequences),
        "lstm_cells": (lambda: of_torch.Cells(), sequences, {"cuts": "cell"}),
        "attention": (lambda: of_torch.Attention(), sequences),
        "compiled": (lambda: torch.compile(of_torch.dense(4)), vectors),
        "embedding_bag": (lambda: of_torch.bag(), tokens),
        "parametrized": (lambda: of_torch.normed(), vectors),
    },
    "torchvision": {
        **{name: _torchvision(name) for name in AS_THEY_ARE},
        "googlenet": _torchvision("googlenet", init_weights=False),
        "inception_v3": _torchvision("inception_v3", 299, init_weights=False),
        "vision_transformer": (
            lambda: vision.VisionTransformer(32, 8, 4, 2, 32, 64, num_classes=10),
            partial(images_first, 32),
        ),
        "fcn": _torchvision("fcn_resnet50", 32, **NOTHING_LOADED),
        "deeplab": _torchvision("lraspp_mobilenet_v3_large", **NOTHING_LOADED),
        "video": (
            lambda: vision.video.r3d_18(num_classes=10),
            lambda: images_first(16)[:, :, None].repeat(4, 2),
        ),
    },
    "timm": {
        **{name: _timm(name) for name in OF_ANY_SIZE},
        **{name: _timm(name, img_size=64) for name in OF_64_PIXELS},
        "swin_tiny_patch4_window7_224": _timm("swin_tiny_patch4_window7_224", 56, img_size=56),
        "beit_base_patch16_224": _timm(
            "beit_base_patch16_224", img_size=64, embed_dim=48, depth=4, num_heads=4
        ),
        "levit_128s": _timm("levit_128s", 224),
    },
    "transformers": TRANSFORMERS,
    "vit_pytorch": {
        "vit": _vit("vit", "ViT", **VIT, depth=4),
        "simple_vit_": _vit("simple_vit", "SimpleViT", **VIT, depth=4),
        "deep_vit": _vit("deepvit", "DeepViT", **VIT, depth=4),
        "cait_": _vit("cait", "CaiT", **VIT, depth=3, cls_depth=2),
        "small": _vit("vit_for_small_dataset", "ViT", **VIT, depth=4),
        "cct_": _vit("cct", "CCT", **CCT),
    },
    "x_transformers": {
        "decoder": (lambda: _reader(lambda: xt.Decoder(dim=16, depth=4, heads=2)), tokens),
        "encoder": (
            lambda: _reader(lambda: xt.Encoder(dim=16, depth=4, heads=2, rotary_pos_emb=True)),
            tokens,
        ),
        "autoregressive": (
            lambda: xt.AutoregressiveWrapper(
                _reader(lambda: xt.Decoder(dim=16, depth=3, heads=2, attn_flash=False))
            ),
            tokens,
        ),
    },
    "diffusers": {
        "unet": (
            lambda: diffusers.UNet2DModel(
                **LEVELS,
                attention_head_dim=4,
                down_block_types=("DownBlock2D", "AttnDownBlock2D"),
                up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            ),
            lambda: {"sample": images_first(), "timestep": TIMES},
        ),
        "conditional_unet": (
            lambda: diffusers.UNet2DConditionModel(
                **LEVELS,
                in_channels=3,
                out_channels=3,
                attention_head_dim=4,
                cross_attention_dim=16,
                down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
                up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            ),
            lambda: {
                "sample": images_first(),
                "timestep": TIMES,
                "encoder_hidden_states": sequences(units=16),
            },
        ),
        "autoencoder": (
            lambda: diffusers.AutoencoderKL(
                **LEVELS,
                down_block_types=("DownEncoderBlock2D",) * 2,
                up_block_types=("UpDecoderBlock2D",) * 2,
            ),
            lambda: {"sample": images_first()},
        ),
        "dit": (
            lambda: diffusers.DiTTransformer2DModel(
                **HEADS,
                in_channels=3,
                sample_size=16,
                patch_size=4,
                norm_num_groups=4,
                num_embeds_ada_norm=10,
            ),
            lambda: {
                "hidden_states": images_first(),
                "timestep": TIMES,
                "class_labels": np.arange(4),
            },
        ),
        "prior": (
            lambda: diffusers.PriorTransformer(
                **HEADS, embedding_dim=16, num_embeddings=6, additional_embeddings=4
            ),
            lambda: {
                "hidden_states": vectors(16),
                "timestep": TIMES,
                "proj_embedding": vectors(16),
                "encoder_hidden_states": sequences(units=16),
            },
        ),
    },
    "segmentation_models_pytorch": {
        "unet": _on_resnet18("Unet"),
        "unetplusplus": _on_resnet18("UnetPlusPlus"),
        "fpn": _on_resnet18("FPN"),
        "linknet": _on_resnet18("Linknet"),
        "deeplab": _on_resnet18("DeepLabV3Plus"),
        "pspnet": _on_resnet18("PSPNet"),
        "manet": _on_resnet18("MAnet"),
    },
    "denoising_diffusion_pytorch": {
        "unet": (_unet, lambda: (images_first(), TIMES)),
        "diffusion": (
            lambda: diffusion.GaussianDiffusion(_unet(), image_size=16, timesteps=100),
            lambda: positive(images_first()),
        ),
        "diffusion_of_sequences": (
            lambda: diffusion.GaussianDiffusion1D(_unet_1d(), seq_length=16, timesteps=100),
            lambda: positive(sequences(3, 16)),
        ),
    },
    "open_clip": {
        "clip": (lambda: of_open_clip.clip(layers=4, patch_size=8), _pairs, CONTRAST),
        "clip_resnet": (lambda: of_open_clip.clip(layers=(1, 1, 1, 1), width=8), _pairs, CONTRAST),
        "coca": (lambda: of_open_clip.coca(), _pairs, CAPTION),
    },
    "torch_geometric": {
        "gcn": _passing("GCN"),
        "sage": _passing("GraphSAGE", norm="layer"),
        "gin": _passing("GIN"),
        "gat": _passing("GAT", heads=2),
        "edge_cnn": _passing("EdgeCNN"),
        "jumping": _passing("GCN", jk="cat"),
        "deep_gcn": (lambda: of_geometric.Deep(), _graph),
    },
    "rtdl": {
        "mlp": (lambda: rtdl.MLP.make_baseline(8, [16] * 4, 0.1, 3), vectors),
        "resnet": (
            lambda: rtdl.ResNet.make_baseline(
                d_in=8,
                n_blocks=4,
                d_main=16,
                d_hidden=32,
                dropout_first=0.1,
                dropout_second=0.0,
                d_out=3,
            ),
            vectors,
        ),
        "ft_transformer": (
            lambda: rtdl.FTTransformer.make_baseline(
                n_num_features=8,
                cat_cardinalities=None,
                d_token=16,
                n_blocks=4,
                ffn_d_hidden=32,
                d_out=3,
                **NO_DROPOUT,
            ),
            lambda: (vectors(), None),
        ),
    },
    "rtdl_revisiting_models": {
        "mlp": (lambda: revisited.MLP(d_in=8, dropout=0.1, **BLOCKS), vectors),
        "resnet": (
            lambda: revisited.ResNet(
                d_in=8, d_hidden=None, d_hidden_multiplier=2.0, dropout1=0.1, dropout2=0.0, **BLOCKS
            ),
            vectors,
        ),
        "ft_transformer": (
            lambda: revisited.FTTransformer(
                n_cont_features=8,
                cat_cardinalities=[],
                attention_n_heads=2,
                ffn_d_hidden=None,
                ffn_d_hidden_multiplier=2.0,
                **BLOCKS,
                **NO_DROPOUT,
            ),
            lambda: (vectors(), None),
        ),
    },
    "performer_pytorch": {
        "performer": (lambda: performer.Performer(**SIZES), partial(sequences, units=16)),
        "language_model": (
            lambda: performer.PerformerLM(num_tokens=20, max_seq_len=6, **SIZES),
            tokens,
        ),
    },
    "perceiver_pytorch": {
        "perceiver": (
            lambda: perceiver.Perceiver(
                num_freq_bands=2, max_freq=4.0, depth=3, num_classes=3, **LATENTS
            ),
            partial(images, 8),
        ),
        "perceiver_io": (
            lambda: perceiver.PerceiverIO(dim=8, depth=4, queries_dim=8, logits_dim=3, **LATENTS),
            lambda: {"data": sequences(), "queries": sequences()},
        ),
    },
    "linformer": {
        "language_model": (lambda: linformer.LinformerLM(20, 16, 6, 4, k=4, heads=2), tokens)
    },
    "conformer": {
        "conformer": (
            lambda: conformer.Conformer(16, depth=4, dim_head=8, heads=2, conv_kernel_size=3),
            partial(sequences, units=16),
        )
    },
}
