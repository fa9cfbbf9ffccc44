"""Trainings with a planted fault, and healthy ones: the step of the alarm, and that of the loss.

    python tests/planted.py             # all, as a table
    python tests/planted.py logits      # those with this word in their name

Each faulty training has a twin with the same seed, data and network, without the fault. The loss
shows a fault as soon as the mean of the last ten losses has been more than 20 % and .1 above that
of the twin for five steps. In practice there is no twin, and it is seen later.
"""

import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

# Most of the time is compiling.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import jax
import jax.numpy as jnp
import numpy as np
import optax
from problems import norm, residual
from sklearn.datasets import load_digits

import jaxnn

STEPS, EVERY, BATCH = 400, 10, 64
ADAM = optax.adam(2e-3)
MEAN_OF, LASTING, SHARE, LEAST = 10, 5, 0.2, 0.1


def digits():
    xs, ys = load_digits(return_X_y=True)
    return jnp.asarray(xs / 8 - 0.6, jnp.float32), jnp.asarray(ys)


def loss(output, ys):
    return optax.softmax_cross_entropy_with_integer_labels(output.astype(jnp.float32), ys)


def weights(key, *sizes, scale=1.0):
    keys = jax.random.split(key, len(sizes) - 1)
    return [
        scale * (2 / n) ** 0.5 * jax.random.normal(k, (n, m))
        for k, n, m in zip(keys, sizes[:-1], sizes[1:], strict=True)
    ]


# Networks: (key) -> parameters, and (parameters, xs) -> output


def init_mlp(key, depth=4, width=32, scale=1.0):
    thetas = weights(key, 64, *[width] * depth, 10, scale=scale)
    return {"thetas": thetas, "b": [jnp.zeros(v.shape[1]) for v in thetas]}


def mlp(p, xs, activation=jax.nn.relu):
    for theta, b in zip(p["thetas"][:-1], p["b"][:-1], strict=True):
        xs = activation(xs @ theta + b)
    return xs @ p["thetas"][-1] + p["b"][-1]


def tanh_mlp(p, xs):
    return mlp(p, xs, jnp.tanh)


def half_mlp(p, xs):
    """In float16, as mixed precision is written: parameters are float32."""
    return mlp(*jax.tree.map(lambda v: v.astype(jnp.float16), (p, xs)))


def init_residual(key, blocks=4, width=32):
    keys = jax.random.split(key, blocks + 2)
    inner = [weights(k, width, width, width) for k in keys[:blocks]]
    return {
        "in": weights(keys[-1], 64, width)[0],
        "blocks": [{"up": up, "down": down / 3} for up, down in inner],
        "out": weights(keys[-2], width, 10)[0] / 2,
    }


def init_attention(key, blocks=2, width=32):
    keys = jax.random.split(key, 4 * blocks + 2)

    def block(i):
        names = ("q", "k", "v", "o")
        return {n: weights(keys[4 * i + j], width, width)[0] / 2 for j, n in enumerate(names)}

    return {
        "in": weights(keys[-1], 8, width)[0],
        "place": 0.3 * jax.random.normal(keys[-1], (8, width)),
        "blocks": [block(i) for i in range(blocks)],
        "out": weights(keys[-2], width, 10)[0] / 2,
    }


def attention(p, xs):
    z = xs.reshape(-1, 8, 8) @ p["in"] + p["place"]
    for block in p["blocks"]:
        n = norm(z)
        q, k, v = (n @ block[name] for name in "qkv")
        weight = jax.nn.softmax(jnp.einsum("bqd,bkd->bqk", q, k) / q.shape[-1] ** 0.5, axis=-1)
        z = z + jnp.einsum("bqk,bkd->bqd", weight, v) @ block["o"]
    return jnp.mean(norm(z), axis=1) @ p["out"]


def init_experts(key, experts=4, width=32):
    keys = jax.random.split(key, 5)
    return {
        "in": weights(keys[0], 64, width)[0],
        "router": 0.3 * jax.random.normal(keys[1], (width, experts)),
        "bias": jnp.zeros(experts),
        "up": jax.random.normal(keys[2], (experts, width, width)) / width**0.5,
        "down": jax.random.normal(keys[3], (experts, width, width)) / width**0.5,
        "out": weights(keys[4], width, 10)[0] / 2,
    }


def mixture(p, xs):
    z = xs @ p["in"]
    scores, chosen = jax.lax.top_k(jax.nn.softmax(norm(z) @ p["router"] + p["bias"]), 1)
    gate = jax.nn.one_hot(chosen[:, 0], p["router"].shape[1]) * scores
    inner = jax.nn.relu(jnp.einsum("bn,enm->bem", norm(z), p["up"]))
    z = z + jnp.einsum("bem,emn,be->bn", inner, p["down"], gate)
    return norm(z) @ p["out"]


def batch_norm_mlp(p, xs):
    for theta, b in zip(p["thetas"][:-1], p["b"][:-1], strict=True):
        z = xs @ theta
        z = (z - jnp.mean(z, axis=0)) * jax.lax.rsqrt(jnp.var(z, axis=0) + 1e-5)
        xs = jax.nn.relu(z + b)
    return xs @ p["thetas"][-1] + p["b"][-1]


@dataclass(frozen=True)
class Training:
    """A training of digits.

    init, network: of the network.
    optimizer: of optax.
    batch: examples of a step.
    change: (params) -> params at the start.
    labels: (step, ys) -> ys.
    weight: of the loss, to which Adam is indifferent.
    """

    init: Callable[[Any], Any]
    network: Callable[[Any, Any], Any]
    optimizer: Any = ADAM
    batch: int = BATCH
    change: Callable[[Any], Any] = lambda p: p
    labels: Callable[[Any, Any], Any] = lambda step, ys: ys
    weight: float = 1.0


@cache
def trained(training, steps=STEPS, every=EVERY, seed=0):
    """Return the losses of a training, and the record of its watch."""
    xs, ys = digits()
    params = training.change(training.init(jax.random.key(seed)))
    net, _ = jaxnn.as_network((training.network, params), xs[: training.batch])

    def weighted(output, ys):
        return training.weight * loss(output, ys)

    watch = jaxnn.watch(net, loss=weighted, every=every)

    def train_step(carry, step):
        params, opt_state = carry
        key = jax.random.fold_in(jax.random.key(seed + 1), step)
        rows = jax.random.randint(key, (training.batch,), 0, len(xs))
        batch = xs[rows], training.labels(step, ys[rows])
        value, gradient = jax.value_and_grad(
            lambda p: jnp.mean(weighted(training.network(p, batch[0]), batch[1]))
        )(params)
        updates, opt_state = training.optimizer.update(gradient, opt_state, params)
        after = optax.apply_updates(params, updates)
        watch(step, params, *batch, after=after, value=value)
        return (after, opt_state), value

    start = params, training.optimizer.init(params)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jaxnn.errors.TrainingWarning)
        losses = jax.jit(lambda c: jax.lax.scan(train_step, c, jnp.arange(steps))[1])(start)
        return np.asarray(losses) / training.weight, watch.watched


def zeroed(p):
    block = {name: jnp.zeros_like(v) for name, v in p["blocks"][1].items()}
    return {**p, "blocks": [p["blocks"][0], block, *p["blocks"][2:]]}


def dead_router(p):
    """One expert takes all, and softmax hands nothing down to the router."""
    return {**p, "bias": p["bias"].at[0].set(20.0)}


def larger_steps(factor, names):
    """Adam with steps that are larger in some arrays."""

    def scale(updates, state, params=None):
        return jax.tree_util.tree_map_with_path(
            lambda path, u: factor * u if path[-1].key in names else u, updates
        ), state

    return optax.chain(ADAM, optax.GradientTransformation(lambda p: optax.EmptyState(), scale))


def dying():
    """Adam, but for one block, both of whose weights lose a tenth in each step."""
    block = jax.tree_util.SequenceKey(2)

    def shrink(updates, state, params):
        def of(path, update, value):
            return -0.1 * value if block in path else update

        return jax.tree_util.tree_map_with_path(of, updates, params), state

    return optax.chain(ADAM, optax.GradientTransformation(lambda p: optax.EmptyState(), shrink))


def shuffled(step, ys):
    """Labels of other examples, from step 200 on."""
    return jnp.where(step < 200, ys, jnp.roll(ys, 7))


MLP, TANH = Training(init_mlp, mlp), Training(init_mlp, tanh_mlp)
RESIDUAL, ATTENTION = Training(init_residual, residual), Training(init_attention, attention)
MIXTURE = Training(init_experts, mixture)
SMALL = replace(MLP, optimizer=optax.adam(2e-3, eps=1e-16), weight=1e-6)  # of the loss
NORMED = Training(init_mlp, batch_norm_mlp)
SGD = optax.sgd(0.05)

# The faulty training and its twin.
FAULTS: dict[str, tuple[Training, Training]] = {
    "learning rate × 30": (replace(MLP, optimizer=optax.adam(6e-2)), MLP),
    "too large init": (replace(MLP, init=lambda key: init_mlp(key, scale=8.0)), MLP),
    "dead router": (replace(MIXTURE, change=dead_router), MIXTURE),
    "growing logits": (replace(ATTENTION, optimizer=larger_steps(10.0, "qk")), ATTENTION),
    "fp16 underflow": (replace(SMALL, network=half_mlp), SMALL),
    "zeroed branch": (replace(RESIDUAL, change=zeroed), RESIDUAL),
    "a dying branch": (replace(RESIDUAL, optimizer=dying()), RESIDUAL),
    "labels shuffled at step 200": (replace(MLP, labels=shuffled), MLP),
    "batch norm with batch 1": (replace(NORMED, batch=1), replace(NORMED, batch=64)),
    "weight decay × 1000": (
        replace(RESIDUAL, optimizer=optax.adamw(2e-3, weight_decay=10.0)),
        replace(RESIDUAL, optimizer=optax.adamw(2e-3, weight_decay=1e-2)),
    ),
    "a clip that always clips": (
        replace(TANH, optimizer=optax.chain(optax.clip_by_global_norm(1e-2), optax.sgd(0.05))),
        replace(TANH, optimizer=SGD),
    ),
}
HEALTHY: dict[str, Training] = {
    "MLP, Adam": MLP,
    "MLP, SGD": replace(MLP, optimizer=SGD),
    "tanh MLP, momentum": replace(TANH, optimizer=optax.sgd(0.02, momentum=0.9)),
    "residual MLP": RESIDUAL,
    "residual MLP, AdamW": replace(RESIDUAL, optimizer=optax.adamw(2e-3, weight_decay=0.1)),
    "attention": ATTENTION,
    "mixture of experts": MIXTURE,
    "batch norm": NORMED,
    "tanh MLP, clipped at times": replace(
        TANH, optimizer=optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.05))
    ),
    "MLP, Lion": replace(MLP, optimizer=optax.lion(3e-4)),
}


def shown_at(losses, twin):
    """Return the step at which a loss shows a fault, None if it does not."""
    both = [np.convolve(v, np.ones(MEAN_OF) / MEAN_OF, "valid") for v in (losses, twin)]
    # The first steps, of fewer losses than ten, count as they are.
    ours, theirs = (
        np.concatenate([np.cumsum(v[: MEAN_OF - 1]) / np.arange(1, MEAN_OF), mean])
        for v, mean in zip((losses, twin), both, strict=True)
    )
    with np.errstate(invalid="ignore"):
        bad = ~(ours - theirs <= np.maximum(SHARE * theirs, LEAST))
    lasting = np.convolve(bad, np.ones(LASTING), "valid") == LASTING
    return int(np.argmax(lasting)) + LASTING - 1 if lasting.any() else None


def judged(name):
    """Return the first alarm on a fault, the step at which the loss shows it, and all alarms."""
    faulty, twin = FAULTS[name]
    losses, record = trained(faulty)
    first = record.alarms[0] if record.alarms else None
    return first, shown_at(losses, trained(twin)[0]), record.alarms


def is_before(first, shown):
    """Tell whether an alarm comes before the loss shows the fault."""
    return first is not None and (shown is None or first.step < shown)


def main(word=""):
    """Print both tables."""
    print("| fault | alarm at step | loss shows it at step | alarm |\n|---|---|---|---|")
    names = [name for name in FAULTS if word in name]
    before = 0
    for name in names:
        first, shown, alarms = judged(name)
        before += is_before(first, shown)
        step, text = ("none", "") if first is None else (first.step, first.text)
        later = "".join(f"; {alarm.rule} at {alarm.step}" for alarm in alarms[1:])
        loss_at = "never" if shown is None else shown
        print(f"| {name} | {step} | {loss_at} | {text}{later} |", flush=True)
    print(f"\n{before} of {len(names)} before\n\n| healthy | last loss | alarms |\n|---|---|---|")
    for name in (name for name in HEALTHY if word in name):
        losses, record = trained(HEALTHY[name])
        texts = " ".join(map(str, record.alarms)) or "none"
        print(f"| {name} | {losses[-MEAN_OF:].mean():.3f} | {texts} |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
