"""Writers: the numbers of each measurement of a watch, for trackers of experiments.

    step, names and floats -> a tracker, as the training goes on

A writer is a function of both, and any function may be one. JAX calls it in a thread of its own, in
which a tracker's "current run" is another one or none: so these hand over to a run by its name.
"""

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from ..flow.record.flow import Flow
from ..flow.view.table import plain
from .watched import Line, ratios

Writer = Callable[[int, dict[str, float]], Any]


def numbers_of(line: Line, flow: Flow, start: Line) -> dict[str, float]:
    """Return the numbers of a measurement by their names; what is no number is left out."""
    numbers = {"watch/loss": line["loss"], "watch/total": line["total"]} | flow.scalars()
    for i, array in enumerate(start["parameters"]):
        row = {name: values[i] for name, values in line["parameters"].items()}
        for name, value in ratios(row).items():
            numbers[f"parameters/{plain(array['path'])}/{name}"] = value
    return {name: float(v) for name, v in numbers.items() if np.isfinite(v)}


def to_tensorboard(writer: Any) -> Writer:
    """Return a writer for TensorBoard.

    Args:
        writer: a SummaryWriter of torch.utils.tensorboard, tensorboardX or flax.metrics, or any
            object with `add_scalar(name, value, step)` or `scalar(name, value, step)`.

    Raises:
        TypeError: one with neither.

    Example (where tensorboardX is installed):
        >>> import jaxnn
        >>> from tensorboardX import SummaryWriter  # doctest: +SKIP
        >>> write = jaxnn.train.to_tensorboard(SummaryWriter("runs/mine"))  # doctest: +SKIP
        >>> watch = jaxnn.watch(model, xs, loss=loss, write=write)  # doctest: +SKIP
    """
    add = getattr(writer, "add_scalar", None) or getattr(writer, "scalar", None)
    if add is None:
        raise TypeError(
            "writer: expected a SummaryWriter, with add_scalar(name, value, step), got "
            f"{type(writer).__name__}"
        )

    def write(step: int, numbers: dict[str, float]) -> None:
        for name, value in numbers.items():
            add(name, value, step)
        getattr(writer, "flush", lambda: None)()

    return write


def to_wandb(run: Any) -> Writer:
    """Return a writer for Weights & Biases.

    The axis of the charts is watch/step, the step of the training. The steps of a run itself go
    upwards alone, and what comes later than the next one, as from a compiled step, would be lost.

    Args:
        run: what `wandb.init()` returns.

    Raises:
        TypeError: something else, without `log`.

    Example (where wandb is installed):
        >>> import jaxnn
        >>> import wandb  # doctest: +SKIP
        >>> write = jaxnn.train.to_wandb(wandb.init(project="mine"))  # doctest: +SKIP
        >>> watch = jaxnn.watch(model, xs, loss=loss, write=write)  # doctest: +SKIP
    """
    if not callable(getattr(run, "log", None)):
        raise TypeError(f"run: expected that of wandb.init(), got {type(run).__name__}")

    for names in ("watch/*", "gradient/*", "parameters/*"):
        run.define_metric(names, step_metric="watch/step")

    def write(step: int, numbers: dict[str, float]) -> None:
        run.log({"watch/step": step, **numbers})

    return write


def to_mlflow(run: Any) -> Writer:
    """Return a writer for MLflow.

    Args:
        run: what `mlflow.start_run()` returns; it may be over when the last steps are written.

    Raises:
        TypeError: something else, without `info.run_id`.
        ImportError: MLflow is not installed.

    Example (where mlflow is installed):
        >>> import jaxnn
        >>> import mlflow  # doctest: +SKIP
        >>> write = jaxnn.train.to_mlflow(mlflow.start_run())  # doctest: +SKIP
        >>> watch = jaxnn.watch(model, xs, loss=loss, write=write)  # doctest: +SKIP
    """
    run_id = getattr(getattr(run, "info", None), "run_id", None)
    if run_id is None:
        raise TypeError(f"run: expected that of mlflow.start_run(), got {type(run).__name__}")
    mlflow = imported("to_mlflow", "mlflow")

    def write(step: int, numbers: dict[str, float]) -> None:
        mlflow.log_metrics(numbers, step=step, run_id=run_id, synchronous=True)

    return write


def imported(function: str, *names: str) -> Any:
    """Return the first package of these that is installed."""
    for name in names:
        try:
            return importlib.import_module(name)
        except ImportError as error:
            if error.name is None or not name.startswith(error.name):  # broken, not missing
                raise
    package = names[0].partition(".")[0]
    raise ImportError(
        f"jaxnn.train.{function}: expected {package} to be installed; "
        f"python -m pip install {package}"
    )
