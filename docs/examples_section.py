"""A griffe extension: read `Example:` of our docstrings as the section `Examples:` that runs code.

Google's style knows `Examples:` alone; without this the prompts of an example would be taken for
quotations.
"""

import re
from typing import Any

import griffe


class ExamplesSection(griffe.Extension):
    """Rename the heading in every docstring."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rename it in one docstring."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(
                r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE
            )
