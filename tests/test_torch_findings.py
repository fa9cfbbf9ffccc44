"""Modules of PyTorch: findings beside their rate, units, and numbers that are none."""

import numpy as np
import pytest
from test_pytorch import check_states, lines, of_order, of_parts

import jaxnn
from jaxnn.pytorch.activations import FEWEST

B, N, STEPS = 4, 4, 12


def mean_square(output, ys):
    return output.square().mean()


def judged(module, x, **options):
    flow = jaxnn.gradient_flow(module, x, loss=mean_square, **options)
    return flow, jaxnn.verdict(flow)


@pytest.mark.usefixtures("users_jax")
def test_layers_with_few_of_the_parameters_are_a_warning_with_a_way_out(torch):
    def call(self, x):
        return self.body(x) * self.side(x).reshape(-1, 4, N).sum(1)

    module = of_parts(torch, call, body=lines(torch, 3), side=torch.nn.Linear(N, 4 * N))
    x = torch.randn(B, N)
    flow, verdict = judged(module, x)
    first = verdict.findings[0]
    assert flow.names == ("body.0", "body.1", "body.2")
    assert flow.coverage[:2] == (pytest.approx(60 / 140), pytest.approx(3 / 7))
    assert (first.rule, first.values["outside"], verdict.well) == ("cuts", "side", False)
    other, _ = judged(module, x, cuts=["body.*", "side"])
    assert other.names == (*flow.names, "side")


@pytest.mark.usefixtures("users_jax")
def test_few_parameters_with_most_of_the_products_are_no_illness(torch):
    """The layers are called once more for each of 16 pieces of an example."""

    def call(self, x):
        pieces = self.body(x.unsqueeze(1) * torch.arange(1, 17).reshape(-1, 1)).mean(1)
        return pieces * self.side(x).reshape(-1, 4, N).sum(1)

    module = of_parts(torch, call, body=lines(torch, 3), side=torch.nn.Linear(N, 4 * N))
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


@pytest.mark.usefixtures("users_jax")
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


SMALL, SHUT = 0.1, -3.0  # times the weights and in biases: each step loses more than a decade


@pytest.mark.usefixtures("users_jax")
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


@pytest.mark.usefixtures("users_jax")
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


@pytest.mark.usefixtures("users_jax")
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


@pytest.mark.usefixtures("users_jax")
def test_steps_that_nothing_reads_are_zeros(torch):
    def call(self, x):
        return self.head(self.inner(x)[0][:, 3])

    inner, head = torch.nn.GRU(N, N, batch_first=True), torch.nn.Linear(N, 1)
    flow, _ = judged(of_parts(torch, call, inner=inner, head=head), torch.randn(B, STEPS, N))
    np.testing.assert_array_equal(np.isneginf(flow.time.log_delta), np.arange(STEPS) > 3)


@pytest.mark.usefixtures("users_jax")
def test_steps_whose_dropout_is_drawn_anew_are_not_measured(torch):
    options = {"num_layers": 2, "dropout": 0.5, **FIRST}
    module = recurrent(torch, "RNN", "last", **options)
    with torch.no_grad():
        for v in module.inner.parameters():
            v.mul_(SMALL)
    flow, _ = judged(module, torch.randn(B, 60, N))
    log_delta = np.asarray(flow.time.log_delta)
    assert np.isnan(log_delta[:20]).all()
    assert np.isfinite(log_delta[-20:]).all()
    (note,) = (note for note in flow.notes if note.startswith("Inside inner Δ of "))
    assert f"Δ of {np.isnan(log_delta).sum()} of 60 steps is not measured" in note


# Where the gradient stops


def behind(torch, stop, **parts):
    """A trunk whose output goes to the head by way of `stop`."""
    trunk = parts.pop("trunk", None) or lines(torch, 5)
    return of_parts(
        torch, lambda self, x: self.head(stop(self.trunk, x)), trunk=trunk, head=lines(torch, 2)
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

    return of_parts(torch, call, layers=torch.nn.ModuleList(lines(torch, 6)))


def in_a_branch(torch):
    def call(self, x):
        return self.a(x) + self.b(x).detach()

    return of_parts(torch, call, a=lines(torch, 3), b=torch.nn.Linear(N, N))


def frozen(torch):
    return behind(torch, lambda trunk, x: trunk(x), trunk=lines(torch, 5).requires_grad_(False))


def frozen_among(torch):
    trunk = lines(torch, 5)
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


@pytest.mark.usefixtures("users_jax")
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


@pytest.mark.usefixtures("users_jax")
def test_parts_that_the_loss_does_not_use_are_a_note(torch):
    def call(self, x):
        self.side(x)
        return self.body(x)

    module = of_parts(torch, call, body=lines(torch, 4), side=torch.nn.Linear(N, N))
    flow, verdict = judged(module, torch.randn(B, N))
    assert flow.stopped is None
    assert verdict.findings[0].rule == "rate"
    assert "No gradient comes to side.weight, side.bias." in flow.notes
    frozen_above = of_order(torch, body=lines(torch, 2), head=lines(torch, 2))
    frozen_above.head.requires_grad_(False)
    assert judged(frozen_above, torch.randn(B, N))[0].stopped is None


@pytest.mark.usefixtures("users_jax")
def test_what_is_frozen_beside_an_adapter_is_not_below_it(torch):
    def call(self, x):
        return self.layer(x) + x @ self.thin @ self.thin.T

    layers = lines(torch, 3).requires_grad_(False)
    adapted = [of_parts(torch, call, layer=layer) for layer in layers]
    for module in adapted:
        module.thin = torch.nn.Parameter(torch.randn(N, 2))
    assert judged(torch.nn.Sequential(*adapted), torch.randn(B, N))[0].stopped is None


# Units of activations: the slopes that are counted are those of autograd


ROWS, UNITS = 12, 6
MODULES = {
    "relu": lambda nn: nn.ReLU(),
    "relu in place": lambda nn: nn.ReLU(inplace=True),
    "tanh": lambda nn: nn.Tanh(),
    "sigmoid": lambda nn: nn.Sigmoid(),
    "hardtanh": lambda nn: nn.Hardtanh(-0.5, 2.0),
    "relu6 in place": lambda nn: nn.ReLU6(inplace=True),
    "elu": lambda nn: nn.ELU(0.5),
    "selu": lambda nn: nn.SELU(),
    "gelu": lambda nn: nn.GELU(),
    "gelu of tanh": lambda nn: nn.GELU(approximate="tanh"),
    "silu": lambda nn: nn.SiLU(),
    "silu in place": lambda nn: nn.SiLU(inplace=True),
    "mish": lambda nn: nn.Mish(),
    "softplus": lambda nn: nn.Softplus(2.0),
    "hardswish": lambda nn: nn.Hardswish(),
    "hardsigmoid": lambda nn: nn.Hardsigmoid(),
}


LARGEST = {"tanh": 1, "sigmoid": 1 / 4, "hardsigmoid": 1 / 6}  # slopes of those with plateaus


def cross_entropy(torch):
    return torch.nn.CrossEntropyLoss()


@pytest.mark.parametrize("name", MODULES)
def test_slopes_are_those_of_autograd(torch, name):
    """A layer with a unit far below 0, one far above, and one on a slope of .007."""
    sigma = MODULES[name](torch.nn)
    model = torch.nn.Sequential(
        torch.nn.Linear(4, UNITS), sigma, torch.nn.Linear(UNITS, 3)
    ).double()
    with torch.no_grad():
        model[0].bias[:3] = torch.tensor([-300.0, 30.0, 5.0])
    xs, ys = torch.randn(ROWS, 4).double(), torch.randint(0, 3, (ROWS,))
    z = model[0](xs).detach().requires_grad_()
    a = MODULES[name](torch.nn)(z.clone())
    (slope,) = torch.autograd.grad(a.sum(), z)
    units = jaxnn.gradient_flow(model, xs, ys, loss=cross_entropy(torch), cuts=["0", "2"]).units
    a = a.detach()
    np.testing.assert_allclose(units.dead, [(slope == 0).all(0).double().mean(), np.nan])
    np.testing.assert_allclose(units.mean_a, [a.mean(), np.nan], rtol=1e-10)
    np.testing.assert_allclose(units.var_a, [a.var(correction=0), np.nan], rtol=1e-8)
    least, most = a.aminmax(dim=0)
    constant = ((most - least) <= 1e-15 * most.abs()).double().mean()
    np.testing.assert_allclose(units.constant, [constant, np.nan])
    if name in LARGEST:
        flat = (slope.abs() < LARGEST[name] / 100).double().mean()
        np.testing.assert_allclose(units.saturated, [flat, np.nan])
        assert flat > 0
    else:
        assert np.isnan(units.saturated).all()
    if name not in ("relu in place", "relu6 in place"):
        np.testing.assert_allclose(units.mean_square_z, [z.detach().square().mean(), np.nan])


def test_units_are_columns_or_channels_of_the_layer_that_computes_them(torch):
    """Blocks have their inner units; a layer of a list has those of the output below it."""
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down = nn.Linear(4, 8), nn.Linear(8, 4)

        def forward(self, x):
            return x + self.down(torch.relu(self.up(x)))

    model = nn.Sequential(*(Block() for _ in range(3)))
    with torch.no_grad():
        model[1].up.bias[:6] = -100.0
    x = torch.randn(ROWS, 3, 4)
    flow = jaxnn.gradient_flow(model, x, loss=lambda out, _: out.square().mean())
    dead = np.array(flow.units.dead)
    assert dead[1] >= 6 / 8
    assert max(dead[0], dead[2]) < 0.5
    few = jaxnn.gradient_flow(model, x[: FEWEST - 1, :1], loss=lambda out, _: out.square().mean())
    assert np.isnan(few.units.dead).all()

    images = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.ReLU())
    with torch.no_grad():
        images[0].bias[:2] = -100.0
        images[2].bias[:1] = -100.0
    flow = jaxnn.gradient_flow(
        images, torch.randn(2, 3, 8, 8), cuts=["0", "2"], loss=lambda out, _: out.square().mean()
    )
    np.testing.assert_allclose(flow.units.dead, [2 / 8, 1 / 4])


def test_a_module_without_activations_has_no_units(torch):
    lines = torch.nn.Sequential(*(torch.nn.Linear(4, 4) for _ in range(2)))
    flow = jaxnn.gradient_flow(lines, torch.randn(ROWS, 4), loss=lambda out, _: out.square().mean())
    assert flow.units is None


# Numbers that are nan or infinite: measured as far as numbers go


NAN, INF = float("nan"), float("inf")


def layers(torch):
    nn = torch.nn
    norm = nn.BatchNorm1d(4).eval()
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), norm, nn.Linear(4, 4), nn.Linear(4, 4))
    model.register_buffer("mask", torch.full((2,), -INF))  # which is not broken
    return model


def plant(tensor, value):
    tensor.data.view(-1)[0] = value


def saturate(model):
    """Let Δ leave the range within a layer, above units with a slope of zero."""
    model[0].weight.data.mul_(1e38)
    model[3].weight.data.fill_(0).fill_diagonal_(1e38)


CASES = {  # what is broken, and the array that is named
    "a weight": (lambda m, x, y: plant(m[3].weight, NAN), "3.weight"),
    "an infinite weight": (lambda m, x, y: plant(m[3].weight, INF), "3.weight"),
    "a bias": (lambda m, x, y: plant(m[4].bias, NAN), "4.bias"),
    "a buffer": (lambda m, x, y: plant(m[2].running_var, NAN), "2.running_var"),
    "what is frozen": (lambda m, x, y: plant(m[0].weight.requires_grad_(False), NAN), "0.weight"),
    "an input": (lambda m, x, y: plant(x, NAN), "xs: 1 of 12"),
    "an infinite input": (lambda m, x, y: plant(x, INF), "xs: 1 of 12"),
    "a label": (lambda m, x, y: plant(y, NAN), "ys: 1 of 12"),
    "all weights": (lambda m, x, y: [p.data.mul_(3e37) for p in m.parameters()], ""),
    "weights near the end of the range": (lambda m, x, y: saturate(m), ""),
}


@pytest.mark.usefixtures("users_jax")
@pytest.mark.parametrize("case", CASES)
def test_what_is_broken_is_named_and_the_rest_measured(torch, case):
    break_it, name = CASES[case]
    model, x, y = layers(torch), torch.randn(3, 4), torch.randn(3, 4)
    break_it(model, x, y)

    def loss(output):
        return (output - y).square().mean()

    found = jaxnn.diagnose(model, x, y, loss=lambda output, _: loss(output))
    at = (0, 3, 4)
    check_states(torch, found.flow, model, x, loss, 1e-5)
    states = [x := layer(x) for layer in model]
    logs = np.log([float(states[i].detach().double().square().mean()) for i in at])
    finite = np.isfinite(logs)
    ours = np.asarray(found.flow.log_mean_square)
    np.testing.assert_allclose(ours[finite], logs[finite], rtol=1e-5, atol=1e-5)
    assert not np.isfinite(ours[~finite]).any()
    assert name in str(found)
    assert "weights smaller" not in str(found)
    assert "mask" not in str(found)
    assert "gets finite numbers and returns others" not in str(found)


@pytest.mark.usefixtures("users_jax")
def test_what_leaves_the_range_within_a_layer_is_not_measured(torch):
    model = torch.nn.Sequential(*[torch.nn.Linear(4, 4, bias=False) for _ in range(3)])
    model[1].weight.data.fill_(3e38)
    model[0].weight.data.mul_(1e-3)
    flow = jaxnn.gradient_flow(model, torch.randn(3, 4), cotangent=torch.full((3, 4), 1e-42))
    assert flow.unmeasured == 1
    assert np.isnan(flow.log_delta[0])
    assert np.isfinite(flow.log_delta[1:]).all()
    note = "From layer [0] down Δ is not measured: it leaves the range of float32; measure in a"
    assert any(each.startswith(note) for each in flow.notes)
