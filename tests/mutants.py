"""Mutants: faults put into copies of the source, each of which the tests should see.

    python tests/mutants.py                          # all formulas, and a sample of every room
    python tests/mutants.py --today                  # the room and the formulas whose day it is
    python tests/mutants.py formulas                 # all formulas alone
    python tests/mutants.py sigmoid                  # formulas with this word in their name
    python tests/mutants.py chain --count 100 --seed 3   # a sample of one room

There are two kinds. `formulas.txt` lists errors of formulas, as text, with the test that must see
each: all of them have to die. `operators.py` makes small faults at any line; of those a sample is
drawn from the lines that decide, room by room, and their kill rate has to stay above a floor. Those
that live are printed, to be looked at: a missing test, or code that need not be there.

First the tests of the room pass on an unchanged copy, which says what lines each of them reaches. A
mutant then faces the quickest of those that reach its line, and if it lives the quickest of all in
its room, since some reach a line through a program that an earlier test has compiled. It dies if
pytest reports a failed test. Any other end is no death: a test module that cannot be imported, a
fixture that raises, a run that takes longer than the limit. With JAXNN_PEERS set a package that is
not installed is a failure, and otherwise its mutants are left out, by name.

pytest does not collect this file. Operators take Python 3.12, whose `sys.monitoring` sees lines at
no cost.
"""

import argparse
import ast
import gc
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from operators import Change, Source

ROOT = Path(__file__).resolve().parents[1]
FORMULAS = ROOT / "tests" / "formulas.txt"
OURS = (ROOT, ROOT / "tests")
COPIED = ("jaxnn", "experiments", "tests", "docs", "examples", ".ci", ".github", "mkdocs.yml")
COPIED += ("pyproject.toml", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff")
DAYS = 14  # of which --today takes one, as conftest.py does of slow tests
LIMIT = 900  # seconds for tests that pass, many times what any takes: a slow machine kills none
STUCK = 120  # seconds for a mutant's tests, which take a third of that: some never end
SAMPLE = 15  # mutants of a room
# Of them a part has to die: about three of four do, in some rooms half, and samples have a spread.
FLOOR = 0.3
REACHING, OTHERS = 10.0, 30.0  # seconds of tests that a mutant faces, before it and of its room
# Each run of tests is a fork of a process that has imported what takes long and is not ours, and
# has started no thread.
SERVER = multiprocessing.get_context("forkserver")
PRELOADED = ["jax", "optax", "chex", "polars", "altair", "scipy.special", "sklearn.compose", "rich"]
PRELOADED += ["beartype", "tyro"]
ALL, DEFAULT = "slow or not slow", "not slow"
FAILED = 1  # pytest's exit code if tests ran and some of them failed


class Room(NamedTuple):
    """Lines that decide, and the tests that know them.

    files: patterns of paths in jaxnn/.
    tests: names of test files, without "test_".
    needs: a package without which those tests are skipped.
    """

    files: tuple[str, ...]
    tests: tuple[str, ...]
    needs: str = ""

    @property
    def marker(self) -> str:
        """Those that need a package are slow tests."""
        return ALL if self.needs else DEFAULT

    @property
    def everything(self) -> tuple[str, ...]:
        return tuple(f"tests/test_{name}.py" for name in self.tests)


ROOMS = {
    "passes": Room(
        ("passes/*", "arrays/loops.py"), ("training", "backprop", "runs", "mixed_layers")
    ),
    "arrays": Room(
        ("arrays/*", "interrupts.py"),
        ("block_floats", "signal", "flow", "mesh", "spectrum", "arguments", "sweeps", "interrupts"),
    ),
    "network": Room(
        ("network/*", "network/blocks/*", "initializers.py"),
        ("activations", "initializers", "blocks", "network", "runs"),
    ),
    "measure": Room(
        ("flow/measure/[!t]*", "flow/jacobian/*"),
        ("flow", "chain", "several_states", "signal", "costs", "spectrum"),
    ),
    "record": Room(("flow/record/*",), ("flow", "record", "several_states", "chain")),
    "verdict": Room(
        ("flow/verdict/*", "evidence/*"),
        ("findings", "evidence", "verdict", "verdict_faults", "record", "flow"),
    ),
    "formats": Room(("flow/formats/*",), ("formats", "findings")),
    "theory": Room(
        ("theory/*", "flow/expected/*"), ("theory", "meanfield", "two_inputs", "twin_theory")
    ),
    "twin": Room(("theory/twin/*",), ("twin", "twin_theory")),
    "chain": Room(
        ("chain/*",), ("cut", "several_states", "handover", "shared_weights", "inputs_as_states")
    ),
    "jaxpr": Room(
        ("jaxpr/*", "recognition/*"),
        ("primitives", "example_independence", "attention", "routers", "skips"),
    ),
    "pytorch": Room(("pytorch/*",), ("pytorch", "torch_example_axes"), needs="torch"),
    "train": Room(
        ("train/*", "scaling.py", "watching/*", "watching/alarms/*", "rehearsal/*"),
        ("alarms", "watch", "watch_records", "scaling", "checkup"),
    ),
    "trials": Room(
        ("patients/*", "trials/*"),
        ("trials", "cures", "cures_training", "cures_causes", "cures_code", "cures_advice"),
    ),
}


class ListError(Exception):
    """A mutant that cannot be applied, or tests that say nothing about it."""


class Mutant(NamedTuple):
    """A fault, and the tests that must see it.

    name: the fault in words, or its place with the lines before and after.
    path, text: the file with the fault in it.
    rounds: tests for pytest; the next ones are run if the ones before pass.
    marker: which of them.
    room: that of an operator's mutant; "" for a formula.
    """

    name: str
    path: str
    text: str
    rounds: tuple[tuple[str, ...], ...]
    marker: str = ALL
    room: str = ""


class Result(NamedTuple):
    """The end of a run of tests.

    code: pytest's exit code, None if it was stopped at the limit.
    failed: the tests that failed.
    broken: those with an error before or after them, and files that cannot be collected.
    reached: for each file its lines, each with the tests that reach it.
    durations: the seconds of each test.
    """

    code: int | None
    output: str
    seconds: float
    failed: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    reached: Mapping[str, dict[str, list[str]]] = MappingProxyType({})
    durations: Mapping[str, float] = MappingProxyType({})


class Ends:
    """A plugin of pytest that notes how tests end and what lines they reach.

    What pytest prints is for people. Of the files in `watched` each line that a test runs is noted;
    the code of other files is looked at once, when it is first called.
    """

    def __init__(self, watched: list[str]) -> None:
        self.failed: list[str] = []
        self.broken: list[str] = []
        self.durations: Counter[str] = Counter()
        self.reached: dict[str, dict[int, set[str]]] = {path: {} for path in watched}
        self.test: str | None = None
        if watched:
            tool, events = sys.monitoring.DEBUGGER_ID, sys.monitoring.events
            sys.monitoring.use_tool_id(tool, "mutants")
            sys.monitoring.register_callback(tool, events.PY_START, self._started)
            sys.monitoring.register_callback(tool, events.LINE, self._line)
            sys.monitoring.set_events(tool, events.PY_START)

    def _started(self, code: Any, offset: int) -> Any:
        if code.co_filename in self.reached:
            tool, events = sys.monitoring.DEBUGGER_ID, sys.monitoring.events
            sys.monitoring.set_local_events(tool, code, events.LINE)
        return sys.monitoring.DISABLE

    def _line(self, code: Any, line: int) -> None:
        if self.test is not None:
            self.reached[code.co_filename].setdefault(line, set()).add(self.test)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.test = nodeid

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.durations[report.nodeid] += report.duration
        if report.failed:
            (self.failed if report.when == "call" else self.broken).append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.broken.append(report.nodeid)

    def stored(self) -> str:
        reached = {
            path: {line: sorted(tests) for line, tests in lines.items()}
            for path, lines in self.reached.items()
        }
        return json.dumps([self.failed, self.broken, reached, self.durations])


def formulas() -> list[Mutant]:
    """The errors of formulas.txt.

    Raises:
        ListError: the text of one, or its test, does not stand exactly once.
    """
    folders = [sorted((ROOT / name).rglob("*.py")) for name in ("jaxnn", "experiments", "examples")]
    texts = [{path: path.read_text(encoding="utf-8") for path in folder} for folder in folders]
    tests = {
        path: path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("tests/test_*.py"))
    }
    mutants = []
    for entry in FORMULAS.read_text(encoding="utf-8").split("\n\n")[1:]:
        name, old, new, test = (
            line.partition(" ")[2] if i else line
            for i, line in enumerate(entry.strip().split("\n"))
        )
        folder = next((v for v in texts if any(old in text for text in v.values())), texts[0])
        path = only_place(old, folder, name)
        file = only_place(f"def {test.partition('[')[0]}(", tests, name)
        node = f"{file.relative_to(ROOT)}::{test}"
        faulty = folder[path].replace(old, new)
        mutants.append(Mutant(name, str(path.relative_to(ROOT)), faulty, ((node,),)))
    return mutants


def only_place(part: str, texts: dict[Path, str], name: str) -> Path:
    """The file that has a part of text, once and alone.

    Raises:
        ListError: none has, or several, or one several times.
    """
    places = [path for path, text in texts.items() for _ in range(text.count(part))]
    if len(places) != 1:
        raise ListError(
            f"{name}: expected {part!r} once, found it {len(places)} times; see tests/formulas.txt"
        )
    return places[0]


def copy(source: Path, folder: Path, *ignored: str) -> None:
    """Copy what the tests need; files keep their times, and so their bytecode stays valid."""
    for name in COPIED:
        if (source / name).is_dir():
            ignore = shutil.ignore_patterns(*ignored)
            shutil.copytree(source / name, folder / name, ignore=ignore)
        else:
            shutil.copy2(source / name, folder)


def run_tests(
    folder: Path,
    programs: Path,
    tests: tuple[str, ...],
    limit: float,
    *options: str,
    storing: bool = False,
    watched: tuple[str, ...] = (),
) -> Result:
    """Run pytest in a copy, on its own jaxnn and experiments whatever is installed.

    If it is `storing`, Python stores its bytecode in the copy, and JAX its compiled programs in
    `programs`. A copy of that starts sooner, and compiles only what its fault changes: the bytecode
    of the mutated file does not count there, since the file is newer.
    """
    arguments = ["-q", "-n0", *options, *tests]
    for plugin in ("cacheprovider", "hypothesispytest"):  # the other would be imported for nothing
        arguments += ["-p", f"no:{plugin}"]
    with TemporaryDirectory(prefix="mutants-ends-") as name:
        output, ends = Path(name, "output.txt"), Path(name, "ends.json")
        files = [str(folder / path) for path in watched]
        process = SERVER.Process(
            target=_run_pytest, args=(folder, programs, arguments, storing, files, output, ends)
        )
        begun = time.monotonic()
        process.start()
        try:
            process.join(limit)
            code = process.exitcode
        finally:
            if process.is_alive():  # the limit, or Ctrl-C
                os.killpg(process.pid, signal.SIGKILL)
                process.join()
        text = output.read_text(errors="replace") if output.exists() else ""
        noted = json.loads(ends.read_text()) if ends.exists() else []
    return Result(code, text, time.monotonic() - begun, *noted)


def _run_pytest(
    folder: Path,
    programs: Path,
    arguments: list[str],
    storing: bool,
    watched: list[str],
    output: Path,
    noted: Path,
) -> None:
    """Be the process of one run: a group of its own, in its copy, with its output in a file."""
    os.setsid()
    with output.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(folder)
    sys.path[:] = [str(folder), *(place for place in sys.path if Path(place) not in OURS)]
    os.environ["PYTHONPATH"] = str(folder)  # for the processes that tests start
    os.environ["PYTHONDONTWRITEBYTECODE"] = "" if storing else "1"
    os.environ["JAXNN_TEST_CACHE"] = str(programs)
    # A mutant has to be seen by a test and not by a type.
    os.environ["JAXNN_TYPES"] = "no"
    if not storing:
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "inf"  # they are only read
    sys.dont_write_bytecode = not storing
    gc.freeze()  # what is preloaded is not garbage
    ends = Ends(watched)
    code = pytest.main(arguments, plugins=[ends])
    noted.write_text(ends.stored())
    sys.exit(code)


def failure(result: Result) -> str | None:
    """The first test that failed, None if none did or something else went wrong.

    An error of a test that failed is one of its clearing up, and nothing else is wrong.
    """
    errors = set(result.broken) - set(result.failed)
    return result.failed[0] if result.code == FAILED and result.failed and not errors else None


def last_lines(text: str) -> str:
    """The last lines of a run, indented: all that is known of it where it cannot be repeated."""
    return "\n".join(f"    {line[:160]}" for line in text.splitlines()[-12:])


class Known(NamedTuple):
    """What a run of tests on the unchanged copy says: lines with their tests, and seconds."""

    reached: dict[str, dict[int, set[str]]]
    durations: dict[str, float]


def check_unchanged(
    jobs: list[tuple[str, tuple[str, ...]]], watched: tuple[str, ...], unchanged: Path, workers: int
) -> Known:
    """Run tests on an unchanged copy, each job in a process; store bytecode and programs there.

    jobs: the marker of tests and the tests, as files or one by one.

    Raises:
        ListError: they do not pass.
    """
    # Processes that write to one folder would read each other's half-written programs.
    folders = [unchanged.parent / f"programs-{i}" for i in range(len(jobs))]

    def run(job: tuple[str, tuple[str, ...]], programs: Path) -> Result:
        marker, tests = job
        return run_tests(
            unchanged, programs, tests, LIMIT, "-m", marker, storing=True, watched=watched
        )

    known = Known(defaultdict(lambda: defaultdict(set)), {})
    with ThreadPoolExecutor(workers) as pool:
        for job, result in zip(jobs, pool.map(run, jobs, folders), strict=True):
            if result.code != 0:
                raise ListError(f"{job[1]} do not pass on an unchanged copy:\n{result.output}")
            known.durations.update(result.durations)
            for path, lines in result.reached.items():
                for line, tests in lines.items():
                    known.reached[str(Path(path).relative_to(unchanged))][int(line)].update(tests)
    programs = unchanged.parent / "programs" / "gw0"
    programs.mkdir(parents=True)
    for program in (v for folder in folders for v in folder.glob("gw0/*")):
        program.replace(programs / program.name)
    print(f"unchanged: {len(known.durations)} tests pass", flush=True)
    return known


def sample(name: str, known: Known, size: int, seed: int) -> list[Mutant]:
    """Mutants of a room, each at another line that its tests reach."""
    room, draw = ROOMS[name], random.Random(f"{name} {seed}")
    at_lines: dict[tuple[str, int], list[Change]] = defaultdict(list)
    sources = {path: Source((ROOT / path).read_text(encoding="utf-8")) for path in files_of(room)}
    for path, source in sources.items():
        for change in source.changes():
            at_lines[path, change.line].append(change)
    tests_of = {at: tests_at(at[1], sources[at[0]].tree, known.reached[at[0]]) for at in at_lines}
    lines = [at for at in at_lines if tests_of[at]]
    print(f"{name}: its tests reach {len(lines)} of {len(at_lines)} lines that decide", flush=True)
    mutants = []
    for path, line in draw.sample(lines, min(size, len(lines))):
        change, source = draw.choice(at_lines[path, line]), sources[path]
        old, new = source.shown(change)
        quick = quickest(tests_of[path, line], known.durations, REACHING)
        others = {v for v in known.durations if v.partition("::")[0] in room.everything}
        rounds = (quick, quickest(others.difference(quick), known.durations, OTHERS))
        rounds = tuple(filter(None, rounds))  # without arguments pytest would run everything
        mutants.append(
            Mutant(
                f"{path}:{line} ({change.kind})\n    - {old}\n    + {new}",
                path,
                source.applied(change),
                rounds,
                room.marker,
                name,
            )
        )
    return mutants


def files_of(room: Room) -> list[str]:
    """The files of a room.

    Raises:
        ListError: a pattern has none, or a test file does not exist.
    """
    for test in room.everything:
        if not (ROOT / test).exists():
            raise ListError(f"there is no file {test}; see ROOMS in tests/mutants.py")
    found = []
    for pattern in room.files:
        paths = sorted((ROOT / "jaxnn").glob(pattern))
        if not paths:
            raise ListError(f"no file fits jaxnn/{pattern}; see ROOMS in tests/mutants.py")
        found += [str(path.relative_to(ROOT)) for path in paths if path.suffix == ".py"]
    return found


def tests_at(line: int, tree: ast.Module, reached: dict[int, set[str]]) -> set[str]:
    """The tests that reach a line; those of a module's own constant, where its name stands."""
    for statement in tree.body:
        if isinstance(statement, ast.Assign | ast.AnnAssign) and (
            statement.lineno <= line <= (statement.end_lineno or 0)
        ):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            names = {
                v.id for target in targets for v in ast.walk(target) if isinstance(v, ast.Name)
            }
            places = (v for v in ast.walk(tree) if isinstance(v, ast.Name) and v.id in names)
            return set().union(*(reached.get(v.lineno, ()) for v in places))
    return reached.get(line, set())


def quickest(tests: set[str], durations: dict[str, float], most: float) -> tuple[str, ...]:
    """Those of the tests that take `most` seconds together, or one, a file after the other."""
    total, chosen = 0.0, defaultdict(list)
    for test in sorted(tests, key=lambda test: (durations[test], test)):
        total += durations[test]
        if chosen and total > most:
            break
        chosen[test.partition("::")[0]].append(test)
    return tuple(test for of_file in chosen.values() for test in of_file)


class End(NamedTuple):
    """The end of a mutant: `died` is None if that is not known."""

    mutant: Mutant
    died: bool | None
    text: str


def end_of(mutant: Mutant, unchanged: Path) -> End:
    """Run the tests of a mutant in a copy of its own."""
    result = Result(None, "", 0)
    with TemporaryDirectory(prefix="mutants-") as name:
        folder = Path(name)
        copy(unchanged, folder)
        (folder / mutant.path).write_text(mutant.text, encoding="utf-8")
        limit = STUCK if mutant.room else LIMIT
        for tests in mutant.rounds:
            options = ("-x", "-m", mutant.marker)
            result = run_tests(folder, unchanged.parent / "programs", tests, limit, *options)
            if result.code != 0:
                break
    test = failure(result)
    if test is not None:
        return End(mutant, True, f"dies of {test.partition('::')[2]}")
    if result.code == 0:
        return End(mutant, False, "LIVES")
    if result.code is None:
        return End(mutant, None, f"its tests did not end within {limit:.0f} s")
    return End(mutant, None, f"its tests broke (code {result.code}):\n{last_lines(result.output)}")


def ends_of(mutants: list[Mutant], unchanged: Path, workers: int) -> list[End]:
    """Run all mutants, and print how each ends."""
    ends, begun = [], time.monotonic()
    with ThreadPoolExecutor(workers) as pool:
        runs = [pool.submit(end_of, mutant, unchanged) for mutant in mutants]
        try:
            for run in as_completed(runs):
                end = run.result()
                if end.died is None and not end.mutant.room:  # that may be the machine's fault
                    print(f"once more, {end.mutant.name}: {end.text}", flush=True)
                    end = end_of(end.mutant, unchanged)
                ends.append(end)
                of = f"{len(ends)} of {len(mutants)}, {time.monotonic() - begun:.0f} s"
                name = end.mutant.name.partition("\n")[0] if end.died else end.mutant.name
                print(f"[{of}] {name}\n    {end.text}", flush=True)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():  # Ctrl-C
                os.killpg(process.pid, signal.SIGKILL)
    return ends


def judged(ends: list[End]) -> bool:
    """Print what lives and how many died; tell whether all formulas and enough of the rest did."""
    good = True
    for end in ends:
        if not end.died and (end.died is False or not end.mutant.room):
            print(f"\n{end.mutant.name}\n    {end.text}")
    by_room: dict[str, Counter[bool | None]] = defaultdict(Counter)
    for end in ends:
        by_room[end.mutant.room][end.died] += 1
    for room, counts in by_room.items():
        known = counts[True] + counts[False]
        unclear = f", {counts[None]} unclear" if counts[None] else ""
        print(f"{room or 'formulas'}: {counts[True]} of {known} die{unclear}")
        good &= counts[True] >= (FLOOR * known if room else counts.total())
    return good


def chosen(options: argparse.Namespace) -> tuple[list[Mutant], list[str]]:
    """Formulas and rooms that were asked for by a word, by the day, or all."""
    errors, rooms = formulas(), list(ROOMS)
    if options.words:
        words = [word.lower() for word in options.words]
        rooms, words = [v for v in rooms if v in words], [v for v in words if v not in rooms]
        named = [error for error in errors if any(word in error.name.lower() for word in words)]
        errors = errors if "formulas" in words else named
    if options.today:
        day = date.today().timetuple().tm_yday % DAYS
        rooms, errors = rooms[day::DAYS], errors[day::DAYS]
    if not rooms and not errors:
        raise ListError(f"no formula and no room for {' '.join(options.words)}")
    return errors, rooms


def measured(errors: list[Mutant], rooms: list[str], options: argparse.Namespace) -> list[End]:
    """Run the tests on the unchanged copy, draw the mutants of rooms, and run those."""
    with TemporaryDirectory(prefix="mutants-") as name:
        unchanged = Path(name, "unchanged")
        unchanged.mkdir()
        copy(ROOT, unchanged, "__pycache__")
        by_file: dict[str, dict[str, None]] = defaultdict(dict)
        for error in errors:
            test = error.rounds[0][0]
            by_file[test.partition("::")[0]][test] = None
        jobs = {
            (ROOMS[room].marker, (file,)): None for room in rooms for file in ROOMS[room].everything
        }
        watched = tuple(dict.fromkeys(path for room in rooms for path in files_of(ROOMS[room])))
        known = check_unchanged(
            [*jobs, *((ALL, tuple(tests)) for tests in by_file.values())],
            watched,
            unchanged,
            options.workers,
        )
        drawn = [m for room in rooms for m in sample(room, known, options.count, options.seed)]
        return ends_of(errors + drawn, unchanged, options.workers)


def arguments_of(arguments: list[str] | None) -> argparse.Namespace:
    """The options of a command."""
    cores = os.cpu_count() or 1
    parser = argparse.ArgumentParser(
        prog="python tests/mutants.py",
        description="Put faults into copies of the source and check that the tests see them.",
    )
    add = parser.add_argument
    add("words", nargs="*", help=f"words in names of formulas, or rooms: {', '.join(ROOMS)}")
    add("--today", action="store_true", help="only a share, chosen by the date")
    add("--count", type=int, default=SAMPLE, help=f"mutants of a room; default {SAMPLE}")
    add(
        "--seed",
        type=int,
        default=date.today().toordinal(),
        help="of the sample; default: the date",
    )
    add("--workers", type=int, default=cores, help=f"side by side; default {cores}")
    add("--list", action="store_true", help="print the names of formulas and stop")
    options = parser.parse_args(arguments)
    if options.workers < 1 or options.count < 1:
        parser.error("--workers and --count: expected at least 1")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the mutants and return the exit code."""
    options = arguments_of(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # copies are removed then too
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    SERVER.set_forkserver_preload(PRELOADED)
    begun = time.monotonic()
    try:
        errors, rooms = chosen(options)
        if options.list:
            print(*(error.name for error in errors), sep="\n")
            return 0
        if rooms and sys.version_info < (3, 12):
            raise ListError("samples of rooms need Python 3.12; name words of formulas")
        left_out = [
            room for room in rooms if ROOMS[room].needs and not find_spec(ROOMS[room].needs)
        ]
        good = judged(measured(errors, [v for v in rooms if v not in left_out], options))
    except ListError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    for room in left_out:
        print(f"left out, since {ROOMS[room].needs} is not installed: {room}")
    print(f"{time.monotonic() - begun:.0f} s")
    return 0 if good and not (left_out and os.environ.get("JAXNN_PEERS")) else 1


if __name__ == "__main__":
    sys.exit(main())
