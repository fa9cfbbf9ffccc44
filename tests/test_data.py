"""Bundled sets and users' files, good and bad."""

import numpy as np
import polars as pl
import pytest

from experiments.learning import data

TABLE = pl.DataFrame({"age": [30, 41, 52, 63], "height": [1.5, 1.6, 1.7, 1.9], "ill": [0, 1, 0, 1]})


def written(folder, table, ending=".csv"):
    path = folder / f"table{ending}"
    if ending == ".csv":
        table.write_csv(path)
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


@pytest.mark.parametrize("ending", data.ENDINGS)
def test_a_file_in_every_format(tmp_path, ending):
    dataset = data.load(written(tmp_path, TABLE, ending), target="ill")
    assert (dataset.task, dataset.n_out, dataset.name) == ("binary", 1, f"table{ending}")
    np.testing.assert_array_equal(dataset.y, [0, 1, 0, 1])
    age = TABLE["age"].to_numpy()
    np.testing.assert_allclose(dataset.x[:, 0], (age - age.mean()) / age.std(), rtol=1e-12)


def test_a_matrix_in_an_npz_file_is_a_column_per_entry(tmp_path):
    path = tmp_path / "matrix.npz"
    x = np.random.default_rng(0).normal(size=(20, 3))
    np.savez(path, X=x, y=x[:, 0])
    dataset = data.load(str(path), target="y")
    assert dataset.x.shape == (20, 3)
    assert dataset.task == "regression"


@pytest.mark.parametrize(
    ("labels", "task", "n_out", "expected"),
    [
        (["no", "yes", "no", "yes"], "binary", 1, [0, 1, 0, 1]),
        ([True, False, True, True], "binary", 1, [1, 0, 1, 1]),
        (["c", "a", "b", "a"], "multiclass", 3, [2, 0, 1, 0]),
        ([2, 0, 1, 0], "multiclass", 3, [2, 0, 1, 0]),
        ([2.5, 0.5, 1.5, -0.5], "regression", 1, None),
        ([10, 40, 20, 30], "regression", 1, None),
    ],
)
def test_the_task_is_read_off_the_target(tmp_path, labels, task, n_out, expected):
    path = written(tmp_path, TABLE.with_columns(pl.Series("ill", labels)))
    dataset = data.load(path, target="ill")
    assert (dataset.task, dataset.n_out) == (task, n_out)
    if expected is not None:
        np.testing.assert_array_equal(dataset.y, expected)


def test_a_named_task_wins(tmp_path):
    path = written(tmp_path, TABLE)
    assert data.load(path, "ill", "regression").task == "regression"
    classes = data.load(path, "age", "multiclass")
    assert classes.n_out == 4
    np.testing.assert_array_equal(classes.y, [0, 1, 2, 3])


def test_entries_of_any_size_are_standardised(tmp_path):
    column = pl.Series("age", [1e-200, 2e-200, 3e-200, 4e-200])
    huge = pl.Series("height", [1e200, 2e200, 3e200, 4e200])
    dataset = data.load(written(tmp_path, TABLE.with_columns(column, huge)), "ill")
    np.testing.assert_allclose(dataset.x.std(axis=0), 1, rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "target", "task", "sentence"),
    [
        ({"age": [30, None, np.nan, 40.0]}, "ill", None, "'age' holds 2 missing, nan or infinite"),
        ({"age": [30, np.inf, 20, 40.0]}, "ill", None, "'age' holds 1 missing, nan or infinite"),
        (
            {"age": ["30", "NA", "41", "?"]},
            "ill",
            None,
            "in column 'age', got String, 2 of 4 .*'NA'",
        ),
        ({"ill": [0.0, np.nan, 1, 0]}, "ill", None, "'ill' holds 1 missing, nan or infinite"),
        ({"ill": ["a", None, "b", "a"]}, "ill", None, "'ill' holds 1 missing labels"),
        (
            {"ill": [1, 2, 1, 2]},
            "ill",
            "binary",
            "labels 0 and 1, or two texts in column 'ill'.*1, 2",
        ),
        ({"ill": [0.5, 1, 2, 3]}, "ill", "multiclass", "classes, as integers .*got 0.5, 1, 2, 3"),
        ({"ill": ["a", "b", "c", "a"]}, "ill", "regression", "expected numbers .*got a, b, c"),
        ({"ill": ["a", "b", "c", "a"]}, "ill", "binary", "labels 0 and 1, or two texts .*a, b, c"),
        ({}, "sick", None, "there is no column 'sick'; .*holds age, height, ill"),
        ({}, None, None, "expected --target COLUMN; .*holds age, height, ill"),
        ({}, "ill", "ranking", "task: there is no 'ranking'; choose one of regression"),
    ],
)
def test_what_is_wrong_with_a_table_is_named(tmp_path, change, target, task, sentence):
    table = TABLE.with_columns(
        *(pl.Series(name, values, strict=False) for name, values in change.items())
    )
    with pytest.raises(ValueError, match=sentence):
        data.load(written(tmp_path, table, ".parquet"), target, task)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("empty.csv", b"", "cannot use .*empty.csv: it is empty"),
        ("header.csv", b"age,ill\n", "cannot use .*header.csv: it holds no rows"),
        ("broken.csv", b"a,b\n1,2\n3,4,5,6\n", "cannot use .*broken.csv: "),
        ("broken.parquet", b"no parquet", "cannot use .*broken.parquet: "),
        ("broken.npz", b"no npz", "cannot use .*broken.npz: "),
        ("table.xlsx", b"x", "there is no .*xlsx'; choose one of breast_cancer, .* .csv, .parquet"),
        ("alone.csv", b"ill\n1\n0\n", "alone.csv holds no column besides the target 'ill'"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=sentence):
        data.load(str(tmp_path / name), "ill")


def test_missing_files_and_unknown_sets():
    with pytest.raises(ValueError, match=r"there is no file nowhere\.csv"):
        data.load("nowhere.csv", "y")
    with pytest.raises(
        ValueError, match="there is no 'mnist'; choose one of breast_cancer, digits"
    ):
        data.load("mnist")
    with pytest.raises(ValueError, match="breast_cancer brings its own; give --target with a file"):
        data.load("breast_cancer", "target")


def test_an_npz_file_cannot_run_code(tmp_path):
    np.savez(tmp_path / "objects.npz", x=np.array([{}, {}], dtype=object), y=np.arange(2))
    with pytest.raises(
        ValueError, match=r"cannot use .*objects\.npz: Object arrays cannot be loaded"
    ):
        data.load(str(tmp_path / "objects.npz"), "y")


def test_arrays_of_an_npz_file_must_be_a_table(tmp_path):
    np.savez(tmp_path / "cube.npz", x=np.ones((2, 2, 2)), y=np.arange(2))
    with pytest.raises(ValueError, match=r"array 'x' has shape \(2, 2, 2\); expected \(rows,\)"):
        data.load(str(tmp_path / "cube.npz"), "y")
    np.savez(tmp_path / "ragged.npz", x=np.ones(3), y=np.arange(2))
    with pytest.raises(ValueError, match=r"different lengths: \{'x': 3, 'y': 2\}"):
        data.load(str(tmp_path / "ragged.npz"), "y")
