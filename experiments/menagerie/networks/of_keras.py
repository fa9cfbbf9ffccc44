"""Networks of Keras: `keras.applications` without weights, with the JAX backend."""

import os
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")
import keras
from keras.src import applications  # which has them in any width and depth

from experiments.menagerie import inputs


def _stateless(model: Any, xs: Any) -> dict[str, Any]:
    fixed = [variable.value for variable in model.non_trainable_variables]
    trained = [variable.value for variable in model.trainable_variables]
    f = lambda trained, xs: model.stateless_call(trained, fixed, xs)[0]
    return {"model": (f, trained), "xs": xs}


def mobilenet() -> dict[str, Any]:
    """applications.MobileNet."""
    model = keras.applications.MobileNet((32, 32, 3), 0.25, weights=None, classes=10)
    return _stateless(model, inputs.images(32))


def mobilenet_v2() -> dict[str, Any]:
    """applications.MobileNetV2."""
    model = keras.applications.MobileNetV2((32, 32, 3), 0.35, weights=None, classes=10)
    return _stateless(model, inputs.images(32))


def mobilenet_v3() -> dict[str, Any]:
    """applications.MobileNetV3Small."""
    model = keras.applications.MobileNetV3Small((32, 32, 3), weights=None, classes=10)
    return _stateless(model, inputs.images(32))


def vgg() -> dict[str, Any]:
    """applications.VGG16."""
    model = keras.applications.VGG16(
        weights=None, input_shape=(32, 32, 3), classes=10, include_top=False, pooling="avg"
    )
    return _stateless(model, inputs.images(32))


def resnet() -> dict[str, Any]:
    """applications.ResNet50."""
    model = keras.applications.ResNet50(weights=None, input_shape=(32, 32, 3), classes=10)
    return _stateless(model, inputs.images(32))


def resnet_v2() -> dict[str, Any]:
    """applications.ResNet50V2."""
    model = keras.applications.ResNet50V2(weights=None, input_shape=(32, 32, 3), classes=10)
    return _stateless(model, inputs.images(32))


def densenet() -> dict[str, Any]:
    """applications.densenet.DenseNet, four blocks of two."""
    model = applications.densenet.DenseNet(
        (2, 2, 2, 2), weights=None, input_shape=(32, 32, 3), classes=10
    )
    return _stateless(model, inputs.images(32))


def efficientnet() -> dict[str, Any]:
    """applications.efficientnet.EfficientNet, a quarter as wide and half as deep."""
    model = applications.efficientnet.EfficientNet(
        0.25, 0.5, 32, weights=None, input_shape=(32, 32, 3), classes=10
    )
    return _stateless(model, inputs.images(32))


def efficientnet_v2() -> dict[str, Any]:
    """applications.efficientnet_v2.EfficientNetV2, a quarter as wide and half as deep."""
    model = applications.efficientnet_v2.EfficientNetV2(
        *(0.25, 0.5, 32),
        name="efficientnetv2-b0",
        weights=None,
        input_shape=(32, 32, 3),
        classes=10,
    )
    return _stateless(model, inputs.images(32))


def nasnet() -> dict[str, Any]:
    """applications.nasnet.NASNet, a block of four filters between reductions."""
    model = applications.nasnet.NASNet(
        (32, 32, 3), 96, 1, 8, skip_reduction=False, weights=None, classes=10
    )
    return _stateless(model, inputs.images(32))


def xception() -> dict[str, Any]:
    """applications.Xception."""
    model = keras.applications.Xception(weights=None, input_shape=(71, 71, 3), classes=10)
    return _stateless(model, inputs.images(71))


def inception() -> dict[str, Any]:
    """applications.InceptionV3."""
    model = keras.applications.InceptionV3(weights=None, input_shape=(75, 75, 3), classes=10)
    return _stateless(model, inputs.images(75))


def inception_resnet() -> dict[str, Any]:
    """applications.inception_resnet_v2, two of each of its blocks."""
    of = applications.inception_resnet_v2
    first = keras.Input((32, 32, 3))
    x = of.conv2d_bn(first, 32, 3, strides=2)
    for kind in ("block35", "block17", "block8"):
        for i in range(2):
            x = of.inception_resnet_block(x, 0.17, kind, i)
    return _stateless(keras.Model(first, keras.layers.GlobalMaxPooling2D()(x)), inputs.images(32))


def convnext() -> dict[str, Any]:
    """applications.ConvNeXtTiny."""
    model = keras.applications.ConvNeXtTiny(weights=None, input_shape=(32, 32, 3), classes=10)
    return _stateless(model, inputs.images(32))


def lstm() -> dict[str, Any]:
    """layers.LSTM, two on each other, with Dense."""
    layers = [
        keras.layers.LSTM(8, return_sequences=True),
        keras.layers.LSTM(8),
        keras.layers.Dense(4),
    ]
    return _stateless(keras.Sequential([keras.Input((6, 8)), *layers]), inputs.sequences())


def attention() -> dict[str, Any]:
    """layers.MultiHeadAttention with residual connections."""
    x = first = keras.Input((6, 8))
    for _ in range(4):
        x = keras.layers.LayerNormalization()(keras.layers.MultiHeadAttention(2, 4)(x, x) + x)
    return _stateless(keras.Model(first, x), inputs.sequences())
