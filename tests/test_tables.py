"""Tables as polars reads them, their features and labels, models as files, and `predict`."""

import errno
import itertools
import math
import os
from datetime import date, datetime

import numpy as np
import polars as pl
import pytest
import safetensors.numpy
from problems import mostly_slow
from sklearn import datasets, metrics

from experiments import find
from experiments.__main__ import main
from experiments.learning import bundled, data, model

pytestmark = pytest.mark.usefixtures("users_jax")

TABLE = pl.DataFrame(
    {"age": [20.0, 30.0, 40.0, 60.0], "town": ["a", "b", None, "a"], "ill": ["no", "yes"] * 2}
)


def written(folder, frame, ending=".csv"):
    path = folder / f"table{ending}"
    frame.write_csv(path) if ending == ".csv" else frame.write_parquet(path)
    return str(path)


def table(path, target="ill", **more):
    return data.table(path, data.DataOptions(target=target, **more))


@pytest.mark.parametrize(
    ("name", "shape", "task", "n_out"),
    [
        ("breast_cancer", (569, 30), "binary", 1),
        ("digits", (1797, 64), "multiclass", 10),
        ("iris", (150, 4), "multiclass", 3),
        ("wine", (178, 13), "multiclass", 3),
        ("diabetes", (442, 10), "regression", 1),
    ],
)
def test_bundled_sets_are_scikit_learn_s_standardised(name, shape, task, n_out):
    bunch, read, dataset = getattr(datasets, f"load_{name}")(), bundled.load(name), data.load(name)
    np.testing.assert_allclose(read.x, bunch.data, rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(read.y, bunch.target)
    assert (dataset.x.shape, dataset.task, dataset.n_out) == (shape, task, n_out)
    assert dataset.table.classes == tuple(map(str, bunch.get("target_names", ())))
    made = data.pipeline(dataset.table.frame).fit_transform(dataset.table.frame)
    np.testing.assert_allclose(dataset.x, made, atol=1e-12)


@pytest.mark.parametrize("ending", data.FILES)
def test_columns_of_a_file_become_features(tmp_path, ending):
    frame = TABLE.with_columns(
        day=pl.Series([date(2020, 1, 1), date(2020, 1, 2), None, date(2020, 1, 5)]),
        at=pl.Series([datetime(2020, 1, n, 12) for n in (1, 2, 3, 4)]),
        well=pl.Series([True, False, True, True]),
    )
    dataset = data.load(written(tmp_path, frame, ending), data.DataOptions("ill", drop=("at",)))
    assert (dataset.task, dataset.n_out, dataset.name) == ("binary", 1, f"table{ending}")
    np.testing.assert_array_equal(dataset.y, [0, 1, 0, 1])
    plain = np.array(  # the median of days 0, 1 and 4, and the most frequent town
        [[20, 0, 1, 1, 0], [30, 1, 0, 0, 1], [40, 1, 1, 1, 0], [60, 4, 1, 1, 0]], float
    )
    np.testing.assert_allclose(dataset.x, (plain - plain.mean(0)) / plain.std(0), atol=1e-12)
    assert table(written(tmp_path, frame, ending)).frame["at"][0] % 1 == 0.5  # days


@pytest.mark.parametrize(
    ("labels", "task", "classes", "expected"),
    [
        (["no", "yes", "no", "yes"], "binary", ("no", "yes"), [0, 1, 0, 1]),
        ([True, False, True, True], "binary", ("false", "true"), [1, 0, 1, 1]),
        ([-1, 1, 1, -1], "binary", ("-1", "1"), [0, 1, 1, 0]),
        ([0.0, 7.0, 7.0, 0.0], "binary", ("0", "7"), [0, 1, 1, 0]),
        (["c", "a", "b", "a"], "multiclass", ("a", "b", "c"), [2, 0, 1, 0]),
        ([2, 3, 1, 1], "multiclass", ("1", "2", "3"), [1, 2, 0, 0]),
        ([-1, 0, 1, 0], "multiclass", ("-1", "0", "1"), [0, 1, 2, 1]),
        ([2.5, 0.5, 1.5, -0.5], "regression", (), [2.5, 0.5, 1.5, -0.5]),
        ([1, 2, 3, 4], "regression", (), [1, 2, 3, 4]),  # all different
    ],
)
def test_the_task_is_read_off_the_target(tmp_path, labels, task, classes, expected):
    made = table(written(tmp_path, TABLE.with_columns(pl.Series("ill", labels)), ".parquet"))
    assert (made.task, made.classes) == (task, classes)
    np.testing.assert_array_equal(made.y, expected)


def test_entries_of_any_size_are_standardised():
    columns = np.outer([1.0, 2.0, 3.0, 4.0], [1e-200, 1e200, 0.0])
    standard = (np.arange(4) - 1.5) / np.sqrt(1.25)
    expected = np.column_stack([standard, standard, np.zeros(4)])
    np.testing.assert_allclose(bundled.standardised(columns), expected, rtol=1e-12)
    frame = pl.DataFrame(columns[:, 1:], ["huge", "zero"])
    made = data.pipeline(frame).fit_transform(frame)
    np.testing.assert_allclose(made, expected[:, 1:], rtol=1e-12)


@pytest.mark.parametrize("names", [("age",), ("town",), ("age", "town")])
def test_a_column_without_values_in_the_training_rows_is_a_feature(names):
    frame = TABLE.select(names)
    made = data.pipeline(frame).fit(frame.clear(2))
    assert np.isfinite(made.transform(frame)).all()


@pytest.mark.parametrize(
    ("text", "more", "sentence"),
    [
        ("a,ill\n1,p\n1,2,q\n", {}, "polars cannot read table.csv: \"found more fields"),
        ("a,ill\n1,é\n".encode("latin1"), {}, "polars cannot read table.csv: "),
        ("", {}, "polars cannot read table.csv: 'empty CSV'"),
        ("a,ill\n", {}, "expected rows and columns in table.csv, got none"),
        ("a;ill\n1;p\n2;q\n", {}, "target: there is no column 'ill'; table.csv holds a;ill"),
        ("a,ill\n1,p\n2,q\n", {"target": None}, "target: expected --target COLUMN; table.csv"),
        ("a,ill\n1,p\n2,q\n", {"drop": ("b",)}, "drop: expected some of a, got 'b'"),
        ("a,ill\n1,p\n2,q\n", {"drop": ("a",)}, "table.csv holds no column besides the target"),
        ("a,ill\n,p\n,q\n", {}, "column 'a' has no values; leave it out with --drop 'a'"),
        ("a,ill\n1,p\ninf,q\n", {}, "column 'a' holds an infinite number in line 3; write a"),
        ("a,ill\n1,1.5\n2,inf\n", {}, "column 'ill' holds an infinite number in line 3"),
        ("a,ill\n1,p\n2,\n3,q\n", {}, "column 'ill' has no value in line 3, 1 row in all; write"),
        ("a,ill\n1,2.5\n2,nan\n3,1\n", {}, "column 'ill' has no value in line 3, 1 row in all"),
        ("a,ill\n" + "".join(f"{n},{n % 2}\n" for n in range(30)) + "?,1\n", {},
            "column 'a' holds numbers, but '?' in line 32; write a number or nothing there, or"),
        ("a,ill\n1,p\n2,p\n", {}, "target: column 'ill' holds 'p' alone; nothing to learn"),
        ("a,ill\n1,\n2,\n", {}, "target: 'ill' has no values; name another --target"),
        ("a,ill\n1,p\n2,q\n", {"task": "regression"}, "task: expected numbers in column 'ill'"),
        ("a,ill\n1,1\n2,2\n3,3\n", {"task": "binary"}, "expected two different values in column"),
    ],
)  # fmt: skip
def test_what_a_file_breaks_is_one_sentence(tmp_path, text, more, sentence):
    path = tmp_path / "table.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=r"^(data|target|task|drop): ") as caught:
        table(str(path), **({"target": "ill"} | more))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", data.FILES)
def test_each_cell_that_is_filled_in_is_counted(tmp_path, ending):
    frame = TABLE.with_columns(
        age=pl.Series([math.nan, None, 3.0, 4.0]),
        one=7,
        size=pl.Series(["1", "2", "3+", "2"]),
        whole=pl.Series([1, 2, 3, 4]),
    )
    name = f"table{ending}"
    assert table(written(tmp_path, frame, ending)).notes == (
        f"{name}: column 'age': 2 missing numbers filled in by the median",
        f"{name}: column 'town': 1 missing text filled in by the most frequent one",
        f"{name}: column 'one': 7 alone, so nothing is learnt from it",
        f"{name}: column 'size': '3+' is no number, so all are taken as texts",
    )
    infinite = written(
        tmp_path, frame.with_columns(age=pl.Series([1.0, 2.0, -math.inf, 4.0])), ending
    )
    at = "line 4" if ending == ".csv" else "row 3"
    with pytest.raises(ValueError, match=f"column 'age' holds an infinite number in {at};"):
        table(infinite)
    assert data.table("digits").notes == ()  # some of its pixels are always white


def test_missing_files_unknown_sets_and_columns_of_lists(tmp_path):
    for name, sentence in (
        ("nowhere.csv", "data: there is no file nowhere.csv"),
        ("table.xlsx", "data: there is no 'table.xlsx'; choose one of breast_cancer, digits"),
        ("iris", "target: iris brings its own; give --target with a file only"),
    ):
        with pytest.raises(ValueError, match=sentence):
            table(name)
    lists = TABLE.with_columns(age=pl.Series([[1], [2], [3], [4]]))
    with pytest.raises(ValueError, match=r"in column 'age', got List\(Int64\); leave it out"):
        table(written(tmp_path, lists, ".parquet"))
    path = tmp_path / "bad.parquet"
    path.write_text("nothing")
    with pytest.raises(ValueError, match=r"polars cannot read bad.parquet: "):
        table(str(path))
    semicolons = tmp_path / "semi.csv"
    TABLE.write_csv(semicolons, separator=";")
    assert table(str(semicolons), separator=";").frame.shape == (4, 2)


def test_two_files_of_one_name_are_refused_and_other_content_is_another_table(tmp_path):
    paths = []
    for name, frame in (("one", TABLE), ("other", TABLE.with_columns(age=pl.col("age") + 1))):
        (tmp_path / name).mkdir()
        paths.append(written(tmp_path / name, frame))
    options = data.DataOptions(target="ill")
    one, other = (data.table(path, options).checksum for path in paths)
    assert one != other
    with pytest.raises(ValueError, match=r"two files are called 'table.csv'"):
        data.by_name(data.table, paths, options)


@pytest.mark.parametrize("name", ["depth", "cures", "train"])
def test_a_run_names_its_file_without_the_folder(tmp_path, name):
    """And takes every option of a table; the content tells files of one name apart."""
    frame = pl.DataFrame({"x": np.arange(60.0), "s": ["a", "b", None] * 20, "y": ["p", "q"] * 30})
    path = written(tmp_path, frame)
    experiment = find(name)
    several = isinstance(experiment.settings().data, tuple)
    options = {"target": "y", "drop": ("x",), "task": "binary"}

    def identity():
        chosen = experiment.settings(data=(path,) if several else path, **options)
        return experiment.identity(experiment.prepare(chosen))

    before = identity()
    assert before["data_notes"] == {
        "table.csv": ("table.csv: column 's': 20 missing texts filled in by the most frequent one",)
    }
    assert str(tmp_path) not in str(before)
    assert before["settings"]["data"] == (("table.csv",) if several else "table.csv")
    written(tmp_path, frame.with_columns(y=pl.Series(["q", "p"] * 30)))
    assert identity()["data_sha256"] != before["data_sha256"]


# Models and predictions

FRAME = pl.DataFrame(
    {"x": [0.5, -1.0, 2.0, 0.0], "town": ["a", "b", "a", "c"], "more": [1, 2, 3, 4]}
)
NAMES = {"regression": [], "binary": ["=1+1", "no"], "multiclass": ["a", "b", "c"]}


def made(task="binary", seed=0):
    columns = FRAME.select("x", "town")
    pipeline = data.pipeline(columns).fit(columns)
    rng = np.random.default_rng(seed)
    sizes = [4, 5, max(len(NAMES[task]), 1) if task == "multiclass" else 1]
    params = [
        (rng.normal(size=shape).astype("float32"), rng.normal(size=shape[1]).astype("float32"))
        for shape in itertools.pairwise(sizes)
    ]
    scale = {"mean": 10.0, "spread": 2.0} if task == "regression" else {}
    return model.TrainedModel(sizes, "tanh", task, params, pipeline, "y", NAMES[task], **scale)


def saved(known, folder):
    folder.mkdir(exist_ok=True)
    for name, content in known.files().items():
        (folder / name).write_bytes(content)
    return folder


def asked(folder, known, rows, *more, code=0):
    """Return the answers of `predict` for rows."""
    path, out = folder / "rows.csv", folder / "answers.csv"
    rows.write_csv(path)
    assert main(["predict", str(saved(known, folder)), str(path), "--out", str(out), *more]) == code
    return pl.read_csv(out) if code == 0 else None


def by_numpy(known, frame):
    (theta, b), (last, c) = known.params
    z = np.tanh(known.pipeline.transform(frame) @ theta + b) @ last + c
    if known.task == "regression":
        return 10 + 2 * z
    return 1 / (1 + np.exp(-z)) if known.task == "binary" else np.exp(z) / np.exp(z).sum(1)[:, None]


@mostly_slow("task", ["binary", "regression", "multiclass"], "binary")
def test_a_model_that_is_read_predicts_as_the_one_that_was_saved(task, tmp_path):
    known = made(task)
    read = model.read(saved(known, tmp_path / "run"))
    frame = read.frame(FRAME)
    np.testing.assert_allclose(read.predict(frame), by_numpy(known, frame), rtol=1e-5)
    assert (read.target, read.classes, read.columns) == ("y", NAMES[task], ["x", "town"])
    theta = safetensors.numpy.load_file(tmp_path / "run" / model.TORCH)["0.weight"]
    np.testing.assert_array_equal(theta.T, known.params[0][0])
    assert set(safetensors.numpy.load_file(tmp_path / "run" / model.FLAX)) == {
        *("Dense_0.kernel", "Dense_0.bias", "Dense_1.kernel", "Dense_1.bias")
    }


def test_rows_are_predicted_some_at_a_time(monkeypatch):
    known, many = made(), pl.concat([FRAME] * 3)
    whole = known.predict(known.frame(many))
    monkeypatch.setattr(model, "CHUNK", 5)
    np.testing.assert_allclose(known.predict(known.frame(many)), whole, rtol=1e-6)


def test_columns_are_taken_by_name_and_answers_have_the_target_s_units(tmp_path, capsys):
    known = made("regression")
    y = by_numpy(known, known.frame(FRAME))[:, 0]
    rows = FRAME.select("town", "more", "x").with_columns(y=pl.Series(y + np.eye(4)[3]))
    answers = asked(tmp_path, known, rows)
    np.testing.assert_allclose(answers["prediction"], y, rtol=1e-5)
    assert answers.columns == ["prediction"]
    said = capsys.readouterr().out
    assert f"R² {metrics.r2_score(rows['y'], y):.4g} of 4 rows" in said
    assert "4 predictions in" in said


def test_classes_probabilities_and_texts_that_are_new(tmp_path, capsys):
    known = made()
    rows = FRAME.with_columns(town=pl.Series(["a", "zz", None, "c"]), y=pl.lit("no"))
    answers = asked(tmp_path, known, rows)
    p = by_numpy(known, known.frame(rows))[:, 0]
    assert answers.columns == ["prediction", "probability_=1+1", "probability_no"]
    # A quote goes before what a spreadsheet would run.
    assert answers["prediction"].to_list() == ["no" if v > 0.5 else "'=1+1" for v in p]
    np.testing.assert_allclose(answers["probability_no"], p, rtol=1e-5)
    out, err = capsys.readouterr()
    assert f"accuracy {np.mean(p > 0.5):.4g} of 4 rows" in out
    assert "column 'town': 1 missing value filled in by the most frequent one of training" in err
    assert "warning: column 'town': 1 row with texts such as 'zz', which no row of" in err


@pytest.mark.parametrize(
    ("change", "more", "sentence"),
    [
        (lambda t: t.drop("x"), (), "file: expected the columns x, town, got no x"),
        (lambda t: t.with_columns(x=pl.lit("a")), (), "expected numbers in column 'x', as in tra"),
        (lambda t: t.with_columns(town=pl.lit(1)), (), "expected texts in column 'town', as in"),
        (lambda t: t.clear(), (), "expected rows and columns in rows.csv, got none"),
        (lambda t: t, ("--out", "answers.xlsx"), "out: expected a file that ends in .csv or .parq"),
    ],
)
def test_a_user_s_mistake_is_one_sentence(change, more, sentence, tmp_path, capsys):
    asked(tmp_path, made(), change(FRAME), *more, code=2)
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert sentence in error
    assert error.count("\n") == 1


def test_files_that_are_not_there_or_are_there_already(tmp_path, capsys, monkeypatch):
    asked(tmp_path, made(), FRAME)
    asked(tmp_path, made(seed=5), FRAME, code=2)
    assert "answers.csv exists; choose another file with --out" in capsys.readouterr().err
    asked(tmp_path, made(seed=5), FRAME, "--overwrite")
    rows = tmp_path / "rows.csv"
    for arguments, sentence in (
        ([], "predict: expected two files, MODEL and FILE"),
        ([tmp_path, tmp_path / "none.csv"], "file: there is no file"),
        ([tmp_path / "none", rows], "model: there is no file"),
        ([tmp_path, rows, "--out", rows, "--overwrite"], "is the file of the rows; choose another"),
        ([tmp_path, rows, "--out", tmp_path / "no" / "a.csv"], "out: expected a file in a folder"),
        ([tmp_path, rows, "--out", ""], "out: expected a file, got an empty name"),
    ):
        assert main(["predict", *map(str, arguments)]) == 2
        assert sentence in capsys.readouterr().err

    def full(handle):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", full)
    asked(tmp_path, made(), FRAME, "--overwrite", code=1)
    assert "error: out: cannot write" in capsys.readouterr().err


class Other:
    """A type that skops does not trust."""


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda v: v | {"pipeline": Other()}, "Untrusted types found in the file"),
        (lambda v: v | {"sizes": [4, 6, 1]}, "cannot use"),
        (lambda v: v | {"activation": "sinus"}, "there is no 'sinus'"),
        (lambda v: v | {"classes": ["one"]}, "expected columns and 2 classes, got 1"),
        (lambda v: {"sizes": 3}, "missing 6 required positional arguments"),
        (lambda v: [v], "cannot use"),
    ],
)
def test_what_is_wrong_with_a_model_is_one_sentence(change, sentence, tmp_path):
    import skops.io  # here, for it imports all of scikit-learn, and torch if that is there

    folder, known = saved(made(), tmp_path / "run"), made()
    skops.io.dump(change(dict(vars(known))), folder / model.SKOPS)
    with pytest.raises(
        ValueError, match=r"^model: cannot use .*; expected a model.skops"
    ) as caught:
        model.read(folder)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_that_was_cut_short_is_a_sentence(tmp_path):
    (tmp_path / model.SKOPS).write_bytes(made().files()[model.SKOPS][:-20])
    with pytest.raises(ValueError, match="model: cannot use"):
        model.read(tmp_path)
