"""Plant faults in the trainer, one at a time, and see which of them its tests notice.

    python -m tests.mutations                  # all, in hours of one core; writes tests/mutations/result.csv
    python -m tests.mutations --every 4        # the table, and every fourth of the faults that are made by rule
    python -m tests.mutations --only trades    # those whose name or kind has the word
    python -m tests.mutations --list

The exit status is 1 where fewer than 95 % are caught, 2 where a fault can no longer be planted.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch comes

import argparse
import csv
import datetime
import platform
import subprocess
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

from .faults import Fault, check
from .mechanical import mechanical
from .running import CHECKOUT, Outcome, Tests, outcomes
from .table import FAULTS, FILES, FIRST, SLOW, SURVIVORS

RESULT = Path(__file__).with_name("result.csv")
ENOUGH = 0.95


def main() -> int:
    options = _options()
    by_rule = mechanical(CHECKOUT / "energylens")
    faults = [*FAULTS, *by_rule]
    if wrong := check(faults, CHECKOUT / "energylens"):
        print(*wrong, sep="\n", file=sys.stderr)
        return 2
    faults = [*FAULTS, *(fault for fault in by_rule if options.every and _drawn(fault) % options.every == 0)]
    chosen = [fault for fault in faults if _asked(fault, options.only)]
    if options.list:
        for fault in chosen:
            print(f"{fault.kind:10} {fault.name}")
        print(f"{len(chosen)} faults")
        return 0
    if not chosen:
        print("no fault has one of these words: --list shows them all", file=sys.stderr)
        return 2
    tests = Tests(FILES, FIRST, SLOW, options.likely)
    if not options.likely:
        (whole,) = outcomes([None], tests, {}, 1)
        if whole.caught_by:
            print(f"without any fault {whole.caught_by} fails:\n{whole.output}", file=sys.stderr)
            return 2
        print(f"without a fault all tests pass in {whole.seconds:.0f} s; {len(chosen)} faults", flush=True)
    found, about = list[Outcome](), _about(options)
    for outcome in outcomes(chosen, tests, _known(), options.jobs):
        found.append(outcome)
        said = f"caught by {outcome.caught_by}" if outcome.caught_by else "SURVIVED"
        print(f"{len(found)}/{len(chosen)} {outcome.fault.name}: {said} ({outcome.seconds:.1f} s)", flush=True)
        if options.out or (chosen == faults and not options.likely):
            _write(found, options.out or RESULT, chosen, about)
    return _sum_up(found)


def _options() -> argparse.Namespace:
    assert __doc__ is not None
    parser = argparse.ArgumentParser("python -m tests.mutations", description=__doc__.splitlines()[0])
    parser.add_argument("--only", metavar="WORD", action="append", default=[], help="faults that have one of the words")
    parser.add_argument("--every", type=int, default=1, help="so many-th of the faults made by rule, 0 for none")
    parser.add_argument("--likely", action="store_true", help="run only the tests that are likely to notice")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--list", action="store_true", help="show the faults and run nothing")
    parser.add_argument("--out", type=Path, help=f"a CSV; {RESULT.name} here, where all faults are run")
    return parser.parse_args()


def _asked(fault: Fault, words: Sequence[str]) -> bool:
    """Whether one of the words is in what the fault is called; all faults are asked for where there is no word."""
    return not words or any(word in f"{fault.name} ({fault.kind})" for word in words)


def _drawn(fault: Fault) -> int:
    """A number that depends on the fault's name alone, so that the same ones are drawn each time."""
    return zlib.crc32(fault.name.encode())


def _known() -> dict[str, str]:
    """By a fault's name what caught it when all were run last."""
    if not RESULT.exists():
        return {}
    with RESULT.open(newline="") as file:
        return {row["fault"]: row["caught_by"] for row in csv.DictReader(line for line in file if line[0] != "#")}


def _about(options: argparse.Namespace) -> str:
    """Command, date, commit and machine."""
    command = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False).stdout.strip()
    today = datetime.datetime.now(datetime.UTC).date()
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return f"# python -m tests.mutations --every {options.every}, {today}, commit {commit or 'unknown'}, {machine}"


def _write(found: Sequence[Outcome], path: Path, chosen: Sequence[Fault], about: str) -> None:
    """A comment that says what was run, and a row a fault in the order of the table."""
    by_name = {outcome.fault.name: outcome for outcome in found}
    with path.open("w", newline="") as file:
        file.write(f"{about}\n")
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["fault", "kind", "caught_by", "seconds"])
        for fault in chosen:
            if (outcome := by_name.get(fault.name)) is not None:
                rows.writerow([fault.name, fault.kind, outcome.caught_by, f"{outcome.seconds:.1f}"])


def _sum_up(found: Sequence[Outcome]) -> int:
    """A line for every survivor with its reason, and one for all."""
    left = [outcome.fault for outcome in found if not outcome.caught_by]
    for fault in left:
        print(f"survived: {fault.name} ({SURVIVORS.get(fault.name, 'no reason known: a test is missing')})")
    share = 1 - len(left) / len(found)
    print(f"{len(found) - len(left)} of {len(found)} faults caught, {share:.1%}")
    return int(share < ENOUGH)


if __name__ == "__main__":
    sys.exit(main())
