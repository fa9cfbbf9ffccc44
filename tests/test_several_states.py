"""Cut functions whose states are more than one array: riders, streams, scans over data.

Every Δ is compared with plain gradients of the function by hand, with a nudge at each cut.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend import core
from problems import log_norm

import jaxnn
from jaxnn import gradient_flow

pytestmark = pytest.mark.usefixtures("light")

B, T, N = 3, 4, 5


def drawn(rng, *shape):
    return rng.normal(size=shape) / shape[-2 if len(shape) > 1 else 0] ** 0.5


def plain(f, params, xs, nudges, cotangent):
    """Plain gradients of f(params, xs, nudges): of the parameters, of xs, of the nudges."""

    def top(params, xs, nudges):
        out = f(params, xs, nudges)
        return sum(map(jnp.vdot, jax.tree.leaves(out), jax.tree.leaves(cotangent)))

    return jax.jit(jax.grad(top, argnums=(0, 1, 2), allow_int=True))(params, xs, nudges)


def close(logs, trees):
    np.testing.assert_allclose(logs, [*map(log_norm, trees)], rtol=1e-10, atol=1e-10)


def test_riders_are_in_no_state(rng):
    """A mask from tokens and a noise level, needed by each of four equal layers: one run."""

    def network(p, xs, nudges):
        mask, angle = (xs["tokens"] > 0)[..., None], xs["t"][:, None] * jnp.arange(1.0, N + 1)[None]
        z = p["table"][xs["tokens"]] + nudges[0]
        for theta, nudge in zip(p["layers"], nudges[1:], strict=False):
            z = jnp.where(mask, jnp.tanh(z) + jnp.sin(angle)[:, None], 0) @ theta + nudge
        return jnp.sum(z * xs["weight"][..., None], axis=1) @ p["head"] + nudges[5]

    p = {"table": drawn(rng, 7, N), "layers": [*drawn(rng, 4, N, N)], "head": drawn(rng, N, 2)}
    xs = {"tokens": rng.integers(0, 3, size=(B, T)), "t": rng.normal(size=B)}
    xs["weight"] = rng.normal(size=(B, T))
    nudges = [*np.zeros((5, B, T, N)), np.zeros((B, 2))]
    net, own = jaxnn.as_network((lambda p, xs: network(p, xs, nudges), p), xs)
    assert net.lengths == (0, 4, 0)
    cotangent = rng.normal(size=(B, 2))
    flow = gradient_flow((net, own), xs, cotangent=cotangent)
    of_params, of_xs, of_nudges = plain(network, p, xs, nudges, cotangent)
    close(flow.log_delta, of_nudges)
    close(flow.log_theta, [of_params["table"], *of_params["layers"], of_params["head"]])
    assert float(flow.log_delta_input) == pytest.approx(log_norm(of_xs), rel=1e-10)
    assert flow.sizes == (*[T * N] * 5, 2)
    assert flow.streams is None
    z = p["table"][xs["tokens"]]
    assert float(flow.log_mean_square[0]) == pytest.approx(np.log(np.mean(z**2)), rel=1e-10)


@pytest.mark.slow
def test_riders_beyond_the_range_of_a_float(rng):
    """What is taken from x at the bottom has a Δ of 10^-60 here, what is taken at the top of 1."""
    theta, xs = np.float32(drawn(rng, 20, N, N) / 1e3), np.float32(rng.normal(size=(B, N)))

    def network(p, x):
        z = x
        for theta in p:
            z = jnp.tanh(z + x * 1e-30) @ theta
        return x - z

    def wide(p, x, nudges):
        z = x
        for theta, nudge in zip(p, nudges, strict=True):
            z = jnp.tanh(z + x * 1e-30) @ theta + nudge
        return x - z

    ones = np.ones((B, N), np.float32)
    net, own = jaxnn.as_network((network, [*theta]), xs)
    flow = gradient_flow((net, own), xs, cotangent=ones)
    nudges = [np.zeros((B, N))] * 20
    of_params, of_xs, of_nudges = plain(
        wide, [*np.float64(theta)], np.float64(xs), nudges, np.float64(ones)
    )
    assert float(flow.log_delta[0]) < np.log(1e-50)
    # The last layer ends behind x - z: there Δ is that of the output.
    np.testing.assert_allclose(flow.log_delta, [*map(log_norm, of_nudges)], rtol=1e-5)
    np.testing.assert_allclose(flow.log_theta, [*map(log_norm, of_params)], rtol=1e-5)
    assert float(flow.log_delta_input) == pytest.approx(log_norm(of_xs), rel=1e-5)
    assert flow.lost[0]


@pytest.mark.slow
def test_several_streams(rng):
    """A memory beside a decoder, and a skip around both: Δ by array, and the rate of the main."""

    def network(p, xs, nudges):
        a = xs["source"] @ p["a"] + nudges[0]
        memory = jnp.tanh(a) @ p["b"] + nudges[1]
        z = xs["target"] @ p["c"] + nudges[2]
        for i, theta in enumerate(p["layers"]):
            z = z + jnp.sin(z) * jnp.tanh(memory) @ theta + nudges[3 + i]
        return (z + a) @ p["head"] + nudges[8]

    p = {name: drawn(rng, N, N) for name in ("a", "b", "c")}
    p |= {"layers": [*drawn(rng, 5, N, N)], "head": drawn(rng, N, 2)}
    xs = {"source": rng.normal(size=(B, N)), "target": rng.normal(size=(B, N))}
    nudges = [*np.zeros((8, B, N)), np.zeros((B, 2))]
    net, own = jaxnn.as_network((lambda p, xs: network(p, xs, nudges), p), xs)
    assert net.lengths == (0, 0, 0, 4, 0, 0)
    cotangent = rng.normal(size=(B, 2))
    of_params, of_xs, of_nudges = plain(network, p, xs, nudges, cotangent)
    flow = gradient_flow((net, own), xs, cotangent=cotangent)
    of_layers = [of_params[name] for name in ("a", "b", "c")]
    close(flow.log_theta, [*of_layers, *of_params["layers"], of_params["head"]])
    assert float(flow.log_delta_input) == pytest.approx(log_norm(of_xs), rel=1e-10)
    by_layer = [
        [v for v, layer in zip(flow.streams.log_delta, flow.streams.layers, strict=True)
         if layer == number]
        for number in range(1, 10)
    ]  # fmt: skip
    assert [len(logs) for logs in by_layer] == [1, 2, 3, 3, 3, 3, 3, 1, 1]
    main = [logs[0] for logs in by_layer]
    close(main, of_nudges)
    np.testing.assert_allclose(flow.log_gain[:-1], -np.diff(main), rtol=1e-9, atol=1e-12)
    together = [0.5 * np.logaddexp.reduce(2 * np.float64(logs)) for logs in by_layer]
    np.testing.assert_allclose(flow.log_delta, together, rtol=1e-10)
    assert flow.sizes == (N, 2 * N, *[3 * N] * 5, N, 2)
    assert set(flow.streams.types) == {"float64[5]", "float64[2]"}
    text = "the main array of each state, the one that enters the next product; states have up to 3"
    assert text in str(jaxnn.verdict(flow))


@pytest.mark.slow
def test_two_streams_made_by_one_layer(rng):
    """Each has exponents of its own: here Δ of one falls by 10^10 a layer, in float32."""

    def network(p, x, nudges):
        a = x @ p["a"] + nudges[0][0]
        b = jnp.tanh(a) @ p["b"] + nudges[1][1]
        a = a + nudges[1][0]
        for theta, nudge in zip(p["layers"], nudges[2:], strict=True):
            a, b = jnp.tanh(a) @ theta + nudge[0], 1e-10 * jnp.sin(b) + jnp.cos(a) + nudge[1]
        return (a + b) @ p["head"]

    p = {"a": drawn(rng, N, N), "b": drawn(rng, N, N)}
    p |= {"layers": [*drawn(rng, 6, N, N)], "head": drawn(rng, N, 2)}
    xs, cotangent = rng.normal(size=(B, N)), rng.normal(size=(B, 2))
    nudges = [[np.zeros((B, N))] * 2] * 8
    narrow = jax.tree.map(np.float32, (p, xs, cotangent))
    f = partial(network, nudges=[[0.0, 0.0]] * 8)
    net, own = jaxnn.as_network((f, narrow[0]), narrow[1])
    assert len(net.names) == 9
    flow = gradient_flow((net, own), narrow[1], cotangent=narrow[2])
    of_params, of_xs, of_nudges = plain(network, p, xs, nudges, cotangent)
    layers = np.array(flow.streams.layers)
    pairs = [np.sort(np.asarray(flow.streams.log_delta)[layers == i]) for i in range(2, 8)]
    expected = [np.sort([*map(log_norm, nudge)]) for nudge in of_nudges[1:-1]]
    assert expected[0][0] < np.log(1e-50)
    np.testing.assert_allclose(pairs, expected, rtol=1e-4, atol=1e-4)
    of_layers = [of_params["a"], of_params["b"], *of_params["layers"], of_params["head"]]
    np.testing.assert_allclose(flow.log_theta, [*map(log_norm, of_layers)], rtol=1e-4, atol=1e-4)
    assert float(flow.log_delta_input) == pytest.approx(log_norm(of_xs), abs=1e-4)


def test_too_many_streams_are_refused(rng):
    def network(p, x):
        skips = []
        for theta in p[:3]:
            x = jnp.tanh(x) @ theta
            skips.append(x)
        for theta in p[3:]:
            x = (jnp.tanh(x) + skips.pop()) @ theta
        return x

    p, xs = [*drawn(rng, 6, N, N)], rng.normal(size=(B, N))
    with pytest.raises(ValueError, match=r"are alive together, as skips are; with streams=2 it is"):
        jaxnn.as_network((network, p), xs, streams=1)
    assert len(jaxnn.as_network((network, p), xs, streams=2)[0].names) > 3
    with pytest.raises(ValueError, match="streams: expected an integer of at least 1, got 0"):
        jaxnn.as_network((network, p), xs, streams=0)


@pytest.mark.slow
@pytest.mark.parametrize("reverse", [False, True])
def test_scans_over_time(rng, reverse):
    """Two recurrent layers, one above the other, with an output and a loss at every step."""

    def step(p, carry, x):
        h, c = carry
        z = x @ p["i"] + h @ p["h"]
        c = jax.nn.sigmoid(z) * c + jnp.tanh(z)
        return (jnp.tanh(c), c), jnp.sin(c)

    def network(p, xs):
        z = jnp.swapaxes(xs, 0, 1)
        for layer in p["layers"]:
            start = (jnp.zeros((len(xs), N)),) * 2
            z = lax.scan(lambda carry, x, p=layer: step(p, carry, x), start, z, reverse=reverse)[1]
            z = 2 * z  # between two runs that is no layer
        return jnp.swapaxes(z, 0, 1) @ p["head"]

    def by_hand(p, xs, nudges):
        rows = [xs[:, t] for t in range(T)]
        for layer, of_layer in zip(p["layers"], nudges, strict=True):
            carry, out = (jnp.zeros((len(xs), N)),) * 2, [None] * T
            for j, t in enumerate(range(T)[:: -1 if reverse else 1]):
                own = jax.tree.map(lambda v, j=j: v[j], layer)
                carry, out[t] = step(own, carry, rows[t])
                carry = jax.tree.map(jnp.add, carry, tuple(of_layer[j]))
            rows = [2 * row for row in out]
        return jnp.stack(rows, axis=1) @ p["head"]

    layers = [{"i": drawn(rng, n, N), "h": drawn(rng, N, N)} for n in (2, N)]
    p = {"layers": layers, "head": drawn(rng, N, 2)}
    each = {"layers": jax.tree.map(lambda v: np.stack([v] * T), layers), "head": p["head"]}
    xs, cotangent = rng.normal(size=(B, T, 2)), rng.normal(size=(B, T, 2))
    net, own = jaxnn.as_network((network, p), xs)
    assert len(net.names) == 2 * T + 1
    flow = gradient_flow((net, own), xs, cotangent=cotangent, memory="sqrt")
    nudges = np.zeros((2, T, 2, B, N))
    of_params, of_xs, of_nudges = plain(by_hand, each, xs, nudges, cotangent)
    steps = [jax.tree.map(lambda v, j=j: v[j], p) for p in of_params["layers"] for j in range(T)]
    close(flow.log_theta, [*steps, of_params["head"]])
    assert float(flow.log_delta_input) == pytest.approx(log_norm(of_xs), rel=1e-10)
    logs = [
        [v for v, at in zip(flow.streams.log_delta, flow.streams.layers, strict=True) if at == i]
        for i in range(1, 2 * T + 2)
    ]
    of_carries = of_nudges.reshape(2 * T, 2, B, N)
    for i, (own_logs, deltas) in enumerate(zip(logs, of_carries, strict=False)):
        close(own_logs[:2], deltas)
        assert len(own_logs) == (3 if i < T else 4), i
    assert len(logs[-1]) == 1
    carry, squares = (jnp.zeros((B, N)),) * 2, []
    for t in range(T)[:: -1 if reverse else 1]:  # a state has the outputs of the steps so far
        carry, out = step(layers[0], carry, xs[:, t])
        squares.append(np.sum(np.square(out)))
        of_state = (sum(np.sum(np.square(v)) for v in carry) + sum(squares)) / (B * (T + 2) * N)
        log = flow.log_mean_square[len(squares) - 1]
        assert float(log) == pytest.approx(np.log(of_state), rel=1e-10)


def sizes(program):
    """The sizes of all arrays in a program and in those that it holds."""
    for eqn in program.eqns:
        yield from (v.aval.size for v in eqn.outvars)
        for inner in core.jaxprs_in_params(eqn.params):
            yield from sizes(getattr(inner, "jaxpr", inner))


@pytest.mark.slow
@pytest.mark.parametrize("memory", ["all", "sqrt"])
def test_what_steps_share_is_stored_once(rng, memory):
    """Riders, what a scan takes at each step, its outputs: no array has a sequence for each step.

    Two layers, so that the sequence that the upper one takes has a gradient.
    """
    steps = 50

    def network(p, xs):
        z, mask = jnp.swapaxes(xs["x"], 0, 1), (xs["tokens"] > 0).T[..., None]
        for theta in p:

            def step(h, entry, theta=theta):
                x, kept = entry
                h = jnp.where(kept, jnp.tanh(x + h) @ theta, h)
                return h, h

            z = lax.scan(step, jnp.zeros_like(z[0]), (z, mask))[1]
        return z[-1]

    p = [*drawn(rng, 2, 2, 2)]
    xs = {"x": rng.normal(size=(B, steps, 2)), "tokens": rng.integers(0, 5, size=(B, steps))}
    net, own = jaxnn.as_network((network, p), xs)
    assert net.lengths == (0, steps, 0, steps, 0)
    flow = lambda own, xs: gradient_flow((net, own), xs, cotangent=xs["x"][:, 0], memory=memory)  # noqa: E731
    program = jax.make_jaxpr(lambda *of: flow(*of).log_delta)(own, xs)
    assert max(sizes(program.jaxpr)) <= 3 * B * (steps + 1) * 2


def test_a_recurrent_network_with_a_head_is_a_layer_for_each_step(rng):
    """Of one example, as in Equinox: a state of zeros is none of xs and of no parameter."""

    def network(p, x):
        h = lax.scan(lambda h, x: (jnp.tanh(x @ p["i"] + h @ p["h"]), None), jnp.zeros(N), x)[0]
        return h @ p["head"]

    p = {"i": drawn(rng, 2, N), "h": drawn(rng, N, N), "head": drawn(rng, N, 2)}
    net, _ = jaxnn.as_network((network, p), rng.normal(size=(B, 16, 2)), each="example")
    assert len(net.names) == 17
    assert net.lengths == (0, 16, 0)


def test_a_time_that_a_scan_carries_is_no_stream(rng):
    """Euler's method: the time depends on no parameter and on no xs, and its steps are layers."""

    def network(p, x):
        def step(carry, _):
            x, t = carry
            return (x + 0.1 * jnp.tanh(x @ p + t), t + 0.1), None

        return lax.scan(step, (x, 0.0), length=6)[0][0]

    net, _ = jaxnn.as_network((network, drawn(rng, N, N)), rng.normal(size=(B, N)))
    assert net.lengths == (6,)
    assert len(net.kinds[0].links[0].parts[0].trained) == 2  # the matrix, and the time of a step

    def of_each(p, x):  # a time of each example has the size of the batch: it is no data of a layer
        def step(carry, _):
            x, t = carry
            return (jnp.tanh(x @ p + t), t + 0.1), None

        return lax.scan(step, (x, jnp.zeros((len(x), 1))), length=6)[0][0]

    net, _ = jaxnn.as_network((of_each, drawn(rng, N, N)), rng.normal(size=(B, N)))
    assert net.for_batch(np.zeros((B + 1, N))).names == net.names


@pytest.mark.slow
@pytest.mark.parametrize("reverse", [False, True])
def test_carries_without_a_gradient(rng, key, reverse):
    """A time, a constant, a key, a mean of xs, a branch and a scan in it, and times as outputs."""

    def step(p, carry, entry, noise):
        x, t, c, key, mean = carry
        key, own = jax.random.split(key)
        inner = lambda carry, _: ((jnp.sin(carry[0] + carry[1]), 1.5 * carry[1]), None)  # noqa: E731
        late = lambda x, t: lax.scan(inner, (x, t), length=2)[0]  # noqa: E731
        x, t = lax.cond(t > 0.3, late, lambda x, t: (x, t + c), x, t)
        kept = jax.random.bernoulli(own, 0.8, (1, N)).astype(float)
        mean = 0.5 * mean + entry
        return (jnp.tanh(x + t + mean) * kept @ p["theta"] + noise, t, c, key, mean), (t, mean)

    def start(p, xs):
        return xs["x"] @ p["in"], 0.1, 0.05, key, jnp.zeros((len(xs["x"]), 1))

    def network(p, xs):
        body = lambda carry, entry: step(p, carry, entry, 0.0)  # noqa: E731
        carry, (times, means) = lax.scan(body, start(p, xs), xs["u"].T[..., None], reverse=reverse)
        return carry[0] * jnp.sum(times) + carry[4] + means[1]

    def by_hand(p, xs, nudges):
        carry, outputs = start(p["first"], xs), []
        order = range(T)[:: -1 if reverse else 1]
        for j, nudge in zip(order, nudges, strict=True):
            carry, out = step(p["steps"][j], carry, xs["u"][:, j, None], nudge)
            outputs.append(out)
        times, means = zip(*outputs[:: -1 if reverse else 1], strict=True)
        return carry[0] * sum(map(jnp.sum, times)) + carry[4] + means[1]

    p, cotangent = {"theta": drawn(rng, N, N), "in": drawn(rng, N, N)}, rng.normal(size=(B, N))
    xs = {"x": rng.normal(size=(B, N)), "u": rng.normal(size=(B, T))}
    net, own = jaxnn.as_network((network, p), xs)
    assert net.lengths == (0, T, 0)
    flow = gradient_flow((net, own), xs, cotangent=cotangent)
    assert flow.streams is None
    each = {"first": p, "steps": [p] * T}
    of_params, of_xs, of_nudges = plain(by_hand, each, xs, [np.zeros((B, N))] * T, cotangent)
    steps = of_params["steps"] if not reverse else of_params["steps"][::-1]
    close(flow.log_theta[1:-1], [of_step["theta"] for of_step in steps])
    close(flow.log_delta[1:-1], of_nudges)
    assert float(flow.log_theta[0]) == pytest.approx(log_norm(of_params["first"]["in"]), rel=1e-10)
    assert float(flow.log_delta_input) == pytest.approx(log_norm(of_xs), rel=1e-10)


@pytest.mark.slow
def test_a_carry_that_every_branch_hands_on(rng):
    """As the buffer of an adaptive solver, without examples, and a copy of it in one branch."""
    same, twice = (lambda buffer: buffer), (lambda buffer: 2 * buffer)

    def step(theta, x, buffer, of_grow=same, of_rest=jnp.copy):
        grow = lambda x, buffer: (jnp.tanh(x @ theta) + buffer, of_grow(buffer))  # noqa: E731
        rest = lambda x, buffer: (x @ theta, of_rest(buffer))  # noqa: E731
        return lax.cond(jnp.sum(x @ theta) > 0, grow, rest, x, buffer)

    def network(changes, theta, x):
        body = lambda carry, _: (step(theta, *carry, *changes), None)  # noqa: E731
        return lax.scan(body, (x, jnp.full((1, N), 0.1)), length=T)[0][0]

    def by_hand(thetas, x, nudges):
        for theta, nudge in zip(thetas, nudges, strict=True):
            x = step(theta, x, jnp.full((1, N), 0.1))[0] + nudge
        return x

    theta, xs, cotangent = drawn(rng, N, N), *rng.normal(size=(2, B, N))
    net, own = jaxnn.as_network((partial(network, ()), theta), xs)
    assert net.lengths == (T,)
    flow = gradient_flow((net, own), xs, cotangent=cotangent)
    assert flow.streams is None
    of_thetas, of_xs, of_nudges = plain(by_hand, [theta] * T, xs, [np.zeros((B, N))] * T, cotangent)
    close(flow.log_theta, of_thetas)
    close(flow.log_delta, of_nudges)
    assert float(flow.log_delta_input) == pytest.approx(log_norm(of_xs), rel=1e-10)
    for changes in ((same, twice), (twice, same)):
        with pytest.raises(ValueError, match="carries or returns what has no examples"):
            jaxnn.as_network((partial(network, changes), theta), xs)


def test_a_step_size_that_is_learned(rng):
    """The times of all steps are made of it in each layer, next to weights of the layer's own."""

    def step(p, x, t):
        return x + p["dt"] * jnp.tanh(x @ p["theta"] + t)

    def network(p, x):
        def body(carry, theta):
            x, t = carry
            x = step({"theta": theta, "dt": p["dt"]}, x, t)
            return (x, t + p["dt"]), jnp.sum(theta**2)

        (x, t), squares = lax.scan(body, (x, 0.5), p["steps"])
        return x * t + jnp.sum(squares)

    def by_hand(p, x, nudges):  # each layer with a step size of its own, j of which are its time
        for j, (own, nudge) in enumerate(zip(p["layers"], nudges[:-1], strict=True)):
            x = step(own, x, 0.5 + j * own["dt"]) + nudge
        return x * (0.5 + T * p["dt"]) + jnp.sum(p["steps"] ** 2) + nudges[-1]

    p = {"steps": drawn(rng, T, N, N), "dt": np.float64(0.3)}
    xs, cotangent = rng.normal(size=(2, B, N))
    net, own = jaxnn.as_network((network, p), xs)
    assert net.lengths == (T, 0)
    assert [path for layer in net.paths[1:3] for path in layer if "steps" in path] == [
        "['steps'][1]",
        "['steps'][2]",
    ]
    flow = gradient_flow((net, own), xs, cotangent=cotangent)
    assert flow.streams is None
    layers = {"layers": [{"theta": theta, "dt": p["dt"]} for theta in p["steps"]], **p}
    of_params, of_xs, of_nudges = plain(
        by_hand, layers, xs, [np.zeros((B, N))] * (T + 1), cotangent
    )
    close(flow.log_delta, of_nudges)
    top = {"steps": of_params["steps"], "dt": of_params["dt"]}
    close(flow.log_theta, [*of_params["layers"], top])
    assert float(flow.log_delta_input) == pytest.approx(log_norm(of_xs), rel=1e-10)


@pytest.mark.slow
def test_a_graph_is_measured_as_one(rng):
    """No examples: nodes, and edges between them, of numbers of their own."""
    ends, starts = rng.integers(0, 7, size=(2, 11))

    def network(p, graph, nudges):
        h = graph["nodes"] @ p["in"] + nudges[0]
        for theta, nudge in zip(p["layers"], nudges[1:], strict=False):
            messages = jnp.tanh(h[graph["starts"]] @ theta)
            h = h + jax.ops.segment_sum(messages, graph["ends"], num_segments=7) + nudge
        return jnp.mean(h, axis=0) @ p["out"] + nudges[-1]

    p = {"in": drawn(rng, 2, N), "layers": [*drawn(rng, 4, N, N)], "out": drawn(rng, N, 3)}
    graph = {"nodes": rng.normal(size=(7, 2)), "starts": starts, "ends": ends}
    nudges = [*np.zeros((5, 7, N)), np.zeros(3)]
    net, own = jaxnn.as_network(
        (lambda p, graph: network(p, graph, nudges), p), graph, each="whole"
    )
    assert len(net.names) == 6
    ys = rng.normal(size=3)
    flow = gradient_flow((net, own), graph, ys, loss=lambda out, ys: (out - ys) ** 2)
    cotangent = 2 * (network(p, graph, nudges) - ys) / 3
    of_params, of_xs, of_nudges = plain(network, p, graph, nudges, cotangent)
    close(flow.log_delta, of_nudges)
    close(flow.log_theta, [of_params["in"], *of_params["layers"], of_params["out"]])
    assert float(flow.log_delta_input) == pytest.approx(log_norm(of_xs), rel=1e-10)
    again = gradient_flow((net, own), graph, cotangent=cotangent)
    np.testing.assert_allclose(again.log_delta, flow.log_delta, rtol=1e-12)


@pytest.mark.slow
def test_complex_parameters(rng):
    """Weights of frequencies: the norm of Δθ is that of both parts, and the pytree comes back."""

    def network(p, xs):
        z = xs @ p["in"]
        for theta in p["layers"]:
            modes = jnp.einsum("bkn,nm->bkm", jnp.fft.rfft(z, axis=1), theta)
            z = z + jnp.tanh(jnp.fft.irfft(modes, n=T, axis=1))
        return z @ p["out"]

    layers = [theta + 1j * theta.T for theta in drawn(rng, 3, N, N)]
    p = {"in": drawn(rng, 2, N), "layers": layers, "out": drawn(rng, N, 2)}
    xs, cotangent = rng.normal(size=(B, T, 2)), rng.normal(size=(B, T, 2))
    net, own = jaxnn.as_network((network, p), xs)
    assert net.lengths == (0, 3, 0)
    flow = gradient_flow((net, own), xs, cotangent=cotangent)
    delta = jax.jit(jax.grad(lambda p: jnp.vdot(network(p, xs), cotangent)))(p)
    norms = [np.linalg.norm(v) for v in (delta["in"], *delta["layers"], delta["out"])]
    np.testing.assert_allclose(flow.log_theta, np.log(norms), rtol=1e-10)
    sizes = [np.linalg.norm(v) for v in (p["in"], *layers, p["out"])]
    np.testing.assert_allclose(flow.parameters.log_size, np.log(sizes), rtol=1e-10)
    np.testing.assert_array_equal(net.user(own)["layers"][1], layers[1])


def blocks(rng, count):
    one = {"norm": {"scale": np.ones(N)}}
    return [one | {name: {"kernel": drawn(rng, N, N)} for name in "ab"} for _ in range(count)]


def of_blocks(p, x):
    x = x @ p["params"]["stem"]["kernel"]
    for block in p["params"]["blocks"]:
        h = x * block["norm"]["scale"][None]
        x = x + jnp.tanh(h @ block["a"]["kernel"]) @ block["b"]["kernel"]
        x = x + jnp.tanh(x) @ block["b"]["kernel"]
    for theta in p["rest"]:
        x = jnp.tanh(x) @ theta
    return x


def test_names_are_those_of_the_weights(rng):
    """The common path of the weights of a layer, without norms; repeated names are numbered."""
    p = {"stem": {"kernel": drawn(rng, N, N)}, "blocks": blocks(rng, 2)}
    p = {"params": p, "rest": [*drawn(rng, 1, N, N)]}
    xs = rng.normal(size=(B, N))
    net, _ = jaxnn.as_network((of_blocks, p), xs)
    of_block = [name for i in range(2) for name in (f"blocks[{i}]", f"blocks[{i}].b")]
    assert net.names == ("stem", *of_block, "rest[0]")

    def scanned(p, x):
        x = lax.scan(lambda x, w: (jnp.tanh(x) @ w["kernel"] + w["b"][None], None), x, p["s"])[0]
        for _ in range(2):
            x = jnp.tanh(x) @ p["tied"]
        return jnp.tanh(x) @ p["none"][0][1]

    p = {"s": {"kernel": drawn(rng, 3, N, N), "b": drawn(rng, 3, N)}, "tied": drawn(rng, N, N)}
    p["none"] = [(0, drawn(rng, N, N))]
    names = jaxnn.as_network((scanned, p), xs)[0].names
    assert names == ("s[0]", "s[1]", "s[2]", "tied#1", "tied#2", "none[0][1]")
    net, _ = jaxnn.as_network((lambda p, x: scanned({"s": p[0], **p[1]}, x), [p["s"], p]), xs)
    assert net.names[3:5] == ("[1].tied#1", "[1].tied#2")


@pytest.mark.slow
def test_layers_end_with_the_modules_that_cuts_name(rng):
    """By name, by a pattern, and by several; what is below the first joins it."""
    p = {"stem": {"kernel": drawn(rng, N, N)}, "blocks": blocks(rng, 3)}
    p = {"params": p, "rest": [*drawn(rng, 2, N, N)]}
    xs = rng.normal(size=(B, N))
    of_blocks_alone = (*(f"blocks[{i}]" for i in range(3)), "rest")
    for cuts, names in (
        ("blocks.*", of_blocks_alone),
        ("blocks[*]", of_blocks_alone),
        (["stem", "blocks[1]"], ("stem", "blocks[1]", "rest[1]")),
    ):
        net, own = jaxnn.as_network((of_blocks, p), xs, cuts=cuts)
        assert net.names == names
    flow = gradient_flow((net, own), xs, cotangent=np.ones((B, N)))
    delta = jax.grad(lambda p: jnp.sum(of_blocks(p, xs)))(p)
    parts = delta["params"]["stem"], delta["params"]["blocks"][:2]
    close(flow.log_theta, [*parts, (delta["params"]["blocks"][2], delta["rest"])])
    with pytest.raises(ValueError, match=r"cuts: .* such as stem.kernel, .*, got 'encoder_\*'"):
        jaxnn.as_network((of_blocks, p), xs, cuts="encoder_*")
    with pytest.raises(ValueError, match="cuts: expected names of modules, or patterns"):
        jaxnn.as_network((of_blocks, p), xs, cuts=[3])


def test_a_loop_that_is_not_taken_apart_is_said(rng):
    """One number for all examples is carried: so its steps are no layers."""

    def network(p, x):
        def step(carry, theta):
            z, total = carry
            z = jnp.tanh(z) @ theta
            return (z, total + jnp.sum(z)), None

        (z, total), _ = lax.scan(step, (x @ p["in"], 0.0), p["steps"])
        return jnp.tanh(z * total) @ p["out"]

    p = {"in": drawn(rng, N, N), "steps": drawn(rng, 6, N, N), "out": drawn(rng, N, N)}
    xs = rng.normal(size=(B, N))
    net, own = jaxnn.as_network((network, p), xs)
    assert net.names == ("in", "steps", "out")
    verdict = jaxnn.verdict(gradient_flow((net, own), xs, cotangent=xs))
    assert "Layer steps holds most of the products, 6 in one loop or call" in str(verdict)


@pytest.mark.slow
def test_a_loop_with_a_rule_of_its_own_is_one_layer(rng):
    """An ODE solver is one: a loop without an end that is known, though JAX differentiates it."""

    def looped(p, z):
        return lax.fori_loop(0, 6, lambda _, z: jnp.tanh(z @ p), z)

    @jax.custom_vjp
    def solved(p, z):
        step = lambda carry: (jnp.tanh(carry[0] @ p), carry[1] + 1)  # noqa: E731
        return lax.while_loop(lambda carry: carry[1] < 6, step, (z, 0))[0]

    solved.defvjp(
        lambda p, z: (solved(p, z), (p, z)), lambda saved, delta: jax.vjp(looped, *saved)[1](delta)
    )
    p, xs, cotangent = drawn(rng, N, N), rng.normal(size=(B, N)), rng.normal(size=(B, N))
    net, own = jaxnn.as_network((solved, p), xs)
    flow = gradient_flow((net, own), xs, cotangent=cotangent)
    of_p, of_xs = jax.grad(lambda *of: jnp.vdot(looped(*of), cotangent), (0, 1))(p, xs)
    close(flow.log_theta, [of_p])
    assert float(flow.log_delta_input) == pytest.approx(log_norm(of_xs), rel=1e-10)
    assert "holds most of the products, 100 in one loop or call" in str(jaxnn.verdict(flow))


@pytest.mark.slow
def test_what_equal_layers_share_is_not_copied(rng):
    """One matrix in all layers, and one of their own; Δθ of each use, and the pytree comes back."""
    p = {"tied": drawn(rng, N, N), "own": [*drawn(rng, 5, N, N)]}
    xs = rng.normal(size=(B, N))

    def network(p, x, own_of_tied=None):
        for i, own in enumerate(p["own"]):
            x = jnp.tanh(x @ (p["tied"] if own_of_tied is None else own_of_tied[i])) @ own
            x = x + jnp.sin(x)
        return x

    net, own = jaxnn.as_network((network, p), xs)
    run = next(entry for entry in own if hasattr(entry, "k"))
    assert [v.shape for v in jax.tree.leaves(run.shared)] == [(N, N)]
    assert any(v is p["tied"] for v in jax.tree.leaves(run.shared))
    flow = gradient_flow((net, own), xs, cotangent=np.ones((B, N)))
    of_tied = jax.grad(lambda tied: jnp.sum(network(p, xs, tied)))([p["tied"]] * 5)
    logs = [
        log
        for log, path in zip(flow.parameters.log_delta, flow.parameters.paths, strict=True)
        if path == "['tied']"
    ]
    close(logs, of_tied)
    back = net.user(net.params(jax.tree.map(lambda v: 2 * v, p)))
    np.testing.assert_array_equal(back["tied"], 2 * p["tied"])
    np.testing.assert_array_equal(back["own"][3], 2 * p["own"][3])
