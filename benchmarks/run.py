"""Every benchmark, or those named, with its table: `python -m benchmarks.run --data-root DIR [NAME ...]`.

Runs in the environment of benchmarks/peers/README.md. Writes results/NAME.csv, with the machine and the command beside
it, and puts the tables of all that are there into benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pandas as pd
import torch

from benchmarks.setting import Setting
from energylens.plots.tables import markdown

HERE = Path(__file__).parent
RESULTS, README = HERE / "results", HERE / "README.md"
PACKAGES = ("torch", "torchattacks", "adv-lib", "foolbox", "adversarial-robustness-toolbox", "pyautoattack", "mair")


@dataclass(frozen=True)
class Benchmark:
    """One row: the module whose ``measure(setting, ...)`` makes the table, and what it is told."""

    module: str
    setting: Setting
    more: dict[str, object]

    def measure(self, root: Path | None, device: str) -> pd.DataFrame:
        """Its table."""
        found: Callable[..., pd.DataFrame] = import_module(f"benchmarks.{self.module}").measure
        return partial(found, **self.more)(replace(self.setting, root=root, device=device))


def _row(module: str, name: str, n: int, turns: int, **more: object) -> Benchmark:
    return Benchmark(module, Setting(name, n, turns), more)


NATURAL, ROBUST = "autoattack-resnet18", "digits-pgd"
BENCHMARKS: dict[str, Benchmark] = {
    "pgd": _row("pgd", NATURAL, 64, 5),
    "pgd-robust": _row("pgd", ROBUST, 500, 5, eps="0.2"),
    "task": _row("profile_task", NATURAL, 64, 3),
    "autoattack": _row("autoattack", ROBUST, 100, 3),
    "training": _row("training", NATURAL, 0, 5),
    "generation": _row("generation", NATURAL, 64, 5),
    "start-up": _row("start_up", ROBUST, 0, 5),
    "growth": _row("growth", "autoattack-resnet18", 0, 1),
}


def main() -> None:
    """Measure what is named, all by default, and write README's tables anew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    if unknown := set(args.names) - BENCHMARKS.keys():
        parser.error(f"no benchmark {min(unknown)!r}: there are {', '.join(BENCHMARKS)}")
    for name in args.names or BENCHMARKS:
        print(name, file=sys.stderr, flush=True)
        load, began = os.getloadavg()[0], time.perf_counter()
        table = BENCHMARKS[name].measure(args.data_root, args.device)
        RESULTS.mkdir(exist_ok=True)
        table.to_csv(RESULTS / f"{name}.csv", index=False)
        about = _about(name, load, time.perf_counter() - began)
        (RESULTS / f"{name}.json").write_text(json.dumps(about, indent=2) + "\n")
        print(markdown(table), flush=True)
    README.write_text(with_tables(README.read_text()))


def with_tables(text: str) -> str:
    """The README with each table between its two marks written anew from results/."""

    def table(found: re.Match[str]) -> str:
        name = found[1]
        if not (RESULTS / f"{name}.csv").exists():
            return found[0]
        about = json.loads((RESULTS / f"{name}.json").read_text())
        rows = pd.read_csv(RESULTS / f"{name}.csv", dtype=str, keep_default_na=False)
        told = f"*{about['command']}: {about['setting']}; {about['machine']}; {about['versions']}.*"
        return f"<!-- {name} -->\n{markdown(rows)}\n{told}\n<!-- end -->"

    return re.sub(r"<!-- ([a-z-]+) -->\n.*?<!-- end -->", table, text, flags=re.DOTALL)


def _about(name: str, load: float, seconds: float) -> dict[str, str]:
    row = BENCHMARKS[name]
    told = {"model": row.setting.name, "n": row.setting.n, "turns": row.setting.turns, **row.more}
    return {
        "command": f"python -m benchmarks.run {name}",
        "setting": ", ".join(f"{key} {value}" for key, value in told.items() if value),
        "machine": f"{_processor()}, {os.cpu_count()} cores, load before {load:.1f}, {seconds:.0f} s in all",
        "versions": ", ".join(filter(None, map(_version, PACKAGES))),
    }


def _processor() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    lines = Path("/proc/cpuinfo").read_text().splitlines() if platform.system() == "Linux" else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return ""


if __name__ == "__main__":
    main()
