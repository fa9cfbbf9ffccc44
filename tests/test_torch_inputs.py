"""What modules of PyTorch are called with: leaves, derivatives by them, graphs and packed steps."""

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
    assert flow.positions.counts == (25, 25)


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
    with pytest.raises(ValueError, match=r"^cuts: .* of 0, 1 none is; .* torch.export"):
        flow(torch.export.export(model, (x,)).module())
    partly = of_parts(torch, lambda self, x: self.a(self.b(x)), a=torch.jit.script(model), b=model)
    with pytest.raises(ValueError, match=r"^cut a: .* TorchScript, .*, or leave it out of cuts"):
        flow(partly, cuts=["a"])
    assert flow(partly).names == ("b.0", "b.1")
    packed = nn.utils.rnn.pack_sequence([torch.randn(4, 3), torch.randn(2, 3)])
    with pytest.raises(ValueError, match=r"^inputs: .* got a PackedSequence, .*pad_packed_sequ"):
        flow(nn.LSTM(3, 3, batch_first=True), packed)
