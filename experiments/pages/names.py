"""Names of the files of charts and pages, also for those who do not draw: imports no Altair."""

REPORT = "report.html"
FORMATS = ("png", "svg", "pdf")


def of_chart(stem: str) -> tuple[str, ...]:
    """Return the names of the files of a chart.

    Example:
        >>> of_chart("gradients")
        ('gradients.png', 'gradients.svg', 'gradients.pdf')
    """
    return tuple(f"{stem}.{ending}" for ending in FORMATS)
