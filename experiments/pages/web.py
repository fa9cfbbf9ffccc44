"""Pages that need no network: they carry all inside, and names in them cannot become code.

Text goes through Jinja2's escaping, data as JSON in which no tag can begin or end, and the page's
own policy lets only those scripts run that it was written with, and nothing be fetched. Expressions
of charts are interpreted by Vega; nothing is compiled from text. The policy counts every byte of a
script: write a page as it is.
"""

import base64
import gzip
import hashlib
import json
from functools import cache
from pathlib import Path

import altair
import jinja2
from markupsafe import Markup

from experiments.pages import engine
from jaxnn.texts import cleaned

HERE = Path(__file__).parent
# Legal in JSON, but not to a reader of HTML, or to one of JavaScript before 2019.
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
    """Return Vega, Vega-Lite and Vega-Embed as a script.

    Raises:
        NotDrawnError: there is none stored, and no engine makes it.
    """
    version = engine.minor(altair.SCHEMA_VERSION)  # of the charts that Altair writes
    return engine.stored_library(version) or engine.begin("library", version)()


def packed(text: str) -> str:
    """Return a text by gzip and base64, as a page unpacks it."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def in_script(value: object) -> Markup:
    r"""Return a value as JSON that may stand in a <script> element.

    Raises:
        ValueError: it holds nan or inf, which JSON lacks.

    Example:
        >>> print(in_script({"name": "</script>"}))
        {"name":"\u003c/script\u003e"}
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.translate(ESCAPES))


def _library_or_reason() -> str:
    """Return the library, or a script with which a page says why it has none."""
    try:
        return library()
    except engine.NotDrawnError as error:
        reason = in_script(str(error))
        return f"const vegaEmbed = () => Promise.reject(new Error({reason}));"


def render(template: str, script: str, is_live: bool = False, **values: object) -> str:
    """Return a page from a template and a script next to this file, with the library of charts.

    A live one may ask its own server; any other asks nobody.
    """
    charts, names = _library_or_reason(), ("library.js", script)
    scripts = [(HERE / name).read_text(encoding="utf-8") for name in names]
    known = (charts, *scripts)
    hashes = (base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in known)
    allowed = " ".join(f"'sha256-{value}'" for value in hashes)
    policy = (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'" + "; connect-src 'self'" * is_live
    )
    page = _pages.get_template(template)
    return page.render(
        policy=policy,
        is_live=is_live,
        library=packed(charts),
        scripts=[Markup(script) for script in scripts],
        **cleaned(values),
    )
