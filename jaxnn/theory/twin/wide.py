"""The wide twin of a chain: the same layers, whose products with parameters are Gaussian draws.

    a layer f(params, state)  ->  its program  ->  evaluated for R replicas, `program.py`

A layer of the twin has the arrays of the real one, its number, and the random key of the twin, from
which its draws come. Its state has the replicas behind the examples, (B, R, …).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from ...chain.chain import Chain, Link, Lowered, Pattern, encoded
from ...chain.from_network import as_chain
from ...chain.parameter_handover import Identity, LayerWeights, Static, merged
from ...errors import NoTwinError
from ...models import Cuts, Model, as_network
from ...network.checks import check_params
from ...network.network import Network
from ...network.params import Stacked, is_run
from ...texts import told
from .draws import fold_in
from .program import CONSTANT, STATE, WEIGHT, ProductKeys, Value, evaluated, shared_weights
from .ties import Same, Ties, Type, equal_arrays, has_ties, ties

Types = tuple[tuple[Type, ...], ...]
REPLICAS = 16


@dataclass(frozen=True)
class WideLink(Link):
    """A layer of the twin."""

    # Behind the arrays of the link, the real layer, come the twin's key, as numbers, the layer's
    # number and its place in a run: floats, since layers of a run are tried on an average of what
    # is of each.

    link: Link | None = None
    ties: Static | None = None  # what draws share, as `ProductKeys.entries`; None if nothing
    is_in_run: bool = False

    @property
    def real(self) -> Link:
        """The real layer."""
        assert self.link is not None
        return self.link

    @property
    def is_recognised(self) -> bool:
        """False: its program has replicas."""
        return False

    @property
    def trained(self) -> tuple[tuple[bool, ...], ...]:
        """For each array of each part whether it is a parameter."""
        return (*self.real.trained, (False, False, False))

    def __call__(self, arrays: Sequence[Sequence[Array]], state: PyTree) -> Any:
        return _evaluated(self, arrays, state)


@partial(jax.jit, static_argnums=0)  # one trace for all places that a flow evaluates a layer at
def _evaluated(link: WideLink, arrays: Sequence[Sequence[Array]], state: PyTree) -> Any:
    """Return what a layer of the twin makes."""
    real = link.real
    *links, (key, number, step) = arrays
    leaves, structure = jax.tree.flatten(state)
    types = tuple((v.shape[:1] + v.shape[2:], v.dtype) for v in leaves)  # of the real state
    closed, out = _program(real, _types(links), structure, types)
    weights = [v for part in links for v in part]
    trained = [flag for part in real.trained for flag in part]
    given = [
        *(Value(v, WEIGHT if flag else CONSTANT) for v, flag in zip(weights, trained, strict=True)),
        *(Value(jnp.moveaxis(v, 1, 0), STATE) if v.ndim else Value(v, CONSTANT) for v in leaves),
    ]
    replicas = next(v.shape[1] for v in leaves if v.ndim)
    draws = ProductKeys(fold_in(key, number.astype(jnp.uint32)), replicas)
    try:
        if link.ties is None:
            draws.entries = shared_weights(closed, given, draws.replicas)
        else:
            draws.entries = link.ties.value
            draws.shared_key = key
            draws.steps = (step.astype(jnp.int32),) if link.is_in_run else ()
        made = evaluated(closed, given, draws)
    except NoTwinError as error:
        raise NoTwinError(f"layer {link.label}: {error}") from None
    return jax.tree.unflatten(out, [_with_replicas(v, draws) for v in made])


def _with_replicas(value: Value, draws: ProductKeys) -> Array:
    """Return an array of the state with the replicas behind the examples."""
    # A number that all examples share, such as the counter of a loop, is one for all replicas too.
    is_number = value.kind != STATE and not value.array.ndim
    return value.array if is_number else jnp.moveaxis(draws.as_state(value), 0, 1)


def _types(arrays: Sequence[Sequence[Array]]) -> Types:
    return tuple(tuple((v.shape, v.dtype) for v in part) for part in arrays)


@lru_cache(maxsize=256)
def _program(
    link: Link, arrays: Types, structure: jax.tree_util.PyTreeDef, types: tuple[Type, ...]
) -> tuple[Any, Any]:
    """Return the jaxpr of a layer, and the structure of the state that comes out."""

    def struct(v: Type) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(*v)  # type: ignore[no-untyped-call]

    weights = [[struct(v) for v in part] for part in arrays]
    state = jax.tree.unflatten(structure, list(map(struct, types)))
    closed, out = jax.make_jaxpr(link, return_shape=True)(weights, state)
    return closed, jax.tree.structure(out)


@jax.tree_util.register_static
@dataclass(frozen=True, repr=False)
class Wide(Chain):
    """The wide twin of a chain, as `jaxnn.theory.wide` makes it.

    real: the chain.
    replicas: of its state; their mean is what the flow says.
    same: for each array of the user's pytree the first that is equal to it.
    """

    real: Any = None
    replicas: int = REPLICAS
    same: Same = ()

    def __repr__(self) -> str:
        return f"Wide twin, {self.replicas} replicas, of: {self.real!r}"

    def for_batch(self, xs: PyTree) -> Lowered:
        """Return what the twin computes with a batch, given as to the real network."""
        real = self.real.for_batch(xs)
        if not has_ties(real, self.real.handover, self.same):
            return _widened(real)
        batch = jax.eval_shape(lambda xs: encoded(jax.tree.map(jnp.asarray, xs)), xs)
        leaves, structure = jax.tree.flatten(batch)
        types = tuple((v.shape, v.dtype) for v in leaves)
        return _widened(real, ties(real, self.real.handover, self.same, structure, types))

    def params(self, user_params: PyTree, key: Array | None = None) -> tuple[Any, ...]:
        """Return the twin's parameters of other numbers in the user's pytree.

        Args:
            user_params: those of the real chain.
            key: a random key, of seed 0 by default.
        """
        return self.with_key(self.real.params(user_params), key)

    def with_key(self, params: Sequence[Any], key: Array | None = None) -> tuple[Any, ...]:
        """Return the twin's parameters, given those of the real chain.

        Args:
            params: those of the real chain.
            key: a random key, of seed 0 by default.
        """
        key = jax.random.key(0) if key is None else key
        numbers, first = jax.random.bits(key, (2,), jnp.uint32), 0
        entries: list[Any] = []
        for kind, entry in zip(self.real.kinds, params, strict=True):
            count = len(kind.links)
            k = entry.k if is_run(entry) else 1
            at = (first + np.arange(k * count)).astype(np.float32)
            if is_run(entry):
                entries.append(_run_with_key(entry, numbers, at.reshape(k, count)))
            else:
                pairs, step = zip(entry.arrays, at, strict=True), np.zeros((), np.float32)
                arrays = tuple((*link, [numbers, number, step]) for link, number in pairs)
                entries.append(LayerWeights(arrays, entry.mixes))
            first += k * count
        return tuple(entries)


def _run_with_key(run: Stacked, key: Array, at: np.ndarray) -> Stacked:
    """Return a run whose layers have their numbers, and share the key."""
    shared = run.shared
    if shared is None:
        shared = jax.tree.map(lambda _: None, run.per_layer)
    links = zip(run.per_layer, shared, at.T, strict=True)
    per_layer, of_all, steps = [], [], np.arange(run.k, dtype=np.float32)
    for parts, rest, numbers in links:
        per_layer.append((*parts, [None, numbers, steps]))
        of_all.append((*rest, [key, None, None]))
    return Stacked(tuple(per_layer), tuple(of_all), merged, run.k)


def _widened(real: Lowered, ties: Ties | None = None) -> Lowered:
    """Return a chain's layers as those of its twin, given what their draws share."""
    kinds = []
    for place, (kind, k) in enumerate(zip(real.kinds, real.lengths, strict=True)):
        of_links = [None] * len(kind.links) if ties is None else ties[place]
        links = (
            WideLink(link.name, (), link.label, link=link, ties=of_link, is_in_run=k > 0)
            for link, of_link in zip(kind.links, of_links, strict=True)
        )
        kinds.append(Pattern(tuple(links), kind.between))
    paths = tuple((*of_layer, "", "", "") for of_layer in real.paths)
    none = Identity(None)
    identities = tuple((*of_layer, none, none, none) for of_layer in real.identities)
    return replace(real, kinds=tuple(kinds), paths=paths, identities=identities)


def wide(
    model: Model,
    xs: PyTree = None,
    *,
    each: str = "batch",
    cuts: Cuts = None,
    replicas: int = REPLICAS,
    key: Any = None,
) -> tuple[Wide, tuple[Any, ...]]:
    """Return the wide twin of a network: mean-field theory of any network, as another network.

    The twin is the same program, in which the result of each product of parameters with the state
    is a Gaussian draw that has, on average over random weights, the covariance of the product
    between examples and positions; the backward pass uses draws of its own. Biases, gains, norms,
    skips, attention, masks and pooling act on these unchanged. R replicas of the state share each
    covariance, so the twin is like a network R times as wide.

    So the flow of the twin is what theory says of random weights of these sizes; of a trained
    network it is what it would be if they were random. A weight is drawn once for all products,
    layers and steps that it is in, as itself or transposed, and the backward pass has that draw
    too; matrices that are equal in all numbers are one. The mean square of a weight is taken along
    each of its axes, so experts and stacked q, k, v of several sizes keep theirs; its entries are
    independent, whatever those of an orthogonal or symmetric one are. Arrays that a function closes
    over are no parameters, and products with them stay as they are.

    `jaxnn.theory.meanfield` has no formula of gates, of branches with two matrices and of layers
    that share a weight: their theory is the twin, which has the closed form of each.

    The gradient holds for a cotangent that does not depend on the weights below, such as a random
    one, or the loss of a network at its initialisation, with a last layer that is used once.

    For model, xs, each and cuts see `jaxnn.as_network`.

    Args:
        replicas: R. Errors fall as 1/√(R n), for n units.
        key: a random key of the draws; that of seed 0 by default. Equal on every device.

    Returns:
        twin: a chain for `jaxnn.gradient_flow`, `jaxnn.verdict` and charts, which takes xs,
            cotangent and loss as the network does. Sizes of Δ are root mean squares over replicas;
            `log_largest` is of all of them, and `mixes` is true, since it is not tried.
            `twin.with_key(params, key)` draws it anew, and `twin.params(user_params, key)` takes
            other numbers in the user's pytree.
        params: its parameters.

    Raises:
        TypeError: something that is no model.
        ValueError: replicas that are no positive integer. When it is measured: a product that has
            no twin, with the name of the layer; `jax.grad` of what was measured, since draws have
            no derivative.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> keys = jax.random.split(jax.random.key(0), 20)
        >>> dense = lambda w, z: jnp.tanh(z) @ w
        >>> layers = [(dense, jax.random.normal(k, (64, 64)) * 1.5 / 8) for k in keys]
        >>> twin, wide_params = jaxnn.theory.wide(layers)
        >>> xs = jax.random.normal(keys[0], (4, 64))
        >>> flow = jaxnn.gradient_flow((twin, wide_params), xs, cotangent=xs)
        >>> rate = (flow.log_delta[5] - flow.log_delta[-5]) / 10 / jnp.log(10)
        >>> bool(abs(rate - 0.028) < 0.01)  # log10 of the χ of theory.meanfield, halved: 0.0283
        True

    Source: Yang 2019, arXiv:1910.12478, and 2020, arXiv:2006.14548 (tensor programs).
    """
    net, params = as_network(model, xs, each=each, cuts=cuts)
    check_net(net)
    if isinstance(replicas, bool) or not isinstance(replicas, int) or replicas < 1:
        raise ValueError(f"replicas: expected an integer of at least 1, got {told(replicas)}")
    if isinstance(net, Network):
        net, params = as_chain(net, check_params(net, params))
    twin = twin_of(net, params, replicas)
    return twin, twin.with_key(params, key)


def check_net(net: Any) -> None:
    """Raise a TypeError for what has no wide twin."""
    if isinstance(net, Wide) or not isinstance(net, Network | Chain):
        raise TypeError(
            "net: expected a Network or a chain of jaxnn.as_network, got "
            f"{'a wide twin' if isinstance(net, Wide) else type(net).__name__}"
        )


def twin_of(net: Chain, params: Sequence[Any], replicas: int) -> Wide:
    """Return the wide twin of a chain, in whose parameters equal matrices are one."""
    layers, same = _widened(net), equal_arrays(net.handover, params)
    fields = {name: getattr(layers, name) for name in Lowered.__dataclass_fields__}
    return Wide(
        **fields, handover=net.handover, made_of=net.made_of, real=net, replicas=replicas, same=same
    )
