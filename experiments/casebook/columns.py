"""The columns of the casebook's rows.parquet: one row a program, the ill one and the cured one."""

from experiments.casebook.case import FAULTS, PACKAGES, PARTS, PROGRAMS
from experiments.casebook.scores import MARKS, NONE, SILENT
from experiments.runs.schema import REAL, TEXT, Column

OF_CAUSE = (*MARKS, SILENT, NONE)

COLUMNS = {
    "case": Column(TEXT, "name", "of the case, and of the function that makes its program"),
    "program": Column(TEXT, "name", "ill, or cured: with the fix made, no more", known=PROGRAMS),
    "framework": Column(TEXT, "name", "that the program is written in", known=tuple(PACKAGES)),
    "source": Column(TEXT, "name", "where the fault was met: so-31880720 is a question"),
    "fault": Column(TEXT, "name", "the class of the fault", known=tuple(FAULTS)),
    "part": Column(TEXT, "name", "what the case serves: rules, or their score", known=PARTS),
    "wrong": Column(TEXT, "words", "what is wrong"),
    "fix": Column(TEXT, "words", "what was done about it, as published"),
    "before": Column(TEXT, "rules", "said before training, with their places, the worst first"),
    "during": Column(TEXT, "rules", "said during it, with their steps"),
    "cause": Column(TEXT, "mark", "of the cause; of a twin whether it is silent", known=OF_CAUSE),
    "advice": Column(TEXT, "mark", "of the advice, the published fix", known=(*MARKS, NONE)),
    "place": Column(TEXT, "mark", "of the place, if there is one", known=(*MARKS, NONE)),
    "at": Column(REAL, "step", "that the cause is named at; -1 before training, nan if it is not"),
    "others": Column(TEXT, "rules", "said besides that are neither cause nor symptom"),
    "losses": Column(TEXT, "JSON", "of each step; empty if the training is refused"),
    "score": Column(REAL, "1", "accuracy or R² on all data after it; nan if it is refused"),
    "seconds": Column(REAL, "s", "to ask all, with compiling"),
    "records": Column(TEXT, "JSON", "a line for each thing said: rule, layer, path, values"),
}
