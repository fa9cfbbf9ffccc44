"""Operators of mutation: small faults that fit any code, found on the syntax tree.

Each operator looks at one kind of node and yields what a slip of the pen would have left there.
Texts (error messages, f-strings, docstrings), annotations, decorators and imports decide nothing
and are left alone, and so are calls that change the form of a value and not its numbers. What is
equivalent to the code by construction is not made: a `<` between floats becomes `>`, since `<=`
differs on a set of measure zero, and constants below 1e-3 stay, since they are tolerances.
"""

import ast
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

COMPARED = {"==": "!=", "!=": "==", "is": "is not", "is not": "is", "in": "not in", "not in": "in"}
ORDERED = {"<": (">", "<="), "<=": (">", "<"), ">": ("<", ">="), ">=": ("<", ">")}
ARITHMETIC = {"+": "-", "-": "+", "*": "/", "/": "*", "//": "*", "%": "//", "**": "*"}
ARITHMETIC |= {"&": "|", "|": "&"}
SYMBOLS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//"}
SYMBOLS |= {ast.Mod: "%", ast.Pow: "**", ast.BitAnd: "&", ast.BitOr: "|"}
SYMBOLS |= {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}
SYMBOLS |= {ast.Is: "is", ast.IsNot: "is not", ast.In: "in", ast.NotIn: "not in"}

_PAIRS = "sum mean, max min, maximum minimum, any all, zeros ones, zeros_like ones_like"
_PAIRS += ", floor ceil, sin cos, logical_and logical_or, argmax argmin, expm1 exp, log1p log"
SWAPPED = {}
for _first, _second in (pair.split() for pair in _PAIRS.split(", ")):
    SWAPPED |= {_first: _second, _second: _first}
ARRAYS = ("jnp", "np", "jax", "lax", "math", "torch")  # modules whose functions return numbers
LEFT_OUT = ("axis", "keepdims", "initial", "where", "side", "ord", "n", "k")  # that have defaults
# Functions that return the numbers of their first argument.
FORMS = ("array", "asarray", "stack", "concatenate", "broadcast_to", "reshape", "stop_gradient")
FORMS += ("jit", "checkpoint", "optimization_barrier", "map", "leaves", "tensor", "as_tensor")
FORMS += ("float32", "float64", "int32", "prod", "sqrt_", "ravel", "device_put")
FORMALITIES = ("strict", "maxsize", "dtype", "donate_argnums", "inline", "encoding", "stacklevel")
TOLERANCE = 1e-3
COUNTED = 4  # larger whole numbers are limits, which one more hardly moves


class Change(NamedTuple):
    """One fault: bytes `start` to `end` of a file become `new`; `line` counts from 1."""

    kind: str
    line: int
    start: int
    end: int
    new: str


class Source:
    """A file with its syntax tree, and the places of nodes in its bytes."""

    def __init__(self, text: str) -> None:
        self.bytes = text.encode()
        self.tree = ast.parse(text)
        self.starts = [0]
        for line in self.bytes.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))

    def span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        """First byte of a node, and the one after its last."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = self.starts[node.lineno - 1] + node.col_offset
        return start, self.starts[node.end_lineno - 1] + node.end_col_offset

    def text(self, node: ast.expr | ast.stmt) -> str:
        start, end = self.span(node)
        return self.bytes[start:end].decode()

    def replaced(self, kind: str, node: ast.expr | ast.stmt, new: str) -> Change:
        return Change(kind, node.lineno, *self.span(node), new)

    def between(self, kind: str, left: ast.expr, right: ast.expr, old: str, new: str) -> Change:
        """Another operator between two operands."""
        start, end = self.span(left)[1], self.span(right)[0]
        pattern = r"\s+".join(map(re.escape, old.split()))
        found = re.search(pattern, self.bytes[start:end].decode())
        assert found is not None, (self.text(left), old)  # operators are ASCII
        place = start + len(self.bytes[start:end].decode()[: found.start()].encode())
        return Change(kind, left.lineno, place, place + len(found.group()), new)

    def applied(self, change: Change) -> str:
        """The text of the file with the fault."""
        return (
            self.bytes[: change.start] + change.new.encode() + self.bytes[change.end :]
        ).decode()

    def shown(self, change: Change) -> tuple[str, str]:
        """The lines of the fault, before and after."""
        first = self.bytes.rfind(b"\n", 0, change.start) + 1
        last = self.bytes.find(b"\n", change.end)
        old, head = self.bytes[first:last].decode(), self.bytes[first : change.start].decode()
        new = head + change.new + self.bytes[change.end : last].decode()
        return " ".join(old.split()), " ".join(new.split())

    def changes(self) -> Iterator[Change]:
        """All faults that the operators make."""
        for node in decisions(self.tree):
            for kind, operator in OPERATORS.get(type(node), ()):
                yield from operator(self, kind, node)


def decisions(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a tree that decide something: no text, annotation, decorator or import."""
    if isinstance(node, ast.Import | ast.ImportFrom | ast.JoinedStr | ast.Assert | ast.Raise):
        return
    if isinstance(node, ast.Call) and _name(node.func) in ("isinstance", "warn", "TypeVar"):
        return
    if isinstance(node, ast.keyword) and node.arg in FORMALITIES:
        return
    if isinstance(node, ast.Compare) and _name(node.left) == "__name__":
        return
    yield node
    skipped = {"annotation", "returns", "decorator_list", "type_params", "bases"}
    for field, value in ast.iter_fields(node):
        if field in skipped or (isinstance(node, ast.ClassDef) and field == "keywords"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from decisions(child)


def _name(node: ast.expr) -> str:
    """The last name of an expression such as `jax.numpy.sum`."""
    return getattr(node, "attr", getattr(node, "id", ""))


def _root(node: ast.expr) -> str:
    """The first name of such an expression."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return getattr(node, "id", "")


def _counts(node: ast.expr) -> bool:
    """Tell whether an expression is a whole number, as far as its text says so."""
    if isinstance(node, ast.Call):
        return _name(node.func) in ("len", "sum", "count", "int")
    if isinstance(node, ast.BinOp):
        return _counts(node.left) or _counts(node.right)
    return _name(node) in ("ndim", "size", "itemsize") or (
        isinstance(node, ast.Constant) and type(node.value) is int and node.value > 0
    )


def _is_text(node: ast.expr) -> bool:
    if isinstance(node, ast.BinOp):
        return _is_text(node.left) or _is_text(node.right)
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def comparison(source: Source, kind: str, node: ast.Compare) -> Iterator[Change]:
    operands = [node.left, *node.comparators]
    for left, right, operator in zip(operands, operands[1:], node.ops, strict=False):
        old = SYMBOLS[type(operator)]
        if old in ORDERED:
            reversed_, next_to = ORDERED[old]
            new = next_to if _counts(left) or _counts(right) else reversed_
        else:
            new = COMPARED[old]
        yield source.between(kind, left, right, old, new)


def arithmetic(source: Source, kind: str, node: ast.BinOp) -> Iterator[Change]:
    old = SYMBOLS.get(type(node.op))
    containers = ast.Tuple | ast.List | ast.Set | ast.Dict | ast.ListComp | ast.Starred
    if old is None or _is_text(node):
        return
    if not isinstance(node.left, containers) and not isinstance(node.right, containers):
        yield source.between(kind, node.left, node.right, old, ARITHMETIC[old])


def operand(source: Source, kind: str, node: ast.BinOp) -> Iterator[Change]:
    """One of two operands left out."""
    if SYMBOLS.get(type(node.op), "%") == "%" or _is_text(node):
        return
    yield source.replaced(kind, node, source.text(node.left))
    if isinstance(node.op, ast.Add | ast.Mult | ast.MatMult | ast.BitAnd | ast.BitOr):
        yield source.replaced(kind, node, source.text(node.right))


def logic(source: Source, kind: str, node: ast.BoolOp) -> Iterator[Change]:
    old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
    for left, right in zip(node.values, node.values[1:], strict=False):
        yield source.between(kind, left, right, old, new)


def clause(source: Source, kind: str, node: ast.BoolOp) -> Iterator[Change]:
    """One of several conditions left out."""
    word = " and " if isinstance(node.op, ast.And) else " or "
    for i in range(len(node.values)):
        rest = [f"({source.text(v)})" for j, v in enumerate(node.values) if j != i]
        yield source.replaced(kind, node, f"({word.join(rest)})")


def sign(source: Source, kind: str, node: ast.UnaryOp) -> Iterator[Change]:
    """`not`, `-` or `~` left out; the sign of an axis alone says nothing new."""
    if not (isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant)):
        yield source.replaced(kind, node, f"({source.text(node.operand)})")


def condition(source: Source, kind: str, node: ast.If | ast.IfExp) -> Iterator[Change]:
    for value in ("True", "False"):
        yield source.replaced(kind, node.test, value)


def filtered(source: Source, kind: str, node: ast.comprehension) -> Iterator[Change]:
    for test in node.ifs:
        yield source.replaced(kind, test, "True")


def constant(source: Source, kind: str, node: ast.Constant) -> Iterator[Change]:
    value = node.value
    if isinstance(value, bool):
        yield source.replaced(kind, node, str(not value))
    elif isinstance(value, int):
        yield source.replaced(kind, node, str(value + 1 if value <= COUNTED else 2 * value))
    elif isinstance(value, float) and (value == 0 or abs(value) >= TOLERANCE):
        yield source.replaced(kind, node, repr(2 * value if value else 1.0))


def argument(source: Source, kind: str, node: ast.Call) -> Iterator[Change]:
    """The first argument in place of a call that computes."""
    is_number = _root(node.func) in ARRAYS or _name(node.func) in ("abs", "max", "min", "reversed")
    if not is_number or not node.args or _name(node.func) in FORMS:
        return
    if not isinstance(node.args[0], ast.Starred | ast.GeneratorExp | ast.Lambda):
        yield source.replaced(kind, node, f"({source.text(node.args[0])})")


def swapped(source: Source, kind: str, node: ast.Call) -> Iterator[Change]:
    """The function next to the one meant: mean for sum, min for max."""
    name, function = _name(node.func), source.text(node.func)
    builtin = isinstance(node.func, ast.Name)
    if name in SWAPPED and not (builtin and name in ("sum", "mean", "exp", "log")):
        yield source.replaced(kind, node.func, function[: -len(name)] + SWAPPED[name])


def keyword(source: Source, kind: str, node: ast.Call) -> Iterator[Change]:
    """A keyword left out, and an axis that is another one."""
    if _root(node.func) not in ARRAYS:
        return
    for given in node.keywords:
        if given.arg == "axis":
            try:
                axis = ast.literal_eval(given.value)
            except ValueError:
                continue
            if isinstance(axis, int):
                yield source.replaced("axis", given.value, "-1" if axis == 0 else "0")
        if given.arg in LEFT_OUT:
            args = [source.text(v) for v in node.args]
            args += [source.text(v) for v in node.keywords if v is not given]  # type: ignore[arg-type]
            new = f"{source.text(node.func)}({', '.join(args)})"
            yield source.replaced(kind, node, new)


def transpose(source: Source, kind: str, node: ast.Attribute) -> Iterator[Change]:
    if node.attr in ("T", "mT"):
        yield source.replaced(kind, node, source.text(node.value))


def step(source: Source, kind: str, node: ast.Assign) -> Iterator[Change]:
    """A variable that is not renewed: `v = f(v)` left out."""
    target = node.targets[0]
    if len(node.targets) == 1 and isinstance(target, ast.Name):
        names = {v.id for v in ast.walk(node.value) if isinstance(v, ast.Name)}
        if target.id in names and not isinstance(node.value, ast.Call | ast.Tuple | ast.List):
            yield source.replaced(kind, node, "pass")


def augmented(source: Source, kind: str, node: ast.AugAssign) -> Iterator[Change]:
    """`v += w` left out."""
    if not _is_text(node.value):
        yield source.replaced(kind, node, "pass")


Operator = Callable[[Source, str, ast.AST], Iterator[Change]]
OPERATORS: dict[type, tuple[tuple[str, Operator], ...]] = {
    ast.Compare: (("comparison", comparison),),
    ast.BinOp: (("arithmetic", arithmetic), ("operand", operand)),
    ast.BoolOp: (("logic", logic), ("clause", clause)),
    ast.UnaryOp: (("sign", sign),),
    ast.If: (("condition", condition),),
    ast.IfExp: (("condition", condition),),
    ast.comprehension: (("filter", filtered),),
    ast.Constant: (("constant", constant),),
    ast.Call: (("argument", argument), ("function", swapped), ("keyword", keyword)),
    ast.Attribute: (("transpose", transpose),),
    ast.Assign: (("step", step),),
    ast.AugAssign: (("step", augmented),),
}
