"""Does bigger work cost in proportion, and no more memory? The same profile at n = 100, 1,000 and 10,000."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from benchmarks.setting import Setting

SIZES = (100, 1_000, 10_000)
BATTERY = ("--attack", "fgsm", "--backend", "fused")


def measure(setting: Setting) -> pd.DataFrame:
    """A row a size and number of processes: seconds on the wall, samples a second, and the peak memory of a process."""
    rows = []
    for n in SIZES:
        for processes in (1, 2):
            shares = [()] if processes == 1 else [("--shard", f"{share}/{processes}") for share in (1, 2)]
            with tempfile.TemporaryDirectory() as out:
                seconds, memory = _together([_command(setting, n, share, Path(out)) for share in shares], processes)
            rows.append(
                {
                    "n": n,
                    "processes": processes,
                    "seconds": f"{seconds:.1f}",
                    "samples/s": f"{n / seconds:.0f}",
                    "peak memory of a process, MiB": f"{memory / 1024:.0f}",
                }
            )
    return pd.DataFrame(rows)


def _command(setting: Setting, n: int, share: Sequence[str], out: Path) -> list[str]:
    root = () if setting.root is None else ("--data-root", str(setting.root))
    own = ("--model", setting.name, *BATTERY, "--n", str(n), "--no-checks", "--device", setting.device, *root)
    return [sys.executable, "-m", "energylens", "profile", *own, *share, "--out", str(out)]


def _together(commands: Sequence[Sequence[str]], processes: int) -> tuple[float, int]:
    """Run the commands side by side, the cores shared out; seconds until the last ends, the largest peak in KiB."""
    threads = max((os.cpu_count() or 1) // processes, 1)
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    began, peak = time.perf_counter(), 0
    started = [subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) for command in commands]
    for process in started:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, process.args)
        peak = max(peak, usage.ru_maxrss)
    return time.perf_counter() - began, peak
