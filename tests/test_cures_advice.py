"""Advice, followed by somebody who has its text and the network, and nothing of this library.

    text -> grammar -> plain functions of JAX or PyTorch, changed -> their own gradients -> rate

Each kind of change has a rule in `RULES` and a network in `CASES` on which it is tried.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cure_lines import assert_lines_make
from peers import need
from walks import entered, walk

import jaxnn
from jaxnn.models import Program
from jaxnn.patients.words import names_in_words, numbers_in_words
from jaxnn.texts import listed
from jaxnn.trials import layers as changes
from jaxnn.trials.cures import CHANGES, ordered, patient_of, tried_on

B = 6
CURES = {one.name: one for one in ordered(cures=True)}


@dataclass(frozen=True)
class Plain:
    """A network in plain functions.

    arrays: the parameters, by the names that the user has for them.
    layers: by the names that the report has for them, (arrays, z, σ) -> z.
    sigma: σ.
    top: the last state -> a number.
    xs: the examples.
    deltas: (loss of what is added to each state, number of states) -> Δ of each state.
    skips, norms: the layers with a skip around them, by its factor, and with a norm in front.
    inside: those with a norm in front of their branches alone, and the factor on these.
    sigmas: other σ of some layers.
    first: the place of the first layer that repeats.
    user: the network as the user hands it over.
    """

    arrays: dict[str, Any]
    layers: dict[Any, Callable[..., Any]]
    sigma: Callable[[Any], Any]
    top: Callable[[Any], Any]
    xs: Any
    deltas: Callable[..., list[np.ndarray]]
    leaky_relu: Callable[..., Any] = jax.nn.leaky_relu
    skips: dict[Any, float] = field(default_factory=dict)
    norms: tuple[Any, ...] = ()
    inside: dict[Any, float] = field(default_factory=dict)
    sigmas: dict[Any, Callable[[Any], Any]] = field(default_factory=dict)
    first: int = 0
    user: Any = None

    def loss(self, added):
        """The loss if something is added to each state."""
        z = self.xs
        for more, (name, layer) in zip(added, self.layers.items(), strict=True):
            into = z
            if name in (*self.norms, *self.inside):
                into = (
                    z / (z**2).reshape(len(z), -1).mean(1).reshape(-1, *[1] * (z.ndim - 1)) ** 0.5
                )
            out = layer(self.arrays, into, self.sigmas.get(name, self.sigma))
            out = z + self.inside[name] * (out - into) if name in self.inside else out
            z = (z + self.skips[name] * out if name in self.skips else out) + more
        return self.top(z)

    def logs(self):
        """log₁₀ of the norm of Δ of each state."""
        with np.errstate(divide="ignore"):
            return np.log10([np.linalg.norm(v) for v in self.deltas(self)])

    def changed(self, names, change):
        """The network with some arrays changed."""
        return replace(self, arrays=self.arrays | {n: change(self.arrays[n]) for n in names})


# The grammar


def numbers(text):
    """Numbers in words."""
    steps = re.fullmatch(r"(\d+) to (\d+) in steps of (\d+)", text)
    if steps:
        first, last, step = map(int, steps.groups())
        return [*range(first, last + 1, step)]
    found = []
    for part in re.split(", | and ", text):
        first, _, last = part.partition(" to ")
        found += range(int(first), int(last or first) + 1)
    return found


def names(text, known):
    """Names in words, a list for each that stands there, in the order of their numbers."""
    found, parts = [], text.split("`")
    for name, after in zip(parts[1::2], parts[2::2], strict=True):
        form = re.compile(re.escape(name).replace(r"\*", r"(\d+)"))
        matches = [match for k in known if (match := form.fullmatch(k))]
        if after.startswith(" for * = "):
            meant = numbers(after.removeprefix(" for * = ").removesuffix(", "))
            matches = [match for match in matches if int(match[1]) in meant]
        assert matches, name
        found.append([m[0] for m in sorted(matches, key=lambda m: [*map(int, m.groups())])])
    return found


def every(text, plain):
    """All arrays that are named in words."""
    return [name for group in names(text, plain.arrays) for name in group]


def layers(text, plain):
    """The layers or modules that a text means."""
    if text.startswith("layers "):
        return numbers(text.removeprefix("layers "))
    return [n for group in names(text.removeprefix("the modules "), plain.layers) for n in group]


def multiplied(rng, plain, named, by, **_):
    return plain.changed(every(named, plain), lambda v: v * float(by))


def multiplied_each(rng, plain, named, by, **_):
    factors = [float(v) for v in re.split(", | and ", by)]
    for group in names(named, plain.arrays):
        assert len(group) == len(factors)
        for name, factor in zip(group, factors, strict=True):
            plain = plain.changed([name], lambda v, factor=factor: v * factor)
    return plain


def of_branches(rng, plain, named, by, root, deep, **_):
    if deep:  # N layers of two branches: α = (2N)^¼, β = (8N)^-¼
        alpha, beta = int(deep) ** 0.25, (4 * int(deep)) ** -0.25
        assert float(by) == pytest.approx(beta**2 / alpha, rel=1e-3)
    return multiplied(rng, plain, named, float(root) ** -0.5 if root else by)


def orthogonal_of(rng, n, m):
    """A matrix with orthogonal columns or rows."""
    q = np.linalg.qr(rng.normal(size=(max(n, m), min(n, m))))[0]
    return q if n >= m else q.T


def in_centre(like, matrix):
    """A matrix, or a kernel of PyTorch's or of JAX's order with it in its centre."""
    if like.ndim == 2:
        return matrix
    is_torch = "torch" in type(like).__module__
    made = np.zeros(like.shape)
    at = [(n - 1) // 2 for n in (like.shape[2:] if is_torch else like.shape[:-2])]
    made[(..., *at) if is_torch else tuple(at)] = matrix
    return made


def as_in(like, value):
    """An array of NumPy as one of JAX or PyTorch."""
    return like.new_tensor(value) if "torch" in type(like).__module__ else jnp.asarray(value)


def units_of(v):
    """The numbers of units below and above of a matrix or a kernel."""
    shape = v.shape[:2] if "torch" in type(v).__module__ else v.shape[-2:]
    return [*shape]


def drawn(rng, plain, named, gain, times, **_):
    def draw(v):
        made = in_centre(v, orthogonal_of(rng, *units_of(v)))
        if gain:
            return as_in(v, float(gain) * made)
        size = np.sqrt(np.mean(np.asarray(v) ** 2) / np.mean(made**2))
        return as_in(v, float(times) * size * made)

    return plain.changed(every(named, plain), draw)


def mirrored(rng, plain, named, biases, **_):
    def draw(v):
        w = orthogonal_of(rng, *(n // 2 for n in units_of(v)))
        return as_in(v, in_centre(v, np.block([[w, -w], [-w, w]])))

    def halved(b):
        half = np.asarray(b)[: len(b) // 2]
        return as_in(b, np.concatenate([half, -half]))

    plain = plain.changed(every(named, plain), draw)
    return plain.changed(every(biases, plain), halved) if biases else plain


def share_of(by):
    """Read √ and a number, or a number, that something is divided by."""
    return float(by[1:]) ** -0.5 if by.startswith("√") else 1 / float(by)


def with_skips(rng, plain, where, by, **_):
    return replace(plain, skips=dict.fromkeys(layers(where, plain), share_of(by)))


def with_norms(rng, plain, where, **_):
    return replace(plain, norms=(*layers(where, plain),))


def with_pre_norms(rng, plain, where, by, **_):
    return with_norms(rng, with_skips(rng, plain, where, by), where)


def with_norms_inside(rng, plain, where, by, **_):
    return replace(plain, inside=dict.fromkeys(layers(where, plain), share_of(by)))


def with_units(rng, plain, where, times, slope, named, by, **_):
    sigma = lambda z: float(times) * plain.leaky_relu(z, float(slope))  # noqa: E731
    made = replace(plain, sigmas=dict.fromkeys(layers(where, plain), sigma))
    return multiplied(rng, made, named, by)


def of_router(rng, plain, name, by, **_):
    assert name in plain.arrays
    return multiplied(rng, plain, f"`{name}`", by)


def as_like(rng, plain, actions, **_):
    """Each "divide `a` by 2", "set `b` to 1"; of one verb only the first has it."""
    verb = ""
    form = rf"(?:(\w+) )?(`[^`]*`(?: for \* = [\d, and to]*)?) (by|to) ({NUMBER})"
    for new, named, _, number in re.findall(form, actions):
        verb, value = new.lower() if new and new != "and" else verb, float(number)
        change = {
            "divide": lambda v, by=value: v / by,
            "multiply": lambda v, by=value: v * by,
            "set": lambda v, to=value: 0 * v + to,
        }[verb]
        plain = plain.changed(every(named, plain), change)
    return plain


def drawn_again(rng, plain, named, root, **_):
    def draw(v):
        return as_in(v, rng.normal(size=v.shape) * (float(root or 1) / len(v)) ** 0.5)

    return plain.changed(every(named, plain), draw)


def set_to_root(rng, plain, named, root, **_):
    return plain.changed(every(named, plain), lambda v: 0 * v + float(root) ** -0.5)


def with_gates(rng, plain, name, start, stop, value, **_):
    def opened(v):
        part = slice(int(start or 0), int(stop or len(v)))
        return v.at[part].set(float(value))

    return plain.changed([name], opened)


def with_recurrent(rng, plain, weights, gain, **_):
    def drawn(v):
        return as_in(v, float(gain) * orthogonal_of(rng, *v.shape))

    return plain.changed(every(weights, plain), drawn)


def without_stops(rng, plain, **_):
    """The case says by an array of each layer whether it has one."""
    return plain.changed([name for name in plain.arrays if "stop" in name], lambda v: 0 * v)


NUMBER = r"-?\d[\d.]*(?:e[+-]\d+)?"
ARRAYS = r"(?P<named>`.*?)"
WHERE = r"(?P<where>(?:layers|the modules) .*?)"
RULES = {
    "scale": (
        rf"Multiply the weights {ARRAYS} by (?P<by>{NUMBER})(: std [^,]*, now .*)?",
        multiplied,
    ),
    "scale by layer": (
        rf"Multiply the weights {ARRAYS} by (?P<by>[\d.e+\-, and]+), a factor for each layer from "
        "the lowest up, .*",
        multiplied_each,
    ),
    "orthogonal": (
        rf"Draw the weights {ARRAYS} (?:orthogonal|delta-orthogonal, 0 but for an orthogonal "
        rf"matrix in a kernel's centre,) with (?:gain (?P<gain>{NUMBER}) \(std [^;]*; now [^)]*\)|"
        rf"(?P<times>{NUMBER}) times the root mean square that each of them has now)",
        drawn,
    ),
    "looks-linear": (
        rf"Draw the weights {ARRAYS} as \[\[W, -W\], \[-W, W\]\](?:, in the centre of kernels)?, "
        r"with orthogonal W of gain 1(?:, and make the biases (?P<biases>`.*?) "
        r"\[b, -b\], where b is their first half)?",
        mirrored,
    ),
    "branch scale": (
        rf"Multiply the last arrays of each branch, {ARRAYS}, by (?:1/√(?P<root>\d+)|"
        rf"(?P<by>{NUMBER})), "
        r"(?:which is β²/α of DeepNorm for (?P<deep>\d+) branches|for there are .*|so that .*)",
        of_branches,
    ),
    "skip": (rf"Put a skip around each of {WHERE}: z \+ f\(z\) / (?P<by>√?\d+)", with_skips),
    "norm": (
        rf"Put a norm in front of each of {WHERE}: f\(z / rms\(z\)\), with the root mean square "
        "over all numbers of an example",
        with_norms,
    ),
    "pre-norm": (
        rf"Put a norm in front of each of {WHERE}, and a skip around both: z \+ "
        r"f\(z / rms\(z\)\) / (?P<by>√?\d+)\. The rms is the root mean square over all numbers "
        "of an example",
        with_pre_norms,
    ),
    "branch norm": (
        rf"Put a norm in front of the branches f of each of {WHERE}: z \+ f\(z / rms\(z\)\) / "
        r"(?P<by>√?\d+)\. The rms is the root mean square over all numbers of an example",
        with_norms_inside,
    ),
    "units": (
        rf"Replace the activation in {WHERE} by (?P<times>{NUMBER}) · LeakyReLU\("
        rf"(?P<slope>{NUMBER})\), which is tailored to \d+ layers, and multiply the weights "
        rf"{ARRAYS} by (?P<by>{NUMBER})",
        with_units,
    ),
    "named": (r"(?P<actions>Set `[^`]*` to [01])", as_like),
    "shut": (r"(?P<actions>Set `[^`]*` to 1): at 0 they shut what they multiply", as_like),
    "array": (
        r"(?P<actions>(?:Divide|Multiply|Set) `.*), "
        "(?:as in the other layers|down to the other weights)",
        as_like,
    ),
    "redraw": (
        rf"Draw the weights {ARRAYS} again, normal with std (?:1/√fan_in|√\((?P<root>2)/fan_in\))",
        drawn_again,
    ),
    "queries and keys": (
        rf"Multiply the weights of queries and keys {ARRAYS} by (?P<by>{NUMBER}): the largest "
        rf"logit, {NUMBER}, becomes 4",
        multiplied,
    ),
    "one layer": (
        rf"Multiply the weights {ARRAYS} by (?P<by>{NUMBER}): it then changes the gradient as the "
        "other layers do",
        multiplied,
    ),
    "gains": (
        rf"Set the gains {ARRAYS} to {NUMBER}, which is 1/√(?P<root>\d+), for there are "
        r"(?P=root) branches",
        set_to_root,
    ),
    "gates": (
        rf"Set the bias `(?P<name>.*?)(?:\[(?P<start>\d+):(?P<stop>\d+)\])?` to ln \d+ = "
        rf"(?P<value>{NUMBER}), so that the state is kept",
        with_gates,
    ),
    "recurrent": (
        rf"Draw the recurrent weights (?P<weights>`.*`) orthogonal with gain (?P<gain>{NUMBER})",
        with_recurrent,
    ),
    "open": ("Take stop_gradient away", without_stops),
    "router": (
        rf"Multiply the router `(?P<name>.*)` of layer \d+ \([^)]*\) by (?P<by>{NUMBER})",
        of_router,
    ),
}
STEP = (
    rf"(?: Adam's first step raises the loss from a step size of {NUMBER} on: take a smaller .*)?"
)
PROMISE = (
    rf" (?:Measured: (?P<rate>[+-]{NUMBER}) decades a layer, (?P<over>[+-]{NUMBER}) over all of "
    rf"them(?:, (?P<whole>[+-]{NUMBER}) over the whole network)?(?:; no cure, .*)?|No cure: .*)\."
)


def followed(rng, plain, text, rules=RULES):
    """The kind of a sentence, what becomes of a network, and what is promised of it."""
    ((kind, match, follow),) = (
        (kind, match, follow)
        for kind, (rule, follow) in rules.items()
        if (match := re.fullmatch(rule + r"\." + STEP + PROMISE, text))
    )
    said = match.groupdict()
    return kind, follow(rng, plain, **said), [said[key] for key in ("rate", "over", "whole")]


# Networks


def by_jax(plain):
    """Δ of each state by `jax.grad` of the plain network."""
    shapes = jax.eval_shape(partial(states, plain))
    zeros = [jnp.zeros(s.shape, s.dtype) for s in shapes]
    return [np.asarray(v) for v in jax.grad(plain.loss)(zeros)]


def states(plain):
    z, found = plain.xs, []
    for layer in plain.layers.values():
        z = layer(plain.arrays, z, plain.sigma)
        found.append(z)
    return found


def by_torch(plain):
    """Δ of each state by PyTorch's own gradients of the plain network."""
    zeros = [v.new_zeros(v.shape).requires_grad_() for v in states(plain)]
    return [g.numpy() for g in grads_of(plain.loss(zeros), zeros)]


def grads_of(loss, tensors):
    import torch

    return torch.autograd.grad(loss, tensors)


def normal(rng, *shape, std=1.0):
    return std * rng.normal(size=shape)


def chain(rng, f, params, xs, sigma, kinds=tuple(CURES)):
    """Cures of layers f(p, z, σ), which are in a list with their parameters, and them in plain."""
    c, layer_of_user = jnp.asarray(normal(rng, *xs.shape)), lambda p, z: f(p, z, sigma)
    layers = [(layer_of_user, p) for p in params]
    found = tried_on(patient_of(Program(layers, xs, cotangent=c)), kinds=kinds)
    arrays = {
        f"[{i}][1]['{name}']": jnp.asarray(v) for i, p in enumerate(params) for name, v in p.items()
    }

    def layer(i, arrays, z, sigma):
        return f({name: arrays[f"[{i}][1]['{name}']"] for name in params[i]}, z, sigma)

    plain = Plain(
        arrays,
        {i + 1: partial(layer, i) for i in range(len(params))},
        sigma,
        lambda z: jnp.vdot(z, c),
        jnp.asarray(xs),
        by_jax,
        user=layers,
    )
    return found, plain


def linear(p, z, sigma):
    return sigma(z) @ p["w"]


def dense(p, z, sigma):
    return sigma(z @ p["w"] + p["b"][None])


def of_dense(rng):
    """Fourteen layers of relu: the least for which there are tailored units."""
    params = [
        {"w": normal(rng, 16, 16, std=0.3 / 4), "b": normal(rng, 16, std=1e-4)} for _ in range(14)
    ]
    return chain(rng, dense, params, normal(rng, B, 16), jax.nn.relu)


def branch(p, z, sigma):
    return z @ p["emb"] if "emb" in p else z + sigma(z @ p["0"]) @ p["1"]


def of_branches_of_jax(rng):
    """Blocks that explode, whose matrices are wide and high, after an embedding."""
    params = [
        {"emb": normal(rng, 12, 12)},
        *(
            {"0": normal(rng, 12, 24, std=12**-0.5), "1": normal(rng, 24, 12, std=2 * 24**-0.5)}
            for _ in range(10)
        ),
    ]
    found, plain = chain(rng, branch, params, normal(rng, B, 12), jax.nn.relu)
    return found, replace(plain, first=1)


def post_norm(p, z, sigma):
    z = z + sigma(z) @ p["w"]
    return z / jnp.sqrt(jnp.mean(z**2, 1, keepdims=True))


def of_post_norm(rng):
    params = [{"w": normal(rng, 12, 12, std=3 * 12**-0.5)} for _ in range(10)]
    return chain(rng, post_norm, params, normal(rng, B, 12), jax.nn.sigmoid)


def convolution(p, z, sigma):
    of = ("NHWC", "HWIO", "NHWC")
    return sigma(jax.lax.conv_general_dilated(z, p["w"], (1, 1), "SAME", dimension_numbers=of))


def of_kernels(rng):
    params = [{"w": normal(rng, 3, 3, 8, 8, std=0.02)} for _ in range(6)]
    return chain(rng, convolution, params, normal(rng, 2, 5, 5, 8), jax.nn.relu)


def mixture(p, z, sigma):
    share = jax.nn.softmax(z @ p["router"])
    out = jnp.einsum("bem,emn->ben", sigma(jnp.einsum("bn,enm->bem", z, p["up"])), p["down"])
    return z + jnp.einsum("ben,be->bn", out, share) / 4


def of_experts(rng):
    """The experts of one layer are equal, so that its router does not learn."""
    shapes = {"router": (8, 2), "up": (2, 8, 8), "down": (2, 8, 8)}
    params = [{n: normal(rng, *s, std=1 / 3) for n, s in shapes.items()} for _ in range(4)]
    near = np.array([1, 1 + 1e-9])[:, None, None]
    params[2] |= {name: params[2][name][:1] * near for name in ("up", "down")}
    return chain(rng, mixture, params, normal(rng, B, 8), jax.nn.relu)


def of_steps(rng):
    """A recurrent network, which has one matrix, of a scan."""
    w, xs, c = normal(rng, 12, 12, std=0.3 * 12**-0.5), normal(rng, 20, B, 12), normal(rng, B, 12)

    def f(p, xs):
        step = lambda z, x: (jnp.tanh(z @ p["w"] + x), None)  # noqa: E731
        return jax.lax.scan(step, jnp.zeros((B, 12)), xs.swapaxes(0, 1))[0]

    by_example = xs.swapaxes(0, 1)
    user = f, {"w": w}
    found = jaxnn.cures(user, by_example, cotangent=c)
    steps = {
        i + 1: lambda arrays, z, sigma, x=x: sigma(z @ arrays["['w']"] + x)
        for i, x in enumerate(jnp.asarray(xs))
    }
    top = lambda z: jnp.vdot(z, c)  # noqa: E731
    start = jnp.zeros((B, 12))
    arrays = {"['w']": jnp.asarray(w)}
    return found, Plain(arrays, steps, jnp.tanh, top, start, by_jax, user=user)


def of_odd_arrays(rng):
    """One layer has a large matrix, another one a bias that turns its relu off."""
    params = [{"w": 2**0.5 * orthogonal_of(rng, 24, 24), "b": np.zeros(24)} for _ in range(8)]
    params[2] |= {"w": 300 * params[2]["w"]}
    params[5] |= {"b": np.full(24, -1e4)}
    return chain(rng, dense, params, normal(rng, B, 24), jax.nn.relu)


def attention(p, z, sigma):
    logits = (z @ p["q"]) @ (z @ p["k"]).swapaxes(-1, -2)
    return z + jax.nn.softmax(logits / 8**0.5) @ (z @ p["v"]) / 8**0.5


def of_attention(rng):
    """All queries and keys are large."""
    std = {"q": 100, "k": 100, "v": 8**-0.5}
    params = [{n: normal(rng, 8, 8, std=s) for n, s in std.items()} for _ in range(4)]
    return chain(rng, attention, params, normal(rng, B, 5, 8), None)


def scaled(p, z, sigma):
    return z + p["scale"][None] * sigma(z @ p["w"])


def of_layer_scales(rng):
    params = [{"w": orthogonal_of(rng, 8, 8), "scale": np.full(8, 1e-6)} for _ in range(6)]
    return chain(rng, scaled, params, normal(rng, B, 8), jnp.tanh)


def gated(p, z, sigma):
    return (z @ p["w"]) * (z @ p["gate"] + p["bias"][None])


def of_shut_gates(rng):
    shut = {"gate": np.zeros((8, 8)), "bias": np.zeros(8)}
    params = [{"w": orthogonal_of(rng, 8, 8), **shut} for _ in range(5)]
    return chain(rng, gated, params, normal(rng, B, 8), None)


def loud(p, z, sigma):
    return jnp.where(p["loud"] > 0, 512.0, 1.0) * (sigma(z) @ p["w"])


def of_a_loud_layer(rng):
    """The number that makes it loud is no parameter."""
    params = [{"w": orthogonal_of(rng, 8, 8), "loud": np.array(0)} for _ in range(8)]
    params[3] |= {"loud": np.array(1)}
    return chain(rng, loud, params, normal(rng, B, 8), lambda z: z)


def of_constants(rng):
    params = [{"w": np.full((8, 8), 0.5)} for _ in range(5)]
    return chain(rng, linear, params, normal(rng, B, 8), jnp.tanh)


def stopping(p, z, sigma):
    return sigma(jnp.where(p["stop"] > 0, jax.lax.stop_gradient(z), z)) @ p["w"]


def of_a_stop(rng):
    params = [{"w": orthogonal_of(rng, 8, 8), "stop": np.array(0)} for _ in range(5)]
    params[2] |= {"stop": np.array(1)}
    return chain(rng, stopping, params, normal(rng, B, 8), lambda z: z)


def of_gates(rng):
    """Steps whose bias is that of a gate, which is half open, and of what enters."""
    p = {"b": jnp.asarray(normal(rng, 16, std=0.1)), "w": normal(rng, 8, 16, std=0.1)}
    xs, c = normal(rng, 20, B, 8), jnp.asarray(normal(rng, B, 8))

    def step(b, w, z, x):
        gate, more = jnp.split(z @ w + x @ w + b[None], 2, axis=1)
        return jax.nn.sigmoid(gate) * z + jnp.tanh(more)

    def f(p, xs):
        scanned = lambda z, x: (step(p["b"], p["w"], z, x), None)  # noqa: E731
        return jax.lax.scan(scanned, jnp.zeros((B, 8)), xs.swapaxes(0, 1))[0]

    by_example = xs.swapaxes(0, 1)
    found = tried_on(patient_of(Program((f, p), by_example, cotangent=c)), kinds=("gates",))
    steps = {
        i + 1: lambda arrays, z, sigma, x=x: step(arrays["['b']"], arrays["['w']"], z, x)
        for i, x in enumerate(jnp.asarray(xs))
    }
    arrays = {f"['{name}']": jnp.asarray(v) for name, v in p.items()}
    top = lambda z: jnp.vdot(z, c)  # noqa: E731
    return found, Plain(arrays, steps, jnp.tanh, top, jnp.zeros((B, 8)), by_jax, user=(f, p))


def modules(rng, blocks, layer, xs, kinds=tuple(CURES)):
    """Cures of a Sequential of PyTorch, and it in plain functions (arrays, i, z, σ) -> z."""
    import torch
    from torch import nn

    module = nn.Sequential(*blocks).double()
    x = torch.tensor(xs)
    c = torch.tensor(normal(rng, *module(x).shape))
    found = tried_on(patient_of(Program(module, x, cotangent=c)), kinds=kinds)
    plain = Plain(
        {name: v.detach().clone() for name, v in module.named_parameters()},
        {str(i): partial(layer, i) for i in range(len(blocks))},
        torch.relu,
        lambda z: (z * c).sum(),
        x,
        by_torch,
        nn.functional.leaky_relu,
        user=module,
    )
    return found, plain


def of_dense_modules(rng):
    need("torch")
    from torch import manual_seed, nn

    manual_seed(0)
    blocks = [nn.Sequential(nn.Linear(16, 16), nn.ReLU()) for _ in range(14)]

    def layer(i, arrays, z, sigma):
        return sigma(nn.functional.linear(z, arrays[f"{i}.0.weight"], arrays[f"{i}.0.bias"]))

    return modules(rng, blocks, layer, normal(rng, B, 16))


def of_recurrent_modules(rng):
    """Two layers of nn.RNN over 40 steps, of which the last is read."""
    need("torch")
    from torch import manual_seed, nn, stack

    class Read(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.RNN(8, 8, num_layers=2, batch_first=True)

        def forward(self, x):
            return self.rnn(x)[0][:, -1]

    manual_seed(0)

    def layer(i, arrays, z, sigma):
        if i:
            return nn.functional.linear(z, arrays["1.weight"], arrays["1.bias"])
        for k in range(2):
            own = [arrays[f"0.rnn.{name}_l{k}"] for name in ("weight_ih", "bias_ih")]
            back = [arrays[f"0.rnn.{name}_l{k}"] for name in ("weight_hh", "bias_hh")]
            h, made = z.new_zeros(len(z), 8), []
            for x in z.unbind(1):
                h = (nn.functional.linear(x, *own) + nn.functional.linear(h, *back)).tanh()
                made.append(h)
            z = stack(made, 1)
        return h

    return modules(rng, [Read(), nn.Linear(8, 8)], layer, normal(rng, B, 40, 8), ("recurrent",))


BY_FACTORS = {"scale", "scale by layer", "orthogonal"}
EACH = BY_FACTORS | {"looks-linear", "skip", "norm", "pre-norm", "units"}
CASES = {
    "dense": (of_dense, EACH),
    "branches": (of_branches_of_jax, BY_FACTORS | {"branch scale", "branch norm"}),
    # Behind a norm no factor of a layer differs from the one for all.
    "post-norm": (of_post_norm, {"scale", "orthogonal", "branch scale"}),
    "kernels": (of_kernels, EACH - {"units"}),
    "experts": (of_experts, {"router"}),
    "odd arrays": (of_odd_arrays, {"named", "array"}),
    "shut gates": (of_shut_gates, {"shut"}),
    "attention": (of_attention, {"queries and keys"}),
    "layer scales": (of_layer_scales, {"gains"}),
    "a loud layer": (of_a_loud_layer, {"one layer"}),
    "constants": (of_constants, {"redraw"}),
    "a stop": (of_a_stop, {"open"}),
    "recurrent modules": (of_recurrent_modules, {"recurrent"}),
    "gates": (of_gates, {"gates"}),
    "steps": (of_steps, {"scale", "orthogonal"}),
    "modules": (of_dense_modules, EACH),
}
AT_FIRST = "scale", "orthogonal"
GAIN = rf"with gain ({NUMBER}) \(std ({NUMBER})/√fan_in; now ({NUMBER})/√fan_in\)"
AT_RANDOM = ("orthogonal", "looks-linear", "redraw")  # followed, it is another draw
DRAWS = 8


def test_names_and_numbers_in_words_are_read_as_they_were_meant(rng):
    """Of two numbers in each name, some of which are meant."""
    known = [f"stage{i}.{j}.{name}" for i in (1, 2, 10) for j in range(12) for name in "wb"]
    for _ in range(30):
        meant = {known[i] for i in rng.choice(len(known), rng.integers(1, 30), replace=False)}
        assert {
            n for group in names(names_in_words(sorted(meant), known), known) for n in group
        } == meant
        some = {*rng.choice(20, rng.integers(1, 12)).tolist()}
        assert numbers(numbers_in_words(some)) == sorted(some)
    of_one = [n for n in known if n.startswith("stage10.") and n.endswith("w")]
    assert names_in_words(of_one, known) == "`stage10.*.w`"
    assert names(names_in_words(of_one[2:9], known), known) == [of_one[2:9]]


def test_orthogonal_weights_have_the_gain_that_is_said(rng):
    """Draw them with it, and they do what is promised; so does the one factor, to two digits."""
    params = [{"w": normal(rng, 8, 8, std=0.5 * 8**-0.5)} for _ in range(5)]
    found, plain = chain(rng, linear, params, normal(rng, B, 8), jnp.tanh, AT_FIRST)
    assert {cure.kind for cure in found} == {*AT_FIRST}
    for cure in found:
        kind, changed, promise = followed(rng, plain, str(cure))
        if kind == "scale":
            assert_rate(changed, promise)
            continue
        gain, std, before = map(float, re.search(GAIN, str(cure)).groups())
        now = np.sqrt(np.mean([8 * np.mean(p["w"] ** 2) for p in params]))
        assert (std, before) == pytest.approx((gain, now), rel=0.01)
        for v in changed.arrays.values():
            np.testing.assert_allclose(v.T @ v, gain**2 * np.eye(8), atol=1e-12)
        for _, p in cure.params:
            np.testing.assert_allclose(p["w"].T @ p["w"], gain**2 * np.eye(8), atol=1e-12)
        assert abs(over(changed)) < 0.5  # as is read into "times 1.2 of what it is now" it is 3


def test_every_kind_has_a_rule_and_a_network():
    assert {*CURES} == {*RULES} == set().union(*(kinds for _, kinds in CASES.values()))


@pytest.fixture
def walked():
    """CONTRIBUTING's change and how its advice is followed, entered as they stand there."""
    entry, case = walk("a cure")
    with entered(CHANGES, entry, changes) as kind:
        exec(case, {**globals(), "RULES": (rules := {})})
        yield kind, rules


LINEAR = [{"w": 0.1 * np.random.default_rng(i).normal(size=(8, 8))} for i in range(6)]


def assert_cured(walked, rng, found, plain):
    (cure,), (kind, rules) = found, walked
    assert cure.kind == kind
    _, changed, promise = followed(rng, plain, str(cure), rules)
    assert_rate(changed, promise)
    assert abs(cure.decades) < abs(found.verdict.decades) / 2


def test_the_walk_that_adds_a_cure(walked, rng):
    kinds = walked[:1]
    assert_cured(walked, rng, *chain(rng, linear, LINEAR, normal(rng, B, 8), jnp.tanh, kinds))


def test_the_walk_that_adds_a_cure_of_modules(torch, walked, rng):
    linears = [torch.nn.Linear(8, 8, bias=False) for _ in LINEAR]
    for module, p in zip(linears, LINEAR, strict=True):
        module.weight.data = torch.tensor(p["w"].T)

    def layer(i, arrays, z, sigma):
        return torch.tanh(z) @ arrays[f"{i}.1.weight"].T

    blocks = [torch.nn.Sequential(torch.nn.Tanh(), module) for module in linears]
    assert_cured(walked, rng, *modules(rng, blocks, layer, normal(rng, B, 8), walked[:1]))


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_an_advice_that_is_followed_does_what_it_promises(name, rng):
    build, kinds = CASES[name]
    found, plain = build(rng)
    tried = []
    for cure in found:
        text = str(cure)
        if few := cure.values.get("numbers"):  # the text has few of many layers
            every = listed([f"{factor:g}" for factor in cure.values["factors"]])
            text = text.replace(few, every)
        kind, changed, promise = followed(rng, plain, text)
        assert kind == cure.kind
        tried.append(kind)
        assert_lines_make(cure, plain.user)
        if kind == "router":  # of equal experts, which no size helps
            assert cure.reason == changes.CANCELLED
        if promise[0] is None:  # it was made, and Δ is zero then
            assert cure.flow is not None
            assert not cure.works
        elif kind in AT_RANDOM:
            others = [followed(rng, plain, str(cure))[1] for _ in range(DRAWS - 1)]
            assert_on_average([changed, *others], promise)
        elif not jaxnn.verdict(cure.flow).outliers:  # which the rate is without
            assert_rate(changed, promise)
    assert {*tried} == kinds
    if all(
        CURES[kind].rank < 0 and kind != "gates" for kind in kinds
    ):  # which starts at zero: grows
        assert found[0].works, str(found)


def over(plain):
    """The decades of all layers that repeat."""
    logs = plain.logs()
    return logs[plain.first] - logs[-1]


def assert_rate(plain, promise):
    """It is what two digits hold of it."""
    rate, total, whole = (float(v or "nan") for v in promise)
    assert over(plain) == pytest.approx(total, rel=0.06, abs=1e-3)
    factors = len(plain.layers) - plain.first - 1
    assert over(plain) / factors == pytest.approx(rate, rel=0.1, abs=0.02)
    if np.isfinite(whole):
        assert over(replace(plain, first=0)) == pytest.approx(whole, rel=0.06, abs=1e-3)


def assert_on_average(drawn, promise):
    """It is within errors, of which that of the one draw behind the promise is the largest."""
    each = np.array([over(plain) for plain in drawn])
    error = np.std(each, ddof=1) * (1 + 1 / len(each)) ** 0.5
    assert abs(np.mean(each) - float(promise[1])) < 4 * error + 1e-3
    assert error < 0.5


# A verdict on a Network: its advice and its remedies, each with the rate that theory gives it.

WIDTH, LAYERS = 128, 40
STD = re.compile(r"[Ii]nitialise with std ([\d.]+)/√fan_in")
REMEDY = re.compile(r"In theory ([+-][\d.e-]+) decades a layer: (.+)\.")
WORDS = {  # the words of a change -> σ_w, the code of the units, the code of a block
    r"weights with σ_w = ([\d.]+)": ("sigma_w",),
    r"units of (jaxnn\.theory\.tailored_relu\(\d+\)), σ_w = ([\d.]+)": ("units", "sigma_w"),
    r"hidden=jaxnn\.blocks\.Residual\(scale=([\d.*-]+)\)": ("scale",),
    r"hidden=jaxnn\.blocks\.Residual\((RMSNorm\(\))\)": ("norm",),
}


def said_of(text):
    """What a change says, by name; and the rate that it is said to have."""
    std = STD.search(text)
    if std is not None:
        return {"sigma_w": std[1]}, 0.0
    rate, change = REMEDY.fullmatch(text).groups()
    ((words, names),) = ((m, names) for p, names in WORDS.items() if (m := re.fullmatch(p, change)))
    return dict(zip(names, words.groups(), strict=True)), float(rate)


def rate_of_plain(sigma, sigma_w, said, rng):
    """Decades a layer of the gradient of plain layers z + scale σ(z) θ, drawn anew."""
    sigma_w = float(said.get("sigma_w", sigma_w))
    if "units" in said:
        sigma = eval(said["units"], {"jaxnn": jaxnn}).sigma
    scale, skip = eval(said.get("scale", "1.0")), float("scale" in said or "norm" in said)
    theta = rng.normal(size=(LAYERS, WIDTH, WIDTH)) * sigma_w / WIDTH**0.5

    def layer(z, arrays):
        one, more = arrays
        into = z / jnp.sqrt(jnp.mean(z**2, axis=1, keepdims=True)) if "norm" in said else z
        return skip * z + scale * sigma(into) @ one + more, None

    def loss(added, x, u):
        return jnp.sum(u * jax.lax.scan(layer, x + added[0], (theta[1:], added[1:]))[0])

    x, u = rng.normal(size=(2, 4, WIDTH))
    delta = jax.jit(jax.grad(loss))(jnp.zeros((LAYERS, 4, WIDTH)), x @ theta[0], u)
    sizes = np.log10(np.linalg.norm(delta, axis=(1, 2)))
    return (sizes[0] - sizes[-1]) / (LAYERS - 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("activation", "sigma", "sentences"),
    [("sigmoid", jax.nn.sigmoid, 5), ("relu", jax.nn.relu, 5), ("gelu", jax.nn.gelu, 3)],
)
def test_what_a_verdict_advises_does_what_theory_says(activation, sigma, sentences, rng):
    net = jaxnn.Network((WIDTH, *[WIDTH] * LAYERS, 1), activation, "binary")
    params = jaxnn.init(net, jax.random.key(0), weights="glorot_normal", biases="zeros")
    xs = rng.normal(size=(4, WIDTH))
    verdict = jaxnn.verdict(jaxnn.gradient_flow((net, params), xs, np.array([0, 1, 1, 0])))
    texts = [t for t in str(verdict).split("\n") if STD.search(t) or t.startswith("In theory")]
    assert len(texts) == sentences
    assert abs(rate_of_plain(sigma, 1.0, {}, rng)) > 0.1  # as it is
    for text in texts:
        said, rate = said_of(text)
        # Δ of plain layers of this width varies by .004 from draw to draw, with skips by a tenth.
        error = 0.02 if {"sigma_w", "units"} & {*said} else 0.005
        assert rate_of_plain(sigma, 1.0, said, rng) == pytest.approx(rate, abs=error), text
