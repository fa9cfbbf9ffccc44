"""The networks in Flax: layers of `flax.nnx`, with the weights that PyTorch draws by default."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from experiments.cures import recipes
from experiments.cures.recipes import ACTIVATIONS, HEADS, Parts, Recipe


def arguments(made: Recipe, seed: int) -> dict[str, Any]:
    """Return what `jaxnn.diagnose` takes: a Sequential, its data and the cotangent."""
    rngs = nnx.Rngs(seed)
    xs, c = map(jnp.asarray, recipes.data(made, seed))
    model = nnx.Sequential(*(_layer(parts, rngs) for parts in made.layers))
    return {"model": model, "xs": xs, "cotangent": c}


def _uniform(bound: float) -> Callable[..., Any]:
    def init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32, **_: Any) -> Any:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


def _layer(parts: Parts, rngs: nnx.Rngs) -> Any:
    made = [_part(part, rngs) for part in parts]
    return made[0] if len(made) == 1 else nnx.Sequential(*made)


def _part(part: recipes.Part, rngs: nnx.Rngs) -> Any:
    match part:
        case recipes.Linear(n, m):
            init = _uniform(n**-0.5)
            return nnx.Linear(n, m, kernel_init=init, bias_init=init, rngs=rngs)
        case recipes.Convolution(n):
            init = _uniform((9 * n) ** -0.5)
            return nnx.Conv(n, n, (3, 3), kernel_init=init, bias_init=init, rngs=rngs)
        case recipes.Units(name):
            return ACTIVATIONS[name]
        case recipes.LayerNorm(n):
            return nnx.LayerNorm(n, epsilon=1e-5, rngs=rngs)
        case recipes.BatchNorm(n):
            return nnx.BatchNorm(n, rngs=rngs)
        case recipes.Attention(n):
            return nnx.MultiHeadAttention(
                HEADS,
                n,
                decode=False,
                kernel_init=_uniform((1.5 / n) ** 0.5),
                out_kernel_init=_uniform(n**-0.5),
                rngs=rngs,
            )
        case recipes.AcrossTokens(parts):
            return _AcrossTokens(_layer(parts, rngs))
        case recipes.Residual(parts):
            return _Residual(_layer(parts, rngs))
        case recipes.Lstm(n):
            init = _uniform(n**-0.5)
            weights = {"kernel_init": init, "recurrent_kernel_init": init, "bias_init": init}
            return _Lstm(nnx.RNN(nnx.OptimizedLSTMCell(n, n, rngs=rngs, **weights)))


class _AcrossTokens(nnx.Module):
    def __init__(self, parts: Callable[[jax.Array], jax.Array]) -> None:
        self.parts = parts

    def __call__(self, x: jax.Array) -> Any:
        return self.parts(x.swapaxes(1, 2)).swapaxes(1, 2)


class _Residual(nnx.Module):
    def __init__(self, branch: Callable[[jax.Array], jax.Array]) -> None:
        self.branch = branch

    def __call__(self, x: jax.Array) -> Any:
        return x + self.branch(x)


class _Lstm(nnx.Module):
    def __init__(self, steps: nnx.RNN) -> None:
        self.steps = steps

    def __call__(self, x: jax.Array) -> Any:
        return self.steps(x)[:, -1]
