"""Programs in Equinox of the second blind round."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from experiments.casebook import data
from experiments.casebook.program import CaseProgram
from experiments.casebook.programs.equinox_parts import mlp


def angles_as_one_number(is_cured: bool) -> CaseProgram:
    """The angle of a wheel that two others turn, by squares, where it goes from pi back to -pi."""
    turns = np.random.default_rng(0).uniform(0, 2 * np.pi, (2000, 2))
    xs = np.concatenate([np.cos(turns), np.sin(turns)], axis=1).astype(np.float32)
    ys = (turns @ [4, 2] % (2 * np.pi) - np.pi).astype(np.float32)

    def loss(output: Array, ys: Array) -> Array:
        wanted = jnp.stack([jnp.cos(ys), jnp.sin(ys)], axis=1) if is_cured else ys[:, None]
        return jnp.mean((output - wanted) ** 2, axis=1)

    def score(output: Array, ys: Array) -> float:
        angles = np.arctan2(output[:, 1], output[:, 0]) if is_cured else output[:, 0]
        return float(np.mean(np.cos(np.asarray(angles - ys))))

    model = mlp((4, 128, 128, 2 if is_cured else 1))
    given = model, xs, ys, loss, optax.adam(1e-2), score
    return CaseProgram(*given, batch=64, steps=250, every=10, each="example")


def rewards_above_ten(is_cured: bool) -> CaseProgram:
    """A policy from noted actions, whose rewards of 10 and 11 are divided, but not centred."""
    images, labels = data.digits()
    actions = np.random.default_rng(0).integers(0, 10, len(labels))
    rewards = 10.0 + (actions == labels)
    rewards = (rewards - rewards.mean() if is_cured else rewards) / rewards.std()
    ys = np.stack([actions, rewards], axis=1).astype(np.float32)

    def loss(output: Array, ys: Array) -> Array:
        policy = jax.nn.softmax(output)
        chosen = jnp.take_along_axis(policy, ys[:, :1].astype(int), axis=1)[:, 0]
        return -chosen * ys[:, 1]

    def score(output: Array, ys: Array) -> float:
        return data.accuracy(output, labels)

    given = mlp((64, 32, 10)), images, ys, loss, optax.adam(3e-3), score
    return CaseProgram(*given, steps=200, every=10, each="example")
