"""PyTorch: flows of modules against plain hooks and our own networks; networks converted."""

import copy
import doctest
import functools
import gc
import itertools
import random
import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torches
from problems import counts_by_exponent, log_norm, refusals

import jaxnn
from jaxnn.pytorch import restore
from jaxnn.texts import percent

B = 6
gaussian = np.random.standard_normal


def mean_square(output):
    return output.square().mean()


def torch_flow(module, inputs, top, cuts=None):
    """The flow of a loss of the output alone, or of a cotangent."""
    if top is None or isinstance(top, int):
        return jaxnn.gradient_flow(module, inputs, loss=top, cuts=cuts)
    if not callable(top):
        return jaxnn.gradient_flow(module, inputs, cotangent=top, cuts=cuts)
    return jaxnn.gradient_flow(module, inputs, loss=lambda output, _: top(output), cuts=cuts)


def plain_gradients(torch, module, names, paths, x, top):
    """Gradients that torch has of the states behind modules, of parameters, and of x if it has."""
    known, edges = dict(module.named_modules()), []

    def note(module, args, output):
        first = output[0] if isinstance(output, tuple) else output
        edges.append(torch.autograd.graph.get_gradient_edge(first))

    handles = [known.get(name, module).register_forward_hook(note) for name in dict.fromkeys(names)]
    x = x.clone().requires_grad_(x.is_floating_point())
    value = as_loss(top)(module(x))
    for handle in handles:
        handle.remove()
    assert len(edges) == len(names)
    parameters = dict(module.named_parameters())
    inputs = [*edges, *(parameters[path] for path in paths), *([x] if x.requires_grad else [])]
    grads = torch.autograd.grad(value, inputs, allow_unused=True)
    dense = [torch.zeros(1, 1) if grad is None else grad.to_dense() for grad in grads]
    grads = [grad.double().numpy() for grad in dense]
    return grads[: len(names)], grads[len(names) :]


def check_torch(torch, flow, module, x, top, rtol=1e-10):
    """Compare a flow with gradients that torch has of all that it names."""
    paths, logs = flow.parameters.paths, flow.parameters.log_delta
    of_parameters = check_states(torch, flow, module, x, top, rtol, paths)
    expected = [log_norm(grad) for grad in of_parameters]
    np.testing.assert_allclose(logs, expected, atol=rtol, rtol=rtol)


def check_states(torch, flow, module, x, top, rtol, paths=()):
    """Compare Δ of states and of x with torch's, and return its gradients of parameters."""
    states, rest = plain_gradients(torch, module, flow.names, paths, x, top)
    close = functools.partial(np.testing.assert_allclose, atol=rtol, rtol=rtol)
    close(flow.log_delta, [log_norm(grad) for grad in states])
    close(flow.log_delta_example, [[log_norm(example) for example in grad] for grad in states])
    with np.errstate(divide="ignore"):
        close(flow.log_largest, np.log([np.abs(grad).max() for grad in states]))
    if x.is_floating_point():
        close(flow.log_delta_input, log_norm(rest[-1]))
    return rest[: len(paths)]


def as_loss(top):
    """The loss that a cotangent stands for."""
    return top if callable(top) else lambda output: (output * top).sum()


def encoder(torch, layers=4, dropout=0.0, norm_first=True):
    block = torch.nn.TransformerEncoderLayer(
        8, 2, 16, dropout=dropout, batch_first=True, norm_first=norm_first
    )
    return torch.nn.TransformerEncoder(block, layers, enable_nested_tensor=False)


def mlp(torch, sizes, activation, scale=None):
    """A Sequential of Linear and activations; weights Gaussian if a scale is given."""
    modules = []
    for n, m in itertools.pairwise(sizes):
        modules += [torch.nn.Linear(n, m), activation()]
        if scale is not None:
            torch.nn.init.normal_(modules[-2].weight, std=scale / n**0.5)
    return torch.nn.Sequential(*modules[:-1])


def residual(torch, n=4):
    """A block with a skip connection around its Linear `inner`."""

    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch.nn.Linear(n, n)

        def forward(self, x):
            return x + 3 * torch.tanh(self.inner(x))

    return Block()


def of_parts(torch, call, **parts):
    """A module with these parts, and `call(module, x)` as its forward."""

    class Made(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for name, part in parts.items():
                self.add_module(name, part)

        def forward(self, x):
            return call(self, x)

    return Made()


def skip(torch, around, n=4):
    """A Linear `a`, and a skip connection around as many others as `around` says."""
    inner = torch.nn.Sequential(*(torch.nn.Linear(n, n) for _ in range(around)))

    def call(self, x):
        h = self.a(x)
        return self.inner(h) + h

    return of_parts(torch, call, a=torch.nn.Linear(n, n), inner=inner)


# Flows


def copies(torch, module, count):
    """A ModuleList of equal modules, of one class as those of a package are."""
    return torch.nn.ModuleList(copy.deepcopy(module) for _ in range(count))


def blocks(torch, count):
    return copies(torch, residual(torch), count)


def in_order(torch, *names):
    """A forward that calls these modules, and those of lists, one after the other."""

    def call(self, x):
        for name in names:
            part = self.get_submodule(name)
            for module in part if isinstance(part, torch.nn.ModuleList) else [part]:
                x = module(x)
        return x

    return call


def of_order(torch, **parts):
    return of_parts(torch, in_order(torch, *parts), **parts)


class Case(NamedTuple):
    """A module, and what its flow is besides plain gradients of it in float64.

    top: the loss of the output, or a cotangent.
    cuts: if they are not found by themselves.
    fields: of the flow, as lists.
    is_narrow: measured in float32, for its numbers leave the range.
    plain: another module with the same gradients.
    share: of the parameters that its layers have, if it is told.
    """

    model: Any
    x: Any
    top: Any = mean_square
    cuts: Any = None
    fields: Mapping[str, list] = MappingProxyType({})
    is_narrow: bool = False
    plain: Any = None
    share: float | None = None


def found(torch, model, *names):
    return Case(model, torch.randn(B, 4), fields={"names": [*names]})


def without_parameters(torch):
    """What has no parameters joins what follows."""
    nn = torch.nn
    middle = nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)
    return found(torch, nn.Sequential(nn.Tanh(), *middle, nn.ELU(), nn.Tanh()), *"1345")


def below_other_modules(torch):
    model = of_order(torch, body=of_order(torch, h=blocks(torch, 3)))
    return found(torch, model, "body.h.0", "body.h.1", "body.h.2")


def stages(torch):
    block = residual(torch)
    lists = {f"layer{i}": torch.nn.Sequential(*copies(torch, block, i)) for i in (1, 2, 3)}
    model = of_order(torch, stem=torch.nn.Linear(4, 4), **lists, head=torch.nn.Linear(4, 4))
    return found(torch, model, *(f"layer{i}.{j}" for i in (1, 2, 3) for j in range(i)))


def heads_and_experts(torch):
    """Layers with a list each, longer than that of the layers, whose modules lie side by side."""
    heads = copies(torch, torch.nn.Linear(4, 4), 5)
    layer = of_parts(torch, lambda self, x: x + sum(h(x) for h in self.heads), heads=heads)
    model = of_order(torch, layers=copies(torch, layer, 3))
    return found(torch, model, "layers.0", "layers.1", "layers.2")


def encoder_and_decoder(torch):
    def call(self, x):
        memory = in_order(torch, "encoder")(self, x)
        for layer in self.decoder:
            x = layer(x + memory)
        return x

    layer = of_order(torch, a=torch.nn.Linear(4, 4), b=torch.nn.Linear(4, 4))
    model = of_parts(torch, call, encoder=blocks(torch, 3), decoder=copies(torch, layer, 2))
    names = *(f"encoder.{i}" for i in range(3)), "decoder.0", "decoder.1"
    return found(torch, model, *names)


def two_towers(torch):
    def call(self, x):
        return in_order(torch, "left")(self, x) * in_order(torch, "right")(self, x)

    model = of_parts(torch, call, left=blocks(torch, 3), right=blocks(torch, 2))
    return found(torch, model, "left.0", "left.1", "left.2", "right.0", "right.1")


def branches(torch):
    """Blocks that are attributes, with a list in each, on one of two branches."""

    def linear():
        return torch.nn.Linear(4, 4)

    a = torch.nn.Sequential(linear(), linear())
    mixed = of_parts(torch, lambda self, x: self.a(x) + self.b(x), a=a, b=linear())
    two = {f"mixed{i}": copy.deepcopy(mixed) for i in (1, 2)}
    model = of_order(torch, first=linear(), **two, last=linear())
    return found(torch, model, "first", "mixed1", "mixed2", "last")


def lines(torch, count):
    return torch.nn.Sequential(*(torch.nn.Linear(4, 4) for _ in range(count)))


def lists_of_lists(torch):
    """Items of two modules that a skip leads around, as in vit_pytorch."""

    def call(self, x):
        for attention, mlp in self.blocks:
            x = attention(x) + x
            x = mlp(x) + x
        return x

    item = torch.nn.ModuleList([torch.nn.Linear(4, 4), lines(torch, 2)])
    blocks = torch.nn.ModuleList(copy.deepcopy(item) for _ in range(3))
    return of_parts(torch, call, blocks=blocks)


def dicts_in_a_list(torch):
    """Items of which the last module is the stream, as in rtdl's FT-Transformer."""

    def call(self, x):
        for item in self.blocks:
            x = item["output"](x + item["ffn"](item["norm"](x)))
        return x

    nn = torch.nn
    item = {"norm": nn.LayerNorm(4), "ffn": lines(torch, 2), "output": nn.Identity()}
    blocks = nn.ModuleList(nn.ModuleDict(copy.deepcopy(item)) for _ in range(3))
    return of_parts(torch, call, blocks=blocks)


def a_u_net(torch):
    """Levels down and up, each of two blocks, and a side network, as in denoising_diffusion."""

    def call(self, x):
        t, skips = self.side(x), []
        for block, change in self.downs:
            x = block(x)
            skips.append(x)
            x = change(x + t)
        for block, change in self.ups:
            x = change(block(x + skips.pop()))
        return x

    item = torch.nn.ModuleList([residual(torch), torch.nn.Linear(4, 4)])
    lists = {
        name: torch.nn.ModuleList(copy.deepcopy(item) for _ in range(3))
        for name in ("downs", "ups")
    }
    return of_parts(torch, call, side=lines(torch, 3), **lists)


def small_blocks_behind_a_table(torch):
    nn = torch.nn
    blocks = nn.ModuleList(residual(torch) for _ in range(3))
    return of_order(
        torch, table=nn.Embedding(99, 4), blocks=blocks, head=nn.Linear(4, 99, bias=False)
    )


def places(name, items, keys):
    return tuple(f"{name}.{i}.{key}" for i in range(items) for key in keys)


def features_and_a_head(torch):
    """Layers of which those in the list have few of the parameters, as in a small VGG."""
    nn = torch.nn
    features = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    return of_order(torch, features=features, widen=nn.Linear(4, 9), head=nn.Linear(9, 4))


def stages_without_lists(torch):
    """Stages whose blocks are attributes, and a stem, as in timm's RegNet."""
    b1, b2, b3, b4 = blocks(torch, 4)
    s1, s2 = of_order(torch, b1=b1, b2=b2), of_order(torch, b1=b3, b2=b4)
    return of_order(torch, stem=torch.nn.Linear(4, 4), s1=s1, s2=s2)


def blocks_in_stages(torch):
    """Stages of a class that hold their blocks in a list, as in Hugging Face's ResNet."""
    stage = of_order(torch, layers=torch.nn.Sequential(*blocks(torch, 2)))
    return of_order(torch, stages=torch.nn.Sequential(stage, copy.deepcopy(stage)))


def small_blocks_between(torch):
    """Blocks with less than half of the parameters, between a stem and a head."""
    nn = torch.nn
    stem = nn.Sequential(nn.Linear(4, 24), nn.ReLU(), nn.Linear(24, 4))
    body = nn.Sequential(*blocks(torch, 2))
    return of_order(torch, stem=stem, body=body, head=nn.Linear(4, 3))


def a_block_between_lists(torch):
    """Blocks down and up, and one of their class between them."""

    def call(self, x):
        skips = []
        for block in self.downs:
            x = block(x)
            skips.append(x)
        x = self.middle(x)
        for block in self.ups:
            x = block(x + skips.pop())
        return x

    *four, middle = blocks(torch, 5)
    downs, ups = torch.nn.ModuleList(four[:2]), torch.nn.ModuleList(four[2:])
    return of_parts(torch, call, downs=downs, middle=middle, ups=ups)


def frozen_below(torch):
    body = of_order(torch, h=blocks(torch, 3))
    body.h[0].requires_grad_(False)
    model = torch.nn.Sequential(torch.nn.Embedding(9, 4).requires_grad_(False), body)
    return Case(model, torch.arange(B), fields={"names": ["1.h.1", "1.h.2"]})


def above_the_last_cut(torch):
    """A parameter there has a layer of its own."""
    return Case(mlp(torch, (4, 4, 4, 4), torch.nn.Tanh), torch.randn(B, 4), cuts=["0", "2"])


def spread(torch, *shape):
    """Numbers of very different size from row to row."""
    return torch.logspace(-3, 3, shape[0]).double()[:, None] * torch.randn(shape).double()


def unbiased(torch, n=8):
    """A layer below a norm, which takes away what a bias would add."""
    return torch.nn.Linear(n, n, bias=False)


def batch_norm(torch, is_training):
    """Examples come to one exponent where they meet; a norm is of the layer above it."""
    nn = torch.nn
    modules = [m for _ in range(4) for m in (unbiased(torch), nn.BatchNorm1d(8), nn.Tanh())]
    model = nn.Sequential(*modules, nn.Linear(8, 2)).train(is_training)
    mixes = [False, *[is_training] * 4]
    return Case(model, torch.randn(B, 8), spread(torch, B, 2), fields={"mixes": mixes})


def batch_norm_around(torch, factor):
    """A path leads around the cut inside to the norm below, which no cut is beneath."""
    nn = torch.nn
    stem = nn.Sequential(unbiased(torch, 4), nn.BatchNorm1d(4))
    block = of_parts(
        torch,
        lambda self, x: x + torch.tanh(self.norm(self.inner(x))),
        inner=unbiased(torch, 4),
        norm=nn.BatchNorm1d(4),
    )
    weights = torch.logspace(-3, 3, B).double()[:, None]
    return Case(
        of_order(torch, stem=stem, block=block, head=nn.Linear(4, 4)),
        torch.randn(B, 4),
        lambda output: factor * (output * weights).sin().sum(),
        ["block.inner", "block.norm", "block", "head"],
        {"mixes": [True, True, True, False]},
    )


def batch_norm_dropped(torch, *dropped):
    """Examples meet in one direction: those that drop it still get the others' gradients."""

    def call(self, x):
        kept = torch.ones(len(x), 1).double()
        kept[list(dropped)] = 0
        return x + kept * self.norm(self.inner(x))

    block = of_parts(torch, call, inner=unbiased(torch), norm=torch.nn.BatchNorm1d(8))
    model = torch.nn.Sequential(*copies(torch, block, 3), torch.nn.Linear(8, 2))
    mixes = {"mixes": [True, True, True, False]}
    return Case(model, torch.randn(4, 8), spread(torch, 4, 2), fields=mixes)


def batch_norm_beyond_the_range(torch):
    nn, weights = torch.nn, torch.randn(B, 8).double()
    below = [m for _ in range(3) for m in (unbiased(torch), nn.BatchNorm1d(8), nn.Tanh())]
    return Case(
        nn.Sequential(*below, *mlp(torch, (8, *[8] * 100), nn.Sigmoid)),
        torch.randn(B, 8),
        lambda output: (output.double() * weights).sum(),
        fields={"mixes": [False, *[True] * 3, *[False] * 99]},
        is_narrow=True,
    )


def inside_skips(torch):
    model = torch.nn.Sequential(*blocks(torch, 4), torch.nn.Linear(4, 1))
    cuts = ["0.inner", "0", "1", "2.inner", "2", "3", "4"]
    return Case(model, torch.randn(B, 4), cuts=cuts, fields={"names": cuts})


def beyond_the_range(torch):
    deep = mlp(torch, (4, *[4] * 120, 1), torch.nn.Sigmoid)
    cuts = ["0.inner", "0", *map(str, range(1, len(deep) + 1))]
    model = torch.nn.Sequential(residual(torch), *deep)
    return Case(model, torch.randn(B, 4), cuts=cuts, is_narrow=True)


def zero_inside(torch):
    model = torch.nn.Sequential(*blocks(torch, 3))
    torch.nn.init.zeros_(model[1].inner.weight)
    return Case(model, torch.randn(B, 4), cuts=["0.inner", "0", "1.inner", "1", "2"])


def u_net(torch, factor):
    """A skip over a bottleneck, for a loss that is subnormal below 1e-308 too."""
    nn = torch.nn

    def call(self, x):
        high = self.first(x).relu()
        low = self.middle(self.down(high).relu_()).relu_()
        return self.last(torch.cat([self.up(low), high], 1))

    parts = {
        "first": nn.Conv2d(1, 3, 3, padding=1),
        "down": nn.Conv2d(3, 3, 2, stride=2),
        "middle": nn.Conv2d(3, 3, 3, padding=1),
        "up": nn.ConvTranspose2d(3, 3, 2, stride=2),
        "last": nn.Conv2d(6, 1, 3, padding=1),
    }
    model, x = of_parts(torch, call, **parts), torch.randn(2, 1, 4, 4)
    top = lambda output: factor * mean_square(output)  # noqa: E731
    return Case(model, x, top, fields={"names": [*parts]})


def linears(torch, names, call):
    return of_parts(torch, call, **{name: torch.nn.Linear(4, 4) for name in names})


def several_paths(torch, cuts):
    def call(self, x):
        h = self.a(x)
        y = self.b(h)
        return self.c(y) + y + h + x

    return Case(linears(torch, "abc", call), torch.randn(B, 4), cuts=cuts)


def auxiliary_head(torch):
    def call(self, x):
        h = self.a(x)
        return self.b(h), self.c(h)

    top = lambda outputs: mean_square(outputs[0]) + 0.3 * outputs[1].sum()  # noqa: E731
    return Case(linears(torch, "abc", call), torch.randn(B, 4), top, ["a", "b", "c"])


def one_of_two_outputs(torch, call):
    """One of two outputs goes around what follows."""
    a, b = torch.nn.Linear(4, 8), torch.nn.Linear(4, 4)
    halves = of_parts(torch, lambda self, x: self.a(x).chunk(2, 1), a=a)
    model = of_parts(torch, lambda self, x: call(self.b, *self.halves(x)), halves=halves, b=b)
    return Case(model, torch.randn(B, 4), cuts=["halves", "b"])


def what_comes_in(torch):
    """Cuts that return it."""
    nn = torch.nn
    first = nn.Identity(), nn.Linear(4, 4), nn.Identity(), nn.Dropout(0.0)
    model = nn.Sequential(*first, residual(torch)).eval()
    return Case(model, torch.randn(B, 4), cuts=[*model, model[4].inner])


def many_paths(torch):
    """2^500 paths within one block, in a graph of 1500 nodes in a row."""

    def call(self, x):
        for _ in range(500):
            x = (x + torch.tanh(x)) / 2
        return self.a(x)

    model = torch.nn.Sequential(*(linears(torch, "a", call) for _ in range(2)))
    return Case(model, torch.randn(B, 4))


def checkpointed(torch):
    """Layers that are called again on the way down report once."""
    from torch.utils.checkpoint import checkpoint

    def call(self, x):
        for layer in self.layers:
            x = checkpoint(lambda x, layer=layer: layer(x).tanh(), x, use_reentrant=False)
        return x

    layers = copies(torch, torch.nn.Linear(4, 4), 3)
    return found(torch, of_parts(torch, call, layers=layers), "layers.0", "layers.1", "layers.2")


def in_place(torch, is_read):
    """A change in place after a cut leaves the flow and the inputs as they are."""
    nn = torch.nn
    linears = [nn.Linear(6, 6) for _ in range(4)]
    read = [nn.Embedding(9, 6)] if is_read else []

    def model(inplace):
        between = nn.ReLU(inplace), nn.Dropout(0.0, inplace)
        above = (m for linear in linears for m in (linear, *between))
        return nn.Sequential(*read, nn.ELU(inplace=inplace), *above)

    x = torch.arange(B) if is_read else torch.randn(B, 6)
    return Case(model(True), x, cuts=None if is_read else linears, plain=model(False))


PLAIN = {f.__name__: f for f in (
    without_parameters, below_other_modules, stages, heads_and_experts, encoder_and_decoder,
    two_towers, branches, frozen_below, above_the_last_cut, batch_norm_beyond_the_range,
    inside_skips, beyond_the_range, zero_inside, auxiliary_head, what_comes_in, many_paths,
    checkpointed,
)}  # fmt: skip
SEVERAL = {
    batch_norm: (True, False),
    batch_norm_around: (1, 1e-300),
    batch_norm_dropped: ((0, 2), (1, 3), (0, 3)),
    u_net: (1, 1e-300),
    several_paths: (["a", "b", "c"], ["a", "c"], "c"),
    one_of_two_outputs: (
        lambda b, left, right: b(left) + right,
        lambda b, left, right: b(left + right),
        lambda b, left, right: b(left + right.detach()),
    ),
    in_place: (False, True),
}
# Names that are found, and their share of the parameters
FOUND = {
    features_and_a_head: (("features.0", "features.2", "widen", "head"), 1.0),
    stages_without_lists: (("s1.b1", "s1.b2", "s2.b1", "s2.b2"), 0.8),
    blocks_in_stages: (tuple(f"stages.{i}.layers.{j}" for i in range(2) for j in range(2)), 1.0),
    small_blocks_between: (("stem", "body.0", "body.1", "head"), 1.0),
    a_block_between_lists: (("downs.0", "downs.1", "middle", "ups.0", "ups.1"), 1.0),
    lists_of_lists: (places("blocks", 3, "01"), 1.0),
    dicts_in_a_list: (places("blocks", 3, ["output"]), 1.0),
    a_u_net: (places("downs", 3, "01") + places("ups", 3, "01"), 0.8),
    small_blocks_behind_a_table: (("blocks.0", "blocks.1", "blocks.2"), 1.0),
}


def found_in(torch, make):
    x = torch.arange(B) if make is small_blocks_behind_a_table else torch.randn(B, 4)
    return Case(make(torch), x, fields={"names": [*FOUND[make][0]]}, share=FOUND[make][1])


for make in FOUND:
    PLAIN[make.__name__] = functools.partial(found_in, make=make)
for make, all_given in SEVERAL.items():
    for i, given in enumerate(all_given):
        arguments = given if isinstance(given, tuple) else (given,)
        PLAIN[f"{make.__name__}-{i}"] = lambda torch, f=make, a=arguments: f(torch, *a)


@pytest.mark.parametrize("name", PLAIN)
def test_a_flow_has_the_norms_of_plain_gradients(torch, name):
    case = PLAIN[name](torch)
    as_wide = lambda v: v.double() if v.is_floating_point() else v  # noqa: E731
    model, x = (case.model, case.x) if case.is_narrow else (case.model.double(), as_wide(case.x))
    before = x.clone()
    flow = torch_flow(model, x, case.top, case.cuts)
    assert torch.equal(x, before)
    assert flow.unmeasured == 0
    for field, expected in case.fields.items():
        assert list(getattr(flow, field)) == expected
    if case.is_narrow:
        assert flow.lost[0]
    if case.share is not None:
        assert flow.coverage.share == pytest.approx(case.share)
        part = flow.names[0].split(".")[0]
        assert torch_flow(model, x, case.top, part).names
    if case.cuts is None:
        names = f"{flow.names[0]} to {flow.names[-1]}"
        share, products = percent(flow.coverage.share), percent(flow.coverage.products)
        shares = f"with {share} of the parameters and {products} of the products"
        how = "found automatically; cuts= chooses others"
        assert flow.notes[0] == f"The layers are {names}, {shares}, {how}."
    plain = (case.plain or model).double()
    check_torch(torch, flow, plain, as_wide(x), case.top, 1e-3 if case.is_narrow else 1e-10)


def test_without_parameters_all_modules_are_cuts(torch):
    only = torch.nn.Sequential(torch.nn.Tanh(), torch.nn.Sigmoid())
    assert torch_flow(only, torch.randn(B, 4), mean_square).names == ("0", "1")


def test_a_module_without_layers_is_one_and_what_makes_weights_is_none(torch):
    nn, x = torch.nn, torch.randn(B, 4).double()
    plain = of_parts(torch, lambda self, x: (x @ self.w).relu() @ self.w)
    plain.w = nn.Parameter(torch.randn(4, 4))
    made = of_parts(
        torch,
        lambda self, x: self.below(x) @ self.weights(torch.ones(3).to(x)).view(4, 4),
        below=nn.Linear(4, 4),
        weights=nn.Linear(3, 16),
    )
    for model, names in ((nn.Linear(4, 4), ("Linear",)), (plain, ("Made",)), (made, ("below",))):
        flow = torch_flow(model.double(), x, mean_square)
        check_torch(torch, flow, model, x, mean_square)
        assert flow.names == names
        assert flow.notes[0].startswith("No layers are found in") is (model is not made)


def test_layers_that_random_depth_leaves_out_are_not_unused(torch):
    def forward(self, x):
        for layer in self.layers if torch.rand(()) < 0.3 else ():
            x = x + layer(x).tanh()
        return self.head(x)

    layers, head = (
        torch.nn.ModuleList(torch.nn.Linear(8, 8) for _ in range(4)),
        torch.nn.Linear(8, 2),
    )
    model = of_parts(torch, forward, layers=layers, head=head)
    x, seen = torch.randn(B, 8), set()
    for seed in range(9):
        torch.manual_seed(seed)
        flow = torch_flow(model, x, mean_square)
        assert flow.stopped is None
        seen.add(flow.names)
    assert seen == {("layers.0", "layers.1", "layers.2", "layers.3"), ("head",)}


@pytest.mark.parametrize("norm_first", [True, False])
def test_a_transformer(torch, norm_first):
    model, x = encoder(torch, norm_first=norm_first).double(), torch.randn(B, 5, 8).double()
    flow = torch_flow(model, x, mean_square)
    check_torch(torch, flow, model, x, mean_square)
    assert flow.names == ("layers.0", "layers.1", "layers.2", "layers.3")
    assert flow.sizes == (40,) * 4
    assert flow.dtype == jnp.float64
    assert not flow.mixes.any()
    assert flow.linear.all()
    assert flow.parameters.paths == tuple(name for name, _ in model.named_parameters())
    assert flow.parameters.layers == tuple(np.repeat([1, 2, 3, 4], 12))
    of_layers = np.square(np.exp(flow.parameters.log_delta)).reshape(4, 12).sum(1)
    np.testing.assert_allclose(flow.log_theta, np.log(of_layers) / 2)
    sizes = [float(p.detach().norm().log()) for p in model.parameters()]
    np.testing.assert_allclose(flow.parameters.log_size, sizes)
    assert np.isfinite(flow.log_spread_within).all()
    assert flow.notes == (flow.notes[0],)
    assert flow.notes[0] in str(jaxnn.verdict(flow))


def test_dropout_is_that_of_one_forward_pass(torch):
    model, x = encoder(torch, dropout=0.5).double(), torch.randn(B, 5, 8).double()
    assert model.training
    torch.manual_seed(1)
    flow = torch_flow(model, x, mean_square)
    torch.manual_seed(1)
    check_torch(torch, flow, model, x, mean_square)


def test_cuts_by_pattern(torch):
    model = of_parts(
        torch, in_order(torch, "body.h", "head"), body=torch.nn.Module(), head=torch.nn.Linear(4, 4)
    )
    model.body.h = blocks(torch, 3)
    model.body.unused = torch.nn.Linear(4, 4)
    x = torch.randn(B, 4)

    def names(*cuts):
        return torch_flow(model, x, mean_square, cuts).names

    assert names("body.h.*") == ("body.h.0", "body.h.1", "body.h.2")
    assert names("body.h") == names("body.h.*")
    assert names("*.h.*.inner", "head") == (*(f"body.h.{i}.inner" for i in range(3)), "head")
    assert names("body.h.[02]") == ("body.h.0", "body.h.2")
    assert names("body.u*", "head") == ("head",)
    assert names("_orig_mod.body._orig_mod.h.1") == ("body.h.1",)
    with pytest.raises(ValueError, match=r"^cuts: .* of \('body.u\*',\) it comes to none"):
        names("body.u*")


@pytest.mark.parametrize(("cuts", "top"), [("blocks.*", 4), (["blocks.*", "head"], 4)])
def test_below_a_head_of_zeros_a_gradient_is_that_behind_random_numbers(torch, cuts, top):
    model = of_parts(
        torch, in_order(torch, "blocks", "head"), blocks=torch.nn.Sequential(*blocks(torch, 3)),
        head=torch.nn.Linear(4, 3),
    )  # fmt: skip
    x, ys = torch.randn(B, 4), torch.randint(0, 3, (B,))
    loss = torch.nn.CrossEntropyLoss()

    def measured():
        return jaxnn.gradient_flow(model, x, ys, loss=loss, cuts=cuts)

    torch.nn.init.zeros_(model.head.weight)
    flow = measured()
    assert not model.head.weight.any()
    drawn = np.random.default_rng(0).normal(size=(3, 4)) / 2  # of the order of its entries
    model.head.weight.data = torch.as_tensor(drawn, dtype=model.head.weight.dtype)
    expected = measured()
    np.testing.assert_array_equal(flow.log_delta[:3], expected.log_delta[:3])
    assert flow.notes == (*expected.notes, SAYS_ZERO)
    torch.nn.init.zeros_(model.head.weight)
    value = loss(model(x), ys)
    np.testing.assert_allclose(flow.given.loss, value.item())
    (of_head,) = torch.autograd.grad(value, model.head.weight)
    if "head" in cuts:
        of_logits = model(x).softmax(1) - torch.nn.functional.one_hot(ys, 3)
        of_logits = of_logits.detach().numpy() / B
        np.testing.assert_allclose(flow.log_delta[3], log_norm(of_logits), rtol=1e-5)
    sizes = dict(zip(flow.parameters.paths, flow.parameters.log_delta, strict=True))
    np.testing.assert_allclose(sizes["head.weight"], log_norm(of_head.numpy()))
    assert np.isfinite([*sizes.values()]).all()


SAYS_ZERO = (
    "head.weight is zero, so that nothing passes to the layers below before the first step: Δ "
    "there is measured after random numbers in its place."
)


def test_zeros_that_get_no_gradient_stay_zeros(torch):
    """A middle layer, whose zeros change the states above it, and a head that is not read."""
    model = torch.nn.Sequential(*blocks(torch, 3))
    torch.nn.init.zeros_(model[1].inner.weight)
    assert not any(
        "random" in note for note in torch_flow(model, torch.ones(2, 4), mean_square).notes
    )
    model = mlp(torch, (4,) * 4, torch.nn.Tanh)
    torch.nn.init.zeros_(model[2].weight)
    flow = torch_flow(model, torch.randn(B, 4), mean_square)
    assert np.isneginf(flow.log_delta[0])


def test_weights_of_a_branch_times_zero_get_a_gradient_of_zero(torch):
    class Branch(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.gain = torch.nn.Linear(4, 4), torch.nn.Parameter(torch.zeros(1))

        def forward(self, x):
            return x + self.gain * torch.tanh(self.inner(x))

    model = torch.nn.Sequential(*(Branch() for _ in range(3)))
    parameters = torch_flow(model, torch.randn(B, 4), mean_square).parameters
    for path, log_delta in zip(parameters.paths, parameters.log_delta, strict=True):
        assert np.isneginf(log_delta) if "inner" in path else np.isfinite(log_delta)


def test_names_are_the_module_s_own_whatever_holds_it(torch):
    model, x = mlp(torch, (4,) * 4, torch.nn.Tanh), torch.randn(B, 4)
    flow = torch_flow(model, x, mean_square)
    inside = mlp(torch, (4,) * 4, torch.nn.Tanh)
    inside.load_state_dict(model.state_dict())
    inside[2] = torch.compile(inside[2])
    for held in (
        torch.nn.DataParallel(model),
        torch.compile(torch.nn.DataParallel(model)),
        torch.nn.DataParallel(torch.compile(inside)),
    ):
        of_held = torch_flow(held, x, mean_square)
        assert of_held.names == flow.names
        assert of_held.parameters.paths == flow.parameters.paths
        np.testing.assert_array_equal(of_held.parameters.log_delta, flow.parameters.log_delta)


def test_parameters_beyond_the_range_shared_and_without_a_gradient(torch):
    """In float32, against plain numbers in float64."""
    nn = torch.nn
    deep = mlp(torch, (4, *[4] * 60), nn.Sigmoid)
    deep[4].weight = deep[40].weight
    parts = {"read": nn.Embedding(9, 4, sparse=True), "deep": deep, "unused": nn.Linear(4, 4)}
    model = of_parts(torch, in_order(torch, "read", "deep"), **parts)
    deep[60].bias.requires_grad_(False)
    tokens = torch.arange(B)
    flow = torch_flow(model, tokens, mean_square)
    assert flow.names == tuple(f"deep.{i}" for i in range(0, len(deep), 2))
    numbers = dict(zip(flow.parameters.paths, flow.parameters.log_delta, strict=True))
    assert numbers["read.weight"] < -88  # plain backpropagation has zeros in float32
    assert "deep.60.bias" not in numbers
    assert flow.notes[1:] == (
        "Δ of the inputs has no number: they are integers.",
        "No gradient comes to unused.weight, unused.bias.",
    )
    layers = dict(zip(flow.parameters.paths, flow.parameters.layers, strict=True))
    assert layers["read.weight"] == layers["deep.0.bias"] == 1
    assert layers["deep.4.weight"] == 3
    assert layers["deep.118.weight"] == 60
    assert np.flatnonzero(np.isnan(flow.log_theta)).tolist() == [2, 20]
    check_torch(torch, flow, model.double(), tokens, mean_square, rtol=1e-3)


class Output(dict):
    """An output as models of transformers have it: a dict whose entries are attributes too."""

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        setattr(self, key, value)


def with_labels(torch, form):
    """A model that returns its loss if it is given labels."""

    def forward(self, x, labels=None):
        hidden, output = in_order(torch, "layers")(self, x), Output()
        if labels is not None:
            output["loss"] = torch.nn.functional.cross_entropy(hidden, labels)
        output["states"], output["logits"] = x.detach(), hidden
        forms = {"output": output, "tuple": tuple(output.values()), "one": output.get("loss")}
        return forms[form]

    model = of_order(torch, layers=blocks(torch, 3)).double()
    type(model).forward = forward
    return model


@pytest.mark.parametrize("form", ["output", "tuple", "one"])
def test_a_loss_of_the_module_s_own(torch, form):
    model, x, labels = with_labels(torch, form), torch.randn(B, 4).double(), torch.arange(B) % 4
    batch, criterion = {"x": x, "labels": labels}, torch.nn.functional.cross_entropy
    flow = jaxnn.gradient_flow(model, batch)
    plain = of_order(torch, layers=model.layers)
    check_torch(torch, flow, plain, x, lambda output: criterion(output, labels))
    found = jaxnn.diagnose(model, batch)
    np.testing.assert_array_equal(found.flow.log_delta, flow.log_delta)
    assert "Measured with the module's own loss." in repr(found)
    if form != "output":
        return
    for loss in (torch.nn.CrossEntropyLoss(), criterion):
        same = jaxnn.gradient_flow(model, x, labels, loss=loss)
        np.testing.assert_allclose(same.log_delta, flow.log_delta, rtol=1e-12)
    other = jaxnn.gradient_flow(model, x, cotangent=torch.ones(B, 4).double())
    np.testing.assert_allclose(other.log_delta[-1], np.log(24) / 2, rtol=1e-12)
    assert "random" in repr(jaxnn.diagnose(model, x))
    with pytest.raises(TypeError, match=r"^loss, cotangent: .* none, and the module returns no"):
        jaxnn.gradient_flow(model, x)


def test_inference_mode_and_lazy_modules(torch):
    nn = torch.nn
    model, x = mlp(torch, (4, 4, 4), nn.Tanh), torch.randn(B, 4)
    flow = torch_flow(model, x, mean_square)
    with torch.inference_mode():
        for same in (x, x.clone()):
            again = torch_flow(model, same, mean_square)
            np.testing.assert_array_equal(again.log_delta, flow.log_delta)
    lazy = nn.Sequential(nn.LazyLinear(4), nn.Linear(4, 4))
    lazy(x)
    assert torch_flow(lazy, x, mean_square).names == ("0", "1")


def test_a_block_that_turns_steps_within_has_the_examples_first(torch):
    nn, steps = torch.nn, recurrent(torch)
    turned = of_parts(
        torch, lambda self, x: self.part(x.transpose(0, 1)).transpose(0, 1), part=steps
    )
    layers, x = nn.Sequential(turned, nn.Linear(4, 4)).double(), torch.randn(B, B, 4).double()
    check_torch(torch, torch_flow(layers, x, mean_square), layers, x, mean_square)
    block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0)
    steps_first = nn.TransformerEncoder(block, 2, enable_nested_tensor=False)
    with pytest.raises(ValueError, match=r"^cut layers\.[01]: .*self_attn has batch_first=False"):
        torch_flow(steps_first, torch.randn(5, B, 8), mean_square)


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32"])
def test_around_cuts_the_size_of_the_loss_changes_nothing(torch, name):
    """Plain backpropagation in float16 has zeros for a loss of 1e-33."""
    x = torch.randn(B, 4).to(getattr(torch, name))
    for around in (1, 3):
        model = torch.nn.Sequential(skip(torch, around), torch.nn.Linear(4, 4)).to(x)
        inside = ["0.a", *(f"0.inner.{i}" for i in range(around)), "1"]

        def flow(factor, model=model, inside=inside):
            return torch_flow(model, x, lambda output: factor * mean_square(output.float()), inside)

        one, none = flow(1), flow(0)
        for factor in (1e-5, 1e-33):
            small = flow(factor)
            for of in ("log_delta", "log_delta_example", "log_delta_input"):
                np.testing.assert_allclose(
                    np.asarray(getattr(small, of)) - np.log(factor), getattr(one, of), atol=0.05
                )
            ours = np.asarray(small.parameters.log_delta) - np.log(factor)
            np.testing.assert_allclose(ours, one.parameters.log_delta, atol=0.05)
        for zero in (none.log_delta, none.parameters.log_delta, none.log_delta_input):
            assert np.isneginf(zero).all()
        check_torch(torch, one, model.double(), x.double(), mean_square, rtol=0.1)


def test_what_leaves_the_range_between_cuts_is_not_measured(torch):
    """A skip from the first layer to the end goes around all others, which lose the gradient."""
    deep = mlp(torch, (4, *[4] * 150), torch.nn.Sigmoid)

    def call(self, x):
        h = self.first(x)
        return self.deep(h) + h

    first = torch.nn.Linear(4, 4)
    model, x = of_parts(torch, call, first=first, deep=deep), torch.randn(B, 4)
    cuts = ["first", *(f"deep.{i}" for i in range(0, len(deep), 2))]
    flow = torch_flow(model, x, mean_square, cuts)
    lost = flow.unmeasured
    assert 20 < lost < 120
    for values in (flow.log_delta, flow.log_largest, flow.log_delta_example, flow.log_theta):
        assert np.isnan(values[:lost]).all()
        assert np.isfinite(values[lost:]).all()
    assert np.isnan(flow.log_delta_input)
    numbers = dict(zip(flow.parameters.paths, flow.parameters.log_delta, strict=True))
    assert np.isnan([numbers["first.weight"], numbers["deep.0.bias"]]).all()
    wide = torch_flow(model.double(), x.double(), mean_square, cuts)
    check_torch(torch, wide, model, x.double(), mean_square)
    np.testing.assert_allclose(flow.log_delta[lost:], wide.log_delta[lost:], atol=1e-3)
    name = flow.names[lost - 1]
    sentence = rf"From layer {name} down Δ is not measured: .* float32, .* wider float"
    assert re.search(sentence, flow.notes[0])
    verdict = jaxnn.verdict(flow)
    assert flow.notes[0] in verdict.sentences
    assert verdict.undefined is None
    assert verdict.word == "vanishing"
    assert not torch_flow(model.float(), x, mean_square, ["first", "deep"]).unmeasured


def steps_of_lstm(torch, n=4):
    """A network of an LSTMCell, which notes copies of its h and c at each step."""

    def call(self, x):
        h = c = x.new_zeros(len(x), n)
        self.noted = []
        for step in x.unbind(1):
            h, c = (v.clone() for v in self.cell(step, (h, c)))
            self.noted.append((h, c))
        return h

    return of_parts(torch, call, cell=torch.nn.LSTMCell(n, n))


@pytest.mark.parametrize("steps", [3, 300])
def test_the_state_of_an_lstm_is_its_output_and_its_memory(torch, steps):
    """Also in float32 beyond its range, against plain numbers in float64."""
    model, x = steps_of_lstm(torch), torch.randn(B, steps, 4)
    is_long = steps > 3
    model = model if is_long else model.double()
    flow = torch_flow(model, x if is_long else x.double(), mean_square, "cell")
    assert bool(flow.lost[0]) == is_long
    assert flow.names == ("cell",) * steps
    assert flow.sizes == (8,) * steps
    x = x.double().requires_grad_()
    noted = [v for pair in (model.double()(x), model.noted)[1] for v in pair]
    parameters = dict(model.named_parameters())
    inputs = [*noted[:-1], x, *parameters.values()]
    grads = torch.autograd.grad(mean_square(noted[-2]), inputs)
    rtol = 3e-3 if is_long else 1e-10
    pairs = itertools.batched([*grads[: len(noted) - 1], torch.zeros(B, 4)], 2)
    states = np.log([float(torch.cat(pair, 1).norm()) for pair in pairs])
    np.testing.assert_allclose(flow.log_delta, states, atol=rtol)
    _, *rest = grads[len(noted) - 1 :]
    theirs = dict(zip(parameters, (float(grad.norm().log()) for grad in rest), strict=True))
    ours = dict(zip(flow.parameters.paths, map(float, flow.parameters.log_delta), strict=True))
    assert ours == pytest.approx(theirs, abs=rtol)
    assert flow.parameters.layers == (1,) * 4
    assert np.isnan(flow.log_theta).all()  # shared
    expected = float(grads[len(noted) - 1].norm().log())
    np.testing.assert_allclose(flow.log_delta_input, expected, atol=rtol)
    squares = [torch.cat(pair, 1).detach().square().mean().log() for pair in model.noted]
    np.testing.assert_allclose(flow.log_mean_square, squares, atol=rtol)


def steps_of_an_own_cell(torch, n=4):
    """A loop over a cell with a scalar gain, whose state has a hook that halves its gradient."""

    class Cell(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.outer = torch.nn.Linear(n, n), torch.nn.Linear(n, n, bias=False)
            self.gain = torch.nn.Parameter(torch.tensor(0.3))

        def forward(self, x, h):
            mixed = self.inner(x) + self.outer(h)
            mixed.register_hook(lambda grad: grad / 2)
            return torch.tanh(self.gain * mixed)

    def call(self, x):
        h, self.visits = x.new_zeros(len(x), n), 0
        for i, step in enumerate(self.enter(x).unbind(1)):
            h = self.cell(step, h)
            if i == 0:
                h.register_hook(self.visit)
        return h

    model = of_parts(torch, call, enter=torch.nn.Linear(n, n), cell=Cell())
    model.visit = lambda grad: setattr(model, "visits", model.visits + 1)
    return model


def test_steps_with_hooks_scalars_and_an_entry_that_they_share(torch):
    """In float32 beyond its range, against plain numbers in float64."""
    model, x = steps_of_an_own_cell(torch), torch.randn(B, 60, 4)
    flow = torch_flow(model, x, mean_square, "cell")
    assert flow.lost[0]
    x = x.double().requires_grad_()
    parameters = dict(model.double().named_parameters())
    of_x, *rest = torch.autograd.grad(mean_square(model(x)), [x, *parameters.values()])
    theirs = {name: float(v.norm().log()) for name, v in zip(parameters, rest, strict=True)}
    ours = dict(zip(flow.parameters.paths, map(float, flow.parameters.log_delta), strict=True))
    assert ours == pytest.approx(theirs, abs=1e-3)
    np.testing.assert_allclose(flow.log_delta_input, float(of_x.norm().log()), atol=1e-3)


def test_a_step_is_gone_down_through_as_often_whatever_is_above_it(torch):
    visits = []
    for steps in (6, 30):
        model = steps_of_an_own_cell(torch)
        torch_flow(model, torch.randn(B, steps, 4), mean_square, "cell")
        visits.append(model.visits)
    assert visits[0] == visits[1] < 30


def test_a_stem_that_skips_lead_to_is_no_step(torch):
    """Its arrays are below each state that a skip leads around; those of a loop are taken by it."""

    class Residual(torch.nn.Module):
        def __init__(self, count):
            super().__init__()
            self.stem = torch.nn.Sequential(*(torch.nn.Linear(4, 4) for _ in range(count)))
            self.blocks = torch.nn.ModuleList(torch.nn.Linear(4, 4) for _ in range(count))

        def forward(self, x):
            x = self.stem(x)
            for i in range(3):
                x = x + torch.tanh(self.blocks[i % len(self.blocks)](x))
            return x

    xs = torch.ones(2, 4)
    flows = [torch_flow(Residual(count), xs, mean_square, "blocks.*") for count in (3, 1)]
    assert [flow.parameters.tied for flow in flows] == [False, True]


def test_a_decoder_that_hands_its_memory_on(torch):
    class Layer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)

        def forward(self, pair):
            memory, x = pair
            return memory, x + torch.tanh(self.a(x) * self.b(memory))

    def call(self, x):
        return self.layers((self.first(x), x))[1]

    layers = torch.nn.Sequential(*(Layer() for _ in range(3)))
    model = of_parts(torch, call, first=torch.nn.Linear(4, 4), layers=layers).double()
    x = torch.randn(B, 4).double()
    flow = torch_flow(model, x, mean_square)
    assert flow.names == ("layers.0", "layers.1", "layers.2")
    assert flow.sizes == (8, 8, 8)
    ends, pair = [], (model.first(x), x)
    for layer in model.layers:
        memory, h = layer(pair)
        pair = (memory.clone(), h)
        ends.append(pair)
    grads = torch.autograd.grad(mean_square(h), [*ends[0], *ends[1], h])
    norms = [torch.cat(grads[:2], 1).norm(), torch.cat(grads[2:4], 1).norm(), grads[4].norm()]
    np.testing.assert_allclose(np.exp(flow.log_delta), [float(norm) for norm in norms])


@pytest.mark.parametrize("factor", [1, 1e-20])
def test_hooks_on_tensors_belong_to_the_network(torch, factor):
    """One that a layer puts on what it returns, and one that is put on that outside of it."""

    class Halved(torch.nn.Linear):
        def forward(self, x):
            out = super().forward(x)
            out.register_hook(lambda grad: factor * grad / 2)
            return out

    def call(self, x):
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if i == 2:
                x.register_hook(lambda grad: -3 * factor * grad)
            x = torch.tanh(x)
        return x

    layers = [(Halved if i == 1 else torch.nn.Linear)(4, 4) for i in range(4)]
    model = of_parts(torch, call, layers=torch.nn.ModuleList(layers)).double()
    x = torch.randn(B, 4).double()
    flow = torch_flow(model, x, mean_square)
    assert flow.names == tuple(f"layers.{i}" for i in range(4))
    mean_square(model(x)).backward()
    sizes = dict(zip(flow.parameters.paths, flow.parameters.log_delta, strict=True))
    for name, p in model.named_parameters():
        np.testing.assert_allclose(sizes[name], log_norm(p.grad.numpy()), rtol=1e-6)
    narrow = torch_flow(model.float(), x.float(), mean_square)
    np.testing.assert_allclose(narrow.log_delta, flow.log_delta, rtol=1e-5)


@pytest.mark.parametrize("factor", [1, 1e-33])
def test_clipped_gradients_are_an_error(torch, factor):
    class Clipped(torch.nn.Linear):
        def forward(self, x):
            out = super().forward(x)
            out.register_hook(lambda g: g.clamp(-0.01, 0.01))
            return out * 1

    model = torch.nn.Sequential(torch.nn.Linear(4, 4), Clipped(4, 4), torch.nn.Linear(4, 4))
    with pytest.raises(ValueError, match=r"^cut 1: .* but at 0 it .* as if something clipped it"):
        torch_flow(model, torch.randn(B, 4), lambda output: factor * mean_square(output))


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_16_bit_modules(torch, name):
    """Exactly the plain norms in range; and beyond it those of float32, up to their rounding."""
    dtype = getattr(torch, name)
    model = mlp(torch, (4, *[8] * 40), torch.nn.Sigmoid, 1.0).to(dtype)
    x = torch.randn(B, 4).to(dtype)
    flow = torch_flow(model, x, lambda output: output.sum())
    assert flow.dtype == jnp.dtype(name)
    deltas, _ = plain_gradients(torch, model, flow.names, (), x, lambda output: output.sum())
    theirs = np.log([np.linalg.norm(delta, axis=1) for delta in deltas[-3:]])
    np.testing.assert_allclose(flow.log_delta_example[-3:], theirs, rtol=1e-5)
    wide = torch_flow(model.float(), x.float(), lambda output: output.sum())
    np.testing.assert_allclose(flow.log_delta, wide.log_delta, atol=0.5)
    assert bool(flow.lost[0]) == (name == "float16")
    rounding = np.asarray(flow.log_spread) < np.log(4 * float(jnp.finfo(name).eps))
    assert 1 < rounding.sum() < 39
    assert (np.isnan(flow.rank) >= rounding).all()
    shown = jaxnn.verdict(flow)
    assert "float32" not in shown.indistinguishable
    assert shown.indistinguishable["bfloat16"]


def test_examples_without_a_gradient(torch):
    """A zero is a zero: of an example, and of all; the least of numbers is none."""
    model, x = mlp(torch, (3, 8, 8, 8), torch.nn.ReLU), torch.randn(B, 3)
    cotangent = torch.randn(B, 8)
    flow = torch_flow(model, x, cotangent)
    tiny = torch_flow(model, x, cotangent * 2.0**-135)  # subnormal, with fewer digits
    np.testing.assert_allclose(
        tiny.log_delta, np.asarray(flow.log_delta) - 135 * np.log(2), atol=1e-3
    )
    cotangent[::2] = 0
    flow = torch_flow(model, x, cotangent)
    assert np.isneginf(flow.log_delta_example[:, ::2]).all()
    assert np.isfinite(flow.log_delta_example[:, 1::2]).all()
    flow = torch_flow(model, x, 0 * cotangent)
    assert np.isneginf(flow.log_delta).all()
    assert "exactly zero" in str(jaxnn.verdict(flow))


def test_recurrent_steps_tuples_and_dicts(torch):
    class Read(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(9, 4)
            self.cell = torch.nn.GRUCell(4, 4)
            self.rnn = torch.nn.GRU(4, 4, batch_first=True)

        def forward(self, tokens, scale=1.0):
            state = torch.zeros(len(tokens), 4)
            for step in self.embedding(tokens).unbind(1):
                state = self.cell(step, state)
            return {"output": scale * self.rnn(state[:, None])[0]}

    model, tokens = Read(), torch.randint(0, 9, (B, 3))
    flow = torch_flow(model, tokens, torch.ones(B, 1, 4), ["cell", "rnn"])
    assert flow.names == ("cell", "cell", "cell", "rnn")
    assert np.isnan(flow.log_delta_input)
    doubled = torch_flow(
        model, {"tokens": tokens, "scale": 2.0}, lambda out: out["output"].sum(), [model.cell]
    )
    np.testing.assert_allclose(
        doubled.log_delta, np.asarray(flow.log_delta[:3]) + np.log(2), rtol=1e-6
    )
    pair = torch_flow(model, (tokens, 2.0), lambda out: out["output"].sum(), model.cell)
    np.testing.assert_array_equal(pair.log_delta, doubled.log_delta)


def test_nothing_is_left_on_the_module(torch):
    nn = torch.nn
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))
    model[2].eval()
    model[0].weight.grad = torch.ones(4, 4)
    x = torch.randn(B, 4, requires_grad=True)

    def state():
        return (
            {name: v.clone() for name, v in model.state_dict().items()},
            [m.training for m in model.modules()],
            [len(m._forward_hooks) for m in model.modules()],
            [None if p.grad is None else p.grad.clone() for p in model.parameters()],
            [p.requires_grad for p in model.parameters()],
        )

    before = state()
    with torch.no_grad():
        torch_flow(model, x, mean_square)
        assert not torch.is_grad_enabled()
    with pytest.raises(ValueError, match="ZeroDivisionError"):
        torch_flow(model, x, lambda output: 1 / 0)
    with pytest.raises(ValueError, match=r"layer \[0\] .*Linear.*shapes cannot be multiplied"):
        torch_flow(model, torch.randn(B, 3), mean_square)
    after = state()
    assert x.grad is None
    assert before[0].keys() == after[0].keys()
    assert all(torch.equal(v, after[0][name]) for name, v in before[0].items())
    assert before[1:3] == after[1:3]
    assert before[4] == after[4]
    assert torch.equal(after[3][0], torch.ones(4, 4))
    assert after[3][1:] == [None] * 5


def noisy(torch):
    """A network with dropout, batch norm, noise of NumPy, and buffers that each call changes."""
    nn = torch.nn

    def call(self, x):
        self.calls = self.calls + 1
        self.seen += x.detach().mean(0)
        self.empty = torch.ones(3)
        if "last" not in self._buffers:
            self.register_buffer("last", x.detach(), persistent=False)
        return self.layers(x + gaussian()) + self.calls

    blocks = [nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 4)]
    model = of_parts(torch, call, layers=nn.Sequential(*blocks))
    model.register_buffer("calls", torch.zeros(()))
    model.register_buffer("seen", torch.zeros(4))
    model.register_buffer("empty", None)
    return model


@pytest.mark.parametrize("fails", [False, True])
def test_a_training_goes_on_as_if_nothing_had_been_measured(torch, fails):
    x, cuts = torch.randn(B, 4), [f"layers.{i}" for i in range(4)]

    def trained(measured):
        torch.manual_seed(1)
        np.random.seed(1)  # noqa: NPY002, what torch's users have
        model = noisy(torch)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        for _ in range(3):
            if measured:
                measure(model)
            optimizer.zero_grad()
            mean_square(model(x)).backward()
            optimizer.step()
        return model.state_dict(), torch.rand(3), gaussian()

    def measure(model):
        if fails:
            with pytest.raises(ValueError, match="ZeroDivisionError"):
                torch_flow(model, x, lambda output: 1 / 0, cuts)
        else:
            torch_flow(model, x, mean_square, cuts)

    (state, *drawn), (expected, *expected_drawn) = trained(True), trained(False)
    assert list(state) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(state[name], value, rtol=0, atol=0, msg=name)
    for ours, theirs in zip(drawn, expected_drawn, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_backward_hooks_that_change_gradients_belong_to_the_network(torch):
    model, x = encoder(torch, 3), torch.randn(B, 5, 8, requires_grad=True)
    first, second, third = model.layers
    seen = []
    second.register_full_backward_hook(lambda m, below, above: (below[0] / 2,))
    third.linear1.register_full_backward_pre_hook(lambda m, above: (3 * above[0],))
    first.linear1.weight.register_hook(lambda grad: 10 * grad)
    first.register_full_backward_hook(lambda *of: seen.append(of))
    flow = torch_flow(model, x, mean_square)
    assert len(seen) == 1
    assert flow.notes[-1].startswith(
        "Backward hooks of layers.1, layers.2.linear1, layers.0.linear1.weight change the gradient"
    )
    check_torch(torch, flow, model, x.detach(), mean_square, rtol=1e-5)


@pytest.mark.parametrize("fails", [False, True])
def test_backward_hooks_that_return_nothing_are_not_called_and_stay(torch, fails):
    model, x = encoder(torch, 2), torch.randn(B, 5, 8, requires_grad=True)
    seen = []

    def note(*of):
        seen.append(of)

    everywhere = torch.nn.modules.module
    handles = [
        model.layers[0].register_full_backward_hook(note),
        model.layers[1].register_full_backward_pre_hook(note),
        model.layers[1].linear1.register_full_backward_hook(note),
        everywhere.register_module_full_backward_hook(note),
        everywhere.register_module_full_backward_pre_hook(note),
        model.layers[1].norm1.weight.register_hook(note),
    ]
    try:
        if fails:
            with pytest.raises(ValueError, match="ZeroDivisionError"):
                torch_flow(model, x, lambda output: 1 / 0)
        else:
            flow = torch_flow(model, x, mean_square)
            assert not any("hooks" in note for note in flow.notes)
        assert not seen
        mean_square(model(x)).backward()
        called = len(seen)
        assert called > 6
    finally:
        for handle in handles:
            handle.remove()
    mean_square(model(x)).backward()
    assert len(seen) == called
    if not fails:
        check_torch(torch, flow, model, x.detach(), mean_square, rtol=1e-5)


def test_random_states_of_python_and_of_devices_are_put_back(torch, monkeypatch):
    """With stand-ins for devices that this machine need not have.

    Python's is looked at here alone, since the suite's checks of types draw from it in any call.
    """
    states = {"cuda:1": 3, "mps": 4}
    random.seed(1)
    expected = random.random()
    random.seed(1)

    def module_of(device):
        def put(state, name="mps"):
            states[str(name)] = state

        return SimpleNamespace(
            get_rng_state=lambda name="mps": states[str(name)], set_rng_state=put
        )

    monkeypatch.setattr(torch, "get_device_module", module_of)
    tensors = [SimpleNamespace(device=torch.device(name)) for name in ("cpu", "meta", *states)]
    with restore.same_random_states(tensors):
        states.update({"cuda:1": 5, "mps": 6})
        random.random()
    assert random.random() == expected
    assert states == {"cuda:1": 3, "mps": 4}


def test_a_loss_takes_labels_and_gives_one_number_or_one_for_each_example(torch):
    model, x, ys = mlp(torch, (4, 4, 2), torch.nn.Tanh), torch.randn(B, 4), torch.arange(B) % 2
    of_each = functools.partial(torch.nn.functional.cross_entropy, reduction="none")
    flows = [
        jaxnn.gradient_flow(model, x, ys, loss=loss)
        for loss in (torch.nn.functional.cross_entropy, torch.nn.CrossEntropyLoss(), of_each)
    ]
    for flow in flows[1:]:
        np.testing.assert_allclose(flow.log_delta, flows[0].log_delta, rtol=1e-5)


WRONG = """
flow(x, mean_square, "first")
flow(x, mean_square, "first.*")
flow(x, mean_square, nn.Linear(2, 2))
flow(x, mean_square, [])
flow(x, torch.ones(2))
flow(x, lambda output: output.sum(0))
flow(x, lambda output: output.sum().item())
flow(x, lambda output: output.detach().sum())
flow(x[0], mean_square)
flow(x, 3)
flow(None, mean_square)
flow({}, mean_square)
torch_flow(detached, x, torch.ones(B, 4), "a")
torch_flow(narrow, x, mean_square, ["b"])
torch_flow(encoder(torch, 1), torch.ones(3, 5, 8), mean_square, 3)
torch_flow(made, x, mean_square)
torch_flow(lazy, x, mean_square)
jaxnn.gradient_flow(model, x, x)
jaxnn.gradient_flow(model, x, x, loss=mean_square, cotangent=x)
torch_flow(recurrent(torch), torch.randn(5, B, 4), mean_square)
torch_flow(odd, x, mean_square, ["a", "b", "d"])
torch_flow(odd, x, mean_square, ["a", "b", "c"])
torch_flow(frozen, torch.arange(B), mean_square, [odd_frozen.a, odd_frozen.b])
"""


def recurrent(torch):
    return of_parts(torch, lambda self, x: self.rnn(x)[0], rnn=torch.nn.GRU(4, 4))


def not_all_called(torch):
    """A module of which one part has no effect, and one is never called."""

    def call(self, x):
        self.c(x).sum()
        return self.b(self.a(x))

    return linears(torch, "abcd", call)


def test_what_is_wrong_is_one_sentence(torch, snapshot):
    nn = torch.nn
    model, x = mlp(torch, (4, 4, 2), nn.Tanh), torch.randn(B, 4)
    to_8 = linears(torch, "a", lambda self, x: self.a(x).to(torch.float8_e5m2))
    with torch.inference_mode():
        made = nn.Linear(4, 4)
    odd, odd_frozen = not_all_called(torch), not_all_called(torch).requires_grad_(False)
    said = refusals(
        WRONG,
        globals()
        | {"torch": torch, "nn": nn, "model": model, "x": x, "odd": odd, "made": made}
        | {"flow": functools.partial(torch_flow, model)}
        | {"narrow": of_parts(torch, lambda self, x: self.b(x).float(), b=to_8)}
        | {"detached": linears(torch, "a", lambda self, x: self.a(x).detach())}
        | {"lazy": nn.Sequential(nn.LazyLinear(4), nn.Linear(4, 4)), "odd_frozen": odd_frozen}
        | {"frozen": nn.Sequential(nn.Embedding(9, 4).requires_grad_(False), odd_frozen)},
    )
    assert said == snapshot
    assert not any("\n" in sentence for sentence in said.values())


OF_STAND_INS = """
jaxnn.gradient_flow(3, None, cotangent=None)
jaxnn.as_network(torches.Module("Linear"))
network()
network(LINEAR, TANH)
network(TANH, LINEAR)
network(LINEAR, TANH, TANH, LINEAR)
network(LINEAR, torches.Module("Conv1d"), LINEAR)
network(LINEAR, RNG, LINEAR)
network(torches.linear(RNG, 3, 4), TANH, LINEAR)
network(LINEAR, torches.Module("LeakyReLU", negative_slope=0.2), LINEAR)
"""
RNG = np.random.default_rng(0)
LINEAR, TANH = torches.linear(RNG, 3, 3), torches.Module("Tanh")


def network(*children):
    return jaxnn.as_network(torches.sequential(*children))


def test_what_does_not_fit_a_network_is_named(snapshot):
    assert refusals(OF_STAND_INS, globals()) == snapshot


def test_the_example_runs_with_torch(torch):
    text = jaxnn.gradient_flow.__doc__.rpartition("(where torch is installed)")[2]
    text = text.replace("# doctest: +SKIP", "")
    example = doctest.DocTestParser().get_doctest(text, {}, "gradient_flow", None, 0)
    assert len(example.examples) > 3
    assert doctest.DocTestRunner().run(example).failed == 0


# Networks


IN_TORCH = ("Identity", "Sigmoid", "Tanh", "ReLU", "LeakyReLU", "ELU", "SELU", "Softplus")
IN_TORCH += ("Softsign", "SiLU", "GELU", "Mish", "Hardtanh", "ReLU6", "GELU tanh")


@pytest.mark.parametrize("kind", IN_TORCH)
def test_every_activation_is_torch_s(torch, kind):
    make = getattr(torch.nn, kind.split()[0])
    make = functools.partial(make, approximate="tanh") if kind == "GELU tanh" else make
    model = mlp(torch, (3, 5, 5, 2), make, scale=3.0).double()
    model[2].bias = None
    x = torch.randn(B, 3).double()
    net, params = jaxnn.as_network(model)
    ours = jax.vmap(lambda x: jaxnn.forward(net, params, x))(x.numpy())
    np.testing.assert_allclose(ours, model(x).detach().numpy(), rtol=1e-7, atol=1e-7)
    params[0].theta[:] = 0  # a copy
    assert model[0].weight.abs().min() > 0


def test_a_sequential_becomes_a_network(rng):
    first, last = torches.linear(rng, 3, 4), torches.linear(rng, 4, 2, bias=False)
    model = torches.sequential(first, torches.Module("GELU", approximate="tanh"), last)
    net, params = jaxnn.as_network(model)
    net = replace(net, task="multiclass")
    assert net == jaxnn.Network((3, 4, 2), "gelu_tanh", "multiclass")
    np.testing.assert_array_equal(params[0].theta, first.weight.values.T)
    np.testing.assert_array_equal(params[0].b, first.bias.values)
    np.testing.assert_array_equal(params[1].theta, last.weight.values.T)
    np.testing.assert_array_equal(params[1].b, np.zeros(2, np.float32))
    params[0].theta[:] = 0
    assert first.weight.values.all()
    net, _ = jaxnn.as_network(torches.sequential(first, last))
    assert net.activation.name == "identity"


def test_activations_that_differ_become_a_list(rng):
    layers = [torches.linear(rng, 3, 3) for _ in range(4)]
    tanh, relu = torches.Module("Tanh"), torches.Module("ReLU")
    model = torches.sequential(layers[0], tanh, layers[1], layers[2], relu, layers[3])
    net, _ = jaxnn.as_network(model)
    assert net == jaxnn.Network((3,) * 5, ["tanh", "identity", "relu"], "regression")


def test_entries_are_counted_beyond_the_range_too(torch, users_jax):
    """Δ of layer 1 is 10^-42, zero in float32; in float64 plain numbers have it."""
    torch.manual_seed(0)
    module = torch.nn.Sequential(*[torch.nn.Linear(48, 48) for _ in range(12)])
    with torch.no_grad():
        for p in module.parameters():
            p.mul_(2e-4)
    xs = torch.randn(8, 48)

    def loss(output, ys):
        return (output * torch.linspace(-1, 1, 48, dtype=output.dtype)).sum(1)

    flow = jaxnn.gradient_flow(module, xs, loss=loss, entries=True)
    assert flow.log_delta[0] < -95
    with jax.enable_x64(True):
        wide = jaxnn.gradient_flow(module.double(), xs.double(), loss=loss, entries=True)
    for of in ("delta", "state", "parameter"):
        for ours, theirs in zip(flow.formats(of), wide.formats(of), strict=True):
            assert ours == pytest.approx(theirs, abs=2e-3)
    with pytest.raises(ValueError, match=r"^of: .*, got 'delta_parameter'; of PyTorch Δ of param"):
        flow.formats("delta_parameter")
    found = counts_by_exponent(flow.entries.parameter)
    for path, counts in zip(flow.parameters.paths, found, strict=True):
        k = np.frexp(module.get_parameter(path).detach().numpy())[1] - 1
        assert counts == {
            int(i): float(n) for i, n in zip(*np.unique(k, return_counts=True), strict=True)
        }
    assert "Δ, layers [0] to [10]: float8_e4m3fn with one scale a tensor" in str(jaxnn.plan(flow))
    assert jaxnn.gradient_flow(module, xs.double(), loss=loss).entries is None


def test_the_graph_is_free_after_a_measurement(torch):
    """Not only once Python looks for cycles."""
    memory = []

    class Noting(torch.nn.Tanh):
        def forward(self, x):
            out = super().forward(x)
            storage = out.untyped_storage()
            memory.append(torch.multiprocessing.reductions.StorageWeakRef(storage))
            return out

    model = torch.nn.Sequential(torch.nn.Linear(4, 4), Noting(), torch.nn.Linear(4, 4))
    gc.collect()
    gc.disable()
    try:
        torch_flow(model, torch.randn(B, 4), mean_square)
        assert [v.expired() for v in memory] == [True]
    finally:
        gc.enable()
