"""The command `jaxnn`, which comes with the package and needs no checkout.

    jaxnn diagnose FILE.py:NAME     why do gradients vanish or explode in a network of your own?
    jaxnn checkup FILE.py:NAME      can it learn one batch by heart, and if not, why?
    jaxnn version                   the versions of what computes, and the devices

A mistake of the user is one sentence and exit code 2, an allocation or a disk that fails one and 1,
Ctrl-C 130, with what there is by then. Anything else is a fault of ours and keeps its traceback.
"""

import argparse
import importlib.util
import platform
import sys
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import NoReturn

from ..diagnosis import TRY, Diagnosis
from ..distribution import install_command
from ..flow.view.chart import chart
from ..progress import live
from ..rehearsal.checkup import STEPS
from ..texts import clean, clean_lines
from ..trials.cures import Cures
from . import contract, diagnosis, loading, platforms, printing, source
from .kept_programs import keep_programs
from .page import page

FAILED, USER_MISTAKE, INTERRUPTED = 1, loading.USER_MISTAKE, loading.INTERRUPTED
PICTURES, PAGE = (".png", ".svg", ".pdf"), ".html"
EXIT_CODES = "Exit codes: 0 done, 1 failed while running, 2 a mistake in the command, 130 stopped."
DIAGNOSE = """\
Where is the gradient lost, and what would keep it?

Run a function of a file, measure the gradient of every layer of the network that it returns, and
print the verdict and a table of the layers.

FILE.py:NAME is a function without arguments, which is run here, with all of its file: name only
code that you trust. It returns what jaxnn.diagnose takes: (model, xs) or (model, xs, ys), or a dict
with the arguments of jaxnn.diagnose by their names, such as loss, or a diagnosis that it has made.
A model is a module of Equinox, Flax NNX or PyTorch, a pair (f, params) of f(params, xs), a list of
layers, or a pair (net, params) of ours. loss(output, ys) is one number for each example, or one.
Without a loss the gradient is that of a random linear one.
"""
CHECKUP = """\
Can it learn one batch by heart, and if not, why?

Run a function of a file, diagnose the network that it returns, and rehearse its training: a copy
takes some steps on its data and is watched. If it does not learn, try changes on further copies.
Print whether it learns these examples by heart, the change that makes it learn, and all that stands
out, the worst first. Ctrl-C ends the rehearsal and concludes with what was seen.

FILE.py:NAME is a function without arguments, which is run here, with all of its file: name only
code that you trust. It returns what jaxnn.checkup takes: (model, optimizer, xs) or (model,
optimizer, xs, ys), or a dict with the arguments of jaxnn.checkup by their names, such as loss, or
what diagnose takes: then the optimiser is Adam. A model is as for diagnose, and the optimiser one
of optax, or of a module of PyTorch a torch.optim.Optimizer over its parameters.
"""


class _Parser(argparse.ArgumentParser):
    """A parser whose error message is one sentence."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}; see {self.prog} --help")


def main(args: Sequence[str] | None = None) -> int:
    """Run one command, by default that of this process, and return the exit code."""
    given = sys.argv[1:] if args is None else list(args)
    try:
        settings = _parser().parse_args(given)
        if settings.command is None:
            _parser().print_help()
            return USER_MISTAKE
        return int(settings.run(settings))
    except (ValueError, TypeError, OSError) as mistake:
        return _say(mistake, USER_MISTAKE)
    except MemoryError as failure:
        return _say(failure, FAILED)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return INTERRUPTED


def command() -> int:
    """Run the command of this process; its streams take every character, and a pipe may close."""
    try:
        printing.prepare()
        loading.loaded()
        keep_programs()
        with printing.piped():
            return main()
    except SystemExit as end:  # --help and --version
        return end.code if isinstance(end.code, int) else 0
    except OSError as failure:
        return _say(failure, FAILED)


def _say(error: Exception, code: int) -> int:
    print(f"error: {clean_lines(str(error))}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        "jaxnn",
        description="Why do gradients vanish or explode in this network?",
        epilog="The experiments (depth, cures, train and others) live in a checkout of the "
        f"repository: python -m experiments --help. {EXIT_CODES}",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"jaxnn {_version()}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    version = commands.add_parser("version", help="print versions and devices")
    version.set_defaults(run=_print_versions)

    def of_a_file(name: str, about: str, description: str, returns: str) -> _Parser:
        parser: _Parser = commands.add_parser(
            name,
            help=about,
            description=description,
            epilog=EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        parser.add_argument("network", metavar="FILE.py:NAME", help=f"returns {returns}")
        return parser

    about = "say why gradients vanish or explode in a network of your own"
    diagnose = of_a_file("diagnose", about, DIAGNOSE, "the network")
    diagnose.add_argument(
        "--memory",
        choices=("all", "sqrt"),
        default="all",
        help="all stores the state of every layer; sqrt, of a run of k equal layers, every √k-th, "
        "and computes those between again (default: all)",
    )
    diagnose.add_argument(
        "--seed",
        type=int,
        default=0,
        help="draws the random loss, if the function returns none (default: 0)",
    )
    diagnose.add_argument(
        "--entries",
        action="store_true",
        help="count all entries as well, and say which number formats keep them",
    )
    diagnose.add_argument(
        "--theory",
        action="store_true",
        help="put theory beside the measurement: the network of the same layers, infinitely wide, "
        "with random weights",
    )
    diagnose.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="write a page, into a file that ends in .html, or a chart of the layers, in "
        f"{', '.join(PICTURES)}; needs the extra charts",
    )
    diagnose.add_argument(
        "--cures",
        action="store_true",
        help="try what would help on this network, and measure each change on it; takes some "
        "dozens of measurements",
    )
    diagnose.set_defaults(run=_diagnose)

    about = "rehearse the training of a network of your own: can it learn one batch by heart?"
    checkup = of_a_file("checkup", about, CHECKUP, "network and optimiser")
    checkup.add_argument(
        "--steps",
        type=int,
        help=f"of the rehearsal (default: those that the function returns, else {STEPS})",
    )
    checkup.set_defaults(run=_checkup)
    return parser


def _version() -> str:
    return str(sys.modules["jaxnn"].__version__)  # of the code that runs, installed or not


def _print_versions(settings: argparse.Namespace) -> int:
    print("jaxnn", _version())
    for package in ("jax", "jaxlib"):
        print(package, metadata.version(package))
    print("Python", platform.python_version())
    print("devices", ", ".join(map(str, platforms.devices())))
    return 0


def _diagnose(settings: argparse.Namespace) -> int:
    _check_out(settings.out)
    if not 0 <= settings.seed < 2**31:
        raise ValueError(f"seed: expected an integer from 0 to 2^31 - 1, got {settings.seed}")
    code = source.read(settings.network)
    platforms.check_debugging()
    platforms.check_flags()
    try:
        with live(piped=True):
            names = ("memory", "seed", "entries", "theory")
            result = contract.diagnosed(code, **{name: getattr(settings, name) for name in names})
    except (ValueError, FloatingPointError):
        platforms.devices()  # the user's code may only be where it shows that there is none
        raise
    to_try = "" if settings.cures else f"{TRY}: jaxnn diagnose {settings.network} --cures."
    target = f"{code.name}() of {code.path.name}"
    _print(result, target, to_try)
    if settings.cures and _print_cures(result).interrupted:
        return INTERRUPTED
    out: Path | None = settings.out
    if out is None:
        needed = "" if _can_draw() else f", after: {install_command('charts')}"
        print(f"\nA page with charts: --out page.html{needed}")
        return 0
    try:
        if out.suffix == PAGE:
            cures = result.cures.sentences[1:] if settings.cures else ()  # the rate is first
            sentences = [*diagnosis.sentences(result, to_try), *cures]
            out.write_text(page(result, str(code), target, sentences), encoding="utf-8")
        else:
            chart(result.flow).save(str(out))
    except OSError as failure:
        return _say(OSError(f"out: cannot write {out}: {failure.strerror}"), FAILED)
    print(f"\nThe {'page' if out.suffix == PAGE else 'chart'} is in {clean(str(out))}.")
    return 0


def _checkup(settings: argparse.Namespace) -> int:
    code = source.read(settings.network, more="; see checkup --help")
    platforms.check_debugging()
    platforms.check_flags()
    with live(piped=True):
        result = contract.checked_up(code, settings.steps)
    target = f"{code.name}() of {code.path.name}"
    print(printing.wrapped(diagnosis.subtitle(result.diagnosis, target)), end="\n\n")
    to_try = f"{TRY}: jaxnn diagnose {settings.network} --cures."
    _print_each((text, not result.learns) for text in result.ending(to_try, where="below"))
    if result.trials is not None and result.trials.tried:
        print("", *str(result.trials).splitlines(), sep="\n")
    return INTERRUPTED if result.course.interrupted else 0


def _print(result: Diagnosis, target: str, to_try: str) -> None:
    print(printing.wrapped(diagnosis.subtitle(result, target)), end="\n\n")
    table = diagnosis.plain_table(result.flow.table(), printing.printable)
    print(*table, sep="\n", end="\n\n")
    with live(piped=True):
        sentences = [*diagnosis.with_faults(result, to_try)]
    _print_each(sentences)


def _print_each(sentences: Iterable[tuple[str, bool]]) -> None:
    """Print sentences, each with whether it says what is wrong."""
    for sentence, is_wrong in sentences:
        colour = "red" if is_wrong else "green"
        print(printing.emphasised(printing.wrapped(clean(sentence)), colour))


def _print_cures(result: Diagnosis) -> Cures:
    """Try the cures, print them, and return them."""
    print()
    with live(piped=True):
        tried = result.cures
    _print_each((text, not works) for text, works in tried.lines)
    if not len(tried):
        print(*tried.sentences[1:])
    elif tried.interrupted:
        print(tried.sentences[-1])
    return tried


def _can_draw() -> bool:
    return all(importlib.util.find_spec(name) for name in ("altair", "vl_convert"))


def _check_out(path: Path | None) -> None:
    if path is None:
        return
    if path.suffix not in (*PICTURES, PAGE):
        endings = ", ".join((*PICTURES, PAGE))
        raise ValueError(f"out: expected a file that ends in {endings}, got {path}")
    if not path.parent.is_dir():
        raise ValueError(f"out: expected a folder that is there, got {path.parent}")
    if not _can_draw():
        needed = install_command("charts")
        raise ValueError(f"out: expected Altair and vl-convert to be installed; {needed}")
