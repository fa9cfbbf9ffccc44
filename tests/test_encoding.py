"""Features from columns, against scikit-learn's own fitted transformers; and splits of classes."""

from datetime import date

import numpy as np
import polars as pl
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from experiments.learning import data, encoding, splits
from experiments.learning.encoding import Encoder

FRAME = pl.DataFrame(
    {
        "island": ["b", None, "a", "b", "c", "b"],
        "bill": [1.0, 2.0, None, 4.0, 9.0, None],
        "banded": [True, False, None, True, True, False],
        "sex": ["m", "f", "m", None, "f", "f"],
        "mass": [10, 20, 30, 40, None, 90],
    }
)
NUMBERS, TEXTS = ["bill", "banded", "mass"], ["island", "sex"]


def by_sklearn(training, rows, missing):
    """Features in the order of scikit-learn, by its own transformers, from pandas."""
    fill = SimpleImputer(strategy="most_frequent")
    transformer = ColumnTransformer(
        [
            ("numbers", SimpleImputer(strategy=missing), NUMBERS),
            ("texts", make_pipeline(fill, OneHotEncoder(handle_unknown="ignore")), TEXTS),
        ],
        sparse_threshold=0,
    )

    def in_pandas(frame):
        frame = frame.with_columns(pl.col(NUMBERS).cast(pl.Float64)).to_pandas()
        return frame.astype(dict.fromkeys(TEXTS, object)).where(frame.notna(), np.nan)

    return transformer.fit(in_pandas(training)).transform(in_pandas(rows))


@pytest.mark.parametrize("missing", encoding.FILLING)
def test_features_are_those_of_scikit_learn(missing):
    encoder = Encoder.fitted(FRAME[:5], missing)
    rows = FRAME.with_columns(island=pl.Series(["b", None, "z", "b", "c", "b"]))
    ours = dict(zip(encoder.features, encoder.encoded(rows).T, strict=True))
    names = (*NUMBERS, "island=a", "island=b", "island=c", "sex=f", "sex=m")
    assert set(ours) == set(names)
    theirs = by_sklearn(FRAME[:5], rows, missing)
    np.testing.assert_array_equal(np.column_stack([ours[name] for name in names]), theirs)


def test_rows_that_lack_a_value_have_no_features_without_filling():
    whole = FRAME.drop_nulls()
    encoder = Encoder.fitted(whole)
    assert [column.fill for column in encoder.columns] == [None] * 5
    x = encoder.encoded(FRAME)
    lacking = ~FRAME.select(pl.all_horizontal(pl.all().is_not_null())).to_series().to_numpy()
    np.testing.assert_array_equal(np.isnan(x).any(axis=1), lacking)
    assert np.isfinite(encoder.encoded(whole)).all()


def test_dates_are_days():
    frame = pl.DataFrame({"day": [date(1970, 1, 2), date(2000, 1, 1), None]})
    encoder = Encoder.fitted(frame, "mean")
    np.testing.assert_array_equal(encoder.encoded(frame)[:, 0], [1, 10957, 5479])
    hours = frame.with_columns(pl.col("day").cast(pl.Datetime("ms")) + pl.duration(hours=12))
    assert encoder.encoded(hours)[0, 0] == 1.5
    assert encoder.words() == {"day": "days since 1970-01-01, missing values are 5479"}
    nothing = encoder.encoded(pl.DataFrame({"day": [None]}))
    np.testing.assert_array_equal(nothing, [[5479]])
    for other, sentence in (
        ([1, 2, 3], "expected dates in column 'day', got Int64 such as '1'"),
        (["x", "y", "z"], "expected dates in .*, got texts such as 'x'"),
    ):
        with pytest.raises(ValueError, match=sentence):
            encoder.encoded(pl.DataFrame({"day": other}))


def test_what_cannot_be_encoded():
    with pytest.raises(ValueError, match="no training row has a value in bill; leave out"):
        Encoder.fitted(FRAME.with_columns(bill=pl.lit(None, pl.Float64)), "mean")
    twice = FRAME.drop_nulls().with_columns(pl.lit(1.0).alias("sex=m"))
    with pytest.raises(ValueError, match="two features are called 'sex=m'; rename a column"):
        Encoder.fitted(twice)


def labelled(counts, seed=0):
    """A table of so many rows of each class, in a random order."""
    y = np.repeat(np.arange(len(counts)), counts)
    y = np.random.default_rng(seed).permutation(y)
    frame = pl.DataFrame({"x": np.arange(len(y), dtype=float)})
    names = tuple("abcdefgh"[: len(counts)])
    return data.Table("t", "multiclass", frame, "y", names, y, np.arange(len(y)))


def test_each_part_has_its_share_of_each_class():
    table = labelled([600, 90, 10, 7])
    parts = splits.split(table, 0.15, 0.2, seed=4).parts
    counts = {n: np.bincount(part.y, minlength=4).tolist() for n, part in parts.items()}
    assert counts["test"] == [120, 18, 2, 1]
    assert counts["validation"] == [90, 14, 2, 1]
    places = np.concatenate([part.rows for part in parts.values()])
    np.testing.assert_array_equal(np.sort(places), np.arange(707))
    theirs = train_test_split(table.y, test_size=0.2, stratify=table.y, random_state=0)[1]
    assert np.abs(np.bincount(theirs) - counts["test"]).max() <= 1
    other = splits.split(table, 0.15, 0.2, seed=5).parts
    assert set(other["test"].rows) != set(parts["test"].rows)


def test_too_few_rows_of_a_class_for_a_split_are_a_sentence():
    sentence = "expected rows of class 'b' on both sides, got 1 held out by the fraction"
    for counts, part in (([50, 1], "test"), ([50, 2], "validation")):
        with pytest.raises(ValueError, match=f"{part}: {sentence}"):
            splits.split(labelled(counts), 0.15, 0.2, seed=0)
    assert len(splits.split(labelled([50, 3]), 0.15, 0.2, seed=0).training.x) == 33
