"""Why do gradients vanish or explode in this network, which the user's own code makes?

`FILE.py:NAME -> a dict -> jaxnn.gradient_flow or jaxnn.torch_flow -> jaxnn.verdict`

The code that the user names is run while preparing, and so is the measurement: whatever is wrong
with either is one sentence, and no file has been written then.
"""

import logging
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from experiments.diagnose import page, report
from experiments.diagnose.columns import COLUMNS
from experiments.runs import experiment, runtime
from experiments.runs.experiment import Conclusion, Experiment
from experiments.runs.store import Store
from jaxnn.cli import contract, diagnosis, source
from jaxnn.cli.contract import Measured
from jaxnn.passes.walk import Memory

CHART = "gradients"

log = logging.getLogger("jaxnn.experiments")


@dataclass(frozen=True)
class Settings(runtime.Options):
    """Why gradients vanish or explode in a network of your own.

    FILE.py:NAME is a function without arguments, which is run here, with all of its file: name only
    code that you trust. It returns a dict, with the names of the arguments of jaxnn's functions:
    layers and xs (a list for jaxnn.from_layers); or f, params and xs, where f(params, xs) is cut
    into layers by itself; or net, params and xs, a jaxnn.Network or a chain; or module and inputs,
    a module of PyTorch, and perhaps its cuts. Besides, where wanted: ys and loss, where
    loss(output, ys) is one number for each example, or a cotangent; each="example", if layers take
    one example. Without a loss the gradient is that of a random linear one.
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
    out: Path = field(default=Path("runs/diagnose"), metadata=runtime.HOW)
    """The folder for the results."""


@dataclass(frozen=True)
class Plan(experiment.PlanOfUser):
    """The checked settings, and the flow of the network that they name; none of a dry run."""

    settings: Settings
    measured: Measured | None

    def estimate(self) -> str:
        """Return the cost of the run in words."""
        return f"runs {self.code.name}() of {self.code.path.name}, whose code has the costs"


def prepare(settings: Settings) -> Plan:
    """Run the user's code and measure its network.

    Raises:
        ValueError, TypeError, OSError: one sentence; nothing has been written then.
        FailedError: the memory ends.
    """
    runtime.check(settings)
    if settings.distributed:
        raise ValueError("distributed: one network is measured by one process; leave it out")
    code = source.read(settings.network)
    named = replace(settings, network=str(code))
    plan = Plan(named, code, None)
    if settings.dry_run:
        return plan
    EXPERIMENT.check(plan)
    log.info("running %s() of %s", code.name, code.path)
    try:
        return replace(plan, measured=contract.diagnosed(code, settings.memory, settings.seed))
    except MemoryError as error:
        raise runtime.FailedError(str(error)) from None


def measure(plan: Plan, store: Store | None) -> tuple[list[Measured], bool]:
    """Return what was measured while preparing."""
    assert plan.measured is not None
    return [plan.measured], True


def conclude(plan: Plan, results: list[Measured]) -> Conclusion:
    """Judge the flow, in words and pictures."""
    (measured,) = results
    rows = report.rows_of(measured.flow)
    verdicts = diagnosis.sentences(measured.flow, measured.note)
    line = subtitle(plan, measured)
    figures = {CHART: page.figure(rows, str(plan.code), line)}
    settings = plan.settings
    command = (
        f"python -m experiments diagnose {settings.network} --memory {settings.memory} "
        f"--seed {settings.seed}"
    )
    return Conclusion(
        rows,
        verdicts,
        figures,
        page=partial(page.page, rows, measured, str(plan.code), line, verdicts),
        about={"command": command} | runtime.frameworks(),
    )


def subtitle(plan: Plan, measured: Measured) -> str:
    """Say in one line what was measured."""
    code = f"{plan.code.name}() of {plan.code.path.name}"
    return diagnosis.subtitle(measured.flow, code, measured.top)


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
