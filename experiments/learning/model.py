"""A trained network as a file: safetensors, in the layouts of PyTorch and of Flax, and read back.

| layout | θ[i]                            | b[i]           | loads into                         |
|--------|---------------------------------|----------------|------------------------------------|
| torch  | 2i.weight, (n_out, n_in)        | 2i.bias        | nn.Sequential(Linear, σ, Linear, …) |
| flax   | Dense_i.kernel, (n_in, n_out)   | Dense_i.bias   | a compact Module with nn.Dense     |

In a Sequential the activations have numbers too, so that of Linear i is 2i. Every file also holds,
as JSON in its metadata, all else that a prediction needs: sizes, activation, task, names, how
columns become features, and the scalers of the features (and of the target of a regression). It
may come from anywhere: each member is checked before it is used, and nothing in it is run.
"""

import json
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors
import safetensors.numpy
from jaxtyping import PyTree

import jaxnn
from experiments.learning.data import Scaler
from experiments.learning.encoding import Column, Encoder, Numbers, Texts
from experiments.learning.words import listed, quoted
from jaxnn.texts import clean

TORCH, FLAX = "model.safetensors", "model.flax.safetensors"
FILES = {"torch": TORCH, "flax": FLAX}
FORMAT = 2  # of the metadata
MEMBER = "jaxnn"  # of the metadata that is ours
DTYPES = ("float16", "float32", "float64")
CHUNK = 4096  # examples that are predicted at a time
KINDS = ("number", "date", "text")  # of columns
MOST = 300  # characters of a reason


@dataclass(frozen=True)
class Model:
    """A trained network, and the names and scalers of the columns of its table.

    Args:
        params: single layers.
        encoder: how columns become features.
        target: the name of the column that comes out.
        classes: the names of the labels 0, 1, …; none for regression.
        x_scaler: of the features.
        y_scaler: of the target of a regression, else None.
    """

    net: jaxnn.Network
    params: tuple[jaxnn.network.Layer, ...]
    encoder: Encoder
    target: str
    classes: tuple[str, ...]
    x_scaler: Scaler
    y_scaler: Scaler | None


def names(layout: str, i: int) -> tuple[str, str]:
    """Return the names of θ[i] and b[i]."""
    if layout == "torch":
        return f"{2 * i}.weight", f"{2 * i}.bias"
    return f"Dense_{i}.kernel", f"Dense_{i}.bias"


def files(model: Model) -> dict[str, bytes]:
    """Return the files of a model, one a layout, by name."""
    return {name: packed(model, layout) for layout, name in FILES.items()}


def packed(model: Model, layout: str) -> bytes:
    """Return the file of a model in one layout."""
    tensors = {}
    for i, (theta, b) in enumerate(model.params):
        theta_name, b_name = names(layout, i)
        values = np.asarray(theta)
        tensors[theta_name] = np.ascontiguousarray(values.T if layout == "torch" else values)
        tensors[b_name] = np.asarray(b)
    members = {
        "format": FORMAT,
        "layout": layout,
        "sizes": model.net.sizes,
        "activation": model.net.activation_name,
        "task": model.net.task.name,
        "features": model.encoder.features,
        "columns": [_column_as_json(column) for column in model.encoder.columns],
        "target": model.target,
        "classes": model.classes,
        "of_x": _as_json(model.x_scaler),
        "of_y": None if model.y_scaler is None else _as_json(model.y_scaler),
    }
    text = json.dumps(members, ensure_ascii=False, allow_nan=False)
    return safetensors.numpy.save(tensors, metadata={MEMBER: text})


def _as_json(scaler: Scaler) -> dict[str, list[float]]:
    return {name: values.tolist() for name, values in scaler._asdict().items()}


def _column_as_json(column: Column) -> dict[str, Any]:
    kind = {} if isinstance(column, Numbers) else {"kind": "text"}
    return {**column._asdict(), **kind}


def read(path: Path) -> Model:
    """Return the model in a file of either layout, or in the folder of a run.

    Raises:
        ValueError: there is none, or it is not as `packed` makes it; a one-line error on the first
            difference.
    """
    path = path / TORCH if path.is_dir() else path
    if not path.is_file():
        raise ValueError(f"model: there is no file {path}")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get(MEMBER)
            if text is None:
                raise ValueError(f"it has no {MEMBER!r} in its metadata; this program wrote none")
            metadata, stored = _Metadata(text), set(file.keys())
            known = stored & metadata.tensors
            params = _params(metadata, {name: file.get_tensor(name) for name in known})
            if stored != metadata.tensors:
                raise ValueError(
                    f"expected the tensors {listed(sorted(metadata.tensors))}, got "
                    f"{listed(sorted(stored))}"
                )
    except (ValueError, TypeError, OSError, OverflowError, safetensors.SafetensorError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"model: cannot use {path}: {clean(reason[:MOST])}") from None
    m = metadata
    return Model(m.net, params, m.encoder, m.target, m.classes, m.x_scaler, m.y_scaler)


class _Metadata:
    """The metadata of a file, each member checked."""

    def __init__(self, text: str) -> None:
        try:
            members = json.loads(text)
        except (ValueError, RecursionError):
            members = None
        if not isinstance(members, dict):
            raise ValueError("its metadata are no JSON object")
        self._members = members
        if self._member("format", int) != FORMAT:
            raise ValueError(
                f"it is of format {members['format']!r}, and this program reads {FORMAT}"
            )
        self.layout = self._member("layout", str)
        if self.layout not in FILES:
            raise ValueError(f"layout: expected one of {', '.join(FILES)}, got {self.layout!r}")
        sizes = self._list("sizes", int)
        self.net = jaxnn.Network(sizes, self._member("activation", str), self._member("task", str))
        features, self.classes = self._list("features", str), self._list("classes", str)
        self.target = self._member("target", str)
        task, n_in, n_out = self.net.task.name, sizes[0], sizes[-1]
        classes = {"regression": 0, "binary": 2}.get(task, n_out)
        for name, names_, count in (
            ("features", features, n_in),
            ("classes", self.classes, classes),
        ):
            if len(names_) != count or len(set(names_)) != count:
                raise ValueError(f"{name}: expected {count} different names, got {len(names_)}")
        if task != "multiclass" and n_out != 1:
            raise ValueError(f"sizes: expected one output for {task}, got {n_out}")
        self.encoder = Encoder(tuple(map(_column, self._list("columns", dict))))
        if self.encoder.features != features:
            raise ValueError("columns: expected those that make the features, got others")
        self.x_scaler = self._scaler("of_x", n_in)
        self.y_scaler = self._scaler("of_y", n_out) if task == "regression" else None

    def _member(self, name: str, kind: type) -> Any:
        value = self._members.get(name)
        if type(value) is not kind:
            raise ValueError(f"{name}: expected {kind.__name__}, got {type(value).__name__}")
        return value

    def _list(self, name: str, kind: type) -> tuple[Any, ...]:
        values = self._member(name, list)
        if not all(type(value) is kind for value in values):
            raise ValueError(f"{name}: expected a list of {kind.__name__}")
        return tuple(values)

    def _scaler(self, name: str, count: int) -> Scaler:
        fields = self._member(name, dict)
        arrays = []
        for field in Scaler._fields:
            values = fields.get(field)
            numbers = isinstance(values, list) and all(type(v) in (int, float) for v in values)
            array = np.array(values if numbers else [], np.float64)
            if len(array) != count or not np.isfinite(array).all():
                raise ValueError(f"{name}: expected {count} finite numbers as its {field}")
            arrays.append(array)
        if (arrays[1] < 0).any():
            raise ValueError(f"{name}: expected a spread >= 0, got {arrays[1].min():g}")
        return Scaler(*arrays)

    @property
    def tensors(self) -> set[str]:
        """The names of the tensors that the file should hold."""
        layers = range(len(self.net.sizes) - 1)
        return {name for i in layers for name in names(self.layout, i)}


def _column(members: dict[str, Any]) -> Column:
    """Return a column of the metadata.

    Raises:
        ValueError: a member is missing, or of another type.
    """
    name, kind, fill = (members.get(member) for member in ("name", "kind", "fill"))
    if type(name) is not str or kind not in KINDS:
        raise ValueError(f"columns: expected a name and one of {', '.join(KINDS)}")
    if kind == "text":
        values = members.get("values")
        if not (isinstance(values, list) and values and all(type(v) is str for v in values)):
            raise ValueError(f"columns: expected texts as the values of {quoted(name)}")
        if fill is not None and fill not in values:
            raise ValueError(f"columns: expected one of its values as the fill of {quoted(name)}")
        return Texts(name, tuple(values), fill)
    low, high = members.get("low"), members.get("high")
    numbers: tuple[Any, ...] = (low, high) if fill is None else (low, high, fill)
    if not all(type(v) in (int, float) and abs(v) <= sys.float_info.max for v in numbers):
        raise ValueError(f"columns: expected finite numbers as low, high, fill of {quoted(name)}")
    filled = None if fill is None else float(fill)
    return Numbers(name, kind, float(numbers[0]), float(numbers[1]), filled)


def _params(metadata: _Metadata, tensors: dict[str, np.ndarray]) -> tuple[jaxnn.network.Layer, ...]:
    layers = []
    for i, (n_in, n_out) in enumerate(pairwise(metadata.net.sizes)):
        is_torch = metadata.layout == "torch"
        shapes = ((n_out, n_in) if is_torch else (n_in, n_out), (n_out,))
        values = []
        for name, shape in zip(names(metadata.layout, i), shapes, strict=True):
            tensor = tensors.get(name)
            if tensor is None:
                raise ValueError(f"expected a tensor {name!r}, got none of that name")
            if tensor.shape != shape or tensor.dtype.name not in DTYPES:
                raise ValueError(
                    f"{name}: expected floats of shape {shape}, got {tensor.dtype.name} of shape "
                    f"{tensor.shape}"
                )
            if not np.isfinite(tensor).all():
                raise ValueError(f"{name}: expected finite numbers, got some nan or inf")
            values.append(jax.numpy.asarray(tensor, float))
        theta, b = values
        layers.append(jaxnn.network.Layer(theta.T if is_torch else theta, b))
    return tuple(layers)


def predict(model: Model, x: np.ndarray) -> np.ndarray:
    """Return ŷ of rows, (N, n[L]): probabilities, or values in the units of the target."""
    # As runs: a program that does not grow with depth.
    y_hat = outputs(model.net, jaxnn.network.stack(model.params), model.x_scaler.scaled(x))
    return y_hat if model.y_scaler is None else model.y_scaler.restored(y_hat)


def outputs(net: jaxnn.Network, params: PyTree, rows: np.ndarray) -> np.ndarray:
    """Return ŷ of standardised rows, (N, n[L]), computed some at a time."""
    size, chunks = min(CHUNK, len(rows)), []
    for begin in range(0, len(rows), size):
        some = rows[begin : begin + size]
        padded = np.resize(some, (size, rows.shape[1]))  # one program for the last chunk too
        chunks.append(np.asarray(_forward(net, params, padded), np.float64)[: len(some)])
    return np.concatenate(chunks)


def decided(y_hat: np.ndarray) -> np.ndarray:
    """Return the class of each row of probabilities: of one output 1 above ½, else the largest."""
    if y_hat.shape[1] == 1:
        return (y_hat[:, 0] > 0.5).astype(int)
    return np.argmax(y_hat, axis=1)


@jax.jit
def _forward(net: jaxnn.Network, params: PyTree, xs: jax.Array | np.ndarray) -> jax.Array:
    return jax.vmap(jaxnn.forward, in_axes=(None, None, 0))(net, params, xs)
