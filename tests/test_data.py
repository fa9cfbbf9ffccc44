"""Bundled sets and users' files: which columns and rows are taken, and for which task."""

import gzip
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn import datasets

from experiments import find
from experiments.learning import bundled, data, encoding, formats

TABLE = pl.DataFrame({"age": [30, 41, 52, 63], "height": [1.5, 1.6, 1.7, 1.9], "ill": [0, 1, 0, 1]})


def load(path, target=None, task=None, **more):
    return data.load(path, data.Options(target=target, task=task, **more))


def table(path, target="ill", **more):
    return data.table(path, data.Options(target=target, **more))


def written(folder, table, ending=".csv"):
    path = folder / f"table{ending}"
    if ending in formats.TEXTS:
        table.write_csv(path, separator="," if ending == ".csv" else "\t")
    elif ending in formats.PACKED:
        plain = written(folder, table, ending.removesuffix(".gz"))
        path.write_bytes(gzip.compress(Path(plain).read_bytes()))
    elif ending == ".parquet":
        table.write_parquet(path)
    else:
        np.savez(path, **{column.name: column.to_numpy() for column in table})
    return str(path)


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
def test_bundled_sets_are_standardised(name, shape, task, n_out):
    dataset = data.load(name)
    assert (dataset.x.shape, dataset.task, dataset.n_out) == (shape, task, n_out)
    np.testing.assert_allclose(dataset.x.mean(axis=0), 0, atol=1e-12)
    spread = dataset.x.std(axis=0)
    constant = spread == 0
    np.testing.assert_allclose(spread[~constant], 1, rtol=1e-12)
    assert constant.sum() == (3 if name == "digits" else 0)  # three pixels are always white
    if task == "regression":
        np.testing.assert_allclose([dataset.y.mean(), dataset.y.std()], [0, 1], atol=1e-12)
    else:
        assert set(dataset.y) == set(range(max(n_out, 2)))


@pytest.mark.parametrize("name", data.BUNDLED)
def test_bundled_sets_are_scikit_learn_s(name):
    bunch = getattr(datasets, f"load_{name}")()
    read = bundled.load(name)
    assert read.features == tuple(map(str, bunch.feature_names))
    assert read.classes == tuple(map(str, bunch.get("target_names", ())))
    np.testing.assert_allclose(read.x, bunch.data, rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(read.y, bunch.target)
    assert read.y.dtype == bunch.target.dtype


@pytest.mark.parametrize("ending", formats.ENDINGS)
def test_a_file_in_every_format(tmp_path, ending):
    dataset = load(written(tmp_path, TABLE, ending), "ill")
    assert (dataset.task, dataset.n_out, dataset.name) == ("binary", 1, f"table{ending}")
    np.testing.assert_array_equal(dataset.y, [0, 1, 0, 1])
    age = TABLE["age"].to_numpy()
    np.testing.assert_allclose(dataset.x[:, 0], (age - age.mean()) / age.std(), rtol=1e-12)


@pytest.mark.parametrize(
    ("labels", "task", "classes", "expected"),
    [
        (["no", "yes", "no", "yes"], "binary", ("no", "yes"), [0, 1, 0, 1]),
        ([True, False, True, True], "binary", ("false", "true"), [1, 0, 1, 1]),
        ([-1, 1, 1, -1], "binary", ("-1", "1"), [0, 1, 1, 0]),
        ([1, 2, 1, 2], "binary", ("1", "2"), [0, 1, 0, 1]),
        ([0.0, 7.0, 7.0, 0.0], "binary", ("0", "7"), [0, 1, 1, 0]),
        (["c", "a", "b", "a"], "multiclass", ("a", "b", "c"), [2, 0, 1, 0]),
        ([2, 0, 1, 0], "multiclass", ("0", "1", "2"), [2, 0, 1, 0]),
        ([2, 3, 1, 1], "multiclass", ("1", "2", "3"), [1, 2, 0, 0]),
        ([-1, 0, 1, 0], "multiclass", ("-1", "0", "1"), [0, 1, 2, 1]),
        ([2.5, 0.5, 1.5, -0.5], "regression", (), [2.5, 0.5, 1.5, -0.5]),
        ([0.5, 0.1, 0.5, 0.1], "regression", (), [0.5, 0.1, 0.5, 0.1]),
        ([10, 40, 20, 30], "regression", (), [10, 40, 20, 30]),
        ([1, 2, 3, 4], "regression", (), [1, 2, 3, 4]),  # all different
    ],
)
def test_the_task_is_read_off_the_target_and_said(
    tmp_path, labels, task, classes, expected, caplog
):
    caplog.set_level("INFO", "jaxnn.experiments")
    made = table(written(tmp_path, TABLE.with_columns(pl.Series("ill", labels)), ".parquet"))
    assert (made.task, made.classes) == (task, classes)
    np.testing.assert_array_equal(made.y, expected)
    data.say([made])
    what = f"one of {len(classes)} classes, {', '.join(classes)}" if classes else "a number"
    assert f"table.parquet (4 × 2, {task}): 'ill' is {what}" in caplog.text


def test_a_named_task_wins(tmp_path):
    path = written(tmp_path, TABLE)
    assert load(path, "ill", "regression").task == "regression"
    classes = load(path, "age", "multiclass")
    assert classes.n_out == 4
    np.testing.assert_array_equal(classes.y, [0, 1, 2, 3])
    assert table(path, "height", task="regression", features=("age",)).frame.columns == ["age"]


def test_entries_of_any_size_are_standardised(tmp_path):
    column = pl.Series("age", [1e-200, 2e-200, 3e-200, 4e-200])
    huge = pl.Series("height", [1e200, 2e200, 3e200, 4e200])
    dataset = load(written(tmp_path, TABLE.with_columns(column, huge)), "ill")
    np.testing.assert_allclose(dataset.x.std(axis=0), 1, rtol=1e-12)


def words(count, each=1):
    return [f"w{i:03}" for i in range(count) for _ in range(each)]


@pytest.mark.parametrize(
    ("labels", "task", "sentence"),
    [
        ([0.5, 1, 2, 3], "multiclass", "integers or texts in column 'ill' .*got 0.5, 1, 2, 3"),
        (["a", "b", "c", "a"], "regression", "expected numbers .*got a, b, c"),
        (["a", "b", "c", "a"], "binary", "expected two different values .*got a, b, c"),
        ([0, 1, 2, 2], "binary", "expected two different values .*got 0, 1, 2"),
        ([1, 1, 1, 1], None, "'ill' holds one value, '1', in all of 4 rows; there is nothing"),
        (["a"] * 4, "multiclass", "'ill' holds one value, 'a', in all of 4 rows"),
        ([2.5] * 4, "regression", "'ill' holds one value, '2.5', in all of 4 rows"),
        (
            words(300),
            None,
            "300 different texts such as 'w000' in 300 rows of column 'ill': not classes",
        ),
        (
            words(300),
            "multiclass",
            "300 different texts such as 'w000' in 300 rows of column 'ill': not classes",
        ),
        (
            list(range(300)),
            "multiclass",
            "300 different numbers such as '0' in 300 rows .*not classes",
        ),
        (
            words(60, 5),
            None,
            "60 different texts such as 'w000' in 300 rows .*or say --task multiclass",
        ),
        ([date(2020, 1, 1 + i) for i in range(4)], None, "expected numbers or classes, got Date"),
        ([0, 1, 1, 0], "ranking", "task: there is no 'ranking'; choose one of regression"),
    ],
)
def test_what_is_no_target_for_a_task(tmp_path, labels, task, sentence):
    frame = pl.DataFrame({"age": np.arange(len(labels)), "ill": labels})
    with pytest.raises(ValueError, match=sentence):
        table(written(tmp_path, frame, ".parquet"), task=task)


def test_many_classes_are_classes_if_the_user_says_so(tmp_path):
    frame = pl.DataFrame({"age": np.arange(300), "ill": words(60, 5)})
    made = table(written(tmp_path, frame, ".parquet"), task="multiclass")
    assert (made.task, len(made.classes)) == ("multiclass", 60)


@pytest.mark.parametrize(
    ("change", "more", "sentence"),
    [
        ({"age": [30, np.inf, 20, 40.0]}, {}, "'age' holds 1 infinite number in 4 rows"),
        (
            {"age": [30, None, np.nan, 40.0], "ill": ["a", None, "b", "a"]},
            {},
            "of 4 rows 2 have no 'age', 1 has no 'ill'; say --missing drop, mean or median, or",
        ),
        ({"age": [[1], [2], [3], [4]], "height": None}, {}, "no column besides the target 'ill'"),
        ({"age": [timedelta(1)] * 4}, {}, "expected numbers in column 'age', got Duration"),
        ({"age": ["3", "old", "4", "5"]}, {}, "1 text such as 'old' among 3 numbers; mend them"),
        ({}, {"target": "sick"}, "there is no column 'sick'; .*holds age, height, ill"),
        (
            {"age": ["x" * 201, "a", "b", "c"]},
            {},
            "'age' holds a text of 201 characters; expected",
        ),
        (
            {"ill": ["x" * 201, "a", "b", "c"]},
            {},
            "'ill' holds a text of 201 characters; expected",
        ),
        ({}, {"target": None}, "expected --target COLUMN; .*holds age, height, ill"),
        ({}, {"drop": ("sex",)}, "drop: there is no column 'sex'; .*holds .*age, height, ill"),
        ({}, {"features": ("sex",)}, "features: there is no column 'sex'; .*holds .*age"),
        ({}, {"features": ("ill",)}, "features: expected other columns than the target 'ill'"),
        ({}, {"drop": ("age", "height")}, "holds no column besides the target 'ill'"),
        ({}, {"missing": "zero"}, "missing: expected drop, mean, median, got 'zero'"),
        ({}, {"encode": "hash"}, "encode: expected onehot, got 'hash'"),
        (
            {"age": [None, 1, None, 2], "height": [1.5, None, 1.6, None]},
            {"missing": "drop"},
            "no row is without missing values; say --missing mean or median",
        ),
    ],
)
def test_what_is_wrong_with_columns_is_named(tmp_path, change, more, sentence):
    frame = TABLE.with_columns(
        *(pl.Series(n, v, strict=False) if v else pl.lit(None).alias(n) for n, v in change.items())
    )
    with pytest.raises(ValueError, match=sentence) as error:
        table(written(tmp_path, frame, ".parquet"), **more)
    assert "\n" not in str(error.value)


def test_texts_of_many_values_are_features_only_if_the_user_says_so(tmp_path):
    frame = pl.DataFrame(
        {"name": words(30), "shop": words(30), "kind": ["a", "b", "c"] * 10, "ill": [0, 1] * 15}
    )
    path = written(tmp_path, frame)
    sentence = r"'name' holds 30 .* such as 'w000' in 30 rows \(so do 1 more\): an identifier\?"
    with pytest.raises(ValueError, match=f"{sentence} leave it out with --drop name shop"):
        table(path)
    assert load(path, "ill", drop=("name", "shop")).x.shape == (30, 3)
    assert load(path, "ill", encode="onehot", drop=("shop",)).x.shape == (30, 33)
    assert load(path, "ill", features=("kind",)).x.shape == (30, 3)


def test_missing_values_are_left_out_or_filled(tmp_path):
    frame = pl.DataFrame(
        {
            "age": [1.0, None, 3.0, 8.0, 4.0],
            "sex": ["m", "f", "f", None, "f"],
            "nothing": [None] * 5,
            "ill": [0, 1, 1, 0, None],
        }
    )
    path = written(tmp_path, frame)
    made = table(path, missing="drop")
    np.testing.assert_array_equal(made.rows, [0, 2])
    assert made.frame.columns == ["age", "sex"]
    assert "columns without any value, left out: nothing" in made.notes
    assert "left out: 3 of 5 rows, without a value" in made.notes
    for missing, age in (("mean", 4.0), ("median", 3.0)):
        made = table(path, missing=missing)
        np.testing.assert_array_equal(made.rows, [0, 1, 2, 3])
        assert "left out: 1 of 5 rows, without a label" in made.notes
        x = encoding.Encoder.fitted(made.frame, made.missing).encoded(made.frame)
        np.testing.assert_array_equal(x[:, 0], [1, age, 3, 8])
        np.testing.assert_array_equal(x[:, 1:], [[0, 1], [1, 0], [1, 0], [1, 0]])


def test_columns_from_which_little_is_learnt_are_pointed_out(tmp_path, caplog):
    frame = TABLE.with_columns(site=pl.lit("x"), key=2**53 + pl.Series([1, 2, 3, 4]))
    made = table(written(tmp_path, frame))
    assert made.notes == (
        "columns with one value in all rows, which tell nothing: site",
        "columns of integers beyond 2^53, which are rounded; identifiers? leave them out with "
        "--drop: key",
    )
    data.say([made])
    assert "table.csv: columns with one value in all rows" in caplog.text


def test_integers_taken_for_numbers_are_pointed_out(tmp_path):
    frame = pl.DataFrame({"x": np.arange(12), "y": [10, 20, 30] * 4})
    made = table(written(tmp_path, frame), "y")
    assert made.task == "regression"
    assert made.notes == (
        "the few integers in 'y' are taken for numbers; if they are classes, say --task multiclass",
    )


def test_two_files_of_one_name_are_refused_and_other_content_is_another_table(tmp_path):
    made = []
    for folder, add in (("a", 0), ("b", 1)):
        (tmp_path / folder).mkdir()
        made.append(written(tmp_path / folder, TABLE.with_columns(pl.col("age") + add)))
    options = data.Options(target="ill")
    sums = [data.by_name(data.table, [path], options)["table.csv"].checksum for path in made]
    assert sums[0] != sums[1]
    with pytest.raises(ValueError, match=r"two files are called 'table\.csv'; rename one"):
        data.by_name(data.table, made, options)


def test_a_header_that_was_a_comment_is_said(tmp_path):
    (tmp_path / "t.csv").write_text("#a;y\n1;2\n3;4\n")
    sentence = "no column 'y'; t.csv holds 1, 2; without a comment, a line beginning with #; col"
    with pytest.raises(ValueError, match=sentence):
        table(str(tmp_path / "t.csv"), "y")


def test_missing_files_and_unknown_sets(tmp_path):
    with pytest.raises(ValueError, match=r"there is no file nowhere\.csv"):
        load("nowhere.csv", "y")
    with pytest.raises(ValueError, match=r"no '.*xlsx'; choose one of breast_cancer, .* \.csv, "):
        load("table.xlsx", "y")
    with pytest.raises(
        ValueError, match="there is no 'mnist'; choose one of breast_cancer, digits"
    ):
        load("mnist")
    for more in ({"target": "target"}, {"separator": ";"}):
        with pytest.raises(ValueError, match="breast_cancer brings its own; give --"):
            load("breast_cancer", **more)
    assert load("iris", drop=("petal width (cm)",)).x.shape == (150, 3)


@pytest.mark.parametrize("name", ["depth", "trainability", "remedies", "train"])
def test_a_run_names_its_file_without_the_folder(tmp_path, name):
    """And takes every option of a table; the content tells files of one name apart."""
    frame = pl.DataFrame({"x": np.arange(60.0), "s": ["a", "b", None] * 20, "y": ["p", "q"] * 30})
    path = written(tmp_path, frame)
    experiment = find(name)
    several = isinstance(experiment.settings().data, tuple)
    options = {"target": "y", "missing": "mean", "drop": ("x",), "task": "binary"}

    def identity():
        chosen = experiment.settings(data=(path,) if several else path, **options)
        return experiment.identity(experiment.prepare(chosen))

    before = identity()
    assert str(tmp_path) not in str(before)
    assert before["settings"]["data"] == (("table.csv",) if several else "table.csv")
    assert list(before["data"]) == ["table.csv"]
    written(tmp_path, frame.with_columns(y=pl.Series(["q", "p"] * 30)))
    assert identity()["data_sha256"] != before["data_sha256"]
