"""The distribution `jaxnn-flow`, which this package comes from, and how to add an extra to it.

On the package index the name `jaxnn` is another project's, whose code has the same import name. So
an extra is added to what is installed here, by its own name and from where it came, and files of
the other project are warned of when jaxnn is imported, before any of its modules that they may have
written over.
"""

import json
import os
import shlex
import warnings
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

DISTRIBUTION, OTHER = "jaxnn-flow", "jaxnn"
PACKAGE = Path(__file__).parent
# The packages of extras that are of use without a checkout.
EXTRAS = {"charts": ("altair>=5.5", "vl-convert-python>=1.8")}


def install_command(extra: str) -> str:
    """Return the command that installs the packages of an extra, for a shell.

    A checkout is installed as it lies; what was installed is named with its extra, by the URL that
    it came from if there is one. A folder that was not installed, or a URL that may hold a secret,
    leaves the packages themselves.

    Example:
        >>> install_command("charts").startswith("python -m pip install ")
        True
    """
    root = PACKAGE.parent
    if _is_checkout(root):
        where = "." if Path().samefile(root) else root
        return f"python -m pip install -e {_quoted(f'{where}[{extra}]')}"
    requirement = _requirement(extra)
    if requirement is not None:
        return f"python -m pip install {_quoted(requirement)}"
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


def _requirement(extra: str) -> str | None:
    """Return the installed distribution with an extra; None if it has to be told otherwise."""
    for found in metadata.distributions(name=DISTRIBUTION):
        if Path(str(found.locate_file(PACKAGE.name))).resolve() != PACKAGE.resolve():
            continue  # another copy than the one that runs
        origin = found.read_text("direct_url.json")
        if origin is None:  # from an index
            return f"{DISTRIBUTION}[{extra}]"
        url = _url(**json.loads(origin))
        return url and f"{DISTRIBUTION}[{extra}] @ {url}"
    return None


def _url(
    url: str, vcs_info: dict[str, str] | None = None, subdirectory: str = "", **_: object
) -> str | None:
    """Return the URL of `direct_url.json` for pip; None if it is gone or may hold a secret."""
    parts = urlsplit(url)
    user = parts.username if parts.scheme != "ssh" else None  # the user of ssh is no secret
    if user or parts.password or parts.query:
        return None
    if parts.scheme == "file":
        from urllib.request import url2pathname  # which imports much that jaxnn does not need

        if not Path(url2pathname(parts.path)).exists():
            return None
    source = parts._replace(fragment="").geturl()
    if vcs_info is not None:
        source = f"{vcs_info['vcs']}+{source}@{vcs_info['commit_id']}"
    return f"{source}#subdirectory={subdirectory}" if subdirectory else source


def _quoted(word: str) -> str:
    """Return a word for a shell: in double quotes, which all shells have, if they are enough."""
    return f'"{word}"' if os.name == "nt" or not {*'"$`\\!'} & {*word} else shlex.quote(word)


warn_of_others()
