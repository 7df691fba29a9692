"""Do records survive anything? Kills a profile at random moments, fills its disk, spoils its files, and compares.

    python benchmarks/reliability.py --kills 50 [--report docs/results/reliability.md]

One profile with gradient attacks and AutoAttack's ensemble on the shipped digits model is run undisturbed. The same
command is then killed (SIGKILL) at random moments and started again, until it has been killed ``--kills`` times and has
come to its end; where it ends before the next kill, a new round starts from an empty folder. After every kill each part
must be readable and hold no row twice; after every round the tables must equal the undisturbed ones to the bit (the
seconds aside). Then the other accidents, each with what is said about it. Exits with 1 where one of them goes wrong.

Processes are forked from this one, which has imported everything: a kill costs a second, not the imports. POSIX only.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from energylens.cli import main as energylens

BATTERY = ("rs-fgsm", "pgd,restarts=2", "cw", "apgd-ensemble,block=20")
CSV = Path(__file__).parent / "results" / "reliability.csv"
COMMAND_LINE = "python benchmarks/reliability.py --report docs/results/reliability.md"
COMMAND = [
    *["profile", "--model", "digits-pgd", "--n", "40", "--batch-size", "10", "--save-images", "--no-checks"],
    *(word for attack in BATTERY for word in ("--attack", attack)),
]


@dataclass(frozen=True)
class Outcome:
    """How one accident went. said: the line a user reads."""

    accident: str
    passed: bool
    said: str


def start(out: Path, before: Callable[[], None] = lambda: None) -> int:
    """The profile in a process of its own; its pid. What it prints goes to ``out``.stdout and ``out``.stderr."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        torch.set_num_threads(1)
        before()
        sys.argv = ["energylens", *COMMAND, "--out", str(out)]
        with (
            Path(f"{out}.stdout").open("w") as stdout,
            Path(f"{out}.stderr").open("w") as stderr,
            redirect_stdout(stdout),
            redirect_stderr(stderr),
        ):
            energylens()
        status = 0
    except SystemExit as error:
        status = int(error.code or 0)
    finally:
        os._exit(status)


def wait(pid: int) -> int:
    """The exit status of a process, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def tables(out: Path) -> dict[str, pd.DataFrame]:
    """Every run folder's rows as its parts hold them, in order of index; raises ValueError for a row that is twice."""
    found = {}
    for manifest in sorted(out.rglob("manifest.json")):
        parts = [pd.read_parquet(part) for part in sorted(manifest.parent.glob("part-*.parquet"))]
        if parts:
            table = pd.concat(parts, ignore_index=True).sort_values("index", ignore_index=True)
            if table["index"].duplicated().any():
                raise ValueError(f"{manifest.parent.name} holds a row twice")
            found[manifest.parent.name] = table
    return found


def same(one: dict[str, pd.DataFrame], other: dict[str, pd.DataFrame]) -> bool:
    """Whether two runs hold the same rows, to the bit."""
    return one.keys() == other.keys() and all(one[name].equals(other[name]) for name in one)


def kill_at_random(work: Path, reference: dict[str, pd.DataFrame], seconds: float, kills: int) -> Outcome:
    """The main test; see the module."""
    draw, rounds, lost, done = random.Random(0), 0, [], 0
    while done < kills:
        rounds += 1
        out = work / f"round-{rounds}"
        finished = False
        while not finished:
            pid = start(out)
            if done < kills:
                time.sleep(draw.uniform(0, seconds))
                os.kill(pid, signal.SIGKILL)
            status = wait(pid)
            finished = status == 0
            done += status == -signal.SIGKILL
            if status not in (0, -signal.SIGKILL):
                return Outcome("kill -9", False, Path(f"{out}.stderr").read_text())
            tables(out)
        if not same(tables(out), reference):
            lost.append(rounds)
        shutil.rmtree(out)
    said = f"{done} kills in {rounds} rounds; rounds whose tables differ: {len(lost)}"
    return Outcome(f"kill -9 at {kills} random moments", not lost, said)


def error_of(out: Path) -> str:
    """The last line on standard error."""
    return Path(f"{out}.stderr").read_text().strip().splitlines()[-1]


def full_disk(work: Path, reference: dict[str, pd.DataFrame]) -> Outcome:
    """No file may grow to the size of the largest, so that one in the middle fails; then there is room again."""
    out = work / "full"
    room = max(part.stat().st_size for part in work.rglob("part-*.parquet")) - 1

    def little_room() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    status = wait(start(out, little_room))
    said = error_of(out)
    left = list(out.rglob("*.tmp"))
    resumed = wait(start(out)) == 0 and same(tables(out), reference)
    return Outcome("disk full in the middle", status == 1 and resumed and not left and "cannot write" in said, said)


def spoiled_part(work: Path, reference: dict[str, pd.DataFrame]) -> Outcome:
    """One wrong byte in a finished part."""
    out = work / "spoiled"
    wait(start(out))
    part = max(out.rglob("part-*.parquet"))
    content = bytearray(part.read_bytes())
    content[200] ^= 1  # among the columns' pages, which stand first
    part.write_bytes(content)
    status, said = wait(start(out)), error_of(out)
    part.unlink()
    mended = wait(start(out)) == 0 and same(tables(out), reference)
    return Outcome("a part with one wrong byte", status == 1 and "is damaged" in said and mended, said)


def two_processes(work: Path, reference: dict[str, pd.DataFrame]) -> Outcome:
    """The same command twice at once on one folder."""
    out, second = work / "two", work / "second"
    first = start(out)
    while not list(out.rglob(".lock-*")):
        time.sleep(0.01)
    second.symlink_to(out)
    status = wait(start(second))
    said = error_of(second)
    whole = wait(first) == 0 and same(tables(out), reference)
    return Outcome("two processes on one folder", status == 1 and "is filling" in said and whole, said)


def other_version(work: Path, reference: dict[str, pd.DataFrame]) -> Outcome:
    """Rows that another version of torch has made, and a manifest of another schema."""
    out = work / "version"
    wait(start(out))
    for path in out.rglob("manifest.json"):
        manifest = json.loads(path.read_text())
        manifest["versions"]["torch"] = "1.0"
        path.write_text(json.dumps(manifest))
    noted = wait(start(out)) == 0 and "torch 1.0, not" in Path(f"{out}.stdout").read_text()
    path = next(iter(out.rglob("rs-fgsm-*/manifest.json")))
    manifest = json.loads(path.read_text())
    manifest["identity"]["schema"] = 0
    path.write_text(json.dumps(manifest))
    status = wait(start(out))
    said = error_of(out)
    return Outcome("a manifest of another version", noted and status == 2 and "schema is 0 there" in said, said)


ACCIDENTS = (full_disk, spoiled_part, two_processes, other_version)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--report", type=Path, help="write the result as Markdown, and as CSV")
    arguments = parser.parse_args()
    work = Path(tempfile.mkdtemp())
    try:
        began = time.monotonic()
        if wait(start(work / "reference")):
            sys.exit(f"the undisturbed run failed: {error_of(work / 'reference')}")
        seconds = time.monotonic() - began
        reference = tables(work / "reference")
        outcomes = [kill_at_random(work, reference, seconds, arguments.kills)]
        outcomes += [accident(work, reference) for accident in ACCIDENTS]
        text = report(outcomes, reference, seconds, str(work))
    finally:
        with suppress(OSError):
            shutil.rmtree(work)
    print(text)
    if arguments.report:
        arguments.report.write_text(text + "\n")
        keep(outcomes, seconds, str(work))
    sys.exit(not all(outcome.passed for outcome in outcomes))


def keep(outcomes: list[Outcome], seconds: float, work: str) -> None:
    """The result as ``results/reliability.csv``, and its command, seed and machine as JSON."""
    with CSV.open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["accident", "passed", "what was said"])
        rows.writerows([o.accident, "yes" if o.passed else "NO", o.said.replace(work, "...")] for o in outcomes)
    about = {
        "command": COMMAND_LINE,
        "seed": [0],
        "machine": f"{platform.system()} {platform.machine()}, one thread, torch {torch.__version__}",
        "undisturbed_seconds": round(seconds, 1),
    }
    CSV.with_suffix(".json").write_text(json.dumps(about, indent=2) + "\n")


def report(outcomes: list[Outcome], reference: dict[str, pd.DataFrame], seconds: float, work: str) -> str:
    """The result as Markdown."""
    rows = sum(map(len, reference.values()))
    lines = [
        "# Reliability",
        "",
        f"`energylens {' '.join(COMMAND)}`: {rows} rows in {len(reference)} folders, {seconds:.1f} s undisturbed, one "
        f"thread, {platform.system()} {platform.machine()}, torch {torch.__version__}; random moments under seed 0.",
        "",
        "| accident | passed | what was said |",
        "|---|---|---|",
        *(f"| {o.accident} | {'yes' if o.passed else 'NO'} | {o.said.replace(work, '...')} |" for o in outcomes),
        "",
        f"Recorded: [{CSV.name}](../../benchmarks/results/{CSV.name}), seed 0: `{COMMAND_LINE}`.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
