"""Networks of Keras: `keras.applications` without weights, with the JAX backend."""

import os
from operator import attrgetter
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")
import keras
from keras import layers
from keras.src import applications  # which has them in any width and depth


def of_images(path: str, *sizes: Any, size: int, **more: Any) -> keras.Model:
    """Return a network by its path in `keras.applications`."""
    build = attrgetter(path)(applications if "." in path else keras.applications)
    return build(*sizes, input_shape=(size, size, 3), weights=None, classes=10, **more)


def inception_resnet() -> keras.Model:
    blocks = applications.inception_resnet_v2
    first = keras.Input((32, 32, 3))
    x = blocks.conv2d_bn(first, 32, 3, strides=2)
    for kind in ("block35", "block17", "block8"):
        for i in range(2):
            x = blocks.inception_resnet_block(x, 0.17, kind, i)
    return keras.Model(first, layers.GlobalMaxPooling2D()(x))


def attention() -> keras.Model:
    x = first = keras.Input((6, 8))
    for _ in range(4):
        x = layers.LayerNormalization()(layers.MultiHeadAttention(2, 4)(x, x) + x)
    return keras.Model(first, x)
