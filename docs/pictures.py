"""Pictures of the site that come from runs: one for wide pages, one for the width of a phone.

    python docs/pictures.py runs/depth runs/cures

takes finished runs of `python -m experiments depth` and `cures` and writes
`docs/gradients.svg`, `docs/gradients-narrow.svg` and so on, black on white, as a code host shows
them. `docs/hooks.py` puts both into a page of the site, in the ink of that page; its style sheet
shows the one that fits.
"""

import json
import sys
from pathlib import Path

import vl_convert

from experiments import find
from experiments.pages import charts

DOCS = Path(__file__).parent
NARROW = "-narrow"  # at the end of the name of a picture for a phone


def main() -> None:
    """Draw the pictures of the runs that the command line names."""
    for folder in map(Path, sys.argv[1:]):
        for name, figure in figures(folder).items():
            assert figure.narrow is not None, f"{name} has no narrow version"
            for end, chart in (("", figure.chart), (NARROW, figure.narrow())):
                path = DOCS / f"{name}{end}.svg"
                path.write_text(drawn(figure._replace(chart=chart)), encoding="utf-8")


def figures(folder: Path) -> dict[str, charts.Figure]:
    """Return the figures of a run by name, from its rows.

    Raises:
        ValueError: the run is not finished.
    """
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    if not run["finished"]:
        raise ValueError(f"{folder}: expected a finished run")
    experiment = find(run["what"]["experiment"])
    values = run["what"]["settings"].items()
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in values}
    plan = experiment.prepare(experiment.settings(**settings, out=folder))
    results, _ = experiment.measure(plan, experiment.open(plan))  # all are there
    return experiment.conclude(plan, results).figures


def drawn(figure: charts.Figure) -> str:
    """Return a figure as SVG."""
    spec = charts.as_dict(figure.chart, figure.choices, ink="black", paper="white")
    spec["datasets"] = {name: charts.records(frame) for name, frame in figure.data.items()}
    text: str = vl_convert.vegalite_to_svg(spec)
    return text


if __name__ == "__main__":
    main()
