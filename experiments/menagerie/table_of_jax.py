"""The networks of JAX, of its frameworks and of packages for them, small and drawn at random."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from experiments.menagerie.inputs import images, images_first, sequences, tokens, vectors
from experiments.menagerie.network import Lazy, Network, Networks, own

stax, linen, nnx = Lazy("jax.example_libraries.stax"), Lazy("flax.linen"), Lazy("flax.nnx")
eqx, hk, numpyro = Lazy("equinox.nn"), Lazy("haiku"), Lazy("numpyro.nn")
jraph, diffrax, equimo = Lazy("jraph"), Lazy("diffrax"), Lazy("equimo.vision.models")
of_jax, of_linen, of_nnx = own("jax"), own("linen"), own("nnx")
of_equinox, of_haiku, of_keras = own("equinox"), own("haiku"), own("keras")
of_jraph, of_diffrax, of_flowjax = own("jraph"), own("diffrax"), own("flowjax")
KEY = jax.random.key(0)


def _keras(path: str, *sizes: Any, size: int = 32, **options: Any) -> Network:
    """Return a network by its path in `keras.applications`, for images of some size."""
    build = lambda: of_keras.of_images(path, *sizes, size=size, **options)
    return build, partial(images, size)


def _rounds(layer: Callable[[], Any], count: int, of: str = "nodes") -> Network:
    """Return layers of message passing on a graph, the last one's nodes or globals."""
    return lambda: of_jraph.rounds(layer, count, of), lambda: of_jraph.graph()


def _flow(name: str, **options: Any) -> Network:
    return lambda: of_flowjax.flow(name, **options), vectors


def _equimo(name: str, *sizes: Any, size: int = 64, **options: Any) -> Network:
    build = lambda: getattr(equimo, name)(*sizes, num_classes=10, key=KEY, **options)
    return build, partial(images_first, size)


TABLES: dict[str, Networks] = {
    "jax": {
        "dense": (lambda: stax.serial(*8 * (stax.Dense(8), stax.Softplus)), vectors),
        "convolutions": (lambda: of_jax.convolutions(), images),
        "residual": (lambda: of_jax.residual(), vectors),
        "vae": (lambda: of_jax.vae(), vectors),
    },
    "equinox": {
        "mlp": (lambda: eqx.MLP(8, 8, 16, 6, jnp.tanh, key=KEY), vectors),
        "deep_mlp": (lambda: eqx.MLP(8, 8, 16, 31, key=KEY), vectors),
        "sequential": (lambda: of_equinox.sequential(), vectors),
        "convolutions": (lambda: of_equinox.convolutions(), images_first),
        "batch_norm": (lambda: of_equinox.batch_norm(), vectors, {"each": "batch"}),
        "gru": (lambda: of_equinox.gru(), sequences),
        "lstm": (lambda: of_equinox.lstm(), sequences),
        "attention": (lambda: of_equinox.attention(), sequences),
        "rotary": (lambda: of_equinox.rotary(), tokens),
        "dropout": (lambda: of_equinox.dropout(), lambda: (vectors(), jax.random.split(KEY, 4))),
        "spectral_norm": (lambda: of_equinox.spectral_norm(), vectors),
        "weight_norm": (lambda: of_equinox.weight_norm(), vectors),
        "transposed": (lambda: of_equinox.transposed(), partial(sequences, 8, 16)),
    },
    "linen": {
        "dense": (
            lambda: linen.Sequential([f for _ in range(8) for f in (linen.Dense(8), linen.tanh)]),
            vectors,
        ),
        "convolutions": (lambda: of_linen.convolutions(), images),
        "lstm": (lambda: linen.RNN(linen.LSTMCell(16)), sequences),
        "optimized_lstm": (
            lambda: linen.Sequential(
                [linen.RNN(linen.OptimizedLSTMCell(16)), lambda x: x[:, -1], linen.Dense(4)]
            ),
            sequences,
        ),
        "gru": (
            lambda: linen.Sequential([linen.RNN(linen.GRUCell(8)) for _ in range(3)]),
            sequences,
        ),
        "bidirectional": (
            lambda: of_linen.bidirectional(sequences()),
            lambda: (sequences(), jnp.array([3, 4, 5, 6])),
        ),
        "conv_lstm": (
            lambda: linen.RNN(linen.ConvLSTMCell(4, (3, 3))),
            lambda: sequences(4, 64).reshape(4, 4, 8, 8, 1),
        ),
        "mgu": (
            lambda: linen.Sequential([linen.RNN(linen.MGUCell(8)), linen.RNN(linen.SimpleCell(8))]),
            sequences,
        ),
        "attention": (
            lambda: of_linen.pairs(
                lambda: (linen.LayerNorm(), linen.MultiHeadDotProductAttention(2))
            ),
            sequences,
        ),
        "language_model": (lambda: of_linen.Transformer(), tokens),
        "language_model_dropout": (
            lambda: of_linen.drawing(of_linen.Transformer(0.1), tokens(), "dropout"),
            tokens,
        ),
        "batch_norm": (lambda: of_linen.batch_norm(images()), images),
        "scanned": (lambda: of_linen.Scanned(), vectors),
        "weight_norm": (
            lambda: of_linen.pairs(lambda: (linen.WeightNorm(linen.Dense(8)), linen.PReLU())),
            vectors,
        ),
        "vae": (lambda: of_linen.drawing(of_linen.VAE(), vectors(), "z"), vectors),
        "unet": (lambda: of_linen.UNet(), images),
    },
    "nnx": {
        "dense": (lambda rngs: of_nnx.dense(rngs), vectors),
        "convolutions": (lambda rngs: of_nnx.convolutions(rngs), images),
        "lstm": (lambda rngs: nnx.RNN(nnx.LSTMCell(8, 16, rngs=rngs)), sequences),
        "optimized_lstm": (
            lambda rngs: nnx.Sequential(
                nnx.RNN(nnx.OptimizedLSTMCell(8, 16, rngs=rngs)),
                lambda x: x[:, -1],
                nnx.Linear(16, 4, rngs=rngs),
            ),
            sequences,
        ),
        "gru": (lambda rngs: nnx.Sequential(*(of_nnx.gru(rngs) for _ in range(3))), sequences),
        "simple": (
            lambda rngs: nnx.RNN(nnx.SimpleCell(8, 8, rngs=rngs), reverse=True, keep_order=True),
            sequences,
        ),
        "bidirectional": (
            lambda rngs: nnx.Bidirectional(of_nnx.gru(rngs), of_nnx.gru(rngs), rngs=rngs),
            sequences,
        ),
        "attention": (
            lambda rngs: of_nnx.four(nnx.MultiHeadAttention, 2, 8, decode=False, rngs=rngs),
            sequences,
        ),
        "decoder": (lambda rngs: of_nnx.Decoder(rngs), tokens),
        "decoder_dropout": (lambda rngs: of_nnx.Decoder(rngs, dropout=0.5), tokens),
        "encoder_list": (lambda rngs: [of_nnx.Block(rngs) for _ in range(4)], sequences),
        "lora": (lambda rngs: of_nnx.four(of_nnx.lora, rngs), vectors),
        "spectral_norm": (lambda rngs: of_nnx.four(of_nnx.spectral_norm, rngs), vectors),
        "einsum": (lambda rngs: of_nnx.einsum(rngs), sequences),
        "scanned": (lambda rngs: of_nnx.Scanned(rngs), vectors),
    },
    "haiku": {
        "mlp": (lambda: lambda xs: hk.nets.MLP([8] * 8)(xs), vectors),
        "mlp_dropout": (lambda: of_haiku.mlp_dropout(vectors()), vectors),
        "resnet": (lambda: of_haiku.resnet(images(32), bottleneck=False), partial(images, 32)),
        "resnet_v2": (lambda: of_haiku.resnet(images(32), resnet_v2=True), partial(images, 32)),
        "mobilenet": (lambda: of_haiku.mobilenet(images()), images),
        "vector_quantizer": (
            lambda: of_haiku.quantized(lambda: hk.nets.VectorQuantizer(8, 16, 0.25)),
            vectors,
        ),
        "vector_quantizer_ema": (
            lambda: of_haiku.with_state(
                of_haiku.quantized(lambda: hk.nets.VectorQuantizerEMA(8, 16, 0.25, 0.9)), vectors()
            ),
            vectors,
        ),
        "lstm": (lambda: of_haiku.lstm, sequences),
        "gru": (lambda: of_haiku.gru, sequences),
        "transformer": (lambda: of_haiku.transformer, tokens),
        "convolutions": (lambda: of_haiku.with_state(of_haiku.convolutions, images()), images),
        "layer_stack": (
            lambda: lambda xs: hk.layer_stack(8)(lambda x: jnp.tanh(hk.Linear(8)(x)))(xs),
            vectors,
        ),
    },
    "keras": {
        "mobilenet": _keras("MobileNet", alpha=0.25),
        "mobilenet_v2": _keras("MobileNetV2", alpha=0.35),
        "mobilenet_v3": _keras("MobileNetV3Small"),
        "vgg": _keras("VGG16", include_top=False, pooling="avg"),
        "resnet": _keras("ResNet50"),
        "resnet_v2": _keras("ResNet50V2"),
        "densenet": _keras("densenet.DenseNet", (2, 2, 2, 2)),
        "efficientnet": _keras("efficientnet.EfficientNet", 0.25, 0.5, 32),
        "efficientnet_v2": _keras(
            "efficientnet_v2.EfficientNetV2", 0.25, 0.5, 32, name="efficientnetv2-b0"
        ),
        "nasnet": _keras(
            "nasnet.NASNet",
            penultimate_filters=96,
            num_blocks=1,
            stem_block_filters=8,
            skip_reduction=False,
        ),
        "xception": _keras("Xception", size=71),
        "inception": _keras("InceptionV3", size=75),
        "inception_resnet": (lambda: of_keras.inception_resnet(), partial(images, 32)),
        "convnext": _keras("ConvNeXtTiny"),
        "lstm": (lambda: of_keras.lstm(), sequences),
        "attention": (lambda: of_keras.attention(), sequences),
    },
    "jraph": {
        "graph_network": _rounds(lambda: jraph.GraphNetwork(*3 * (of_jraph.update,)), 3, "globals"),
        "interaction_network": _rounds(
            lambda: jraph.InteractionNetwork(*2 * (of_jraph.update,)), 3
        ),
        "graph_convolution": _rounds(
            lambda: jraph.GraphConvolution(
                lambda nodes: jnp.tanh(hk.Linear(8)(nodes)), add_self_edges=True
            ),
            4,
        ),
        "attention": _rounds(lambda: of_jraph.attention(), 3),
        "deep_sets": _rounds(
            lambda: jraph.DeepSets(of_jraph.update, lambda nodes: hk.nets.MLP([8, 8])(nodes)),
            3,
            "globals",
        ),
        "relation_network": (lambda: of_jraph.relations, lambda: of_jraph.graph()),
    },
    "diffrax": {
        "euler": (lambda: of_diffrax.solved(diffrax.Euler()), vectors),
        "tsit5": (lambda: of_diffrax.solved(diffrax.Tsit5()), vectors),
        "adaptive": (lambda: of_diffrax.solved(diffrax.Tsit5(), is_adaptive=True), vectors),
        "direct": (
            lambda: of_diffrax.solved(
                diffrax.Heun(), adjoint=diffrax.DirectAdjoint(), max_steps=16
            ),
            vectors,
        ),
        "backsolve": (
            lambda: of_diffrax.solved(diffrax.Tsit5(), adjoint=diffrax.BacksolveAdjoint()),
            vectors,
        ),
        "implicit": (lambda: of_diffrax.solved(diffrax.Kvaerno3(), is_adaptive=True), vectors),
        "controlled": (lambda: of_diffrax.controlled(), sequences),
    },
    "flowjax": {
        "coupling": _flow("coupling_flow", flow_layers=4, nn_width=8),
        "masked_autoregressive": _flow("masked_autoregressive_flow", flow_layers=4, nn_width=8),
        "block_neural": _flow(
            "block_neural_autoregressive_flow", nn_block_dim=2, flow_layers=2, invert=False
        ),
        "planar": _flow("planar_flow", flow_layers=4, width_size=8, depth=1),
        "triangular_spline": _flow("triangular_spline_flow", flow_layers=2),
    },
    "numpyro": {
        "autoregressive": (lambda: numpyro.AutoregressiveNN(8, [16, 16, 16]), vectors),
        "block_neural": (lambda: numpyro.BlockNeuralAutoregressiveNN(8, [2, 2]), vectors),
    },
    "equimo": {
        "vision_transformer": _equimo("VisionTransformer", 32, 3, 16, 8, 2, [4], size=32),
        "convnext": _equimo("ConvNeXt", 3, depths=[1, 1, 2, 1], dims=[8, 8, 16, 16]),
        "reduceformer": _equimo("reduceformer_backbone_b1"),
        "iformer": _equimo("iformer_t"),
    },
}
