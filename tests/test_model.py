"""Models as files: both layouts against a forward pass in NumPy, and what is refused."""

import json
import random
from itertools import pairwise

import jax
import numpy as np
import pytest
import safetensors.numpy

import jaxnn
from experiments.learning import model
from experiments.learning.data import Scaler
from experiments.learning.encoding import Encoder, Numbers, Texts

SIGMAS = {"tanh": np.tanh, "relu": lambda z: np.maximum(z, 0)}


def made(task="multiclass", sizes=(3, 4, 4, 2), activation="tanh", seed=0):
    """A model of random numbers, in NumPy."""
    rng = np.random.default_rng(seed)
    layers = tuple(
        jaxnn.network.Layer(rng.normal(size=(n, m)).astype("f4"), rng.normal(size=m).astype("f4"))
        for n, m in pairwise(sizes)
    )
    classes = {"regression": (), "binary": ("no", "σ<b>")}.get(task, tuple("cba"[: sizes[-1]]))
    y_scaler = Scaler(np.array([20.0]), np.array([3.0])) if task == "regression" else None
    x_scaler = Scaler(rng.normal(size=sizes[0]), np.r_[0.0, rng.uniform(1, 2, sizes[0] - 1)])
    columns = tuple(Numbers(f"x {i}", "number", -4.0, 4.0, None) for i in range(sizes[0]))
    net = jaxnn.Network(sizes, activation, task)
    return model.Model(net, layers, Encoder(columns), "y", classes, x_scaler, y_scaler)


def write(known, folder):
    for name, content in model.files(known).items():
        (folder / name).write_bytes(content)


def by_numpy(tensors, sigma, x, layout):
    """z[L] from the file's tensors, with nothing of the library: as PyTorch and Flax would."""
    count = len(tensors) // 2
    for i in range(count):
        if layout == "torch":
            x = x @ tensors[f"{2 * i}.weight"].T + tensors[f"{2 * i}.bias"]
        else:
            x = x @ tensors[f"Dense_{i}.kernel"] + tensors[f"Dense_{i}.bias"]
        x = sigma(x) if i < count - 1 else x
    return x


@pytest.mark.parametrize("layout", model.FILES)
@pytest.mark.parametrize(
    ("task", "sizes", "activation"),
    [
        ("multiclass", (3, 4, 4, 2), "tanh"),
        ("binary", (2, 5, 1), "relu"),
        ("regression", (3, 1), "tanh"),
    ],
)
def test_a_model_is_what_its_file_says(layout, task, sizes, activation, tmp_path):
    known = made(task, sizes, activation)
    write(known, tmp_path)
    read = model.read(tmp_path / model.FILES[layout])
    for name in ("net", "encoder", "target", "classes"):
        assert getattr(read, name) == getattr(known, name)
    for mine, other in zip(
        jax.tree.leaves(read.params), jax.tree.leaves(known.params), strict=True
    ):
        np.testing.assert_array_equal(mine, other)
    for mine, other in ((read.x_scaler, known.x_scaler), (read.y_scaler, known.y_scaler)):
        assert (mine is None) == (other is None)
        if other is not None:
            np.testing.assert_array_equal(mine, other)
    # In the file's own layout, by hand, in the units of the features and the target:
    x = np.random.default_rng(1).normal(size=(7, sizes[0])) * 2 + 1
    spread = np.where(known.x_scaler.spread > 0, known.x_scaler.spread, np.inf)
    tensors = safetensors.numpy.load_file(tmp_path / model.FILES[layout])
    z = by_numpy(tensors, SIGMAS[activation], (x - known.x_scaler.mean) / spread, layout)
    outputs = {
        "regression": lambda: 20 + 3 * z,
        "binary": lambda: 1 / (1 + np.exp(-z)),
        "multiclass": lambda: np.exp(z) / np.exp(z).sum(axis=1, keepdims=True),
    }
    np.testing.assert_allclose(model.predict(read, x), outputs[task](), rtol=2e-5, atol=1e-6)


def test_the_file_says_how_columns_become_features(tmp_path):
    known = made("regression", (3, 4, 1))
    columns = (Numbers("day", "date", 0.5, 9.0, 4.25), Texts("sex", ("f", "σ"), "σ"))
    known = model.Model(**{**vars(known), "encoder": Encoder(columns)})
    write(known, tmp_path)
    assert model.read(tmp_path).encoder == known.encoder
    with safetensors.safe_open(tmp_path / model.FLAX, framework="numpy") as file:
        says = json.loads(file.metadata()[model.MEMBER])
    assert says["features"] == ["day", "sex=f", "sex=σ"]
    assert says["columns"][0] == {
        "name": "day", "kind": "date", "low": 0.5, "high": 9.0, "fill": 4.25,
    }  # fmt: skip
    assert says["columns"][1] == {
        "name": "sex", "values": ["f", "σ"], "fill": "σ", "kind": "text",
    }  # fmt: skip


def test_rows_are_predicted_some_at_a_time(monkeypatch):
    known, x = made(), np.random.default_rng(2).normal(size=(11, 3))
    whole = model.predict(known, x)
    monkeypatch.setattr(model, "CHUNK", 4)
    np.testing.assert_allclose(model.predict(known, x), whole, rtol=1e-6)


def file_of(folder, change=lambda says, tensors: None, layout="torch"):
    """A file of a good model of which something was changed."""
    content = model.packed(made("regression", (3, 4, 1)), layout)
    path = folder / "model.safetensors"
    path.write_bytes(content)
    with safetensors.safe_open(path, framework="numpy") as file:
        says = json.loads(file.metadata()[model.MEMBER])
    tensors = safetensors.numpy.load(content)
    text = change(says, tensors)
    text = json.dumps(says) if text is None else text
    safetensors.numpy.save_file(tensors, path, metadata={model.MEMBER: text})
    return path


def says(**members):
    return lambda found, _: found.update(members)


def column(**members):
    return lambda found, _: found["columns"][0].update(members)


def holds(**tensors):
    return lambda _, found: found.update({name.replace("_", "."): t for name, t in tensors.items()})


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda *_: "{", "its metadata are no JSON object"),
        (lambda *_: "[" * 100_000, "its metadata are no JSON object"),
        (lambda *_: "[]", "its metadata are no JSON object"),
        (says(format=1), "it is of format 1, and this program reads 2"),
        (says(format=True), "format: expected int, got bool"),
        (says(layout="keras"), "layout: expected one of torch, flax, got 'keras'"),
        (says(layout="flax"), "expected a tensor 'Dense_0.kernel', got none"),
        (says(sizes=[3, 4.0, 1]), "sizes: expected a list of int"),
        (says(sizes=[3, -4, 1]), "sizes: expected at least two positive integers"),
        (says(sizes=[3, 4, 4, 1]), r"2.weight: expected floats of shape \(4, 4\), got .*1, 4"),
        (says(sizes=[3, 5, 1]), r"0.weight: expected floats of shape \(5, 3\), got float32 .*4, 3"),
        (says(sizes=[3, 4, 2]), "sizes: expected one output for regression, got 2"),
        (says(activation="tnah\x1b"), "activation: there is no 'tnah"),
        (says(activation=["tanh"]), "activation: expected str, got list"),
        (says(task="ranking"), "task: there is no 'ranking'"),
        (says(features=["a", "b"]), "features: expected 3 different names, got 2"),
        (says(features=["a", "b", "b"]), "features: expected 3 different names, got 3"),
        (says(features=None), "features: expected list, got NoneType"),
        (says(columns=None), "columns: expected list, got NoneType"),
        (says(columns=[1]), "columns: expected a list of dict"),
        (says(columns=[]), "columns: expected those that make the features, got others"),
        (column(name=7), "columns: expected a name and one of number, date, text"),
        (column(kind="list"), "columns: expected a name and one of number, date, text"),
        (column(low=None), "columns: expected finite numbers as low, high, fill of 'x 0'"),
        (column(high=10**400), "columns: expected finite numbers as low, high, fill of 'x 0'"),
        (column(fill="a"), "columns: expected finite numbers as low, high, fill of 'x 0'"),
        (column(kind="text"), "columns: expected texts as the values of 'x 0'"),
        (column(kind="text", values=["a", 1]), "columns: expected texts as the values of 'x 0'"),
        (column(kind="text", values=["a"], fill="b"), "columns: expected one of its values as the"),
        (column(kind="text", values=["a"]), "columns: expected those that make the features"),
        (says(activation="x" * 10**6), "activation: there is no 'xxx"),
        (says(of_x={"mean": [10**400] * 3, "spread": [1] * 3}), "int too large to convert"),
        (says(classes=["a"]), "classes: expected 0 different names, got 1"),
        (says(task="binary"), "classes: expected 2 different names, got 0"),
        (says(target=None), "target: expected str, got NoneType"),
        (says(of_x={"mean": [0, 0, 0]}), "of_x: expected 3 finite numbers as its spread"),
        (says(of_x=[]), "of_x: expected dict, got list"),
        (says(of_y=None), "of_y: expected dict, got NoneType"),
        (says(of_y={"mean": [0], "spread": [-1]}), "of_y: expected a spread >= 0, got -1"),
        (says(of_y={"mean": [float("nan")], "spread": [1]}), "of_y: expected 1 finite numbers as"),
        (holds(**{"0_weight": np.ones((3, 4), "f4")}), r"0.weight: expected floats of shape"),
        (holds(**{"0_bias": np.ones(4, "i4")}), "0.bias: expected floats of shape .*got int32"),
        (holds(**{"0_bias": np.full(4, np.nan)}), "0.bias: expected finite numbers, got some nan"),
        (holds(more=np.ones(1)), "expected the tensors 0.bias, 0.weight, 2.bias, 2.weight, got "),
    ],
)
def test_what_is_wrong_with_a_file_is_one_sentence(change, sentence, tmp_path):
    path = file_of(tmp_path, change)
    with pytest.raises(ValueError, match=f"^model: cannot use .*{sentence}") as error:
        model.read(path)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 600


def test_what_is_no_such_file_at_all(tmp_path):
    path = tmp_path / "model.safetensors"
    with pytest.raises(ValueError, match="model: there is no file"):
        model.read(tmp_path)  # a folder without one
    for content in (b"", b"PK not at all", b"\xff" * 100):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="model: cannot use"):
            model.read(path)
    safetensors.numpy.save_file({"0.weight": np.ones((1, 1))}, path)
    with pytest.raises(ValueError, match="it has no 'jaxnn' in its metadata; this program wrote"):
        model.read(path)


def test_bytes_changed_at_random_are_a_sentence_or_a_model(tmp_path):
    path, random_, refused = file_of(tmp_path), random.Random(0), 0
    whole = path.read_bytes()
    for _ in range(100):
        content = bytearray(whole)
        content[random_.randrange(len(content))] = random_.randrange(256)
        path.write_bytes(content)
        try:
            model.read(path)
        except ValueError as error:
            refused += str(error).startswith("model: cannot use")
    assert refused > 30
