"""Programs in Flax linen."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jaxtyping import Array

from experiments.casebook import data
from experiments.casebook.program import Program

classes = optax.softmax_cross_entropy_with_integer_labels
KEY = jax.random.key(0)


def built(module: nn.Module, xs: np.ndarray) -> tuple[Callable[..., Any], Any]:
    """Return a module's function and its variables."""
    return module.apply, module.init(KEY, xs[:2])


def mlp(sizes: Sequence[int], activation: Any = nn.relu, end: Any = None) -> nn.Module:
    """Return dense layers, with an activation between and one at the end if it is given."""
    *hidden, last = sizes
    layers = [part for size in hidden for part in (nn.Dense(size), activation)]
    return nn.Sequential([*layers, nn.Dense(last), *([end] if end else [])])


def relu_on_the_logits(is_cured: bool) -> Program:
    """A relu after the last layer, before the softmax of the loss."""
    xs, ys = data.digits()

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x: Array) -> Array:
            x = x.reshape(-1, 8, 8, 1)
            x = nn.relu(nn.Conv(8, (3, 3))(x)).reshape(len(x), -1)
            x = nn.Dense(10, bias_init=nn.initializers.constant(-0.5))(x)
            return x if is_cured else nn.relu(x)

    return Program(built(Net(), xs), xs, ys, classes, optax.adam(3e-3), data.accuracy)


def relu_that_ends_a_classifier(is_cured: bool) -> Program:
    """Relu after every layer, the last one too."""
    xs, ys = data.wine()
    model = built(mlp((32, 16, 3), end=None if is_cured else nn.relu), xs)
    return Program(model, xs, ys, classes, optax.sgd(0.1), data.accuracy)


def one_sigmoid_for_three(is_cured: bool) -> Program:
    """One sigmoid with the binary cross entropy, for the labels 0, 1 and 2."""
    xs, ys = data.iris()

    def binary(output: Array, ys: Array) -> Array:
        p = jnp.clip(output[:, 0], 1e-7, 1 - 1e-7)
        return -(ys * jnp.log(p) + (1 - ys) * jnp.log1p(-p))

    def score(output: Array, ys: Array) -> float:
        return data.accuracy(
            output if is_cured else np.eye(3)[np.round(output[:, 0]).astype(int)], ys
        )

    module = mlp((16, 3)) if is_cured else mlp((16, 1), end=nn.sigmoid)
    loss = classes if is_cured else binary
    return Program(built(module, xs), xs, ys, loss, optax.rmsprop(1e-2), score)


def pixels_as_bytes(is_cured: bool) -> Program:
    """Pixels from 0 to 255 into convolutions."""
    xs, ys = data.digits(is_scaled=False)
    xs = xs / 16 if is_cured else np.round(xs * 255 / 16).astype(np.float32)

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x: Array) -> Array:
            x = x.reshape(-1, 8, 8, 1)
            for features in (8, 16):
                x = nn.max_pool(nn.relu(nn.Conv(features, (3, 3))(x)), (2, 2), (2, 2))
            x = nn.relu(nn.Dense(32)(x.reshape(len(x), -1)))
            return nn.Dense(10)(x)

    return Program(built(Net(), xs), xs, ys, classes, optax.sgd(0.05), data.accuracy)


def scaled_twice(is_cured: bool) -> Program:
    """Pixels between 0 and 1, divided by 255 once more."""
    xs, ys = data.digits(is_scaled=False)
    xs = xs / 16 if is_cured else (xs / 16 / 255).astype(np.float32)
    return Program(built(mlp((32, 10)), xs), xs, ys, classes, optax.sgd(0.1), data.accuracy)


def softmax_twice(is_cured: bool) -> Program:
    """A softmax before a loss that takes logits."""
    xs, ys = data.digits()
    model = built(mlp((32, 10), end=None if is_cured else nn.softmax), xs)
    return Program(model, xs, ys, classes, optax.sgd(0.1), data.accuracy)


def statistics_of_nothing(is_cured: bool) -> Program:
    """Batch norms with use_running_average, whose statistics are those of the start."""
    xs, ys = data.tumours(is_scaled=False)
    xs = np.log1p(xs).astype(np.float32) * 20

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x: Array) -> Array:
            for _ in range(4):
                x = nn.Dense(32)(x)
                x = nn.relu(nn.BatchNorm(use_running_average=not is_cured, momentum=0.9)(x))
            return nn.Dense(2)(x)

    module = Net()
    variables = module.init(KEY, xs[:2])

    def network(variables: Any, xs: Array) -> Array:
        return module.apply(variables, xs, mutable=["batch_stats"])[0]

    model = (network, variables)
    return Program(
        model, xs, ys, classes, optax.sgd(0.05), data.accuracy, untrained=("batch_stats",)
    )


def one_layer_six_times(is_cured: bool) -> Program:
    """A layer made once and put into the list six times."""
    xs, ys = data.digits()

    class Net(nn.Module):
        def setup(self) -> None:
            self.first = nn.Dense(24)
            layer = nn.Dense(24)
            self.blocks = [nn.Dense(24) for _ in range(6)] if is_cured else [layer] * 6
            self.head = nn.Dense(10)

        def __call__(self, x: Array) -> Array:
            x = self.first(x)
            for block in self.blocks:
                x = nn.relu(block(x))
            return self.head(x)

    return Program(built(Net(), xs), xs, ys, classes, optax.adam(3e-3), data.accuracy)


def rate_of_a_millionth(is_cured: bool) -> Program:
    """Steps far too small to arrive."""
    xs, ys = data.digits()
    rate = 3e-3 if is_cured else 1e-6
    return Program(built(mlp((32, 10)), xs), xs, ys, classes, optax.adam(rate), data.accuracy)


def labels_at_random(is_cured: bool) -> Program:
    """Labels that were shuffled apart from their examples."""
    xs, ys = data.digits()
    ys = ys if is_cured else np.random.default_rng(0).permutation(ys)
    return Program(built(mlp((32, 10)), xs), xs, ys, classes, optax.adam(3e-3), data.accuracy)


def sigmoids_all_the_way(is_cured: bool) -> Program:
    """Ten hidden layers of sigmoids."""
    xs, ys = data.digits()
    module = mlp((*[32] * 10, 10), nn.relu if is_cured else nn.sigmoid)
    return Program(built(module, xs), xs, ys, classes, optax.adam(3e-3), data.accuracy)


def normal_weights_of_size_one(is_cured: bool) -> Program:
    """Normal weights of size 1 in layers of 64."""
    xs, ys = data.digits()
    draw = nn.initializers.he_normal() if is_cured else nn.initializers.normal(1.0)

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x: Array) -> Array:
            for _ in range(3):
                x = nn.tanh(nn.Dense(64, kernel_init=draw)(x))
            return nn.Dense(10, kernel_init=draw)(x)

    return Program(built(Net(), xs), xs, ys, classes, optax.sgd(0.03), data.accuracy)
