"""Inputs of modules of PyTorch, and their own computation: graphs, reversible blocks."""

import numpy as np
import pytest
from test_pytorch import mean_square, of_parts

import jaxnn

pytestmark = pytest.mark.usefixtures("users_jax")


def tanhs(torch, count=4, n=3):
    nn = torch.nn
    return nn.Sequential(*[nn.Sequential(nn.Linear(n, n), nn.Tanh()) for _ in range(count)])


def check_parameters(torch, flow, model, value):
    """Compare Δ of all parameters with torch's gradient of a loss."""
    own = dict(model.named_parameters())
    grads = torch.autograd.grad(value, list(own.values()), allow_unused=True)
    logs = {path: g.norm().log() for path, g in zip(own, grads, strict=True) if g is not None}
    ours = dict(zip(flow.parameters.paths, flow.parameters.log_delta, strict=True))
    assert ours.keys() == logs.keys()
    for path, log in logs.items():
        np.testing.assert_allclose(ours[path], float(log), rtol=1e-5, atol=1e-5)


def derivative(torch, u, x):
    return torch.autograd.grad(u.sum(), x, create_graph=True)[0]


@pytest.mark.parametrize("part", [lambda x: x, lambda x: x[:, :]], ids=["input", "slice"])
def test_a_module_that_sets_requires_grad_of_its_input(torch, part):
    def call(self, x):
        x = part(x)  # of wav2vec2 a slice, which is no leaf
        x.requires_grad = True
        return derivative(torch, self.a(x), x)

    model, x = of_parts(torch, call, a=tanhs(torch)), torch.randn(5, 3)
    flow = jaxnn.gradient_flow(model, x, loss=lambda output, _: mean_square(output))
    assert not x.requires_grad
    check_parameters(torch, flow, model, mean_square(model(x.clone())))
    found = jaxnn.cures(model, x, loss=lambda output, _: mean_square(output), seconds=0)
    assert found.verdict.names == flow.names


@pytest.mark.parametrize("is_given", [False, True])
def test_a_loss_of_derivatives_by_the_input(torch, is_given):
    model, x = tanhs(torch), torch.randn(5, 3, requires_grad=True)
    x.grad = given = torch.ones(5, 3)

    def loss(u, ys):
        return (derivative(torch, u, ys if is_given else x).sum(1) - 1).square() + u[:, 0]

    flow = jaxnn.gradient_flow(model, x, x if is_given else None, loss=loss)
    value = loss(model(x), x).mean()
    check_parameters(torch, flow, model, value)
    (of_x,) = torch.autograd.grad(loss(model(x), x).mean(), x)
    np.testing.assert_allclose(flow.log_delta_input, float(of_x.norm().log()), rtol=1e-5)
    assert x.grad is given
    np.testing.assert_array_equal(given, np.ones((5, 3)))


class Graph:
    """A graph with its tensors by name, as a Data of torch_geometric has them."""

    def __init__(self, **tensors):
        self.tensors, self.num_nodes = tensors, 6

    def __copy__(self):
        return Graph(**self.tensors)

    def __getitem__(self, name):
        return self.tensors[name]

    def __setitem__(self, name, value):
        self.tensors[name] = value

    def keys(self):
        return list(self.tensors)


def test_graphs_and_dicts_as_arguments(torch):
    x, y, links = torch.randn(6, 3), torch.randn(2, 3), torch.randn(6, 6)
    layers = tanhs(torch)

    def call(self, data):
        h = data["x"]
        for layer in self.a:
            h = data["links"] @ layer(h)
        return h

    model = of_parts(torch, call, a=layers)
    graph = Graph(y=y, x=x, links=links)
    loss = lambda output, _: mean_square(output)  # noqa: E731
    for data in (graph, (graph,), ({"x": x, "links": links},)):
        flow = jaxnn.gradient_flow(model, data, loss=loss, cuts="a.*")
        check_parameters(torch, flow, model, mean_square(model(graph)))
        assert flow.log_delta_example.shape == (4, 6)
        assert np.isfinite(flow.log_delta_input)
    assert graph.tensors["x"] is x
    assert jaxnn.cures(model, graph, loss=loss, seconds=0).verdict.names == flow.names


def test_steps_of_cells_and_sizes_that_are_lists_are_no_obstacle(torch):
    def call(self, x):
        h = c = x.new_zeros(len(x), 4)
        for step in range(12):
            h, c = self.cell(x[:, step], (h, c))
        return self.out(h)

    parts = {"cell": torch.nn.LSTMCell(4, 4), "out": torch.nn.Linear(4, 2)}
    model, x = of_parts(torch, call, **parts), torch.randn(3, 12, 4)
    model.cell.weight_hh.data.mul_(1e-3)
    found = jaxnn.cures(model, x, cotangent=torch.randn(3, 2))
    assert len(found.verdict.names) == 13

    convolutions = torch.nn.Sequential(*[torch.nn.Conv2d(2, 2, 1) for _ in range(2)])
    encoder = of_parts(torch, lambda self, x: self.a(x), a=convolutions)
    encoder.out_channels, encoder.normalized_shape, encoder.out_features = [2, 2], 2, None
    x = torch.randn(3, 2, 5, 5)
    flow = jaxnn.gradient_flow(
        of_parts(torch, lambda self, x: self.e(x), e=encoder), x, cotangent=x
    )
    assert flow.positions == (25, 25)


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_what_takes_no_hooks_is_refused_with_a_way_out(torch):
    nn, x = torch.nn, torch.randn(5, 3)
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))

    def flow(module, inputs=x, cuts=None):
        return jaxnn.gradient_flow(module, inputs, cotangent=torch.ones(5, 3), cuts=cuts)

    scripted, traced = torch.jit.script(model), torch.jit.trace(model, x)
    for module in (scripted, traced):
        with pytest.raises(TypeError, match=r"^module: .* TorchScript, .*; hand over the module"):
            flow(module)
    again = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    again.load_state_dict(scripted.state_dict())  # the way out
    np.testing.assert_array_equal(flow(again).log_delta, flow(model).log_delta)
    assert len(flow(torch.export.export(model, (x,)).module()).names) == 1
    partly = of_parts(torch, lambda self, x: self.a(self.b(x)), a=torch.jit.script(model), b=model)
    with pytest.raises(ValueError, match=r"^cut a: .* TorchScript, .*, or leave it out of cuts"):
        flow(partly, cuts=["a"])
    assert flow(partly).names == ("b.0", "b.1")
    packed = nn.utils.rnn.pack_sequence([torch.randn(4, 3), torch.randn(2, 3)])
    with pytest.raises(ValueError, match=r"^inputs: .* got a PackedSequence, .*pad_packed_sequ"):
        flow(nn.LSTM(3, 3, batch_first=True), packed)


# Functions that go down by themselves: reversible blocks, checkpoints, hooks


def reversible(torch, is_kept=True):
    """y1 = x1 + f(x2), y2 = x2 + g(y1), whose backward computes x and Δ of f and g from y."""

    def split(v):
        return v.chunk(2, dim=-1)

    class Reversible(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, blocks):
            for f, g in blocks:
                x1, x2 = split(x)
                x1 = x1 + f(x2)
                x = torch.cat([x1, x2 + g(x1)], dim=-1)
            ctx.y, ctx.blocks = x.detach(), blocks
            return x

        @staticmethod
        def backward(ctx, delta):
            y = ctx.y
            if not is_kept:
                ctx.y = None
            for f, g in ctx.blocks[::-1]:
                (y1, y2), (d1, d2) = split(y), split(delta)
                x2, d1 = back(g, y1, y2, d2, d1)
                x1, d2 = back(f, x2, y1, d1, d2)
                y, delta = torch.cat([x1, x2], dim=-1), torch.cat([d1, d2], dim=-1)
            return delta, None

    def back(f, given, out, delta, other):
        """Return what f was added to, and Δ of what it was given, next to another one."""
        with torch.enable_grad():
            given = given.detach().requires_grad_()
            added = f(given)
            torch.autograd.backward(added, delta)
        return out - added.detach(), other + given.grad

    return Reversible


def pairs(torch, count=3):
    nn = torch.nn
    return nn.ModuleList(
        nn.ModuleList(nn.Sequential(nn.Linear(2, 2), nn.Tanh()) for _ in range(2))
        for _ in range(count)
    )


def apart(torch, function):
    """A network with a function for each block, which is a module."""

    def call(self, x):
        return function.apply(x, [self.pair])

    def whole(self, x):
        x = self.inlet(x)
        for block in self.blocks:
            x = block(x)
        return self.out(x)

    blocks = torch.nn.ModuleList(of_parts(torch, call, pair=pair) for pair in pairs(torch))
    inlet, out = torch.nn.Linear(3, 4), torch.nn.Linear(4, 2)
    return of_parts(torch, whole, inlet=inlet, blocks=blocks, out=out)


def together(torch, function):
    """A network with one function for all blocks, the last of which is the first again."""

    def whole(self, x):
        return self.out(function.apply(self.inlet(x), [*self.blocks, self.blocks[0]]))

    inlet, out = torch.nn.Linear(3, 4), torch.nn.Linear(4, 2)
    return of_parts(torch, whole, inlet=inlet, blocks=pairs(torch), out=out)


@pytest.mark.parametrize("factor", [1.0, 1e-36])
@pytest.mark.parametrize(("network", "layers"), [(apart, (1, 2, 3)), (together, (2, 2, 2))])
def test_reversible_blocks(torch, network, layers, factor):
    model, x, y = network(torch, reversible(torch)), torch.randn(5, 3), torch.randn(5, 2)
    own = dict(model.named_parameters())

    def loss(output, ys):
        return (output - ys).square().mean()

    loss(model(x), y).backward()
    logs = {path: float(p.grad.norm().log()) for path, p in own.items()}
    grads = {path: (p.grad, p.grad.clone()) for path, p in own.items()}
    flow = jaxnn.gradient_flow(model, x, y, loss=lambda *given: loss(*given) * factor)
    of = flow.parameters
    assert set(of.paths) == set(own)
    for path, log in zip(of.paths, of.log_delta, strict=True):
        np.testing.assert_allclose(log, logs[path] + np.log(factor), rtol=1e-5, atol=1e-5)
    where = dict(zip(of.paths, of.layers, strict=True))
    assert (
        tuple(
            next(where[path] for path in of.paths if path.startswith(f"blocks.{i}."))
            for i in range(3)
        )
        == layers
    )
    assert not any("No gradient" in note for note in flow.notes)
    for path, p in own.items():
        grad, values = grads[path]
        assert p.grad is grad
        assert grad.equal(values)


def test_a_function_that_cannot_go_down_again_is_named(torch):
    model = apart(torch, reversible(torch, is_kept=False))
    with pytest.raises(ValueError, match=r"\(ReversibleBackward\) can be run several times, .*; "):
        jaxnn.gradient_flow(model, torch.randn(5, 3), cotangent=torch.ones(5, 2))
    assert all(p.grad is None for p in model.parameters())


def test_checkpoints_that_go_down_by_themselves_are_plain_calls(torch):
    checkpoint = torch.utils.checkpoint

    def call(is_reentrant):
        def forward(self, x):
            for block in self.blocks:
                x = (
                    checkpoint.checkpoint(block, x, use_reentrant=True)
                    if is_reentrant
                    else block(x)
                )
            return x

        return forward

    before = checkpoint.CheckpointFunction
    blocks = torch.nn.ModuleList(torch.nn.Linear(3, 3) for _ in range(3))
    x = torch.randn(5, 3)
    flows = [
        jaxnn.gradient_flow(of_parts(torch, call(each), blocks=blocks), x, cotangent=x)
        for each in (False, True)
    ]
    for field in ("log_delta", "log_theta", "log_delta_input"):
        np.testing.assert_array_equal(*(getattr(flow, field) for flow in flows))
    assert checkpoint.CheckpointFunction is before


def test_what_is_done_when_a_gradient_has_come_is_not_done(torch):
    model = apart(torch, reversible(torch))
    steps, x = [], torch.randn(5, 3, requires_grad=True)
    for p in (*model.parameters(), x):
        p.register_post_accumulate_grad_hook(steps.append)
    jaxnn.gradient_flow(model, x, cotangent=torch.ones(5, 2))
    assert not steps
    model(x).sum().backward()
    assert len(steps) == len([*model.parameters()]) + 1
