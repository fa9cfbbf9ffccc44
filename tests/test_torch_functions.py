"""Functions of the user's own that go down by themselves: reversible blocks, checkpoints, hooks."""

import numpy as np
import pytest
from test_pytorch import of_parts

import jaxnn

pytestmark = pytest.mark.usefixtures("users_jax")


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
