"""Why do gradients vanish or explode in this network, which the user's own code makes?

`FILE.py:NAME -> what jaxnn.diagnose takes -> jaxnn.diagnose -> a Diagnosis -> rows and a page`

The code that the user names is run while preparing, and so is the measurement: whatever is wrong
with either is one sentence, and no file has been written then.
"""

import logging
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from experiments.diagnose import report
from experiments.diagnose.columns import COLUMNS
from experiments.runs import experiment, runtime
from experiments.runs.experiment import Conclusion, Experiment
from experiments.runs.store import Store
from jaxnn.cli import contract, diagnosis, source
from jaxnn.diagnosis import TRY, Diagnosis
from jaxnn.passes.walk import Memory

CHART = "gradients"

log = logging.getLogger("jaxnn.experiments")


@dataclass(frozen=True)
class Settings(runtime.Options):
    """Why gradients vanish or explode in a network of your own.

    FILE.py:NAME is a function without arguments, which is run here, with all of its file: name only
    code that you trust. It returns what jaxnn.diagnose takes: (model, xs) or (model, xs, ys), or a
    dict with the arguments of jaxnn.diagnose by their names, such as loss, or a diagnosis that it
    has made. A model is a module of Equinox, Flax NNX or PyTorch, a pair (f, params) of
    f(params, xs), a list of layers, or a pair (net, params) of ours; in the dict net and params may
    stand for that pair, and so may f and params. loss(output, ys) is one number for each example,
    or one. Without a loss the gradient is that of a random linear one.
    """

    network: tyro.conf.Positional[Annotated[str | None, tyro.conf.arg(metavar="FILE.py:NAME")]] = (
        None
    )
    """FILE.py:NAME, the function that returns the network."""
    memory: Memory = "all"
    """all stores the state of every layer; sqrt, of a run of k equal layers, every √k-th, and
    computes those between again."""
    seed: int = 0
    """Draws the random loss, if the function returns none."""
    entries: runtime.Flag = False
    """Count all entries as well, and say which number formats keep them."""
    theory: runtime.Flag = False
    """Put theory beside the measurement: the network of the same layers, infinitely wide, with
    random weights."""
    out: Path = field(default=Path("runs/diagnose"), metadata=runtime.HOW)
    """The folder for the results."""


@dataclass(frozen=True)
class Plan(experiment.PlanOfUser):
    """The checked settings, and the diagnosis of the network that they name; none of a dry run."""

    settings: Settings
    diagnosis: Diagnosis | None

    def estimate(self) -> str:
        """Return the cost of the run in words."""
        return f"runs {self.code.name}() of {self.code.path.name}, whose code has the costs"


def prepare(settings: Settings) -> Plan:
    """Run the user's code and measure its network.

    Raises:
        ValueError, TypeError, OSError: one sentence; nothing has been written then.
        FailedError: the memory ends.
    """
    runtime.check(settings, alone="one network is measured by one process")
    code = source.read(settings.network)
    named = replace(settings, network=str(code))
    plan = Plan(named, code, None)
    if settings.dry_run:
        return plan
    EXPERIMENT.check(plan)
    log.info("running %s() of %s", code.name, code.path)
    try:
        return replace(
            plan,
            diagnosis=contract.diagnosed(
                code, settings.memory, settings.seed, settings.entries, settings.theory
            ),
        )
    except MemoryError as error:
        raise runtime.FailedError(str(error)) from None


def measure(plan: Plan, store: Store | None) -> tuple[list[Diagnosis], bool]:
    """Return what was measured while preparing."""
    assert plan.diagnosis is not None
    return [plan.diagnosis], True


def conclude(plan: Plan, results: list[Diagnosis]) -> Conclusion:
    """Judge the flow, in words and pictures."""
    from experiments.diagnose import page  # here, for it imports Altair

    (result,) = results
    rows = report.rows_of(result.flow)
    verdicts = diagnosis.sentences(result, f"{TRY}: jaxnn diagnose {plan.code} --cures.")
    line = diagnosis.subtitle(result, f"{plan.code.name}() of {plan.code.path.name}")
    figures = {CHART: page.figure(rows, result.flow, str(plan.code), line)}
    settings = plan.settings
    flags = [f" --{name}" for name in ("entries", "theory") if getattr(settings, name)]
    command = (
        f"python -m experiments diagnose {settings.network} --memory {settings.memory} "
        f"--seed {settings.seed}{''.join(flags)}"
    )
    return Conclusion(
        rows,
        verdicts,
        figures,
        page=partial(page.page, rows, result, str(plan.code), line, verdicts),
        about={"command": command} | runtime.frameworks(),
    )


EXPERIMENT = Experiment(
    name="diagnose",
    settings=Settings,
    columns=COLUMNS,
    figures=(CHART,),
    report=True,
    prepare=prepare,
    measure=measure,
    conclude=conclude,
    table=report.table,
    title="layer by layer",
    compare=report.compare,
)
