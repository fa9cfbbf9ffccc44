"""Language models as their users write them on explicit meshes, measured on eight devices.

`python tests/sharded.py`, in a process of its own, prints what it finds of each as JSON.
"""

import json
import math
import re
import tempfile
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import jaxnn
from jaxnn.flow.measure.flow_of_net import flow_of_net
from jaxnn.watching.alarms import ALARMS

VOCABULARY, WIDTH, HEADS, GROUPS, OF_HEAD, INNER, EXPERTS = 32, 32, 4, 2, 8, 64, 4
TOKENS, BLOCKS, BATCH = 16, 2, 16
COLLECTIVES = ("all-reduce", "all-gather", "all-to-all", "reduce-scatter", "collective-permute")


# Layers


def rms_norm(x, g):
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), -1, keepdims=True) + 1e-6) * g


def rotary(x):
    half = x.shape[-1] // 2
    angle = jnp.arange(x.shape[1])[:, None, None] / 100 ** (jnp.arange(half) / half)
    a, b = x[..., :half], x[..., half:]
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], -1)


def attention(p, x):
    heads = P("data", None, "model")
    q, k, v = (
        jnp.einsum("btd,dhk->bthk", x, p[name], out_sharding=heads) for name in ("q", "k", "v")
    )
    grouped = (*x.shape[:2], GROUPS, HEADS // GROUPS, OF_HEAD)
    q = jnp.reshape(rotary(q), grouped, out_sharding=heads)
    scores = jnp.einsum("btgrk,bsgk->bgrts", q, rotary(k), out_sharding=P("data", "model"))
    causal = jnp.tril(jnp.ones((x.shape[1],) * 2, bool))
    weights = jax.nn.softmax(jnp.where(causal, scores / OF_HEAD**0.5, -1e30))
    out = jnp.einsum("bgrts,bsgk->btgrk", weights, v, out_sharding=heads)
    out = jnp.reshape(out, (*x.shape[:2], HEADS, OF_HEAD), out_sharding=heads)
    return jnp.einsum("bthk,hkd->btd", out, p["o"], out_sharding=P("data"))


def gated(p, x):
    inner = P("data", None, "model")
    gate, up = (jnp.einsum("btd,df->btf", x, p[name], out_sharding=inner) for name in ("g", "u"))
    return jnp.einsum("btf,fd->btd", jax.nn.silu(gate) * up, p["d"], out_sharding=P("data"))


def experts(p, x):
    of_expert = P("data", None, "model")
    best, numbers = jax.lax.top_k(jax.nn.softmax(x @ p["router"]), 2)
    shares = jax.nn.one_hot(numbers, EXPERTS) * (best / jnp.sum(best, -1, keepdims=True))[..., None]
    shares = jax.sharding.reshard(jnp.sum(shares, -2), of_expert)
    gate, up = (
        jnp.einsum("btd,edf->btef", x, p[name], out_sharding=of_expert) for name in ("g", "u")
    )
    inner = jax.nn.silu(gate) * up * shares[..., None]
    return jnp.einsum("btef,efd->btd", inner, p["d"], out_sharding=P("data"))


def in_shard_map(p, x):
    """A gated layer whose devices are told what to do one by one."""
    specs = P(None, "model"), P(None, "model"), P("model", None), P("data", None, None)

    @partial(jax.shard_map, in_specs=specs, out_specs=P("data", None, None))
    def on_device(g, u, d, x):
        return jax.lax.psum((jax.nn.silu(x @ g) * (x @ u)) @ d, "model")

    return on_device(p["g"], p["u"], p["d"], x)


# Models: (params, tokens) -> logits


def embedded(table, tokens):
    return table.at[tokens].get(out_sharding=P("data"))


def llama(p, tokens):
    x = embedded(p["embed"], tokens)
    for i, q in enumerate(p["blocks"]):
        x = x + attention(q["attention"], rms_norm(x, q["norm1"]))
        mlp = in_shard_map if i == 1 else gated
        x = x + mlp(q["mlp"], rms_norm(x, q["norm2"]))
    x = rms_norm(x, p["norm"])
    return jnp.einsum("btd,dv->btv", x, p["head"], out_sharding=P("data", None, "model"))


def qwen_moe(p, tokens):
    def block(x, q):
        x = x + attention(q["attention"], rms_norm(x, q["norm1"]))
        return x + experts(q["mlp"], rms_norm(x, q["norm2"])), None

    x, _ = jax.lax.scan(block, embedded(p["embed"], tokens), p["blocks"])
    x = rms_norm(x, p["norm"])
    return jnp.einsum("btd,dv->btv", x, p["head"], out_sharding=P("data", None, "model"))


def loss(logits, following):
    right = jnp.sum(logits * jax.nn.one_hot(following, VOCABULARY), -1)
    return jnp.mean(jax.nn.logsumexp(logits, -1) - right, axis=-1)


# Parameters, each with what it is spread over


def parameters(of_mlp, *, listed):
    """Return shapes and specs of all parameters, those of the blocks in a list or stacked."""
    attends = {
        "q": ((WIDTH, HEADS, OF_HEAD), P(None, "model")),
        "k": ((WIDTH, GROUPS, OF_HEAD), P(None, "model")),
        "v": ((WIDTH, GROUPS, OF_HEAD), P(None, "model")),
        "o": ((HEADS, OF_HEAD, WIDTH), P("model")),
    }
    norms = {f"norm{i}": ((WIDTH,), P()) for i in (1, 2)}
    block = {"attention": attends, "mlp": of_mlp, **norms}
    stacked = jax.tree.map(
        lambda v: ((BLOCKS, *v[0]), P(None, *v[1])), block, is_leaf=lambda v: isinstance(v, tuple)
    )
    return {
        "embed": ((VOCABULARY, WIDTH), P("model")),
        "blocks": [block] * BLOCKS if listed else stacked,
        "norm": ((WIDTH,), P()),
        "head": ((WIDTH, VOCABULARY), P(None, "model")),
    }


GATED = {
    "g": ((WIDTH, INNER), P(None, "model")),
    "u": ((WIDTH, INNER), P(None, "model")),
    "d": ((INNER, WIDTH), P("model")),
}
MIXTURE = {
    "router": ((WIDTH, EXPERTS), P()),
    "g": ((EXPERTS, WIDTH, INNER), P("model")),
    "u": ((EXPERTS, WIDTH, INNER), P("model")),
    "d": ((EXPERTS, INNER, WIDTH), P("model")),
}
MODELS = {
    "llama": (llama, parameters(GATED, listed=True)),
    "qwen_moe": (qwen_moe, parameters(MIXTURE, listed=False)),
}


def drawn(shapes, mesh):
    """Return parameters on a mesh; matrices of variance 1 / fan-in or so, norms near 1."""
    rng = np.random.default_rng(0)

    def draw(v):
        shape, spec = v
        values = rng.standard_normal(shape).astype(np.float32)
        values = 1 + values / 8 if shape[-1] == WIDTH and len(shape) < 3 else values / WIDTH**0.5
        return jax.device_put(values, NamedSharding(mesh, spec))

    return jax.tree.map(draw, shapes, is_leaf=lambda v: isinstance(v, tuple))


def arrays(tree):
    return jax.tree.leaves(tree)


# What is found


def bytes_of(program):
    of = program.memory_analysis()
    return of.temp_size_in_bytes + of.argument_size_in_bytes + of.output_size_in_bytes


def collectives_of(program):
    """Return, by name, the entries of what each collective of a program makes."""
    found = {}
    for name in COLLECTIVES:
        types = re.findall(rf" = (.*) {name}(?:-start)?\(", program.as_text())
        shapes = [re.findall(r"\[([\d,]*)\]", made) for made in types]
        found[name] = [
            sum(math.prod(map(int, filter(None, s.split(",")))) for s in each) for each in shapes
        ]
    return found


def findings(name):
    """Measure one model, and compare with jax.grad of its loss."""
    f, shapes = MODELS[name]
    tokens = np.random.default_rng(1).integers(0, VOCABULARY, (BATCH, TOKENS))
    following = np.roll(tokens, -1, 1)

    def mean_loss(params, tokens, following):
        return jnp.mean(loss(f(params, tokens), following))

    mesh = jax.make_mesh((4, 2), ("data", "model"))
    params = drawn(shapes, mesh)
    xs, ys = (jax.device_put(v, NamedSharding(mesh, P("data"))) for v in (tokens, following))
    with jax.set_mesh(mesh):
        net, own = jaxnn.as_network((f, params), xs)
        # One of them with what differs between examples, which takes as long to compile.
        measure = partial(flow_of_net, net, loss=loss, examples=name == "llama")
        whole = jax.jit(measure).lower(own, xs, ys).compile()
        grad = jax.jit(jax.grad(mean_loss)).lower(params, xs, ys).compile()
        flow = whole(own, xs, ys)
        plain = jax.tree.map(np.asarray, grad(params, xs, ys))
        again = jax.tree.leaves(net.user(own))
    logs = {}  # of all layers that share an array, as an embedding that is the head too
    for path, log in zip(flow.parameters.paths, np.asarray(flow.parameters.log_delta), strict=True):
        logs.setdefault(path, []).append(log)
    names = {"plain": plain}
    expected = {path: np.log(np.linalg.norm(eval(f"plain{path}", names))) for path in logs}
    return {
        "layers": len(net.names),
        "verdict": str(jaxnn.verdict(flow)).splitlines()[0],
        "paths": len(logs),
        "off": max(abs(log[0] - expected[path]) for path, log in logs.items() if len(log) == 1),
        "as they were": all(
            v.sharding.is_equivalent_to(w.sharding, v.ndim)
            for v, w in zip(again, jax.tree.leaves(params), strict=True)
        ),
        "spread": sorted({str(v.sharding.spec) for v in jax.tree.leaves(own) if v.ndim > 2}),
        "bytes": [bytes_of(whole), bytes_of(grad)],
        "collectives": [collectives_of(whole), collectives_of(grad)],
    }


def of_fit():
    """Train with a spread batch and spread parameters, and on one device."""
    net = jaxnn.Network((3, 8, 1), "tanh", "binary")
    params = jaxnn.init(net, jax.random.key(0))
    xs = np.random.default_rng(2).normal(size=(64, 3)).astype(np.float32)
    ys = (xs[:, 0] * xs[:, 1] > 0).astype(int)
    training = {"epochs": 1, "batch": 24, "key": jax.random.key(1)}
    alone = jaxnn.fit(net, params, xs, ys, optax.adam(0.01), **training)
    mesh = jax.make_mesh((4, 2), ("data", "model"))
    columns = [
        P(*[None] * (v.ndim - 1), "model" if v.shape[-1] > 1 else None) for v in arrays(params)
    ]
    spread = [
        jax.device_put(v, NamedSharding(mesh, s))
        for v, s in zip(arrays(params), columns, strict=True)
    ]
    on_devices = [jax.device_put(v, NamedSharding(mesh, P("data"))) for v in (xs, ys)]
    with jax.set_mesh(mesh):
        params = jax.tree.unflatten(jax.tree.structure(params), spread)
        run = jaxnn.fit(net, params, *on_devices, optax.adam(0.01), **training)
    return {
        "off": np.max(np.abs(run.losses - alone.losses)),
        "as they were": all(
            v.sharding.is_equivalent_to(w.sharding, v.ndim)
            for v, w in zip(arrays(run.params), spread, strict=True)
        ),
    }


def of_watch(folder):
    """Train a spread network under a watch, without one, and on one device under another."""
    rng = np.random.default_rng(4)
    start = {name: rng.standard_normal((8, 8)).astype(np.float32) / 3 for name in "abc"}
    xs = rng.standard_normal((6, 16, 8)).astype(np.float32)
    mesh = jax.make_mesh((4, 2), ("data", "model"))
    specs = {"a": P(None, "model"), "b": P("model", None), "c": P()}
    sgd = optax.sgd(0.01)

    def network(p, xs, spread):
        inner, outer = (P("data", "model"), P("data")) if spread else (None, None)
        xs = jnp.tanh(jnp.dot(xs, p["a"], out_sharding=inner))
        return jnp.tanh(jnp.dot(xs, p["b"], out_sharding=outer)) @ p["c"]

    def square(output, ys):
        return jnp.sum(jnp.square(output - ys), axis=-1)

    def train(params, xs, spread, watch):
        def mean_loss(p, xs):
            return jnp.mean(square(network(p, xs, spread), jnp.sin(xs)))

        def step(carry, given):
            (params, state), (i, xs) = carry, given
            value, gradient = jax.value_and_grad(mean_loss)(params, xs)
            updates, state = sgd.update(gradient, state, params)
            after = optax.apply_updates(params, updates)
            if watch is not None:
                watch(i, params, xs, jnp.sin(xs), after=after, value=value)
            return (after, state), value

        steps = jnp.arange(len(xs)), xs
        return jax.lax.scan(step, (params, sgd.init(params)), steps)[0][0]

    def watched(params, xs, spread):
        net, _ = jaxnn.as_network((partial(network, spread=spread), params), xs[0])
        name = "spread" if spread else "alone"
        options = {"every": 2, "intended": tuple(ALARMS)}
        watch = jaxnn.watch(net, loss=square, folder=f"{folder}/{name}", **options)
        after = jax.jit(train, static_argnums=(2, 3))(params, xs, spread, watch)
        return after, watch.watched

    _, alone = watched(start, xs, False)
    with jax.set_mesh(mesh):
        params = {n: jax.device_put(v, NamedSharding(mesh, specs[n])) for n, v in start.items()}
        batches = jax.device_put(xs, NamedSharding(mesh, P(None, "data")))
        after, ours = watched(params, batches, True)
        plain = jax.jit(train, static_argnums=(2, 3))(params, batches, True, None)
    numbers = [
        [row[name] for row in record.parameter_table() for name in row if name[:5] == "log10"]
        for record in (ours, alone)
    ]
    written = Path(f"{folder}/spread/watch.jsonl").read_text("utf-8")
    return {
        "steps": [line["step"] for line in ours.measurements],
        "kinds": [json.loads(line)["kind"] for line in written.split("\n") if line],
        "each step": [row["step"] for row in ours.step_table()],
        "off": float(np.max(np.abs(np.subtract(*numbers)))),
        "as they were": all(
            after[n].sharding.is_equivalent_to(params[n].sharding, 2) for n in start
        ),
        "the same": all(np.array_equal(after[n], plain[n]) for n in start),
    }


def of_shard_map():
    """Measure a batch in shard_map, whose examples are of very different sizes, and by devices.

    The second half of the layers subtracts the mean over the examples of all devices.
    """
    mesh = jax.make_mesh((8,), ("data",))
    rng = np.random.default_rng(3)
    weights = (rng.standard_normal((4, 8, 8)) / 8**0.5).astype(np.float32)
    xs = rng.standard_normal((16, 8)).astype(np.float32) * 10.0 ** -np.arange(16.0)[:, None]
    cotangent = rng.standard_normal((16, 8)) * 10.0 ** -np.arange(0, 32, 2.0)[:, None]
    xs, cotangent = xs.astype(np.float32), cotangent.astype(np.float32)

    def network(mean, weights, x):
        x, _ = jax.lax.scan(lambda x, w: (jnp.tanh(x) @ w, None), x, weights[:2])
        for w in weights[2:]:
            x = jnp.tanh(x) @ w
            x = x - mean(jnp.mean(x, axis=0, keepdims=True))
        return x

    def flow_of(mean, weights, xs, cotangent):
        net, params = jaxnn.as_network((partial(network, mean), weights), xs)
        return jaxnn.gradient_flow((net, params), xs, cotangent=cotangent)

    def on_device(weights, xs, cotangent):
        flow = flow_of(partial(jax.lax.pmean, axis_name="data"), weights, xs, cotangent)
        return flow.log_delta_example.T, flow.mixes[None]

    spread = [jax.device_put(v, NamedSharding(mesh, P("data"))) for v in (xs, cotangent)]
    mapped = jax.shard_map(
        on_device, mesh=mesh, in_specs=(P(), *[P("data")] * 2), out_specs=P("data")
    )
    of_examples, mixes = jax.jit(mapped)(weights, *spread)
    whole = flow_of(lambda v: v, weights, xs, cotangent)
    return {
        "off": np.max(np.abs(of_examples.T - whole.log_delta_example)),
        "mixes": np.asarray(mixes).all(axis=0).tolist(),
    }


if __name__ == "__main__":
    found = {name: findings(name) for name in MODELS}
    found |= {"fit": of_fit(), "shard_map": of_shard_map()}
    with tempfile.TemporaryDirectory() as folder:
        try:
            found["watch"] = of_watch(folder)
        except Exception as error:  # its test fails, and no other one
            found["watch"] = {"failed": repr(error)}
    print(json.dumps(found, default=float))
