"""A fault: one small change of the package's source that a test should notice."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path


class FaultError(Exception):
    """The fault cannot be planted: its text is gone, is there twice, or changes nothing."""


@dataclass(frozen=True)
class Fault:
    """module: the file, from the package's folder on. before: what is replaced; it must stand there exactly once, or,
    where ``at`` is given, at this position. after: what it is replaced by. kind: setting, constant, sign, mode,
    selection, order, condition or state. breaks: what goes wrong, in words."""

    module: str
    before: str
    after: str
    kind: str
    breaks: str
    at: int | None = None
    place: str = ""

    @property
    def name(self) -> str:
        """What the fault is called in the results: it stays the same when other lines of the file change."""
        where = self.module.removesuffix(".py") + (f":{self.place}" if self.place else "")
        return f"{where}: {self.breaks}"

    def planted(self, source: str) -> str:
        """The source with the fault in it. Raises FaultError."""
        if self.at is None:
            times = source.count(self.before)
            if times != 1:
                raise FaultError(f"{self.name}: {self.before!r} stands {times} times in {self.module}, expected once")
            changed = source.replace(self.before, self.after)
        else:
            if source[self.at : self.at + len(self.before)] != self.before:
                raise FaultError(f"{self.name}: {self.before!r} is no longer where it was in {self.module}")
            changed = source[: self.at] + self.after + source[self.at + len(self.before) :]
        try:
            same = ast.dump(ast.parse(changed)) == ast.dump(ast.parse(source))
        except SyntaxError as error:
            raise FaultError(f"{self.name}: no Python any more ({error})") from error
        if same:
            raise FaultError(f"{self.name}: it changes nothing")
        return changed


def check(faults: list[Fault], package: Path) -> list[str]:
    """What is wrong with the faults, a line each: those that cannot be planted, and names that two of them have."""
    wrong = []
    for fault in faults:
        try:
            fault.planted((package / fault.module).read_text())
        except (FaultError, OSError) as error:
            wrong.append(str(error))
    names = [fault.name for fault in faults]
    return wrong + [f"two faults are called {name}" for name in sorted({n for n in names if names.count(n) > 1})]
