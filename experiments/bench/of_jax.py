"""Peers as any JAX user writes them: `jax.value_and_grad` or `jax.vjp` of the forward pass."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PyTree

from experiments.bench import inputs, transformer
from experiments.bench.worker import Workload

ACTIVATIONS = {"sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh, "relu": jax.nn.relu}
Block = Callable[[Any, Any, Any], Any]  # z, θ, b -> z


def waited(once: Callable[[], Any], calls: int = 1) -> Callable[[], None]:
    """Return a function that calls so many times and waits for each result."""

    def run() -> None:
        for _ in range(calls):
            jax.block_until_ready(once())  # type: ignore[no-untyped-call]

    return run


def bytes_of(program: Any) -> float:
    """Return the memory that a compiled program takes besides that of its arguments."""
    sizes = program.memory_analysis()
    return float(sizes.temp_size_in_bytes + sizes.output_size_in_bytes)


def gradient(
    activation: str, calls: int, stacked: bool = False, hidden: str = "dense", **sizes: Any
) -> Workload:
    """Return gradient steps; equal layers that are `stacked` are a `lax.scan`."""
    import jaxnn  # for our pytree: what a container costs in a call is no part of a gradient

    sigma = ACTIVATIONS[activation]
    block = blocks(lambda z, theta, b: sigma(z) @ theta + b)[hidden]
    drawn, x, y = inputs.network(**sizes)
    params = [
        jaxnn.network.Layer(*map(jnp.asarray, pair))
        for pair in (inputs.stacked(drawn) if stacked else drawn)
    ]

    def loss(params: PyTree, xs: Array, ys: Array) -> Any:
        (theta_x, b_x), *run, (theta, b) = params
        z = xs @ theta_x + b_x
        for layer in run:
            if layer.theta.ndim == 3:
                z, _ = jax.lax.scan(lambda z, one: (block(z, *one), None), z, tuple(layer))
            else:
                z = block(z, *layer)
        z = sigma(z) @ theta + b
        if z.shape[1] == 1:
            return jnp.mean(optax.sigmoid_binary_cross_entropy(z[:, 0], ys))
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(z, ys))

    step = partial(jax.jit(jax.value_and_grad(loss)), params, jnp.asarray(x), jnp.asarray(y))

    def numbers(_: Path) -> list[float]:
        value, (first, *run, last) = step()
        run = zip(*run[0], strict=True) if stacked else run
        return [float(value), *inputs.in_short(v for layer in (first, *run, last) for v in layer)]

    return Workload(waited(step, calls), numbers)


def blocks(dense: Block) -> dict[str, Block]:
    """Return the kinds by their names on the command line, given z, θ, b -> σ(z) θ + b."""
    return {
        "dense": dense,
        "residual": lambda z, theta, b: z + dense(z, theta, b),
        "rms_norm": lambda z, theta, b: dense(rms(z), theta, b),
        "layer_norm": lambda z, theta, b: dense(standardised(z, -1), theta, b),
        # Not a batch norm alone: the next one takes b away, whose Δ is then 0 but for rounding.
        "residual(batch_norm)": lambda z, theta, b: z + dense(standardised(z, 0), theta, b),
        "post_norm": lambda z, theta, b: rms(z + dense(z, theta, b)),
    }


def rms(z: Array) -> Any:
    """Return z over the root of its mean square, example by example."""
    return z / jnp.sqrt(jnp.mean(jnp.square(z), axis=-1, keepdims=True))


def standardised(z: Array, axis: int) -> Any:
    """Return z with mean 0 and variance 1 along an axis."""
    return (z - z.mean(axis, keepdims=True)) / jnp.sqrt(z.var(axis, keepdims=True))


def products(
    ends: list[int], layers: int, width: int, batch: int, calls: int, activation: str
) -> Workload:
    """Return the matrix products of gradient steps alone, without σ, biases and a loss.

    z[l] = z[l-1] θ[l-1] up, and Δθ = aᵀ Δz and Δz θᵀ down from Δz[L] = z[L] / B: three products a
    layer, two in the first. It is the gradient of the linear network without biases.
    """
    del activation
    drawn, x, _ = inputs.network(ends, layers, width, batch)

    @jax.jit
    def all_of_them(thetas: list[Array], xs: Array) -> Any:
        signals = [xs]
        for theta in thetas:
            signals.append(signals[-1] @ theta)
        delta, of_thetas = signals.pop() / len(xs), []
        for i in reversed(range(len(thetas))):
            of_thetas.append(signals[i].T @ delta)
            if i:
                delta = delta @ thetas[i].T
        return of_thetas[::-1]

    once = partial(all_of_them, [jnp.asarray(theta) for theta, _ in drawn], jnp.asarray(x))
    return Workload(waited(once, calls), lambda _: inputs.in_short(once()))


def diagnosed(network: str, **sizes: int) -> Workload:
    """Return the loss, and the gradients of all parameters and of the input."""
    from experiments.bench.networks import NETWORKS, loss  # here, for it imports the frameworks

    net = NETWORKS[network](**sizes)

    def mean(params: PyTree, xs: Array) -> Array:
        return jnp.mean(loss(net.function(params, xs), jnp.zeros_like(xs)))

    once = partial(jax.jit(jax.value_and_grad(mean, argnums=(0, 1))), net.params, net.xs)
    return Workload(waited(once), lambda _: inputs.in_short([once()[1][1]])[:1])


def over_words(stacked: bool, **sizes: int) -> Workload:
    """Return the gradient of a transformer over words."""
    params, xs, ys = transformer.draw_over_words(stacked=stacked, **sizes)

    @jax.jit
    @jax.value_and_grad
    def gradient(params: PyTree, xs: Array, ys: Array) -> Any:
        return transformer.loss(transformer.logits(params, xs), ys).mean()

    def numbers(_: Path) -> list[float]:
        norms: dict[str, float] = {}
        for path, v in jax.tree_util.tree_leaves_with_path(gradient(params, xs, ys)[1]):
            name, parts = jax.tree_util.keystr(path), {"": v}
            if stacked and "blocks" in name:
                parts = {f"[{i}]": row for i, row in enumerate(v)}
            norms |= {name + at: inputs.in_short([row])[0] for at, row in parts.items()}
        return [norms[name] for name in sorted(norms)]

    return Workload(
        waited(partial(gradient, params, xs, ys)),
        numbers,
        lambda: bytes_of(gradient.lower(params, xs, ys).compile()),
    )


def chain(memory: str, layers: int, calls: int, **sizes: int) -> Workload:
    """Return every Δθ and Δx of a scan over blocks; it has one way to keep its memory."""
    del memory
    own = transformer.draw(layers, **sizes)

    def gradient(weights: PyTree, x: Array, c: Array) -> Any:
        return jax.vjp(transformer.scanned, weights, x)[1](c)

    program = jax.jit(gradient).lower(*own).compile()
    once = partial(program, *own)

    def numbers(_: Path) -> Any:
        rows = [np.asarray(v, np.float64).reshape(layers, -1) for v in once()[0].values()]
        return np.log(np.linalg.norm(np.concatenate(rows, axis=1), axis=1))

    return Workload(waited(once, calls), numbers, lambda: bytes_of(program))


def decoder(memory: str, **sizes: int) -> Workload:
    """Return the gradient with `jax.checkpoint` around a block, compiled for many devices."""
    del memory
    stack, xs = transformer.types(**sizes)
    block = jax.checkpoint(transformer.block)

    def forward(stack: PyTree, xs: Array) -> Any:
        return jax.lax.scan(lambda z, params: (block(params, z), None), xs, stack)[0]

    def gradient(stack: PyTree, xs: Array, cotangent: Array) -> Any:
        return jax.vjp(forward, stack, xs)[1](cotangent)

    def program() -> Any:
        return jax.jit(gradient).lower(stack, xs, xs).compile()

    return Workload(
        program,
        lambda _: transformer.size(stack),
        lambda: float(program().memory_analysis().temp_size_in_bytes),
    )
