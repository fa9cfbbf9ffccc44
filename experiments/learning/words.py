"""Names and entries of a user's file in a sentence: short, printable, and on one line."""

from collections.abc import Sequence

from jaxnn.flow.measure.theory_flow import errors_of
from jaxnn.texts import clean, cleaned

MOST = 60  # characters of one name or entry
ERRORS = 3.0  # by which a measurement may be apart from its theory, of a Gaussian


def short(text: str) -> str:
    """Return a text of at most `MOST` printable characters."""
    return clean(text if len(text) <= MOST else f"{text[: MOST - 1]}…")


def quoted(value: object) -> str:
    """Return a name or an entry in quotes.

    Example:
        >>> quoted("island"), quoted("x" * 1000) == repr("x" * 59 + "…")
        ("'island'", True)
    """
    return repr(short(str(value)))


def listed(names: Sequence[str], most: int = 12) -> str:
    """Return names for a sentence; only the first of many.

    Example:
        >>> listed(["a", "b", "c"], most=2)
        'a, b and 1 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(short, cleaned(names)[:most])) + more


def errors_off(measured: float, theory: float, error: float, seeds: int) -> str:
    """Say by how many errors, of their difference, a mean over seeds is off its theory.

    "" up to three, of few seeds up to as many as are as rare: Student's t.

    Example:
        >>> errors_off(0.0195, 0.0218, 0.0003, 8), errors_off(0.0195, 0.0218, 0.0003, 2)
        ('7.7 standard errors off', '')
    """
    if not error > 0 or not abs(measured - theory) > errors_of(seeds, ERRORS) * error:
        return ""
    return f"{abs(measured - theory) / error:.2g} standard errors off"
