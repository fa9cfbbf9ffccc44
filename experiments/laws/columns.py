"""The columns of rows.parquet: one row a comparison of a law with networks."""

from experiments.runs.schema import FLAG, REAL, TEXT, Column

COLUMNS = {
    "law": Column(TEXT, "name", "of the law"),
    "case": Column(TEXT, "name", "what is compared"),
    "source": Column(TEXT, "name", "where the law is from"),
    "relation": Column(TEXT, "sign", "of the measured to the predicted", known=("=", "≥", "≤")),
    "predicted": Column(REAL, "that of the case", "by the law's formula"),
    "measured": Column(REAL, "that of the case", "in networks"),
    "standard_error": Column(REAL, "that of the case", "of the measured; missing for one", True),
    "tolerance": Column(REAL, "that of the case", "by which they may differ"),
    "deviation": Column(
        REAL, "standard errors", "by which they differ beyond what is allowed", True
    ),
    "reason": Column(TEXT, "words", "where the tolerance comes from"),
    "holds": Column(FLAG, "yes or no", "whether they agree"),
    "chi_square": Column(REAL, "1", "the sum of the law's squared deviations", True),
    "freedom": Column(REAL, "comparisons", "of the law that are independent", True),
    "chance": Column(REAL, "fraction", "of runs with a sum as large, if the law is right", True),
    "factor": Column(TEXT, "name", "of the formula's factor that is tested; empty for none"),
    "power": Column(REAL, "fraction", "the least error of the factor that the run sees", True),
}
