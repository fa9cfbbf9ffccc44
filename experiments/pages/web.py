"""Pages that need no network: they carry all inside, and names in them cannot become code.

Text goes through Jinja2's escaping, data as JSON in which no tag can begin or end, and the page's
own policy lets only those scripts run that it was written with, and nothing be fetched. Expressions
of charts are interpreted, and nothing is compiled from text. The policy counts every byte of a
script: write a page as it is.
"""

import base64
import gzip
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from experiments.pages import engine
from jaxnn.texts import cleaned

HERE = Path(__file__).parent
# Legal in JSON, but not to a reader of HTML, or to one of JavaScript before 2019.
Chart = dict[str, Any]
ESCAPES = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}

_pages = jinja2.Environment(
    loader=jinja2.FileSystemLoader(HERE),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@cache
def library() -> str:
    """Return what draws charts, as a script; one that says why, if there is no engine."""
    try:
        script: str = engine.begin("library")()
    except engine.NotDrawnError as error:
        return f"const vegaEmbed = () => {{ throw new Error({in_script(str(error))}); }};"
    return script


def as_json(value: object) -> str:
    """Return a value as JSON without spaces."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def packed(text: str) -> str:
    """Return a text by gzip and base64, as a page unpacks it."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def in_script(value: object) -> Markup:
    r"""Return a value as JSON that may stand in a <script> element.

    Example:
        >>> print(in_script({"name": "</script>"}))
        {"name":"\u003c/script\u003e"}
    """
    return Markup(as_json(value).translate(ESCAPES))


def render(specs: Sequence[Chart], is_live: bool = False, **values: object) -> str:
    """Return a report from the template and the scripts next to this file, with its charts.

    A live one may ask its own server; any other asks nobody.
    """
    scripts = [(HERE / name).read_text(encoding="utf-8") for name in ("vega.js", "report.js")]
    known = (library(), *scripts)
    hashes = (base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in known)
    allowed = " ".join(f"'sha256-{value}'" for value in hashes)
    policy = (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'" + "; connect-src 'self'" * is_live
    )
    return _pages.get_template("report.html.jinja").render(
        policy=policy,
        is_live=is_live,
        charts=packed(as_json(specs)),
        library=packed(library()),
        scripts=[Markup(script) for script in scripts],
        **cleaned(values),
    )
