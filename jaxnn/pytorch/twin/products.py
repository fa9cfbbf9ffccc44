"""Products with weights, seen below autograd: the same rule on the way up and on the way down.

    mm, addmm, bmm, baddbmm, convolution and its backward, of which one operand is made of
    weights alone   ->   a draw

What is made of weights alone is a weight; what is made of them and of a state entry by entry, such
as positions that are added, is a state. Whatever else takes both together is refused by name.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from ...errors import NoTwinError
from ..tensors import ByMemory, is_tensor, tensors_in
from ..types import Arguments, Named, OpOverload, torch
from .draws import Operator

Origins = frozenset[str]
STATE: Origins = frozenset({""})  # of what depends on the inputs
# What takes a state and weights, neither entry by entry nor as a product.
AS_THEY_ARE = {
    *("embedding", "embedding_dense_backward", "_prelu_kernel_backward", "_fused_rms_norm"),
    *(f"native_{kind}_norm" for kind in ("layer", "group", "batch")),
    *(f"native_{kind}_norm_backward" for kind in ("layer", "group", "batch")),
    *("cat", "stack", "index", "index_put", "index_put_", "index_select", "gather", "expand"),
    *("copy_", "_to_copy", "select_scatter", "slice_scatter", "constant_pad_nd"),
}
WAY_OUT = (
    "measure without theory, or write it of matrix products and convolutions, as nn.LSTMCell in a "
    "loop for nn.LSTM"
)


class Product(NamedTuple):
    """A product of a state with a weight."""

    x: Any  # the state; of a product of matrices (F, C)
    w: Any  # the weight, likewise (C, units)
    operator: Operator  # (x, w) -> the product
    finish: Callable[[Any], Any]  # puts the product where it belongs, and adds a bias
    below: int  # the axis of w that is summed over
    above: int  # the axis that is left
    of_matrices: bool = False  # it is x w


class KnownWeights(ByMemory[Origins]):
    """The tensors that are made of weights alone: the parameters behind each; STATE of a state."""

    def __init__(self) -> None:
        super().__init__(frozenset())

    def origins(self, value: object) -> Origins:
        """Return the parameters that a value is made of; none of a constant."""
        return self[value] if is_tensor(value) else frozenset()

    def is_weight(self, value: object) -> bool:
        """Tell a tensor that is made of weights and constants alone."""
        found = self.origins(value)
        return bool(found) and not found & STATE

    def made(self, inputs: Iterable[Any], outputs: Any) -> None:
        """Note what the outputs of an operation are made of."""
        together = frozenset[str]().union(*map(self.origins, inputs))
        together = STATE if together & STATE else together
        for output in tensors_in(outputs):
            self[output] = together


def product_of(
    func: OpOverload, args: Arguments, named: Named, is_weight: Callable[[object], bool]
) -> Product | None:
    """Return the product that an operation is, if one of its operands is made of weights alone."""
    aten = torch.ops.aten
    kinds: Mapping[Any, Callable[..., Product | None]] = {
        aten.mm.default: _matrices,
        aten.bmm.default: _matrices,
        aten.addmm.default: _with_bias,
        aten.baddbmm.default: _with_bias,
        aten.convolution.default: _convolution,
        aten.convolution_backward.default: _convolution_backward,
    }
    kind = kinds.get(func)
    return None if kind is None else kind(func, args, named, is_weight)


def _matrices(
    func: OpOverload, args: Arguments, named: Named, is_weight: Callable[[object], bool]
) -> Product | None:
    """Return a product of matrices, or of stacks of them."""
    left, right = args
    if is_weight(left) == is_weight(right):
        return None
    if left.ndim == right.ndim == 2:
        mm = torch.ops.aten.mm.default
        if is_weight(right):
            return Product(left, right, mm, lambda made: made, 0, 1, of_matrices=True)
        return Product(right.t(), left.t(), mm, lambda made: made.t(), 0, 1, True)
    if is_weight(right):
        return Product(left, right, func, lambda made: made, 1, 2)
    return Product(right, left, lambda x, w: func(w, x), lambda made: made, 2, 1)


def _with_bias(
    func: OpOverload, args: Arguments, named: Named, is_weight: Callable[[object], bool]
) -> Product | None:
    bias, *operands = args
    aten = torch.ops.aten
    without = aten.mm.default if func is aten.addmm.default else aten.bmm.default
    product = _matrices(without, tuple(operands), {}, is_weight)
    if product is None:
        return None
    alpha, beta = named.get("alpha", 1), named.get("beta", 1)

    def finish(made: Any) -> Any:
        return beta * bias + alpha * product.finish(made)

    return product._replace(finish=finish)


def _convolution(
    func: OpOverload, args: Arguments, named: Named, is_weight: Callable[[object], bool]
) -> Product | None:
    x, w, bias, *rest = args
    is_transposed = int(rest[3])
    if not is_weight(w) or is_weight(x):
        return None

    def finish(made: Any) -> Any:
        return made if bias is None else made + bias.reshape(-1, *[1] * (made.ndim - 2))

    return Product(
        x, w, lambda x, w: func(x, w, None, *rest), finish, 1 - is_transposed, is_transposed
    )


def _convolution_backward(
    func: OpOverload, args: Arguments, named: Named, is_weight: Callable[[object], bool]
) -> Product | None:
    delta, x, w, sizes, *rest, mask = args
    is_transposed = int(rest[3])
    if not is_weight(w) or not mask[0]:
        return None

    def down(delta: Any, w: Any) -> Any:
        return func(delta, x, w, sizes, *rest, [True, False, False])[0]

    def finish(made: Any) -> Any:
        return (made, *func(delta, x, w, sizes, *rest, [False, *mask[1:]])[1:])

    return Product(delta, w, down, finish, is_transposed, 1 - is_transposed)


def check_operation(func: OpOverload, args: Arguments, named: Named, weights: KnownWeights) -> None:
    """Raise NoTwinError for an operation that takes weights and a state together in its own way."""
    tensors = tensors_in([args, named])
    together = frozenset[str]().union(
        *(weights.origins(v) for v in tensors if weights.is_weight(v))
    )
    if not together or not any(weights.origins(v) & STATE for v in tensors):
        return
    pointwise = torch.Tag.pointwise
    name = getattr(func, "overloadpacket", func).__name__
    if pointwise not in getattr(func, "tags", ()) and name not in AS_THEY_ARE:
        named_weights = ", ".join(sorted(together)[:3])
        raise NoTwinError(
            f"module: theory expects matrix products and convolutions with weights, and {name} "
            f"takes {named_weights}; {WAY_OUT}"
        )
