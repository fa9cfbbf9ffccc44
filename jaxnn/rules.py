"""Rules: all that may be said of a flow, of a training or of a network, one function each.

    facts -> sees -> sights: names and numbers -> says, advises -> found: with sentences

Findings of a verdict and alarms of a watch are two tables of this one shape. Only people
read the sentence: whoever asks what was found asks for the rule, the layer, the array, the values.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

Words = str | Callable[..., str]  # a template of values, or a function of them, by their names
Place = tuple[str, int | None, str]  # of what is said: rule, layer, path


class Facts(Protocol):
    """Facts that rules see: anything that has a name for a layer."""

    def label(self, layer: int, /) -> str:
        """Return a layer, counted from 1, in words."""


SETS = {"unless", "said_by"}  # fields of a rule
F = TypeVar("F", bound=Facts)
FContra = TypeVar("FContra", bound=Facts, contravariant=True)


class Sight(NamedTuple):
    """One thing that a rule sees, in names and numbers."""

    layer: int | None = None  # from 1
    path: str = ""  # of the parameter array
    values: Mapping[str, Any] = MappingProxyType({})  # what sentences name and programs ask for
    explains: frozenset[Place] = frozenset()  # what other rules, of a higher rank, need not say


class Rule(NamedTuple, Generic[FContra]):
    """One thing that may be found."""

    name: str
    sees: Callable[[FContra], Iterable[Sight]]
    says: Words  # of layer, path, values and the layer's name
    advises: Words = ""
    changes: Words = ""  # of `jaxnn.trials` that the advice stands for, with ", " between
    rank: int = 0  # the place of the rule: those of a lower rank speak first
    unless: frozenset[str] = frozenset()  # rules that, having spoken, leave it nothing to say
    final: bool = False  # True if, having spoken, it leaves nothing to say for a higher rank
    see: str = ""  # link to the page with more, for a guide
    # Of a finding
    healthy: bool = False  # True if a network of which only this is said needs no change
    alike: bool = False  # True if nothing is told apart: changes of many layers are tried then
    # Of an alarm
    said_by: frozenset[str] = frozenset()  # rules of any table that say it already in a checkup
    every_step: bool = False  # True if it needs no measurement, and is asked at each step
    of_games: bool = False  # True if it is usual in a game of two networks


class Found(NamedTuple):
    """A sight of a rule; `str` is its sentence.

    rule: its name, such as "update" or "attention".
    layer, path, values: as in the `Sight`; of an alarm read from a file there are no values.
    text, advice: what the rule says of it, and advises.
    changes: names of the changes of `jaxnn.trials` that the advice stands for.
    step: of an alarm, that of the measurement that showed it; -1 before a training.
    """

    rule: str
    layer: int | None = None
    path: str = ""
    values: Mapping[str, Any] = MappingProxyType({})
    text: str = ""
    advice: str = ""
    changes: tuple[str, ...] = ()
    step: int = -1

    def __str__(self) -> str:
        return self.text


def one_of(value: str, **templates: str) -> Callable[..., str]:
    """Return the words of a rule with several sentences: a value of the sight names one."""
    return lambda **words: templates[words[value]].format(**words)


class Rules(dict[str, Rule[F]], Generic[F]):
    """Table of rules by their names, of one kind of facts."""

    def rule(
        self, name: str, says: Words, **fields: Any
    ) -> Callable[[Callable[[F], Iterable[Sight]]], Callable[[F], Iterable[Sight]]]:
        """Return a decorator that enters the function below it, as what a `Rule` sees."""
        if name in self:
            raise ValueError(f"rule: expected a name that is not in the table, got {name!r}")
        for field in SETS & fields.keys():  # names, or a text of names
            names = fields[field]
            fields[field] = frozenset(names.split() if isinstance(names, str) else names)

        def enter(sees: Callable[[F], Iterable[Sight]]) -> Callable[[F], Iterable[Sight]]:
            self[name] = Rule(name, sees, says, **fields)
            return sees

        return enter

    def paragraphs(self) -> Iterator[tuple[str, ...]]:
        """Yield of each rule its name, and the paragraphs of its docstring on a line each."""
        for rule in self.values():
            texts = (inspect.getdoc(rule.sees) or "").split("\n\n")
            yield rule.name, *(" ".join(text.split()).removesuffix(".") for text in texts)

    def found(
        self, facts: F, ignore: Iterable[str] = (), spoken: Iterable[str] = ()
    ) -> Iterator[Found]:
        """Yield what the rules find, by rank, but for those ignored or that have spoken before."""
        ignored, told, explained = set(ignore), set(spoken), set[Place]()
        for rule in sorted(self.values(), key=lambda rule: rule.rank):
            if rule.name in ignored or rule.name in told or rule.unless & told:
                continue
            if any(self[name].final for name in told & self.keys()):
                return
            for sight in rule.sees(facts):
                if (rule.name, sight.layer, sight.path) not in explained:
                    yield _in_words(rule, sight, facts)
                    told.add(rule.name)
                    explained |= sight.explains


def _in_words(rule: Rule[F], sight: Sight, facts: F) -> Found:
    """Return a sight with the sentences of its rule."""
    layer, path, values, _ = sight
    label = "" if layer is None else facts.label(layer)
    words = {"layer": layer, "name": label, "path": path, **values}
    text, advice, changes = (
        template.format(**words) if isinstance(template, str) else template(**words)
        for template in (rule.says, rule.advises, rule.changes)
    )
    names = tuple(changes.split(", ")) if changes else ()
    return Found(rule.name, layer, path, values, text, advice, names)
