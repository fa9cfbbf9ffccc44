"""The columns of a benchmark's rows.parquet: one row a case."""

from experiments.runs.schema import COUNT, FLAG, REAL, TEXT, Column

KINDS = ("warm", "first", "cold", "bytes", "floor", "growth", "memory")

COLUMNS = {
    "row": Column(TEXT, "name", "of the goal"),
    "workload": Column(TEXT, "words", "what is done"),
    "against": Column(TEXT, "words", "what it is compared with"),
    "kind": Column(TEXT, "word", "what is timed", known=KINDS),
    "case": Column(TEXT, "name", "sizes"),
    "goal": Column(REAL, "1", "largest ratio that meets it"),
    "ratio": Column(REAL, "1", "ours / theirs, median of pairs; of growth the exponent"),
    "ratio_low": Column(REAL, "1", "lower quartile of the pairs"),
    "ratio_high": Column(REAL, "1", "upper quartile of the pairs"),
    "holds": Column(FLAG, "yes or no", "whether the goal is met"),
    "pairs": Column(COUNT, "pairs", "that were timed"),
    "ours_seconds": Column(REAL, "s", "a repetition of ours, median"),
    "theirs_seconds": Column(REAL, "s", "a repetition of theirs; missing without a peer", True),
    "floor_seconds": Column(REAL, "s", "operations over their measured rates", True),
    "over_floor": Column(REAL, "1", "ours_seconds / floor_seconds", True),
    "ours_first": Column(REAL, "s", "the first repetition of a process, with compiling"),
    "theirs_first": Column(REAL, "s", "the same of theirs", True),
    "ours_import": Column(REAL, "s", "for the imports of the process"),
    "theirs_import": Column(REAL, "s", "the same of theirs", True),
    "difference": Column(REAL, "1", "of the numbers that both compute, largest", True),
}
