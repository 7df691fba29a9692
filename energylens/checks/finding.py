"""What a check says, and what all of them say together."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Verdict = Literal["ok", "warn", "fail", "skipped"]


@dataclass(frozen=True)
class Finding:
    """One check's verdict, what was measured, and where something is wrong what that means and what to do.

    A check that could only show the symptoms of another's failure is skipped. check: its name in the table.
    """

    verdict: Verdict
    measured: str
    meaning: str = ""
    remedy: str = ""
    check: str = ""


def fault(measured: str, meaning: str, remedy: str) -> Finding:
    """A check's finding that something is wrong: what was measured, what that means and what to do.

    Args:
        measured: what was found, with its numbers.
        meaning: what that does to energies and accuracies.
        remedy: what to do, an imperative.

    Returns:
        A finding whose verdict is "fail".
    """
    return Finding("fail", measured, meaning, remedy)


def judged(sound: bool, measured: str, meaning: str, remedy: str) -> Finding:
    """OK where what was measured is sound, else a fault.

    Args:
        sound: whether all is well.
        measured: what was found, with its numbers.
        meaning: what it would mean if it were not sound.
        remedy: what to do then, an imperative.

    Returns:
        A finding whose verdict is "ok" or "fail".
    """
    return Finding("ok", measured) if sound else fault(measured, meaning, remedy)


@dataclass(frozen=True)
class Diagnosis:
    """All findings on a model, in the order of the checks. eps: the Linf radius of the attacks among them."""

    model: str
    dataset: str
    n: int
    eps: float
    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """Whether no check failed."""
        return not self.failed

    @property
    def failed(self) -> tuple[str, ...]:
        """The names of the checks that failed."""
        return tuple(finding.check for finding in self.findings if finding.verdict == "fail")

    def __getitem__(self, check: str) -> Finding:
        for finding in self.findings:
            if finding.check == check:
                return finding
        raise KeyError(f"no check {check!r}; they are {', '.join(finding.check for finding in self.findings)}")

    def __str__(self) -> str:
        """A line a check: verdict, check and what was measured."""
        wide = max(len(finding.check) for finding in self.findings)
        lines = [f"{one.verdict:<7} {one.check:<{wide}}  {one.measured}" for one in self.findings]
        return "\n".join([f"{self.model} on {self.dataset}, {self.n} samples", *lines])

    def as_numbers(self) -> dict[str, Any]:
        """The diagnosis as ``energylens doctor --json`` prints it.

        Returns:
            Its fields by name, and ``healthy``.
        """
        return {**asdict(self), "healthy": self.healthy}
