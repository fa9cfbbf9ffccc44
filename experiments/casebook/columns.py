"""The columns of the casebook's rows.parquet: one row a program, the ill one and the cured one."""

from experiments.casebook.case import FAULTS, PACKAGES, PARTS, PROGRAMS
from experiments.casebook.checked import OUTCOMES
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
    "cured": Column(TEXT, "mark", "of its first advice, made", known=(*OUTCOMES, SILENT)),
    "changes": Column(TEXT, "names", "of what was changed by that advice"),
    "meant": Column(TEXT, "mark", "of these changes, if a case names some", known=(*MARKS, NONE)),
    "as_it_is": Column(REAL, "1", "score in `jaxnn.trials`; nan where it is not known"),
    "with_it": Column(REAL, "1", "the same with the changes; nan where nothing was changed"),
    "others": Column(TEXT, "rules", "said besides that are neither cause nor symptom"),
    "losses": Column(TEXT, "JSON", "of each step; empty if the training is refused"),
    "score": Column(REAL, "1", "accuracy or R² on all data after it; nan if it is refused"),
    "seconds": Column(REAL, "s", "to ask all, with compiling"),
    "records": Column(TEXT, "JSON", "a line for each thing said: rule, layer, path, values"),
}
