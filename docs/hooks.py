"""Hooks of MkDocs: formulas as MathML, pictures in the ink of the page, no other host.

A page that only links to a file of the repository, such as the changelog, shows that file. Formulas
between dollars become MathML while the site is built: browsers draw it themselves, without a script
and without fonts from anywhere, and a screen reader reads it.
A picture in a `<figure class="picture">` becomes part of the page, in its ink, with the narrow one
for phones that `docs/pictures.py` draws.
After the build every page and style sheet is searched for what a browser would load from another
host; the build fails if there is any.
"""

import html
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
LINK = re.compile(r"\[\w+\.md\]\(\.\./(\w+\.md)\)\n?")
PICTURE = re.compile(
    r'<figure class="picture">\s*<p><img alt="(?P<alt>[^"]*)" src="(?P<name>[^"]+)\.svg" ?/?></p>'
    r"\s*</figure>"
)
FORMULA = re.compile(
    r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>',
    re.DOTALL,
)
TABLE = re.compile("<table>.*?</table>", re.DOTALL)
HEAD = re.compile("<th[^>]*>(.*?)</th>", re.DOTALL)
WIDE = 3  # columns of a table that a phone shows row by row
# What a browser loads without being asked; links that a reader may follow are not among it.
LOADED = re.compile(
    r"<(?:script|img|iframe|source|video|audio|embed)\b[^>]*?\bsrc=[\"']?((?:https?:)?//[^\s\"'>]+)"
    r"|<link\b(?![^>]*\brel=[\"']?(?:canonical|next|prev|alternate)\b)"
    r"[^>]*?\bhref=[\"']?((?:https?:)?//[^\s\"'>]+)"
    r"|(?:url\(|@import\s+)[\"']?((?:https?:)?//[^\s\"')]+)",
)


def on_page_markdown(markdown: str, **kwargs: Any) -> str:
    """Put a file of the repository where a page only links to it."""
    link = LINK.fullmatch(markdown)
    if link is None:
        return markdown
    return (DOCS.parent / link[1]).read_text(encoding="utf-8").replace("](docs/", "](")


def on_page_content(html: str, **kwargs: Any) -> str:
    """Replace formulas by MathML, and name the columns of wide tables in their cells."""
    return TABLE.sub(_labelled, FORMULA.sub(_as_mathml, html))


def _labelled(match: re.Match[str]) -> str:
    """Return a table whose cells know their column: a phone shows each row as a list of them."""
    table = match[0]
    heads = [
        re.sub("<[^>]+>", "", head).strip().replace('"', "&quot;") for head in HEAD.findall(table)
    ]
    if len(heads) < WIDE:
        return table
    rows = table.split("<tr>")
    rows = [rows[0], *("".join(_with_columns(row, heads)) for row in rows[1:])]
    return "<tr>".join(rows).replace("<table>", "<table data-wide>", 1)


def _with_columns(row: str, heads: list[str]) -> Iterator[str]:
    first, *cells = row.split("<td")
    yield first
    for head, cell in zip(heads, cells, strict=bool(cells)):
        attributes, _, rest = cell.partition(">")
        content, end, after = rest.partition("</td>")
        if "<" in content:  # text and code in one box, which stands beside the column's name
            content = f"<div>{content}</div>"
        yield f'<td data-column="{head}"{attributes}>{content}{end}{after}'


def on_post_page(output: str, **kwargs: Any) -> str:
    """Put pictures into the page, when its text has been taken for the search already."""
    return PICTURE.sub(_inlined, output)


def _inlined(match: re.Match[str]) -> str:
    """Return a picture as parts of a page, wide and narrow, black in the page's ink."""
    alt, name = match["alt"], Path(match["name"]).name
    versions = (("wide", f"{name}.svg"), ("narrow", f"{name}-narrow.svg"))
    drawn = (_part(alt, kind, (DOCS / file).read_text(encoding="utf-8")) for kind, file in versions)
    return f'<figure class="picture">{"".join(drawn)}</figure>'


def _part(alt: str, kind: str, svg: str) -> str:
    # Ids are of this picture alone on its page.
    own = f"{zlib.crc32(svg.encode()):08x}"
    svg = re.sub(r'(\bid="|url\(#)', rf"\g<1>{own}-", svg)
    svg = re.sub(r'<rect width="\d+" height="\d+" fill="white"/>', "", svg, count=1)
    svg = re.sub(r'(fill|stroke)="(?:black|#000)"', r'\1="currentColor"', svg)
    label = f'role="img" aria-label="{alt}"'
    return svg.replace("<svg ", f"<svg {label} ", 1).replace('class="marks"', f'class="{kind}"', 1)


def on_post_build(config: Any, **kwargs: Any) -> None:
    """Search what was built for anything from another host.

    Raises:
        RuntimeError: there is something; the message names the page.
    """
    found = loaded_from_elsewhere(Path(config.site_dir))
    if found:
        raise RuntimeError("the site would load from another host: " + "; ".join(found))


def _as_mathml(match: re.Match[str]) -> str:
    from latex2mathml.converter import convert

    display = "block" if match[2] == "[" else "inline"
    formula: str = convert(html.unescape(match[3]).strip(), display=display)
    return f'<div class="formula">{formula}</div>' if display == "block" else formula


def loaded_from_elsewhere(site: Path) -> list[str]:
    """Return `file: address` for everything that a page or style sheet loads from another host."""
    found = []
    for path in sorted([*site.rglob("*.html"), *site.rglob("*.css")]):
        for match in LOADED.finditer(path.read_text(encoding="utf-8")):
            address = next(filter(None, match.groups()))
            found.append(f"{path.relative_to(site)}: {address}")
    return found
