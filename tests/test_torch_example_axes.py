"""The proof that examples stay apart in a module of PyTorch, against Jacobians between examples."""

import numpy as np
import pytest

import jaxnn
from jaxnn.pytorch import backward_consensus

B, N = 4, 6  # there are tensors with B positions, which must not be taken for examples


def rotated(torch, v):
    """Positions first, whose examples and units are one axis meanwhile."""
    wide = v.reshape(B, 2, 3).transpose(0, 1).reshape(2, 3 * B)
    return wide.reshape(2, B, 3).transpose(0, 1).reshape(B, N)


def attended(torch, q, mask=None):
    q = q.reshape(B, 1, 2, 3)
    out = torch.nn.functional.scaled_dot_product_attention(q, q, q, attn_mask=mask)
    return out.reshape(B, N)


def written(torch, v, at):
    out = torch.zeros(2 * B, N)
    out[at : at + B] = v
    return out[B : 2 * B] + v


def written_beside(torch, v):
    out = torch.zeros(B, 2, N)
    out[:, 1] = v
    return out.flatten(1)


def gated(torch, v):
    """Parts of one array, each changed in place, as in a cell of an LSTM."""
    halves = (v * 2).unsafe_chunk(2, 1)
    return torch.cat([halves[0].sigmoid_(), halves[1].tanh_()], 1)


def added_to_next(torch, v):
    out = torch.clone(v)
    out[1:] += v[:-1]
    return out


def counted_mask(torch, v):
    """A mask of integers that count over all examples, through which no gradient goes."""
    return v.masked_fill((v > 0).long().cumsum(0) > 2, 0.5)


def weight(torch, *shape):
    return torch.linspace(-1, 1, int(np.prod(shape))).reshape(shape)


APART = {
    "entry by entry": lambda torch, v: (v * 2 + v.tanh()).clamp(-99, 99),
    "in place": lambda torch, v: v.clone().mul_(3).relu_(),
    "parts in place": gated,
    "rows and columns": lambda torch, v: (weight(torch, 5, N) @ v.T).T,
    "positions first": rotated,
    "positions in one axis": lambda torch, v: torch.nn.functional.linear(
        v.reshape(B, 2, 3), weight(torch, 3, 3)
    ).reshape(B, N),
    "as many positions": lambda torch, v: (v[:, :B, None] * v[:, None, :B]).sum(1),
    "softmax": lambda torch, v: (2 * v.softmax(-1).log_softmax(1)).logsumexp(1, keepdim=True),
    "mean": lambda torch, v: v.reshape(B, 2, 3).mean((1, 2), keepdim=True)[:, 0],
    "norms": lambda torch, v: torch.layer_norm(torch.group_norm(v, 2), [N]),
    "batches": lambda torch, v: torch.bmm(v.reshape(B, 2, 3), v.reshape(B, 3, 2)).reshape(B, 4),
    "attention": attended,
    "masked attention": lambda torch, v: attended(
        torch, v, torch.stack([v[:, 0] > -99, v[:, 1] > 0], 1).view(B, 1, 1, 2)
    ),
    "convolution": lambda torch, v: torch.nn.functional.max_pool1d(
        torch.conv1d(v.reshape(B, 2, 3), weight(torch, 4, 2, 2)), 2
    ).reshape(B, 4),
    "pieces": lambda torch, v: torch.cat([v[:, 3:], torch.ones(B, 1), v[:, :3]], 1).flip(1),
    "a stack": lambda torch, v: torch.stack([v, 2 * v], 0).sum(0),
    "padding": lambda torch, v: torch.nn.functional.pad(v, (1, -1)),
    "written beside": written_beside,
    "integers that meet": counted_mask,
    "a table": lambda torch, v: (
        weight(torch, 3, N)[0]
        + torch.nn.functional.embedding((v[:, 0] > 0).long(), weight(torch, 3, N)) * v
    ),
}
MEETING = {
    "mean over examples": lambda torch, v: v - v.mean(0),
    "softmax over examples": lambda torch, v: v.softmax(0),
    "sum of all": lambda torch, v: v / v.square().sum(),
    "gram": lambda torch, v: v @ v.T,
    "columns": lambda torch, v: weight(torch, B, B) @ v,
    "next example": lambda torch, v: torch.cat([v[1:], v[:1]]),
    "roll": lambda torch, v: v.roll(1, 0),
    "shifted by padding": lambda torch, v: torch.nn.functional.pad(v, (0, 0, 1, -1)) + v,
    "written at another place": lambda torch, v: written(torch, v, B - 1),
    "written over": lambda torch, v: torch.stack([v, v])[1].index_copy(
        0, torch.tensor([0]), v[1:2]
    ),
    "a part in place": added_to_next,
    "shared windows": lambda torch, v: v.reshape(-1).as_strided((B, N), (N - 1, 1)) * 1,
    "examples in one axis": lambda torch, v: v.T.reshape(-1, 2 * B).softmax(-1).reshape(B, N),
    "an index": lambda torch, v: v[torch.tensor([1, 0, 3, 2])],
    "norm of the batch": lambda torch, v: torch.nn.functional.batch_norm(
        v, None, None, training=True
    ),
    "attention over examples": lambda torch, v: torch.nn.functional.scaled_dot_product_attention(
        v[None, None], v[None, None], v[None, None]
    )[0, 0],
}


def flow_of(torch, function, monkeypatch):
    """The flow of a function between two layers, and how often something was scaled for it."""

    class Middle(torch.nn.Module):
        def forward(self, v):
            return function(torch, v)

    # Examples of a batch stand in the middle of a memory.
    first, middle, x = torch.nn.Linear(3, N), Middle(), torch.randn(3 * B, 3)[B : 2 * B]
    width = middle(first(x)).shape[1]
    model = torch.nn.Sequential(first, middle, torch.nn.Linear(width, 2))
    passes, scaled = [], backward_consensus.scaled_pass

    def counted(*args, **named):
        passes.append(args)
        return scaled(*args, **named)

    monkeypatch.setattr(backward_consensus, "scaled_pass", counted)
    cotangent = torch.randn(B, 2)
    flow = jaxnn.gradient_flow(model, x, cotangent=cotangent, cuts=["0", "1", "2"])
    return flow, len(passes), middle, first(x).detach()


def jacobian_between_examples(torch, middle, v):
    jacobian = torch.autograd.functional.jacobian(middle, v).abs().sum((1, 3))
    return (jacobian - jacobian.diag().diag()).max()


@pytest.mark.parametrize("name", APART)
def test_no_pass_tries_what_is_known(torch, name, monkeypatch):
    _, passes, middle, v = flow_of(torch, APART[name], monkeypatch)
    assert jacobian_between_examples(torch, middle, v) == 0
    assert passes == 0


@pytest.mark.parametrize("name", MEETING)
def test_examples_that_meet_are_tried(torch, name, monkeypatch):
    _, passes, middle, v = flow_of(torch, MEETING[name], monkeypatch)
    assert jacobian_between_examples(torch, middle, v) > 0
    assert passes > 0


def test_unknown_operations_are_tried(torch, monkeypatch):
    """Each example is sorted by itself, by indices of which nothing is known."""
    flow, passes, *_ = flow_of(torch, lambda _, v: v.gather(1, v.argsort(1)), monkeypatch)
    assert passes > 0
    assert not flow.mixes.any()
