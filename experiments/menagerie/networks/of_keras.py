"""Networks of Keras: `keras.applications` without weights, with the JAX backend."""

import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")
import keras
from keras.src import applications  # which has them in any width and depth

from experiments.menagerie import inputs

Model = Callable[..., keras.Model]


def arguments(model: keras.Model, xs: inputs.Batch) -> inputs.Arguments:
    fixed = [variable.value for variable in model.non_trainable_variables]
    trained = [variable.value for variable in model.trainable_variables]
    f = lambda trained, xs: model.stateless_call(trained, fixed, xs)[0]
    return {"model": (f, trained), "xs": xs}


def _of_images(build: Model, *sizes: Any, size: int = 32, **more: Any) -> inputs.Arguments:
    model = build(*sizes, input_shape=(size, size, 3), weights=None, classes=10, **more)
    return arguments(model, inputs.images(size))


def _inception_resnet() -> inputs.Arguments:
    blocks = applications.inception_resnet_v2
    first = keras.Input((32, 32, 3))
    x = blocks.conv2d_bn(first, 32, 3, strides=2)
    for kind in ("block35", "block17", "block8"):
        for i in range(2):
            x = blocks.inception_resnet_block(x, 0.17, kind, i)
    return arguments(keras.Model(first, keras.layers.GlobalMaxPooling2D()(x)), inputs.images(32))


def _lstm() -> inputs.Arguments:
    layers = [
        keras.layers.LSTM(8, return_sequences=True),
        keras.layers.LSTM(8),
        keras.layers.Dense(4),
    ]
    return arguments(keras.Sequential([keras.Input((6, 8)), *layers]), inputs.sequences())


def _attention() -> inputs.Arguments:
    x = first = keras.Input((6, 8))
    for _ in range(4):
        x = keras.layers.LayerNormalization()(keras.layers.MultiHeadAttention(2, 4)(x, x) + x)
    return arguments(keras.Model(first, x), inputs.sequences())


NETWORKS: inputs.Networks = {
    "mobilenet": (
        "applications.MobileNet",
        lambda: _of_images(keras.applications.MobileNet, alpha=0.25),
    ),
    "mobilenet_v2": (
        "applications.MobileNetV2",
        lambda: _of_images(keras.applications.MobileNetV2, alpha=0.35),
    ),
    "mobilenet_v3": (
        "applications.MobileNetV3Small",
        lambda: _of_images(keras.applications.MobileNetV3Small),
    ),
    "vgg": (
        "applications.VGG16",
        lambda: _of_images(keras.applications.VGG16, include_top=False, pooling="avg"),
    ),
    "resnet": ("applications.ResNet50", lambda: _of_images(keras.applications.ResNet50)),
    "resnet_v2": ("applications.ResNet50V2", lambda: _of_images(keras.applications.ResNet50V2)),
    "densenet": (
        "applications.densenet.DenseNet, four blocks of two",
        lambda: _of_images(applications.densenet.DenseNet, (2, 2, 2, 2)),
    ),
    "efficientnet": (
        "applications.efficientnet.EfficientNet, a quarter as wide and half as deep",
        lambda: _of_images(applications.efficientnet.EfficientNet, 0.25, 0.5, 32),
    ),
    "efficientnet_v2": (
        "applications.efficientnet_v2.EfficientNetV2, a quarter as wide and half as deep",
        lambda: _of_images(
            applications.efficientnet_v2.EfficientNetV2, 0.25, 0.5, 32, name="efficientnetv2-b0"
        ),
    ),
    "nasnet": (
        "applications.nasnet.NASNet, a block of four filters between reductions",
        lambda: _of_images(
            applications.nasnet.NASNet,
            penultimate_filters=96,
            num_blocks=1,
            stem_block_filters=8,
            skip_reduction=False,
        ),
    ),
    "xception": ("applications.Xception", lambda: _of_images(keras.applications.Xception, size=71)),
    "inception": (
        "applications.InceptionV3",
        lambda: _of_images(keras.applications.InceptionV3, size=75),
    ),
    "inception_resnet": (
        "applications.inception_resnet_v2, two of each of its blocks",
        _inception_resnet,
    ),
    "convnext": ("applications.ConvNeXtTiny", lambda: _of_images(keras.applications.ConvNeXtTiny)),
    "lstm": ("layers.LSTM, two on each other, with Dense", _lstm),
    "attention": ("layers.MultiHeadAttention with residual connections", _attention),
}
