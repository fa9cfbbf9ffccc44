"""The picture of the house: a strip for each room of the library, a box for each of its files.

    python docs/house.py

writes `docs/house.svg` and `docs/house-narrow.svg` from the source: the rooms in the order of the
contracts of imports in `pyproject.toml`, from the command down to arrays, and a box as wide as its
file has lines. `tests/test_docs.py` tells when they are older than the house.
"""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import altair as alt
import vl_convert

DOCS = Path(__file__).parent
ROOT = DOCS.parent
LIBRARY = ROOT / "jaxnn"
ROW = 36  # pixels
BOX = "#3b82c4"


class Picture(NamedTuple):
    """The width of a picture in pixels, and the size of its font."""

    width: int
    margin: int
    font: int


PICTURES = {"house": Picture(820, 96, 11), "house-narrow": Picture(240, 90, 10)}


def main() -> None:
    """Draw the house."""
    for name, picture in PICTURES.items():
        (DOCS / f"{name}.svg").write_text(drawn(picture), encoding="utf-8")


def rooms() -> list[str]:
    """Return the rooms from the top floor down, as the contracts of imports name them."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    contracts = tomllib.loads(text)["tool"]["importlinter"]["contracts"]
    inside = {
        container: [f"{container}.{room}" for floor in contract["layers"] for room in _of(floor)]
        for contract in contracts
        for container in contract.get("containers", ())
    }
    families = next(each for each in contracts if "jaxnn.cli" in each.get("layers", ()))
    names = [name for floor in families["layers"] for name in _of(floor)]
    return [room for name in names for room in inside.get(name, [name])]


def _of(floor: str) -> list[str]:
    return [name.strip() for name in floor.split("|")]


def files(room: str) -> dict[str, int]:
    """Return how many lines each file of a room has, the longest first; folders count as one."""
    place = ROOT.joinpath(*room.split("."))
    if not place.is_dir():
        return {place.name: _lines(place.with_suffix(".py"))}
    inside = [path for path in place.iterdir() if path.suffix == ".py" or path.is_dir()]
    counted = {path.stem: sum(map(_lines, _python(path))) for path in inside}
    kept = {name: count for name, count in counted.items() if count and name != "__init__"}
    return dict(sorted(kept.items(), key=lambda item: -item[1]))


def _python(path: Path) -> Iterator[Path]:
    return path.rglob("*.py") if path.is_dir() else iter([path])


def _lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def boxes(picture: Picture) -> list[dict[str, Any]]:
    """Return the boxes of a picture: where each is, its room, its name and what fits of it."""
    found = {room: files(room) for room in rooms()}
    scale = picture.width / max(sum(each.values()) for each in found.values())
    placed = []
    for row, (room, lines) in enumerate(found.items()):
        left = 0.0
        for name, count in lines.items():
            wide = count * scale
            fits = max(map(len, name.split("_"))) * 0.58 * picture.font < wide - 5
            placed.append(
                {
                    "room": room.removeprefix("jaxnn.").replace(".", "/"),
                    "row": row,
                    "left": round(left, 1),
                    "right": round(left + wide - 1, 1),
                    "name": name.split("_") if fits else "",
                }
            )
            left += wide
    return placed


def drawn(picture: Picture) -> str:
    """Return a picture as SVG."""
    data = alt.Data(values=boxes(picture))
    x = alt.X("left:Q", axis=None, scale=alt.Scale(domain=[-picture.margin, picture.width]))
    y = alt.Y("row:O", axis=None)
    base = alt.Chart(data).encode(y=y)
    box = base.mark_rect(color=BOX, opacity=0.28, height=ROW - 5).encode(x=x, x2="right:Q")
    one = {"align": "left", "dx": 3, "fontSize": picture.font, "lineHeight": picture.font + 1}
    names = base.mark_text(**one, dy=alt.expr("length(datum.name) > 1 ? -6 : 0")).encode(
        x=x, text="name:N"
    )
    first = base.transform_filter("datum.left == 0")
    room = first.mark_text(align="right", dx=-8, fontSize=12).encode(x=x, text="room:N")
    chart = alt.layer(box, names, room).properties(
        width=picture.margin + picture.width, height=alt.Step(ROW), background="white"
    )
    text: str = vl_convert.vegalite_to_svg(chart.configure_view(stroke=None).to_dict())
    return text


if __name__ == "__main__":
    main()
