"""Callbacks of trainers of PyTorch, which watch every step of an optimiser without a line in it.

    the module's last forward pass in training -> its inputs -> a watch around the step

The trainers' packages are imported where a callback is made.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial
from typing import Any, Protocol

from jaxtyping import PyTree

from ..pytorch.call import own_loss
from ..pytorch.types import Module
from .recorder import Number, WatchOptions
from .torch_watch import Begun, Tensor, TorchLoss, TorchWatch
from .watch import watch

Event = object  # whatever else a trainer hands over


class Trainer(Protocol):
    """A trainer, or the state of one."""

    global_step: int


class _Watching:
    """A watch between the events of a trainer, with the last forward pass in training."""

    def __init__(self, options: Mapping[str, Any]):
        self.options = options
        self.watch: TorchWatch | None = None
        self.begun: Begun | None = None
        self.inputs: PyTree | None = None
        self.value: Tensor | None = None  # the loss that the module returned
        self.hook: Any = None  # on the module, while it is trained
        self.is_heard = True  # not while jaxnn calls it

    def start(self, module: Module) -> None:
        """Watch a module, from the start of a training on."""
        if self.watch is None or self.watch.module is not module:
            self.watch = watch(module, **self.options)
        self.stop()
        self.hook = module.register_forward_hook(partial(self._heard, self.watch), with_kwargs=True)

    def _heard(
        self,
        watch: TorchWatch,
        module: Module,
        args: tuple[PyTree, ...],
        kwargs: dict[str, PyTree],
        output: PyTree,
    ) -> None:
        if self.is_heard and module.training:
            self.inputs = kwargs if kwargs and not args else args
            with watch.guarded("measurement", None):
                value = own_loss(output)
                self.value = None if value is None else value.detach()

    def before(self, step: int, labels: Callable[[], PyTree] = lambda: None) -> None:
        """Measure before a step of the optimiser."""
        watch = self.watch
        if watch is None or self.hook is None:
            return
        if self.begun is not None:  # an error has ended its step
            self.begun.unhook()
        self.is_heard = False
        with watch.guarded("measurement", step):
            if self.inputs is None:
                raise ValueError(
                    "module: expected the module that is called in each step, got one that is not; "
                    "hand over module=lambda whole: whole.model, or whatever training_step calls"
                )
            is_due = step % watch.every == 0
            self.begun = watch.begin(step, self.inputs, labels() if is_due else None)
        self.is_heard = True

    def after(self, value: Number | None = None) -> None:
        """Record what was measured, after the step."""
        if self.watch is not None and self.hook is not None:
            begun, self.begun = self.begun, None
            self.watch.end(begun, self.value if value is None else value)
            self.inputs = self.value = None

    def stop(self) -> None:
        """Leave the module and torch's optimisers as they were."""
        if self.hook is not None:
            self.hook.remove()
        if self.begun is not None:
            self.begun.unhook()
        self.hook = self.begun = self.inputs = self.value = None


def hugging_face_callback(**options: Any) -> Any:
    """Return a `TrainerCallback` that watches a training of Hugging Face's `Trainer`.

    The model returns its own loss, as those of transformers do with labels. Of steps that
    accumulate gradients the last batch is measured.

    Args:
        options: of `jaxnn.watch`, all but the loss, such as every, folder and cuts.

    Returns:
        The callback, for `Trainer(..., callbacks=[…])`; its `watch` is the TorchWatch, None before
        the training begins.

    Raises:
        ImportError: transformers is not installed.
        TypeError: an option that there is not.

    Example (where transformers is installed):
        >>> import jaxnn
        >>> watching = jaxnn.watching.hugging_face_callback(folder="runs/mine")  # doctest: +SKIP
        >>> trainer = Trainer(model, args, callbacks=[watching])  # doctest: +SKIP
    """
    _check_options("hugging_face_callback", options)
    base = imported("hugging_face_callback", "transformers").TrainerCallback
    watching = _Watching(options)

    class WatchCallback(base):  # type: ignore[misc, valid-type]
        @property
        def watch(self) -> TorchWatch | None:
            return watching.watch

        def on_train_begin(self, *_: Event, model: Module, **more: Event) -> None:
            watching.start(model)

        def on_pre_optimizer_step(
            self, args: Event, state: Trainer, *_: Event, **more: Event
        ) -> None:
            watching.before(state.global_step)

        def on_optimizer_step(self, *_: Event, **more: Event) -> None:
            watching.after()

        def on_train_end(self, *_: Event, **more: Event) -> None:
            watching.stop()

    return WatchCallback()


def lightning_callback(
    *,
    loss: TorchLoss,
    module: Callable[[Module], Module] = lambda whole: whole,
    labels: Callable[[PyTree], PyTree] = lambda batch: batch[1],
    **options: Any,
) -> Any:
    """Return a `Callback` that watches a training of Lightning.

    Args:
        loss: (output, labels) -> a loss.
        module: (LightningModule) -> the module that training_step calls; itself by default.
        labels: (batch) -> what the loss takes; the second entry of the batch by default.
        options: all others of `jaxnn.watch`, such as every, folder and cuts.

    Returns:
        The callback, for `Trainer(callbacks=[…])`; its `watch` is the TorchWatch, None before the
        training begins.

    Raises:
        ImportError: Lightning is not installed.
        TypeError: an option that there is not.

    Example (where lightning is installed):
        >>> import jaxnn
        >>> watching = jaxnn.watching.lightning_callback(loss=mse)  # doctest: +SKIP
        >>> trainer = Trainer(callbacks=[watching])  # doctest: +SKIP
    """
    _check_options("lightning_callback", options)
    base = imported("lightning_callback", "lightning.pytorch", "pytorch_lightning").Callback
    watching = _Watching({"loss": loss, **options})
    batches: list[PyTree] = []

    class WatchCallback(base):  # type: ignore[misc, valid-type]
        @property
        def watch(self) -> TorchWatch | None:
            return watching.watch

        def on_train_start(self, trainer: Trainer, pl_module: Module) -> None:
            watching.start(module(pl_module))

        def on_train_batch_start(
            self, trainer: Trainer, pl_module: Module, batch: PyTree, _: int
        ) -> None:
            batches[:] = [batch]

        def on_before_optimizer_step(self, trainer: Trainer, *_: Event) -> None:
            watching.before(trainer.global_step, lambda: labels(batches[0]))

        def on_train_batch_end(
            self, trainer: Trainer, pl_module: Module, outputs: PyTree, *_: Event
        ) -> None:
            watching.after(outputs.get("loss") if isinstance(outputs, dict) else outputs)

        def on_train_end(self, *_: Event) -> None:
            watching.stop()

        on_exception = on_train_end  # also Ctrl-C, between the two calls of a step

    return WatchCallback()


def _check_options(function: str, options: Mapping[str, Any]) -> None:
    """Check the options of a watch of a trainer, before the training begins."""
    known = ["cuts", *(field.name for field in fields(WatchOptions))]
    for name in options:
        if name not in known:
            raise TypeError(f"{function}: expected options among {', '.join(known)}, got {name}")
    WatchOptions(**{name: value for name, value in options.items() if name != "cuts"})


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
        f"jaxnn.watching.{function}: expected {package} to be installed; "
        f"python -m pip install {package}"
    )
