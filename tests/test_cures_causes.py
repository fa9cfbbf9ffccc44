"""Changes of what a verdict names: one array, one bias, one cut."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cure_lines import assert_lines_make
from peers import need

import jaxnn
from jaxnn.flow.verdict.findings import FINDINGS
from jaxnn.models import Program
from jaxnn.trials import causes
from jaxnn.trials.cure import Cure
from jaxnn.trials.cures import Cures, lines, patient_of, tried_on
from jaxnn.trials.setup import Attempt, Setup

N, B = 24, 8


def product(w, z):
    return z @ w


def relu(p, z):
    return jax.nn.relu(z @ p["w"] + p["b"][None])


def normed(p, z):
    z = z @ p["w"]
    z = (z - z.mean(0)[None]) / jnp.sqrt(z.var(0) + 1e-5)[None]
    return jax.nn.relu(z * p["gamma"][None] + p["beta"][None])


def layers_of_relu(rng):
    return [{"w": orthogonal(rng, 2**0.5), "b": np.zeros(N)} for _ in range(7)]


def layers_with_norms(rng):
    vectors = {"gamma": np.ones(N), "beta": np.zeros(N)}
    return [{"w": orthogonal(rng, 2**0.5)} | vectors for _ in range(7)]


def orthogonal(rng, gain=1.0):
    return gain * np.linalg.qr(rng.normal(size=(N, N)))[0]


# A fault of one layer: how it is made, its array, and the change.
FAULTS = {
    "bias": (relu, layers_of_relu, "b", lambda v: v - 20, "to 0"),
    "weight": (relu, layers_of_relu, "w", lambda v: 240 * v, "by 240, as in the other layers"),
    "gain": (normed, layers_with_norms, "gamma", lambda v: 0 * v, "to 1"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_the_one_array_that_is_odd_is_changed_and_nothing_else(name, rng):
    f, build, array, fault, how = FAULTS[name]
    params = build(rng)
    before = params[3][array]
    params[3] |= {array: fault(before)}
    layers = [(f, p) for p in params] + [(product, orthogonal(rng))]
    found = jaxnn.diagnose(layers, rng.normal(size=(B, N))).cures
    assert len(found) == 1, str(found)
    assert found[0].works
    assert f"`[3][1]['{array}']` {how}." in found[0].advice
    cured = [p for _, p in found[0].params[:-1]]
    np.testing.assert_allclose(cured[3][array], before, rtol=1e-12, atol=1e-12)
    for i in (*range(3), *range(4, 7)):
        for path, v in params[i].items():
            np.testing.assert_array_equal(cured[i][path], v)


@pytest.mark.slow
def test_the_largest_array_is_divided_though_no_other_has_its_name(rng):
    layers = [(relu, p) for p in layers_of_relu(rng)]
    layers.append((lambda p, z: z @ p["head"], {"head": 1e4 * orthogonal(rng)}))
    found = jaxnn.diagnose(layers, rng.normal(size=(B, N))).cures
    assert "largest" in {f.rule for f in found.verdict.findings}
    assert len(found) == 1, str(found)
    assert found[0].works
    assert found[0].advice.startswith("Divide `[7][1]['head']` by ")
    assert "largest" not in {f.rule for f in jaxnn.verdict(found[0].flow).findings}


@pytest.mark.slow
def test_positions_that_are_alike_are_no_cure(rng):
    """Of attention alone, without skips, whose gradient is steady."""

    def attention(p, z):
        share = jax.nn.softmax((z @ p["q"]) @ (z @ p["k"]).swapaxes(-1, -2) / N**0.5)
        z = share @ (z @ p["v"])
        return z / jnp.sqrt(jnp.mean(z**2, -1, keepdims=True))

    layers = [(attention, {name: orthogonal(rng) for name in "qkv"}) for _ in range(12)]
    layers.append((lambda w, z: z.mean(1) @ w, orthogonal(rng)))
    net, params = jaxnn.as_network(layers)
    xs, c = rng.normal(size=(B, 6, N)), rng.normal(size=(B, N))
    kinds = ("skip", "norm")
    found = tried_on(patient_of(Program((net, params), xs, cotangent=c)), kinds=kinds)
    assert found.verdict.equal_positions is not None
    assert found[0].kind == "skip"
    assert found[0].works
    assert jaxnn.verdict(found[0].flow).equal_positions is None
    reason = "all positions of an example are still equal"
    assert any(reason in cure.reason for cure in found)
    assert all(jaxnn.verdict(c.flow).equal_positions is None for c in found if c.works)


def test_nothing_that_a_verdict_finds_is_well_among_the_cures(rng):
    """Whatever the rule: no sentence says that the network is well beside what was found."""
    well = jaxnn.diagnose([(product, orthogonal(rng))] * 2, rng.normal(size=(B, N))).verdict
    assert str(Cures(well, ())).endswith("for the gradient neither vanishes nor explodes.")
    (healthy,) = (found for found in well.findings if found.rule == "rate")
    for name, rule in FINDINGS.items():
        for is_ill in (True, False):
            odd = healthy._replace(rule=name, text=f"It is {name}.", values={"is_ill": is_ill})
            vars(well)["findings"] = healthy, odd
            text = str(Cures(well, ()))
            is_usual = rule.healthy and not is_ill
            assert ("neither" in text) == is_usual, name
            assert (odd.text in text) != is_usual, name


@pytest.mark.slow
def test_a_detached_part_is_let_through_and_nothing_else_is_changed():
    need("torch")
    import torch

    torch.manual_seed(0)

    class Block(torch.nn.Module):
        def __init__(self, stops):
            super().__init__()
            self.linear, self.stops = torch.nn.Linear(N, N), stops

        def forward(self, z):
            with torch.set_grad_enabled(self.stops != "no_grad"):
                y = z.detach() if self.stops == "detach" else torch.tanh(z)
            return z.detach() + self.linear(y) if self.stops else z + self.linear(y)

    xs, ys = torch.randn(B, N), torch.randn(B, N)
    for stops in ("detach", "no_grad"):
        module = torch.nn.Sequential(*[Block(stops if i == 3 else "") for i in range(6)])
        loss = torch.nn.functional.mse_loss
        (cure,) = jaxnn.cures(module, xs, ys, loss=loss, seconds=0)
        assert cure.works, cure
        assert cure.advice.startswith("Take detach or no_grad away")
        torch.testing.assert_close(cure.model(xs), module(xs))
        loss(cure.model(xs), ys).backward()
        assert all(p.grad is not None for p in cure.model.parameters())
        assert [p.requires_grad for p in module.parameters()] == [True] * 12


def test_data_that_is_at_fault_is_told_by_the_cures_too(rng):
    """It is in the evidence, which a flow does not have."""
    xs = rng.normal(size=(B, N))
    xs[:, 3] *= 1e4
    diagnosis = jaxnn.diagnose([(product, orthogonal(rng)) for _ in range(2)], xs)
    assert "inputs" in {found.rule for found in diagnosis.verdict.findings}
    assert diagnosis.cures.verdict is diagnosis.verdict
    assert "neither" not in str(diagnosis.cures)


LIKE = [np.full(4, 0.5), np.array([0.4, 0.4, 0.6, 0.6]), np.full(4, 0.4)]


@pytest.mark.parametrize(
    ("own", "like", "expected"),
    [
        (np.full(4, 50.0), LIKE, ("divide", "by 100")),
        (np.full(4, 0.005), LIKE, ("multiply", "by 100")),
        (np.zeros(4), LIKE, ("draw", "again, normal with std 0.5")),
        (np.full(4, 1e-6), [np.ones(4)] * 3, ("set", "to 1")),
        (np.full(4, -20.0), [np.zeros(4)] * 3, ("set", "to 0")),
        (np.full(4, -20.0), [np.zeros(4)] * 2, None),  # two say nothing
        (np.full(4, 2.0), LIKE, None),
    ],
)
def test_an_array_is_made_as_others_of_its_name(own, like, expected):
    made = causes.mended(own, like)
    assert (made and made[:2]) == expected


@pytest.mark.parametrize(
    ("size", "sizes", "expected"),
    [
        (12, [12], [(0, 12), (0, 4), (4, 8), (8, 12), (0, 3), (3, 6), (6, 9), (9, 12)]),
        (12, [12, 4], [(0, 4), (4, 8), (8, 12)]),
        (4, [12, 4], [(0, 4)]),
        (4, [4, 4, 4], [(0, 4)]),
    ],
)
def test_parts_of_a_vector_are_its_gates(size, sizes, expected):
    assert [(part.start, part.stop) for part in causes._parts(size, sizes)] == expected


# Time in PyTorch


def loop_over_cells(torch, kind, steps=40):
    """A loop over a cell of PyTorch, and what enters."""

    class Loop(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.head = getattr(torch.nn, kind)(4, 8), torch.nn.Linear(8, 2)

        def forward(self, x):
            state = None
            for step in x.unbind(1):
                state = self.cell(step, state)
            return self.head(state[0] if isinstance(state, tuple) else state)

    return Loop(), torch.randn(B, steps, 4)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "cure"), [("LSTMCell", "gates"), ("RNNCell", "orthogonal")])
def test_steps_of_a_loop_over_cells_are_cured(kind, cure):
    need("torch")
    import torch

    torch.manual_seed(0)
    module, xs = loop_over_cells(torch, kind)
    found = jaxnn.cures(module, xs, cotangent=torch.randn(B, 2))
    verdict = found.verdict
    assert (verdict.word, verdict.step, verdict.layers) == ("vanishing", True, 40)
    assert "decades a step towards the input" in verdict.rate_text
    assert found[0].kind == cure, str(found)
    assert found[0].works
    assert abs(found[0].repeated) < 1
    if cure == "gates":
        assert found[0].advice.startswith("Set the bias `cell.bias_hh[8:16]` to ln 40 = 3.69")
        bias = found[0].model.cell.bias_hh.detach()
        np.testing.assert_allclose(bias[8:16], 3.69, rtol=1e-6)
        assert bias[:8].abs().max() < 0.4
        (usual,) = (cure for cure in found if "to 1, so that the state" in cure.advice)
        assert not usual.works


# Gains


def normed_branch(p, z):
    h = (z - z.mean(1, keepdims=True)) / jnp.sqrt(z.var(1, keepdims=True) + 1e-5)
    h = h * p["norm"]["scale"][None] + p["norm"]["bias"][None]
    h = jax.nn.relu(h @ p["up"]["kernel"] + p["up"]["bias"][None])
    return z + h @ p["down"]["kernel"] + p["down"]["bias"][None]


def test_gains_of_zero_in_front_of_branches_are_set_to_one(rng):
    def of_block():
        of = {n: {"kernel": orthogonal(rng), "bias": rng.normal(size=N)} for n in ("up", "down")}
        return of | {"norm": {"scale": np.zeros(N), "bias": np.zeros(N)}}

    layers = [(normed_branch, of_block()) for _ in range(4)]
    xs, c = rng.normal(size=(2, B, N))
    found = tried_on(patient_of(Program(layers, xs, cotangent=c)))
    assert found[0].advice == "Set `[*][1]['norm']['scale']` to 1."
    assert (len(found), found[0].works) == (1, True)
    assert_lines_make(found[0], layers)


# Weights of another size


def test_weights_get_the_usual_size(rng):
    """With a loss alone, by which it is told whether that trains better."""
    first = np.tile(orthogonal(rng), (2, 1)) * 3 / 2**0.5
    layers = [(product, first), *((product, orthogonal(rng, 0.3)) for _ in range(8))]
    xs, ys = rng.normal(size=(B, 2 * N)), rng.normal(size=(B, N))
    square = lambda output, ys: jnp.mean((output - ys) ** 2, 1)  # noqa: E731
    net, params = jaxnn.as_network(layers)
    patient = patient_of(Program((net, params), xs, ys, loss=square))
    changed, advice = causes.with_usual_weights(patient)
    weights = "`[0][1]` by 0.333 and `[*][1]` for * = 1 to 8 by 3.33"
    assert advice == f"Multiply {weights}, to a std of 1/√fan_in."
    np.testing.assert_allclose(changed.params[0].arrays[0][0][0], 0.333 * layers[0][1], rtol=1e-6)
    small = patient.with_arrays({(i, 0): 1e-6 * patient.arrays[i, 0] for i in range(3, 9)})
    _, advice = causes.with_usual_weights(patient.with_params(small))  # a change has set those
    weights = "`[0][1]` by 0.333 and `[*][1]` for * = 1 and 2 by 3.33"
    assert advice == f"Multiply {weights}, to a std of 1/√fan_in."
    small = patient.with_arrays({(8, 0): 1e-6 * patient.arrays[8, 0]})
    assert not [*causes.array(Setup.on(patient.with_params(small)))]
    found = tried_on(patient, kinds=("skip",))
    assert [cure.advice.startswith("Multiply `[0][1]`") for cure in found].count(True) == 1
    assert len(found) == 2
    told = tried_on(patient_of(Program((net, params), xs, cotangent=ys)), kinds=("skip",))
    assert len(told) == 1


@pytest.mark.slow
def test_what_does_the_same_whatever_the_weights_were_is_one_cure(rng):
    """Orthogonal matrices of the gain at which the rate is zero, with usual weights and without."""
    layers = [(product, 0.3 * orthogonal(rng)[:6, :6]) for _ in range(4)]
    xs, ys = rng.normal(size=(2, B, 6))
    net, params = jaxnn.as_network(layers)
    patient = patient_of(Program((net, params), xs, ys, loss=lambda o, y: ((o - y) ** 2).sum(1)))
    found = tried_on(patient, kinds=("orthogonal", "skip"))
    assert [cure.kind for cure in found].count("orthogonal") == 1
    assert [cure.kind for cure in found].count("skip") == 2


# Printed


def cure(kind, factors=None, **values):
    """A cure as it is printed."""
    factors = None if factors is None else np.array(factors)
    attempt = Attempt({}, factors)
    return Cure(kind=kind, advice=f"Do {kind}.", attempt=attempt, decades=0.0, **values)


def test_cures_are_one_line_each_the_best_marked_and_those_in_vain_last():
    tried = [
        cure("scale", [2.0, 2.0], works=True),
        cure("scale by layer", [2.1, 1.9], works=True),
        cure("scale by layer", [1.9, 2.15], works=True),
        cure("scale by layer", [3.0, 1.0], works=True),
        cure("branch scale", [2.0, 2.0], works=True),  # of other arrays
        cure("skip", works=True),
        cure("norm", reason="the gradient still changes"),
        cure("units", reason="the gradient still changes"),
        cure("orthogonal", reason="a state is exactly zero"),
    ]
    texts = [line.text for line in lines(tried)]
    assert [text.split(" Measured")[0] for text in texts[:-1]] == [
        "Best: Do scale.",
        "Or: Do scale by layer.",
        "Or: Do branch scale.",
        "Or: Do skip.",
    ]
    assert texts[0].endswith(" So do 2 changes whose factors differ by a tenth at most.")
    assert not any("So do" in text for text in texts[1:])
    in_vain = "norm and units (the gradient still changes); orthogonal (a state is exactly zero)"
    assert texts[-1] == f"In vain: {in_vain}."
    assert [line.works for line in lines(tried)] == [True] * 4 + [False]


def of_heads(p, z):
    heads = jnp.einsum("bn,nhd->bhd", z, p["w"]) + p["bias"][None]
    return z + heads.reshape(z.shape) @ p["out"]


@pytest.mark.slow
def test_weights_of_zeros_are_drawn_again_and_biases_of_heads_are_not(rng):
    """Two layers whose factors are all zero: that is told of them, and nothing of the biases."""
    zeros = {"w": np.zeros((4, 2, 2)), "bias": np.zeros((2, 2)), "out": np.zeros((4, 4))}
    xs, c = rng.normal(size=(2, 3, 4))
    net, params = jaxnn.as_network([(of_heads, zeros)] * 2, xs)
    patient = patient_of(Program((net, params), xs, cotangent=c))
    (found,) = patient.verdict.findings[:1]
    assert (found.rule, found.values["paths"]) == ("zero", "[0][1]['out'] and [0][1]['w']")
    assert {patient.path(at) for at in patient.weights_anywhere} == {
        f"[{layer}][1]['{name}']" for layer in (0, 1) for name in ("w", "out")
    }
    assert not any("bias" in path for path in patient.parameters.draws)
    (made,) = causes.redraw(Setup.on(patient))
    assert "bias" not in made.words["arrays"]


def attention(p, z):
    q, k, v = (jnp.einsum("btn,nhd->bthd", z, p[name]) for name in "qkv")
    shares = jax.nn.softmax(jnp.einsum("bthd,bshd->bhts", q, k), axis=-1)
    return jnp.einsum("bhts,bshd,hdn->btn", shares, v, p["out"])


@pytest.mark.slow
def test_a_skip_is_put_around_what_is_cut_where_its_state_has_heads(rng):
    """A stack of attention makes all positions equal; a skip around each block keeps them apart."""
    layers, width, heads = 6, 8, (2, 4)
    shapes = {**dict.fromkeys("qkv", (width, *heads)), "out": (*heads, width)}
    std = {"q": 0.1, "k": 0.1, "v": width**-0.5, "out": width**-0.5}
    params = {
        f"layer{i}": {
            name: np.float32(std[name] * rng.normal(size=shape)) for name, shape in shapes.items()
        }
        for i in range(layers)
    }

    def network(params, xs):
        for i in range(layers):
            xs = attention(params[f"layer{i}"], xs)
        return xs

    xs, c = np.float32(rng.normal(size=(2, 3, 5, width)))
    found = jaxnn.cures((network, params), xs, cotangent=c, seconds=0)
    skip = next(cure for cure in found if cure.kind == "skip")
    assert skip.works  # with a norm it keeps the rate as well, and may be the first
    after = jaxnn.diagnose(skip.model, xs, cotangent=c)
    assert after.verdict.equal_positions is None
    first = [np.asarray(flow.log_delta_input) for flow in (after.flow, skip.flow)]
    np.testing.assert_allclose(*first, atol=1e-4)
