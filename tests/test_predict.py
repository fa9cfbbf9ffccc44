"""`predict`: columns by name, units, classes, formats, and what is refused."""

import errno
import os

import numpy as np
import polars as pl
import pytest
from sklearn import metrics
from test_model import made, write

import jaxnn
from experiments.__main__ import main
from experiments.learning import encoding, model
from experiments.runs.store import Store

pytestmark = pytest.mark.usefixtures("users_jax")


def asked(folder, known, table, *more, name="rows.csv", code=0):
    """Return the answers of `predict` for a table."""
    write(known, folder)
    path = folder / name
    if path.suffix == ".csv":
        table.write_csv(path)
    else:
        table.write_parquet(path)
    out = folder / "answers.csv"
    assert main(["predict", str(folder), str(path), "--out", str(out), *more]) == code
    return pl.read_csv(out) if code == 0 else None


def rows(count=9, seed=3):
    x = np.random.default_rng(seed).normal(size=(count, 3))
    return x, pl.DataFrame({f"x {i}": x[:, i] for i in range(3)})


def test_columns_are_taken_by_name_and_answers_have_the_target_s_units(tmp_path, capsys):
    known, (x, table) = made("regression", (3, 4, 1)), rows()
    y = model.predict(known, x)[:, 0]
    mixed = table.select("x 2", "x 0", "x 1").with_columns(y=pl.Series(y + 1), more=pl.lit("text"))
    answers = asked(tmp_path, known, mixed)
    np.testing.assert_allclose(answers["prediction"], y, rtol=1e-6)
    assert answers.columns == ["prediction"]
    said = capsys.readouterr().out
    assert f"R² {metrics.r2_score(y + 1, y):.4g} of 9 rows" in said
    assert "9 predictions in" in said


def test_classes_and_probabilities(tmp_path, capsys):
    known, (x, table) = made("binary", (3, 4, 1)), rows(40)
    p = model.predict(known, x)[:, 0]
    names = np.array(["no", "σ<b>"])
    truth = names[np.random.default_rng(4).integers(2, size=40)]
    answers = asked(tmp_path, known, table.with_columns(y=pl.Series(truth.tolist())))
    assert answers.columns == ["prediction", "probability_no", "probability_σ<b>"]
    assert answers["prediction"].to_list() == names[(p > 0.5).astype(int)].tolist()
    np.testing.assert_allclose(answers["probability_σ<b>"], p, rtol=1e-6)
    np.testing.assert_allclose(answers["probability_no"], 1 - p, rtol=1e-5)
    code = (truth == "σ<b>").astype(int)
    base = max(code.mean(), 1 - code.mean())
    said = capsys.readouterr().out
    assert (
        f"accuracy {np.mean((p > 0.5) == code):.4g} (base rate {base:.4g}), "
        f"AUC {metrics.roc_auc_score(code, p):.4g}" in said
    )


def test_integer_classes_are_integers_in_parquet(tmp_path):
    known = made("multiclass", (3, 4, 3))
    known = model.Model(**{**vars(known), "classes": ("7", "-2", "10")})
    x, table = rows(30)
    out = tmp_path / "answers.parquet"
    asked(tmp_path, known, table, name="rows.parquet")
    assert main(["predict", str(tmp_path), str(tmp_path / "rows.parquet"), "--out", str(out)]) == 0
    answers = pl.read_parquet(out)
    expected = np.array([7, -2, 10])[model.predict(known, x).argmax(axis=1)]
    assert answers["prediction"].dtype == pl.Int64
    np.testing.assert_array_equal(answers["prediction"], expected)
    assert (
        answers.select(pl.sum_horizontal(pl.col("^probability.*$")))[:, 0]
        .is_close(1, abs_tol=1e-6)
        .all()
    )


def test_rows_unlike_those_of_training_are_pointed_out(tmp_path, capsys):
    """Numbers far outside of the range, unknown texts, filled values, and rows not predicted."""
    columns = (
        encoding.Numbers("age", "number", 20.0, 60.0, None),
        encoding.Numbers("size", "number", 0.0, 1.0, 0.5),
        encoding.Texts("sex", ("f",), None),
    )
    known = model.Model(**{**vars(made("binary", (3, 4, 1))), "encoder": encoding.Encoder(columns)})
    table = pl.DataFrame(
        {
            "age": [-19.0, 101.0, 100.0, None],
            "size": [2.0, -1.0, None, 0.5],
            "sex": ["f", "f", "m", "f"],
        }
    )
    answers = asked(tmp_path, known, table)
    x = np.array([[-19.0, 2, 1], [101, -1, 1], [100, 0.5, 0]])
    p = model.predict(known, x)[:, 0]
    np.testing.assert_allclose(answers["probability_σ<b>"].to_list()[:3], p, rtol=1e-6)
    assert answers["prediction"].null_count() == answers["probability_no"].null_count() == 1
    said = capsys.readouterr()
    assert "3 predictions of 4 rows in" in said.out
    assert said.err.splitlines() == [
        "warning: column 'age': 1 of 4 rows lie far outside, such as 101; the model was trained "
        "on 20 to 60",
        "warning: column 'sex': 1 of 4 rows are unknown, such as 'm'; the model was trained on f",
        "warning: missing values are filled in as in training: 'size' 1",
        "warning: 1 of 4 rows is not predicted; missing values: 'age' 1; a model trained with "
        "--missing mean or median fills them in",
    ]


def test_a_column_of_texts_is_read_as_texts(tmp_path):
    columns = (*made().encoder.columns[:2], encoding.Texts("x 2", ("01", "b"), None))
    net = jaxnn.Network((4, 4, 1), "tanh", "binary")
    known = made("binary", (4, 4, 1))
    known = model.Model(**{**vars(known), "net": net, "encoder": encoding.Encoder(columns)})
    answers = asked(tmp_path, known, rows(2)[1].with_columns(pl.Series("x 2", ["01", "01"])))
    x = np.column_stack([rows(2)[0][:, :2], [1, 1], [0, 0]])
    np.testing.assert_allclose(
        answers["probability_σ<b>"], model.predict(known, x)[:, 0], rtol=1e-6
    )


def test_a_spreadsheet_runs_no_cell(tmp_path):
    names = ("=1+1", "+x", "-x", "@x", "\tx", "plain", "x=1")
    known = model.Model(**{**vars(made("multiclass", (3, 4, 7))), "classes": names})
    x, table = rows(300)
    x *= 9
    asked(tmp_path, known, pl.DataFrame(x, schema=table.columns))
    answers = pl.read_csv(tmp_path / "answers.csv", infer_schema=False)["prediction"]
    expected = np.array(names)[model.predict(known, x).argmax(axis=1)].tolist()
    assert {"=1+1", "+x", "-x", "@x", "\tx", "x=1"} & set(expected)
    safe = {"plain": "plain", "x=1": "x=1"}
    assert answers.to_list() == [safe.get(name, f"'{name}") for name in expected]


def test_the_file_of_the_rows_is_not_written_over(tmp_path, capsys):
    write(made(), tmp_path)
    path, link = tmp_path / "rows.csv", tmp_path / "link.csv"
    rows()[1].write_csv(path)
    link.hardlink_to(path)
    before = path.read_bytes()
    for out in (path, link, tmp_path / "." / "rows.csv"):
        assert main(["predict", str(tmp_path), str(path), "--out", str(out), "--overwrite"]) == 2
        assert "is the file of the rows; choose another one with --out" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_accuracy_stands_beside_what_is_easy(tmp_path, capsys):
    known, (x, table) = made("binary", (3, 4, 1)), rows(40)
    truth = np.array(["no"] * 36 + ["σ<b>"] * 4)
    asked(tmp_path, known, table.with_columns(y=pl.Series(truth.tolist())))
    decided = np.where(model.predict(known, x)[:, 0] > 0.5, "σ<b>", "no")
    balanced = metrics.balanced_accuracy_score(truth, decided)
    assert f"(base rate 0.9, balanced accuracy {balanced:.4g})" in capsys.readouterr().out


def test_a_target_that_cannot_be_compared_is_no_reason_to_stop(tmp_path, capsys):
    known, (_, table) = made("binary", (3, 4, 1)), rows(3)
    asked(tmp_path, known, table.with_columns(y=pl.Series(["no", "maybe", None])))
    assert "no metric: data: column 'y' holds 1 missing label" in capsys.readouterr().out
    asked(tmp_path, known, table.with_columns(y=pl.Series(["no", "maybe", "no"])), "--overwrite")
    said = capsys.readouterr().out
    assert "no metric: target: expected no, σ<b> in column 'y', got 'maybe' (1 of 3" in said


@pytest.mark.parametrize(
    ("change", "more", "sentence"),
    [
        (lambda t: t.drop("x 1"), (), "is without x 1, of the 3 columns that the model takes"),
        (
            lambda t: t.with_columns(pl.lit("a").alias("x 1")),
            (),
            "expected numbers in column 'x 1'",
        ),
        (
            lambda t: t.with_columns(pl.lit(None, pl.Float64).alias("x 1")),
            (),
            "lacks a value; missing values: 'x 1' 9; a model trained with --missing mean or median",
        ),
        (lambda t: t.clear(), (), "it holds no rows"),
        (lambda t: t, ("--out", "answers.xlsx"), "out: expected a file that ends in .csv or .parq"),
    ],
)
def test_a_user_s_mistake_is_one_sentence(change, more, sentence, tmp_path, capsys):
    asked(tmp_path, made(), change(rows()[1]), *more, name="rows.parquet", code=2)
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert sentence in error
    assert error.count("\n") == 1


def test_files_that_are_not_there_or_are_there_already(tmp_path, capsys):
    asked(tmp_path, made(), rows()[1])
    before = (tmp_path / "answers.csv").read_bytes()
    asked(tmp_path, made(seed=5), rows()[1], code=2)
    assert "answers.csv exists; choose another file with --out" in capsys.readouterr().err
    assert (tmp_path / "answers.csv").read_bytes() == before
    asked(tmp_path, made(seed=5), rows()[1], "--overwrite")
    assert (tmp_path / "answers.csv").read_bytes() != before
    out = ["--out", str(tmp_path / "other.csv")]
    for arguments, sentence in (
        ([], "predict: expected two files, MODEL and FILE"),
        ([str(tmp_path), str(tmp_path / "none.csv")], "there is no file"),
        ([str(tmp_path), str(tmp_path / "rows.xlsx")], "file: there is no '"),
        ([str(tmp_path / "none"), str(tmp_path / "rows.csv")], "model: there is no file"),
    ):
        assert main(["predict", *arguments, *out]) == 2
        assert sentence in capsys.readouterr().err
    (tmp_path / "folder.csv").mkdir()
    for name, sentence in (
        ("nowhere/a.csv", "out: there is no folder"),
        ("folder.csv", "out: expected a file, got the folder"),
        (f"{'n' * 300}.csv", "File name too long"),
        ("", "out: expected a file, got an empty name"),
    ):
        path = str(tmp_path / name) if name else ""
        arguments = [str(tmp_path), str(tmp_path / "rows.csv"), "--out", path]
        assert main(["predict", *arguments, "--overwrite"]) == 2
        error = capsys.readouterr().err
        assert sentence in error
        assert error.startswith("error: out: ")
    arguments = [str(tmp_path), str(tmp_path / "folder.csv"), *out]
    assert main(["predict", *arguments]) == 2
    assert "file: expected a file, got the folder" in capsys.readouterr().err


def test_a_failing_disk_is_one_sentence(tmp_path, capsys, monkeypatch):
    known, (_, table) = made(), rows()
    asked(tmp_path, known, table)

    def full(handle):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", full)
    out = tmp_path / "more.csv"
    assert main(["predict", str(tmp_path), str(tmp_path / "rows.csv"), "--out", str(out)]) == 1
    assert capsys.readouterr().err == f"error: out: cannot write {out}: Input/output error\n"


def test_a_flipped_byte_of_a_run_s_model_is_a_sentence(tmp_path, capsys):
    run = Store(tmp_path / "run", {}, (model.TORCH,), overwrite=False)
    known, (_, table) = made("regression", (3, 4, 1)), rows()
    content = bytearray(model.packed(known, "torch"))
    run.write(model.TORCH, bytes(content))
    run.write_run({"finished": True})
    run.close()
    content[-1] ^= 1
    path = tmp_path / "run" / model.TORCH
    path.write_bytes(content)
    table.write_csv(tmp_path / "rows.csv")
    command = [str(tmp_path / "rows.csv"), "--out", str(tmp_path / "answers.csv")]
    assert main(["predict", str(tmp_path / "run"), *command]) == 2
    assert f"model: {path} is not as the run wrote it" in capsys.readouterr().err
    path.rename(tmp_path / "mine.safetensors")  # the way out
    assert main(["predict", str(tmp_path / "mine.safetensors"), *command]) == 0
