"""Data, labels, cotangent and loss of a measurement: sizes, and the first that is broken.

A nan in the data makes every number of a network nan, which is not the network's fault: so these
are looked at before the parameters are. Labels that are missing may be nan, and masks may have
-inf: what is not finite is broken only where numbers of the network are not finite either.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ...arrays.compiled import Numbers
from ...arrays.rows import at_least_float32, is_float
from ...texts import counted
from .loss import OfLoss

MEND = "mend the data, then measure again"


class Broken(NamedTuple):
    """A broken argument: its name, such as xs, and what is wrong with it."""

    name: str
    text: str


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Given:
    """Sizes of the float arrays that were handed over, xs first, and the loss.

    largest: the largest |entry| of each array; nan if one is nan.
    highest: the largest entry.
    broken: how many of its entries are nan or infinite.
    loss: the mean loss; None of a cotangent and of a Network.
    underflows: whether Δ of the output is zero only for the range of its 16-bit float; None where
        that is not known.
    names: of the arrays, such as xs['image']; static.
    counts: of their entries; static.
    dtypes: of the arrays, float32 of narrower ones; static.
    depends: whether the program of the loss leads from the output to its value; static.
    """

    largest: Float[Numbers, "*v G"]
    highest: Float[Numbers, "*v G"]
    broken: Int[Numbers, "*v G"]
    loss: Float[Numbers, "*v"] | None
    underflows: Bool[Array, "*v"] | None
    names: tuple[str, ...] = field(metadata={"static": True})
    counts: tuple[int, ...] = field(metadata={"static": True})
    dtypes: tuple[str, ...] = field(metadata={"static": True})
    depends: bool = field(default=True, metadata={"static": True})

    @classmethod
    def of(cls, trees: Mapping[str, Any], loss: OfLoss | None = None, xp: Any = jnp) -> "Given":
        """Return the sizes of pytrees that were handed over, by name; NumPy's are not compiled."""
        arrays = {
            f"{name}{jax.tree_util.keystr(path)}": v if xp is np else at_least_float32(v)
            for name, tree in trees.items()
            for path, v in jax.tree_util.tree_leaves_with_path(tree)
            if is_float(v) and v.size
        }
        values = tuple(arrays.values())
        widest = max((v.dtype for v in values), key=lambda d: d.itemsize, default=np.float32)
        none = np.zeros(0, widest)
        largest = [xp.max(xp.abs(v)).astype(widest) for v in values]
        highest = [xp.max(v).astype(widest) for v in values]
        broken = [xp.sum(~xp.isfinite(v)) for v in values]
        return cls(
            xp.stack(largest) if values else xp.asarray(none),
            xp.stack(highest) if values else xp.asarray(none),
            xp.stack(broken) if values else xp.asarray(none, int),
            None if loss is None else loss.value,
            None if loss is None else loss.underflows,
            tuple(arrays),
            tuple(v.size for v in values),
            tuple(v.dtype.name for v in values),
            loss is None or loss.depends,
        )

    def repeated(self, count: int) -> "Given":
        """Return the same for each of several flows."""
        several: Given = jax.tree.map(lambda v: jnp.broadcast_to(v, (count, *jnp.shape(v))), self)
        return several

    def broken_data(self, is_hurt: bool, with_masks: bool = False) -> Broken | None:
        """Return the first array that is broken; None if there is none.

        is_hurt: whether some number of the network is not finite.
        with_masks: whether entries of xs below 0 count too, which may be those of a mask.
        """
        largest, highest = (np.asarray(v, np.float64) for v in (self.largest, self.highest))
        sizes = zip(self.names, largest, highest, self.dtypes, strict=True)
        for i, (name, size, top, dtype) in enumerate(sizes):
            size = top if name.startswith("xs") and not with_masks else size
            too_large = size > float(np.finfo(dtype).max) ** 0.5
            if (too_large and size < np.inf) or (is_hurt and not size < np.inf):
                return Broken(name, f"{name}: {self._what(i)}")
        return None

    def _what(self, i: int) -> str:
        """Say what is wrong with an array."""
        size, broken = float(self.largest[i]), int(self.broken[i])
        entries = counted(self.counts[i], "entry")
        if not broken:
            dtype = self.dtypes[i]
            return f"the largest of {entries} is {size:.2g}, whose square leaves {dtype}"
        what = "nan or infinite" if np.isnan(size) else "infinite"
        return f"{broken} of {entries} {'is' if broken == 1 else 'are'} {what}"

    def why_zero(self, dtype: str) -> str:
        """Say why Δ of the output is zero, given the narrowest dtype of the states."""
        cotangents = [i for i, name in enumerate(self.names) if name.startswith("cotangent")]
        if cotangents and not np.asarray(self.largest)[cotangents].any():
            return "the cotangent is zero"
        if not self.depends:
            return "the loss does not depend on it"
        if self.underflows is None:
            return f"the derivative of the loss is zero, or too small for {dtype}"
        if not self.underflows:
            return f"the derivative of the loss is zero, or a constant in it is in {dtype}"
        return (
            f"the derivative of the loss is below the range of {dtype}; multiply the loss by a "
            "power of two, or compute it in float32"
        )

    def broken_loss(self, is_undefined: bool) -> str:
        """Say that the loss of a finite output, or its derivative, is not finite; else ""."""
        loss = 0.0 if self.loss is None else float(np.asarray(self.loss, np.float64))
        if np.isfinite(loss) and not is_undefined:
            return ""
        what = "loss" if not np.isfinite(loss) else "derivative of the loss"
        number = "infinite" if np.isinf(loss) else "nan" if np.isnan(loss) else "no finite number"
        return f"The {what} is {number}, though the output is finite."
