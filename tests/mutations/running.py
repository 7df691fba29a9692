"""Runs the tests over a copy of the package with one fault in it.

Every fault has a process of its own, forked from one that has the libraries imported, so that it costs its tests and
not the seconds in which torch is imported.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from .faults import Fault

CHECKOUT = Path(__file__).resolve().parents[2]
COPIED = ("energylens", "analyses", "tests", "pyproject.toml", "docs/reference/training.md")
LIMIT = 300  # seconds of one core: a fault whose tests take longer has made a loop endless
ASLEEP = 3600  # seconds by the clock, for one that waits
LIBRARIES = (
    "numpy", "torch", "torch.optim.swa_utils", "torch.distributed.run", "torchvision", "pandas", "pyarrow.parquet",
    "scipy.stats", "sklearn.datasets", "accelerate", "safetensors.torch", "click.testing", "rich", "jinja2",
    "matplotlib.pyplot", "PIL.Image",
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What the tests made of a fault. caught_by: the first test that failed, "" for none; seconds: of one core."""

    fault: Fault
    caught_by: str
    seconds: float
    output: str


@dataclass(frozen=True)
class Tests:
    """files: from the checkout on, all that may catch a fault. first: for a module those that are likely to. slow:
    names of tests that are left out. likely: whether the other files are, too."""

    files: Sequence[str]
    first: Mapping[str, Sequence[str]]
    slow: frozenset[str]
    likely: bool = False

    def stages(self, module: str, known: str) -> list[list[str]]:
        """The files that are run for a fault in this module, one list after the other: that of the test which caught it
        before, the likely ones, then all others."""
        before = [file for file in self.files if file == known.split("::")[0]]
        likely = [file for file in self.first.get(module, ()) if file in self.files and file not in before]
        rest = [file for file in self.files if file not in before + likely]
        return [stage for stage in (before, likely, [] if self.likely else rest) if stage]


def outcomes(faults: Sequence[Fault | None], tests: Tests, known: Mapping[str, str], jobs: int) -> Iterator[Outcome]:
    """Plant one after the other, ``jobs`` at a time; in the order in which they end. None plants nothing. known: by a
    fault's name the test that caught it before, which is then run first."""
    for library in LIBRARIES:
        importlib.import_module(library)
    waiting, running = list(reversed(faults)), dict[int, tuple[Fault | None, Path]]()
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        whole = _copy(CHECKOUT, Path(folder) / "whole")  # as it is now, whatever is edited in the meantime
        free = [_copy(whole, Path(folder) / str(number)) for number in range(jobs)]
        while waiting or running:
            while waiting and free:
                fault, slot = waiting.pop(), free.pop()
                running[_start(fault, whole, slot, tests, known)] = fault, slot
            process, status, used = os.wait4(-1, 0)
            fault, slot = running.pop(process)
            free.append(slot)
            yield _read(fault, whole, slot, status, used.ru_utime + used.ru_stime)


def _copy(checkout: Path, slot: Path) -> Path:
    """A copy of what the tests need."""
    slot.mkdir()
    for name in COPIED:
        source = checkout / name
        if source.is_dir():
            shutil.copytree(source, slot / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (slot / name).parent.mkdir(exist_ok=True)
            shutil.copy2(source, slot / name)
    return slot


def _start(fault: Fault | None, whole: Path, slot: Path, tests: Tests, known: Mapping[str, str]) -> int:
    """The process that runs the tests over this fault."""
    first = "" if fault is None else known.get(fault.name, "")
    stages = tests.stages("" if fault is None else fault.module, first)
    if fault is not None:
        path = slot / "energylens" / fault.module
        path.write_text(fault.planted((whole / "energylens" / fault.module).read_text()))
        os.utime(path, (time.time(), time.time() + next(_LATER)))  # never taken for a file compiled before
    sys.stdout.flush()
    if process := os.fork():
        return process
    try:  # the child: whatever happens, it ends here
        _test(slot, stages, first, tests.slow)
    finally:
        os._exit(0)


def _later() -> Iterator[int]:
    second = 0
    while True:
        second += 2
        yield second


_LATER = _later()


def _test(slot: Path, stages: Sequence[Sequence[str]], first: str, slow: frozenset[str]) -> None:
    """In the child: the tests over the copy, what came of them in ``told.json``."""
    resource.setrlimit(resource.RLIMIT_CPU, (LIMIT, LIMIT + 5))  # both end the process
    signal.alarm(ASLEEP)
    os.chdir(slot)
    with Path("output.txt").open("w") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    os.environ["PYTHONPATH"] = str(slot)
    sys.path[:0] = [str(slot)]
    for name in [name for name in sys.modules if name.split(".")[0] in ("tests", "energylens", "analyses")]:
        del sys.modules[name]
    options = ["-x", "-q", "-n0", "--tb=line", "-p", "no:cacheprovider", f"--basetemp={slot}-tmp", f"--rootdir={slot}"]
    caught = ""
    for files in stages:
        recorder = _Recorder(first, slow)
        status = pytest.main([*options, *files], plugins=[recorder])
        caught = recorder.caught or ("" if status == pytest.ExitCode.OK else f"pytest ended with status {status}")
        if caught:
            break
    where = Path(sys.modules["energylens"].__file__ or "")
    Path("told.json").write_text(json.dumps({"caught_by": caught, "where": str(where)}))
    sys.stdout.flush()


class _Recorder:
    """A plugin: which test failed first, which are left out, and which goes first."""

    def __init__(self, first: str, slow: frozenset[str]) -> None:
        self.first, self.slow, self.caught = first, slow, ""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if item.name not in self.slow]
        items.sort(key=lambda item: item.nodeid != self.first)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed and not self.caught:
            self.caught = f"{report.nodeid}: collection"

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.caught:
            self.caught = report.nodeid


def _read(fault: Fault | None, whole: Path, slot: Path, status: int, seconds: float) -> Outcome:
    """What the child left; the copy is whole again."""
    told, output = slot / "told.json", (slot / "output.txt").read_text()
    if told.exists():
        found = json.loads(told.read_text())
        told.unlink()
        if not Path(found["where"]).is_relative_to(slot):
            raise RuntimeError(f"the tests imported {found['where']}, not the copy in {slot}")
        caught = found["caught_by"]
    elif os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGALRM, signal.SIGXCPU):
        caught = f"no end after {seconds:.0f} s"
    else:
        caught = f"the process ended ({status})"
    if fault is not None:
        shutil.copy2(whole / "energylens" / fault.module, slot / "energylens" / fault.module)
    shutil.rmtree(f"{slot}-tmp", ignore_errors=True)
    nothing = Fault("", "", "", "", "nothing")
    return Outcome(fault or nothing, caught, seconds, output)
