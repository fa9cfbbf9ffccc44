"""A diagnosis as one page that needs no script and no network: verdict, charts, layers, formats."""

import html
from collections.abc import Iterable, Sequence

from ..diagnosis import Diagnosis
from ..flow.view.chart import chart, svg
from ..flow.view.table import findings_as_html
from . import diagnosis

MOST_ROWS = 40  # of the table of layers; those in the middle are left out
STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 60rem; margin: 0 auto; padding: 1rem }
h1 { font-size: 1.4rem; overflow-wrap: anywhere }
p { max-width: 45rem; overflow-wrap: anywhere }
section { overflow-x: auto; margin: 1.5rem 0 }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
caption { text-align: left; font-weight: bold; padding: .4rem 0 }
th, td { padding: .15rem .7rem .15rem 0; text-align: right; white-space: nowrap; font-weight: 400 }
th:first-child, td:first-child { text-align: left }
thead th { border-bottom: 1px solid #8888; font-weight: 600 }
"""
FORMATS = "number format", "loses Δ", "loses what differs between examples"


def page(result: Diagnosis, code: str, target: str, sentences: Iterable[str]) -> str:
    """Return the page as HTML; code names the function, target too, without its folders."""
    rows = result.flow.table()
    columns = diagnosis.known(rows, tuple(diagnosis.HEADS))
    heads = ("layer", *(diagnosis.HEADS[name] for name in columns))
    layers = _table("Layer by layer", heads, diagnosis.lines(rows, columns, MOST_ROWS))
    formats = _table("Where number formats end", FORMATS, diagnosis.formats(result.verdict))
    title = html.escape(f"Why do gradients vanish or explode in {code}?")
    measured = html.escape(diagnosis.subtitle(result, target))
    parts = (svg(chart(result.flow)), layers, formats)
    sections = "\n".join(f"<section>{part}</section>" for part in parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head>\n<body><h1>{title}</h1>"
        f"<p>{measured}.</p>{findings_as_html(sentences)}\n{sections}\n</body></html>\n"
    )


def _table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = (_row("th", head), *(_row("td", row) for row in rows))
    first, *others = lines
    return (
        f"<table><caption>{html.escape(caption)}</caption><thead>{first}</thead>"
        f"<tbody>{''.join(others)}</tbody></table>"
    )


def _row(kind: str, cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{kind}>{html.escape(cell)}</{kind}>' for cell in cells)}</tr>"
