"""Flows as rows, scalars and words, for tables, trackers of experiments and notebooks."""

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from ...texts import clean, clean_lines, cleaned, counted, head_and_rest
from ..formats.format_loss import rows_of

LN10 = float(np.log(10))
MOST_ROWS = 12  # of a flow in a notebook; those in the middle are left out

# Columns of a table: the name, the field of a flow, and whether it is a logarithm to be put to the
# base of ten.
COLUMNS: tuple[tuple[str, str, bool], ...] = (
    ("log10_delta", "log_delta", True),
    ("log10_largest", "log_largest", True),
    ("log10_gain", "log_gain", True),
    ("log10_theta", "log_theta", True),
    ("log10_mean_square", "log_mean_square", True),
    ("log10_spread", "log_spread", True),
    ("log10_spread_within", "log_spread_within", True),
    ("log10_branch", "log_branch", True),
    ("cosine", "cosine", False),
    ("rank", "rank", False),
    ("saturated", "saturated", False),
    ("dead", "dead", False),
    ("lost", "lost", False),
    ("mixes", "mixes", False),
)
SCALARS = (
    *("log10_delta", "log10_gain", "log10_theta", "log10_mean_square", "log10_spread", "rank"),
    "log10_branch",
)


def assert_one(flow: Any) -> None:
    """Raise unless a flow is that of one network, with known values."""
    if not hasattr(flow, "log_delta"):
        raise TypeError(
            f"flow: expected a Flow, as jaxnn.gradient_flow returns it, got {type(flow).__name__}"
        )
    if isinstance(flow.log_delta, jax.core.Tracer) or np.ndim(flow.log_delta) != 1:
        raise TypeError(
            "flow: expected that of one network with its values known, got a traced one or several "
            "networks; outside jax.jit and jax.vmap, flow[i] is that of network i"
        )


def assert_counted(flow: Any) -> None:
    """Raise unless the entries of a flow were counted."""
    if flow.entries is None:
        raise ValueError(
            "formats: expected a flow with the exponents of its entries; measure it with "
            "jaxnn.gradient_flow(..., entries=True)"
        )


def _columns(flow: Any) -> dict[str, list[Any]]:
    """Return the columns of a flow's table."""
    assert_one(flow)
    names = flow.names
    columns: dict[str, list[Any]] = {"layer": list(range(1, len(names) + 1)), "name": list(names)}
    for name, field, logarithm in COLUMNS:
        if (values := getattr(flow, field, getattr(flow.units, field, None))) is not None:
            numbers = np.asarray(values)
            if numbers.dtype != bool:
                numbers = numbers.astype(np.float64) / (LN10 if logarithm else 1)
            columns[name] = numbers.tolist()
    examples = np.asarray(flow.log_delta_example, np.float64) / LN10
    whole = np.asarray(flow.log_delta, np.float64) / LN10
    columns["log10_delta_rms"] = (whole - 0.5 * np.log10(examples.shape[1])).tolist()
    if flow.theory is not None:
        theory = np.asarray(flow.theory.log_delta, np.float64) / LN10
        columns["log10_delta_theory"] = (theory - 0.5 * np.log10(examples.shape[1])).tolist()
        error = np.asarray(flow.theory.errors.log_delta, np.float64) / LN10
        columns["log10_delta_theory_error"] = error.tolist()
    columns["log10_delta_smallest"] = examples.min(axis=1).tolist()
    columns["log10_delta_largest"] = examples.max(axis=1).tolist()
    return columns


def _short(flow: Any) -> str:
    """Return a flow in one line: its layers, and the gradient at its ends."""
    if isinstance(flow.log_delta, jax.core.Tracer):
        return "Flow that is traced"
    if np.ndim(flow.log_delta) != 1:
        count = counted(len(flow.log_delta), "flow")
        return f"{count} of {counted(len(flow.names), 'layer')}; flow[i] is one of them"
    log10 = np.asarray(flow.log_delta, np.float64) / LN10
    used = log10[~np.isnan(log10)]
    if not len(used):
        return f"Flow of {counted(len(log10), 'layer')}, none of them a number"
    return (
        f"Flow of {counted(len(used), 'layer')}: log10 ‖Δ‖ {used[0]:.3g} at the first, "
        f"{used[-1]:.3g} at the last; print(jaxnn.verdict(flow)) says more"
    )


def _as_html(caption: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as a table of HTML, all text escaped; of many rows the first and the last."""
    rows = cleaned(rows)
    head = rows[: MOST_ROWS // 2], rows[-(MOST_ROWS // 2) :]
    parts = (rows,) if len(rows) <= MOST_ROWS + 1 else head  # a gap takes a line too
    names = list(rows[0])
    gap = f'<tr><td colspan="{len(names)}">…</td></tr>'
    body = gap.join("".join(_cells("td", row.values()) for row in part) for part in parts)
    return (
        f"<table><caption>{html.escape(caption)}</caption>"
        f"<thead>{_cells('th', names)}</thead><tbody>{body}</tbody></table>"
    )


def _cells(kind: str, values: Iterable[Any]) -> str:
    texts = (f"{v:.4g}" if isinstance(v, float) else str(v) for v in values)
    return "<tr>" + "".join(f"<{kind}>{html.escape(text)}</{kind}>" for text in texts) + "</tr>"


def sentences_as_html(text: str) -> str:
    """Return lines of text as paragraphs of HTML, escaped."""
    return "".join(f"<p>{html.escape(line)}</p>" for line in clean_lines(text).split("\n"))


def findings_as_html(sentences: Iterable[str]) -> str:
    """Return a paragraph of HTML for each sentence, escaped, with its beginning in bold."""
    parts = (map(html.escape, head_and_rest(clean(sentence))) for sentence in sentences)
    return "".join(f"<p><b>{head}</b>{rest}</p>" for head, rest in parts)


class InWords:
    """Methods of every flow: rows, scalars, and words."""

    def table(self) -> list[dict[str, Any]]:
        """Return a row for each layer: layer, name, and numbers; logarithms to the base of ten.

        `polars.DataFrame(flow.table())` and `pandas.DataFrame(flow.table())` take it. Of several
        networks or depths the rows of all, with the number of the flow in front, from 0.

        Raises:
            TypeError: a traced flow.
        """
        flow: Any = self
        if not isinstance(flow.log_delta, jax.core.Tracer) and np.ndim(flow.log_delta) > 1:
            return [{"flow": i, **row} for i, part in enumerate(flow) for row in part.table()]
        columns = _columns(flow)
        count = len(columns["layer"])
        return [{name: values[i] for name, values in columns.items()} for i in range(count)]

    def attention_table(self) -> list[dict[str, Any]]:
        """Return a row for each head of each attention: layer, attention, head, and its numbers.

        These are largest_logit, entropy, most_entropy and share, as in `flow.attention`; no rows
        without attention.

        Raises:
            TypeError: a traced flow, or one of several networks.
            ValueError: a flow of a module of PyTorch that computes what cannot be followed.
        """
        flow: Any = self
        return _recognised(
            flow,
            flow.attention,
            {"layer": "layers", "attention": "attentions", "head": "heads"},
            ("largest_logit", "entropy", "most_entropy", "share"),
        )

    def router_table(self) -> list[dict[str, Any]]:
        """Return a row for each expert of each router: layer, router, expert, load.

        The load is as in `flow.routers`; no rows without routers. What a router learns next to its
        experts is in `parameter_table`.

        Raises:
            TypeError: a traced flow, or one of several networks.
            ValueError: a flow of a module of PyTorch that computes what cannot be followed.
        """
        flow: Any = self
        places = {"layer": "layers", "router": "routers", "expert": "experts"}
        return _recognised(flow, flow.routers, places, ("load",))

    def parameter_table(self) -> list[dict[str, Any]]:
        """Return a row for each parameter array: layer, path, and logarithms to the base of ten.

        log10_delta and log10_size are of the norms of its Δ and of itself; log10_ratio is their
        difference.

        Raises:
            TypeError: a traced flow, or one of several networks.
        """
        flow: Any = self
        assert_one(flow)
        parameters = flow.parameters
        deltas, sizes = (
            np.asarray(v, np.float64) / LN10 for v in (parameters.log_delta, parameters.log_size)
        )
        with np.errstate(invalid="ignore"):  # of zeros without a Δ
            ratios = deltas - sizes
        return [
            {
                "layer": layer,
                "path": path,
                "log10_delta": float(delta),
                "log10_size": float(size),
                "log10_ratio": float(ratio),
            }
            for layer, path, delta, size, ratio in zip(
                parameters.layers, parameters.paths, deltas, sizes, ratios, strict=True
            )
        ]

    def formats(self, of: str = "delta") -> list[dict[str, Any]]:
        """Return what number formats keep: a row for each array, format and kind of scale.

        zero, subnormal and overflow are shares of the entries that are not zero, zero_square and
        overflow_square of their square norm. Shares are those of rounding to nearest, exactly, by
        entries, where `verdict.lost` goes by the largest of each layer. scaling is none, loss (the
        power of two for the whole network with which the Δ that loses most keeps most) or tensor
        (one for each array, the largest with which nothing overflows). What overflows becomes inf,
        or nan in float8_e4m3fn.

        Args:
            of: what is counted: delta (of the layers' states), state, parameter or delta_parameter,
                these with a row for each array, and its path. Of several arrays of a state all.

        Raises:
            TypeError: a traced flow, or one of several networks.
            ValueError: a flow that was measured without entries=True; another `of` than it has.

        Example:
            >>> import jax, jax.numpy as jnp, jaxnn
            >>> net, params = jaxnn.as_network([lambda z: 2 * z])
            >>> c = jnp.array([[1e-9, 1.0]])
            >>> flow = jaxnn.gradient_flow((net, params), c, cotangent=c, entries=True)
            >>> plain, scaled, *_ = flow.formats()
            >>> plain["format"], plain["zero"], scaled["scale"], scaled["zero"]
            ('float16', 0.5, 15, 0.0)

        Sources: IEEE 754; OCP 8-bit Floating Point Specification 1.0.
        """
        assert_one(self)
        assert_counted(self)
        return rows_of(self, of)

    def scalars(self) -> dict[str, float]:
        """Return names and floats, a handful a layer, for TensorBoard, Weights & Biases, MLflow.

        What is no number is left out. The name of a layer has "." for brackets and "_" for what
        MLflow refuses in a name: `blocks[0]` is `blocks.0`.

        Raises:
            TypeError: a traced flow, or one of several networks.

        Example:
            >>> import jax, jax.numpy as jnp, jaxnn
            >>> net = jaxnn.Network(sizes=(3, 4, 1), activation="sigmoid", task="binary")
            >>> params = jaxnn.init(net, jax.random.key(0))
            >>> flow = jaxnn.gradient_flow((net, params), jnp.ones((2, 3)), jnp.array([0, 1]))
            >>> list(flow.scalars())[:2]
            ['gradient/1/log10_delta', 'gradient/1/log10_gain']
        """
        assert_one(self)
        rows = self.table()
        digits = len(str(len(rows)))
        return {
            # Numbers have zeros in front, so that they are in order where names are sorted.
            f"gradient/{row['layer']:0{digits}d}{' ' if row['name'] else ''}{plain(row['name'])}"
            f"/{name}": float(row[name])
            for row in rows
            for name in SCALARS
            if name in row and not np.isnan(row[name])
        }

    def __repr__(self) -> str:
        return _short(self)

    def _repr_html_(self) -> str:
        line = _short(self)
        try:
            return _as_html(line, self.table())
        except TypeError:
            return sentences_as_html(line)


def plain(name: str) -> str:
    """Return the name of a layer or array with no characters but those that trackers take."""
    dotted = re.sub(r"\[(['\"]?)(\w+)\1\]", r".\2", name).lstrip(".")
    return re.sub(r"[^\w. -]", "_", dotted)


def _recognised(
    flow: Any, recognised: Any, places: Mapping[str, str], numbers: Sequence[str]
) -> list[dict[str, Any]]:
    """Return rows of heads or experts; none of None."""
    assert_one(flow)
    if not flow.is_read:
        raise ValueError(
            "flow: attention and routers are not known, since what this module of PyTorch computes "
            "cannot be followed; flow.notes has why, and flow.parameter_table() what its arrays get"
        )
    if recognised is None:
        return []
    columns = {name: getattr(recognised, field) for name, field in places.items()}
    for name in numbers:
        columns[name] = np.asarray(getattr(recognised, name), np.float64).tolist()
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
