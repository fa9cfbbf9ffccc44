"""Attention, routers and positions of modules of PyTorch, against numbers computed by hand."""

import dataclasses
import functools
import math

import numpy as np
import pytest
from problems import numbers_of_heads

import jaxnn
from jaxnn.pytorch.operations import Operations

BATCH, TOKENS, HEADS, OF_HEAD, EXPERTS = 3, 6, 4, 5, 3
WIDTH = HEADS * OF_HEAD
CAUSAL = np.tril(np.ones((TOKENS, TOKENS), bool))
ALL = np.ones((TOKENS, TOKENS), bool)

pytestmark = pytest.mark.usefixtures("users_jax")


class Attention:
    """Ways to write attention, (self, z) -> z; `self` has the products and torch."""

    def fused(self, z):
        q, k, v = (x.transpose(1, 2) for x in self.heads(z))
        out = self.torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return out.transpose(1, 2).flatten(2)

    def fused_with_a_mask(self, z):
        q, k, v = (x.transpose(1, 2) for x in self.heads(z))
        mask = self.torch.tensor(CAUSAL)
        out = self.torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return out.transpose(1, 2).flatten(2)

    def fused_in_groups(self, z):
        q, k, v = (x.transpose(1, 2) for x in self.heads(z))
        function = self.torch.nn.functional.scaled_dot_product_attention
        out = function(q, k[:, ::2], v[:, ::2], is_causal=True, enable_gqa=True)
        return out.transpose(1, 2).flatten(2)

    def by_einsum(self, z):
        q, k, v = self.heads(z)
        scores = self.torch.einsum("bthd,bshd->bhts", q, k) / OF_HEAD**0.5
        scores = scores.masked_fill(~self.torch.tensor(CAUSAL), -1e9)
        return self.torch.einsum("bhts,bshd->bthd", scores.softmax(-1), v).flatten(2)

    def heads_after_queries(self, z):
        q, k, v = self.heads(z)
        scores = self.torch.einsum("bthd,bshd->bths", q, k) / OF_HEAD**0.5
        scores = scores + self.torch.tensor(np.where(CAUSAL, 0.0, -1e4))[:, None].to(z)
        weights = self.torch.nn.functional.dropout(scores.softmax(-1), 0.5)
        return self.torch.einsum("bths,bshd->bthd", weights, v).flatten(2)

    def examples_and_heads_in_one(self, z):
        """Attention with an added mask, its product scaled in place."""
        q, k, v = (x.transpose(1, 2).flatten(0, 1) for x in self.heads(z))
        mask = self.torch.tensor(np.where(CAUSAL, 0.0, -np.inf)).to(z)
        scores = self.torch.baddbmm(mask * OF_HEAD**0.5, q, k.transpose(1, 2)).div_(OF_HEAD**0.5)
        out = self.torch.softmax(scores, 2).bmm(v).unflatten(0, (BATCH, HEADS))
        return out.transpose(1, 2).flatten(2)

    def into_a_buffer(self, z):
        q, k, v = (x.transpose(1, 2) for x in self.heads(z))
        scores = self.torch.full((BATCH, HEADS, TOKENS, TOKENS), -np.inf).to(z)
        scores = scores.clone()
        own = self.torch.tensor(CAUSAL)
        scores[:, :, own] = (q @ k.mT * OF_HEAD**-0.5)[:, :, own]
        return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)

    def of_all(self, z):
        """Without a mask: saturated logits are no masked ones."""
        q, k, v = (x.transpose(1, 2) for x in self.heads(z))
        scores = self.torch.matmul(q, k.transpose(-1, -2)) * OF_HEAD**-0.5
        return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


def attending(torch, way, dtype=None, scale=1.0):
    """A module of two blocks that attend in a way of writing it."""

    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for name in ("q", "k", "v", "out"):
                setattr(self, name, torch.nn.Linear(WIDTH, WIDTH))
            with torch.no_grad():
                for p in (self.q.weight, self.k.weight):
                    p.mul_(scale)

        def heads(self, z):
            return (m(z).unflatten(-1, (HEADS, OF_HEAD)) for m in (self.q, self.k, self.v))

        def forward(self, z):
            return z + self.out(way(self, z))

    Block.torch = torch
    return torch.nn.Sequential(Block(), Block()).to(dtype or torch.float64)


def flow_of(module, xs):
    return jaxnn.gradient_flow(module, xs, loss=lambda output, _: output.square().sum())


NUMBERS = ("largest_logit", "entropy", "most_entropy")


@pytest.mark.parametrize(
    ("way", "seen", "by", "scale"),
    [
        (Attention.fused, CAUSAL, 1, 1),
        (Attention.fused_with_a_mask, CAUSAL, 1, 1),
        (Attention.fused_in_groups, CAUSAL, 2, 1),
        (Attention.by_einsum, CAUSAL, 1, 1),
        (Attention.heads_after_queries, CAUSAL, 1, 1),
        (Attention.examples_and_heads_in_one, CAUSAL, 1, 1),
        (Attention.into_a_buffer, CAUSAL, 1, 1),
        (Attention.of_all, ALL, 1, 100),
    ],
)
def test_attention_is_recognised(torch, way, seen, by, scale):
    module, xs = attending(torch, way, scale=scale), torch.randn(BATCH, TOKENS, WIDTH).double()
    flow = flow_of(module, xs)
    assert flow.is_read
    assert flow.is_of_torch
    rows = flow.attention_table()
    assert [(r["layer"], r["attention"], r["head"]) for r in rows] == [
        (layer, 1, head + 1) for layer in (1, 2) for head in range(HEADS)
    ]
    torch.manual_seed(0)
    with torch.no_grad():
        q, k, _ = (x.numpy() for x in module[0].heads(xs))
    found = np.array([[row[name] for name in NUMBERS] for row in rows[:HEADS]])
    np.testing.assert_allclose(found, numbers_of_heads(q, k, seen, by), rtol=2e-5, atol=1e-5)
    assert flow.attention.paths[0] == ("0.k.weight", "0.q.weight")
    assert flow.attention.paths[-1] == ("1.k.weight", "1.q.weight")


class ByHand:
    """Ways to write a softmax, (torch, logits, mask) -> weights; the mask has -inf, or 0."""

    def of_torch(self, logits, mask):
        return (logits + mask).softmax(-1)

    def without_its_largest(self, logits, mask):
        logits = logits.masked_fill(mask < 0, -np.inf)
        powers = self.exp(logits - logits.amax(-1, keepdim=True))
        return powers / powers.sum(-1, keepdim=True)

    def as_it_is(self, logits, mask):
        powers = self.exp(logits + mask.clamp_min(-1e9))
        return powers / powers.sum(dim=-1, keepdim=True)

    def times_a_mask(self, logits, mask):
        largest = logits.max(dim=-1, keepdim=True).values.detach()
        powers = (logits - largest).exp() * (mask == 0)
        return powers.mul(1 / powers.sum(-1)[..., None])

    def in_place(self, logits, mask):
        logits = logits + mask
        logits -= logits.detach().max(-1, keepdim=True)[0]
        logits.exp_()
        return logits / logits.sum(-1, keepdim=True)

    def masked_behind(self, logits, mask):
        shifted = logits - logits.amax(-1, keepdim=True)
        powers = self.where(mask < 0, mask, shifted).double().exp()
        return powers / self.sum(powers, -1, True)


NOTE = (
    "The layers are 0 to 1, with 100 % of the parameters and 100 % of the products, found "
    "automatically; cuts= chooses others."
)


@pytest.mark.parametrize("causal", [True, False])
def test_a_softmax_by_hand_is_read_as_torch_s_own(torch, causal):
    ways = [way for name, way in vars(ByHand).items() if not name.startswith("_")]
    xs, tables = torch.randn(BATCH, TOKENS, WIDTH).double(), {}
    mask = torch.tensor(np.where(CAUSAL if causal else ALL, 0.0, -np.inf))

    def of(way, self, z):
        q, k, v = (x.transpose(1, 2) for x in self.heads(z))
        return (way(torch, q @ k.mT * OF_HEAD**-0.5, mask) @ v).transpose(1, 2).flatten(2)

    for way in ways:
        torch.manual_seed(1)
        flow = flow_of(attending(torch, functools.partial(of, way), scale=3.0), xs)
        assert flow.notes == (NOTE,)
        tables[way.__name__] = flow.attention_table()
    own = tables.pop("of_torch")
    assert len(own) == 2 * HEADS
    for table in tables.values():
        assert [(r["layer"], r["attention"], r["head"]) for r in table] == [
            (r["layer"], r["attention"], r["head"]) for r in own
        ]
        for name in NUMBERS:
            np.testing.assert_allclose(
                [r[name] for r in table], [r[name] for r in own], rtol=1e-5, atol=1e-6
            )


@pytest.mark.parametrize("need_weights", [True, False])
def test_multihead_attention(torch, need_weights):
    """Torch's own module, by bmm and softmax, or by its kernel, with padding."""

    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = torch.nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)

        def forward(self, z):
            padding = torch.zeros(BATCH, TOKENS, dtype=torch.bool)
            padding[:, -1] = True
            options = {"key_padding_mask": padding, "need_weights": need_weights}
            return z + self.attention(z, z, z, **options)[0]

    module, xs = torch.nn.Sequential(Block(), Block()).double(), torch.randn(BATCH, TOKENS, WIDTH)
    flow = flow_of(module, xs.double())
    own = module[0].attention
    both = torch.nn.functional.linear(xs.double(), own.in_proj_weight, own.in_proj_bias)
    q, k = (x.detach().unflatten(-1, (HEADS, OF_HEAD)).numpy() for x in both.chunk(3, -1)[:2])
    seen = ALL & (np.arange(TOKENS) < TOKENS - 1)
    rows = flow.attention_table()
    found = np.array([[row[name] for name in NUMBERS] for row in rows[:HEADS]])
    np.testing.assert_allclose(found, numbers_of_heads(q, k, seen), rtol=2e-5)
    assert len(rows) == 2 * HEADS
    assert flow.attention.paths[0] == ("0.attention.in_proj_weight",)


def test_a_mask_of_heads_that_is_made_of_the_inputs(torch):
    """Made once, of tokens, and taken by each layer: its axis of heads is none of positions."""
    layer = torch.nn.TransformerEncoderLayer(WIDTH, HEADS, WIDTH, 0.0, batch_first=True)

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(9, WIDTH)
            self.layers = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

        def forward(self, ids):
            return self.layers(self.embedding(ids), src_key_padding_mask=ids == 0)

    ids = torch.arange(1, TOKENS + 1).repeat(BATCH, 1)
    ids[0, 0] = 0
    rows = flow_of(Model(), ids).attention_table()
    assert [row["head"] for row in rows] == [*range(1, HEADS + 1)] * 2
    most = (math.log(TOKENS) * (BATCH - 1) + math.log(TOKENS - 1)) / BATCH
    assert [row["most_entropy"] for row in rows] == pytest.approx([most] * len(rows), rel=1e-5)


def test_learned_queries(torch):
    """Tokens are pooled by a query that is a parameter; a product of features is none."""

    class Pool(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.query = torch.nn.Parameter(torch.randn(WIDTH))
            self.out = torch.nn.Linear(WIDTH, WIDTH)

        def forward(self, z):
            weights = torch.softmax(z @ self.query, -1)
            pooled = torch.einsum("bt,btn->bn", weights, z)
            of_features = torch.softmax(self.out(z), -1)
            return z + self.out(torch.bmm(of_features.mT, z).mean(1) + pooled)[:, None]

    module, xs = torch.nn.Sequential(Pool(), Pool()), torch.randn(BATCH, TOKENS, WIDTH)
    flow = flow_of(module, xs)
    assert [row["layer"] for row in flow.attention_table()] == [1, 2]
    logits = (xs @ module[0].query).detach().double()
    p = logits.softmax(-1)
    entropy = float(-(p * p.log()).sum(-1).mean())
    row = flow.attention_table()[0]
    assert row["largest_logit"] == pytest.approx(float(logits.max()), rel=1e-5)
    assert row["entropy"] == pytest.approx(entropy, rel=1e-5)
    assert "0.query" in flow.attention.paths[0]


# Routers


def mixture(torch, form):
    """Two blocks of experts: a list of which tokens select two, or a stack that is weighed."""

    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.gate = torch.nn.Linear(WIDTH, EXPERTS, bias=False)
            if form == "listed":
                self.experts = torch.nn.ModuleList(
                    torch.nn.Sequential(torch.nn.Linear(WIDTH, WIDTH), torch.nn.ReLU())
                    for _ in range(EXPERTS)
                )
            else:
                self.up = torch.nn.Parameter(torch.randn(EXPERTS, WIDTH, WIDTH) / WIDTH**0.5)

        def forward(self, z):
            share = torch.softmax(self.gate(z), -1)
            if form != "listed":
                return z + torch.einsum("btn,enm,bte->btm", z, self.up, share).tanh()
            tokens, share = z.flatten(0, 1), share.flatten(0, 1)
            top, chosen = share.topk(2, dim=-1)
            out = torch.zeros_like(tokens)
            for i, expert in enumerate(self.experts):
                at, place = torch.where(chosen == i)
                out = out.index_add(0, at, expert(tokens[at]) * top[at, place, None])
            return z + out.reshape(z.shape)

    return torch.nn.Sequential(Block(), Block())


@pytest.mark.parametrize("form", ["listed", "stacked"])
def test_routers_are_recognised(torch, form):
    module, xs = mixture(torch, form), torch.randn(BATCH, TOKENS, WIDTH)
    flow = flow_of(module, xs)
    share = torch.softmax(module[0].gate(xs), -1).detach()
    if form == "listed":
        load = torch.bincount(share.topk(2).indices.flatten(), minlength=EXPERTS) / (36.0)
    else:
        load = share.mean((0, 1))
    rows = flow.router_table()
    assert [(r["layer"], r["router"], r["expert"]) for r in rows] == [
        (layer, 1, expert + 1) for layer in (1, 2) for expert in range(EXPERTS)
    ]
    np.testing.assert_allclose([r["load"] for r in rows[:EXPERTS]], load, rtol=1e-5)
    of = flow.routers
    assert (of.tokens[0], of.selected[0]) == (BATCH * TOKENS, 2 if form == "listed" else EXPERTS)
    assert of.paths[0] == ("0.gate.weight",)
    experts = [f"0.experts.{i}.0.{n}" for i in range(EXPERTS) for n in ("bias", "weight")]
    assert of.paths_of_experts[0] == (tuple(experts) if form == "listed" else ("0.up",))
    assert not flow.attention_table()


# Positions


@pytest.mark.parametrize("kind", ["tokens", "pixels"])
def test_positions(torch, kind):
    """What differs between the tokens of an example, or its pixels of channels in front."""
    nn = torch.nn
    layers = [
        nn.Sequential(nn.Linear(4, 4), nn.Tanh()) if kind == "tokens" else nn.Conv2d(4, 4, 3)
        for _ in range(2)
    ]
    module = nn.Sequential(*layers).double()
    shape = (BATCH, 5, 4) if kind == "tokens" else (BATCH, 4, 8, 9)
    xs = torch.randn(shape).double()
    flow = jaxnn.gradient_flow(module, xs, loss=lambda output, _: output.square().sum())
    for i, layer in enumerate(module):
        xs = layer(xs).detach()
        value = (xs if kind == "tokens" else xs.movedim(1, -1)).flatten(1, -2)
        within = (value - value.mean(1, keepdim=True)).square().mean() / value.square().mean()
        assert flow.log_spread_within[i] == pytest.approx(float(within.log()) / 2, rel=1e-4)
    assert flow.positions == ((5, 5) if kind == "tokens" else (42, 20))


# What is not read


def test_kernels_that_hand_out_no_logits_are_named(torch):
    library = torch.library.custom_op("jaxnn_test::flash_attn", mutates_args=())

    @library
    def kernel(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        return q * k

    kernel.register_autograd(lambda ctx, grad: (grad, grad))

    class Block(torch.nn.Module):
        def forward(self, z):
            return kernel(z, z.flip(0)) + torch.exp(z @ z.mT) @ z

    xs = torch.randn(2, TOKENS, 4) / 10
    module = torch.nn.Sequential(torch.nn.Linear(4, 4), Block())
    flow = jaxnn.gradient_flow(
        module, xs, loss=lambda output, _: output.square().sum(), cuts=["0", "1"]
    )
    assert flow.notes == (
        "Layer [1] may attend in the kernel flash_attn, whose logits are not read: "
        "it is not in flow.attention_table().",
        "Layer [1] may attend in a softmax written by hand, whose logits are not read: "
        "it is not in flow.attention_table().",
    )
    assert flow.attention_table() == []


@pytest.mark.parametrize("fails", ["operations.program_of", "operations.Operations._layer", "read"])
def test_what_cannot_be_followed_is_said(torch, monkeypatch, fails):
    """The measurement is the same; the tables are refused, also where the numbers are read last."""
    module, xs = attending(torch, Attention.fused, torch.float32), torch.randn(BATCH, TOKENS, WIDTH)
    flow = flow_of(module, xs)

    def nothing(func, *_):
        return func.nothing

    if fails == "read":
        monkeypatch.setattr(Operations, "read", property(lambda _: nothing, lambda *_: None), False)
    else:
        monkeypatch.setattr(f"jaxnn.pytorch.{fails}", nothing)
    again = flow_of(module, xs)
    np.testing.assert_array_equal(flow.log_delta, again.log_delta)
    assert not again.is_read
    assert "what the module computes cannot be followed (AttributeError" in again.notes[-1]
    with pytest.raises(ValueError, match="cannot be followed; flow"):
        again.attention_table()
    assert dataclasses.replace(again, is_read=True).attention_table() == []


def test_what_is_seen_is_not_changed(torch):
    """Outputs, gradients and random numbers are those without the eyes."""
    module = attending(torch, Attention.heads_after_queries)
    xs = torch.randn(BATCH, TOKENS, WIDTH).double().requires_grad_()
    torch.manual_seed(3)
    (delta,) = torch.autograd.grad(module(xs).square().sum(), xs)
    torch.manual_seed(3)
    flow = flow_of(module, xs.detach())
    assert float(flow.log_delta_input) == pytest.approx(float(delta.norm().log()), rel=1e-6)


def test_many_logits_are_read_by_xla(torch, monkeypatch):
    """To the same numbers as few by NumPy."""
    for way in (Attention.fused, Attention.into_a_buffer):
        module, xs = attending(torch, way), torch.randn(BATCH, TOKENS, WIDTH).double()
        few = flow_of(module, xs).attention
        monkeypatch.setattr("jaxnn.jaxpr.numpy_programs.FEW", 1)
        many = flow_of(module, xs).attention
        monkeypatch.undo()
        for name in NUMBERS:
            np.testing.assert_allclose(getattr(many, name), getattr(few, name), rtol=1e-5)
