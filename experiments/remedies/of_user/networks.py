"""The user's own networks, as they are and cured: made by a function of theirs, one for each seed.

`what the function returns -> the data to train by -> jaxnn.cures on its first batch -> variants`

The data are the user's if there is a loss with them; else those of the setting `data`, by cross
entropy, if inputs and outputs have room for them.
"""

import math
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PyTree

import jaxnn
from experiments.learning.data import Dataset
from experiments.remedies.columns import BEFORE
from experiments.remedies.of_user.training import (
    Curve,
    Data,
    Loss,
    Rule,
    named,
    named_of_torch,
    optimizer_of,
    taken,
    trained,
)
from jaxnn.chain.apply import applied
from jaxnn.chain.from_network import as_chain
from jaxnn.curing.changes import CURES
from jaxnn.curing.cures import Cures, tried_on
from jaxnn.curing.jax_patients import jax_patient
from jaxnn.curing.patient import Patient
from jaxnn.curing.torch_patient import TorchPatient
from jaxnn.curing.training import SECONDS, Trainable
from jaxnn.flow.record.flow import Flow
from jaxnn.models import as_network, is_of_torch
from jaxnn.network.checks import as_rows
from jaxnn.pytorch.call import own_loss, prediction_of
from jaxnn.pytorch.copies import copied
from jaxnn.pytorch.inputs import called

if TYPE_CHECKING:
    import torch

OWN = "data of its own"
TRAINED_BY = (
    "(model, xs, ys) with a loss to train by, or inputs of {} numbers and outputs of {} or more, "
    "for {}"
)


class Variant(NamedTuple):
    """A network as it is, or cured.

    name: `BEFORE`, or the kind of the cure.
    advice: what was changed; empty before any cure.
    flow: before training.
    trained: (step size, seed) -> the curve of a training.
    """

    name: str
    advice: str
    flow: Flow
    trained: Callable[[float, int], Curve]


@dataclass(frozen=True, eq=False)
class Networks:
    """A network of one seed, with its cures.

    words: the data that it is trained by.
    patient: the network as it is.
    data: all of it.
    rule: of the training.
    kinds: of changes that are tried.
    """

    words: str
    patient: Patient
    data: Data
    rule: Rule
    kinds: Collection[str]

    @cached_property
    def cures(self) -> Cures:
        """All that are tried, where they are first asked for, ranked by training."""
        return tried_on(self.patient, kinds=self.kinds, seconds=SECONDS)

    @property
    def is_own(self) -> bool:
        """True if it is trained on the user's own data."""
        return self.words == OWN

    def best(self, most: int) -> list[str]:
        """Return the kinds of the best cures that work; of none nothing is tried."""
        if not most:
            return []
        return list(dict.fromkeys(cure.kind for cure in self.cures if cure.works))[:most]

    def variants(self, kinds: list[str]) -> dict[str, Variant]:
        """Return the network as it is and its best cure of each kind, if there is one."""
        optimizer = optimizer_of(self.rule, is_of_torch(self.patient.network))

        def variant(name: str, advice: str, flow: Flow, training: Trainable | None) -> Variant:
            assert training is not None  # there is a loss
            return Variant(name, advice, flow, partial(trained, training, self.data, self.rule))

        as_it_is = self.patient.training(self.patient.params, optimizer)
        made = [variant(BEFORE, "", self.patient.flow, as_it_is)]
        for kind in kinds:
            cure = next((c for c in self.cures if c.kind == kind and c.works), None)
            if cure is not None and cure.flow is not None and cure.learner is not None:
                made.append(variant(kind, cure.advice, cure.flow, cure.learner(optimizer)))
        return {variant.name: variant for variant in made}


def networks(
    given: dict[str, Any],
    dataset: Dataset,
    rule: Rule,
    of: str,
    kinds: Collection[str] = tuple(CURES),
) -> Networks:
    """Return the network that a function has returned, with its data.

    Args:
        given: arguments of `jaxnn.diagnose`.
        dataset: to train by, without a loss of the user's own.
        rule: of the training; a batch of its size is what cures are tried on.
        of: the name of the function, in error messages.
        kinds: of changes that are tried; all by default.
    """
    for name in given:
        if name not in ("model", "xs", "ys", "loss", "each", "cuts"):
            raise ValueError(
                f"{of}: expected model, xs, ys, loss, each and cuts alone, as a network to train "
                f"has them, got {name}"
            )
    made = _of_torch if is_of_torch(given["model"]) else _of_jax
    patient_of, data, words = made(given, dataset, of)
    rule = rule._replace(batch=min(rule.batch, data.size or 1))
    patient = patient_of(slice(0, rule.batch) if data.size else None)
    return Networks(words, patient, data, rule, kinds)


Made = tuple[Callable[[Any], Patient], Data, str]


def _of_jax(given: dict[str, Any], dataset: Dataset, of: str) -> Made:
    """Return a patient, given rows, and all of the data with its name."""
    model, xs, ys, loss = given["model"], given["xs"], given.get("ys"), given.get("loss")
    net, params = as_network(model, xs, each=given.get("each", "batch"), cuts=given.get("cuts"))
    like = model[1] if isinstance(model, tuple) else model
    like = None if like is params else like
    accuracy: Loss = named
    if isinstance(net, jaxnn.Network):
        if loss is not None or ys is None:
            raise ValueError(
                f"{of}: expected ys and no loss with a jaxnn.Network, whose task has it"
            )
        ys, loss = (
            np.asarray(as_rows(net, params, np.asarray(xs), np.asarray(ys))[1]),
            net.task.loss,
        )
        accuracy = partial(_right, net.task.name)
        net, params = as_chain(net, params)
        like = None
    words, count = OWN, len(jax.tree.leaves(xs)[0])
    if loss is None:
        out = jax.eval_shape(lambda xs: applied(net, params, xs)[0], xs)
        shape = tuple(getattr(xs, "shape", ()))
        classes = _classes(dataset, shape, getattr(out, "shape", ()), of)
        dtype = jnp.asarray(xs).dtype
        xs = dataset.x.reshape(-1, *shape[1:]).astype(dtype)
        ys, loss = dataset.y.astype(np.int32), partial(_cross_entropy, classes)
        words, count = str(dataset), len(dataset.x)
    xs, ys = jax.tree.map(jnp.asarray, (xs, ys))
    data = Data(xs, ys, loss, 0 if net.whole else count, accuracy)

    def patient(rows: slice | None) -> Patient:
        x, y = jax.tree.map(lambda v: v[rows], (xs, ys)) if rows is not None else (xs, ys)
        return jax_patient(net, params, x, y, loss=loss, like=like)

    return patient, data, words


def _right(task: str, z: jax.Array, ys: jax.Array) -> Any:
    """Return the fraction of rows that a Network's last layer names; None of a regression."""
    if task == "regression":
        return None
    if task == "binary":
        return jnp.mean(jnp.all((z > 0) == (ys > 0.5), axis=1))
    return jnp.mean(jnp.argmax(z, axis=1) == jnp.argmax(ys, axis=1))


def _cross_entropy(classes: int, output: PyTree, ys: jax.Array) -> Any:
    """Return the cross entropy of each example; outputs beyond the classes are left out."""
    return optax.softmax_cross_entropy_with_integer_labels(output[:, :classes], ys)


def _classes(dataset: Dataset, xs: tuple[int, ...], out: tuple[int, ...], of: str) -> int:
    """Return the number of classes of data that fit a network.

    Raises:
        ValueError: they do not.
    """
    features, classes = dataset.x.shape[1], max(dataset.n_out, 2)
    if math.prod(xs[1:]) != features or len(xs) < 2 or len(out) != 2 or out[1] < classes:
        expected = TRAINED_BY.format(features, classes, dataset.name)
        got = f"no loss, inputs {xs} and outputs {out}"
        raise ValueError(f"{of}: expected it to return {expected}; got {got}")
    return classes


def _of_torch(given: dict[str, Any], dataset: Dataset, of: str) -> Made:
    """Return a patient, given rows, and all of the data with its name; of PyTorch."""
    torch = sys.modules["torch"]
    module, xs, ys, loss = given["model"], given["xs"], given.get("ys"), given.get("loss")
    words = OWN
    if loss is None:
        out = called(copied(module), xs)
        if own_loss(out) is not None:
            loss = _own_loss
        else:
            first, shape = prediction_of(out), tuple(getattr(xs, "shape", ()))
            classes = _classes(dataset, shape, tuple(getattr(first, "shape", ())), of)
            xs = torch.as_tensor(dataset.x).to(xs).reshape(-1, *shape[1:])
            ys = torch.as_tensor(dataset.y.astype(np.int64), device=xs.device)
            loss, words = partial(_cross_entropy_of_torch, classes), str(dataset)
    data = Data(xs, ys, loss, len(_tensors(xs)[0]), named_of_torch)

    def patient(rows: slice | None) -> Patient:
        inputs, labels = taken(xs, rows), taken(ys, rows)
        return TorchPatient(module, inputs, labels, loss=loss, cuts=given.get("cuts"))

    return patient, data, words


def _own_loss(output: PyTree, ys: jax.Array) -> Any:
    del ys
    return own_loss(output)


def _cross_entropy_of_torch(classes: int, output: PyTree, ys: "torch.Tensor") -> Any:
    cross_entropy = sys.modules["torch"].nn.functional.cross_entropy
    return cross_entropy(prediction_of(output)[:, :classes], ys, reduction="none")


def _tensors(tree: PyTree) -> list[Any]:
    return [v for v in jax.tree.leaves(tree) if hasattr(v, "index_select")]
