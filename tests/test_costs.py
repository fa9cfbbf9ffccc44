"""What a flow computes and stores, counted in its program, next to that of a plain gradient."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend import core
from problems import barriers_stay

import jaxnn
from experiments.bench import transformer
from jaxnn.flow.measure.flow_of_net import flow_of_net

WORDS = 512


def plain(params, xs):
    """The network over words: most of it is its head."""
    return jnp.tanh(xs @ params["layer"]) @ params["head"]


def loss(output, ys):
    """The mean cross-entropy of each example."""
    log_p = jax.nn.log_softmax(output)
    return -jnp.take_along_axis(log_p, ys[..., None], axis=-1).mean(axis=(1, 2))


@pytest.fixture(scope="module")
def over_words():
    """The flow and the gradient of the network over words, each with its arguments."""
    rng = np.random.default_rng(0)
    params = {"layer": rng.normal(size=(8, 8)), "head": rng.normal(size=(8, WORDS))}
    params, xs = jax.tree.map(np.float32, (params, rng.normal(size=(32, 4, 8))))
    net, chained = jaxnn.as_network((plain, params), xs)
    ys = rng.integers(0, WORDS, (32, 4))

    def flow(params, xs, ys):
        return jaxnn.gradient_flow((net, params), xs, ys, loss=loss)

    def gradient(params, xs, ys):
        return jax.value_and_grad(lambda params: loss(plain(params, xs), ys).mean())(params)

    return (flow, chained, xs, ys), (gradient, params, xs, ys)


def products(program, size):
    """The number of products in a program that make an array of so many numbers."""
    own = (e for e in program.eqns if e.primitive.name == "dot_general")
    inner = (p for e in program.eqns for p in core.jaxprs_in_params(e.params))
    return sum(e.outvars[0].aval.size == size for e in own) + sum(
        products(getattr(p, "jaxpr", p), size) for p in inner
    )


def test_a_head_is_computed_up_once(over_words):
    for f, *arguments in over_words:
        assert products(jax.make_jaxpr(f)(*arguments).jaxpr, 32 * 4 * WORDS) == 1


def equations(program, size=None):
    """The number of equations in a program, or of those that make an array of so many numbers."""
    own = sum(size is None or any(v.aval.size == size for v in e.outvars) for e in program.eqns)
    return own + sum(equations(p, size) for e in program.eqns for p in inside(e))


def inside(equation):
    """The programs that an equation calls."""
    return [getattr(p, "jaxpr", p) for p in core.jaxprs_in_params(equation.params)]


def test_a_flow_goes_over_the_logits_no_more_often_than_thrice_a_gradient(over_words):
    ours, theirs = (
        equations(jax.make_jaxpr(f)(*arguments).jaxpr, 32 * 4 * WORDS)
        for f, *arguments in over_words
    )
    assert ours <= 3 * theirs


def in_loops(program):
    """The equations of each loop of a program, of one turn."""
    for e in program.eqns:
        if e.primitive.name in ("while", "scan"):
            yield max(map(equations, inside(e)))
        else:
            for p in inside(e):
                yield from in_loops(p)


@pytest.mark.parametrize(("activation", "most"), [("sigmoid", 296), ("relu", 455)])
def test_a_flow_in_block_floats_does_no_more_for_each_layer(activation, most):
    """Up, up again with exponents if numbers do not fit, and down."""
    net = jaxnn.Network((4, *[8] * 5, 1), activation, "binary")
    params = jaxnn.init(net, jax.random.key(0), stacked=True)
    given = params, np.ones((3, 4), np.float32), np.arange(3) % 2
    program = jax.make_jaxpr(partial(flow_of_net, net, examples=False))(*given)
    assert sum(in_loops(program.jaxpr)) <= most


def test_the_reverse_rule_of_a_layer_is_compiled_once(rng):
    """Called twice, as for examples or streams far apart, it is in a loop."""

    def f(params, xs):
        first = xs @ params["first"]
        second = jnp.tanh(first) @ params["second"]
        return jnp.concatenate([jnp.sin(second), first], axis=1) @ params["head"]

    def flow(params, xs):
        return flow_of_net(net, params, xs, cotangent=np.ones((4, 3)), examples=False)

    shapes = {"first": (6, 5), "second": (5, 4), "head": (9, 3)}
    params = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    xs = rng.normal(size=(4, 6))
    net, chained = jaxnn.as_network((f, params), xs)
    assert len(net.names) == 3
    # Up three, on the way down the one again whose rule needs its result, and two of each rule.
    program = jax.jit(flow).lower(chained, xs).as_text()
    assert program.count("stablehlo.dot_general") == 3 + 1 + 2 * 3


@pytest.mark.slow
def test_a_head_takes_little_memory(over_words):
    """Six copies of the logits, where the loss and its plain gradient take five."""
    ours, theirs = (
        sizes.temp_size_in_bytes + sizes.output_size_in_bytes
        for f, *arguments in over_words
        for sizes in [jax.jit(f).lower(*arguments).compile().memory_analysis()]
    )
    assert ours <= 1.3 * theirs or not barriers_stay()


def scanned(stack, xs):
    return jax.lax.scan(lambda z, theta: (jnp.tanh(z @ theta), None), xs, stack)[0]


@pytest.mark.slow
def test_the_states_of_a_few_layers_are_stored():
    stack = jax.ShapeDtypeStruct((256, 4096, 4096), jnp.float32)  # 16 GiB, more than there are
    xs = jax.ShapeDtypeStruct((4096, 4096), jnp.float32)

    def temporary(memory):
        def flow(stack, xs):
            return jaxnn.gradient_flow((scanned, stack), xs, cotangent=xs, memory=memory)

        program = jax.jit(flow).lower(stack, xs).compile()
        return program.memory_analysis().temp_size_in_bytes

    assert temporary("all") > 256 * xs.size * 4  # the states of all layers
    assert temporary("sqrt") < 50 * xs.size * 4  # 16 states, and those of 16 layers


@pytest.mark.slow
def test_the_way_down_computes_no_output_that_the_way_up_has_stored():
    """Of a dense layer: one product up, two down, one of them again where exponents differ."""
    xs, w = np.ones((16, 64), np.float32), np.ones((64, 64), np.float32)
    net, params = jaxnn.as_network([(lambda w, z: jnp.tanh(z) @ w, w)] * 3)
    flow = jax.jit(lambda params, xs: jaxnn.gradient_flow((net, params), xs, cotangent=xs))
    flops = flow.lower(params, xs).compile().cost_analysis()["flops"]  # of a loop one step
    assert flops < 5.6 * 2 * 16 * 64**2  # and what examples make of each other


# Rows of the benchmark as counts, which do not depend on the machine

WORK = re.compile(r"= \S+ (?:fusion|dot|custom-call|reduce|copy|transpose|concatenate)\(")


def counts(f, *arguments):
    """The kernels of a compiled program, and the bytes that they read and write."""
    program = jax.jit(f).lower(*arguments).compile()
    computations = re.split(r"\n(?=(?:ENTRY )?%)", program.as_text())
    inlined = re.compile(r"%(fused|wrapped)_")
    kernels = sum(len(WORK.findall(text)) for text in computations if not inlined.match(text))
    return np.array([kernels, program.cost_analysis()["bytes accessed"]])


def chain_and_gradient(memory):
    """A flow through blocks of a transformer, and the gradient that it is compared with."""
    weights, x, cotangent = transformer.draw(64, 64, 16, 8)
    net, params = jaxnn.as_network([jaxnn.Run(transformer.block, weights, 64)])

    def flow(params, x, cotangent):
        return jaxnn.gradient_flow((net, params), x, cotangent=cotangent, memory=memory)

    def gradient(weights, x, cotangent):
        return jax.vjp(transformer.scanned, weights, x)[1](cotangent)

    return counts(flow, params, x, cotangent), counts(gradient, weights, x, cotangent)


def flow_and_backprop(activation):
    """A flow of a Network, and its plain backward pass."""
    net = jaxnn.Network((30, *[64] * 65, 1), activation, "binary")
    params = jax.eval_shape(lambda key: jaxnn.init(net, key, stacked=True), jax.random.key(0))
    types = jax.tree.map(lambda v: jax.ShapeDtypeStruct(v.shape, jnp.float32), params)
    xs, ys = np.ones((128, 30), np.float32), np.arange(128) % 2

    def flow(params, xs, ys):
        return flow_of_net(net, params, xs, ys, examples=False)

    return tuple(
        counts(f, types, xs, ys) for f in (flow, lambda *given: jaxnn.backprop(net, *given))
    )


def step_and_gradient(hidden):
    """A gradient step through layers, and that which JAX derives of the same forward pass."""
    net = jaxnn.Network((64, *[256] * 30, 10), "tanh", "multiclass", hidden)
    params = jax.eval_shape(lambda key: jaxnn.init(net, key, stacked=True), jax.random.key(0))
    types = jax.tree.map(lambda v: jax.ShapeDtypeStruct(v.shape, jnp.float32), params)
    xs, ys = np.ones((256, 64), np.float32), np.arange(256) % 10

    def mean(params, xs, ys):
        (theta_x, b_x), run, (theta, b) = params

        def layer(z, one):
            out = jnp.tanh(z) @ one[0] + one[1][None]
            return z + out if isinstance(hidden, jaxnn.blocks.Residual) else out, None

        z = jax.lax.scan(layer, xs @ theta_x + b_x[None], tuple(run))[0]
        log_p = jax.nn.log_softmax(jnp.tanh(z) @ theta + b[None])
        return -jnp.take_along_axis(log_p, ys[:, None], axis=1).mean()

    step = lambda *given: jaxnn.backprop(net, *given)  # noqa: E731
    return tuple(counts(f, types, xs, ys) for f in (step, jax.value_and_grad(mean)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("both", "option", "most"),
    [
        (step_and_gradient, jaxnn.blocks.Dense(), (0.95, 0.6)),
        (step_and_gradient, jaxnn.blocks.Residual(), (0.95, 0.6)),
        # JAX 0.12.1 makes 333 and 420 kernels of ours, 342 and 433 before, and 140 of theirs, 151.
        (chain_and_gradient, "all", (2.4, 0.42)),
        (chain_and_gradient, "sqrt", (3.0, 0.43)),
        (flow_and_backprop, "relu", (5.55, 2.46)),
        (flow_and_backprop, "sigmoid", (4.65, 2.2)),
    ],
)
def test_kernels_and_bytes_beside_those_of_the_gradient(both, option, most):
    ours, theirs = both(option)
    assert (ours <= most * theirs).all(), ours / theirs
