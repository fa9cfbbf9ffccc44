"""A griffe extension that reads our docstrings as mkdocstrings expects them.

`Example:` or `Example (if …):` becomes Google's section `Examples:`; else prompts would be taken
for quotations. Lines `name: what it is` in the docstring of a class, name being one of its fields,
become a list; else they would flow into one paragraph. Lines of `Returns:` and `Yields:` that go on
are indented; else each would be a result of its own.
"""

import re
from typing import Any

import griffe

FIELDS = re.compile(r"^(\w+(?:, \w+)*): (.*)$")
RESULTS = re.compile(r"^(?:Returns|Yields):\n((?: {4}.*\n?|\n)+)", re.MULTILINE)
NAMED = re.compile(r"^ {4}[a-z]\w*: ")


class Docstrings(griffe.Extension):
    """Rewrite every docstring."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite the sections of examples and of results."""
        if obj.docstring is not None:
            obj.docstring.value = with_results(with_examples(obj.docstring.value))

    def on_class(self, *, cls: griffe.Class, **kwargs: Any) -> None:
        """Rewrite the fields of a class, whose members, inherited ones too, are known by now."""
        if cls.docstring is not None:
            cls.docstring.value = listed(cls.docstring.value, {*cls.all_members})


def with_examples(text: str) -> str:
    """Return a docstring whose example is a section; a condition in brackets comes into it."""
    text = re.sub(r"^Example:$", "Examples:", text, flags=re.MULTILINE)
    condition = r"^Example \((\w)(.*)\):$"
    return re.sub(
        condition,
        lambda match: f"Examples:\n    {match[1].upper()}{match[2]}:\n",
        text,
        flags=re.MULTILINE,
    )


def with_results(text: str) -> str:
    """Return a docstring whose results are one, unless the first line names its result."""
    return RESULTS.sub(lambda match: match[0] if NAMED.match(match[1]) else _as_one(match[0]), text)


def _as_one(section: str) -> str:
    """Return a section whose lines after the first belong to it."""
    head, first, *others = section.split("\n")
    return "\n".join([head, first, *(f"    {line}" if line else line for line in others)])


def listed(text: str, fields: set[str]) -> str:
    """Return a docstring with its lines about fields as a list."""
    lines: list[str] = []
    inside = False
    for line in text.splitlines():
        match = FIELDS.match(line)
        if match and {*match[1].split(", ")} <= fields:
            lines += [] if inside else [""]
            names = ", ".join(f"`{name}`" for name in match[1].split(", "))
            lines.append(f"- {names}: {match[2]}")
            inside = True
        else:
            inside = inside and line.startswith(" ")
            lines.append(line)
    return "\n".join(lines)
