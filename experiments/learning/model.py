"""A trained network as files: weights for PyTorch and Flax, and all that a prediction needs.

| file                   | θ[i]                          | b[i]         | loads into          |
|------------------------|-------------------------------|--------------|---------------------|
| model.safetensors      | 2i.weight, (n_out, n_in)      | 2i.bias      | nn.Sequential       |
| model.flax.safetensors | Dense_i.kernel, (n_in, n_out) | Dense_i.bias | nn.Dense of a Module |

In a Sequential the activations have numbers too, so that of Linear i is 2i. `model.skops` has the
network, its weights and the fitted Pipeline of its columns; of what it holds skops makes nothing
but types of scikit-learn, of NumPy and of `TRUSTED`, so that no code of the file is run.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import polars as pl
import safetensors.numpy
from jaxtyping import PyTree

import jaxnn
from experiments.learning.data import feature
from experiments.learning.words import listed, quoted
from jaxnn.network.checks import check_params
from jaxnn.texts import clean

TORCH, FLAX, SKOPS = "model.safetensors", "model.flax.safetensors", "model.skops"
FILES = (TORCH, FLAX, SKOPS)
TRUSTED = ["numpy.dtype"]  # besides those that skops trusts
CHUNK = 4096  # examples that are predicted at a time
MOST = 300  # characters of a reason


@dataclass(frozen=True)
class TrainedModel:
    """A trained network, and what makes its inputs and names its outputs."""

    sizes: list[int]
    activation: str
    task: str
    params: list[tuple[np.ndarray, np.ndarray]]  # θ and b of each layer
    pipeline: Any  # from columns to features, fitted
    target: str  # the name of the column that comes out
    classes: list[str]  # the names of the labels 0, 1, …; none for regression
    mean: float = 0.0  # of the target of a regression
    spread: float = 1.0

    @property
    def net(self) -> jaxnn.Network:
        """The network."""
        return jaxnn.Network(tuple(self.sizes), self.activation, self.task)

    @property
    def columns(self) -> list[str]:
        """The names of the columns that it takes."""
        return [str(name) for name in self.pipeline.feature_names_in_]

    def frame(self, rows: pl.DataFrame, file: str = "") -> pl.DataFrame:
        """Return the columns that it takes of the rows of a file, as those of training."""
        missing = [name for name in self.columns if name not in rows.columns]
        if missing:
            raise ValueError(
                f"file: expected the columns {listed(self.columns)}, got no {listed(missing)}"
            )
        given = pl.DataFrame(
            [
                feature(rows[name], file)
                if rows[name].null_count() < rows.height
                else rows[name].cast(pl.String if name in self.texts else pl.Float64)
                for name in self.columns
            ]
        )
        for name, dtype in given.schema.items():
            if (dtype == pl.String) != (name in self.texts):
                kinds = ("texts", "numbers") if name in self.texts else ("numbers", "texts")
                raise ValueError(
                    f"file: expected {kinds[0]} in column {quoted(name)}, as in training, got "
                    f"{kinds[1]}"
                )
        return given

    @property
    def texts(self) -> dict[str, list[str]]:
        """The texts that it knows of each column of texts."""
        _, of_texts, names = self.pipeline[0].transformers_[1]
        known = of_texts[-1].categories_ if len(names) else []
        return {name: [*map(str, v)] for name, v in zip(names, known, strict=True)}

    def predict(self, frame: pl.DataFrame) -> np.ndarray:
        """Return ŷ of rows of `frame`, (N, n[L]): probabilities, or values as the target's."""
        params = jaxnn.network.stack(
            [jaxnn.network.Layer(*map(jax.numpy.asarray, pair)) for pair in self.params]
        )
        return self.mean + self.spread * outputs(self.net, params, self.pipeline.transform(frame))

    def files(self) -> dict[str, bytes]:
        """Return its files by name."""
        import skops.io

        tensors: dict[str, dict[str, np.ndarray]] = {TORCH: {}, FLAX: {}}
        for i, (theta, b) in enumerate(self.params):
            of_torch = {f"{2 * i}.weight": np.ascontiguousarray(theta.T), f"{2 * i}.bias": b}
            tensors[TORCH] |= of_torch
            tensors[FLAX] |= {f"Dense_{i}.kernel": theta, f"Dense_{i}.bias": b}
        weights = {name: safetensors.numpy.save(v) for name, v in tensors.items()}
        members = {name: getattr(self, name) for name in asdict(self) if name != "pipeline"}
        return weights | {SKOPS: skops.io.dumps(members | {"pipeline": self.pipeline})}


def read(path: Path) -> TrainedModel:
    """Return the model in a model.skops, or in the folder of a run."""
    import skops.io

    path = path / SKOPS if path.is_dir() else path
    if not path.is_file():
        raise ValueError(f"model: there is no file {path}")
    try:
        model = TrainedModel(**skops.io.load(path, trusted=TRUSTED))
        params = [jaxnn.network.Layer(*map(jax.numpy.asarray, pair)) for pair in model.params]
        check_params(model.net, params)
        count = {"regression": 0, "binary": 2}.get(model.task, model.sizes[-1])
        if len(model.classes) != count or not model.columns:
            raise ValueError(f"expected columns and {count} classes, got {len(model.classes)}")
    except Exception as error:  # whatever a file that is none of ours, or cut short, breaks
        reason = clean(" ".join(str(error).split())[:MOST])
        raise ValueError(
            f"model: cannot use {path}: {reason}; expected a {SKOPS} that train wrote"
        ) from None
    return model


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
