"""The distribution `jaxnn-flow`, which this package comes from, and how to add an extra to it.

On the package index the name `jaxnn` is another project's, whose code has the same import name. So
files of the other project are warned of when jaxnn is imported, before any of its modules that they
may have written over.
"""

import os
import shlex
import warnings
from importlib import metadata
from pathlib import Path

DISTRIBUTION, OTHER = "jaxnn-flow", "jaxnn"
PACKAGE = Path(__file__).parent
# The packages of extras that are of use without a checkout.
EXTRAS = {"charts": ("altair>=5.5", "vl-convert-python>=1.8")}


def install_command(extra: str) -> str:
    """Return the command that installs the packages of an extra, for a shell.

    A checkout is installed as it lies; elsewhere the packages of the extra are.
    """
    root = PACKAGE.parent
    if _is_checkout(root):
        where = "." if Path().samefile(root) else root
        return f"python -m pip install -e {_quoted(f'{where}[{extra}]')}"
    if extra in EXTRAS:
        return f"python -m pip install {' '.join(map(_quoted, EXTRAS[extra]))}"
    return f'in a checkout of jaxnn: python -m pip install -e ".[{extra}]"'


def warn_of_others() -> None:
    """Warn, in one sentence, if files of the other project are installed too."""
    for found in metadata.distributions(name=OTHER):
        files = (found.read_text("RECORD") or "").splitlines()
        if any(file.startswith(f"{PACKAGE.name}/") for file in files):
            warnings.warn(
                f"jaxnn: the distribution {OTHER} of another project is installed too, in "
                f"{found.locate_file('')}, and its files may be mixed with those of "
                f"{DISTRIBUTION}; uninstall both (python -m pip uninstall {OTHER} {DISTRIBUTION}) "
                f"and install {DISTRIBUTION} again",
                stacklevel=4,  # the line that imports jaxnn
            )
            return


def _is_checkout(root: Path) -> bool:
    try:
        return f'name = "{DISTRIBUTION}"'.encode() in (root / "pyproject.toml").read_bytes()
    except OSError:
        return False


def _quoted(word: str) -> str:
    """Return a word for a shell: in double quotes, which all shells have, if they are enough."""
    return f'"{word}"' if os.name == "nt" or not {*'"$`\\!'} & {*word} else shlex.quote(word)


warn_of_others()
