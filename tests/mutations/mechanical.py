"""Faults that nobody chose: every number and every yes or no in the tables and defaults of the trainer, and every
comparison, sum and product in its functions, changed by rule.

The rules: a whole number grows by one, another number by half (0.0 becomes 0.1), True and False change places; a
comparison is turned round (``<`` becomes ``>=``, ``is`` becomes ``is not``), + and - change places, as * and / do,
``and`` and ``or``, ``min`` and ``max``.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from .faults import Fault

#: modules that are read; digits.py and digits_ddpm.py make the shipped models, and are not the trainer
MODULES = (
    "attacker", "augmentation", "average", "awp", "checkpoint", "data", "der", "evaluation", "final", "folder",
    "history", "initial", "linearity", "loop", "methods", "omission", "optimizers", "recipes", "regularizers", "run",
    "schedules", "settings", "step", "watch",
)  # fmt: skip

COMPARISONS: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Lt: ("<", ">="), ast.GtE: (">=", "<"), ast.Gt: (">", "<="), ast.LtE: ("<=", ">"),
    ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"), ast.IsNot: ("is not", "is"), ast.In: ("in", "not in"), ast.NotIn: ("not in", "in"),
}  # fmt: skip
ARITHMETIC: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/"), ast.Div: ("/", "*"), ast.Pow: ("**", "*"),
    ast.FloorDiv: ("//", "*"),
}  # fmt: skip
SWAPPED = {"min": "max", "max": "min", "all": "any", "any": "all"}


def mechanical(package: Path) -> list[Fault]:
    """All of them, in the order of the files."""
    found: list[Fault] = []
    for name in MODULES:
        module = f"training/{name}.py"
        found.extend(_Reader(module, (package / module).read_text()).faults())
    return found


class _Reader:
    """One file and the faults in it."""

    def __init__(self, module: str, source: str) -> None:
        self.module, self.source = module, source
        lines = source.splitlines(keepends=True)
        self.starts = [0]
        for line in lines:
            self.starts.append(self.starts[-1] + len(line))
        self.lines = lines
        self.seen: Counter[str] = Counter()

    def faults(self) -> Iterator[Fault]:
        for node in ast.parse(self.source).body:
            yield from self._top(node, "")

    def _top(self, node: ast.stmt, inside: str) -> Iterator[Fault]:
        if isinstance(node, ast.FunctionDef):
            yield from self._function(node, f"{inside}{node.name}")
        elif isinstance(node, ast.ClassDef):
            for part in node.body:
                yield from self._top(part, f"{inside}{node.name}.")
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            place = inside + ast.unparse(target)
            yield from self._table(node.value, place)
            yield from self._function(node.value, place)

    def _table(self, value: ast.expr, place: str) -> Iterator[Fault]:
        """Numbers and yes-or-no in a table or a default; the keys of a dictionary are left alone, they are names."""
        keys = {id(key) for part in ast.walk(value) if isinstance(part, ast.Dict) for key in part.keys}
        subscripts = {
            id(index)
            for part in ast.walk(value)
            if isinstance(part, ast.Subscript | ast.Slice)
            for index in ast.walk(part.slice if isinstance(part, ast.Subscript) else part)
        }
        for part in ast.walk(value):
            if isinstance(part, ast.Constant) and id(part) not in keys | subscripts:
                if isinstance(part.value, bool):
                    yield self._fault(part, str(not part.value), "setting", place)
                elif isinstance(part.value, int):
                    yield self._fault(part, str(part.value + 1), "constant", place)
                elif isinstance(part.value, float):
                    yield self._fault(part, f"{part.value * 1.5 or 0.1:.6g}", "constant", place)

    def _function(self, node: ast.AST, place: str) -> Iterator[Fault]:
        passed = set()  # annotations, and what is asserted for the type checker's sake
        for part in ast.walk(node):
            notes = [note for name in ("annotation", "returns") if (note := getattr(part, name, None)) is not None]
            for note in [*notes, *([part] if isinstance(part, ast.Assert) else [])]:
                passed |= {id(inner) for inner in ast.walk(note)}
        for part in ast.walk(node):
            if id(part) in passed:
                continue
            if isinstance(part, ast.Compare):
                left = part.left
                for op, right in zip(part.ops, part.comparators, strict=True):
                    yield self._between(left, right, *COMPARISONS[type(op)], "condition", place)
                    left = right
            elif isinstance(part, ast.BinOp) and type(part.op) in ARITHMETIC and not _no_number(part):
                yield self._between(part.left, part.right, *ARITHMETIC[type(part.op)], "sign", place)
            elif isinstance(part, ast.BoolOp):
                words = ("and", "or") if isinstance(part.op, ast.And) else ("or", "and")
                yield self._between(part.values[0], part.values[1], *words, "condition", place)
            elif isinstance(part, ast.Call) and isinstance(part.func, ast.Name) and part.func.id in SWAPPED:
                yield self._fault(part.func, SWAPPED[part.func.id], "selection", place)

    def _position(self, line: int, column: int) -> int:
        """Of a byte column of a line, from 1, in the text."""
        return self.starts[line - 1] + len(self.lines[line - 1].encode()[:column].decode())

    def _fault(self, node: ast.expr, after: str, kind: str, place: str) -> Fault:
        assert node.end_lineno is not None and node.end_col_offset is not None
        at = self._position(node.lineno, node.col_offset)
        return self._made(
            at, self.source[at : self._position(node.end_lineno, node.end_col_offset)], after, kind, place
        )

    def _between(self, left: ast.expr, right: ast.expr, before: str, after: str, kind: str, place: str) -> Fault:
        """The operator stands between its two sides, maybe among brackets."""
        assert left.end_lineno is not None and left.end_col_offset is not None
        start = self._position(left.end_lineno, left.end_col_offset)
        at = self.source.index(before, start, self._position(right.lineno, right.col_offset))
        return self._made(at, before, after, kind, place)

    def _made(self, at: int, before: str, after: str, kind: str, place: str) -> Fault:
        said = f"{before} is {after}"
        self.seen[f"{place} {said}"] += 1
        number = self.seen[f"{place} {said}"]
        return Fault(self.module, before, after, kind, said, at, f"{place}#{number}" if number > 1 else place)


def _no_number(part: ast.BinOp) -> bool:
    """Whether the sum is one of words, or the quotient a path: another operator is no Python there, and no test's
    merit."""
    if isinstance(part.op, ast.Div) and re.search(r"\b(folder|path|out|own)\b", ast.unparse(part)):
        return True
    return any(
        isinstance(inner, ast.JoinedStr) or (isinstance(inner, ast.Constant) and isinstance(inner.value, str))
        for inner in (part.left, part.right)
    )
