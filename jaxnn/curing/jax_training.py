"""Training of changed networks of JAX: one program for all numbers, step sizes and orders.

What only changes numbers goes through the program of the unchanged network; another structure has
one of its own. On a CPU trainings one after the other are faster than `jax.vmap` over them.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, wraps
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, PyTree

from ..arrays.compiled import Numbers, compiled, measuring
from ..train.descent import begun, descended
from ..train.steps import Optimizer
from ..train.trainee import Trainee, learned, loss_through
from .training import ROUNDS, LossCourse


@dataclass(frozen=True)
class ScaledOptimizer:
    """An optimiser whose steps are so many times as large."""

    optimizer: Optimizer
    times: Array

    def init(self, params: PyTree) -> Any:
        """Return its state."""
        return self.optimizer.init(params)

    @property
    def update(self) -> Callable[..., tuple[Any, Any]]:
        """Its updates, of the arguments that the optimiser takes."""

        @wraps(self.optimizer.update)
        def scaled(*args: Any, **extra: Any) -> tuple[Any, Any]:
            updates, state = self.optimizer.update(*args, **extra)
            return jax.tree.map(lambda u: u * self.times.astype(u.dtype), updates), state

        return scaled


@dataclass(frozen=True, eq=False)
class JaxTraining:
    """A network of JAX that can be trained again and again from where it is."""

    trainee: Trainee
    xs: PyTree
    optimizer: Optimizer

    @cached_property
    def count(self) -> int:
        """The examples that can be split into batches; 0 if they cannot."""
        data = jax.tree.leaves((self.xs, self.trainee.ys))
        counts = {jnp.shape(v)[0] if jnp.ndim(v) else 0 for v in data}
        count = counts.pop() if len(counts) == 1 and not self.trainee.net.whole else 0
        return count if count and self._takes(count // 2) else 0

    def _takes(self, count: int) -> bool:
        """Tell whether it takes the first of the examples."""
        xs, ys = rows_of((self.xs, self.trainee.ys), np.arange(count))
        mean_loss = loss_through(self.trainee._replace(ys=ys), xs)
        try:
            jax.eval_shape(mean_loss, learned(self.trainee.tree))
        except Exception:  # of the user's functions, which may want all of them
            return False
        return True

    def courses(
        self, times: float, parts: Iterable[Int[np.ndarray, "S b"]], seed: int = 0
    ) -> Iterator[tuple[LossCourse, PyTree]]:
        """Yield the course of each part; see `Training`."""
        del seed  # a network of JAX has its keys among its arguments
        state = measuring(begun)(self.trainee, self.optimizer)
        for rows in parts:
            steps = len(rows)
            more = [(0, -steps % ROUNDS[-1] if steps else ROUNDS[-1]), (0, 0)]
            numbers = np.float32(times), np.pad(rows, more), np.int32(steps)
            state, losses, end, output = measuring(_course)(
                self.trainee, self.optimizer, *numbers, state, self.xs
            )
            yield LossCourse(np.asarray(losses, np.float64)[:steps], float(end)), output

    def on(self, xs: PyTree, ys: PyTree) -> "JaxTraining":
        """Return the training of this network on other examples."""
        return replace(self, trainee=self.trainee._replace(ys=ys), xs=xs)


@compiled
def _course(
    trainee: Trainee,
    optimizer: Optimizer,
    times: Numbers | np.generic,
    rows: Numbers,
    steps: Numbers | np.generic,
    state: tuple[PyTree, PyTree],
    xs: PyTree,
) -> tuple[Any, Float[Array, " S"], Float[Array, ""], Any]:
    """Return floats and state, the losses before each step, and loss and output at the end."""
    scaled, ys = ScaledOptimizer(optimizer, jnp.asarray(times)), trainee.ys
    rows = jnp.asarray(rows)

    def step(i: Array, carry: tuple[PyTree, PyTree, Array]) -> tuple[PyTree, PyTree, Array]:
        floats, opt_state, losses = carry
        batch, labels = rows_of((xs, ys), rows[i])
        floats, opt_state, value, _ = descended(
            trainee._replace(ys=labels), scaled, floats, opt_state, batch
        )
        return floats, opt_state, losses.at[i].set(value.astype(losses.dtype))

    start = (*state, jnp.full(len(rows), jnp.nan, jnp.float32))
    floats, opt_state, losses = lax.fori_loop(0, steps, step, start)
    end, (output, _) = loss_through(trainee, xs)(floats)
    return (floats, opt_state), losses, end, output


def rows_of(data: PyTree, rows: Numbers) -> Any:
    """Return some examples; all of them if no rows are named."""
    return jax.tree.map(lambda v: v[rows], data) if rows.size else data
