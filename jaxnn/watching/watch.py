"""A watch of a training: the flow of its gradient every so many steps, from inside its program.

    step, θ, x, y, θ after, loss -> every N steps the flow and the update of each array -> a line
    lines -> memory and the file of a folder; rules -> alarms

Of numbers that are at hand on a CPU, as in a loop of Python, a small program tells the size of the
update, and where a step is due a program of its own measures it: `step_program.py`.

In a traced step, one of few numbers on a CPU of several cores, the branch of the due hands the
arrays themselves to the host, and a thread of its own measures them with that same program:
`worker.py`. So the user's program has some kernels more, and what measures is compiled for few
runs.

Elsewhere the measurement is a branch of the user's own program: nothing waits for the host.

Each takes copies of what the step has anyway, its parameters before and after, behind a barrier of
the compiler: the step itself is compiled as it would be without, and its parameters are the same to
the last bit. An update that was handed over instead of the parameters after it would have to be
stored where the compiler adds it at once.

In the steps between, two numbers leave the device: the loss, if it is handed over, and the size of
the update. A watch returns nothing that a `scan` could carry, so it has no place on the device to
gather them in; and of a `jax.new_ref` that a step closes over, one execution that fails, as by
Ctrl-C, leaves nothing, so that the user's next step would fail too. On a CPU a callback and what is
recorded take one to two milliseconds, and the size of the update is a pass over all parameters: of
short steps only every 23rd is looked at, see `_watch`. JAX starts a program that can call back
by way of Python, 30 µs for each array that goes in: of a scan over steps once.
"""

from _thread import interrupt_main
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, PyTree

from ..arrays.arguments import check_integer
from ..arrays.compiled import Numbers, Statics, are_few, compiled, split_static, with_static
from ..arrays.loops import barrier
from ..arrays.memory import cores
from ..arrays.rows import (
    ScaledRows,
    as_reals,
    at_least_float32,
    can_be_learned,
    log_sizes_of,
)
from ..arrays.spread import are_spread, whole
from ..chain.chain import Chain, decoded, encoded
from ..chain.parameter_handover import is_array
from ..evidence.evidence import Evidence
from ..evidence.jax_trial import JaxTrial
from ..flow.record.flow import Flow
from ..flow.record.loss import Loss
from ..models import Cuts, Model, Net, Program
from ..network.network import Network
from ..pytorch.cuts import named_cuts, unwrapped
from ..rules import Found
from ..texts import counted, in_words
from .recorder import (
    FAULTS,
    FEW_ENTRIES,
    SPARSE,
    Number,
    Rate,
    Recorder,
    WatchOptions,
    one_number,
)
from .step_program import Measured, StepArrays, StepProgram, measured_step
from .torch_watch import TorchWatch
from .watched import LN10, Line, Writer
from .worker import LITTLE, WORKER

StepNumber = int | Numbers
MOST_TOGETHER = 2**18  # numbers that are brought together in less time than a kernel for each takes
BEHIND = "too many steps wait for their measurement, which takes longer than they do; raise every="


class Watch(Recorder):
    """The watch of one training; made by `jaxnn.watch`, and called in every step.

    flow: the last one measured, for `jaxnn.verdict` and `jaxnn.chart`; None before the first.
    """

    def __init__(self, net: Network | Chain, loss: Loss | None, options: WatchOptions):
        super().__init__(options, _paths_of(net))
        self.net, self.loss = net, loss
        self._is_interrupted = False  # by Ctrl-C in a thread of JAX's
        if self.folder is not None:
            _check_same(self._watched.start, net, self.folder)

    def __call__(
        self,
        step: StepNumber,
        params: PyTree,
        xs: PyTree,
        ys: PyTree = None,
        *,
        after: PyTree = None,
        value: Number | None = None,
    ) -> None:
        """Watch one step; inside `jax.jit`, in the body of a `scan` over steps, or outside.

        Args:
            step: the number of the step, an integer or a traced one.
            params: the parameters before the step: of a chain the user's own pytree, such as a
                module; of a Network its pairs.
            xs: the examples of the step.
            ys: their labels.
            after: the parameters after the step, for the size of the update.
            value: the loss of the step. It is recorded at every step, measured or not; inside of
                `jit`, of few numbers on a CPU and with `every` of 100 or more, every 23rd.

        What cannot be measured is a warning and an alarm, and no error: the training goes on.
        """
        try:
            at: Any = step if is_array(step) else np.asarray(check_integer("step", step, 0))
            loss = value if value is None or is_array(value) else np.asarray(value)
            _check_whole()
            if self._is_hopeless(at):
                return
            self._note_untouched(at, params, after)
            given = StepArrays(params, xs, ys, after)
            if _are_at_hand(at, given, loss):
                self.look(int(at), given, loss)
            else:
                WORKER.start()
                _watch(self, at, given, loss)
            self._try_batch(at, params, xs, ys)
        except FAULTS as error:
            if self._is_interrupted:
                raise KeyboardInterrupt from error
            self._unmeasured(step, in_words(error))

    def look(self, step: int, given: StepArrays, value: Number | None) -> None:
        """Measure a step, given as to a call, if that is due; record it before this returns."""
        params, *_, after = given
        loss = one_number("value", value)
        size = -np.inf if after is None else float(log10_change(params, after))
        known = np.nan if after is None or value is None else size
        is_finite = size < np.inf and (value is None or loss < np.inf)
        if self.is_next(step):
            self.note_undone(_entries_by_path(params))
        if self.is_due(step) or not (is_finite or not breaks(params, after, value)):
            self.last = step, _entries_by_path(params), _entries_by_path(after)
            program = StepProgram.of(self.net, self.loss, given)
            flow, update, order = program(given)
            self.measured(step, flow, update, value, order, log10_update=known)
        elif value is not None:
            self.stepped(step, value, log10_update=known)

    def _note_untouched(self, step: StepNumber, params: PyTree, after: PyTree) -> None:
        """Note which arrays no step of an optimiser has made anew, if not all of them."""
        is_known = not isinstance(step, jax.core.Tracer)
        if after is None or (is_known and not self.is_due(int(step))):
            return
        pairs = zip(_arrays_by_path(params).items(), jax.tree.leaves(after), strict=False)
        arrays = {path: v is w for (path, v), w in pairs if is_array(v) and can_be_learned(v)}
        untouched = {path: 0.0 for path, is_same in arrays.items() if is_same}
        self.noted["held"] = {} if len(untouched) == len(arrays) else untouched

    def _try_batch(self, step: StepNumber, params: PyTree, xs: PyTree, ys: PyTree) -> None:
        """Make experiments with the first batch that is measured, if its numbers are known."""
        leaves = jax.tree.leaves((step, params, xs, ys))
        if any(isinstance(v, jax.core.Tracer) for v in leaves) or not self.is_due(int(step)):
            return
        if not self._needs_evidence():
            return
        of_net = self.net.params(params) if isinstance(self.net, Chain) else params
        evidence = Evidence.of(JaxTrial(Program((self.net, of_net), xs, ys, self.loss)))
        self.flush()
        if self._flow is not None:
            self._judge(int(step), self._flow, evidence)
            super().flush()

    @property
    def flow(self) -> Flow | None:
        """The flow last measured, of all steps that were started; None before the first."""
        WORKER.finish()
        return super().flow

    def flush(self) -> None:
        """Wait until all steps that were started are done and what is measured is recorded."""
        WORKER.finish()
        super().flush()

    def _is_hopeless(self, step: StepNumber) -> bool:
        """Tell whether a step is not due, after a failure: tracing it again would take long."""
        is_known = not isinstance(step, jax.core.Tracer)
        return bool(self.failures["measurement"] and is_known and not self.is_due(int(step)))

    def _receive(
        self, program: "_Handed | None", step: StepNumber, numbers: PyTree, arrays: list[Numbers]
    ) -> None:
        """Hand a step to the worker; called by JAX, in a thread of its own."""
        try:
            number = int(step)
            of_step, of_arrays = jax.tree.map(np.array, (numbers, arrays))
            bytes_of_step = sum(v.nbytes for v in jax.tree.leaves((of_step, of_arrays)))
            task = partial(self._record, program, number, of_step, of_arrays)
            if not WORKER.hand(task, max(LITTLE, bytes_of_step)):
                with self.recording(number):
                    self.failed("measurement", number, BEHIND)
                _, value, size = of_step
                unmeasured = partial(
                    self.stepped, number, value, log10_update=one_number("log10_update", size)
                )
                WORKER.hand(unmeasured, LITTLE)
        except KeyboardInterrupt:  # JAX makes another error of it
            self._is_interrupted = True
            raise

    def _record(
        self, program: "_Handed | None", step: int, numbers: PyTree, arrays: list[np.ndarray]
    ) -> None:
        """Record a step, measured or not; in the worker."""
        try:
            with self.guarded("measurement", step):
                measured, value, size = numbers
                if program is not None:
                    measured = program(arrays)
                known = one_number("log10_update", size)
                if measured is None:
                    self.stepped(step, value, log10_update=known)
                else:
                    flow, update, order = measured
                    self.measured(step, flow, update, value, order, log10_update=known)
        except KeyboardInterrupt:  # of a function of the user's
            interrupt_main()

    def _unmeasured(self, step: StepNumber, error: str) -> None:
        """Say that a step cannot be measured: now, or when a traced one is due."""

        def say(step: StepNumber) -> None:
            with self.recording(int(step)):
                self.failed("measurement", int(step), error)

        if isinstance(step, jax.core.Tracer) and jnp.issubdtype(step.dtype, jnp.integer):
            lax.cond(self.is_due(step), lambda: jax.debug.callback(say, step), lambda: None)
        else:
            say(self._number_of(step))


def _arrays_by_path(tree: PyTree) -> dict[str, Any]:
    """Return the leaves of a tree by their paths."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): v for path, v in leaves}


def _entries_by_path(tree: PyTree) -> dict[str, np.ndarray]:
    """Return a few entries of each array of floats that are at hand."""
    arrays = {path: v for path, v in _arrays_by_path(tree).items() if can_be_learned(v)}
    return {path: np.array(np.ravel(np.asarray(v))[:FEW_ENTRIES]) for path, v in arrays.items()}


def _paths_of(net: Network | Chain) -> list[str]:
    """Return the paths of the parameter arrays of a network."""
    if isinstance(net, Chain):
        return [path for of_layer in net.paths for path in of_layer]
    return [f"{name}[{i}]" for i in range(len(net.sizes) - 1) for name in ("theta", "b")]


class _Handed(NamedTuple):
    """The measurement of a step whose arrays are handed to the host, keys as numbers."""

    program: StepProgram
    static: Statics  # what else the step has, as `split_static` returns it
    types: tuple[Any, ...]  # of the arrays

    @classmethod
    def of(cls, watch: Watch, given: StepArrays) -> tuple["_Handed", list[Array]]:
        """Return the measurement of a traced step, and what to hand over."""
        program = StepProgram.of(watch.net, watch.loss, given)
        static, arrays = split_static(encoded(given))
        values = [jnp.asarray(v) for v in arrays]
        return cls(program, static, tuple(map(jax.typeof, values))), [*map(_in_bits, values)]

    def __call__(self, arrays: list[np.ndarray]) -> Measured:
        def measured(*given: PyTree) -> Measured:
            return self.program(StepArrays(*decoded(given)))

        pairs = zip(arrays, self.types, strict=True)
        restored: list[Any] = [v.view(t.dtype).reshape(t.shape) for v, t in pairs]
        return with_static(measured)(self.static, restored)


def _in_bits(v: Array) -> Array:
    """Return numbers of 64 bits as pairs of 32: a thread of JAX's makes them narrower."""
    if v.dtype == np.complex128:
        v = jnp.stack([v.real, v.imag], axis=-1)
    is_wide = v.dtype.itemsize == 8 and not jnp.iscomplexobj(v)
    return lax.bitcast_convert_type(v, jnp.uint32) if is_wide else v


def watch(
    model: Model,
    xs: PyTree = None,
    *,
    loss: Loss | None = None,
    each: str = "batch",
    cuts: Cuts = None,
    every: int = 100,
    folder: Path | str | None = None,
    callback: Callable[[Found], Any] | None = None,
    intended: Collection[str] = (),
    adversarial: bool = False,
    write: Writer | None = None,
    rate: Rate | None = None,
) -> Any:  # Watch or TorchWatch, by the model
    """Watch a training: measure the flow of its gradient every so many steps, and record it.

    One line in the loop, after the update, inside of `jit` and of a `scan` over steps or outside:

        watch(step, params, xs, ys, after=new_params, value=loss_of_the_step)

    Parameters and the optimiser's state are the same with and without it, to the last bit (a loss
    that is handed over may be added up in another order). A measurement costs about as much
    as another gradient; the steps between cost a look at whether all numbers are finite. The first
    step after which they are not is measured too, whatever its number.

    Of a module of PyTorch around the optimiser's step, after `backward`:

        with watch(step, xs, ys, value=loss_of_the_step):
            optimizer.step()

    A training of torch goes on as if nothing had been measured, see `jaxnn.gradient_flow`.

    Whatever fails, of the measurement, the file, `write` or `callback`, the training goes on: the
    first failure of each is an alarm, and `Watch.failures` counts them.

    For model, loss, each and cuts see `jaxnn.gradient_flow`; or a network of ours alone. Parameters
    come with each step.

    Args:
        xs: an example batch, of a module or a function of JAX, with which it is cut.
        every: the number of steps from one measurement to the next; the first is at step 0.
        folder: for `watch.jsonl`, see `jaxnn.watching.watched`; without it all is kept in memory. A
            training that goes on in the same folder adds to it.
        callback: takes each `jaxnn.flow.Found`, which is also a Python warning, of the category
            `jaxnn.errors.TrainingWarning`. It is called in a thread of its own, in yours by a watch
            that is called outside of `jit`, and must not use JAX.
        intended: what is so on purpose and gives no alarm: names of rules, see
            `jaxnn.watching.alarms`, and paths of arrays, or what these begin with, such as a frozen
            "encoder".
        adversarial: whether two networks play against each other, so that no loss need fall.
        write: takes the step and the numbers of each measurement by their names, for a tracker of
            experiments. It is called as the callback is.
        rate: the learning rate for the record: a number, or a schedule of optax, which takes the
            step. Of PyTorch the optimiser has it.

    Returns:
        Watch, or `jaxnn.watching.TorchWatch` of a module of PyTorch.

    Raises:
        ValueError: an `every` below 1; an unknown rule or path; a folder with the watch of another
            network, or to which another process writes; as `jaxnn.as_network`.
        TypeError: a callback or a writer that is no function; no model; no folder.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> def f(p, xs):
        ...     return jnp.tanh(xs @ p["a"]) @ p["b"]
        >>> def loss(output, ys):
        ...     return jnp.mean((output - ys) ** 2, axis=-1)
        >>> p, xs = {"a": jnp.eye(3), "b": jnp.eye(3)}, jnp.linspace(-1, 1, 15).reshape(5, 3)
        >>> watch = jaxnn.watch((f, p), xs, loss=loss, every=2)
        >>> @jax.jit
        ... def train_step(step, p, xs, ys):
        ...     value, grads = jax.value_and_grad(lambda p: jnp.mean(loss(f(p, xs), ys)))(p)
        ...     new = jax.tree.map(lambda v, g: v - 0.1 * g, p, grads)
        ...     watch(step, p, xs, ys, after=new, value=value)
        ...     return new
        >>> for step in range(5):
        ...     p = train_step(step, p, xs, jnp.sin(xs))
        >>> [line["step"] for line in watch.watched.measurements]
        [0, 2, 4]
    """
    program = Program.of(model=model, xs=xs, loss=loss, each=each, cuts=cuts)
    options = WatchOptions(every, folder, callback, intended, adversarial, write, rate)
    if program.of_torch:
        if cuts is not None:
            named_cuts(unwrapped(model), cuts)  # now, not at the first step
        return TorchWatch(program, options)
    net = model if isinstance(model, Net) else program.network[0]
    if isinstance(net, Chain) and loss is None:
        raise ValueError(
            "loss: expected loss(output, ys) -> (B,) or a number for a chain, got None"
        )
    return Watch(net, program.loss, options)


def _names(net: Network | Chain) -> list[str]:
    """Return the names of the layers of a network."""
    return list(net.names) if isinstance(net, Chain) else [""] * (len(net.sizes) - 1)


def _check_same(start: Line, net: Network | Chain, folder: Path) -> None:
    """Raise if a folder has the watch of a network with other layers."""
    names = _names(net)
    there = [layer["name"] for layer in start.get("layers", [])]
    if start and there != names:
        raise ValueError(
            f"folder: expected a new one, or one with the watch of this network, got {folder}, "
            f"which has that of another, of {counted(len(there), 'layer')}; choose another folder"
        )


@compiled
def _watch(watch: Watch, step: Numbers, given: StepArrays, value: Numbers | None) -> None:
    """Measure and hand to the host, every so many steps and where numbers cease to be finite."""
    all_of_it = _behind_barrier((step, given, value))

    def look() -> None:
        arrays = [v for v in jax.tree.leaves(all_of_it) if is_array(v)]
        if watch.every < SPARSE or not are_few(arrays):  # it may take long: all are looked at
            _look(watch, False, *all_of_it)
            return
        step, given, value = all_of_it
        shows = ~_is_finite((together(_rows(given.after)), value))
        is_asked = shows | watch.is_looked_at(step)
        lax.cond(is_asked, lambda: _look(watch, shows, step, given, value), lambda: None)

    lax.cond(_is_one(watch, all_of_it), look, lambda: None)


def _rows(tree: PyTree) -> list[Array]:
    """Return the first row of each matrix, of one that is spread all: most show a Δ that is nan."""
    arrays = [v for v in jax.tree.leaves(tree) if can_be_learned(v)]
    return [v[..., 0, :] if v.ndim > 1 and v.size and not are_spread([v]) else v for v in arrays]


def _look(
    watch: Watch,
    shows: Bool[Array, ""] | bool,  # a loss, or a first row after the step, that is not finite
    step: Array,
    given: StepArrays,
    value: Array | None,
) -> None:
    """Measure and hand to the host, if that is due."""
    params, *_, after = given
    number = None if value is None else at_least_float32(value)
    change = None if after is None else log10_change(params, after)
    of_step = number, None if number is None else change
    is_due = watch.is_due(step)
    if change is not None or number is not None:
        known = [v for v in (change, number) if v is not None]
        # The size of a change is finite if all is before it and after it, but for sizes next to the
        # end of the range; that of none is -inf.
        is_due |= lax.cond(
            jnp.all(jnp.stack([v < jnp.inf for v in known])),
            lambda: False,
            # A number that no first row shows is seen one step late, by the loss that it spoils.
            lambda: breaks(params, after, value) | (shows & _is_finite(_rows(params))),
        )

    def measure() -> None:
        is_few = are_few([v for v in jax.tree.leaves(given) if is_array(v)])
        if is_few and cores() > 1:
            hand_over((None, *of_step), *_Handed.of(watch, given))
        else:
            measured = measured_step(watch.net, watch.loss, given)
            hand_over((measured, *of_step))

    def hand_over(
        tree: PyTree, program: _Handed | None = None, arrays: Sequence[Array] = ()
    ) -> None:
        receive = partial(watch._receive, program)
        jax.debug.callback(receive, step, jax.tree.map(whole, tree), list(arrays))

    def between() -> None:
        if number is not None:
            hand_over((None, *of_step))

    lax.cond(is_due, measure, between)


@compiled
def log10_change(before: PyTree, after: PyTree) -> Array:
    """Return log₁₀ of the norm of the change of all parameters together; inf or nan if one is."""
    changes = [
        at_least_float32(as_reals(b)) - at_least_float32(as_reals(a))
        for a, b in zip(together(before), together(after), strict=True)
    ]
    widest = np.result_type(np.float32, *(v.dtype for v in changes))
    # As one row: a logarithm of each array, and its ways out of the range, take long to compile.
    # No constant is among them: XLA squares its scale apart, which is inf, and 0 times that nan.
    whole_of_it = [v.astype(widest) for v in changes if v.size] or [jnp.zeros(1, widest)]
    return log_sizes_of([ScaledRows(whole_of_it, jnp.zeros((), jnp.int32))])[0] / LN10


def together(tree: PyTree) -> list[Array]:
    """Return the floats of a tree, few numbers as a vector for each dtype: kernels to compile."""
    floats = [jnp.asarray(v) for v in jax.tree.leaves(tree) if can_be_learned(v)]
    if not are_few(floats) or sum(v.size for v in floats) > MOST_TOGETHER:
        return floats
    return [
        jnp.concatenate([whole(v).ravel() for v in floats if v.dtype == dtype])
        for dtype in dict.fromkeys(v.dtype for v in floats)
    ]


def _check_whole() -> None:
    """Raise inside `jax.shard_map`, where each device would record what it has of the batch."""
    apart = jax.sharding.get_abstract_mesh().manual_axes
    if apart:
        raise ValueError(
            "expected a call outside of jax.shard_map and jax.pmap, got one where devices are "
            f"apart, along {', '.join(map(str, apart))}; call it after them, with the whole batch"
        )


def _is_one(watch: Watch, given: PyTree) -> Bool[Array, ""]:
    """Return True for one training; under `jax.vmap` say that members would be mixed: False."""
    step, *others = [lax.stop_gradient(v) for v in jax.tree.leaves(given) if is_array(v)]

    @jax.custom_batching.custom_vmap
    def one(step: Array, others: list[Array]) -> Array:
        return jnp.ones((), jnp.float32)

    @one.def_vmap
    def _(
        size: int, is_batched: list[PyTree], step: Array, others: list[Array]
    ) -> tuple[Array, bool]:
        watch._unmeasured(
            step[0] if is_batched[0] else step,
            f"expected one training, got {size} under jax.vmap; watch one member of them after "
            "jax.vmap, or each with a watch of its own",
        )
        return jnp.zeros((), jnp.float32), False

    flag: Array = one(step, others)
    return flag > 0


def _behind_barrier(tree: PyTree) -> Any:
    """Return a tree whose arrays the compiler computes as if nothing were made of them."""
    leaves, structure = jax.tree.flatten(tree)
    arrays = iter(barrier([jnp.asarray(v) for v in leaves if is_array(v)]))
    return jax.tree.unflatten(structure, [next(arrays) if is_array(v) else v for v in leaves])


@compiled
def breaks(before: PyTree, after: PyTree, value: Numbers | None) -> Bool[Array, ""]:
    """Tell whether a step is the first after which not all floats are finite."""
    return _is_finite(together(before)) & ~_is_finite((together(after), value))


def _is_finite(tree: PyTree) -> Bool[Array, ""]:
    """Tell whether all floats of a tree are finite."""
    flags = [jnp.all(jnp.isfinite(v)) for v in jax.tree.leaves(tree) if can_be_learned(v)]
    return jnp.all(jnp.stack(flags)) if flags else jnp.array(True)


def _are_at_hand(*given: PyTree) -> bool:
    """Tell whether numbers are known, on a CPU, where they are read without much ado."""
    arrays = [v for v in jax.tree.leaves(given) if is_array(v)]
    is_traced = any(isinstance(v, jax.core.Tracer) for v in arrays)
    return not is_traced and jax.default_backend() == "cpu" and not are_spread(arrays)
