"""Names of the files that charts and pages become; imports nothing, as charts do."""

REPORT = "report.html"
FORMATS = ("png", "svg", "pdf", "html")


def of_chart(stem: str) -> tuple[str, ...]:
    """Return the names of the files of a chart.

    Example:
        >>> of_chart("gradients")
        ('gradients.png', 'gradients.svg', 'gradients.pdf', 'gradients.html')
    """
    return tuple(f"{stem}.{ending}" for ending in FORMATS)
