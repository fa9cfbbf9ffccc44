"""Layers found in modules of PyTorch, and findings on what their rate does not see."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_pytorch import of_order, of_parts, residual

import jaxnn

pytestmark = pytest.mark.usefixtures("users_jax")

B, N, STEPS = 4, 4, 12


def mean_square(output, ys):
    return output.square().mean()


def judged(module, x, **options):
    flow = jaxnn.gradient_flow(module, x, loss=mean_square, **options)
    return flow, jaxnn.verdict(flow)


def linears(torch, count):
    return torch.nn.Sequential(*(torch.nn.Linear(N, N) for _ in range(count)))


# Lists of lists


def lists_of_lists(torch):
    """Items of two modules that a skip leads around, as in vit_pytorch."""

    def call(self, x):
        for attention, mlp in self.blocks:
            x = attention(x) + x
            x = mlp(x) + x
        return x

    item = torch.nn.ModuleList([torch.nn.Linear(N, N), linears(torch, 2)])
    blocks = torch.nn.ModuleList(copy.deepcopy(item) for _ in range(3))
    return of_parts(torch, call, blocks=blocks)


def dicts_in_a_list(torch):
    """Items of which the last module is the stream, as in rtdl's FT-Transformer."""

    def call(self, x):
        for item in self.blocks:
            x = item["output"](x + item["ffn"](item["norm"](x)))
        return x

    nn = torch.nn
    item = {"norm": nn.LayerNorm(N), "ffn": linears(torch, 2), "output": nn.Identity()}
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

    item = torch.nn.ModuleList([residual(torch), torch.nn.Linear(N, N)])
    lists = {
        name: torch.nn.ModuleList(copy.deepcopy(item) for _ in range(3))
        for name in ("downs", "ups")
    }
    return of_parts(torch, call, side=linears(torch, 3), **lists)


def small_blocks_behind_a_table(torch):
    nn = torch.nn
    blocks = nn.ModuleList(residual(torch) for _ in range(3))
    return of_order(
        torch, table=nn.Embedding(99, N), blocks=blocks, head=nn.Linear(N, 99, bias=False)
    )


def places(name, items, keys):
    return tuple(f"{name}.{i}.{key}" for i in range(items) for key in keys)


def blocks(torch, count):
    """Equal blocks, of one class."""
    block = residual(torch)
    return [copy.deepcopy(block) for _ in range(count)]


def two_towers(torch):
    """Towers whose outputs are multiplied, as in CLIP."""
    call = lambda self, x: self.images(x) * self.texts(x)  # noqa: E731
    images, texts = (torch.nn.Sequential(*blocks(torch, n)) for n in (3, 2))
    return of_parts(torch, call, images=images, texts=texts)


def features_and_a_head(torch):
    """Layers of which those in the list have few of the parameters, as in a small VGG."""
    nn = torch.nn
    features = nn.Sequential(nn.Linear(N, N), nn.ReLU(), nn.Linear(N, N))
    return of_order(torch, features=features, widen=nn.Linear(N, 9), head=nn.Linear(9, N))


def stages_without_lists(torch):
    """Stages whose blocks are attributes, and a stem, as in timm's RegNet."""
    b1, b2, b3, b4 = blocks(torch, 4)
    s1, s2 = of_order(torch, b1=b1, b2=b2), of_order(torch, b1=b3, b2=b4)
    return of_order(torch, stem=torch.nn.Linear(N, N), s1=s1, s2=s2)


def blocks_in_stages(torch):
    """Stages of a class that hold their blocks in a list, as in Hugging Face's ResNet."""
    stage = of_order(torch, layers=torch.nn.Sequential(*blocks(torch, 2)))
    return of_order(torch, stages=torch.nn.Sequential(stage, copy.deepcopy(stage)))


def small_blocks_between(torch):
    """Blocks with less than half of the parameters, between a stem and a head."""
    nn = torch.nn
    stem = nn.Sequential(nn.Linear(N, 24), nn.ReLU(), nn.Linear(24, N))
    body = nn.Sequential(*blocks(torch, 2))
    return of_order(torch, stem=stem, body=body, head=nn.Linear(N, 3))


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


FOUND = {
    two_towers: (("images.0", "images.1", "images.2", "texts.0", "texts.1"), 1.0),
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


@pytest.mark.parametrize("make", FOUND)
def test_blocks_are_found_in_lists_that_are_never_called(torch, make):
    names, share = FOUND[make]
    module = make(torch)
    x = torch.randn(B, N) if make is not small_blocks_behind_a_table else torch.arange(B)
    flow, _ = judged(module, x)
    assert flow.names == names
    assert flow.coverage.share == pytest.approx(share)
    deltas = []

    def note(m, args, output):
        output.register_hook(lambda grad: deltas.append(float(grad.norm().log())))

    for name in reversed(names):
        module.get_submodule(name).register_forward_hook(note)
    mean_square(module(x), None).backward()
    np.testing.assert_allclose(sorted(flow.log_delta), sorted(deltas), rtol=1e-4, atol=1e-6)
    assert jaxnn.gradient_flow(module, x, loss=mean_square, cuts=names[0].split(".")[0]).names


def test_layers_with_few_of_the_parameters_are_a_warning_with_a_way_out(torch):
    def call(self, x):
        return self.body(x) * self.side(x).reshape(-1, 4, N).sum(1)

    module = of_parts(torch, call, body=linears(torch, 3), side=torch.nn.Linear(N, 4 * N))
    x = torch.randn(B, N)
    flow, verdict = judged(module, x)
    first = verdict.findings[0]
    assert flow.names == ("body.0", "body.1", "body.2")
    assert flow.coverage[:2] == (pytest.approx(60 / 140), pytest.approx(3 / 7))
    assert (first.rule, first.values["outside"], verdict.well) == ("cuts", "side", False)
    other, _ = judged(module, x, cuts=["body.*", "side"])
    assert other.names == (*flow.names, "side")


def test_few_parameters_with_most_of_the_products_are_no_illness(torch):
    """The layers are called once more for each of 16 pieces of an example."""

    def call(self, x):
        pieces = self.body(x.unsqueeze(1) * torch.arange(1, 17).reshape(-1, 1)).mean(1)
        return pieces * self.side(x).reshape(-1, 4, N).sum(1)

    module = of_parts(torch, call, body=linears(torch, 3), side=torch.nn.Linear(N, 4 * N))
    flow, verdict = judged(module, torch.randn(B, N))
    assert flow.coverage[:2] == (pytest.approx(60 / 140), pytest.approx(48 / 52))
    assert flow.notes[0].startswith(
        "The layers are body.0 to body.2, with 43 % of the parameters and 92 % of the products, "
    )
    assert "cuts" not in [f.rule for f in verdict.findings]


# Time inside a module


def recurrent(torch, kind, read, **options):
    """A recurrent module whose output is read at its last step, at all, or as its last state."""

    def call(self, x):
        out, state = self.inner(x)
        out = out if options.get("batch_first") else out.transpose(0, 1)
        if read == "all":
            return self.head(out)
        if read == "around":
            return self.head((out + x)[:, -1])
        state = state[0] if isinstance(state, tuple) else state
        return self.head(out[:, -1] if read == "last" else torch.cat([state[-2], state[-1]], -1))

    inner = getattr(torch.nn, kind)(N, N, **options)
    head = torch.nn.Linear(N * (2 if options.get("bidirectional") else 1), 1)
    return of_parts(torch, call, inner=inner, head=head)


FIRST = {"batch_first": True}
BOTH = {**FIRST, "bidirectional": True}
RECURRENT = {
    "LSTM": ("LSTM", "last", FIRST),
    "GRU": ("GRU", "last", FIRST),
    "RNN": ("RNN", "last", FIRST),
    "two-layers": ("LSTM", "last", {**FIRST, "num_layers": 2}),
    "around": ("LSTM", "around", FIRST),
    "both-ways": ("GRU", "states", BOTH),
}


def leaf(x, leaves):
    """Return a leaf of the same numbers, and note it."""
    leaves.append(x.detach().clone().requires_grad_())
    return leaves[-1]


@pytest.mark.parametrize("case", RECURRENT)
def test_time_inside_a_module_is_the_first_finding(torch, case):
    kind, read, options = RECURRENT[case]
    module, x = recurrent(torch, kind, read, **options), torch.randn(B, 4 * STEPS, N)
    flow, verdict = judged(module, x)
    entering = []
    handle = module.inner.register_forward_pre_hook(lambda m, args: (leaf(args[0], entering),))
    mean_square(module(x), None).backward()
    handle.remove()
    steps = entering[0].grad.norm(dim=(0, 2)).log()
    np.testing.assert_allclose(flow.time.log_delta, steps, rtol=1e-4)
    assert (verdict.findings[0].rule, verdict.well) == ("time", False)
    change = verdict.findings[0].values["change"]
    assert (change.module, change.word) == ("inner", "vanishing")
    assert (verdict.word, verdict.inside, verdict.step) == ("vanishing", "inner", True)
    assert verdict.decades == change.rate == pytest.approx(change.total / (verdict.layers - 1))
    assert verdict.rate_text == verdict.findings[0].text
    if change.gates:
        start, stop = change.gates
        with torch.no_grad():
            for name, bias in module.inner.named_parameters():
                if name.startswith("bias_hh"):
                    bias[start:stop] = np.log(change.steps)
        cured = judged(module, x)[1]
        assert not [f for f in cured.findings if f.rule == "time"]
    assert bool(change.gates) == (kind != "RNN")


def test_time_that_is_read_at_every_step_and_packed_sequences(torch):
    x = torch.randn(B, 4 * STEPS, N)
    flow, verdict = judged(recurrent(torch, "LSTM", "all", **FIRST), x)
    assert np.ptp(flow.time.log_delta) < 2.5
    assert verdict.findings[0].rule == "rate"

    def call(self, x):
        packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
        return self.head(self.inner(packed)[1][0][-1])

    lengths = [4 * STEPS, 3 * STEPS, 2 * STEPS, STEPS]
    inner, head = torch.nn.LSTM(N, N, batch_first=True), torch.nn.Linear(N, 1)
    module = of_parts(torch, call, inner=inner, head=head)
    x.requires_grad_()
    (of_x,) = torch.autograd.grad(mean_square(module(x), None), x)
    flow, _ = judged(module, x.detach())
    expected = of_x.norm(dim=(0, 2)).log()
    np.testing.assert_allclose(flow.time.log_delta, expected, rtol=1e-4)
    assert flow.time.of(0).names == ("inner",)


def packed(torch, inner, x, lengths):
    return inner(torch.nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False))[1]


def enter(args, named, leaves):
    """Have a leaf enter a recurrent module; note it, with the sizes of steps that are packed."""
    value = args[0] if args else named["input"]
    is_packed = hasattr(value, "batch_sizes")
    x = leaf(value.data if is_packed else value, [])
    leaves.append((x, value.batch_sizes.tolist() if is_packed else None))
    value = value._replace(data=x) if is_packed else x
    return ((value, *args[1:]), named) if args else ((), {**named, "input": value})


def by_step(axis, x, sizes):
    """Return ln of the norm of Δ of a leaf at each step, whose squares may leave float64."""
    parts = x.grad.unbind(axis) if sizes is None else x.grad.split(sizes)
    return [float((part * 1e100).norm().log() - np.log(1e100)) for part in parts]


SMALL, SHUT = 0.1, -3.0  # times the weights and in biases: each step loses more than a decade
LONG = {
    "LSTM": ("LSTM", {}, lambda torch, inner, x: inner(x)[0][-1]),
    "GRU": ("GRU", FIRST, lambda torch, inner, x: inner(x.transpose(0, 1))[0][:, -1]),
    "RNN": ("RNN", {"nonlinearity": "relu"}, lambda torch, inner, x: inner(x)[0][-1]),
    "its own start": (
        "LSTM",
        {"num_layers": 2},
        lambda torch, inner, x: inner(input=x, hx=(x[:2] + 1, x[2:4]))[1][1][0],
    ),
    "both ways": (
        "GRU",
        {"num_layers": 2, "bidirectional": True},
        lambda torch, inner, x: torch.cat([*inner(x)[1]], 1),
    ),
    "packed": (
        "LSTM",
        {"bidirectional": True},
        lambda torch, inner, x: torch.cat([*packed(torch, inner, x, [9, 80, 80, 71])[0]], 1),
    ),
    "without examples": (
        "RNN",
        {},
        lambda torch, inner, x: torch.stack([inner(v)[0][-1] for v in x.unbind(1)]),
    ),
}


@pytest.mark.parametrize("case", LONG)
def test_time_beyond_the_range_is_that_of_float64(torch, case):
    kind, options, read = LONG[case]
    inner = getattr(torch.nn, kind)(N, N, **options)
    with torch.no_grad():
        for v in inner.parameters():
            v.mul_(SMALL).add_(SHUT if v.ndim == 1 and kind != "RNN" else 0.0)
    module = of_parts(
        torch, lambda self, x: self.head(read(torch, self.inner, x.transpose(0, 1))), inner=inner
    )
    module.head = torch.nn.LazyLinear(1)
    x = torch.randn(B, 80, N)
    module(x)
    flow, verdict = judged(module, x)
    entering = []
    handle = inner.register_forward_pre_hook(
        lambda m, args, named: enter(args, named, entering), with_kwargs=True
    )
    mean_square(module.double()(x.double()), None).backward()
    handle.remove()
    axis = 1 if inner.batch_first else 0
    steps = np.array([v for of_call in entering for v in by_step(axis, *of_call)])
    assert steps.min() < -100
    np.testing.assert_allclose(flow.time.log_delta, steps, rtol=1e-4)
    assert verdict.findings[0].values["change"].word == "vanishing"


def test_time_beyond_all_floats_has_its_closed_form(torch):
    """h[t] = x[t] + h[t-1] / 1000, where relu is open: Δ of x falls to 10⁻⁴⁸⁰."""
    module = recurrent(torch, "RNN", "last", nonlinearity="relu", bias=False, **FIRST)
    with torch.no_grad():
        module.inner.weight_ih_l0.copy_(torch.eye(N))
        module.inner.weight_hh_l0.copy_(torch.eye(N) / 1000)
    flow, verdict = judged(module, 1 + torch.rand(B, 161, N))
    np.testing.assert_allclose(np.diff(flow.time.log_delta), np.log(1000), rtol=1e-4)
    assert verdict.total == pytest.approx(-480, rel=1e-4)
    assert "the first gets 10⁻⁴⁸⁰ of what the last gets" in verdict.rate_text


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_hidden_states_have_the_gradient_of_the_same_cells_in_a_loop(torch, kind):
    """Of an LSTM Δ of c is that with h fixed, as h is computed from it."""
    inner, x = getattr(torch.nn, kind)(N, N, batch_first=True), torch.randn(B, STEPS, N)
    step = {"LSTM": torch.lstm_cell, "GRU": torch.gru_cell, "RNN": torch.rnn_tanh_cell}[kind]
    head, before, after = torch.nn.Linear(N, 1), [torch.zeros(B, N)] * (1 + (kind == "LSTM")), []
    for v in x.unbind(1):
        made = step(v, before if kind == "LSTM" else before[0], *inner.all_weights[0])
        before = [v.clone() for v in (made if kind == "LSTM" else [made])]
        after.append(before)
    flow, _ = judged(
        of_parts(torch, lambda self, x: self.head(self.inner(x)[0][:, -1]), inner=inner, head=head),
        x,
    )
    of_states = torch.autograd.grad(
        mean_square(head(before[0]), None), [v for s in after for v in s], allow_unused=True
    )
    squares = [0.0 if v is None else float(v.square().sum()) for v in of_states]
    expected = np.log(np.reshape(squares, (STEPS, -1)).sum(1)) / 2
    np.testing.assert_allclose(flow.time.log_delta_states, expected, rtol=1e-4)


def test_steps_that_nothing_reads_are_zeros(torch):
    def call(self, x):
        return self.head(self.inner(x)[0][:, 3])

    inner, head = torch.nn.GRU(N, N, batch_first=True), torch.nn.Linear(N, 1)
    flow, _ = judged(of_parts(torch, call, inner=inner, head=head), torch.randn(B, STEPS, N))
    for log_delta in (flow.time.log_delta, flow.time.log_delta_states):
        np.testing.assert_array_equal(np.isneginf(log_delta), np.arange(STEPS) > 3)


def test_steps_whose_dropout_is_drawn_anew_are_not_measured(torch):
    options = {"num_layers": 2, "dropout": 0.5, **FIRST}
    module = recurrent(torch, "RNN", "last", **options)
    with torch.no_grad():
        for v in module.inner.parameters():
            v.mul_(SMALL)
    flow, _ = judged(module, torch.randn(B, 60, N))
    log_delta = np.asarray(flow.time.log_delta)
    assert np.isnan(log_delta[:20]).all()
    assert np.isnan(flow.time.log_delta_states).all()
    assert np.isfinite(log_delta[-20:]).all()
    (note,) = (note for note in flow.notes if note.startswith("Inside inner Δ of "))
    assert f"Δ of {np.isnan(log_delta).sum()} of 60 steps is not measured" in note


# Where the gradient stops


def behind(torch, stop, **parts):
    """A trunk whose output goes to the head by way of `stop`."""
    trunk = parts.pop("trunk", None) or linears(torch, 5)
    return of_parts(
        torch,
        lambda self, x: self.head(stop(self.trunk, x)),
        trunk=trunk,
        head=linears(torch, 2),
    )


def no_grad(torch):
    def stop(trunk, x):
        with torch.no_grad():
            return trunk(x)

    return behind(torch, stop)


def in_the_middle(torch):
    def call(self, x):
        for i, layer in enumerate(self.layers):
            x = layer(x).detach() if i == 2 else layer(x)
        return x

    return of_parts(torch, call, layers=torch.nn.ModuleList(linears(torch, 6)))


def in_a_branch(torch):
    def call(self, x):
        return self.a(x) + self.b(x).detach()

    return of_parts(torch, call, a=linears(torch, 3), b=torch.nn.Linear(N, N))


def frozen(torch):
    return behind(torch, lambda trunk, x: trunk(x), trunk=linears(torch, 5).requires_grad_(False))


def frozen_among(torch):
    trunk = linears(torch, 5)
    trunk[2].requires_grad_(False)
    return behind(torch, lambda trunk, x: trunk(x), trunk=trunk)


STOPS = {
    "frozen among others": (frozen_among, "trunk.2", 1 / 7, "among"),
    "detach": (lambda t: behind(t, lambda f, x: f(x).detach()), "trunk", 5 / 7, "detached"),
    "no_grad": (no_grad, "trunk", 5 / 7, "detached"),
    "frozen": (frozen, "trunk", 5 / 7, "frozen"),
    "middle": (in_the_middle, "layers.2", 1 / 2, "detached"),
    "branch": (in_a_branch, "b", 1 / 4, "detached"),
    "unused": (lambda t: behind(t, lambda f, x: x + 0 * len(f(x))), "trunk", 5 / 7, "unused"),
}


@pytest.mark.parametrize("case", STOPS)
def test_where_the_gradient_stops_is_the_first_finding(torch, case):
    make, after, share, why = STOPS[case]
    module, x = make(torch), torch.randn(B, N)
    flow, verdict = judged(module, x)
    found = flow.stopped
    assert (found.after, found.why) == (after, why)
    assert found.share == pytest.approx(share)
    assert (verdict.findings[0].rule, verdict.findings[0].values["after"]) == ("stopped", after)
    assert "cuts" not in [f.rule for f in verdict.findings]
    assert not verdict.well
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in module.modules()]
    assert set(hooks) == {(0, 0)}


def test_parts_that_the_loss_does_not_use_are_a_note(torch):
    def call(self, x):
        self.side(x)
        return self.body(x)

    module = of_parts(torch, call, body=linears(torch, 4), side=torch.nn.Linear(N, N))
    flow, verdict = judged(module, torch.randn(B, N))
    assert flow.stopped is None
    assert verdict.findings[0].rule == "rate"
    assert "No gradient comes to side.weight, side.bias." in flow.notes
    frozen_above = of_order(torch, body=linears(torch, 2), head=linears(torch, 2))
    frozen_above.head.requires_grad_(False)
    assert judged(frozen_above, torch.randn(B, N))[0].stopped is None


def test_what_is_frozen_beside_an_adapter_is_not_below_it(torch):
    def call(self, x):
        return self.layer(x) + x @ self.thin @ self.thin.T

    layers = linears(torch, 3).requires_grad_(False)
    adapted = [of_parts(torch, call, layer=layer) for layer in layers]
    for module in adapted:
        module.thin = torch.nn.Parameter(torch.randn(N, 2))
    assert judged(torch.nn.Sequential(*adapted), torch.randn(B, N))[0].stopped is None


# The same in JAX


def stops_at_a_state(weights, x):
    for i, w in enumerate(weights):
        x = jnp.tanh(x @ w)
        x = jax.lax.stop_gradient(x) if i == 2 else x
    return x


def stops_at_parameters(weights, x):
    for w in (*jax.lax.stop_gradient(weights[:3]), *weights[3:]):
        x = jnp.tanh(x @ w)
    return x


@pytest.mark.parametrize(
    "f", [pytest.param(stops_at_a_state, marks=pytest.mark.slow), stops_at_parameters]
)
def test_stop_gradient_is_the_first_finding(f, rng):
    weights = list(np.float32(rng.normal(size=(5, N, N)) / 2))
    xs = np.float32(rng.normal(size=(B, N)))
    net, params = jaxnn.as_network((f, weights), xs)
    verdict = jaxnn.verdict(jaxnn.gradient_flow((net, params), xs, cotangent=jnp.ones((B, N))))
    expected = ("cut", 4) if f is stops_at_a_state else ("fixed", 1)
    assert (verdict.findings[0].rule, verdict.findings[0].layer) == expected
    assert not verdict.well
